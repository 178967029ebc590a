//! Finding out whether every page of a range is mapped: `msync` with `MS_ASYNC`.
//!
//! # Safety
//!
//! One call is made, `msync`, with `MS_ASYNC` and nothing else. Linux starts no transfer for it and
//! changes no page: it only fails where a part of the range is not mapped.

use rustix::mm::{MsyncFlags, msync};

use crate::addr::VaRange;

/// Tells whether something is mapped at every address of a page-aligned range. The areas are looked
/// at, not the pages.
pub(crate) fn is_mapped(range: VaRange) -> bool {
    let Ok(len) = usize::try_from(range.len_bytes()) else {
        return false;
    };
    // SAFETY: `msync` asks that the range be one that the caller may have written back. With this
    // flag nothing is written back.
    unsafe { msync(range.start().as_mut_ptr(), len, MsyncFlags::ASYNC) }.is_ok()
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::addr::{PageSize, VirtAddr};
    use crate::sys::mmap::{HugePages, Mapping};

    #[test]
    fn what_is_mapped_is_told_from_what_is_not() {
        let page = PageSize::host();
        let mapping = Mapping::new(3 * page.bytes(), page, HugePages::Never).expect("memory");
        assert!(is_mapped(mapping.range()) && is_mapped(VaRange::default()));
        let null = VaRange::from_len(VirtAddr::NULL, page.bytes()).expect("a range");
        assert!(!is_mapped(null));
        // Nobody maps the whole of what a user may.
        assert!(!is_mapped(VaRange::USER));
    }
}
