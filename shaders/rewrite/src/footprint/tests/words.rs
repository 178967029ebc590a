//! Footprints in words.

use crate::{Program, Reflection};

/// The explanation of a launch of three workgroups with 64 in all words of the push constants.
fn explain(name: &str, words: &[u32]) -> String {
    let program = Program::parse(words, Some("main")).expect(name);
    let names = Reflection::of(words).expect(name).push_names;
    let push = [64, 0, 0, 0].repeat(16);
    let footprint = program.footprints().of_launch(&push, [3, 1, 1]);
    footprint.explain(program.analysis(), &names)
}

fn shipped(wanted: &str) -> String {
    let (name, words) =
        farptr_kernels::all().into_iter().find(|of| of.0 == wanted).expect("it is shipped");
    explain(name, words)
}

#[test]
fn arguments_are_named_and_doubts_have_reasons() {
    assert_eq!(
        shipped("gather"),
        "reads bytes 0 to 256 of `index`\n\
         writes bytes 0 to 256 of `z`\n\
         not known: the OpLoad; it depends on memory, floating point or an unknown operation\n"
    );
    let dot = shipped("dot");
    assert!(dot.contains("reads bytes 0 to 256 of `x`\n"), "{dot}");
    assert!(dot.ends_with("the loops of an invocation run at most 72 times in all\n"), "{dot}");
    let spmv = shipped("spmv");
    assert!(spmv.ends_with("not known to end: loop 1, 2 of 2\n"), "{spmv}");
}

#[test]
fn lines_of_the_source_are_named() {
    let glsl = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U { uint d[]; };
layout(push_constant) uniform P { uvec2 b; uint n; } p;
void main() {
    U(p.b).d[gl_GlobalInvocationID.x - 1u] = 1;
}";
    let Some(words) = crate::tests::tools::compile(glsl, "vulkan1.2", &["-g"]) else { return };
    let text = explain("a kernel", &words);
    assert!(text.contains("the OpStore at "), "{text}");
    assert!(text.contains(":8; a number may wrap, be negative, or have no bound\n"), "{text}");
}

#[test]
fn a_launch_that_is_not_defined_says_so() {
    let glsl = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U { uint d[]; };
layout(push_constant) uniform P { uvec2 b; uint n; } p;
void main() { U(p.b).d[gl_GlobalInvocationID.x / (p.n - 64u)] = 1; }";
    let Some(words) = crate::tests::tools::compile(glsl, "vulkan1.2", &[]) else { return };
    let text = explain("a kernel", &words);
    assert!(text.starts_with("nothing is known of this launch: it may divide by 0"), "{text}");
}

#[test]
fn loops_that_may_not_end_have_lines() {
    let glsl = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U { uint d[]; };
layout(push_constant) uniform P { uvec2 b; uint n; } p;
void main() {
    for (uint i = 0u; i < p.n; i++) {
        while (U(p.b).d[i] != 0u) { U(p.b).d[i] = 1u; }
    }
}";
    let Some(words) = crate::tests::tools::compile(glsl, "vulkan1.2", &["-g"]) else { return };
    let text = explain("a kernel", &words);
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("not known to end")).collect();
    let [line] = lines[..] else { panic!("{text}") };
    assert!(line.starts_with("not known to end: the loop at "), "{text}");
    assert!(line.contains(":9; no counter of it is known to come nearer"), "{text}");
}
