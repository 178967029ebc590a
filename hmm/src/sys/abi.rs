//! Numbers and layouts of the kernel interfaces, checked when the crate is compiled.
//!
//! # Safety
//!
//! The file contains no unsafe code, but the rest of the folder relies on it: an `ioctl` number
//! that belongs to another request, or a structure of another size, would let the kernel write
//! where it must not. The assertions below compare every number with the encoding rule, spelled
//! out once more, and every structure with its size in the kernel's header.

use std::mem::{offset_of, size_of};

use linux_raw_sys::general::{
    PAGE_IS_FILE, PAGE_IS_HUGE, PAGE_IS_PFNZERO, PAGE_IS_PRESENT, PAGE_IS_SWAPPED,
    procmap_query_flags as query_flags,
};
use rustix::ioctl::{Opcode, opcode};

pub(super) use linux_raw_sys::general::{page_region, pm_scan_arg, procmap_query};

/// The letter of the file system requests.
const FILE_SYSTEM: u8 = b'f';

/// Scans the page table for pages of given categories. Linux 6.7.
pub(super) const PAGEMAP_SCAN: Opcode = opcode::read_write::<pm_scan_arg>(FILE_SYSTEM, 16);

/// Describes the memory area at an address. Linux 6.11.
pub(super) const PROCMAP_QUERY: Opcode = opcode::read_write::<procmap_query>(FILE_SYSTEM, 17);

/// The area that contains the address or, failing that, the next one above.
pub(super) const QUERY_COVERING_OR_NEXT: u64 =
    query_flags::PROCMAP_QUERY_COVERING_OR_NEXT_VMA as u64;
/// The area may be read.
pub(super) const VMA_READABLE: u64 = query_flags::PROCMAP_QUERY_VMA_READABLE as u64;
/// The area may be written.
pub(super) const VMA_WRITABLE: u64 = query_flags::PROCMAP_QUERY_VMA_WRITABLE as u64;
/// The area may be executed.
pub(super) const VMA_EXECUTABLE: u64 = query_flags::PROCMAP_QUERY_VMA_EXECUTABLE as u64;
/// The area is mapped shared.
pub(super) const VMA_SHARED: u64 = query_flags::PROCMAP_QUERY_VMA_SHARED as u64;

/// The page table maps a page.
pub(super) const SCAN_PRESENT: u64 = PAGE_IS_PRESENT as u64;
/// The entry is neither empty nor maps a page.
pub(super) const SCAN_SWAPPED: u64 = PAGE_IS_SWAPPED as u64;
/// The page belongs to a file or to shared memory.
pub(super) const SCAN_FILE: u64 = PAGE_IS_FILE as u64;
/// The page is the kernel's page of zeroes, small or huge.
pub(super) const SCAN_ZERO: u64 = PAGE_IS_PFNZERO as u64;
/// The page is mapped by a huge page.
pub(super) const SCAN_HUGE: u64 = PAGE_IS_HUGE as u64;

/// In an entry of `/proc/self/pagemap`: the page table maps a page.
pub(super) const ENTRY_PRESENT: u64 = 1 << 63;
/// In an entry of `/proc/self/pagemap`: the entry is neither empty nor maps a page.
pub(super) const ENTRY_SWAPPED: u64 = 1 << 62;
/// In an entry of `/proc/self/pagemap`: the page is not anonymous.
pub(super) const ENTRY_FILE: u64 = 1 << 61;

/// The longest name that `PROCMAP_QUERY` writes, its terminating zero included.
pub(super) const NAME_BYTES: usize = linux_raw_sys::general::PATH_MAX as usize;

/// The encoding rule for a request that reads and writes a structure, on the machines that use
/// the generic one.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
const fn read_write_request(letter: u8, number: u32, struct_bytes: usize) -> u64 {
    const READ_WRITE: u64 = 3;
    READ_WRITE << 30 | (struct_bytes as u64) << 16 | (letter as u64) << 8 | number as u64
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
const _: () = {
    assert!(PAGEMAP_SCAN as u64 == read_write_request(b'f', 16, 96));
    assert!(PAGEMAP_SCAN as u64 == 0xc060_6610);
    assert!(PROCMAP_QUERY as u64 == read_write_request(b'f', 17, 104));
    assert!(PROCMAP_QUERY as u64 == 0xc068_6611);
};

const _: () = {
    assert!(size_of::<pm_scan_arg>() == 12 * 8);
    assert!(offset_of!(pm_scan_arg, walk_end) == 32);
    assert!(offset_of!(pm_scan_arg, vec) == 40);
    assert!(size_of::<page_region>() == 3 * 8);
    assert!(offset_of!(page_region, categories) == 16);
    assert!(size_of::<procmap_query>() == 9 * 8 + 4 * 4 + 2 * 8);
    assert!(offset_of!(procmap_query, vma_name_size) == 80);
    assert!(offset_of!(procmap_query, vma_name_addr) == 88);
};
