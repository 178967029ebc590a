//! Why a userfaultfd could not be made or would not do something.

#![forbid(unsafe_code)]

use std::io;

use thiserror::Error;

use super::{Feature, Features};
use crate::addr::VaRange;
use crate::error::debug_in_words;

/// A failure to make a userfaultfd.
#[derive(Error)]
#[non_exhaustive]
pub enum OpenUffdError {
    /// Neither way gives a userfaultfd that serves faults taken inside the kernel.
    #[error(
        "cannot make a userfaultfd that serves kernel faults (/dev/userfaultfd: {device}); run \
         as root, give access to the device node, or be content with MirrorTier::UserFaults"
    )]
    KernelFaults {
        /// The error of the device node.
        device: io::Error,
        /// The error of the system call.
        source: io::Error,
    },

    /// The system call would not make a userfaultfd for faults taken in user mode either.
    #[error("cannot make a userfaultfd; the kernel must have it and a sandbox must allow it")]
    UserFaults {
        /// The error of the system call.
        source: io::Error,
    },

    /// The userfaultfd does not have what is needed.
    #[error("this kernel or this process's privilege does not give userfaultfd with {required}")]
    Features {
        /// The features that the caller cannot do without.
        required: Features,
        /// The error of the kernel.
        source: io::Error,
    },

    /// The files and hooks that go with a userfaultfd could not be made.
    #[error("cannot set up what tells a userfaultfd of this process from an inherited one")]
    Setup {
        /// The error of the kernel.
        source: io::Error,
    },
}

debug_in_words!(OpenUffdError);

/// A userfaultfd that would not do something.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum UffdError {
    /// This process inherited the userfaultfd by a fork: its requests still change the memory of
    /// the parent.
    #[error("the userfaultfd over {range} belongs to the parent process; make a new one")]
    Inherited {
        /// The range of the request.
        range: VaRange,
    },

    /// The kernel refused to watch a range.
    #[error(
        "the kernel refused to watch {range}; it must be mapped, aligned and of a kind that \
             userfaultfd supports, and no other userfaultfd may watch it"
    )]
    Register {
        /// The range to watch.
        range: VaRange,
        /// The error of the kernel.
        source: io::Error,
    },

    /// The kernel refused to stop watching a range.
    #[error("the kernel refused to stop watching {range}")]
    Unregister {
        /// The range that is watched.
        range: VaRange,
        /// The error of the kernel.
        source: io::Error,
    },

    /// The kernel refused to wake the threads that wait in a range.
    #[error("the kernel refused to wake the threads that wait in {range}")]
    Wake {
        /// The range to wake.
        range: VaRange,
        /// The error of the kernel.
        source: io::Error,
    },

    /// The page table could not be searched for marks.
    #[error("the kernel refused to search {range} for marks")]
    Marks {
        /// The range to search.
        range: VaRange,
        /// The error of the kernel.
        source: io::Error,
    },

    /// Marks need a feature that the userfaultfd was made without.
    #[error("cannot mark {range}: the userfaultfd was made without {feature}")]
    NoFeature {
        /// The range to mark.
        range: VaRange,
        /// The feature that is needed.
        feature: Feature,
    },

    /// Messages could not be read.
    #[error("cannot read the messages of a userfaultfd")]
    Read {
        /// The error of the kernel.
        source: io::Error,
    },

    /// Messages could not be waited for.
    #[error("cannot wait for the messages of a userfaultfd")]
    Wait {
        /// The error of the kernel.
        source: io::Error,
    },
}
