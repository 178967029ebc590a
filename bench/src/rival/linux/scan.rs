//! One `PAGEMAP_SCAN` of a whole range.
//!
//! # Safety
//!
//! Rule 2 of the parent module: the kernel writes the structure of the request and the vector of
//! regions, both of which the value lends.

use super::Memory;
use crate::failure::Failure;
use linux_raw_sys::general::{
    PAGE_IS_FILE, PAGE_IS_HUGE, PAGE_IS_PFNZERO, PAGE_IS_PRESENT, PAGE_IS_SWAPPED, page_region,
    pm_scan_arg,
};
use rustix::ioctl::{Opcode, opcode};
use std::{fs::File, io, os::fd::AsRawFd};

const PAGEMAP_SCAN: Opcode = opcode::read_write::<pm_scan_arg>(b'f', 16);

/// Room for the regions of one scan; the kernel itself gathers no more of them at a time.
const REGIONS: usize = 512;

const PRESENT: u64 = PAGE_IS_PRESENT as u64;
const HUGE: u64 = PAGE_IS_HUGE as u64;
/// A page that is there, or was and is to come back.
const ANY: u64 = PRESENT | PAGE_IS_SWAPPED as u64;
/// The categories that tell apart pages that a device may read, may write, or must have faulted in.
const RETURNED: u64 = ANY | HUGE | PAGE_IS_FILE as u64 | PAGE_IS_PFNZERO as u64;

/// How many small pages of a range are there, and how many of these are parts of huge ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) present: u64,
    pub(crate) huge: u64,
}

/// The page table of this process, and room for what a scan finds.
#[derive(Debug)]
pub(crate) struct Scanner {
    pagemap: File,
    regions: Vec<page_region>,
}

impl Scanner {
    pub(crate) fn open() -> Result<Self, Failure> {
        let pagemap = File::open("/proc/self/pagemap")
            .map_err(|source| Failure::Linux { call: "open of /proc/self/pagemap", source })?;
        let empty = page_region { start: 0, end: 0, categories: 0 };
        Ok(Self { pagemap, regions: vec![empty; REGIONS] })
    }

    /// Counts the pages of `memory`, by one call; memory in more pieces than there is room for
    /// is an error.
    pub(crate) fn scan(&mut self, memory: &Memory) -> Result<Pages, Failure> {
        let end = memory.start() + memory.len_bytes();
        let mut arg = pm_scan_arg {
            size: size_of::<pm_scan_arg>() as u64,
            flags: 0,
            start: memory.start(),
            end,
            walk_end: 0,
            vec: self.regions.as_mut_ptr().expose_provenance() as u64,
            vec_len: self.regions.len() as u64,
            max_pages: 0,
            category_inverted: 0,
            category_mask: 0,
            category_anyof_mask: ANY,
            return_mask: RETURNED,
        };
        let argument: *mut pm_scan_arg = &mut arg;
        // SAFETY: 2. the descriptor is that of the page table, for which the number means this
        // structure; the kernel writes its `walk_end` and at most `vec_len` regions at `vec`, which
        // `self` lends. Without flags it changes no page.
        let filled =
            unsafe { libc::ioctl(self.pagemap.as_raw_fd(), PAGEMAP_SCAN.into(), argument) };
        let filled = usize::try_from(filled).map_err(|_| failed(io::Error::last_os_error()))?;
        if arg.walk_end < end {
            return Err(failed(io::Error::other("the range is in too many pieces")));
        }
        Ok(tally(&self.regions[..filled]))
    }
}

fn tally(regions: &[page_region]) -> Pages {
    let page_bytes = rustix::param::page_size() as u64;
    let count = |wanted: u64| {
        let regions = regions.iter().filter(|region| region.categories & wanted == wanted);
        regions.map(|region| (region.end - region.start) / page_bytes).sum()
    };
    Pages { present: count(PRESENT), huge: count(PRESENT | HUGE) }
}

fn failed(source: io::Error) -> Failure {
    Failure::Linux { call: "PAGEMAP_SCAN", source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rival::HugePages;

    #[test]
    fn populating_makes_all_pages_present() {
        let mut scanner = Scanner::open().unwrap();
        let memory = Memory::map(1 << 20, HugePages::Never).unwrap();
        assert_eq!(scanner.scan(&memory).unwrap(), Pages { present: 0, huge: 0 });
        memory.populate().unwrap();
        let pages = (1 << 20) / rustix::param::page_size() as u64;
        assert_eq!(scanner.scan(&memory).unwrap(), Pages { present: pages, huge: 0 });
    }
}
