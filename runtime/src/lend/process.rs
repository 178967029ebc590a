//! The memory of the whole process, through system calls that fail instead of crashing.
//!
//! # Safety
//!
//! Writing memory at an address needs the permission of its owner. [`ProcessMemory::open`] asks for
//! it once, for all memory and as long as the value lives.
#![allow(unsafe_code, reason = "it writes memory by address, with the argument above")]

use crate::LendError;
use farptr_hmm::{CopyError, VirtAddr, read_bytes, write_bytes};

/// The error number of Linux for memory that a system call may not touch.
const EFAULT: i32 = 14;

/// The memory of the whole process, for as long as its owner lives.
pub(crate) struct ProcessMemory(
    // Invariant: the promise to `open`.
    (),
);

/// Why memory cannot be reached by system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// Reading or writing it fails there.
    Here,
    /// It can be read, and not be written.
    ForWriting,
    /// The system calls themselves are refused.
    Anywhere,
}

impl ProcessMemory {
    /// Opens the memory of the process, after a try of both system calls.
    ///
    /// # Errors
    ///
    /// [`LendError::Refused`] if one of them is refused.
    ///
    /// # Safety
    ///
    /// Until this value is dropped, its bytes may be read and written as through a pointer of their
    /// owners: memory that its owners do not share is not used through this value.
    pub(crate) unsafe fn open() -> Result<Self, LendError> {
        let refused =
            |call| move |error: CopyError| LendError::Refused { call, source: error.source };
        try_reading().map_err(refused("process_vm_readv"))?;
        try_writing().map_err(refused("process_vm_writev"))?;
        Ok(Self(()))
    }

    /// Reads memory and returns whether all of it could be read.
    pub(crate) fn read(&self, from: u64, bytes: &mut [u8]) -> bool {
        read_bytes(VirtAddr::new(from), bytes).is_ok()
    }

    /// Writes memory and returns whether all of it could be written.
    pub(crate) fn write(&mut self, to: u64, bytes: &[u8]) -> bool {
        // SAFETY: the promise to `open` covers both: the bytes are their owners' to write, and no
        // other thread uses them in a conflicting way.
        unsafe { write_bytes(VirtAddr::new(to), bytes) }.is_ok()
    }

    /// Finds out why a call failed: whether the memory cannot be read, cannot be written, or the
    /// calls are refused.
    pub(crate) fn diagnose(&self, address: u64) -> Unreachable {
        let read = read_bytes(VirtAddr::new(address), &mut [0]);
        match read.map_err(|error| error.source.raw_os_error()) {
            Ok(()) if try_writing().is_err() => Unreachable::Anywhere,
            Ok(()) => Unreachable::ForWriting,
            Err(Some(EFAULT) | None) => Unreachable::Here,
            Err(_) => Unreachable::Anywhere,
        }
    }
}

/// Reads a word of this function's own.
fn try_reading() -> Result<(), CopyError> {
    let word = 0x5eed_u64;
    read_bytes(VirtAddr::of(&word), &mut [0; 8])
}

/// Writes a word of this function's own.
fn try_writing() -> Result<(), CopyError> {
    let mut word = 0_u64;
    let there = std::ptr::from_mut(&mut word).expose_provenance() as u64;
    // SAFETY: 1. and 2. the word is this function's, plain data, and no other code has its address.
    unsafe { write_bytes(VirtAddr::new(there), &[1; 8]) }
}
