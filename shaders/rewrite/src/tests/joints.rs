//! Accesses that are checked together.

use super::glsl::{HEAD, check};
use super::tools::compile;
use crate::contract::analysis::{AccessKind, Joint};
use crate::program::Program;

const NODE: &str = "
    layout(buffer_reference, std430, buffer_reference_align = 16) buffer Node {
        uvec2 next; uint a; uint b; uvec4 c; uint far[70]; uint last;
    };
    layout(buffer_reference, std430, buffer_reference_align = 8) buffer Table { uvec2 at[]; };
    layout(push_constant) uniform Push { uvec2 table; uint n; };
    shared uint other;
";

/// Bytes, access and distances of each joint of a kernel.
fn joints(body: &str) -> Option<Vec<(u32, AccessKind, Vec<u64>)>> {
    let source = format!("{NODE}void main() {{ uvec2 p = Table(table).at[gl_LocalInvocationID.x];");
    let source = format!("{source} uint x = n; {body} Table(table).at[9].x = x; }}");
    let words = compile(&format!("{HEAD}{source}"), "vulkan1.2", &[])?;
    let program = Program::parse(&words, None).expect("it can be rewritten");
    let analysis = program.analysis();
    let joint = |joint: &Joint| {
        let check = analysis.address_checks[joint.check];
        let sites: Vec<usize> = joint.members.iter().map(|member| member.0).collect();
        assert!(sites.is_sorted(), "in the order of the program: {sites:?}");
        let distances = joint.members.iter().map(|member| member.1).collect();
        (check.size_bytes, check.access, distances)
    };
    Some(analysis.joints.iter().map(joint).collect())
}

#[test]
fn members_behind_one_address_are_joined() {
    use AccessKind::{Read, Write};
    for (body, expected) in [
        ("x += Node(p).a; p = Node(p).next;", vec![(12, Read, vec![8, 0])]),
        ("Node(p).b = x; atomicAdd(Node(p).a, 1);", vec![(8, Write, vec![4, 0])]),
        // Reads and writes have other memory to fall back to.
        ("Node(p).b = x; x = Node(p).a;", vec![]),
        (
            "x += Node(p).a + Node(p).b; Node(p).a = x; Node(p).next.x = x;",
            vec![(8, Read, vec![0, 4]), (12, Write, vec![8, 0])],
        ),
        // The second access has a larger alignment than the address 4 bytes before it, where the
        // extent starts.
        ("Node(p).a = x; Node(p).next.y = x;", vec![]),
        // A store behind the address does not change the address.
        ("x += Node(p).a; Node(p).c.y = 1; x += Node(p).b;", vec![(8, Read, vec![0, 4])]),
    ] {
        let Some(found) = joints(body) else { return };
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn joints_of_all_kinds_are_valid() {
    let body = "void main() {
        uvec2 p = Table(table).at[gl_LocalInvocationID.x];
        uvec4 x = Node(p).c + Node(p).a + Node(p).b;
        Node(p).b = x.x;
        Node(p).c.y = atomicAdd(Node(p).a, n);
        Node(p).next = x.yz;
    }";
    let Some(analysis) = check(&format!("{NODE}{body}")) else { return };
    assert_eq!(analysis.joints.len(), 2, "{analysis:#?}");
}

#[test]
fn what_need_not_both_happen_or_may_be_elsewhere_is_not_joined() {
    for body in [
        "x += Node(p).a; if (x > 3) x += Node(p).b;",
        "x += Node(p).a; p = Node(p + uvec2(x, 0)).next; x += Node(p).b;",
        "x += Node(p).a; p.x += 16; x += Node(p).b;",
        "x += Node(p).a; x += Node(p).last;",
        "x += Node(p).far[x]; x += Node(p).far[x + 1];",
        "x += Table(table).at[2].x + Table(table).at[3].x;",
    ] {
        let Some(found) = joints(body) else { return };
        assert_eq!(found, [], "{body}");
    }
}
