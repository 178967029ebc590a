//! Kernels that store numbers of 8 and 16 bits without being able to compute with them.

use super::forms::variants;
use super::tools::{compile, is_valid, optimise, validate};
use crate::contract::variant::Integers;
use crate::program::Program;

const HEAD: &str = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_8bit_storage : require
#extension GL_EXT_scalar_block_layout : require
layout(local_size_x = 8) in;
";

/// Declarations and code of kernels.
const KERNELS: [(&str, &str, &str); 6] = [
    (
        "an array of an argument",
        "layout(buffer_reference, std430, buffer_reference_align = 4) buffer H { float16_t at[]; };
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer B { uint8_t at[]; };
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer I { int16_t at[]; };
        layout(push_constant) uniform P { H h; B b; I i; uint n; } p;",
        "uint i = gl_GlobalInvocationID.x;
        float x = float(p.h.at[i]) + float(uint(p.b.at[i])) + float(int(p.i.at[i + 1]));
        p.h.at[i] = float16_t(x); p.b.at[i] = uint8_t(uint(x)); p.i.at[i] = int16_t(int(x));",
    ),
    (
        "addresses as pairs",
        "layout(buffer_reference, scalar, buffer_reference_align = 2) buffer H { float16_t at[]; };
        layout(buffer_reference, scalar, buffer_reference_align = 1) buffer B { uint8_t at[]; };
        layout(push_constant) uniform P { uvec2 h, b; } p;",
        "uint i = gl_GlobalInvocationID.x; B(p.b).at[i] = uint8_t(uint(float(H(p.h).at[i])));",
    ),
    (
        "members that are reached through memory",
        "layout(buffer_reference, std430, buffer_reference_align = 8) buffer N;
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer N {
            N next; uint8_t bytes[4]; float16_t half_; u16vec4 more;
        };
        layout(push_constant) uniform P { N head; uint n; } p;",
        "N n = p.head;
        for (uint k = 0u; k < p.n; k++) {
            n.half_ = float16_t(float(uint(n.bytes[k & 3u])) + float(n.half_));
            n.bytes[1] = n.bytes[2];
            n.more = u16vec4(uvec4(n.more) + 1u);
            n = n.next;
        }",
    ),
    (
        "several indices, signed ones too",
        "layout(buffer_reference, std430, buffer_reference_align = 8) buffer M {
            uint first; uint8_t at[7][5]; float16_t wide[3][4]; };
        layout(push_constant) uniform P { M m; int i; int k; } p;",
        "p.m.at[p.i][p.k] = p.m.at[p.k][p.i]; p.m.wide[p.i][p.k + 1] = p.m.wide[2][p.k];",
    ),
    (
        "pointers that are returned",
        "layout(buffer_reference, std430, buffer_reference_align = 4) buffer H { float16_t at[]; };
        layout(push_constant) uniform P { H h; H g; uint n; } p;
        H pick(uint n) { for (uint k = 0u; k < n; k++) if (float(p.h.at[k]) > 1.0) return p.g; \
        return p.h; }",
        "pick(p.n).at[gl_LocalInvocationIndex] = float16_t(2.0);",
    ),
    (
        "a step from a pointer to the next",
        "layout(buffer_reference, std430, buffer_reference_align = 2) buffer H { float16_t x; };
        layout(push_constant) uniform P { H h; uint n; } p;",
        "H at = p.h + gl_LocalInvocationIndex; at.x = p.h[p.n].x;",
    ),
];

#[test]
fn numbers_that_are_only_stored_keep_every_form_valid() {
    for (name, declarations, code) in KERNELS {
        let glsl = format!("{HEAD}{declarations}\nvoid main() {{ {code} }}");
        for target in ["vulkan1.1", "vulkan1.2", "vulkan1.3"] {
            let Some(words) = compile(&glsl, target, &[]) else { return };
            let Some(optimised) = optimise(&words, target) else { return };
            for words in [words, optimised] {
                // spirv-opt leaves a variable of pointer type without its decoration now and then.
                if is_valid(&words) == Some(false) {
                    continue;
                }
                let program = Program::parse(&words, None);
                let program = program.unwrap_or_else(|error| panic!("{name}: {error}"));
                for variant in variants() {
                    let what = format!("{name}, {target}, {variant:?}");
                    let rewritten = program.rewrite(&variant).expect(&what);
                    validate(&rewritten, &what);
                    if variant.integers == Integers::Pairs && variant.offset_roots {
                        optimise(&rewritten, target);
                    }
                }
            }
        }
    }
}
