//! System calls: the one folder of the crate that contains unsafe code.
//!
//! # Safety
//!
//! What is unsafe here is letting the kernel write through a pointer, and letting it give content
//! to pages or take it away. Each file says which calls it makes and which memory they may write.
//! What changes a mapping or the content of a page that the folder does not own is an unsafe
//! function inside the crate, whose callers prove that the memory is theirs to change.

#![allow(unsafe_code)]

mod abi;
pub(crate) mod atfork;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "migration and the fault handler stand on it; so far tests do")
)]
pub(crate) mod copy;
pub(crate) mod dirty;
pub(crate) mod maps;
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "migration and the fault handler stand on it; so far tests do")
)]
pub(crate) mod mmap;
pub(crate) mod pagemap;
pub(crate) mod populate;
pub(crate) mod rusage;
mod scan;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        unused_imports,
        reason = "migration and the fault handler stand on it; so far tests do"
    )
)]
pub(crate) mod uffd;
