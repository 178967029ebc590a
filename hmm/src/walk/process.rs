//! The memory of this process, as a host for walks.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use crate::addr::{PageSize, VaRange};
use crate::error::{HostError, PagemapError};
use crate::host::residency::{PageState, ResidencyRun};
use crate::host::vma::{Device, Smaps, Vma, find_smaps};
use crate::host::{Detail, FaultInError, HostMm, PageAccess, PageEntry, PageRun};
use crate::sync::{Mutex, lock};
use crate::sys::maps::Maps;
use crate::sys::pagemap::Pagemap;
use crate::sys::populate::populate;

const SMAPS: &str = "/proc/self/smaps";
const PAGEMAP: &str = "/proc/self/pagemap";

/// In an entry of `/proc/self/pagemap`: no other process maps the page.
const ENTRY_EXCLUSIVE: u64 = 1 << 56;
/// In an entry of `/proc/self/pagemap`: a userfaultfd has write-protected the page.
const ENTRY_PROTECTED: u64 = 1 << 57;

/// How many entries one read takes: 32 KiB of them.
const ENTRIES: u64 = 4096;

/// The memory of this process, as far as it is at home.
///
/// Areas come from [`Maps`], pages from [`Pagemap`], and pages are faulted in by
/// `MADV_POPULATE_READ` and `MADV_POPULATE_WRITE`. It needs no privilege. It holds no pages on any
/// device.
///
/// No interface tells whether a page is writable. It is inferred: the area is writable, and the
/// page is not one of a file mapped privately; and, looking closely ([`Detail::Writability`]), no
/// other process maps a private page, it is not the page of zeroes, and no userfaultfd protects it.
/// Without the closer look, a page that is shared with a forked child, and the page of zeroes,
/// count as writable: a store through the address does succeed, after the kernel has made a copy. A
/// device that pins pages must ask for them with [`Request::WRITE`](crate::Request::WRITE), which
/// looks closely.
///
/// The value belongs to the process that opened it; after `fork` a child opens its own.
#[derive(Debug)]
pub struct ProcessMm {
    maps: Maps,
    pagemap: Pagemap,
    entries: File,
    /// The sizes of the huge pages of file systems, by their device: a file system has one.
    huge_pages: Mutex<BTreeMap<(u32, u32), PageSize>>,
}

impl ProcessMm {
    /// Opens the memory of this process, through the best source of each kind.
    ///
    /// # Errors
    ///
    /// - [`HostError::Maps`] and [`HostError::Pagemap`] if `/proc` does not show this process.
    /// - [`HostError::PopulateUnavailable`] before Linux 5.14, or if a sandbox forbids the call.
    pub fn open() -> Result<Self, HostError> {
        probe_populate()?;
        Ok(Self {
            maps: Maps::open()?,
            pagemap: Pagemap::open()?,
            entries: File::open(PAGEMAP).map_err(|source| PagemapError::Open { source })?,
            huge_pages: Mutex::new(BTreeMap::new()),
        })
    }

    /// Returns the size of the pages that map an area where it is mapped by huge pages.
    fn huge_page_size(&self, vma: &Vma) -> Result<PageSize, HostError> {
        if !vma.is_file_backed() {
            return Ok(transparent());
        }
        let Device { major, minor } = vma.device;
        if let Some(&size) = lock(&self.huge_pages).get(&(major, minor)) {
            return Ok(size);
        }
        let Some(Smaps { page_size, .. }) = smaps(vma)? else {
            return Ok(transparent());
        };
        let size = if page_size > PageSize::host() { page_size } else { transparent() };
        lock(&self.huge_pages).insert((major, minor), size);
        Ok(size)
    }

    /// Splits a run of present pages into those that can be written as they are and the others.
    fn split(&self, vma: &Vma, run: &PageRun, runs: &mut Vec<PageRun>) -> Result<(), HostError> {
        if run.mapping > PageSize::host() {
            // One entry holds for all pages of a huge mapping.
            for range in run.range.pages(run.mapping).filter_map(|m| m.intersection(&run.range)) {
                let writable = self.entry(range)?.is_some_and(|entry| is_writable(entry, vma));
                push(runs, PageRun { range, entry: PageEntry::Present { writable }, ..*run });
            }
            return Ok(());
        }
        let chunk = PageSize::new(PageSize::host().bytes() * ENTRIES).unwrap_or(PageSize::host());
        for chunk in run.range.pages(chunk).filter_map(|chunk| chunk.intersection(&run.range)) {
            let entries = self.read_entries(chunk)?;
            for (range, &entry) in chunk.pages(PageSize::host()).zip(&entries) {
                let entry = PageEntry::Present { writable: is_writable(entry, vma) };
                push(runs, PageRun { range, entry, ..*run });
            }
        }
        Ok(())
    }

    /// Reads the entry of the first page of `range`.
    fn entry(&self, range: VaRange) -> Result<Option<u64>, HostError> {
        let first = range.pages(PageSize::host()).next().unwrap_or_default();
        Ok(self.read_entries(first)?.first().copied())
    }

    fn read_entries(&self, pages: VaRange) -> Result<Vec<u64>, HostError> {
        let size = PageSize::host();
        let mut entries = vec![0; usize::try_from(pages.page_count(size).get()).unwrap_or(0)];
        let offset_bytes = pages.start().page_number(size).get() * size_of::<u64>() as u64;
        let read = self.entries.read_exact_at(bytemuck::cast_slice_mut(&mut entries), offset_bytes);
        read.map_err(|source| PagemapError::Examine { range: pages, source })?;
        Ok(entries)
    }
}

impl HostMm for ProcessMm {
    fn vmas(&self, range: VaRange) -> Result<Vec<Vma>, HostError> {
        Ok(self.maps.vmas(range)?)
    }

    fn is_special(&self, vma: &Vma) -> Result<bool, HostError> {
        match vma.name.as_deref().map_or(Suspicion::None, suspicion) {
            Suspicion::None => Ok(false),
            Suspicion::Proven => Ok(true),
            Suspicion::Possible => Ok(smaps(vma)?.is_some_and(|smaps| smaps.special)),
        }
    }

    fn pages(&self, vma: &Vma, range: VaRange, detail: Detail) -> Result<Vec<PageRun>, HostError> {
        let residency = self.pagemap.residency(range)?;
        let mut runs = Vec::with_capacity(residency.runs().len());
        for run in residency.runs() {
            let huge = run.huge == Some(true);
            let mapping = if huge { self.huge_page_size(vma)? } else { PageSize::host() };
            let run = PageRun { range: run.range, entry: entry(run, vma), mapping };
            let unclear = run.entry == PageEntry::Present { writable: true } && vma.flags.write;
            match detail {
                Detail::Writability if unclear => self.split(vma, &run, &mut runs)?,
                _ => push(&mut runs, run),
            }
        }
        Ok(runs)
    }

    fn fault_in(&self, range: VaRange, access: PageAccess) -> Result<(), FaultInError> {
        populate(range, access).map_err(|errno| match errno {
            Errno::AGAIN | Errno::INTR | Errno::BUSY => FaultInError::Again,
            Errno::NOMEM => FaultInError::NoMemory,
            Errno::INVAL => FaultInError::Refused,
            Errno::FAULT | Errno::HWPOISON => FaultInError::BadPage,
            errno => HostError::Populate { range, source: errno.into() }.into(),
        })
    }
}

/// Populates a page of the stack, which is there already.
fn probe_populate() -> Result<(), HostError> {
    let local = 0u8;
    let page = VaRange::of(&local).pages_covering(PageSize::host());
    let probed = populate(page, PageAccess::Read);
    probed.map_err(|errno| HostError::PopulateUnavailable { source: errno.into() })
}

/// The size of a transparent huge page: what one entry of the page table's second level maps.
fn transparent() -> PageSize {
    let page = PageSize::host().bytes();
    PageSize::new(page * page / size_of::<u64>() as u64).unwrap_or(PageSize::MIB_2)
}

/// The entry of the page table, given what can be seen of it.
fn entry(run: &ResidencyRun, vma: &Vma) -> PageEntry {
    match run.state {
        PageState::Absent => PageEntry::Empty,
        PageState::Swapped => PageEntry::Swapped,
        PageState::Anonymous => PageEntry::Present { writable: true },
        // The first store to a private page of a file makes a copy.
        PageState::File => PageEntry::Present { writable: vma.flags.shared },
    }
}

/// Tells whether a page can be written as it is, in an area that allows it.
fn is_writable(entry: u64, vma: &Vma) -> bool {
    let own = vma.flags.shared || entry & ENTRY_EXCLUSIVE != 0;
    own && entry & ENTRY_PROTECTED == 0
}

/// Appends a run, or lengthens the last one.
fn push(runs: &mut Vec<PageRun>, run: PageRun) {
    match runs.last_mut() {
        Some(last) if (last.entry, last.mapping) == (run.entry, run.mapping) => {
            last.range = VaRange::new(last.range.start(), run.range.end()).unwrap_or(last.range);
        }
        _ => runs.push(run),
    }
}

/// Whether an area may map something other than memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    None,
    Possible,
    Proven,
}

/// Judges an area by its name. Only drivers and the kernel itself map other things than memory, and
/// such areas have names by which they are known. Reading smaps for every area would cost too much.
fn suspicion(name: &OsStr) -> Suspicion {
    const KERNEL: [&[u8]; 2] = [b"[vvar", b"[vsyscall]"];
    const MEMORY: [&[u8]; 3] = [b"/dev/shm/", b"/dev/hugepages/", b"/dev/zero"];
    const DRIVERS: [&[u8]; 3] = [b"/dev/", b"anon_inode:", b"/dmabuf:"];
    let starts = |prefixes: &[&[u8]]| prefixes.iter().any(|p| name.as_bytes().starts_with(p));
    if starts(&KERNEL) {
        return Suspicion::Proven;
    }
    let possible = starts(&DRIVERS) && !starts(&MEMORY);
    if possible { Suspicion::Possible } else { Suspicion::None }
}

/// Looks an area up in smaps; `None` if it has changed since.
fn smaps(vma: &Vma) -> Result<Option<Smaps>, HostError> {
    let text = fs::read(SMAPS).map_err(|source| HostError::Smaps { source })?;
    Ok(find_smaps(&text, vma.range.start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_raises_suspicion() {
        let judged = |name: &str| suspicion(OsStr::new(name));
        for name in ["[heap]", "[vdso]", "/usr/lib/libc.so.6", "/dev/shm/x", "/dev/zero (deleted)"]
        {
            assert_eq!(judged(name), Suspicion::None, "{name}");
        }
        for name in ["/dev/dri/renderD128", "anon_inode:[io_uring]", "/dmabuf:"] {
            assert_eq!(judged(name), Suspicion::Possible, "{name}");
        }
        assert_eq!(judged("[vvar_vclock]"), Suspicion::Proven);
    }

    #[test]
    fn a_transparent_huge_page_is_one_table_of_small_ones() {
        if PageSize::host() == PageSize::KIB_4 {
            assert_eq!(transparent(), PageSize::MIB_2);
        }
    }
}
