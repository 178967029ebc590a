//! Conclusions from a branch about the numbers that its condition depends on.

use crate::footprint::arithmetic::less;
use crate::footprint::evaluate::number;
use crate::footprint::mutant::{self, Mutant};
use crate::footprint::op::{NodeId, Op};
use crate::footprint::run::{Fact, Run, common};
use crate::footprint::value::{Trust, Value, least, most, top};

/// How far conclusions are drawn from one node to another.
const MOST_DEPTH: u32 = 8;

impl Run<'_> {
    /// Concludes that a truth value is this one. Returns whether that can be.
    pub(super) fn assume(&mut self, id: NodeId, holds: bool, depth: u32) -> bool {
        if depth > MOST_DEPTH || !self.is_current(id) {
            return true;
        }
        let value = self.values[id as usize];
        if value.trust == Trust::Void {
            return true;
        }
        if let Some(known) = value.truth() {
            return known == holds;
        }
        let node = self.plan.graph.get(id);
        let (a, b) = (node.arg(0), node.arg(1));
        let deeper = depth + 1;
        let possible = match node.op {
            Op::Not => self.assume(a, !holds, deeper),
            Op::And if holds => self.assume(a, true, deeper) && self.assume(b, true, deeper),
            Op::Or if !holds => self.assume(a, false, deeper) && self.assume(b, false, deeper),
            Op::And | Op::Or => self.assume_other(a, b, holds, deeper),
            Op::Equal => self.assume_equal(a, b, holds, deeper),
            Op::ULess | Op::SLess => self.assume_less(a, b, holds, node.op == Op::SLess),
            Op::Phi(phi) => self.assume_came(phi as usize, holds, deeper),
            _ => true,
        };
        possible && self.learn(id, Value::one(holds.into(), 1), 0)
    }

    /// One of two is what the other is not: `a && b` is false though `a` is true.
    fn assume_other(&mut self, a: NodeId, b: NodeId, holds: bool, depth: u32) -> bool {
        let [one, other] = [a, b].map(|of| self.values[of as usize].truth());
        match (one, other) {
            (Some(known), _) if known != holds => self.assume(b, holds, depth),
            (_, Some(known)) if known != holds => self.assume(a, holds, depth),
            _ => true,
        }
    }

    fn assume_equal(&mut self, a: NodeId, b: NodeId, holds: bool, depth: u32) -> bool {
        let width = self.plan.graph.width(a);
        let [one, other] = [a, b].map(|of| self.number(self.values[of as usize]));
        if one.trust == Trust::Void || other.trust == Trust::Void {
            return true;
        }
        if width == 1 {
            return match (one.truth(), other.truth()) {
                (Some(known), _) => self.assume(b, known == holds, depth),
                (_, Some(known)) => self.assume(a, known == holds, depth),
                _ => true,
            };
        }
        if holds {
            return self.learn(a, other, 0) && self.learn(b, one, 0);
        }
        let mut possible = true;
        for (of, known) in [(a, other), (b, one)] {
            if let Some(bits) = known.single(width) {
                possible &= self.exclude(of, bits, width);
            }
        }
        possible
    }

    /// A value as a number.
    pub(super) fn number(&mut self, of: Value) -> Value {
        number(&self.launch, &mut self.read, of)
    }

    /// Concludes that a value is not this number, which says something only at an end.
    fn exclude(&mut self, of: NodeId, bits: u64, width: u8) -> bool {
        let mut value = self.values[of as usize];
        // The ends of an address are distances, and those of what is not defined say nothing.
        let is_place = value.root.is_some() && !mutant::has(Mutant::PlaceIsNumber);
        if is_place || value.trust == Trust::Void {
            return true;
        }
        let excluded = Value::one(bits, width);
        if value.low == bits {
            value.low = value.low.saturating_add(1);
        }
        if value.high == bits {
            value.high = value.high.saturating_sub(1);
        }
        if value.least == excluded.least {
            value.least = value.least.saturating_add(1);
        }
        if value.most == excluded.most {
            value.most = value.most.saturating_sub(1);
        }
        match value.reduced(width) {
            Some(value) => self.learn(of, value, 0),
            None => false,
        }
    }

    fn assume_less(&mut self, a: NodeId, b: NodeId, holds: bool, has_sign: bool) -> bool {
        let width = self.plan.graph.width(a);
        for (of, by, is_left) in [(a, b, true), (b, a, false)] {
            let other = self.number(self.values[by as usize]);
            if other.trust == Trust::Void {
                continue;
            }
            if let Some(said) = less(other, is_left, holds, has_sign, width)
                && !self.learn(of, said, 0)
            {
                return false;
            }
        }
        true
    }

    /// Concludes that a truth value came by one of the ways by which it can have come.
    fn assume_came(&mut self, phi: usize, holds: bool, depth: u32) -> bool {
        let plan = self.plan;
        let block = &plan.blocks[plan.graph.phis[phi].block];
        let edges = &plan.edges;
        if block.ins.iter().any(|&edge| edges[edge].is_back) {
            return true;
        }
        let Some(at) = block.phis.iter().position(|&known| known == phi) else { return true };
        let mut facts: Option<Vec<Fact>> = None;
        for &edge in &block.ins {
            // To conclude less does no harm, and the next step sees that it is too much.
            if self.spend(1).is_err() {
                return true;
            }
            let Some(arrival) = self.arrivals[edge].as_ref() else { continue };
            let Some(came) = arrival.moves.get(at) else { return true };
            let other_way = if mutant::has(Mutant::OtherEdges) { holds } else { !holds };
            if came.truth() == Some(other_way) && came.trust != Trust::Void {
                continue;
            }
            let on_way = arrival.facts.clone();
            let marks = (self.changes.len(), self.extra.len());
            let known = came.truth().is_some();
            if !known && !self.assume(edges[edge].moves[at], holds, depth) {
                self.undo(marks.0, marks.1);
                continue;
            }
            let found = self.merged(&on_way, marks);
            self.undo(marks.0, marks.1);
            let width = |node| plan.graph.width(node);
            facts = Some(match facts {
                Some(before) => common(&before, &found, width),
                None => found,
            });
        }
        let Some(facts) = facts else { return false };
        facts.into_iter().all(|(node, value)| self.learn(node, value, MOST_DEPTH))
    }

    /// Facts together with what was concluded since some point.
    fn merged(&self, facts: &[Fact], (changes, extra): (usize, usize)) -> Vec<Fact> {
        let mut all = facts.to_vec();
        let changed = self.changes[changes..].iter().map(|of| (of.0, self.values[of.0 as usize]));
        for (node, value) in changed.chain(self.extra[extra..].iter().copied()) {
            match all.binary_search_by_key(&node, |fact| fact.0) {
                Ok(at) => {
                    let width = self.plan.graph.width(node);
                    all[at].1 = all[at].1.meet(value, width).unwrap_or(value);
                }
                Err(at) => all.insert(at, (node, value)),
            }
        }
        all
    }

    /// Concludes that a switch's number is one of these.
    pub(super) fn assume_one_of(&mut self, of: NodeId, numbers: &[u64]) -> bool {
        let width = self.plan.graph.width(of);
        let value = self.values[of as usize];
        if value.root.is_some() || value.trust == Trust::Void || !self.is_current(of) {
            return true;
        }
        let numbers = numbers.iter().map(|&bits| Value::one(bits, width));
        let possible = numbers.filter(|&number| value.meet(number, width).is_some());
        match possible.reduce(|all, next| all.hull(next, width)) {
            Some(all) => self.learn(of, all, 0),
            None => false,
        }
    }

    /// Concludes that a switch's number is none of these.
    pub(super) fn assume_none_of(&mut self, of: NodeId, numbers: &[u64]) -> bool {
        let width = self.plan.graph.width(of);
        let value = self.values[of as usize];
        if value.root.is_some() || value.trust == Trust::Void || !self.is_current(of) {
            return true;
        }
        if mutant::has(Mutant::NarrowDefault) {
            let all = numbers.iter().min().map_or(0, |&least| i128::from(least) - 1);
            return self.learn(of, Value::unsigned(0, all, width), 0);
        }
        let mut numbers: Vec<u64> = numbers.iter().map(|bits| bits & top(width)).collect();
        numbers.sort_unstable();
        let from_top = numbers.clone().into_iter().rev();
        numbers.into_iter().chain(from_top).all(|bits| self.exclude(of, bits, width))
    }

    /// Notes what is known of a node, and what that says of its operands. Returns whether it can
    /// be.
    pub(super) fn learn(&mut self, id: NodeId, known: Value, depth: u32) -> bool {
        let width = self.plan.graph.width(id);
        if !self.is_current(id) {
            return self.learn_elsewhere(id, known, width);
        }
        let value = self.values[id as usize];
        if value.root.is_some() || value.trust == Trust::Void || known.root.is_some() {
            return true;
        }
        let Some(met) = value.meet(known, width) else { return false };
        if met == value {
            return true;
        }
        if value.trust == Trust::Fixed {
            self.changes.push((id, value));
            self.values[id as usize] = met;
        }
        depth >= MOST_DEPTH || self.spend(1).is_err() || self.conclude(id, met, depth + 1)
    }

    /// Notes what is known of a node that the current block does not compute.
    fn learn_elsewhere(&mut self, id: NodeId, known: Value, width: u8) -> bool {
        if known.trust != Trust::Fixed {
            return true;
        }
        let extra = self.extra.iter().rev().find(|fact| fact.0 == id).map(|fact| fact.1);
        let before = extra.or_else(|| self.fact(id));
        let met = before.map_or(Some(known), |before| before.meet(known, width));
        match met {
            Some(met) => self.extra.push((id, met)),
            None => return false,
        }
        true
    }

    /// Concludes from a node's value to its operands.
    fn conclude(&mut self, id: NodeId, met: Value, depth: u32) -> bool {
        let node = self.plan.graph.get(id);
        let [a, b] = [node.arg(0), node.arg(1)];
        let [one, other] = [a, b].map(|of| self.values[of as usize]);
        if node.args().is_empty() || one.root.is_some() || other.root.is_some() {
            return true;
        }
        let width = node.width;
        let limit = i128::from(top(width));
        let unsigned = |low: i128, high: i128| Value::unsigned(low.max(0), high.min(limit), width);
        let (low, high) = (i128::from(met.low), i128::from(met.high));
        let shift = other.single(self.plan.graph.width(b)).filter(|&by| by < u64::from(width));
        let single = other.single(width).map(i128::from).filter(|&of| of > 0);
        match node.op {
            Op::Add | Op::Sub => self.conclude_sum(id, met, depth),
            Op::Mul => self.conclude_product(id, met, depth),
            Op::Shl => match shift {
                Some(by) if u128::from(one.high) << by <= u128::from(top(width)) => {
                    let up = (low + (1 << by) - 1) >> by;
                    self.learn(a, unsigned(up, high >> by), depth)
                }
                _ => true,
            },
            Op::Shr => match shift {
                Some(by) => {
                    self.learn(a, unsigned(low << by, (high << by) | ((1 << by) - 1)), depth)
                }
                None => true,
            },
            Op::UDiv => match single {
                Some(by) => {
                    let last = high.saturating_mul(by).saturating_add(by - 1);
                    self.learn(a, unsigned(low.saturating_mul(by), last), depth)
                }
                None => true,
            },
            Op::ZeroExtend => {
                let from = self.plan.graph.width(a);
                let high = high.min(i128::from(top(from)));
                self.learn(a, Value::unsigned(low, high, from), depth)
            }
            Op::SignExtend => {
                let from = self.plan.graph.width(a);
                let low = i128::from(met.least).max(least(from).into());
                let high = i128::from(met.most).min(most(from).into());
                self.learn(a, Value::signed(low, high, from), depth)
            }
            Op::Truncate if one.high <= top(width) => {
                let from = self.plan.graph.width(a);
                self.learn(a, Value::unsigned(low, high, from), depth)
            }
            Op::UMin => [a, b].iter().all(|&of| self.learn(of, unsigned(low, limit), depth)),
            Op::UMax => [a, b].iter().all(|&of| self.learn(of, unsigned(0, high), depth)),
            Op::SMin => {
                let above = Value::signed(met.least.into(), most(width).into(), width);
                [a, b].iter().all(|&of| self.learn(of, above, depth))
            }
            Op::SMax => {
                let below = Value::signed(least(width).into(), met.most.into(), width);
                [a, b].iter().all(|&of| self.learn(of, below, depth))
            }
            _ => true,
        }
    }

    /// Sums and differences that do not wrap, without a sign or with one.
    fn conclude_sum(&mut self, id: NodeId, met: Value, depth: u32) -> bool {
        let node = self.plan.graph.get(id);
        let (a, b, width, adds) = (node.arg(0), node.arg(1), node.width, node.op == Op::Add);
        let limit = i128::from(top(width));
        let (lowest, highest) = (i128::from(least(width)), i128::from(most(width)));
        for is_first in [true, false] {
            let [one, other] = [a, b].map(|of| self.values[of as usize]);
            let [al, ah, bl, bh] = [one.low, one.high, other.low, other.high].map(i128::from);
            let (low, high) = (i128::from(met.low), i128::from(met.high));
            let fits = if adds { ah + bh <= limit } else { al - bh >= 0 };
            if fits {
                let (from, to) = ends(adds, is_first, [al, ah, bl, bh], (low, high));
                let said = Value::unsigned(from.max(0), to.min(limit), width);
                if !self.learn(if is_first { a } else { b }, said, depth) {
                    return false;
                }
            }
            let [al, ah, bl, bh] = [one.least, one.most, other.least, other.most].map(i128::from);
            let (low, high) = (i128::from(met.least), i128::from(met.most));
            let (least, most) = if adds { (al + bl, ah + bh) } else { (al - bh, ah - bl) };
            if lowest <= least && most <= highest {
                let (from, to) = ends(adds, is_first, [al, ah, bl, bh], (low, high));
                let said = Value::signed(from.max(lowest), to.min(highest), width);
                if !self.learn(if is_first { a } else { b }, said, depth) {
                    return false;
                }
            }
        }
        true
    }

    /// Products without a sign that do not wrap.
    fn conclude_product(&mut self, id: NodeId, met: Value, depth: u32) -> bool {
        let node = self.plan.graph.get(id);
        let (a, b, width) = (node.arg(0), node.arg(1), node.width);
        for (of, by) in [(a, b), (b, a)] {
            let [of_value, by_value] = [of, by].map(|of| self.values[of as usize]);
            let largest = u128::from(of_value.high) * u128::from(by_value.high);
            if largest > u128::from(top(width)) || by_value.low == 0 {
                continue;
            }
            let low = i128::from(met.low.div_ceil(by_value.high));
            let high = i128::from(met.high / by_value.low);
            if low <= high && !self.learn(of, Value::unsigned(low, high, width), depth) {
                return false;
            }
        }
        true
    }
}

/// The ends of an operand of a sum or difference, from those of both operands and of the result.
fn ends(
    adds: bool,
    is_first: bool,
    [al, ah, bl, bh]: [i128; 4],
    (low, high): (i128, i128),
) -> (i128, i128) {
    match (adds, is_first) {
        (true, true) => (low - bh, high - bl),
        (true, false) => (low - ah, high - al),
        (false, true) => (low + bl, high + bh),
        (false, false) => (al - high, ah - low),
    }
}
