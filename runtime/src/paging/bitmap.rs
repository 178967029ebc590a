//! The fault bitmap of a segment: kernels set a bit for each page that they miss.

use super::{PAGE_BYTES, report::Missing};
use crate::{
    VulkanError,
    vk::{Device, buffer::SharedBuffer},
};
use farptr_hmm::VaRange;
use std::sync::atomic::Ordering::Relaxed;

/// Pages to a word: two bits each, for reading and for writing.
const PAGES_PER_WORD: u64 = 16;

/// The fault bitmap of a segment, and the segment's lend.
pub(super) struct FaultBitmap {
    /// The position of the lend among the pages.
    pub(super) lend: usize,
    pub(super) range: VaRange,
    /// It starts with the page whose number is a multiple of [`PAGES_PER_WORD`].
    buffer: SharedBuffer,
}

impl FaultBitmap {
    /// A bitmap without faults.
    pub(super) fn new(device: &Device, range: VaRange, lend: usize) -> Result<Self, VulkanError> {
        let words = super::lend_pages::pages_of(range) as u64 / PAGES_PER_WORD + 2;
        let buffer = SharedBuffer::for_host(device, words * 4)?;
        Ok(Self { lend, range, buffer })
    }

    fn first_page(&self) -> u64 {
        self.range.start().get() / PAGE_BYTES
    }

    /// The device address of the word for page 0 of the address space, wrapping.
    pub(super) fn biased_address(&self) -> u64 {
        self.buffer.address().wrapping_sub(self.first_page() / PAGES_PER_WORD * 4)
    }

    /// Takes the bits out of the bitmap.
    pub(super) fn take(&self, missing: &mut Vec<Missing>) {
        let ahead = self.first_page() % PAGES_PER_WORD;
        for (position, word) in (0u64..).zip(self.buffer.words()) {
            let mut bits = word.load(Relaxed);
            if bits == 0 {
                continue;
            }
            word.store(0, Relaxed);
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits - 1;
                let page = position * PAGES_PER_WORD + u64::from(bit / 2);
                let page = page.checked_sub(ahead).and_then(|page| usize::try_from(page).ok());
                let missed = |page| Missing { lend: self.lend, page, write: bit % 2 == 1 };
                missing.extend(page.map(missed));
            }
        }
    }
}
