//! `PAGEMAP_SCAN` with conditions, without allocation, and with write protection if asked.
//!
//! # Safety
//!
//! One `ioctl` is made, `PAGEMAP_SCAN`. The kernel writes the argument, and a vector of regions
//! whose address and length stand in the argument; both are local to the call. A flag makes it
//! write-protect pages, which changes no content.

use std::fs::File;

use rustix::io::Errno;
use rustix::ioctl::{Updater, ioctl};

use super::abi::{self, page_region, pm_scan_arg};
use crate::addr::{PageSize, VaRange, VirtAddr};

const PATH: &str = "/proc/self/pagemap";

/// How many regions one call may return: 3 KiB of them.
const REGIONS: usize = 128;

const NOTHING: page_region = page_region { start: 0, end: 0, categories: 0 };

/// Which pages a scan is about, in the kernel's words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// What else to do, `SCAN_PROTECT` and `SCAN_CHECK_ASYNC`.
    pub(super) flags: u64,
    /// The categories that count; a page has all of them.
    pub(super) wanted: u64,
    /// Those of the categories that count as wanted where a page does not have them.
    pub(super) inverted: u64,
    /// The categories to tell regions apart by.
    pub(super) returned: u64,
}

/// The page table of this process, to be searched.
///
/// As with all files of `/proc/self`, a child's copy is about the parent.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Opened on [`PATH`].
    file: File,
}

impl Scanner {
    /// Opens the page table.
    pub(super) fn open() -> std::io::Result<Self> {
        Ok(Self { file: File::open(PATH)? })
    }

    /// Lists the runs of pages that the scan is about in a page-aligned range, lowest first.
    ///
    /// Adjoining runs may be reported apart. What the scan does to a page is done before the page
    /// is reported, and to no page that is not.
    pub(super) fn scan(
        &self,
        range: VaRange,
        scan: Scan,
        mut found: impl FnMut(VaRange),
    ) -> rustix::io::Result<()> {
        self.each_region(range, scan, 0, |run, _| found(run))
    }

    /// Lists the runs of pages that have any of some categories, and which of others they have.
    pub(super) fn scan_any(
        &self,
        range: VaRange,
        any: u64,
        returned: u64,
        found: impl FnMut(VaRange, u64),
    ) -> rustix::io::Result<()> {
        let scan = Scan { flags: 0, wanted: 0, inverted: 0, returned };
        self.each_region(range, scan, any, found)
    }

    fn each_region(
        &self,
        range: VaRange,
        scan: Scan,
        any: u64,
        mut found: impl FnMut(VaRange, u64),
    ) -> rustix::io::Result<()> {
        let mut cursor = range.start();
        while cursor < range.end() {
            let rest = VaRange::new(cursor, range.end()).unwrap_or_default();
            let mut regions = [NOTHING; REGIONS];
            let (filled, end) = self.call(rest, scan, any, &mut regions)?;
            for region in regions.iter().take(filled) {
                let (start, end) = (VirtAddr::new(region.start), VirtAddr::new(region.end));
                if let Some(run) = VaRange::new(start, end) {
                    found(run, region.categories);
                }
            }
            if end <= cursor {
                return Err(Errno::IO);
            }
            cursor = end;
        }
        Ok(())
    }

    /// Makes one call: returns how many regions it filled and where it ended.
    fn call(
        &self,
        range: VaRange,
        scan: Scan,
        any: u64,
        regions: &mut [page_region; REGIONS],
    ) -> rustix::io::Result<(usize, VirtAddr)> {
        // The kernel allocates as much as it may return, so few pages are cheaper with little room.
        let pages = range.page_count(PageSize::host()).get();
        let mut arg = pm_scan_arg {
            size: size_of::<pm_scan_arg>() as u64,
            flags: scan.flags,
            start: range.start().get(),
            end: range.end().get(),
            walk_end: 0,
            vec: VirtAddr::of_slice_mut(regions).get(),
            vec_len: pages.clamp(1, REGIONS as u64),
            max_pages: 0,
            category_inverted: scan.inverted,
            category_mask: scan.wanted,
            category_anyof_mask: any,
            return_mask: scan.returned,
        };
        // SAFETY: `Updater` asks that the opcode be valid and that the kernel expect this structure
        // for it; `abi` derives the opcode from the structure and asserts both.
        let update = unsafe { Updater::<{ abi::PAGEMAP_SCAN }, pm_scan_arg>::new(&mut arg) };
        // SAFETY: `ioctl` asks that opcode, operand and memory accesses be what the driver behind
        // the file does. The file was opened on `PATH`. The kernel writes `arg`, which `update`
        // borrows, and at most `vec_len` regions at `vec`, which is `regions`, borrowed mutably
        // and exposed for writing above. The flags change permissions of pages, not content.
        unsafe { ioctl(&self.file, update) }?;
        // The number of regions is the status of the call, which `Updater` drops. A region that
        // was filled is not empty, and all were empty before.
        let filled = regions.iter().take_while(|region| region.end != 0).count();
        Ok((filled, VirtAddr::new(arg.walk_end)))
    }
}
