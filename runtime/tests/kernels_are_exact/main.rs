//! Exactness: every kernel gives the same bytes however it runs.
//!
//! Each case is a kernel of one construct and the memory that it works on; they are those of the
//! crate `farptr-kernel-cases`, which `farptr doctor` runs too. It runs as the original
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

/// Makes a test of each case of a list.
macro_rules! tests {
    ($($case:ident,)*) => {
        mod tests {
            $(
                #[test]
                fn $case() {
                    crate::run::check(stringify!($case));
                }
            )*
        }
    };
}

mod amd;
#[path = "../common/mod.rs"]
mod common;
mod nests;
mod programs;
mod rigs;
mod run;
mod withheld;

mod assembly {
    mod accesses {
        farptr_kernel_cases::each_of_assembly_accesses!(tests);
    }
    mod values {
        farptr_kernel_cases::each_of_assembly_values!(tests);
    }
}
mod atomics {
    farptr_kernel_cases::each_of_atomics!(tests);
}
mod composites {
    farptr_kernel_cases::each_of_composites!(tests);
}
mod control {
    farptr_kernel_cases::each_of_control!(tests);
}
mod groups {
    farptr_kernel_cases::each_of_groups!(tests);
}
mod indices {
    farptr_kernel_cases::each_of_indices!(tests);
}
mod lists {
    farptr_kernel_cases::each_of_lists!(tests);
}
mod model {
    farptr_kernel_cases::each_of_model!(tests);
}
mod pointers {
    farptr_kernel_cases::each_of_pointers!(tests);
}
mod scalars {
    farptr_kernel_cases::each_of_scalars!(tests);
}
