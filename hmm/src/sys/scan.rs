//! `PAGEMAP_SCAN` with conditions, without allocation, and with write protection if asked.
//!
//! # Safety
//!
//! One `ioctl` is made, `PAGEMAP_SCAN`. The kernel writes two places: the `walk_end` field of the
//! argument, and the vector of regions whose address and length stand in the argument. [`Request`]
//! borrows the vector mutably for as long as it holds the address. A flag makes it write-protect
//! pages, which changes no content.

use std::ffi::c_void;
use std::fs::File;
use std::marker::PhantomData;
use std::ptr;

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

use super::abi::{self, page_region, pm_scan_arg};
use crate::addr::{PageSize, VaRange, VirtAddr};

const PATH: &str = "/proc/self/pagemap";

/// How many regions one call may return: 3 KiB of them.
const REGIONS: usize = 128;

const NOTHING: page_region = page_region { start: 0, end: 0, categories: 0 };

/// The pages that a scan is about, in the kernel's words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    /// Flags for more work, `SCAN_PROTECT` and `SCAN_CHECK_ASYNC`.
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

    /// Finds out whether the request works here, by scanning nothing.
    pub(super) fn probe(&self) -> rustix::io::Result<()> {
        let nothing = Scan { flags: 0, wanted: 0, inverted: 0, returned: 0 };
        self.call(VaRange::default(), nothing, 0, &mut [NOTHING]).map(|_| ())
    }

    /// Lists the runs of pages that the scan is about in a page-aligned range, lowest first.
    ///
    /// Adjoining runs may be reported apart. The scan changes a page before it reports the page,
    /// and changes no page that it does not report.
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
        let mut regions = [NOTHING; REGIONS];
        let mut cursor = range.start();
        while cursor < range.end() {
            let rest = VaRange::new(cursor, range.end()).unwrap_or_default();
            let Scanned { filled, end } = self.call(rest, scan, any, &mut regions)?;
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

    /// Scans until the range or the room for regions is used up.
    fn call(
        &self,
        range: VaRange,
        scan: Scan,
        any: u64,
        regions: &mut [page_region],
    ) -> rustix::io::Result<Scanned> {
        // SAFETY: `ioctl` asks that opcode, operand and memory accesses be what the driver behind
        // the file does. The file was opened on `PATH`. The `Ioctl` implementation of `Request`
        // below is about the memory that the kernel writes.
        unsafe { ioctl(&self.file, Request::new(range, scan, any, regions)) }
    }
}

/// How far a call came.
struct Scanned {
    /// How many regions it filled.
    filled: usize,
    /// The first address that it did not look at.
    end: VirtAddr,
}

/// The argument of `PAGEMAP_SCAN`.
struct Request<'a> {
    /// 1. `size` is the size of the structure.
    /// 2. `vec` is the address of a slice borrowed mutably for `'a`, and `vec_len` at most its
    ///    length.
    arg: pm_scan_arg,
    regions: PhantomData<&'a mut [page_region]>,
}

impl<'a> Request<'a> {
    fn new(range: VaRange, scan: Scan, any: u64, regions: &'a mut [page_region]) -> Self {
        // The kernel allocates as much as it may return, so few pages are cheaper with little room.
        let pages = range.page_count(PageSize::host()).get().max(1);
        let arg = pm_scan_arg {
            size: size_of::<pm_scan_arg>() as u64,
            flags: scan.flags,
            start: range.start().get(),
            end: range.end().get(),
            walk_end: 0,
            vec: VirtAddr::of_slice_mut(regions).get(),
            vec_len: pages.min(regions.len() as u64),
            max_pages: 0,
            category_inverted: scan.inverted,
            category_mask: scan.wanted,
            category_anyof_mask: any,
            return_mask: scan.returned,
        };
        Self { arg, regions: PhantomData }
    }
}

// SAFETY: The trait asks for five things.
// - The call expects what `as_ptr` gives: a `pm_scan_arg`, whose size the opcode encodes (`abi`).
//   The kernel writes its `walk_end`, and at most `vec_len` regions at `vec`, which by invariant 2
//   is memory that no other code may use while `self` lives.
// - `output_from_ptr` reads the type that `as_ptr` pointed to.
// - The opcode is that of `PAGEMAP_SCAN` alone among the requests of this file.
// - The call is safe to make: its flags change permissions of pages, not content.
// - `IS_MUTATING` is true.
unsafe impl Ioctl for Request<'_> {
    type Output = Scanned;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        abi::PAGEMAP_SCAN
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(&mut self.arg).cast()
    }

    unsafe fn output_from_ptr(
        filled: IoctlOutput,
        arg: *mut c_void,
    ) -> rustix::io::Result<Self::Output> {
        // SAFETY: The caller passes the pointer that `as_ptr` returned, and `self` still lives:
        // `ioctl` owns it. It points to a whole, initialised and aligned `pm_scan_arg`.
        let arg = unsafe { arg.cast::<pm_scan_arg>().read() };
        let filled = usize::try_from(filled).map_err(|_| Errno::INVAL)?;
        Ok(Scanned { filled, end: VirtAddr::new(arg.walk_end) })
    }
}
