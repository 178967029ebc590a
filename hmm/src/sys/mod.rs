//! System calls: the one folder of the crate that contains unsafe code.
//!
//! # Safety
//!
//! Two things are unsafe here: letting the kernel write through a pointer, and letting it change
//! the content of pages. Each file says which calls it makes and which memory they may write. A
//! function that changes a mapping or the content of a page that the folder does not own is unsafe
//! inside the crate; its callers prove that the memory is theirs to change.

#![allow(unsafe_code)]

mod abi;
pub(crate) mod atfork;
pub(crate) mod copy;
pub(crate) mod device;
pub(crate) mod dirty;
mod frames;
#[cfg(miri)]
mod heap;
pub(crate) mod lease;
pub(crate) mod mapped;
pub(crate) mod maps;
pub(crate) mod memory;
pub(crate) mod mmap;
pub(crate) mod needed;
pub(crate) mod own_mapping;
pub(crate) mod owned;
pub(crate) mod pagemap;
pub(crate) mod populate;
#[cfg(test)]
#[path = "../../tests/processors/mod.rs"]
pub(crate) mod processors;
pub(crate) mod rusage;
mod scan;
pub(crate) mod signals;
pub(crate) mod survey;
pub(crate) mod transfer;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        unused_imports,
        reason = "the requests are complete and tested; the mirror needs most of them"
    )
)]
pub(crate) mod uffd;
pub(crate) mod written;
