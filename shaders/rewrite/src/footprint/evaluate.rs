//! The value of a node, from those of what it is computed from.

use crate::footprint::arithmetic::{binary, less};
use crate::footprint::launch::{Launch, WordsRead};
use crate::footprint::mutant::{self, Mutant};
use crate::footprint::op::{Node, NodeId, Op};
use crate::footprint::plan::Plan;
use crate::footprint::value::{Trust, Value, truth};
use std::cmp::max;

/// The value of a node, from those of its operands.
pub(super) fn value(
    plan: &Plan,
    launch: &Launch<'_>,
    read: &mut WordsRead,
    values: &[Value],
    phis: &[Value],
    node: &Node,
) -> Value {
    let width = node.width;
    let among =
        |(first, end): (u32, u32)| Value::unsigned(first.into(), i128::from(end) - 1, width);
    let axis = |axis: u8| usize::from(axis).min(2);
    match node.op {
        Op::Const(bits) => return Value::one(bits, width),
        Op::Push(at) => {
            let bits = read.read(launch.push, at, width);
            return bits.map_or(Value::any(width, Trust::Void), |bits| Value::one(bits, width));
        }
        Op::Root(at) => return Value::address(at, 0, 0),
        Op::Groups(of) => return Value::one(launch.groups[axis(of)].into(), width),
        Op::Group(of) => return among(launch.part.groups[axis(of)]),
        Op::Local(of) => return among(launch.part.locals[axis(of)]),
        Op::Undefined if mutant::has(Mutant::UndefinedIsZero) => return Value::one(0, width),
        Op::Undefined => return Value::any(width, Trust::Void),
        Op::Phi(phi) => return phis[phi as usize],
        Op::Unknown(_) => {
            let trust =
                if mutant::has(Mutant::MemoryIsFixed) { Trust::Fixed } else { Trust::Loose };
            let trusts = node.args().iter().map(|&arg| values[arg as usize].trust);
            return Value::any(width, trusts.fold(trust, max));
        }
        _ => {}
    }
    let of = |at: usize| values[node.arg(at) as usize];
    let (a, b) = (of(0), if node.args().len() > 1 { of(1) } else { of(0) });
    if node.op == Op::Select {
        return selected(plan, values, node);
    }
    if node.op == Op::Whole {
        // Halves of what memory holds may be of two numbers.
        return if a.trust == Trust::Fixed { a } else { a.hull(Value::any(64, a.trust), 64) };
    }
    if width == 64
        && node.flags == 0
        && let Some(moved) = moved(node, a, b)
    {
        return moved;
    }
    let is_same = node.args().len() == 2 && node.arg(0) == node.arg(1);
    if is_same && a.trust == Trust::Fixed && matches!(node.op, Op::Equal | Op::ULess | Op::SLess) {
        return truth(Some(node.op == Op::Equal));
    }
    let mut number = |of: Value| number(launch, read, of);
    let (a, b) = (number(a), number(b));
    let from = plan.graph.width(node.arg(0));
    if node.op == Op::Rest {
        return rest(node, a, b, number(of(2)));
    }
    binary(node, a, b, from)
}

/// The rest of a division, computed from its quotient: a difference, and a remainder too if
/// number and divisor are the same at each use.
fn rest(node: &Node, of: Value, product: Value, divisor: Value) -> Value {
    let operation = |op: Op| Node::new(op, node.width, &[0, 0]);
    let difference = binary(&operation(Op::Sub), of, product, node.width);
    if max(of.trust, divisor.trust) > Trust::Fixed {
        return difference;
    }
    let remainder = binary(&operation(Op::URem), of, divisor, node.width);
    let trust = max(difference.trust, remainder.trust);
    difference.meet(remainder, node.width).unwrap_or(difference).trusted(trust, node.width)
}

/// An address and a distance, or the distance of two places behind one address.
fn moved(node: &Node, a: Value, b: Value) -> Option<Value> {
    let trust = max(a.trust, b.trust);
    let unknown = Value::any(64, trust);
    let ends = match (node.op, a.root, b.root) {
        (Op::Add, Some(root), None) | (Op::Add, None, Some(root)) => {
            let least = a.least.checked_add(b.least);
            (root, least.zip(a.most.checked_add(b.most)))
        }
        (Op::Sub, Some(root), None) => {
            let least = a.least.checked_sub(b.most);
            (root, least.zip(a.most.checked_sub(b.least)))
        }
        (Op::Sub, Some(one), Some(other)) if one == other => {
            let (least, most) = (a.least.checked_sub(b.most)?, a.most.checked_sub(b.least)?);
            return Some(Value::signed(least.into(), most.into(), 64).trusted(trust, 64));
        }
        _ => return None,
    };
    Some(match ends {
        (root, Some((least, most))) => Value::address(root, least, most).trusted(trust, 64),
        _ => unknown,
    })
}

/// A value as a number: an address is looked up.
pub(super) fn number(launch: &Launch<'_>, read: &mut WordsRead, of: Value) -> Value {
    let Some(root) = of.root else { return of };
    let Some(address) = read.read(launch.push, root, 64) else {
        return Value::any(64, Trust::Void);
    };
    let (low, high) = (i128::from(of.least), i128::from(of.most));
    let address = i128::from(address);
    Value::unsigned(address + low, address + high, 64).trusted(of.trust, 64)
}

/// The value of a selection, with what the condition says of its arms.
fn selected(plan: &Plan, values: &[Value], node: &Node) -> Value {
    let value = |at: usize| values[node.arg(at) as usize];
    let condition = value(0);
    if condition.trust == Trust::Void {
        return Value::any(node.width, Trust::Void);
    }
    if let Some(holds) = condition.truth() {
        return value(if holds { 1 } else { 2 });
    }
    let arm = |at: usize| {
        let arm = value(at);
        if arm.trust != Trust::Fixed {
            return Some(arm);
        }
        let said = said(plan, values, node.arg(0), at == 1, node.arg(at), 0);
        said.map_or(Some(arm), |said| arm.meet(said, node.width))
    };
    let both = match (arm(1), arm(2)) {
        (Some(yes), Some(no)) => yes.hull(no, node.width),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => Value::any(node.width, Trust::Fixed),
    };
    both.trusted(condition.trust, node.width)
}

/// Bounds of a node, by a condition that compares it.
fn said(
    plan: &Plan,
    values: &[Value],
    condition: NodeId,
    holds: bool,
    of: NodeId,
    depth: u32,
) -> Option<Value> {
    let node = plan.graph.get(condition);
    let (a, b) = (node.arg(0), node.arg(1));
    let width = plan.graph.width(a);
    let value = |of: NodeId| values[of as usize];
    match node.op {
        Op::Not if depth < 4 => said(plan, values, a, !holds, of, depth + 1),
        Op::And if holds && depth < 4 && node.width == 1 => {
            said(plan, values, a, true, of, depth + 1)
                .or_else(|| said(plan, values, b, true, of, depth + 1))
        }
        Op::Or if !holds && depth < 4 && node.width == 1 => {
            said(plan, values, a, false, of, depth + 1)
                .or_else(|| said(plan, values, b, false, of, depth + 1))
        }
        Op::ULess | Op::SLess if (a == of) != (b == of) => {
            let has_sign = node.op == Op::SLess;
            let other = value(if a == of { b } else { a });
            if other.root.is_some() || other.trust == Trust::Void {
                return None;
            }
            less(other, a == of, holds, has_sign, width)
        }
        _ => None,
    }
}
