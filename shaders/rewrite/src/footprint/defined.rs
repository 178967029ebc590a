//! Which instructions that are not followed have results that are defined.

use crate::footprint::mutant::{self, Mutant};
use rspirv::dr::Instruction;

/// Whether the result of an instruction that is not followed is defined for all operands.
pub(super) fn is_defined(i: &Instruction) -> bool {
    let name = i.class.opname;
    // Of an invocation that does not run, of no invocation, of a bit that there is not.
    let depends_on_others = [
        "Shuffle",
        "Broadcast",
        "Quad",
        "Rotate",
        "BallotFind",
        "BitExtract",
        "InverseBallot",
        "ReadInvocation",
    ];
    let depends = depends_on_others.iter().any(|part| name.contains(part));
    if depends && !mutant::has(Mutant::OtherInvocations) {
        return false;
    }
    let known = [
        "FAdd",
        "FSub",
        "FMul",
        "FDiv",
        "FRem",
        "FMod",
        "FNegate",
        "FOrd",
        "FUnord",
        "FConvert",
        "Image",
        "SampledImage",
        "Atomic",
        "ConvertSToF",
        "ConvertUToF",
        "Is",
        "Dot",
        "Vector",
        "Matrix",
        "OuterProduct",
        "Transpose",
        "QuantizeToF16",
        "ArrayLength",
        "GroupNonUniform",
        "Subgroup",
        "ExtInst",
        "BitReverse",
        "BitCount",
        "SMulExtended",
        "PtrEqual",
        "PtrNotEqual",
        "Ordered",
        "Unordered",
        "LessOrGreater",
        "SignBitSet",
        "ReadClock",
    ];
    known.iter().any(|start| name.starts_with(start))
}
