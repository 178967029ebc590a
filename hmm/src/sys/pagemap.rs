//! Examination of the host page table: `PAGEMAP_SCAN`, or the entries of `/proc/self/pagemap`.
//!
//! # Safety
//!
//! Nothing here is unsafe. The scan is that of `scan.rs`, without the flags that would
//! write-protect pages; the other source reads a file into a buffer.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use super::abi;
use super::maps::Maps;
use super::scan::Scanner;
use crate::addr::{PageSize, VaRange};
use crate::error::PagemapError;
use crate::host::residency::{PageState, Residency, ResidencyBuilder, ResidencyRun};
use crate::host::vma::Vma;

const PATH: &str = "/proc/self/pagemap";

/// How many entries one read of `/proc/self/pagemap` takes: 32 KiB of them.
const ENTRIES: u64 = 4096;

/// How [`Pagemap`] examines pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PagemapSource {
    /// The `PAGEMAP_SCAN` request of Linux 6.7, which skips what is empty and sees huge pages.
    Scan,
    /// One 64-bit entry per page, read from `/proc/self/pagemap` area by area.
    Entries,
}

/// The host page table of this process, as far as the kernel shows it.
///
/// Looking has no effect: no page is faulted in, none is marked.
///
/// The value belongs to the process that opened it: a child made by `fork` that uses its copy is
/// told about its parent. A child opens its own.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{Pagemap, VaRange};
///
/// let pagemap = Pagemap::open()?;
/// let numbers = vec![1u64; 10_000];
/// let residency = pagemap.residency(VaRange::of_slice(&numbers))?;
/// assert_eq!(residency.absent_pages().get(), 0, "every page was written");
/// # Ok::<(), farptr_hmm::PagemapError>(())
/// ```
#[derive(Debug)]
pub struct Pagemap {
    page_size: PageSize,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Scan(Scanner),
    Entries {
        /// Opened on [`PATH`].
        file: File,
        maps: Maps,
    },
}

impl Pagemap {
    /// Opens the best source that works here.
    ///
    /// # Errors
    ///
    /// - [`PagemapError::Open`] if `/proc/self/pagemap` cannot be opened.
    /// - [`PagemapError::Maps`] if pages must be read one by one and `/proc/self/maps` cannot be
    ///   opened.
    pub fn open() -> Result<Self, PagemapError> {
        match Self::open_with(PagemapSource::Scan) {
            Err(PagemapError::ScanUnavailable { .. }) => Self::open_with(PagemapSource::Entries),
            opened => opened,
        }
    }

    /// Opens one particular source.
    ///
    /// # Errors
    ///
    /// - [`PagemapError::Open`] if `/proc/self/pagemap` cannot be opened.
    /// - [`PagemapError::ScanUnavailable`] if the source is [`PagemapSource::Scan`] and the kernel
    ///   does not offer it.
    /// - [`PagemapError::Maps`] if the source is [`PagemapSource::Entries`] and `/proc/self/maps`
    ///   cannot be opened.
    pub fn open_with(source: PagemapSource) -> Result<Self, PagemapError> {
        let closed = |source| PagemapError::Open { source };
        let backend = match source {
            PagemapSource::Scan => {
                let scanner = Scanner::open().map_err(closed)?;
                let missing = |e: Errno| PagemapError::ScanUnavailable { source: e.into() };
                scanner.probe().map_err(missing)?;
                Backend::Scan(scanner)
            }
            PagemapSource::Entries => {
                let file = File::open(PATH).map_err(closed)?;
                Backend::Entries { file, maps: open_maps()? }
            }
        };
        Ok(Self { page_size: PageSize::host(), backend })
    }

    /// Returns the source in use.
    #[must_use]
    pub fn source(&self) -> PagemapSource {
        match self.backend {
            Backend::Scan(_) => PagemapSource::Scan,
            Backend::Entries { .. } => PagemapSource::Entries,
        }
    }

    /// Reports the state of every page that `range` touches.
    ///
    /// Addresses that are not mapped are [`PageState::Absent`] like pages that were never touched,
    /// and a page behind `PROT_NONE` is still present: ask [`Maps`] about permission first.
    ///
    /// # Errors
    ///
    /// - [`PagemapError::OutsideUserSpace`] if the range passes the end of user memory.
    /// - [`PagemapError::Examine`] if the kernel refuses for another reason.
    /// - [`PagemapError::Maps`] if pages are read one by one and the areas cannot be listed.
    pub fn residency(&self, range: VaRange) -> Result<Residency, PagemapError> {
        let mut builder = ResidencyBuilder::new(range, self.page_size);
        match &self.backend {
            Backend::Scan(scanner) => scan(scanner, &mut builder)?,
            Backend::Entries { file, maps } => self.read_entries(file, maps, &mut builder)?,
        }
        Ok(builder.finish())
    }

    fn read_entries(
        &self,
        file: &File,
        maps: &Maps,
        builder: &mut ResidencyBuilder,
    ) -> Result<(), PagemapError> {
        let range = builder.range();
        self.check_user_space(file, range)?;
        let vmas = maps.vmas(range).map_err(|source| PagemapError::Maps { range, source })?;
        for vma in &vmas {
            if let Some(part) = vma.range.intersection(&range) {
                self.read_area(file, vma, part, builder)?;
            }
        }
        Ok(())
    }

    /// Reads the last entry of the range: the file ends where user memory does.
    fn check_user_space(&self, file: &File, range: VaRange) -> Result<(), PagemapError> {
        match range.pages(self.page_size).next_back() {
            Some(last) => self.read_chunk(file, last, &mut [0]),
            None => Ok(()),
        }
        .map_err(|error| outside(error, range))
    }

    /// Pushes the pages of `part`, which lies in `vma`.
    fn read_area(
        &self,
        file: &File,
        vma: &Vma,
        part: VaRange,
        builder: &mut ResidencyBuilder,
    ) -> Result<(), PagemapError> {
        let mut entries = Vec::new();
        for chunk in part.pages(self.chunk_size()).filter_map(|chunk| chunk.intersection(&part)) {
            let count = chunk.page_count(self.page_size).get();
            entries.clear();
            entries.resize(usize::try_from(count).unwrap_or(0), 0);
            self.read_chunk(file, chunk, &mut entries).map_err(|e| outside(e, builder.range()))?;
            for (page, &entry) in chunk.pages(self.page_size).zip(&entries) {
                builder.push(decode_entry(page, entry, vma));
            }
        }
        Ok(())
    }

    /// The bytes of memory that one buffer of entries describes.
    fn chunk_size(&self) -> PageSize {
        PageSize::new(self.page_size.bytes().saturating_mul(ENTRIES)).unwrap_or(self.page_size)
    }

    /// Reads the entries of `pages`, one per element of `entries`.
    fn read_chunk(&self, file: &File, pages: VaRange, entries: &mut [u64]) -> io::Result<()> {
        let first = pages.start().page_number(self.page_size).get();
        let offset_bytes = first * size_of::<u64>() as u64;
        file.read_exact_at(bytemuck::cast_slice_mut(entries), offset_bytes)
    }
}

fn open_maps() -> Result<Maps, PagemapError> {
    Maps::open().map_err(|source| PagemapError::Maps { range: VaRange::USER, source })
}

fn scan(scanner: &Scanner, builder: &mut ResidencyBuilder) -> Result<(), PagemapError> {
    let range = builder.range();
    let there = abi::SCAN_PRESENT | abi::SCAN_SWAPPED;
    let returned = there | abi::SCAN_FILE | abi::SCAN_ZERO | abi::SCAN_HUGE;
    scanner
        .scan_any(range, there, returned, |run, categories| {
            builder.push(decode_region(run, categories));
        })
        .map_err(|errno| refused(range, errno.into()))
}

/// Names a failed scan. The kernel answers `EFAULT` to addresses that a process cannot have.
fn refused(range: VaRange, source: io::Error) -> PagemapError {
    if source.raw_os_error() == Some(Errno::FAULT.raw_os_error()) {
        return PagemapError::OutsideUserSpace { range };
    }
    PagemapError::Examine { range, source }
}

/// Names a failed read. The file has no entries for addresses that a process cannot have.
fn outside(source: io::Error, range: VaRange) -> PagemapError {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        return PagemapError::OutsideUserSpace { range };
    }
    PagemapError::Examine { range, source }
}

fn decode_region(range: VaRange, categories: u64) -> ResidencyRun {
    let is = |category: u64| categories & category != 0;
    let state = match (is(abi::SCAN_PRESENT), is(abi::SCAN_SWAPPED)) {
        (true, _) if is(abi::SCAN_FILE) && !is(abi::SCAN_ZERO) => PageState::File,
        (true, _) => PageState::Anonymous,
        (false, true) => PageState::Swapped,
        (false, false) => PageState::Absent,
    };
    ResidencyRun { range, state, huge: Some(state.is_present() && is(abi::SCAN_HUGE)) }
}

/// Decodes the entry of a page of `vma`.
///
/// The kernel's huge page of zeroes is not anonymous to this interface, so the entry alone would
/// pass for a page of a file.
fn decode_entry(page: VaRange, entry: u64, vma: &Vma) -> ResidencyRun {
    let is = |bit: u64| entry & bit != 0;
    let state = match (is(abi::ENTRY_PRESENT), is(abi::ENTRY_SWAPPED)) {
        (true, _) if is(abi::ENTRY_FILE) && !vma.is_private_anonymous() => PageState::File,
        (true, _) => PageState::Anonymous,
        (false, true) => PageState::Swapped,
        (false, false) => PageState::Absent,
    };
    ResidencyRun { range: page, state, huge: (!state.is_present()).then_some(false) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::VirtAddr;
    use crate::host::vma::{Device, VmaFlags};

    fn page() -> VaRange {
        VaRange::from_len(VirtAddr::new(0x1000), 0x1000).expect("a user range")
    }

    fn vma(inode: u64, shared: bool) -> Vma {
        Vma {
            range: page(),
            flags: VmaFlags { read: true, shared, ..VmaFlags::default() },
            offset_bytes: 0,
            device: Device::default(),
            inode,
            name: None,
        }
    }

    fn region(categories: u64) -> ResidencyRun {
        decode_region(page(), categories)
    }

    #[test]
    fn a_region_is_what_its_categories_say() {
        use abi::{SCAN_FILE, SCAN_HUGE, SCAN_PRESENT, SCAN_SWAPPED, SCAN_ZERO};
        assert_eq!(region(0).state, PageState::Absent);
        assert_eq!(region(SCAN_PRESENT).state, PageState::Anonymous);
        assert_eq!(region(SCAN_PRESENT | SCAN_FILE).state, PageState::File);
        assert_eq!(region(SCAN_PRESENT | SCAN_FILE | SCAN_ZERO).state, PageState::Anonymous);
        assert_eq!(region(SCAN_SWAPPED).state, PageState::Swapped);
        assert_eq!(region(SCAN_PRESENT | SCAN_HUGE).huge, Some(true));
        assert_eq!(region(SCAN_PRESENT).huge, Some(false));
        assert_eq!(region(SCAN_SWAPPED | SCAN_HUGE).huge, Some(false));
    }

    #[test]
    fn an_entry_is_what_its_bits_and_its_area_say() {
        use abi::{ENTRY_FILE, ENTRY_PRESENT, ENTRY_SWAPPED};
        let state = |entry, vma: Vma| decode_entry(page(), entry, &vma).state;
        assert_eq!(state(0, vma(0, false)), PageState::Absent);
        assert_eq!(state(ENTRY_PRESENT, vma(7, false)), PageState::Anonymous);
        assert_eq!(state(ENTRY_PRESENT | ENTRY_FILE, vma(7, false)), PageState::File);
        assert_eq!(state(ENTRY_PRESENT | ENTRY_FILE, vma(7, true)), PageState::File);
        assert_eq!(state(ENTRY_PRESENT | ENTRY_FILE, vma(0, false)), PageState::Anonymous);
        assert_eq!(state(ENTRY_SWAPPED, vma(0, false)), PageState::Swapped);
    }

    #[test]
    fn entries_cannot_tell_huge_pages_but_know_what_is_not_there() {
        let huge = |entry| decode_entry(page(), entry, &vma(0, false)).huge;
        assert_eq!(huge(abi::ENTRY_PRESENT), None);
        assert_eq!(huge(abi::ENTRY_SWAPPED), Some(false));
        assert_eq!(huge(0), Some(false));
    }
}
