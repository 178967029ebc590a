//! Memory from the heap in place of mapped memory under Miri, which knows no advice about memory.
//!
//! # Safety
//!
//! The memory is allocated with one layout, is given back with the same, and no reference to it is
//! given out.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use super::mmap::{HugePages, MemoryError};
use crate::addr::{PageSize, VaRange, VirtAddr};

/// Memory of the heap, of zeroes at first.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: The memory belongs to the value, which gives out no reference.
unsafe impl Send for Mapping {}

// SAFETY: As for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn new(bytes: u64, align: PageSize, _: HugePages) -> Result<Self, MemoryError> {
        let fail =
            || MemoryError::Map { len_bytes: bytes, source: std::io::ErrorKind::Other.into() };
        let len = usize::try_from(bytes.max(1)).map_err(|_| fail())?;
        let align = usize::try_from(align.bytes()).map_err(|_| fail())?;
        let layout = Layout::from_size_align(len, align).map_err(|_| fail())?;
        // SAFETY: The layout is not empty.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(fail)?;
        Ok(Self { base, layout })
    }

    pub(crate) fn range(&self) -> VaRange {
        let start = VirtAddr::from_ptr(self.base.as_ptr());
        VaRange::from_len(start, self.layout.size() as u64).unwrap_or_default()
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as mapped memory has it")]
    pub(crate) fn unlock(&self) -> Result<(), MemoryError> {
        Ok(())
    }

    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as mapped memory has it")]
    pub(crate) fn populate(&self) -> Result<(), MemoryError> {
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: It was allocated with this layout, and no reference to it exists.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}
