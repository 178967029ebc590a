//! Exactness: every kernel gives the same bytes however it runs.
//!
//! Each case is a kernel of one construct and the memory that it works on. It runs as the original
//! kernel on host memory, safely launched in direct access, mirrored with imported memory, and
//! mirrored with copies from nothing, in a device budget of a few pages and with its faults served
//! in several orders. Every byte of every lend must be equal; bytes between the lends must not
//! change. Many cases are written a second time in Rust, so that the original and the rewritten
//! kernel cannot be wrong together.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler or the assembler made them (and the
//! validation layer checks them); unchecked launches keep to their lends, as each case shows.
#![allow(unsafe_code, reason = "kernels made at run time and unchecked launches")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of invocations and elements, small")]

/// Makes a test of each case, a function that gives a [`Case`](crate::case::Case), and a list.
macro_rules! cases {
    ($($case:ident,)*) => {
        /// Every case of this file, with its name.
        pub(crate) fn all() -> Vec<(&'static str, crate::case::Case)> {
            vec![$((stringify!($case), $case()),)*]
        }

        mod tests {
            $(
                #[test]
                fn $case() {
                    crate::run::check(stringify!($case), &super::$case());
                }
            )*
        }
    };
}

mod amd;
mod arena;
mod assembly;
mod atomics;
mod case;
#[path = "../common/mod.rs"]
mod common;
mod composites;
mod control;
#[path = "../common/glsl.rs"]
mod glsl;
mod groups;
mod indices;
mod lists;
mod model;
mod nests;
mod pointers;
mod programs;
mod rigs;
mod run;
mod scalars;
