//! Memory that belongs to its owner alone, for staging and for devices.
//!
//! # Safety
//!
//! Mapping new memory replaces nothing: the kernel chooses the place. Memory is unmapped by its
//! owner only, which gives out no reference to it. Dropping the pages of other memory is an unsafe
//! function.

use std::ffi::c_void;
use std::io;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munlock, munmap,
};
use thiserror::Error;

use crate::addr::{PageSize, VaRange, VirtAddr};

/// A failure to map memory, or to change its pages.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum MemoryError {
    /// There is no room.
    #[error("cannot map {len_bytes} bytes of memory")]
    Map {
        /// The length asked for.
        len_bytes: u64,
        /// The error of the kernel.
        source: io::Error,
    },

    /// The kernel refused an advice.
    #[error("the kernel refused to {what} the pages of {range}")]
    Advise {
        /// The advice that was refused.
        what: &'static str,
        /// The pages.
        range: VaRange,
        /// The error of the kernel.
        source: io::Error,
    },
}

/// How much of a huge page a mapping shall use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HugePages {
    /// Huge pages wherever they fit.
    Prefer,
    /// No huge pages.
    Never,
}

/// Private anonymous memory, mapped readable and writable, unmapped when it is dropped.
///
/// No page of it is there until it is touched, populated or filled. Children made by `fork` get
/// a copy. If a userfaultfd that reports [`Event::Unmap`](super::uffd::Event::Unmap) watches it,
/// dropping it waits until the message is read: unregister first.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// The start of a mapping that has no other owner.
    base: NonNull<c_void>,
    /// Its length, a multiple of the page size, not zero.
    len: usize,
}

// SAFETY: The mapping belongs to the process, not to a thread, and the methods that take `&self`
// are system calls that may be made by several threads at once.
unsafe impl Send for Mapping {}

// SAFETY: As for `Send`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps memory of at least `len_bytes` bytes whose start is aligned to `align`.
    pub(crate) fn new(
        len_bytes: u64,
        align: PageSize,
        huge: HugePages,
    ) -> Result<Self, MemoryError> {
        let fail = |source: Errno| MemoryError::Map { len_bytes, source: source.into() };
        let page = PageSize::host().bytes();
        let too_much = Errno::NOMEM;
        let rounded = len_bytes.max(1).checked_next_multiple_of(page);
        let rounded = rounded.ok_or_else(|| fail(too_much))?;
        let slack = align.bytes().saturating_sub(page);
        let whole = rounded.checked_add(slack).and_then(|len| usize::try_from(len).ok());
        let mapping = Self::map(whole.ok_or_else(|| fail(too_much))?).map_err(fail)?;
        let mapping = mapping.trim(rounded, align).map_err(fail)?;
        mapping.prefer(huge);
        Ok(mapping)
    }

    fn map(len: usize) -> rustix::io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        Self::map_as(len, access, MapFlags::PRIVATE | MapFlags::NORESERVE)
    }

    /// Takes addresses that nobody may touch until [`allow_access`](Self::allow_access): the kernel
    /// counts no memory for them.
    pub(super) fn reserve(len: usize) -> rustix::io::Result<Self> {
        Self::map_as(len, ProtFlags::empty(), MapFlags::PRIVATE)
    }

    fn map_as(len: usize, access: ProtFlags, flags: MapFlags) -> rustix::io::Result<Self> {
        // SAFETY: Without a fixed place the kernel maps memory where there is none.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), len, access, flags) }?;
        let base = NonNull::new(base).ok_or(Errno::NOMEM)?;
        Ok(Self { base, len })
    }

    /// Gives back what lies before the first aligned address and past the length from there on.
    fn trim(self, len_bytes: u64, align: PageSize) -> rustix::io::Result<Self> {
        let start = self.range().start().align_up(align);
        let kept = start.and_then(|start| VaRange::from_len(start, len_bytes));
        self.trim_to(kept.ok_or(Errno::NOMEM)?)
    }

    /// Gives back the pages outside of a page-aligned range, which is a part of the mapping.
    pub(super) fn trim_to(mut self, kept: VaRange) -> rustix::io::Result<Self> {
        let head = kept.start().offset_from(self.range().start()).unwrap_or(0);
        self.split_front(head)?;
        let tail = self.range().len_bytes().saturating_sub(kept.len_bytes());
        self.split_back(tail)?;
        Ok(self)
    }

    /// Makes the pages of a part of the mapping readable and writable. The kernel counts memory for
    /// them from here on.
    pub(super) fn allow_access(&self, part: VaRange) -> rustix::io::Result<()> {
        if !self.range().contains_range(&part) {
            return Err(Errno::INVAL);
        }
        let len = usize::try_from(part.len_bytes()).map_err(|_| Errno::NOMEM)?;
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: The range is a part of this mapping, and its content does not change.
        unsafe { mprotect(part.start().as_mut_ptr(), len, access) }
    }

    fn split_front(&mut self, bytes: u64) -> rustix::io::Result<()> {
        let bytes = usize::try_from(bytes).unwrap_or(0).min(self.len);
        if bytes == 0 {
            return Ok(());
        }
        let start = self.base;
        // SAFETY: The pages are this mapping's and no reference to them exists. They are not used
        // after this: the mapping is said to begin behind them.
        unsafe { munmap(start.as_ptr(), bytes) }?;
        let base = start.as_ptr().wrapping_byte_add(bytes);
        self.base = NonNull::new(base).ok_or(Errno::NOMEM)?;
        self.len -= bytes;
        Ok(())
    }

    fn split_back(&mut self, bytes: u64) -> rustix::io::Result<()> {
        let bytes = usize::try_from(bytes).unwrap_or(0).min(self.len);
        if bytes == 0 {
            return Ok(());
        }
        let kept = self.len - bytes;
        // SAFETY: The pages are this mapping's and no reference to them exists. They are not used
        // after this: the mapping is said to end before them.
        unsafe { munmap(self.base.as_ptr().wrapping_byte_add(kept), bytes) }?;
        self.len = kept;
        Ok(())
    }

    /// Tells the kernel about huge pages. A kernel without huge pages does not know the advice, and
    /// then needs none.
    pub(super) fn prefer(&self, huge: HugePages) {
        let advice = match huge {
            HugePages::Prefer => Advice::LinuxHugepage,
            HugePages::Never => Advice::LinuxNoHugepage,
        };
        // SAFETY: The range is this mapping, and the advice changes no content.
        let _ = unsafe { madvise(self.base.as_ptr(), self.len, advice) };
    }

    /// The addresses of the mapping, exposed for reading and writing.
    pub(crate) fn range(&self) -> VaRange {
        let start = VirtAddr::from_ptr(self.base.as_ptr());
        VaRange::from_len(start, self.len as u64).unwrap_or_default()
    }

    /// The first byte of the mapping.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr().cast()
    }

    /// Makes every page of the mapping present and writable.
    pub(crate) fn populate(&self) -> Result<(), MemoryError> {
        self.advise(Advice::LinuxPopulateWrite, "populate")
    }

    /// Makes the pages of the mapping be zeroes in children made by `fork`.
    pub(crate) fn wipe_on_fork(&self) -> Result<(), MemoryError> {
        self.advise(Advice::LinuxWipeOnFork, "wipe on fork")
    }

    /// Takes back what the program did by locking all memory of the process.
    pub(crate) fn unlock(&self) -> Result<(), MemoryError> {
        // SAFETY: The range is this mapping, and its content does not change.
        unsafe { munlock(self.base.as_ptr(), self.len) }.map_err(|source| MemoryError::Advise {
            what: "unlock",
            range: self.range(),
            source: source.into(),
        })
    }

    fn advise(&self, advice: Advice, what: &'static str) -> Result<(), MemoryError> {
        // SAFETY: The range is this mapping, and the advices passed here change no content in this
        // process.
        unsafe { madvise(self.base.as_ptr(), self.len, advice) }.map_err(|source| {
            MemoryError::Advise { what, range: self.range(), source: source.into() }
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: The pages are this mapping's, and no reference to them exists. A failure leaks
        // them, which is safe.
        let _ = unsafe { munmap(self.base.as_ptr(), self.len) };
    }
}

/// The effect of a drop on memory that is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Locked {
    /// Its pages stay, and the drop is refused.
    Stays,
    /// Its pages are dropped too.
    Goes,
}

/// Drops the pages of a page-aligned range, leaving holes. A drop that fails may have dropped the
/// pages of areas before the one that it failed in.
///
/// If a userfaultfd that reports [`Event::Remove`](super::uffd::Event::Remove) watches the range,
/// the call waits until the message is read: the thread that reads messages must not make it.
///
/// # Safety
///
/// 1. The range is private anonymous memory.
/// 2. The caller may take the content of the range away: until it is given back, a thread that
///    touches the range waits, if it is watched, or finds zeroes.
pub(crate) unsafe fn drop_pages(range: VaRange, locked: Locked) -> Result<(), MemoryError> {
    let fail = |source: io::Error| MemoryError::Advise { what: "drop", range, source };
    let len = usize::try_from(range.len_bytes()).map_err(|e| fail(io::Error::other(e)))?;
    let drop = |advice| {
        // SAFETY: The advice takes the content of the range away, which the caller allows.
        unsafe { madvise(range.start().as_mut_ptr(), len, advice) }
    };
    let dropped = match (drop(Advice::LinuxDontNeed), locked) {
        // Since Linux 5.18 there is an advice that also drops locked memory.
        (Err(Errno::INVAL), Locked::Goes) => drop(Advice::LinuxDontneedLocked),
        (dropped, _) => dropped,
    };
    dropped.map_err(|errno| fail(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PageCount, Pagemap};

    fn present(range: VaRange) -> PageCount {
        let pagemap = Pagemap::open().expect("pagemap");
        pagemap.residency(range).expect("residency").present_pages()
    }

    #[test]
    fn a_mapping_is_as_long_and_as_aligned_as_asked_for() {
        let page = PageSize::host();
        for (len, align) in [(1, page), (3 * page.bytes(), PageSize::MIB_2), (0, page)] {
            let mapping = Mapping::new(len, align, HugePages::Never).expect("memory");
            assert!(mapping.range().start().is_aligned(align));
            let pages = len.max(1).div_ceil(page.bytes());
            assert_eq!(mapping.range().page_count(page), PageCount::new(pages));
            assert_eq!(present(mapping.range()), PageCount::ZERO);
            mapping.populate().expect("populate");
            assert_eq!(present(mapping.range()), PageCount::new(pages));
        }
    }

    #[test]
    fn too_much_memory_is_an_error() {
        for len in [u64::MAX, 1 << 62] {
            let error = Mapping::new(len, PageSize::MIB_2, HugePages::Prefer).expect_err("no room");
            assert!(error.to_string().contains(&len.to_string()), "{error}");
        }
    }

    #[test]
    fn dropped_pages_are_holes() {
        let page = PageSize::host();
        let mapping = Mapping::new(4 * page.bytes(), page, HugePages::Never).expect("memory");
        mapping.populate().expect("populate");
        let second = mapping.range().pages(page).nth(1).expect("a page");
        // SAFETY: The page is the mapping's, which is anonymous and which no other code knows.
        unsafe { drop_pages(second, Locked::Stays) }.expect("drop");
        assert_eq!(present(second), PageCount::ZERO);
        assert_eq!(present(mapping.range()), PageCount::new(3));
        let unaligned = VaRange::from_len(second.start().checked_add(1).expect("an address"), 1);
        // SAFETY: As above.
        let dropped = unsafe { drop_pages(unaligned.expect("a range"), Locked::Goes) };
        let error = dropped.expect_err("unaligned");
        assert!(error.to_string().contains("drop"), "{error}");
    }

    #[test]
    fn locked_pages_are_dropped_only_if_they_are_to_be() {
        let page = PageSize::host();
        let mapping = Mapping::new(2 * page.bytes(), page, HugePages::Never).expect("memory");
        let range = mapping.range();
        // SAFETY: The memory is the mapping's, and its content does not change.
        unsafe { rustix::mm::mlock(mapping.base.as_ptr(), mapping.len) }.expect("mlock");
        assert_eq!(present(range), PageCount::new(2));
        // SAFETY: The pages are the mapping's, which is anonymous and which no other code knows.
        unsafe { drop_pages(range, Locked::Stays) }.expect_err("locked");
        assert_eq!(present(range), PageCount::new(2));
        // SAFETY: As above.
        unsafe { drop_pages(range, Locked::Goes) }.expect("drop");
        assert_eq!(present(range), PageCount::ZERO);
        mapping.unlock().expect("unlock");
        mapping.populate().expect("populate");
        // SAFETY: As above.
        unsafe { drop_pages(range, Locked::Stays) }.expect("no longer locked");
    }

    #[test]
    fn a_mapping_gives_its_memory_back() {
        let mapping = Mapping::new(1 << 30, PageSize::MIB_2, HugePages::Never).expect("memory");
        let range = mapping.range();
        let maps = crate::Maps::open().expect("maps");
        let is_mapped = || {
            let vma = maps.find_vma(range.start()).expect("lookup");
            vma.is_some_and(|vma| vma.range.contains_range(&range))
        };
        assert!(is_mapped());
        drop(mapping);
        // Other tests may map memory there, but not so much.
        assert!(!is_mapped());
    }
}
