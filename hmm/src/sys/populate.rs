//! Faulting pages in without touching them: `madvise` with `MADV_POPULATE_READ` and `_WRITE`.
//!
//! # Safety
//!
//! One call is made, `madvise`, with these two advices and no other. They do to each page what a
//! load, or a store of what is there already, would do: no byte changes its value, no mapping
//! comes or goes.

use rustix::mm::{Advice, madvise};

use crate::addr::VaRange;
use crate::host::PageAccess;

/// Makes the pages of a page-aligned range present for `access`, in order, up to the first that
/// cannot be.
pub(crate) fn populate(range: VaRange, access: PageAccess) -> rustix::io::Result<()> {
    let advice = match access {
        PageAccess::Read => Advice::LinuxPopulateRead,
        PageAccess::Write => Advice::LinuxPopulateWrite,
    };
    let len = usize::try_from(range.len_bytes()).map_err(|_| rustix::io::Errno::INVAL)?;
    // SAFETY: `madvise` asks that the advice be one that breaks nothing for users of the memory.
    // Both advices only populate: the contents stay, and references to the pages remain valid. An
    // address that is not mapped, or not for this access, is an error and not an access.
    unsafe { madvise(range.start().as_mut_ptr(), len, advice) }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::addr::{PageSize, VirtAddr};

    #[test]
    fn populating_changes_no_byte() {
        let numbers: Vec<u64> = (0..10_000).collect();
        let pages = VaRange::of_slice(&numbers).pages_covering(PageSize::host());
        populate(pages, PageAccess::Read).expect("readable");
        populate(pages, PageAccess::Write).expect("writable");
        assert!((0..10_000).eq(numbers));
    }

    #[test]
    fn what_is_not_mapped_is_an_error() {
        let null = VaRange::from_len(VirtAddr::NULL, PageSize::host().bytes()).unwrap();
        for access in [PageAccess::Read, PageAccess::Write] {
            assert_eq!(populate(null, access), Err(Errno::NOMEM));
        }
    }
}
