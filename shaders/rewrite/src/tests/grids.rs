//! Folded launches: the kernel's built-in values are those of the virtual grid.

use super::forms::variants;
use super::tools::{assemble, validate};
use crate::Reflection;
use crate::contract::error::RewriteError;
use crate::contract::variant::{Fold, Integers, Variant};
use crate::program::{Program, unchecked};
use rspirv::dr::{Module, load_words};
use rspirv::spirv::{BuiltIn, Decoration, Op};

/// A kernel that reads its place in the grid in every way that a module may: signed and unsigned,
/// whole and in part, by constant and other indices, through copies.
fn module(target: &str, body: &str) -> Option<Vec<u32>> {
    let others = if target == "vulkan1.1" { "" } else { "%push" };
    let text = format!(
        "OpCapability Shader
        OpCapability PhysicalStorageBufferAddresses
        OpExtension \"SPV_KHR_physical_storage_buffer\"
        OpMemoryModel PhysicalStorageBuffer64 GLSL450
        OpEntryPoint GLCompute %main \"main\" %global %group %count %local {others}
        OpExecutionMode %main LocalSize 4 2 1
        OpDecorate %global BuiltIn GlobalInvocationId
        OpDecorate %group BuiltIn WorkgroupId
        OpDecorate %count BuiltIn NumWorkgroups
        OpDecorate %local BuiltIn LocalInvocationId
        OpDecorate %words ArrayStride 4
        OpDecorate %memory Block
        OpMemberDecorate %memory 0 Offset 0
        OpDecorate %block Block
        OpMemberDecorate %block 0 Offset 0
        %void = OpTypeVoid
        %to_void = OpTypeFunction %void
        %uint = OpTypeInt 32 0
        %int = OpTypeInt 32 1
        %uvec3 = OpTypeVector %uint 3
        %ivec3 = OpTypeVector %int 3
        %one = OpConstant %int 1
        %zero = OpConstant %int 0
        %uvec3_in = OpTypePointer Input %uvec3
        %ivec3_in = OpTypePointer Input %ivec3
        %uint_in = OpTypePointer Input %uint
        %int_in = OpTypePointer Input %int
        %uvec3_own = OpTypePointer Function %uvec3
        %words = OpTypeRuntimeArray %uint
        %memory = OpTypeStruct %words
        %pointer = OpTypePointer PhysicalStorageBuffer %memory
        %element = OpTypePointer PhysicalStorageBuffer %uint
        %block = OpTypeStruct %pointer
        %push_type = OpTypePointer PushConstant %block
        %in_push = OpTypePointer PushConstant %pointer
        %push = OpVariable %push_type PushConstant
        %global = OpVariable %uvec3_in Input
        %group = OpVariable %ivec3_in Input
        %count = OpVariable %uvec3_in Input
        %local = OpVariable %ivec3_in Input
        %main = OpFunction %void None %to_void
        %start = OpLabel
        %own = OpVariable %uvec3_own Function
        %groups = OpLoad %ivec3 %group
        %unsigned = OpBitcast %uvec3 %groups
        %x = OpCompositeExtract %uint %unsigned 0
        %at_y = OpAccessChain %uint_in %global %one
        %y = OpLoad %uint %at_y
        %copy = OpCopyObject %int_in %at_group
        {body}
        %at_push = OpAccessChain %in_push %push %zero
        %memory_at = OpLoad %pointer %at_push
        %at = OpAccessChain %element %memory_at %zero %x
        OpStore %at %y Aligned 4
        OpReturn
        OpFunctionEnd"
    );
    let text = text.replace(
        "%copy = ",
        "%at_group = OpInBoundsAccessChain %int_in %group %one
        %copy = ",
    );
    let words = assemble(&text, target)?;
    Some(words)
}

/// The form without checks.
fn fold(words: &[u32], kind: Fold) -> Result<Vec<u32>, RewriteError> {
    unchecked(words, None, kind, None)
}

const BODY: &str = "%part = OpLoad %int %copy
        %odd = OpBitcast %uint %part
        %at_any = OpAccessChain %uint_in %count %odd
        %any = OpLoad %uint %at_any
        OpCopyMemory %own %count";

/// The loads, in the kernel's own function, of built-in variables.
fn loads_of_places(module: &Module) -> usize {
    let places = [BuiltIn::NumWorkgroups, BuiltIn::WorkgroupId, BuiltIn::GlobalInvocationId];
    let inputs: Vec<u32> = module
        .annotations
        .iter()
        .filter(|i| i.class.opcode == Op::Decorate)
        .filter(|i| i.operands[1].unwrap_decoration() == Decoration::BuiltIn)
        .filter(|i| places.contains(&i.operands[2].unwrap_built_in()))
        .map(|i| i.operands[0].unwrap_id_ref())
        .collect();
    // The entry point's own function comes last.
    let kernels = &module.functions[..module.functions.len() - 1];
    let instructions = kernels.iter().flat_map(|function| function.all_inst_iter());
    let operands = instructions.flat_map(|i| &i.operands);
    operands.filter(|o| o.id_ref_any().is_some_and(|id| inputs.contains(&id))).count()
}

#[test]
fn folded_forms_are_valid_and_read_the_virtual_grid_alone() {
    for target in ["vulkan1.1", "vulkan1.2", "vulkan1.3"] {
        let Some(words) = module(target, BODY) else { return };
        validate(&words, target);
        let program = Program::parse(&words, None).unwrap();
        for kind in [Fold::Line, Fold::Space] {
            let mut forms = vec![fold(&words, kind).unwrap()];
            for variant in variants() {
                let variant = Variant { fold: kind, ..variant };
                forms.push(program.rewrite(&variant).unwrap());
            }
            for form in forms {
                validate(&form, &format!("{kind:?} for {target}"));
                assert_eq!(loads_of_places(&load_words(&form).unwrap()), 0);
                assert_eq!(Reflection::of(&form).unwrap().descriptors, 1, "the control block");
            }
        }
    }
}

#[test]
fn what_may_change_a_built_in_value_or_hide_it_is_refused() {
    let Some(words) = module("vulkan1.2", "OpStore %copy %one") else { return };
    let error = fold(&words, Fold::Line).unwrap_err().to_string();
    assert!(error.contains("OpStore") && error.contains("built-in"), "{error}");
    let mut words = module("vulkan1.2", BODY).unwrap();
    // `OpDecorate %count BuiltIn NumWorkgroups`, on the kernel's function.
    let number = [Decoration::BuiltIn as u32, BuiltIn::NumWorkgroups as u32];
    let at = words.windows(2).position(|pair| pair == number).unwrap();
    let function = Op::Function as u32 | 5 << 16;
    let defined = words.iter().position(|&word| word == function).unwrap();
    words[at - 1] = words[defined + 2];
    let error = fold(&words, Fold::Space).unwrap_err().to_string();
    assert!(error.contains("input variable"), "{error}");
}

#[test]
fn what_cannot_be_checked_can_be_folded() {
    let body = "%again = OpAccessChain %in_push %push %zero
        %from = OpLoad %pointer %again
        %first = OpAccessChain %element %from %zero %zero
        OpStore %first %x Aligned 2";
    let Some(words) = module("vulkan1.2", body) else { return };
    validate(&words, "as it was");
    Program::parse(&words, None).expect_err("a word may be on two pages");
    validate(&fold(&words, Fold::Space).unwrap(), "folded");
    for integers in [Integers::Native, Integers::Pairs] {
        let form = unchecked(&words, None, Fold::None, Some(integers)).unwrap();
        validate(&form, "with offsets of its own");
    }
}
