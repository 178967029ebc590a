//! System calls: the one folder of the crate that contains unsafe code.
//!
//! # Safety
//!
//! What is unsafe here is letting the kernel write through a pointer. Each file says which calls
//! it makes and which memory they may write; none of them changes a mapping, so no reference
//! elsewhere in the program can be invalidated by what this folder does.

#![allow(unsafe_code)]

mod abi;
pub(crate) mod maps;
pub(crate) mod pagemap;
pub(crate) mod populate;
pub(crate) mod rusage;
