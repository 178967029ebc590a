//! What kernels touch in any launch, in words.

use crate::tests::tools::{compile, optimise};
use crate::{Program, Reflection};

const HEAD: &str = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
layout(local_size_x = 64) in;
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer F { float at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint at[]; };
layout(push_constant, scalar) uniform Push { F x; F y; U index; uint n; uint m; int k; };
uint gid = gl_GlobalInvocationID.x;
";

fn words_of(words: &[u32]) -> String {
    let program = Program::parse(words, Some("main")).expect("it can be rewritten");
    let names = Reflection::of(words).expect("it is a kernel").push_names;
    program.footprints().of_kernel(program.analysis(), &names).to_string()
}

/// Asserts what a kernel touches, in words, as it is compiled and optimised.
#[track_caller]
fn assert_words(body: &str, expected: &str) {
    let source = format!("{HEAD}void main() {{ {body} }}");
    let Some(words) = compile(&source, "vulkan1.2", &[]) else { return };
    assert_eq!(words_of(&words), expected, "{body}");
    let Some(words) = optimise(&words, "vulkan1.2") else { return };
    assert_eq!(words_of(&words), expected, "optimised: {body}");
}

#[test]
fn guards_are_better_known_than_the_grid() {
    assert_words(
        "if (gid < n) { y.at[gid] = x.at[gid]; }",
        "reads x[0..n], writes y[0..n]; every access is known",
    );
    assert_words(
        "if (gid >= n) return; y.at[gid] += x.at[gid];",
        "reads x[0..n], reads y[0..n], writes y[0..n]; every access is known",
    );
    assert_words(
        "y.at[gid] = x.at[gl_WorkGroupID.x];",
        "reads x[0..groups.x], writes y[0..invocations.x]; every access is known",
    );
    assert_words(
        "if (gid < n && gid < m) y.at[gid] = 1;",
        "writes y[0..min(n, m)]; every access is known",
    );
    assert_words(
        "int i = int(gid); if (i < k) y.at[i] = 1;",
        "writes y[0..k]; every access is known",
    );
}

#[test]
fn loops_end_where_their_bounds_are() {
    assert_words(
        "for (uint i = gid; i < n; i += gl_NumWorkGroups.x * 64) y.at[i] = x.at[i];",
        "reads x[0..n], writes y[0..n]; every access is known",
    );
    assert_words(
        "for (uint i = gid; i < n; i += m) y.at[i] = 1;",
        "writes y[0..n]; every access is known\nonly if m > 0: loop 1 of 1 ends",
    );
    assert_words(
        "if (gid >= n) return; float sum = 0;
         for (uint j = 0; j < m; j++) sum += x.at[gid * m + j];
         y.at[gid] = sum;",
        "reads x[0..n * m], writes y[0..n]; every access is known",
    );
    assert_words(
        "for (uint i = n; i > 0; i--) y.at[i - 1] = 1;",
        "writes y[0..n]; every access is known",
    );
    // A counter beside that which ends the loop: one step more than it takes.
    assert_words(
        "if (gid >= n) return; float sum = 0; uint p = gid;
         for (uint j = 0; j < m; j++) { sum += x.at[p]; p += n; }
         y.at[gid] = sum;",
        "reads x[0..n * m + n], writes y[0..n]; every access is known",
    );
    assert_words(
        "for (uint i = 0; i != n; i++) y.at[i] = 1;",
        "not known: the write of y; a number may wrap, be negative, or have no bound\n\
         not known to end: loop 1 of 1; no counter of it is known to come nearer to a bound in \
         each run",
    );
}

#[test]
fn rows_and_columns_are_multiplied() {
    assert_words(
        "uint row = gl_WorkGroupID.y; if (gid < m && row < n) y.at[row * m + gid] = 1;",
        "writes y[0..n * m]; every access is known",
    );
    assert_words(
        "if (gid < n * m) { uint row = gid / m, column = gid % m; y.at[column * n + row] = 1; }",
        "writes y[0..n * m]; every access is known",
    );
    assert_words(
        "if (gid < n / 4) y.at[gid] = x.at[4 * gid + 3];",
        "reads x[3..4 * (n / 4)], writes y[0..n / 4]; every access is known",
    );
}

#[test]
fn neighbours_move_the_ends() {
    assert_words(
        "if (gid > 0 && gid + 1 < n) y.at[gid] = x.at[gid - 1] + x.at[gid + 1];",
        "reads x[0..n], writes y[1..n - 1]; every access is known",
    );
    assert_words(
        "if (gid < n) y.at[n - 1 - gid] = x.at[n + gid];",
        "reads x[n..2 * n], writes y[0..n]; every access is known",
    );
    assert_words(
        "if (gid < n) y.at[min(gid + 1, n - 1)] = x.at[gid > 0 ? gid - 1 : 0];",
        "reads x[0..max(n - 1, 1)], writes y[min(n - 1, 1)..n]; every access is known",
    );
    assert_words(
        "int i = clamp(int(gid) - 3, 0, 15); y.at[i] = x.at[7];",
        "reads x[7], writes y[0..16]; every access is known",
    );
    assert_words(
        "if (gid < n) y.at[gid & 31] = x.at[gid % m];",
        "reads x[0..m], writes y[0..min(n, 32)]; every access is known",
    );
}

#[test]
fn an_index_from_memory_is_not_known() {
    assert_words(
        "if (gid < n) y.at[gid] = x.at[index.at[gid]];",
        "writes y[0..n], reads index[0..n]\n\
         not known: the read of x; it depends on memory, floating point or an unknown operation",
    );
    assert_words(
        "if (gid < n) y.at[gid] = x.at[index.at[gid] & 255];",
        "reads x[0..256], writes y[0..n], reads index[0..n]; every access is known",
    );
}

#[test]
fn places_in_the_source_are_named() {
    let source = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
layout(local_size_x = 64) in;
layout(buffer_reference) buffer Node;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node { Node next; uint v; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Sum { uint at[]; };
layout(push_constant) uniform Push { Node head; Sum sums; uint n; };
void main() {
    Node node = head;
    uint sum = 0;
    while (uint64_t(node) != 0) {
        sum += node.v;
        node = node.next;
    }
    sums.at[gl_GlobalInvocationID.x] = sum;
}";
    let source = source.replacen(
        "#extension GL_EXT_buffer_reference2",
        "#extension GL_EXT_shader_explicit_arithmetic_types : require\n\
         #extension GL_EXT_buffer_reference2",
        1,
    );
    let Some(words) = compile(&source, "vulkan1.2", &["-g"]) else { return };
    let text = words_of(&words);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("writes sums[0..invocations.x]"), "{text}");
    let rest: Vec<&str> = lines.collect();
    let has = |start: &str, at: &str| {
        rest.iter().any(|line| line.starts_with(start) && line.contains(at))
    };
    assert!(has("not known: a read through a pointer at ", ":14; it depends on memory"), "{text}");
    assert!(has("not known: a read through a pointer at ", ":15; it depends on memory"), "{text}");
    assert!(has("not known to end: the loop at ", ":13; no counter"), "{text}");
    assert_eq!(rest.len(), 3, "{text}");
}

#[test]
fn what_has_no_name_has_a_place() {
    let source = format!("{HEAD}void main() {{ if (gid < n) y.at[gid] = 1; }}");
    let Some(words) = compile(&source, "vulkan1.2", &[]) else { return };
    let program = Program::parse(&words, Some("main")).expect("it can be rewritten");
    let text = program.footprints().of_kernel(program.analysis(), &[]).to_string();
    assert_eq!(
        text,
        "writes (argument at byte 8)[0..(push constant at byte 24)]; every access is known"
    );
}

#[test]
fn members_and_own_variables_are_told() {
    assert_words(
        "float copy[16]; for (uint i = 0; i < n; i++) copy[i] = 1; y.at[gid] = copy[gid & 15];",
        "writes y[0..invocations.x]; every access is known\n\
         only if n - 1 < 16: an index into a variable of 16 elements",
    );
    let source = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_scalar_block_layout : require
layout(local_size_x = 64) in;
struct Particle { vec3 place; float mass; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer P { Particle at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer L { uint count; uint at[]; };
layout(push_constant, scalar) uniform Push { P particles; L list; uint n; };
void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i < n) { particles.at[i].mass = 1; list.at[i] = 2; }
}";
    let Some(words) = compile(source, "vulkan1.2", &[]) else { return };
    assert_eq!(
        words_of(&words),
        "writes particles[0..n], writes bytes 4..4 * n + 4 of list; every access is known"
    );
}

#[test]
fn what_divides_by_memory_is_not_defined() {
    assert_words(
        "y.at[gid % index.at[0]] = 1;",
        "nothing is known of it: it may divide by 0, or branch on a value that the specification \
         does not define",
    );
}
