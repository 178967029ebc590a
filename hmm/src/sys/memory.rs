//! Memory to be moved, and what the caller knows about it.
//!
//! # Safety
//!
//! The caller of an unsafe function promises that a bare range is a mapping of its own.

use std::marker::PhantomData;

use memmap2::{MmapMut, MmapRaw};

use super::own_mapping::OwnMapping;
use crate::addr::{PageSize, VaRange};

/// Knowledge of memory beyond its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    Nothing,
    /// The pages belong to one buffer alone. When the buffer is freed, they belong to the
    /// allocator.
    Buffer,
    /// They are a mapping of their own, from which no allocator gives anything out.
    Mapping,
}

/// Memory to be moved to a device, and what is known about the threads that need it.
///
/// - A [`VaRange`]: nothing. It goes to devices that are [self-contained], except for pages that a
///   thread may need while it moves them, see [`Skip::Needed`].
/// - A slice: its whole pages belong to one buffer alone. It goes to devices that are
///   self-contained.
/// - A mapping of `memmap2`, an [`OwnMapping`], or [`Memory::own_mapping`]: no allocator has a part
///   in it. It goes to every device.
///
/// [self-contained]: crate::DeviceMemory::is_self_contained
/// [`Skip::Needed`]: crate::Skip::Needed
///
/// # Examples
///
/// ```
/// use farptr_hmm::{Memory, PageSize, VaRange};
/// use memmap2::MmapMut;
///
/// let map = MmapMut::map_anon(1 << 20)?;
/// let first = Memory::from(&map).part(VaRange::of_slice(&map[..1 << 16])).ok_or("inside")?;
/// assert_eq!(first.range().len_bytes(), 1 << 16);
///
/// // The whole pages of a slice.
/// let numbers = vec![1u64; 100_000];
/// let pages = VaRange::of_slice(&numbers).whole_pages(PageSize::host());
/// assert_eq!(Memory::from(&numbers[..]).range(), pages);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    range: VaRange,
    known: Known,
    borrow: PhantomData<&'a ()>,
}

impl Memory<'_> {
    const fn new(range: VaRange, known: Known) -> Self {
        Self { range, known, borrow: PhantomData }
    }

    /// Promises that a range is a mapping of its own.
    ///
    /// # Safety
    ///
    /// 1. The pages were mapped for the caller alone, by `mmap` or the like, and hold no part of an
    ///    allocator, of a stack, or of the state of a device or of its notifiers.
    /// 2. Until they are unmapped, no allocator gives a part of them out.
    ///
    /// Otherwise a thread that answers page faults may wait for a page that it has to bring home
    /// itself, and the process hangs.
    #[must_use]
    pub const unsafe fn own_mapping(range: VaRange) -> Self {
        Self::new(range, Known::Mapping)
    }

    /// Returns the pages.
    #[must_use]
    pub const fn range(&self) -> VaRange {
        self.range
    }

    /// Keeps a part, of which as much is known; `None` if it lies outside.
    #[must_use]
    pub fn part(self, range: VaRange) -> Option<Self> {
        self.range.contains_range(&range).then_some(Self { range, ..self })
    }

    pub(crate) const fn known(&self) -> Known {
        self.known
    }
}

impl From<VaRange> for Memory<'static> {
    fn from(range: VaRange) -> Self {
        Memory::new(range, Known::Nothing)
    }
}

/// The pages that the slice has to itself. Values without locks and cells inside keep no state that
/// the thread that serves faults might need.
impl<'a, T: Copy> From<&'a [T]> for Memory<'a> {
    fn from(slice: &'a [T]) -> Self {
        Memory::new(VaRange::of_slice(slice).whole_pages(PageSize::host()), Known::Buffer)
    }
}

/// The pages of the mapping.
impl<'a> From<&'a MmapMut> for Memory<'a> {
    fn from(map: &'a MmapMut) -> Self {
        let range = VaRange::of_slice(map).pages_covering(PageSize::host());
        Memory::new(range, Known::Mapping)
    }
}

/// The pages of the mapping.
impl<'a> From<&'a MmapRaw> for Memory<'a> {
    fn from(map: &'a MmapRaw) -> Self {
        let start = crate::VirtAddr::from_ptr(map.as_ptr());
        let range = VaRange::from_len(start, map.len() as u64).unwrap_or_default();
        Memory::new(range.pages_covering(PageSize::host()), Known::Mapping)
    }
}

/// The pages of the mapping.
impl<'a> From<&'a OwnMapping> for Memory<'a> {
    fn from(mapping: &'a OwnMapping) -> Self {
        Memory::new(mapping.range(), Known::Mapping)
    }
}
