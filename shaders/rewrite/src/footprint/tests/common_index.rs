//! Accesses behind several arguments that go by one index.

use crate::footprint::IndexedAccess;
use crate::tests::tools::{compile, optimise};
use crate::{Program, Root};

const HEAD: &str = "#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
layout(local_size_x = 64) in;
struct Item { float a; float b; uint c; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer F { float at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer I { Item at[]; };
layout(push_constant, scalar) uniform Push { F x; F y; U index; I items; uint n; };
uint gid = gl_GlobalInvocationID.x;
";

const X: u32 = 0;
const Y: u32 = 8;
const ITEMS: u32 = 24;

/// Root, first byte, stride and bytes of an access, and whether it writes.
type Shape = (u32, i64, i64, u32, bool);

fn shape(access: &IndexedAccess) -> Shape {
    let Root::Push { offset_bytes } = access.root else { panic!("{access:?}") };
    (offset_bytes, access.first_bytes, access.stride_bytes, access.bytes, access.writes)
}

/// Asserts the accesses by common indices of a kernel, as it is compiled and optimised.
#[track_caller]
fn assert_common(body: &str, expected: &[&[Shape]]) {
    let source = format!("{HEAD}void main() {{ {body} }}");
    let Some(words) = compile(&source, "vulkan1.2", &[]) else { return };
    let optimised = optimise(&words, "vulkan1.2");
    for words in [Some(words), optimised].into_iter().flatten() {
        let program = Program::parse(&words, Some("main")).expect("it can be rewritten");
        let lists = program.footprints().common_indices().iter();
        let mut found: Vec<Vec<Shape>> =
            lists.map(|list| list.iter().map(shape).collect()).collect();
        found.iter_mut().for_each(|list| list.sort_unstable());
        found.sort_unstable();
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn accesses_by_one_index_are_in_one_list() {
    assert_common(
        "uint i = index.at[gid]; y.at[i] = x.at[i] + items.at[i].b;",
        &[&[(X, 0, 4, 4, false), (Y, 0, 4, 4, true), (ITEMS, 4, 12, 4, false)]],
    );
    assert_common(
        "uint i = index.at[gid]; y.at[2 * i + 1] = x.at[i];",
        &[&[(X, 0, 4, 4, false), (Y, 4, 8, 4, true)]],
    );
    assert_common(
        "for (uint i = index.at[gid]; i < index.at[gid + 1]; i++)
             y.at[gid] += x.at[i] * items.at[i].a;",
        &[&[(X, 0, 4, 4, false), (ITEMS, 0, 12, 4, false)]],
    );
}

#[test]
fn accesses_that_are_near_each_other_count_as_one() {
    assert_common(
        "uint i = index.at[gid];
         y.at[gid] = x.at[i + 1] + x.at[i - 2] + x.at[i + 4000] + items.at[i].c + items.at[i].a;",
        &[&[(X, -8, 4, 16, false), (X, 16000, 4, 4, false), (ITEMS, 0, 12, 12, false)]],
    );
    // The loop of an array is unrolled, and its accesses still leave room for the other's.
    let many: String = (0..40).map(|at| format!(" + x.at[i + {at}]")).collect();
    assert_common(
        &format!("uint i = index.at[gid]; y.at[gid] = items.at[i].b{many};"),
        &[&[(X, 0, 4, 160, false), (ITEMS, 4, 12, 4, false)]],
    );
}

#[test]
fn other_indices_are_in_other_lists_or_none() {
    // Two indices, each behind one argument.
    assert_common("y.at[gid] = x.at[index.at[gid]];", &[]);
    // One that is known before the launch.
    assert_common("y.at[gid] = x.at[gid] + items.at[gid].a;", &[]);
    // One argument, twice.
    assert_common("uint i = index.at[gid]; y.at[gid] = x.at[i] + x.at[i + 1];", &[]);
    assert_common(
        "uint i = index.at[gid], j = index.at[gid + n];
         y.at[i] = x.at[i]; y.at[j] = items.at[j].a;",
        &[
            &[(X, 0, 4, 4, false), (Y, 0, 4, 4, true)],
            &[(Y, 0, 4, 4, true), (ITEMS, 0, 12, 4, false)],
        ],
    );
}

#[test]
fn indices_that_go_down_have_negative_strides() {
    assert_common(
        "int i = int(index.at[gid]); y.at[8 - i] = x.at[i];",
        &[&[(X, 0, 4, 4, false), (Y, 32, -4, 4, true)]],
    );
}

/// Numbers that are too large for a sum are in none, and sums of many numbers count as one.
#[test]
fn numbers_that_are_too_large_are_in_no_list() {
    let products = "i = i * 0x10001u + (i ^ 1u);".repeat(80);
    let access = "y.at[i] = x.at[i];";
    assert_common(&format!("uint i = index.at[gid]; {products} {access}"), &[]);
    let sums = "i += i ^ n;".repeat(80);
    let both: &[Shape] = &[(X, 0, 4, 4, false), (Y, 0, 4, 4, true)];
    assert_common(&format!("uint i = index.at[gid]; {sums} {access}"), &[both]);
}
