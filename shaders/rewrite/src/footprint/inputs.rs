//! The inputs of a kernel: constants, built-in values and push constants.

use crate::footprint::data::Datum;
use crate::footprint::graph::Graph;
use crate::footprint::op::{NodeId, Op as Node};
use crate::footprint::shapes::Shapes;
use crate::ir::instruction::Id;
use crate::ir::layouts::{Layouts, Place};
use rspirv::dr::Operand;
use rspirv::spirv::{BuiltIn, Op};
use std::rc::Rc;

/// How deep constants may be nested.
const MOST_DEPTH: u32 = 32;

/// The value of a constant of the module.
pub(super) fn constant(graph: &mut Graph, shapes: &mut Shapes<'_>, id: Id) -> Option<Datum> {
    let of = shapes.edit.type_of(id)?;
    let Some(widths) = shapes.widths(of) else { return Some(Datum::Large) };
    let mut leaves = Vec::with_capacity(widths.len());
    add_constant(graph, shapes, id, 0, &mut leaves);
    (leaves.len() == widths.len()).then(|| Datum::Leaves(leaves.into()))
}

fn add_constant(
    graph: &mut Graph,
    shapes: &mut Shapes<'_>,
    id: Id,
    depth: u32,
    leaves: &mut Vec<NodeId>,
) {
    let edit = shapes.edit;
    let Some(declared) = edit.global(id).filter(|_| depth <= MOST_DEPTH) else { return };
    let Some(widths) = declared.result_type.and_then(|of| shapes.widths(of)) else { return };
    let Some(&width) = widths.first() else { return };
    match (declared.class.opcode, &declared.operands[..]) {
        (Op::Constant, [Operand::LiteralBit32(bits)]) => {
            leaves.push(graph.constant(u64::from(*bits), width));
        }
        (Op::Constant, [Operand::LiteralBit64(bits)]) => leaves.push(graph.constant(*bits, width)),
        (Op::ConstantTrue, _) => leaves.push(graph.constant(1, 1)),
        (Op::ConstantFalse, _) => leaves.push(graph.constant(0, 1)),
        (Op::ConstantNull, _) => {
            leaves.extend(widths.iter().map(|&width| graph.constant(0, width)));
        }
        (Op::ConstantComposite, parts) => {
            for part in parts.iter().filter_map(Operand::id_ref_any) {
                if leaves.len() <= widths.len() {
                    add_constant(graph, shapes, part, depth + 1, leaves);
                }
            }
        }
        (Op::Undef, _) => leaves.extend(widths.iter().map(|&width| graph.undefined(width))),
        _ => leaves.extend(widths.iter().map(|&width| graph.unknown(width, &[]))),
    }
}

/// The numbers of a built-in value whose type has numbers of these widths.
pub(super) fn builtin(
    graph: &mut Graph,
    of: Option<BuiltIn>,
    local_size: [u32; 3],
    widths: &[u8],
) -> Rc<[NodeId]> {
    let words = |count: usize| widths.len() == count && widths.iter().all(|&width| width == 32);
    let axes = [0u8, 1, 2];
    match of {
        Some(BuiltIn::NumWorkgroups) if words(3) => {
            axes.map(|axis| graph.op(Node::Groups(axis), 32, &[])).into()
        }
        Some(BuiltIn::WorkgroupId) if words(3) => {
            axes.map(|axis| graph.op(Node::Group(axis), 32, &[])).into()
        }
        Some(BuiltIn::LocalInvocationId) if words(3) => {
            axes.map(|axis| graph.op(Node::Local(axis), 32, &[])).into()
        }
        Some(BuiltIn::WorkgroupSize) if words(3) => {
            local_size.map(|size| graph.constant(size.into(), 32)).into()
        }
        Some(BuiltIn::GlobalInvocationId) if words(3) => axes
            .map(|axis| {
                let group = graph.op(Node::Group(axis), 32, &[]);
                let size = graph.constant(local_size[usize::from(axis)].into(), 32);
                let first = graph.op(Node::Mul, 32, &[group, size]);
                let local = graph.op(Node::Local(axis), 32, &[]);
                graph.op(Node::Add, 32, &[first, local])
            })
            .into(),
        Some(BuiltIn::LocalInvocationIndex) if words(1) => [local_index(graph, local_size)].into(),
        _ => widths.iter().map(|&width| graph.unknown(width, &[])).collect(),
    }
}

/// The number of an invocation in its workgroup, x first.
fn local_index(graph: &mut Graph, local_size: [u32; 3]) -> NodeId {
    let [x, y, z] = [0, 1, 2].map(|axis| graph.op(Node::Local(axis), 32, &[]));
    let [rows, columns] = [local_size[1], local_size[0]].map(|n| graph.constant(n.into(), 32));
    let planes = graph.op(Node::Mul, 32, &[z, rows]);
    let lines = graph.op(Node::Add, 32, &[planes, y]);
    let before = graph.op(Node::Mul, 32, &[lines, columns]);
    graph.op(Node::Add, 32, &[before, x])
}

/// Adds the numbers of a value in the push constants. `None` where it has no layout.
pub(super) fn push(
    graph: &mut Graph,
    shapes: &mut Shapes<'_>,
    layouts: &Layouts,
    bytes: u32,
    place: Place,
    leaves: &mut Vec<NodeId>,
) -> Option<()> {
    let edit = shapes.edit;
    let widths = shapes.widths(place.of)?;
    // An array may have any number of parts that hold nothing.
    if widths.is_empty() {
        return Some(());
    }
    let op = edit.global(place.of)?.class.opcode;
    match op {
        Op::TypeInt | Op::TypeFloat | Op::TypePointer => {
            let width = *widths.first()?;
            let of = if width == 64 { Node::Root(bytes) } else { Node::Push(bytes) };
            leaves.push(graph.op(of, width, &[]));
        }
        _ => {
            for index in 0..Layouts::parts(edit, place.of)? {
                let step = layouts.step(edit, place, Some(i64::from(index)))?;
                let times = if op == Op::TypeStruct { 1 } else { index };
                let at = bytes.checked_add(step.bytes.checked_mul(times)?)?;
                push(graph, shapes, layouts, at, step.place, leaves)?;
            }
        }
    }
    Some(())
}
