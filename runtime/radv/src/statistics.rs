//! What the driver says about a compiled kernel.

use serde::{Deserialize, Serialize};

/// What the driver says about a compiled kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Vector registers, each with a number for every invocation of a subgroup.
    pub vgprs: u64,
    /// Scalar registers, each with one number for a subgroup.
    pub sgprs: u64,
    /// Vector registers that did not fit, and are kept in scratch memory.
    pub spilled_vgprs: u64,
    /// Scalar registers that did not fit, and are kept in vector registers.
    pub spilled_sgprs: u64,
    /// Bytes of memory for each subgroup, in which the driver keeps spilled registers and the
    /// kernel's own arrays.
    pub scratch_bytes: u64,
    /// Bytes of machine code.
    pub code_bytes: u64,
    /// Instructions of the machine.
    pub instructions: u64,
    /// Subgroups that one processor can hold at a time, as far as registers and shared memory
    /// decide.
    pub subgroups_per_simd: u64,
}

/// Adds what the driver lists under a name, if it is one of those above.
pub(crate) fn note(mut found: Statistics, name: &str, value: u64) -> Statistics {
    let field = match name {
        "VGPRs" => &mut found.vgprs,
        "SGPRs" => &mut found.sgprs,
        "Spilled VGPRs" => &mut found.spilled_vgprs,
        "Spilled SGPRs" => &mut found.spilled_sgprs,
        "Scratch size" => &mut found.scratch_bytes,
        "Code size" => &mut found.code_bytes,
        "Instructions" => &mut found.instructions,
        "Subgroups per SIMD" => &mut found.subgroups_per_simd,
        _ => return found,
    };
    *field = value;
    found
}
