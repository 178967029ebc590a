//! Host memory that the device works on where it lies, with the elements that the host sees there.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module. The memory belongs to the value and is imported as a whole;
//! the import goes first. Code that takes the elements as a slice promises that the device does not
//! use them meanwhile.

use crate::{
    failure::Failure,
    page::{Page, elements_mut_of, elements_of},
    vulkan::{Device, Imported},
};
use bytemuck::Pod;
use std::rc::Rc;

/// Imported pages.
pub(crate) struct ImportedPages {
    // Invariant: `imported` is the import of all `pages`, whose place does not change. Fields are
    // dropped in this order.
    imported: Imported,
    pages: Vec<Page>,
}

impl ImportedPages {
    /// Imports pages, of which there is at least one.
    pub(crate) fn new(device: &Rc<Device>, mut pages: Vec<Page>) -> Result<Self, Failure> {
        if device.import_alignment().is_none_or(|bytes| bytes > Page::BYTES as u64) {
            return Err(Failure::NoImport { bytes: Page::BYTES });
        }
        let (start, len_bytes) = (pages.as_mut_ptr().cast(), size_of_val(pages.as_slice()) as u64);
        // SAFETY: the range is that of the vector, which is neither dropped nor grown while the
        // import lives (invariant); code of this module looks at it between runs only.
        let imported = unsafe { Imported::new(device, start, len_bytes) }?;
        Ok(Self { imported, pages })
    }

    /// The device address of the first byte.
    pub(crate) fn address(&self) -> u64 {
        self.imported.address()
    }

    /// The first elements.
    ///
    /// # Safety
    ///
    /// No run that writes them is pending while the slice lives.
    pub(crate) unsafe fn elements<T: Pod>(&self, count: usize) -> &[T] {
        elements_of(&self.pages, count)
    }

    /// As [`elements`](Self::elements), to be written.
    ///
    /// # Safety
    ///
    /// No run that touches them is pending while the slice lives.
    pub(crate) unsafe fn elements_mut<T: Pod>(&mut self, count: usize) -> &mut [T] {
        elements_mut_of(&mut self.pages, count)
    }
}
