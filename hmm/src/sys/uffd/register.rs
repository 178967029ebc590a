//! The ranges that a userfaultfd watches, and the faults that it watches for.
//!
//! # Safety
//!
//! Two requests are made, which start and stop the watch over a range. They change no page and no
//! permission; accesses to the range may wait.

use std::ops::BitOr;

use linux_raw_sys::general as raw_sys;

use super::super::abi::{self, uffdio_register};
use super::request::{raw, request};
use super::{Uffd, UffdError};
use crate::addr::VaRange;

use std::os::fd::AsFd;

/// The faults that a range is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Modes(u64);

impl Modes {
    /// Accesses to pages that are not there.
    pub(crate) const MISSING: Self = Self(abi::REGISTER_MISSING);
    /// Stores to pages that are write-protected.
    pub(crate) const PROTECTED: Self = Self(abi::REGISTER_PROTECTED);
    /// Accesses to pages of shared memory that are there and not mapped.
    pub(crate) const MINOR: Self = Self(abi::REGISTER_MINOR);
}

impl BitOr for Modes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A request that a watched range may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// [`Uffd::copy`].
    Copy,
    /// [`Uffd::zero`].
    Zero,
    /// [`Uffd::move_pages`].
    Move,
    /// [`Uffd::write_protect`].
    WriteProtect,
    /// [`Uffd::map_existing`].
    Continue,
    /// [`Uffd::poison`].
    Poison,
}

/// The requests that a watched range allows, which depends on what is mapped there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operations(u64);

impl Operations {
    /// Tells whether the request is allowed.
    pub(crate) fn contains(self, operation: Operation) -> bool {
        let number = match operation {
            Operation::Copy => raw_sys::_UFFDIO_COPY,
            Operation::Zero => raw_sys::_UFFDIO_ZEROPAGE,
            Operation::Move => raw_sys::_UFFDIO_MOVE,
            Operation::WriteProtect => raw_sys::_UFFDIO_WRITEPROTECT,
            Operation::Continue => raw_sys::_UFFDIO_CONTINUE,
            Operation::Poison => raw_sys::_UFFDIO_POISON,
        };
        self.0 >> number & 1 != 0
    }
}

impl Uffd {
    /// Watches a page-aligned range, which may span several areas without a gap.
    ///
    /// A range may be watched again for more. Areas that appear in it later are not watched.
    pub(crate) fn register(&self, range: VaRange, modes: Modes) -> Result<Operations, UffdError> {
        self.check_origin(range)?;
        let mut arg = uffdio_register { range: raw(range), mode: modes.0, ioctls: 0 };
        // SAFETY: 1. `fd` is a userfaultfd. 2. The request takes this structure. 3. It changes no
        // other memory: accesses to the range may wait from now on.
        unsafe { request::<{ abi::UFFDIO_REGISTER }, _>(self.as_fd(), &mut arg) }
            .map_err(|source| UffdError::Register { range, source: source.into() })?;
        Ok(Operations(arg.ioctls))
    }

    /// Stops watching a page-aligned range. Threads that wait in it go on, write protection is
    /// lifted, marks are gone, and what is a hole then reads as zeroes.
    pub(crate) fn unregister(&self, range: VaRange) -> Result<(), UffdError> {
        self.check_origin(range)?;
        // SAFETY: 1. `fd` is a userfaultfd. 2. The request takes this structure. 3. It changes no
        // content: a hole has none.
        unsafe { request::<{ abi::UFFDIO_UNREGISTER }, _>(self.as_fd(), &mut raw(range)) }
            .map_err(|source| UffdError::Unregister { range, source: source.into() })
    }
}
