//! Which roots serve as nothing but the base of accesses.

use super::tools::{assemble, compile, optimise};
use crate::contract::analysis::Root;
use crate::program::Program;

const HEAD: &str = "#version 460
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_EXT_shader_subgroup_extended_types_int64 : require
#extension GL_EXT_shader_atomic_int64 : require
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U { uint d[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer L { uint64_t d[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer T { U to[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer W { uint v; };
layout(push_constant) uniform P { uvec2 a; uvec2 b; uint n; uint64_t q; U u; uvec2 c[2]; } p;
";
/// The bytes of the arguments `a`, `b`, `q`, `u`, `c[0]` and `c[1]`.
const ROOTS: [(&str, u32); 6] = [("a", 0), ("b", 8), ("q", 24), ("u", 32), ("c0", 40), ("c1", 48)];

fn bases(words: &[u32]) -> Vec<&'static str> {
    let program = Program::parse(words, None).expect("it is a kernel");
    let is_base = |offset_bytes: u32| program.analysis().is_only_base(Root::Push { offset_bytes });
    ROOTS.iter().filter(|(_, at)| is_base(*at)).map(|(name, _)| *name).collect()
}

/// The words of a kernel as they are compiled, and optimised.
fn forms(code: &str) -> Option<[Vec<u32>; 2]> {
    let code = code.replace("G", "gl_GlobalInvocationID.x");
    let (functions, main) = code.split_once("main:").unwrap_or(("", &code));
    let glsl = format!("{HEAD}{functions}\nvoid main() {{ {main} }}");
    let words = compile(&glsl, "vulkan1.3", &[])?;
    let optimised = optimise(&words, "vulkan1.3")?;
    Some([words, optimised])
}

/// Kernels that use `a` for something else, and all other arguments as bases at most.
const OTHER_USES: [(&str, &str); 31] = [
    ("it is stored", "L(p.b).d[0] = packUint2x32(p.a);"),
    ("a word of it is stored", "U(p.b).d[0] = p.a.y;"),
    ("an address behind it is stored", "L(p.b).d[0] = packUint2x32(p.a) + 4UL;"),
    ("a pointer is stored", "T(p.b).to[0] = U(p.a);"),
    ("it is shared", "shared uvec2 s; main: s = p.a; U(p.b).d[0] = U(s).d[0];"),
    ("it is compared with 0", "if (p.a != uvec2(0)) U(p.b).d[0] = 1;"),
    ("a word of it is compared", "if (p.a.x > p.n) U(p.b).d[0] = 1;"),
    ("it is compared with another", "if (packUint2x32(p.a) < packUint2x32(p.b)) U(p.u).d[0] = 1;"),
    ("it is a difference", "U(p.u).d[uint(packUint2x32(p.a) - packUint2x32(p.b)) & 7u] = 1;"),
    ("it is taken from a number", "U(p.b).d[uint(p.q - packUint2x32(p.a)) & 7u] = 1;"),
    ("it is added to itself", "U(packUint2x32(p.a) + packUint2x32(p.a)).d[0] = 1;"),
    ("two are added", "U(packUint2x32(p.a) + uint64_t(p.u)).d[0] = 1;"),
    ("it is multiplied", "U(packUint2x32(p.a) * 3UL).d[0] = 1;"),
    ("it is masked", "U(packUint2x32(p.a) & ~15UL).d[0] = 1;"),
    ("it is an index", "U(p.b).d[p.a.x & 7u] = 1;"),
    ("it is shifted", "U(p.b).d[uint(packUint2x32(p.a) >> 12) & 7u] = 1;"),
    ("it is a floating-point number", "U(p.b).d[0] = uint(float(p.a.x));"),
    ("it is negated", "U(-packUint2x32(p.a)).d[0] = 1;"),
    ("it is given to an atomic operation", "atomicAdd(U(p.b).d[0], p.a.x);"),
    ("it is given to a subgroup", "U(subgroupBroadcastFirst(packUint2x32(p.a))).d[0] = 1;"),
    ("it is chosen by", "switch (p.a.x) { case 1: U(p.b).d[0] = 1; break; default: break; }"),
    ("it is a number of runs", "for (uint i = 0; i < p.a.x; i++) U(p.b).d[i] = 1;"),
    ("its words change places", "U(p.a.yx).d[0] = 1;"),
    ("its words are of two", "U(uvec2(p.a.x, p.n)).d[0] = 1;"),
    ("its words are changed", "uvec2 x = p.a; x.x += 4u; U(x).d[0] = 1;"),
    ("its words are chosen", "U(mix(p.a, p.b, bvec2(G > 3u, G > 7u))).d[0] = 1; U(p.u).d[0] = 1;"),
    ("it is used by a function", "uint f(uvec2 x) { return x.x; } main: U(p.b).d[0] = f(p.a);"),
    (
        "it is used through a parameter",
        "void f(inout uvec2 x) { x.y++; } main: uvec2 x = p.a; f(x); U(x).d[0] = 1;",
    ),
    (
        "it is used in a later run",
        "uint t = 0; uvec2 x = uvec2(0);
         for (uint i = 0; i < p.n; i++) { t += x.x; x = p.a; } U(p.b).d[0] = t;",
    ),
    (
        "it is used where another is",
        "uint64_t x = p.q; if (G > 3u) x = packUint2x32(p.a); L(p.b).d[0] = x;",
    ),
    ("it is one of many", "uvec2 x[3]; x[G % 3u] = p.a; U(p.b).d[0] = x[1].x;"),
];

#[test]
fn other_uses_of_a_root_are_found() {
    for (what, code) in OTHER_USES {
        let Some(forms) = forms(code) else { return };
        for words in forms {
            let found = bases(&words);
            assert!(!found.contains(&"a"), "{what}: {code}: {found:?}");
            let is_alone = !code.contains("packUint2x32(p.b)") && !code.contains("mix");
            assert!(found.contains(&"b") || !is_alone, "{what}: {code}: {found:?}");
        }
    }
}

/// Kernels that use all that they name as bases alone.
const BASES: [(&str, &str); 19] = [
    ("a b", "U(p.b).d[G] = U(p.a).d[G];"),
    ("a u", "p.u.d[G] = U(p.a).d[G + 4u * p.n];"),
    ("a b", "W x = W(p.a); x = x + 3; U(p.b).d[G] = x.v;"),
    ("a b", "uint64_t x = packUint2x32(p.a) + 4UL * G - 8UL; U(p.b).d[G] = U(x).d[0];"),
    ("a b", "W x = W(p.a); for (uint i = 0; i < p.n; i++) { U(p.b).d[i] = x.v; x = x + 1; }"),
    ("a b", "U(G > 3u ? p.a : p.b).d[0] = 1;"),
    ("a b", "uvec2 x = p.a; if (G > 3u) x = p.b; U(x).d[0] = 1;"),
    ("a b", "uvec2 x = p.a; if (G > 3u) x = uvec2(0); U(x).d[0] = 1; U(p.b).d[0] = 2;"),
    ("a b", "uint f(U x, uint i) { return x.d[i]; } main: U(p.b).d[G] = f(U(p.a), G);"),
    ("a b", "W f(uvec2 x, uint i) { return W(x) + i; } main: f(p.b, G).v = f(p.a, 2).v;"),
    ("a b", "void f(out uvec2 x) { x = p.a; } main: uvec2 x; f(x); U(p.b).d[G] = U(x).d[0];"),
    (
        "a b",
        "struct S { uint n; U to; }; main: S s = S(p.n, U(p.a)); s.n++; U(p.b).d[0] = s.to.d[s.n];",
    ),
    (
        "a b",
        "struct S { uvec2 x, y; }; main: S s = S(p.a, p.b); S t = s; U(t.x).d[0] = U(t.y).d[0];",
    ),
    ("a b", "uvec4 x = uvec4(p.a, p.b); U(x.xy).d[G] = U(x.zw).d[G];"),
    ("a b", "U(uvec2(p.a.x, p.a.y)).d[G] = U(p.b).d[G];"),
    ("a b", "uvec2 x[2]; x[0] = p.a; x[1] = p.b; U(x[G & 1u]).d[0] = 1;"),
    ("c0 c1", "U(p.c[0]).d[G] = U(p.c[1]).d[G];"),
    ("a b", "atomicAdd(U(p.a).d[G], U(p.b).d[G]);"),
    // What is behind a root may lead anywhere.
    ("a b", "T(p.a).to[G].d[0] = U(p.b).d[0];"),
];

#[test]
fn roots_that_are_only_bases_are_known() {
    for (names, code) in BASES {
        let Some(forms) = forms(code) else { return };
        for words in forms {
            let found = bases(&words);
            let all = names.split(' ').all(|name| found.contains(&name));
            assert!(all, "{names}: {code}: {found:?}");
        }
    }
}

/// An index into the push constants that is not known may read any of them.
#[test]
fn arguments_that_are_chosen_by_an_index_are_not_followed() {
    let Some(forms) = forms("U(p.c[G & 1u]).d[0] = 1;") else { return };
    for words in forms {
        assert_eq!(bases(&words), [""; 0]);
    }
}

/// A kernel whose push constants are a structure of two long numbers, at 0 and at 8, and of what
/// the text says.
fn assembly(members: &str, offsets: &str, decorations: &str, code: &str) -> String {
    format!(
        "OpCapability Shader
        OpCapability Int64
        OpCapability VariablePointers
        OpCapability PhysicalStorageBufferAddresses
        OpMemoryModel PhysicalStorageBuffer64 GLSL450
        OpEntryPoint GLCompute %main \"main\" %push
        OpExecutionMode %main LocalSize 64 1 1
        OpDecorate %P Block
        OpMemberDecorate %P 0 Offset 0
        OpMemberDecorate %P 1 Offset 8
        {offsets}
        {decorations}
        %void = OpTypeVoid
        %bool = OpTypeBool
        %yes = OpConstantTrue %bool
        %uint = OpTypeInt 32 0
        %long = OpTypeInt 64 0
        %0 = OpConstant %uint 0
        %1 = OpConstant %uint 1
        %2 = OpConstant %uint 2
        %four = OpConstant %long 4
        %to_word = OpTypePointer PhysicalStorageBuffer %uint
        %P = OpTypeStruct %long %long {members}
        %to_P = OpTypePointer PushConstant %P
        %in_P = OpTypePointer PushConstant %long
        %word_in_P = OpTypePointer PushConstant %uint
        %own = OpTypePointer Function %long
        %push = OpVariable %to_P PushConstant
        %type = OpTypeFunction %void
        %main = OpFunction %void None %type
        %first = OpLabel
        %x = OpVariable %own Function
        %y = OpVariable %own Function
        %from_a = OpAccessChain %in_P %push %0
        %a = OpLoad %long %from_a
        %from_b = OpAccessChain %in_P %push %1
        %b = OpLoad %long %from_b
        %at_a = OpConvertUToPtr %to_word %a
        %at_b = OpConvertUToPtr %to_word %b
        OpStore %at_b %1 Aligned 4
        {code}
        OpReturn
        OpFunctionEnd"
    )
    .replace("%0", "%none")
    .replace("%1", "%one")
    .replace("%2", "%two")
}

#[test]
fn modules_of_other_compilers_are_not_trusted_either() {
    let store = "OpStore %at_a %1 Aligned 4";
    let group = "OpDecorate %group NoUnsignedWrap
        %group = OpDecorationGroup
        OpGroupDecorate %group %sum";
    let sum = "%sum = OpIAdd %long %a %four
        %to = OpConvertUToPtr %to_word %sum
        OpStore %to %1 Aligned 4";
    let whole = "%all = OpLoad %P %push
        %part = OpCompositeExtract %long %all 0
        %to = OpConvertUToPtr %to_word %part
        OpStore %to %1 Aligned 4";
    let copied = "%all = OpLoad %P %push
        %part = OpCompositeExtract %long %all 0
        %other = OpBitwiseXor %long %part %four
        %to = OpConvertUToPtr %to_word %other
        OpStore %to %1 Aligned 4";
    let word = "%from = OpAccessChain %word_in_P %push %2
        %w = OpLoad %uint %from
        OpStore %at_b %w Aligned 4";
    let long = "%from = OpAccessChain %in_P %push %2
        %w = OpLoad %long %from
        %to = OpConvertUToPtr %to_word %w
        OpStore %to %1 Aligned 4";
    let chosen = "OpStore %x %a
        %p = OpSelect %own %yes %x %y
        %l = OpLoad %long %p
        %to = OpConvertUToPtr %to_word %l
        OpStore %to %1 Aligned 4";
    let wrap = "OpDecorate %sum NoUnsignedWrap";
    for (members, offsets, decorations, code, expected) in [
        ("", "", "", store, &["a", "b"][..]),
        ("", "", "", sum, &["a", "b"]),
        ("", "", wrap, sum, &["b"]),
        ("", "", group, sum, &[]),
        ("", "", "", whole, &["a", "b"]),
        ("", "", "", copied, &["b"]),
        ("%uint", "OpMemberDecorate %P 2 Offset 4", "", word, &["b"]),
        ("%uint", "OpMemberDecorate %P 2 Offset 16", "", word, &["a", "b"]),
        ("%long", "OpMemberDecorate %P 2 Offset 4", "", long, &[]),
        ("", "", "", chosen, &[]),
    ] {
        let text = assembly(members, offsets, decorations, code);
        let Some(words) = assemble(&text, "vulkan1.2") else { return };
        let found = bases(&words);
        let found: Vec<_> = found.into_iter().filter(|name| matches!(*name, "a" | "b")).collect();
        assert_eq!(found, expected, "{text}");
    }
}
