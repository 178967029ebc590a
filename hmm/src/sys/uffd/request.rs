//! The one way in which requests reach a userfaultfd.
//!
//! # Safety
//!
//! One `ioctl` is made, for every request that takes a structure. The caller answers for what a
//! request does to the memory of the process: the function is unsafe.

use std::os::fd::BorrowedFd;

use rustix::ioctl::{Opcode, Updater, ioctl};

use super::super::abi::uffdio_range;
use crate::addr::VaRange;

/// Makes a request. The structure holds what the kernel wrote even if the request failed.
///
/// # Safety
///
/// 1. `fd` is a userfaultfd.
/// 2. `OPCODE` is one of its requests, and `T` is the structure that the request takes.
/// 3. The caller may do to other memory what the request does to it.
pub(super) unsafe fn request<const OPCODE: Opcode, T>(
    fd: BorrowedFd<'_>,
    arg: &mut T,
) -> rustix::io::Result<()> {
    // SAFETY: `Updater` asks that the opcode be valid and that the kernel expect this structure
    // for it: obligation 2.
    let update = unsafe { Updater::<OPCODE, T>::new(arg) };
    // SAFETY: `ioctl` asks that opcode, operand and memory accesses be what the driver behind the
    // file does: obligations 1 and 2. The kernel writes the structure, which `update` borrows
    // mutably, and other memory as the caller allowed by obligation 3.
    unsafe { ioctl(fd, update) }
}

/// The structure that stands for a range.
pub(super) fn raw(range: VaRange) -> uffdio_range {
    uffdio_range { start: range.start().get(), len: range.len_bytes() }
}
