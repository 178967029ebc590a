//! The range of a node, from those of what it is computed from.
//!
//! A number is the one with a sign that its bits stand for. Operations without a sign say
//! something of numbers only where these are shown not to be negative.

use crate::footprint::mutant::{self, Mutant};
use crate::footprint::op::{NO_UNSIGNED_WRAP, Node, NodeId, Op};
use crate::footprint::plan::Plan;
use crate::footprint::symbolic::bound::Bound;
use crate::footprint::symbolic::range::Range;
use crate::footprint::symbolic::sum::{Given, Sum};
use crate::footprint::value::{Trust, to_signed, top};
use std::cmp::max;
use std::collections::BTreeMap;

/// The ranges of nodes at a place.
pub(super) type Ranges = BTreeMap<NodeId, Range>;

/// The range of a node. `values` has those of its operands, and `phis` those of phis.
pub(super) fn range(
    plan: &Plan,
    local_size: [u32; 3],
    values: &Ranges,
    phis: &[Range],
    node: &Node,
) -> Range {
    let given = |of: Given| Bound::Sum(Sum::given(of));
    match node.op {
        Op::Const(bits) => {
            return Range::one(Bound::constant(to_signed(bits, node.width).into()));
        }
        Op::Push(at) => return Range::one(given(Given::Push(at, node.width))),
        Op::Root(at) => return Range { root: Some(at), ..Range::constants(0, 0) },
        Op::Groups(axis) => return Range::one(given(Given::Groups(axis))),
        Op::Group(axis) => {
            let zero = Some(Bound::constant(0));
            return Range::new(zero, given(Given::Groups(axis)).moved(-1));
        }
        Op::Local(axis) => {
            let size = local_size[usize::from(axis.min(2))];
            return Range::constants(0, i128::from(size.max(1)) - 1);
        }
        Op::Undefined => return Range::any(Trust::Void),
        Op::Phi(phi) => return phis[phi as usize].clone(),
        _ => {}
    }
    let of = |at: usize| value(values, node.arg(at));
    let args = node.args().len();
    let trust = (0..args).map(|at| of(at).trust).fold(Trust::Fixed, max);
    match node.op {
        Op::Unknown(_) => return Range::any(max(trust, Trust::Loose)),
        Op::Select => return selected(plan, values, node),
        _ if trust == Trust::Void => return Range::any(Trust::Void),
        _ => {}
    }
    let (a, b) = (of(0), if args > 1 { of(1) } else { of(0) });
    if node.op == Op::Whole {
        return if a.trust == Trust::Fixed { a } else { Range::any(a.trust) };
    }
    if let Some(moved) = moved(node, &a, &b).filter(|_| node.width == 64 && node.flags == 0) {
        return moved.trusted(trust);
    }
    let (a, b) = (number(&a), number(&b));
    let from = plan.graph.width(node.arg(0));
    let result = match node.op {
        Op::Rest => remainder(&a, &number(&of(2)), from),
        _ => computed(node, &a, &b, from),
    };
    let may_wrap = node.flags & NO_UNSIGNED_WRAP != 0 && !keeps(node.op, &a, &b, &result);
    result.trusted(if may_wrap { Trust::Void } else { trust })
}

/// Whether a result is shown not to wrap without a sign, if it does not with one.
fn keeps(op: Op, a: &Range, b: &Range, result: &Range) -> bool {
    a.is_natural() && b.is_natural() && (op != Op::Sub || result.is_natural())
}

/// The range of a node that was computed; any number otherwise.
pub(super) fn value(values: &Ranges, of: NodeId) -> Range {
    values.get(&of).cloned().unwrap_or_else(|| Range::any(Trust::Loose))
}

/// A range as numbers: eight bytes of the push constants need not be an address.
pub(super) fn number(of: &Range) -> Range {
    let Some(at) = of.root else { return of.clone() };
    let base = Bound::Sum(Sum::given(Given::Push(at, 64)));
    let with = |end: &Option<Bound>| end.as_ref().and_then(|end| end.plus(&base));
    Range::new(with(&of.low), with(&of.high)).trusted(of.trust)
}

/// An address and a distance, or the distance of two places behind one address.
fn moved(node: &Node, a: &Range, b: &Range) -> Option<Range> {
    let range = match (node.op, a.root, b.root) {
        (Op::Add, Some(_), None) | (Op::Add, None, Some(_)) => sum(a, b),
        (Op::Sub, Some(_), None) => difference(a, b),
        (Op::Sub, Some(one), Some(other)) if one == other => return Some(difference(a, b)),
        _ => return None,
    };
    Some(Range { root: a.root.or(b.root), ..range })
}

/// An operation on numbers.
fn computed(node: &Node, a: &Range, b: &Range, from: u8) -> Range {
    let any = Range::any(Trust::Fixed);
    match node.op {
        Op::Add => sum(a, b),
        Op::Sub => difference(a, b),
        Op::Mul => product(a, b),
        Op::Shl | Op::Shr | Op::Sar => shifted(node, a, b),
        Op::UDiv => quotient(a, b, from),
        Op::URem => remainder(a, b, from),
        Op::SDiv if a.is_natural() && b.is_natural() => quotient(a, b, from),
        Op::SRem if a.is_natural() && b.is_natural() => remainder(a, b, from),
        // The remainder of a negative number is not defined.
        Op::SRem => Range::any(Trust::Void),
        Op::And | Op::Or | Op::Xor | Op::Not if node.width == 1 => logic(node.op, a, b),
        Op::And => conjunction(a, b),
        Op::Or | Op::Xor if a.is_natural() && b.is_natural() => {
            Range::new(Some(Bound::constant(0)), sum(a, b).high)
        }
        Op::Not => difference(&Range::constants(-1, -1), a),
        Op::Equal | Op::ULess | Op::SLess => comparison(node.op, a, b),
        Op::Carry => Range::constants(0, 1),
        Op::ZeroExtend if !a.is_natural() => Range::constants(0, top(from).into()),
        Op::ZeroExtend | Op::SignExtend => a.clone(),
        Op::Truncate if a.fits(node.width) => a.clone(),
        Op::UMin | Op::UMax | Op::SMin | Op::SMax => extreme(node.op, a, b),
        Op::SAbs if a.is_natural() => a.clone(),
        // An index that may have its highest bit set is read in two ways.
        Op::Index if from >= 64 || a.is_natural() => a.clone(),
        _ => any,
    }
}

/// An operation on truth values.
fn logic(op: Op, a: &Range, b: &Range) -> Range {
    let both = a.truth().zip(b.truth());
    let either = |wanted: bool| a.truth() == Some(wanted) || b.truth() == Some(wanted);
    Range::truth_value(match op {
        Op::Not => a.truth().map(|of| !of),
        Op::And if either(false) => Some(false),
        Op::Or if either(true) => Some(true),
        Op::And | Op::Or => both.map(|_| op == Op::And),
        _ => both.map(|(one, other)| one != other),
    })
}

/// Both ends of two ranges, by a function of each.
fn ends(
    (a, b): (&Option<Bound>, &Option<Bound>),
    with: impl Fn(&Bound, &Bound) -> Option<Bound>,
) -> Option<Bound> {
    a.as_ref().zip(b.as_ref()).and_then(|(a, b)| with(a, b))
}

fn sum(a: &Range, b: &Range) -> Range {
    let least = a.least_number().zip(b.least_number()).map(|(one, other)| one + other);
    let low = ends((&a.low, &b.low), Bound::plus);
    Range::new(low, ends((&a.high, &b.high), Bound::plus)).with_least(least)
}

fn difference(a: &Range, b: &Range) -> Range {
    let most = b.high.as_ref().and_then(Bound::as_constant);
    let least = a.least_number().zip(most).map(|(one, other)| one - other);
    let low = ends((&a.low, &b.high), Bound::minus);
    Range::new(low, ends((&a.high, &b.low), Bound::minus)).with_least(least)
}

fn product(a: &Range, b: &Range) -> Range {
    for (one, other) in [(a, b), (b, a)] {
        if let Some(times) = other.constant() {
            let [low, high] =
                [&one.low, &one.high].map(|end| end.as_ref().and_then(|end| end.scaled(times)));
            let least = one.least_number().and_then(|least| least.checked_mul(times));
            return match times {
                ..0 => Range::new(high, low),
                0.. => Range::new(low, high).with_least(least),
            };
        }
    }
    if !a.is_natural() || !b.is_natural() {
        return Range::any(Trust::Fixed);
    }
    // A factor below 0 of a bound from below may make the product of two more than that of numbers.
    let is_plain = |of: &Bound| of.sums().into_iter().all(Sum::is_natural);
    let low = ends((&a.low, &b.low), |one, other| {
        if is_plain(one) && is_plain(other) { one.times(other) } else { None }
    });
    let least = a.least_number().zip(b.least_number());
    let least = least.and_then(|(one, other)| one.checked_mul(other));
    Range::new(low, ends((&a.high, &b.high), Bound::times)).with_least(least.max(Some(0)))
}

/// A range as numbers without a sign.
fn without_sign(of: &Range, width: u8) -> Range {
    if of.is_natural() { of.clone() } else { Range::constants(0, top(width).into()) }
}

fn quotient(a: &Range, b: &Range, width: u8) -> Range {
    let a = without_sign(a, width);
    let zero = Some(Bound::constant(0));
    if !b.is_natural() {
        return Range::new(zero, a.high);
    }
    let by = |end: &Option<Bound>| end.as_ref().and_then(Bound::as_sum).cloned();
    let high = match by(&b.low).filter(|of| of.as_constant() != Some(0)) {
        Some(by) => a.high.as_ref().and_then(|high| high.map(&|of| of.divided(&by).1)),
        None => a.high.clone(),
    };
    let low = by(&b.high).and_then(|by| a.low.as_ref()?.map(&|of| of.divided(&by).0));
    let low = low.filter(|low| low.is_at_least(0)).or(zero);
    Range::new(low, high)
}

fn remainder(a: &Range, b: &Range, width: u8) -> Range {
    let a = without_sign(a, width);
    let zero = Some(Bound::constant(0));
    let last = b.high.as_ref().filter(|_| b.is_natural()).and_then(|high| high.moved(-1));
    let high = match (last, a.high) {
        (Some(last), Some(high)) if !high.is_at_most(&last) => Some(last),
        (last, high) => high.or(last),
    };
    Range::new(zero, high)
}

fn shifted(node: &Node, a: &Range, b: &Range) -> Range {
    if !b.is_natural() || !b.is_at_most(i128::from(node.width) - 1) {
        // It depends on the launch, or is not defined.
        let depends = b.trust == Trust::Fixed && b.is_natural() && b.constant().is_none();
        return Range::any(if depends { Trust::Fixed } else { Trust::Void });
    }
    let zero = Some(Bound::constant(0));
    match (node.op, b.constant()) {
        (Op::Shl, Some(by)) => product(a, &Range::constants(1 << by, 1 << by)),
        (Op::Shl, None) if a.is_natural() => Range::new(a.low.clone(), None),
        (Op::Shr, Some(by)) => quotient(a, &Range::constants(1 << by, 1 << by), node.width),
        (Op::Sar, Some(by)) if a.is_natural() => {
            quotient(a, &Range::constants(1 << by, 1 << by), node.width)
        }
        (Op::Shr | Op::Sar, None) if a.is_natural() => Range::new(zero, a.high.clone()),
        _ => Range::any(Trust::Fixed),
    }
}

/// The bits that both have: no more than either number that is not negative.
fn conjunction(a: &Range, b: &Range) -> Range {
    let high = match (a.is_natural(), b.is_natural()) {
        (true, true) => extreme(Op::SMin, a, b).high,
        (true, false) => a.high.clone(),
        (false, true) => b.high.clone(),
        (false, false) => return Range::any(Trust::Fixed),
    };
    Range::new(Some(Bound::constant(0)), high)
}

fn extreme(op: Op, a: &Range, b: &Range) -> Range {
    let are_natural = a.is_natural() && b.is_natural();
    let both = |one: &Option<Bound>, other: &Option<Bound>| one.clone().zip(other.clone());
    match op {
        Op::SMin | Op::UMin if are_natural || op == Op::SMin => {
            let low = both(&a.low, &b.low).and_then(|(one, other)| one.min(other));
            let no_limit = |high: &Option<Bound>| Range::new(None, high.clone());
            let high = no_limit(&a.high).meet(&no_limit(&b.high)).and_then(|met| met.high);
            let least = a.least_number().zip(b.least_number()).map(|(one, other)| one.min(other));
            Range::new(low, high).with_least(least)
        }
        Op::SMax | Op::UMax if are_natural || op == Op::SMax => {
            let high = both(&a.high, &b.high).and_then(|(one, other)| one.max(other));
            let no_limit = |low: &Option<Bound>| Range::new(low.clone(), None);
            let met = no_limit(&a.low).meet(&no_limit(&b.low));
            let low = met.and_then(|met| met.low);
            Range::new(low, high).with_least(a.least_number().max(b.least_number()))
        }
        Op::UMin if a.is_natural() => Range::new(Some(Bound::constant(0)), a.high.clone()),
        Op::UMin if b.is_natural() => Range::new(Some(Bound::constant(0)), b.high.clone()),
        _ => Range::any(Trust::Fixed),
    }
}

fn comparison(op: Op, a: &Range, b: &Range) -> Range {
    let is_less = |one: &Range, other: &Range| {
        let end = one.high.as_ref().and_then(|high| high.moved(1));
        end.is_some_and(|end| other.begins_at(&end))
    };
    let is_not_less =
        |one: &Range, other: &Range| other.high.as_ref().is_some_and(|high| one.begins_at(high));
    Range::truth_value(match op {
        Op::Equal if is_less(a, b) || is_less(b, a) => Some(false),
        Op::Equal => a.constant().zip(b.constant()).map(|(one, other)| one == other),
        Op::ULess if !a.is_natural() || !b.is_natural() => None,
        _ if is_less(a, b) => Some(true),
        _ if is_not_less(a, b) => Some(false),
        _ => None,
    })
}

/// The range of a selection, with what the condition says of its arms.
fn selected(plan: &Plan, values: &Ranges, node: &Node) -> Range {
    let condition = value(values, node.arg(0));
    if condition.trust == Trust::Void {
        return Range::any(Trust::Void);
    }
    let arm = |at: usize| {
        let arm = value(values, node.arg(at));
        let said = said(plan, values, node.arg(0), at == 1, node.arg(at));
        said.filter(|_| arm.trust == Trust::Fixed).map_or(Some(arm.clone()), |said| arm.meet(&said))
    };
    match condition.truth() {
        Some(holds) => return value(values, node.arg(if holds { 1 } else { 2 })),
        None => match (arm(1), arm(2)) {
            (Some(yes), Some(no)) => yes.hull(&no),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => Range::any(Trust::Fixed),
        },
    }
    .trusted(condition.trust)
}

/// Bounds of a node, by a condition that compares it.
fn said(plan: &Plan, values: &Ranges, condition: NodeId, holds: bool, of: NodeId) -> Option<Range> {
    let node = plan.graph.get(condition);
    let (a, b) = (node.arg(0), node.arg(1));
    if !matches!(node.op, Op::ULess | Op::SLess) || (a == of) == (b == of) {
        return None;
    }
    let [one, other] = [a, b].map(|of| number(&value(values, of)));
    let [left, right] = less(&one, &other, holds, node.op == Op::SLess);
    Some(if a == of { left } else { right })
}

/// What a comparison that holds, or does not, says of its two sides.
pub(super) fn less(a: &Range, b: &Range, holds: bool, has_sign: bool) -> [Range; 2] {
    let next = |end: &Option<Bound>, by: i128| end.as_ref().and_then(|end| end.moved(by));
    let zero = Some(Bound::constant(0));
    let nothing = || Range::any(Trust::Fixed);
    let (is_a, is_b) = (a.is_natural(), b.is_natural());
    let after = |of: &Range, by: i128| {
        let least = of.least_number().map(|least| least + by);
        Range::new(next(&of.low, by), None).with_least(least)
    };
    let one_less = 1 + i128::from(mutant::has(Mutant::WordsTooNarrow));
    match (holds, has_sign) {
        (true, true) => [Range::new(None, next(&b.high, -one_less)), after(a, 1)],
        (false, true) => [after(b, 0), Range::new(None, a.high.clone())],
        // A number that is not negative is larger than one without a sign that is not, either.
        (true, false) if is_b => {
            let one = Range::new(Some(Bound::constant(1)), None);
            let right = if is_a { after(a, 1) } else { one };
            [Range::new(zero, next(&b.high, -one_less)), right]
        }
        (false, false) if is_a => {
            let left = if is_b { after(b, 0) } else { nothing() };
            [left, Range::new(zero, a.high.clone())]
        }
        _ => [nothing(), nothing()],
    }
}
