//! Kernels that GLSL has no words for, in SPIR-V's assembly language.

use crate::case::{Buffer, Case, Image};

/// A module with a kernel of 64 invocations per workgroup and two arguments, `%x` and `%y`, that
/// point to words. `%i` is the invocation's number; `%kept` and `%own` are variables that hold a
/// pointer; `%px` and `%py` point to word `%i`.
macro_rules! module {
    ($decorations:literal, $types:literal, $body:literal) => {
        module!("", $decorations, $types, $body, "")
    };
    ($capabilities:literal, $decorations:literal, $types:literal, $body:literal, $rest:literal) => {
        concat!(
            "OpCapability Shader
             OpCapability PhysicalStorageBufferAddresses
             ",
            $capabilities,
            "
             OpMemoryModel PhysicalStorageBuffer64 GLSL450
             OpEntryPoint GLCompute %main \"main\" %id %push %kept
             OpExecutionMode %main LocalSize 64 1 1
             OpDecorate %id BuiltIn GlobalInvocationId
             OpMemberDecorate %Push 0 Offset 0
             OpMemberDecorate %Push 1 Offset 8
             OpDecorate %Push Block
             OpDecorate %array ArrayStride 4
             OpMemberDecorate %Words 0 Offset 0
             OpDecorate %Words Block
             OpDecorate %to_uint ArrayStride 4
             OpDecorate %kept AliasedPointer
             OpDecorate %own AliasedPointer
             ",
            $decorations,
            "
             %void = OpTypeVoid
             %function = OpTypeFunction %void
             %bool = OpTypeBool
             %uint = OpTypeInt 32 0
             %int = OpTypeInt 32 1
             %pair = OpTypeVector %uint 2
             %triple = OpTypeVector %uint 3
             %quad = OpTypeVector %uint 4
             %c0 = OpConstant %uint 0
             %c1 = OpConstant %uint 1
             %c2 = OpConstant %uint 2
             %c3 = OpConstant %uint 3
             %c4 = OpConstant %uint 4
             %c5 = OpConstant %uint 5
             %c64 = OpConstant %uint 64
             %last = OpConstant %uint 1023
             %minus_one = OpConstant %int -1
             %array = OpTypeRuntimeArray %uint
             %Words = OpTypeStruct %array
             %to_words = OpTypePointer PhysicalStorageBuffer %Words
             %to_uint = OpTypePointer PhysicalStorageBuffer %uint
             %Push = OpTypeStruct %pair %pair
             %push_pointer = OpTypePointer PushConstant %Push
             %push_pair = OpTypePointer PushConstant %pair
             %push = OpVariable %push_pointer PushConstant
             %id_pointer = OpTypePointer Input %triple
             %id = OpVariable %id_pointer Input
             %kept_pointer = OpTypePointer Private %to_words
             %kept = OpVariable %kept_pointer Private
             %own_pointer = OpTypePointer Function %to_uint
             ",
            $types,
            "
             %main = OpFunction %void None %function
             %entry = OpLabel
             %own = OpVariable %own_pointer Function
             %all = OpLoad %triple %id
             %i = OpCompositeExtract %uint %all 0
             %x_member = OpAccessChain %push_pair %push %c0
             %x_pair = OpLoad %pair %x_member
             %x = OpBitcast %to_words %x_pair
             %y_member = OpAccessChain %push_pair %push %c1
             %y_pair = OpLoad %pair %y_member
             %y = OpBitcast %to_words %y_pair
             %px = OpAccessChain %to_uint %x %c0 %i
             %py = OpAccessChain %to_uint %y %c0 %i
             ",
            $body,
            "
             OpFunctionEnd
             ",
            $rest
        )
    };
}

pub(crate) mod accesses;
pub(crate) mod values;

/// Words to read and words to write, 1,024 each, an invocation for each.
fn pair(source: &'static str) -> Case {
    Case::assembly(source)
        .lend(Buffer::random(200, 1024))
        .lend(Buffer::random(201, 1024).writable())
        .groups(16)
        .pointer_values()
}

/// `y` becomes what the function makes of an invocation's number and of `x`.
fn becomes(image: &mut Image, of: impl Fn(usize, &[u32]) -> u32) {
    let x = image.words(0);
    let y: Vec<u32> = (0..x.len()).map(|id| of(id, &x)).collect();
    image.set_words(1, &y);
}
