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
    self as raw, PAGE_IS_FILE, PAGE_IS_HUGE, PAGE_IS_PFNZERO, PAGE_IS_PRESENT, PAGE_IS_SWAPPED,
    PAGE_IS_WRITTEN, procmap_query_flags as query_flags,
};
use rustix::ioctl::{Opcode, opcode};

pub(super) use linux_raw_sys::general::{
    page_region, pm_scan_arg, procmap_query, uffd_msg, uffdio_api, uffdio_continue, uffdio_copy,
    uffdio_move, uffdio_poison, uffdio_range, uffdio_register, uffdio_writeprotect,
    uffdio_zeropage,
};

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

/// The entry is not write-protected by a userfaultfd. An empty entry is not.
pub(super) const SCAN_WRITTEN: u64 = PAGE_IS_WRITTEN as u64;
/// Write-protects every page that the scan returns.
pub(super) const SCAN_PROTECT: u64 = raw::PM_SCAN_WP_MATCHING as u64;
/// Fails where no userfaultfd protects pages without events.
pub(super) const SCAN_CHECK_ASYNC: u64 = raw::PM_SCAN_CHECK_WPASYNC as u64;

/// In an entry of `/proc/self/pagemap`: the page table maps a page.
pub(super) const ENTRY_PRESENT: u64 = 1 << 63;
/// In an entry of `/proc/self/pagemap`: the entry is neither empty nor maps a page.
pub(super) const ENTRY_SWAPPED: u64 = 1 << 62;
/// In an entry of `/proc/self/pagemap`: the page is not anonymous.
pub(super) const ENTRY_FILE: u64 = 1 << 61;

/// The longest name that `PROCMAP_QUERY` writes, its terminating zero included.
pub(super) const NAME_BYTES: usize = linux_raw_sys::general::PATH_MAX as usize;

/// The letter of the userfaultfd requests.
const USERFAULT: u8 = 0xaa;

/// The version of the userfaultfd interface, the only one there is.
pub(super) const UFFD_API: u64 = raw::UFFD_API as u64;
/// A flag of a new userfaultfd: it serves faults that the CPU takes in user mode only. Linux 5.11.
pub(super) const USER_MODE_ONLY: u32 = raw::UFFD_USER_MODE_ONLY;

/// Makes a userfaultfd from `/dev/userfaultfd`; the argument is a number. Linux 6.1.
pub(super) const USERFAULTFD_NEW: Opcode = opcode::none(USERFAULT, 0x00);
/// Agrees on a version and on features, once in the life of a userfaultfd.
pub(super) const UFFDIO_API: Opcode = opcode::read_write::<uffdio_api>(USERFAULT, 0x3f);
/// Starts to watch a range.
pub(super) const UFFDIO_REGISTER: Opcode = opcode::read_write::<uffdio_register>(USERFAULT, 0x00);
/// Stops watching a range.
pub(super) const UFFDIO_UNREGISTER: Opcode = opcode::read::<uffdio_range>(USERFAULT, 0x01);
/// Wakes the threads that wait in a range.
pub(super) const UFFDIO_WAKE: Opcode = opcode::read::<uffdio_range>(USERFAULT, 0x02);
/// Fills holes with copies.
pub(super) const UFFDIO_COPY: Opcode = opcode::read_write::<uffdio_copy>(USERFAULT, 0x03);
/// Fills holes with the page of zeroes.
pub(super) const UFFDIO_ZEROPAGE: Opcode = opcode::read_write::<uffdio_zeropage>(USERFAULT, 0x04);
/// Fills holes with pages taken from elsewhere. Linux 6.8.
pub(super) const UFFDIO_MOVE: Opcode = opcode::read_write::<uffdio_move>(USERFAULT, 0x05);
/// Changes the write protection of pages. Linux 5.7.
pub(super) const UFFDIO_WRITEPROTECT: Opcode =
    opcode::read_write::<uffdio_writeprotect>(USERFAULT, 0x06);
/// Maps pages of shared memory that are there and not mapped. Linux 5.13.
pub(super) const UFFDIO_CONTINUE: Opcode = opcode::read_write::<uffdio_continue>(USERFAULT, 0x07);
/// Makes every access to holes a bus error. Linux 6.6.
pub(super) const UFFDIO_POISON: Opcode = opcode::read_write::<uffdio_poison>(USERFAULT, 0x08);

/// Watch for accesses to pages that are not there.
pub(super) const REGISTER_MISSING: u64 = raw::UFFDIO_REGISTER_MODE_MISSING as u64;
/// Watch for stores to pages that are write-protected.
pub(super) const REGISTER_PROTECTED: u64 = raw::UFFDIO_REGISTER_MODE_WP as u64;
/// Watch for accesses to pages of shared memory that are there and not mapped.
pub(super) const REGISTER_MINOR: u64 = raw::UFFDIO_REGISTER_MODE_MINOR as u64;

/// In the mode of copy, zeropage, continue, poison and move: wake no thread.
pub(super) const MODE_DONT_WAKE: u64 = raw::UFFDIO_COPY_MODE_DONTWAKE as u64;
/// In the mode of copy and continue: the new pages are write-protected.
pub(super) const MODE_PROTECT: u64 = raw::UFFDIO_COPY_MODE_WP as u64;
/// In the mode of writeprotect: protect, rather than lift protection.
pub(super) const PROTECT_ON: u64 = 1 << 0;
/// In the mode of writeprotect, when protection is lifted: wake no thread.
pub(super) const PROTECT_DONT_WAKE: u64 = 1 << 1;

/// The kinds of message that a userfaultfd sends.
pub(super) mod message {
    use super::raw;

    /// A thread waits for a page.
    pub(in crate::sys) const FAULT: u8 = narrow(raw::UFFD_EVENT_PAGEFAULT);
    /// The process was forked.
    pub(in crate::sys) const FORK: u8 = narrow(raw::UFFD_EVENT_FORK);
    /// A range was moved.
    pub(in crate::sys) const REMAP: u8 = narrow(raw::UFFD_EVENT_REMAP);
    /// Pages are about to be dropped.
    pub(in crate::sys) const REMOVE: u8 = narrow(raw::UFFD_EVENT_REMOVE);
    /// A range was unmapped.
    pub(in crate::sys) const UNMAP: u8 = narrow(raw::UFFD_EVENT_UNMAP);

    /// In the flags of a fault: the access was a store.
    pub(in crate::sys) const FAULT_WRITE: u64 = raw::UFFD_PAGEFAULT_FLAG_WRITE as u64;
    /// In the flags of a fault: the page is there and write-protected.
    pub(in crate::sys) const FAULT_PROTECTED: u64 = raw::UFFD_PAGEFAULT_FLAG_WP as u64;
    /// In the flags of a fault: the page is in shared memory and not mapped.
    pub(in crate::sys) const FAULT_MINOR: u64 = raw::UFFD_PAGEFAULT_FLAG_MINOR as u64;

    #[expect(clippy::cast_possible_truncation, reason = "the assertion rules it out")]
    const fn narrow(kind: u32) -> u8 {
        assert!(kind <= u8::MAX as u32);
        kind as u8
    }
}

/// The encoding rule for a request, on the machines that use the generic one.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
const fn request(direction: u64, letter: u8, number: u32, struct_bytes: usize) -> u64 {
    direction << 30 | (struct_bytes as u64) << 16 | (letter as u64) << 8 | number as u64
}

/// The encoding rule for a request that reads and writes a structure.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
const fn read_write_request(letter: u8, number: u32, struct_bytes: usize) -> u64 {
    request(3, letter, number, struct_bytes)
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
const _: () = {
    assert!(PAGEMAP_SCAN as u64 == read_write_request(b'f', 16, 96));
    assert!(PAGEMAP_SCAN as u64 == 0xc060_6610);
    assert!(PROCMAP_QUERY as u64 == read_write_request(b'f', 17, 104));
    assert!(PROCMAP_QUERY as u64 == 0xc068_6611);
    assert!(USERFAULTFD_NEW as u64 == request(0, 0xaa, 0x00, 0));
    assert!(UFFDIO_API as u64 == read_write_request(0xaa, 0x3f, 24));
    assert!(UFFDIO_REGISTER as u64 == read_write_request(0xaa, 0x00, 32));
    assert!(UFFDIO_UNREGISTER as u64 == request(2, 0xaa, 0x01, 16));
    assert!(UFFDIO_WAKE as u64 == request(2, 0xaa, 0x02, 16));
    assert!(UFFDIO_COPY as u64 == read_write_request(0xaa, 0x03, 40));
    assert!(UFFDIO_ZEROPAGE as u64 == read_write_request(0xaa, 0x04, 32));
    assert!(UFFDIO_MOVE as u64 == read_write_request(0xaa, 0x05, 40));
    assert!(UFFDIO_MOVE as u64 == 0xc028_aa05);
    assert!(UFFDIO_WRITEPROTECT as u64 == read_write_request(0xaa, 0x06, 24));
    assert!(UFFDIO_CONTINUE as u64 == read_write_request(0xaa, 0x07, 32));
    assert!(UFFDIO_POISON as u64 == read_write_request(0xaa, 0x08, 32));
    assert!(UFFDIO_POISON as u64 == 0xc020_aa08);
};

const _: () = {
    use linux_raw_sys::ioctl;
    assert!(UFFDIO_API == ioctl::UFFDIO_API as Opcode);
    assert!(UFFDIO_REGISTER == ioctl::UFFDIO_REGISTER as Opcode);
    assert!(UFFDIO_UNREGISTER == ioctl::UFFDIO_UNREGISTER as Opcode);
    assert!(UFFDIO_WAKE == ioctl::UFFDIO_WAKE as Opcode);
    assert!(UFFDIO_COPY == ioctl::UFFDIO_COPY as Opcode);
    assert!(UFFDIO_ZEROPAGE == ioctl::UFFDIO_ZEROPAGE as Opcode);
    assert!(UFFDIO_WRITEPROTECT == ioctl::UFFDIO_WRITEPROTECT as Opcode);
    assert!(UFFDIO_CONTINUE == ioctl::UFFDIO_CONTINUE as Opcode);
    assert!(USERFAULT as u32 == raw::USERFAULTFD_IOC);
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

const _: () = {
    assert!(size_of::<uffdio_api>() == 3 * 8);
    assert!(size_of::<uffdio_range>() == 2 * 8);
    assert!(size_of::<uffdio_register>() == 4 * 8);
    assert!(size_of::<uffdio_copy>() == 5 * 8);
    assert!(offset_of!(uffdio_copy, copy) == 32);
    assert!(size_of::<uffdio_zeropage>() == 4 * 8);
    assert!(offset_of!(uffdio_zeropage, zeropage) == 24);
    assert!(size_of::<uffdio_move>() == 5 * 8);
    assert!(offset_of!(uffdio_move, src) == 8);
    assert!(offset_of!(uffdio_move, move_) == 32);
    assert!(size_of::<uffdio_writeprotect>() == 3 * 8);
    assert!(size_of::<uffdio_continue>() == 4 * 8);
    assert!(offset_of!(uffdio_continue, mapped) == 24);
    assert!(size_of::<uffdio_poison>() == 4 * 8);
    assert!(offset_of!(uffdio_poison, updated) == 24);
    assert!(size_of::<uffd_msg>() == 32);
    assert!(offset_of!(uffd_msg, event) == 0);
    assert!(offset_of!(uffd_msg, arg) == 8);
};
