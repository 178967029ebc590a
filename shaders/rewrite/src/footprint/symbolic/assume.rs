//! Conclusions from a branch about the numbers that its condition depends on, as
//! `footprint/assume.rs` draws them for one launch.

use crate::footprint::op::{Node, NodeId, Op};
use crate::footprint::symbolic::bound::Bound;
use crate::footprint::symbolic::compute::{Ranges, less, number, value};
use crate::footprint::symbolic::range::Range;
use crate::footprint::symbolic::state::{State, Walk, common};
use crate::footprint::value::{Trust, to_signed, top};

/// How far conclusions are drawn from one node to another.
const MOST_DEPTH: u32 = 8;

impl Walk<'_> {
    /// Concludes that a truth value is this one. Returns whether that can be.
    pub(super) fn assume(&self, to: &mut State, id: NodeId, holds: bool, depth: u32) -> bool {
        let Some(known) = to.values.get(&id).filter(|_| depth <= MOST_DEPTH) else { return true };
        if known.trust == Trust::Void {
            return true;
        }
        if let Some(known) = known.truth() {
            return known == holds;
        }
        let node = self.plan.graph.get(id);
        let (a, b, deeper) = (node.arg(0), node.arg(1), depth + 1);
        let truth = |of: NodeId| to.values.get(&of).and_then(Range::truth);
        let possible = match node.op {
            Op::Not => self.assume(to, a, !holds, deeper),
            Op::And if holds => {
                self.assume(to, a, true, deeper) && self.assume(to, b, true, deeper)
            }
            Op::Or if !holds => {
                self.assume(to, a, false, deeper) && self.assume(to, b, false, deeper)
            }
            Op::And | Op::Or => match (truth(a), truth(b)) {
                (Some(known), _) if known != holds => self.assume(to, b, holds, deeper),
                (_, Some(known)) if known != holds => self.assume(to, a, holds, deeper),
                _ => true,
            },
            Op::Equal => self.assume_equal(to, a, b, holds, deeper),
            Op::ULess | Op::SLess => {
                let [one, other] = [a, b].map(|of| number(&value(&to.values, of)));
                let is_void = one.trust == Trust::Void || other.trust == Trust::Void;
                let [left, right] = less(&one, &other, holds, node.op == Op::SLess);
                is_void || (self.learn(to, a, &left, 0) && self.learn(to, b, &right, 0))
            }
            Op::Phi(phi) => self.assume_came(to, phi as usize, holds, deeper),
            _ => true,
        };
        possible && self.learn(to, id, &Range::truth_value(Some(holds)), 0)
    }

    fn assume_equal(&self, to: &mut State, a: NodeId, b: NodeId, holds: bool, depth: u32) -> bool {
        let [one, other] = [a, b].map(|of| number(&value(&to.values, of)));
        if one.trust == Trust::Void || other.trust == Trust::Void {
            return true;
        }
        if self.plan.graph.width(a) == 1 {
            return match (one.truth(), other.truth()) {
                (Some(known), _) => self.assume(to, b, known == holds, depth),
                (_, Some(known)) => self.assume(to, a, known == holds, depth),
                _ => true,
            };
        }
        if holds {
            return self.learn(to, a, &other, 0) && self.learn(to, b, &one, 0);
        }
        [(a, &other), (b, &one)].into_iter().all(|(of, not)| match not.single() {
            Some(not) => self.exclude(to, of, not),
            None => true,
        })
    }

    /// Concludes that a value is not this number, which says something only at an end.
    fn exclude(&self, to: &mut State, of: NodeId, not: &Bound) -> bool {
        let known = value(&to.values, of);
        if known.root.is_some() || known.trust == Trust::Void {
            return true;
        }
        let next = |end: &Option<Bound>, by: i128| {
            end.as_ref().filter(|end| *end == not).and_then(|end| end.moved(by))
        };
        let said = Range::new(next(&known.low, 1), next(&known.high, -1));
        let least = not.as_constant().filter(|not| known.least_number() == Some(*not));
        self.learn(to, of, &said.with_least(least.map(|least| least + 1)), 0)
    }

    /// Concludes that a truth value came by one of the ways by which it can have come.
    fn assume_came(&self, to: &mut State, phi: usize, holds: bool, depth: u32) -> bool {
        let block = &self.plan.blocks[self.plan.graph.phis[phi].block];
        let edges = &self.plan.edges;
        let at = block.phis.iter().position(|&known| known == phi);
        let (Some(at), false) = (at, block.ins.iter().any(|&edge| edges[edge].is_back)) else {
            return true;
        };
        let mut facts: Option<Ranges> = None;
        for &edge in &block.ins {
            let Some(arrival) = self.arrivals[edge].as_ref() else { continue };
            let Some(came) = arrival.moves.get(at) else { return true };
            if came.truth() == Some(!holds) && came.trust != Trust::Void {
                continue;
            }
            let mut on_way = to.clone();
            let known = came.truth().is_some();
            if !known && !self.assume(&mut on_way, edges[edge].moves[at], holds, depth) {
                continue;
            }
            let found = met(&arrival.facts, &on_way.facts);
            facts = Some(match facts {
                Some(before) => common(&before, &found),
                None => found,
            });
        }
        let Some(facts) = facts else { return false };
        facts.iter().all(|(&node, known)| self.learn(to, node, known, MOST_DEPTH))
    }

    /// Concludes that a switch's number is one of these.
    pub(super) fn assume_one_of(&self, to: &mut State, of: NodeId, numbers: &[u64]) -> bool {
        let width = self.plan.graph.width(of);
        let numbers = numbers.iter().map(|&bits| i128::from(to_signed(bits & top(width), width)));
        match (numbers.clone().min(), numbers.max()) {
            (Some(low), Some(high)) => self.learn(to, of, &Range::constants(low, high), 0),
            _ => false,
        }
    }

    /// Notes what is known of a node, and what that says of its operands. Returns whether it can
    /// be.
    pub(super) fn learn(&self, to: &mut State, id: NodeId, known: &Range, depth: u32) -> bool {
        if known.low.is_none() && known.least.is_none() && known.high.is_none() {
            return true;
        }
        let Some(value) = to.values.get(&id) else {
            let before = to.facts.get(&id);
            let met = before.map_or(Some(known.clone()), |before| before.meet(known));
            if let Some(met) = met.clone().filter(|_| known.trust == Trust::Fixed) {
                to.facts.insert(id, met);
            }
            return met.is_some() || known.trust != Trust::Fixed;
        };
        if value.root.is_some() || value.trust == Trust::Void || known.root.is_some() {
            return true;
        }
        let Some(met) = value.meet(known) else { return false };
        if met == *value {
            return true;
        }
        if value.trust == Trust::Fixed {
            to.values.insert(id, met.clone());
            to.facts.insert(id, met.clone());
        }
        depth >= MOST_DEPTH || self.conclude(to, id, &met, depth + 1)
    }

    /// Concludes from a node's range to its operands.
    fn conclude(&self, to: &mut State, id: NodeId, met: &Range, depth: u32) -> bool {
        let node = self.plan.graph.get(id);
        if node.args().is_empty() {
            return true;
        }
        let [a, b] = [node.arg(0), node.arg(1)];
        let [one, other] = [a, b].map(|of| value(&to.values, of));
        if one.root.is_some() || other.root.is_some() {
            return true;
        }
        let said = operands(&node, met, &one, &other);
        said.into_iter().zip([a, b]).all(|(said, of)| self.learn(to, of, &said, depth))
    }
}

/// What the range of a result says of its operands, where nothing wraps.
fn operands(node: &Node, met: &Range, one: &Range, other: &Range) -> [Range; 2] {
    let nothing = || Range::any(Trust::Fixed);
    let with =
        |end: &Option<Bound>, with: &dyn Fn(&Bound) -> Option<Bound>| end.as_ref().and_then(with);
    let moved = |by: &Bound| {
        let low = with(&met.low, &|end| end.minus(by));
        let least = met.least_number().zip(by.as_constant()).map(|(one, by)| one - by);
        Range::new(low, with(&met.high, &|end| end.minus(by))).with_least(least)
    };
    let factor = match node.op {
        Op::Mul | Op::UDiv => other.constant().filter(|&by| by > 0),
        _ => other.constant().filter(|by| (0..64).contains(by)).map(|by| 1 << by),
    };
    let parts = |by: i128| {
        let by = crate::footprint::symbolic::sum::Sum::constant(by);
        // From below, rounded down is less than enough.
        let low = with(&met.low, &|end| end.map(&|of| of.divided(&by).0));
        Range::new(low, with(&met.high, &|end| end.map(&|of| of.divided(&by).1)))
    };
    match (node.op, factor) {
        (Op::Add, _) => match (one.single(), other.single()) {
            (_, Some(by)) => [moved(by), nothing()],
            (Some(by), _) => [nothing(), moved(by)],
            _ => [nothing(), nothing()],
        },
        (Op::Sub, _) => match (one.single(), other.single()) {
            (_, Some(by)) => {
                let negated = by.negated();
                [negated.map_or_else(nothing, |by| moved(&by)), nothing()]
            }
            (Some(from), _) => {
                let low = with(&met.high, &|end| from.minus(end));
                [nothing(), Range::new(low, with(&met.low, &|end| from.minus(end)))]
            }
            _ => [nothing(), nothing()],
        },
        (Op::Mul | Op::Shl, Some(by)) => [parts(by), nothing()],
        (Op::Shr | Op::UDiv, Some(by)) if one.is_natural() => {
            let low = with(&met.low, &|end| end.scaled(by));
            let high = with(&met.high, &|end| end.scaled(by)?.moved(by - 1));
            [Range::new(low, high), nothing()]
        }
        (Op::SignExtend, _) => [met.clone(), nothing()],
        (Op::ZeroExtend, _) if one.is_natural() => [met.clone(), nothing()],
        (Op::Truncate, _) if one.fits(node.width) => [met.clone(), nothing()],
        (Op::SMin, _) => [(); 2].map(|()| Range { high: None, ..met.clone() }),
        (Op::SMax, _) => [(); 2].map(|()| Range::new(None, met.high.clone())),
        (Op::UMin, _) if one.is_natural() && other.is_natural() => {
            [(); 2].map(|()| Range { high: None, ..met.clone() })
        }
        (Op::UMax, _) if one.is_natural() && other.is_natural() => {
            [(); 2].map(|()| Range::new(None, met.high.clone()))
        }
        _ => [nothing(), nothing()],
    }
}

/// The facts of two places that lie on one way.
fn met(one: &Ranges, other: &Ranges) -> Ranges {
    let mut all = one.clone();
    for (&node, known) in other {
        let both = all.get(&node).and_then(|before| before.meet(known));
        all.insert(node, both.unwrap_or_else(|| known.clone()));
    }
    all
}
