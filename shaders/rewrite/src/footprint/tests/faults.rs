//! Kernels that are easily called bounded and are not, each with the fault that does so.

use crate::Program;
use crate::footprint::mutant::{Mutant, activate};
use crate::footprint::result::Footprint;
use crate::footprint::unknown::Unknown;
use crate::tests::tools::{assemble, compile};

const HEAD: &str = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#extension GL_KHR_shader_subgroup_ballot : require
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U { uint d[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer V { uvec4 v; };
layout(push_constant) uniform P { uvec2 b; uvec2 a; uint n; uint w; int s; uint k; int64_t q; } p;
";

/// n = 100, w = 10, s = 20, k = 5, q = 12.
fn push() -> Vec<u8> {
    let words = [0x1000, 1, 0x9000, 1, 100, 10, 20, 5, 12, 0];
    words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}

fn footprint(words: &[u32], mutant: Option<Mutant>) -> Footprint {
    let program = Program::parse(words, None).expect("it is a kernel");
    activate(mutant);
    let found = program.footprints().of_launch(&push(), [3, 1, 1]);
    activate(None);
    found
}

/// A kernel is not bounded, and the fault says that it is.
fn check(mutant: Mutant, words: &[u32], text: &str) {
    let found = footprint(words, None);
    assert!(!found.is_bounded(), "{mutant:?}: {text}\n{found:#?}");
    let found = footprint(words, Some(mutant));
    assert!(found.is_bounded(), "{mutant:?} does not matter: {text}\n{found:#?}");
}

/// Kernels in GLSL: of each the number `g` of the invocation is known.
const KERNELS: [(Mutant, &str); 11] = [
    (
        Mutant::AnySign,
        "int64_t x = int64_t(a[0] & 1u) - 1L;
         for (uint i = 0u; i < 100u; i++) {
             U(packUint2x32(p.b) + uint64_t(x) * 4UL).d[0] = 0; x -= 1L; }",
    ),
    (Mutant::PlaceIsNumber, "int64_t c = p.q - 13L; if (c != -13L) b[g - 1u] = 1;"),
    (
        Mutant::PlaceIsDivided,
        "int64_t x = p.q + 0x7ffffffffffffff4L; b[0] = uint(x / int64_t(p.s - 21));",
    ),
    // A compiler may make a selection of it, and read the condition twice.
    (Mutant::WaysAreFixed, "uint x = g - 1u; if (a[0] != 0u) x = 3u; if (x < 10u) b[x] = 1;"),
    (
        Mutant::WaysAreFixed,
        "uint x = g * 0x40000000u;
         if (g < 5u) { if (a[0] != 0u) x = 3u; else x = 7u; }
         if (x < 10u) b[x] = 1;",
    ),
    // The same, before the loop is unrolled.
    (
        Mutant::WaysAreFixed,
        "uint x = g - 1u; for (uint i = 0u; i < 2u; i++) { if (a[0] != 0u) break; x = 3u; }
         if (x < 10u) b[x] = 1;",
    ),
    (
        Mutant::WaysAreFixed,
        "uint x = g - 1u, i = 0u; while (i < 100u && a[i] != 0u) { i++; x += 5u; }
         if (x < 10u) b[x] = 1;",
    ),
    (Mutant::OddAddresses, "V(uint64_t(p.q) + uint64_t(g)).v = uvec4(0u);"),
    (Mutant::OddAddresses, "V(uint64_t(p.q) + uint64_t(g) * 8UL).v = uvec4(0u);"),
    (
        Mutant::StoredIsDefined,
        "if (g >= 4u) { a[0] = 1u << p.n; if (a[0] == 5u) a[1] = 1; }
         if (g < 4u) b[g] = 1;",
    ),
    (
        Mutant::OtherInvocations,
        "uint l = subgroupBallotFindLSB(uvec4(0u)); if (l == 7u) b[1] = 1; b[0] = 2;",
    ),
];

#[test]
fn kernels_that_are_not_bounded_are_not_called_bounded() {
    for (mutant, code) in KERNELS {
        let code = code.replace("b[", "U(p.b).d[").replace("a[", "U(p.a).d[");
        let glsl = format!("{HEAD}void main() {{ uint g = gl_GlobalInvocationID.x;\n{code} }}");
        let Some(words) = compile(&glsl, "vulkan1.2", &[]) else { return };
        check(mutant, &words, &glsl);
    }
}

/// Branches that are known, or that choose among nothing, leave values as they are.
#[test]
fn what_other_branches_choose_is_as_well_known_as_before() {
    for code in [
        "uint x = g - 1u; if (g < 5u) x = 3u; if (x < 10u) b[x] = 1;",
        "uint x = g - 1u; if (a[0] != 0u) b[0] = 1u; if (g < 5u) x = 3u; if (x < 10u) b[x] = 1;",
        "uint x = g - 1u; if (g < 5u) { if (a[0] != 0u) b[0] = 1u; x = 3u; }
         if (x < 10u) b[x] = 1;",
        "uint x = g;
         for (uint i = 0u; i < 100u; i++) {
             if (a[i] == 0u) break; if (x < 10u) b[x] = 1; x += 7u; }",
    ] {
        let code = code.replace("b[", "U(p.b).d[").replace("a[", "U(p.a).d[");
        let glsl = format!("{HEAD}void main() {{ uint g = gl_GlobalInvocationID.x; {code} }}");
        let Some(words) = compile(&glsl, "vulkan1.2", &[]) else { return };
        let found = footprint(&words, None);
        assert!(found.is_bounded(), "{glsl}\n{found:#?}");
    }
}

#[test]
fn the_alignment_of_roots_is_said() {
    let code = "V(uint64_t(p.q) + uint64_t(g) * 32UL).v = uvec4(U(p.b).d[g]);";
    let glsl = format!("{HEAD}void main() {{ uint g = gl_GlobalInvocationID.x; {code} }}");
    let Some(words) = compile(&glsl, "vulkan1.2", &[]) else { return };
    let found = footprint(&words, None);
    assert!(found.is_bounded(), "{found:#?}");
    let aligns = found.roots.iter().map(|root| {
        let of = root.root;
        let crate::Root::Push { offset_bytes } = of;
        (offset_bytes, root.align_bytes)
    });
    let mut aligns: Vec<_> = aligns.collect();
    aligns.sort_unstable();
    assert_eq!(aligns, [(0, 4), (32, 16)]);
}

/// Each of four truth values came by 200 ways, most of them with the one before it: there are more
/// than a thousand million ways to have come by.
#[test]
fn many_ways_of_truth_values_end() {
    let mut code = "bool f = g < 5u;".to_owned();
    for at in 0..4 {
        let cases: String = (0..200).map(|n| format!("case {n}: b[{n}] = 1; break;\n")).collect();
        code += &format!("switch (a[{at}]) {{ {cases} default: f = g < {at}u; break; }}\n");
    }
    code += "if (f) b[g - 1u] = 1;";
    let code = code.replace("b[", "U(p.b).d[").replace("a[", "U(p.a).d[");
    let glsl = format!("{HEAD}void main() {{ uint g = gl_GlobalInvocationID.x; {code} }}");
    let Some(words) = compile(&glsl, "vulkan1.2", &[]) else { return };
    assert!(!footprint(&words, None).is_bounded());
}

/// Loops are evaluated within each other, so they may not be nested without a bound.
#[test]
fn loops_are_nested_so_deep_and_no_deeper() {
    for (depth, is_too_deep) in [(64, false), (65, true)] {
        let around = |n| format!("for (uint i{n} = 0u; i{n} < 1u; i{n}++) ");
        let loops: String = (0..depth).map(around).collect();
        let glsl = format!("{HEAD}void main() {{ {loops} U(p.b).d[0] = 1; }}");
        let Some(words) = compile(&glsl, "vulkan1.2", &[]) else { return };
        let unknown = footprint(&words, None).unknown;
        assert_eq!(unknown == Some(Unknown::TooLarge), is_too_deep, "{depth}: {unknown:?}");
    }
}

/// A kernel that stores 1 to an element of the argument, with its number as the text says.
fn assembly(extensions: &str, decorations: &str, code: &str) -> String {
    format!(
        "OpCapability Shader
        OpCapability Int64
        OpCapability PhysicalStorageBufferAddresses
        {extensions}
        OpMemoryModel PhysicalStorageBuffer64 GLSL450
        OpEntryPoint GLCompute %main \"main\" %push %where
        OpExecutionMode %main LocalSize 64 1 1
        OpDecorate %where BuiltIn GlobalInvocationId
        OpDecorate %P Block
        OpMemberDecorate %P 0 Offset 0
        OpMemberDecorate %P 1 Offset 8
        OpMemberDecorate %P 2 Offset 16
        OpDecorate %words ArrayStride 4
        OpDecorate %U Block
        OpMemberDecorate %U 0 Offset 0
        {decorations}
        %void = OpTypeVoid
        %bool = OpTypeBool
        %uint = OpTypeInt 32 0
        %uvec3 = OpTypeVector %uint 3
        %zero = OpConstant %uint 0
        %one = OpConstant %uint 1
        %four = OpConstant %uint 4
        %lots = OpConstant %uint 1000
        %most = OpConstant %uint 4294967295
        %long = OpTypeInt 64 0
        %far = OpConstant %long 4611686018427387904
        %words = OpTypeRuntimeArray %uint
        %U = OpTypeStruct %words
        %to_U = OpTypePointer PhysicalStorageBuffer %U
        %to_word = OpTypePointer PhysicalStorageBuffer %uint
        %P = OpTypeStruct %to_U %to_U %uint
        %to_P = OpTypePointer PushConstant %P
        %to_root = OpTypePointer PushConstant %to_U
        %to_where = OpTypePointer Input %uvec3
        %to_own = OpTypePointer Function %uint
        %push = OpVariable %to_P PushConstant
        %where = OpVariable %to_where Input
        %type = OpTypeFunction %void
        %main = OpFunction %void None %type
        %first = OpLabel
        %x = OpVariable %to_own Function
        %y = OpVariable %to_own Function
        %at = OpLoad %uvec3 %where
        %g = OpCompositeExtract %uint %at 0
        %from = OpAccessChain %to_root %push %zero
        %root = OpLoad %to_U %from
        {code}
        OpReturn
        OpFunctionEnd"
    )
}

/// A guarded store to element `g`.
const GUARDED: &str = "OpSelectionMerge %end None
    OpBranchConditional %small %inside %end
    %inside = OpLabel
    %to = OpAccessChain %to_word %root %zero %g
    OpStore %to %one Aligned 4
    OpBranch %end
    %end = OpLabel";

#[test]
fn promises_and_lost_pointers_make_all_of_a_kernel_unknown() {
    let assumed = format!("%small = OpULessThan %bool %g %four\nOpAssumeTrueKHR %small\n{GUARDED}");
    let grouped =
        format!("%sum = OpIAdd %uint %g %most\n%small = OpIEqual %bool %sum %four\n{GUARDED}");
    let looped = format!(
        "%small = OpULessThan %bool %g %four
        OpBranch %start
        %start = OpLabel
        OpLoopMerge %done %again MaxIterations 1
        OpBranch %body
        %body = OpLabel
        OpBranch %again
        %again = OpLabel
        OpBranchConditional %small %done %start
        %done = OpLabel
        {GUARDED}"
    );
    let chosen = "%odd = OpIEqual %bool %g %one
        %p = OpSelect %to_own %odd %x %y
        OpStore %x %one
        OpStore %p %lots
        %i = OpLoad %uint %x
        %to = OpAccessChain %to_word %root %zero %i
        OpStore %to %one Aligned 4";
    let turned = "%wide = OpUConvert %long %g
        %i = OpIAdd %long %wide %far
        %to = OpAccessChain %to_word %root %zero %i
        OpStore %to %one Aligned 4";
    let expect = "OpCapability ExpectAssumeKHR\nOpExtension \"SPV_KHR_expect_assume\"";
    let group = "OpDecorate %group NoUnsignedWrap
        %group = OpDecorationGroup
        OpGroupDecorate %group %sum";
    for (mutant, text) in [
        (Mutant::PromisesIgnored, assembly(expect, "", &assumed)),
        (Mutant::PromisesIgnored, assembly("", group, &grouped)),
        (Mutant::PromisesIgnored, assembly("", "", &looped)),
        (Mutant::DistanceTurns, assembly("", "", turned)),
        (Mutant::LostPointer, assembly("OpCapability VariablePointers", "", chosen)),
    ] {
        let Some(words) = assemble(&text, "vulkan1.2") else { return };
        check(mutant, &words, &text);
    }
}
