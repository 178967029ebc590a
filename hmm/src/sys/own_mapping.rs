//! Memory that shares neither page nor area with anything else.
//!
//! # Safety
//!
//! 1. The kernel chooses the place, so nothing is replaced. The memory is this mapping's until it
//!    is dropped, which unmaps it.
//! 2. The value gives out a pointer and no reference. Its users' accesses are theirs to prove.

use std::io;
use std::ptr::NonNull;

#[cfg(miri)]
use super::heap::Mapping;
use super::mmap::HugePages;
#[cfg(not(miri))]
use super::mmap::Mapping;
use crate::addr::{PageSize, VaRange, VirtAddr};
use crate::error::MapError;

/// The length from which on huge pages pay: at least two of three bytes then lie in one.
const HUGE_FROM_BYTES: usize = 4 << 20;

/// Private anonymous memory of zeroes, between two pages that nobody may touch.
///
/// It starts at a page boundary, has its pages to itself, and is one area (VMA) of the address
/// space: the kernel merges areas that touch and are alike, and the pages on both sides are not
/// alike. So what is done to the area is done to this memory, and its end is an `munmap`. An access
/// of the CPU that leaves the memory by less than a page is a fault.
///
/// No page is there until it is touched. From 4 MiB on, the start is aligned to 2 MiB, and the
/// kernel is asked for huge pages. The memory counts as the system's policy has it
/// (`vm.overcommit_memory`), as that of an allocator does. Children made by `fork` get a copy.
/// The process has a limit on the number of areas (`vm.max_map_count`, 65530 as a rule), of which
/// this takes two or three: it is meant for few and large pieces of memory.
///
/// A mapping of no bytes is an address alone.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{Maps, OwnMapping};
///
/// let memory = OwnMapping::new(10_000)?;
/// let vma = Maps::open()?.find_vma(memory.range().start())?.ok_or("it is mapped")?;
/// assert_eq!(vma.range, memory.range()); // this memory, and no other
/// assert!(memory.range().len_bytes() >= 10_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OwnMapping {
    /// Leads to the memory between the first and the last page of `whole`; dangling without it.
    /// Aligned to [`OwnMapping::ALIGN`].
    start: NonNull<u8>,
    /// The memory and a page on either side. It has no other owner.
    whole: Option<Mapping>,
}

// SAFETY: The mapping belongs to the process, not to a thread, and the pointer leads to nothing
// else. No method accesses the memory.
unsafe impl Send for OwnMapping {}

// SAFETY: As for `Send`.
unsafe impl Sync for OwnMapping {}

/// A value at the alignment of the smallest page.
#[repr(align(4096))]
struct SmallestPage;

impl OwnMapping {
    /// The alignment of every start in bytes: the smallest page of any Linux.
    pub const ALIGN: usize = align_of::<SmallestPage>();

    /// A mapping of no bytes. Nothing is mapped.
    #[must_use]
    pub const fn empty() -> Self {
        Self { start: NonNull::<SmallestPage>::dangling().cast(), whole: None }
    }

    /// Maps memory of at least so many bytes: whole pages.
    ///
    /// # Errors
    ///
    /// - [`MapError::Refused`] if there are no addresses, no mappings or no memory left.
    pub fn new(len_bytes: usize) -> Result<Self, MapError> {
        if len_bytes == 0 {
            return Ok(Self::empty());
        }
        map(len_bytes).map_err(|source| MapError::Refused { len_bytes, source })
    }

    /// The first byte of the memory; of an empty mapping, an address where nothing is.
    #[must_use]
    pub const fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The addresses of the memory, without the pages that nobody may touch; exposed.
    #[must_use]
    pub fn range(&self) -> VaRange {
        let Some(whole) = &self.whole else {
            return VaRange::default();
        };
        let guards = 2 * PageSize::host().bytes();
        let len_bytes = whole.range().len_bytes().saturating_sub(guards);
        VaRange::from_len(VirtAddr::from_ptr(self.start.as_ptr()), len_bytes).unwrap_or_default()
    }
}

/// The mapping without memory.
impl Default for OwnMapping {
    fn default() -> Self {
        Self::empty()
    }
}

fn map(len_bytes: usize) -> io::Result<OwnMapping> {
    let page = PageSize::host().bytes();
    let rounded = (len_bytes as u64).checked_next_multiple_of(page).ok_or_else(too_long)?;
    let huge = len_bytes >= HUGE_FROM_BYTES;
    let whole = with_guards(rounded, if huge { PageSize::MIB_2 } else { PageSize::host() })?;
    let page = usize::try_from(page).map_err(io::Error::other)?;
    let start = NonNull::new(whole.as_ptr().wrapping_add(page)).ok_or_else(too_long)?;
    Ok(OwnMapping { start, whole: Some(whole) })
}

fn too_long() -> io::Error {
    io::ErrorKind::OutOfMemory.into()
}

/// Maps memory between two pages without permissions. Its start, behind the first of them, has the
/// alignment.
#[cfg(not(miri))]
fn with_guards(len_bytes: u64, align: PageSize) -> io::Result<Mapping> {
    let page = PageSize::host();
    // The first aligned address behind the first page is at most the alignment away from its start.
    let room = [align.bytes(), len_bytes, page.bytes()].into_iter().try_fold(0, u64::checked_add);
    let room = room.and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(too_long)?;
    let reserved = Mapping::reserve(room)?;
    let start = reserved.range().start().checked_add(page.bytes());
    let start = start.and_then(|start| start.align_up(align));
    let memory = start.and_then(|start| VaRange::from_len(start, len_bytes));
    let memory = memory.ok_or_else(too_long)?;
    let guarded =
        memory.start().checked_sub(page.bytes()).zip(memory.end().checked_add(page.bytes()));
    let guarded = guarded.and_then(|(start, end)| VaRange::new(start, end));
    let whole = reserved.trim_to(guarded.ok_or_else(too_long)?)?;
    if align != page {
        // Before the area is divided, so that it need not be divided twice.
        whole.prefer(HugePages::Prefer);
    }
    whole.allow_access(memory)?;
    Ok(whole)
}

/// Memory of the heap with a page more on either side.
#[cfg(miri)]
fn with_guards(len_bytes: u64, _: PageSize) -> io::Result<Mapping> {
    let page = PageSize::host();
    let room = len_bytes.checked_add(2 * page.bytes()).ok_or_else(too_long)?;
    Mapping::new(room, page, HugePages::Never).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::{Known, Memory};

    #[test]
    fn no_bytes_are_an_address_alone() {
        let mapping = OwnMapping::new(0).expect("nothing to map");
        assert!(mapping.range().is_empty() && mapping.whole.is_none());
        assert!(mapping.as_ptr().addr().is_multiple_of(OwnMapping::ALIGN));
    }

    #[test]
    fn it_is_known_to_be_a_mapping_of_its_own() {
        let mapping = OwnMapping::new(5000).expect("memory");
        let memory = Memory::from(&mapping);
        assert_eq!((memory.range(), memory.known()), (mapping.range(), Known::Mapping));
    }

    #[test]
    fn its_memory_is_its_owners_to_the_last_byte() {
        for len in [1, 5000, 3 << 20] {
            let mapping = OwnMapping::new(len).expect("memory");
            let last = usize::try_from(mapping.range().len_bytes()).expect("64 bits") - 1;
            assert!(last >= len - 1);
            let last = mapping.as_ptr().wrapping_add(last);
            // SAFETY: The memory reaches to the end of the range, and no reference to it exists.
            unsafe { last.write(7) };
            // SAFETY: As above.
            assert_eq!(unsafe { last.read() }, 7);
        }
    }
}

#[cfg(all(test, not(miri)))]
mod areas {
    use std::io::Write;

    use super::*;
    use crate::addr::PageCount;
    use crate::host::vma::Vma;
    use crate::sys::copy::{read_bytes, write_bytes};
    use crate::sys::maps::Maps;
    use crate::sys::pagemap::Pagemap;

    const LENGTHS: [usize; 6] = [1, 4096, 10_000, 1 << 20, 5 << 20, (8 << 20) + 1];

    fn area_at(at: VirtAddr) -> Option<Vma> {
        let found = Maps::open().expect("maps").find_vma(at).expect("lookup");
        found.filter(|vma| vma.range.contains(at))
    }

    /// Whether the mapping is one readable and writable area.
    fn is_one_area(mapping: &OwnMapping) -> bool {
        let range = mapping.range();
        area_at(range.start()).is_some_and(|vma| {
            let access = (vma.flags.read, vma.flags.write, vma.flags.shared);
            vma.range == range && access == (true, true, false) && vma.is_private_anonymous()
        })
    }

    #[test]
    fn each_is_an_area_of_its_own_also_when_many_are_made_in_a_row() {
        for len in LENGTHS {
            let many: Vec<_> = (0..100).map(|_| OwnMapping::new(len).expect("memory")).collect();
            assert!(many.iter().all(is_one_area), "of {len} bytes");
            let (even, odd): (Vec<_>, Vec<_>) =
                many.into_iter().enumerate().partition(|(index, _)| index % 2 == 0);
            drop(odd);
            assert!(even.iter().all(|(_, mapping)| is_one_area(mapping)), "of {len} bytes");
        }
    }

    #[test]
    fn the_pages_on_both_sides_cannot_be_touched() {
        for len in LENGTHS {
            let mapping = OwnMapping::new(len).expect("memory");
            let range = mapping.range();
            let before = range.start().checked_sub(1).expect("not at zero");
            for beside in [before, range.end()] {
                let area = area_at(beside).expect("a page without permissions");
                assert!(!area.flags.read && !area.flags.write, "{area:?}");
                read_bytes(beside, &mut [0]).expect_err("it may not be read");
                // SAFETY: No object has the byte.
                unsafe { write_bytes(beside, &[1]) }.expect_err("it may not be written");
            }
        }
    }

    #[test]
    fn it_is_zeroes_that_cost_nothing_until_they_are_touched() {
        for len in LENGTHS {
            let mapping = OwnMapping::new(len).expect("memory");
            let range = mapping.range();
            let page = PageSize::host();
            assert!(range.is_aligned(page), "{range}");
            assert_eq!(range.len_bytes(), (len as u64).next_multiple_of(page.bytes()));
            let present = || {
                let residency = Pagemap::open().expect("pagemap").residency(range);
                residency.expect("residency").present_pages()
            };
            assert_eq!(present(), PageCount::ZERO);
            let mut bytes = vec![1; len];
            read_bytes(range.start(), &mut bytes).expect("readable");
            assert!(bytes.iter().all(|&byte| byte == 0));
            // SAFETY: The memory is the mapping's, and no reference to it exists.
            unsafe { write_bytes(range.start(), &[1]) }.expect("writable");
            assert!(present().get() > 0);
        }
    }

    /// The flags of the area in smaps, or nothing where the system does not show them.
    fn smaps_flags(range: VaRange) -> Option<Vec<String>> {
        let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let header = format!("{:x}-{:x} ", range.start().get(), range.end().get());
        let area = smaps.lines().skip_while(|line| !line.starts_with(&header));
        let flags = area.into_iter().find_map(|line| line.strip_prefix("VmFlags:"))?;
        Some(flags.split_ascii_whitespace().map(str::to_owned).collect())
    }

    /// Says that a part of a test does not run, on the standard error that no harness holds back.
    fn skip(what: &str) {
        let _ = writeln!(io::stderr(), "SKIP {what}");
    }

    #[test]
    fn it_counts_as_memory_and_huge_pages_are_asked_for_where_they_pay() {
        for (len, huge) in [(HUGE_FROM_BYTES - 1, false), (HUGE_FROM_BYTES, true)] {
            let mapping = OwnMapping::new(len).expect("memory");
            assert!(!huge || mapping.range().start().is_aligned(PageSize::MIB_2));
            let Some(flags) = smaps_flags(mapping.range()) else {
                skip("the flags of an area: /proc/self/smaps does not show them, Linux's does");
                continue;
            };
            let has = |flag: &str| flags.iter().any(|found| found == flag);
            assert!(has("ac"), "the system counts it: {flags:?}");
            if std::fs::exists("/sys/kernel/mm/transparent_hugepage").unwrap_or(false) {
                assert_eq!(has("hg"), huge, "{flags:?}");
            } else {
                skip("the flag for huge pages: this kernel is built without them");
            }
        }
    }

    #[test]
    fn too_much_is_an_error_that_says_what_helps() {
        for len in [usize::MAX, usize::MAX - 4096, isize::MAX as usize, 1 << 62, 1 << 48] {
            let error = OwnMapping::new(len).expect_err("no room");
            let said = error.to_string();
            assert!(said.contains(&len.to_string()) && said.contains("ulimit -v"), "{said}");
        }
    }

    #[test]
    fn it_gives_its_memory_back() {
        let mapping = OwnMapping::new(1 << 30).expect("memory");
        let range = mapping.range();
        drop(mapping);
        // Other tests may map memory there, but not so much.
        assert!(area_at(range.start()).is_none_or(|vma| !vma.range.contains_range(&range)));
    }
}
