//! Names, types and places of arguments, and how their pointers are used.

use super::glsl::HEAD;
use super::tools::compile;
use crate::contract::analysis::{AccessKind, PointerUse};
use crate::program::Program;
use crate::reflect::layout::{Arguments, Layout, Number};

const WORD: Layout = Layout::Number(Number::Int { bits: 32, signed: false });
const FLOAT: Number = Number::Float { bits: 32 };

fn words(body: &str) -> Option<Vec<u32>> {
    compile(&format!("{HEAD}{body}"), "vulkan1.2", &[])
}

/// Member `n`: its name, its offset, and its layout.
fn member(arguments: &Arguments, n: usize) -> (&str, u32, Layout) {
    let member = &arguments.members()[n];
    (&member.name, member.offset_bytes, member.layout.clone())
}

#[test]
fn members_have_names_offsets_and_layouts() {
    let Some(words) = words(
        "struct Pair { int16_t a; double b; };
        layout(buffer_reference, std430) buffer Node { uvec2 next; uint at[]; };
        layout(push_constant, std430) uniform Push {
            Node node; vec3 v; uint n; layout(row_major) mat2x3 m; Pair pairs[2];
        };
        void main() { node.at[0] = n; }",
    ) else {
        return;
    };
    let arguments = Arguments::of(&words, None).unwrap();
    let (name, at, Layout::Pointer { pointer_type }) = member(&arguments, 0) else { panic!() };
    assert_eq!((name, at), ("node", 0));
    assert_eq!(member(&arguments, 1), ("v", 16, Layout::Vector { of: FLOAT, count: 3 }));
    assert_eq!(member(&arguments, 2), ("n", 28, WORD));
    let matrix = Layout::Matrix { of: FLOAT, vectors: 3, count: 2, stride_bytes: 8, by_rows: true };
    assert_eq!(member(&arguments, 3), ("m", 32, matrix));
    let (_, 56, Layout::Array { element, length: Some(2), stride_bytes: 16 }) =
        member(&arguments, 4)
    else {
        panic!("{arguments:?}")
    };
    let Layout::Struct(pair) = *element else { panic!("{element:?}") };
    assert_eq!((&*pair.name, pair.members[1].offset_bytes, pair.size_bytes()), ("Pair", 8, 16));

    let Some((Layout::Struct(node), None)) = arguments.pointee(pointer_type) else { panic!() };
    assert_eq!((&*node.name, &*node.members[0].name), ("Node", "next"));
    let rest = Layout::Array { element: WORD.into(), length: None, stride_bytes: 4 };
    assert_eq!((node.members[1].offset_bytes, &node.members[1].layout), (8, &rest));
}

/// Offset, alignment and kind of each use.
fn uses(body: &str) -> Option<Vec<(Option<u32>, u32, AccessKind)>> {
    let head = "layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node {
            uvec2 next; uint a; uint at[];
        };
        layout(push_constant) uniform Push { uvec2 p; uvec2 q; uint n; };";
    let program = Program::parse(&words(&format!("{head} void main() {{ {body} }}"))?, None);
    let program = program.expect("it can be rewritten");
    let parts = |one: &PointerUse| (one.push_offset_bytes, one.align_bytes, one.access);
    Some(program.analysis().uses.iter().map(parts).collect())
}

#[test]
fn uses_name_the_argument_and_what_is_done() {
    use AccessKind::{Atomic, Read, Write};
    for (body, expected) in [
        ("Node(p).a = Node(q).at[n];", vec![(Some(8), 4, Read), (Some(0), 8, Write)]),
        ("atomicAdd(Node(q).a, n);", vec![(Some(8), 4, Atomic)]),
        // The address that comes from memory has no argument.
        ("Node(Node(p).next).a = 1;", vec![(Some(0), 8, Read), (None, 1, Write)]),
        // Two numbers are no address.
        ("Node(p).a = q.x;", vec![(Some(0), 8, Write)]),
    ] {
        let Some(found) = uses(body) else { return };
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn mutated_modules_never_panic() {
    let mut words = farptr_kernels::all()[2].1.to_vec();
    for at in 5..words.len() {
        for value in [0, 1, 7, u32::MAX] {
            let kept = std::mem::replace(&mut words[at], value);
            if let Ok(arguments) = Arguments::of(&words, None) {
                for id in 0..200 {
                    let _ = arguments.pointee(id).map(|(layout, _)| layout.size_bytes());
                }
            }
            words[at] = kept;
        }
    }
}
