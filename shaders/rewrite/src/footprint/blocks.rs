//! The evaluation of a block: what comes to it, what it does, and what leaves it.

use crate::footprint::acts::Division;
use crate::footprint::evaluate::value;
use crate::footprint::flow::When;
use crate::footprint::launch::{Counts, Launch};
use crate::footprint::log::Entry;
use crate::footprint::mutant::{self, Mutant};
use crate::footprint::op::NodeId;
use crate::footprint::run::{Arrival, Run, common};
use crate::footprint::unknown::{Doubt, Unknown};
use crate::footprint::value::{Trust, Value, least};

impl Run<'_> {
    /// Evaluates a block, with what came by the ways to it.
    pub(super) fn block(&mut self, block: usize) -> Result<(), Unknown> {
        let of = &self.plan.blocks[block];
        let is_entry = of.ins.is_empty();
        let is_header = of.ins.iter().any(|&edge| self.plan.edges[edge].is_back);
        let reached = self.arrive(block, is_header) || is_entry;
        self.spend(1 + of.code.len() + of.choices.len() + self.facts.len())?;
        self.branches[block] = Trust::Fixed;
        if !reached || !self.compute(block) {
            for &edge in &of.outs {
                self.arrivals[edge] = None;
            }
            return Ok(());
        }
        if let Some(condition) = of.acts.condition {
            let value = self.values[condition as usize];
            let is_known = value.single(self.plan.graph.width(condition)).is_some();
            self.branches[block] = if is_known { Trust::Fixed } else { value.trust };
        }
        if self.records {
            self.record(block);
        }
        for &edge in &of.outs {
            self.arrivals[edge] = self.leave(block, edge)?;
            self.taken[edge] |= self.records && self.arrivals[edge].is_some();
        }
        Ok(())
    }

    /// Takes over facts and phis from the ways to a block. Returns whether there is one.
    fn arrive(&mut self, block: usize, is_header: bool) -> bool {
        let of = &self.plan.blocks[block];
        let (edges, graph) = (&self.plan.edges, &self.plan.graph);
        let ways = of.ins.iter().filter(|&&edge| !edges[edge].is_back);
        let mut arrivals = ways.filter_map(|&edge| self.arrivals[edge].as_ref());
        let Some(first) = arrivals.next() else {
            self.facts.clear();
            return false;
        };
        let mut facts = first.facts.clone();
        let mut moves = first.moves.clone();
        let choose = self.choice(&of.choices);
        let mut choice = Trust::Fixed;
        for arrival in arrivals {
            choice = choose;
            if !mutant::has(Mutant::ForgottenWay) {
                facts = common(&facts, &arrival.facts, |node| graph.width(node));
            }
            for ((to, from), &phi) in moves.iter_mut().zip(&arrival.moves).zip(&of.phis) {
                *to = to.hull(*from, graph.width(graph.phis[phi].node));
            }
        }
        self.facts = facts;
        // Those of a loop's start are set by the loop.
        if !is_header {
            for (&phi, value) in of.phis.iter().zip(moves) {
                self.phis[phi] = value.chosen(choice);
            }
        }
        true
    }

    /// Computes a block's code. Returns whether the facts allow the block to be reached.
    fn compute(&mut self, block: usize) -> bool {
        self.stamp += 1;
        self.changes.clear();
        self.extra.clear();
        let mut facts = self.facts.iter().peekable();
        for &id in &self.plan.blocks[block].code {
            let node = self.plan.graph.get(id);
            let mut value =
                value(self.plan, &self.launch, &mut self.read, &self.values, &self.phis, &node);
            while facts.next_if(|fact| fact.0 < id).is_some() {}
            if let Some(fact) = facts.next_if(|fact| fact.0 == id)
                && value.trust == Trust::Fixed
            {
                match value.meet(fact.1, node.width) {
                    Some(met) => value = met,
                    None => return false,
                }
            }
            self.values[id as usize] = value;
            self.stamps[id as usize] = self.stamp;
        }
        true
    }

    /// Notes the acts of a block in the log.
    fn record(&mut self, block: usize) {
        let acts = &self.plan.blocks[block].acts;
        let mut broken = acts.divisions.iter().any(|of| self.may_break(of));
        if let Some(which) = self.plan.blocks[block].once {
            self.log.push(Entry::Loop { which, runs: Some(1) });
        }
        if acts.accesses.iter().any(|touch| touch.is_whole) {
            self.stores.push((block, self.counts()));
        }
        let value = |node: NodeId| self.values[node as usize];
        for touch in &acts.accesses {
            let address = touch.address.map(value);
            let ends = |value: &Value| value.most.checked_add(touch.bytes.into()).is_some();
            let place = address.filter(|value| value.trust != Trust::Void && ends(value));
            let place = place.and_then(|value| Some((value.root?, value.least, value.most)));
            let is_aligned = touch.is_aligned || mutant::has(Mutant::OddAddresses);
            let place = match place {
                Some(_) if !is_aligned => Err(Doubt::Alignment),
                place => place.ok_or_else(|| Doubt::of(address)),
            };
            let (site, bytes, align) = (touch.site, touch.bytes, touch.align);
            self.log.push(Entry::Access { site, place, bytes, align });
        }
        for of in &acts.indices {
            let within = of.index.zip(of.length).is_some_and(|(index, length)| {
                let (index, width) = (value(index), self.plan.graph.width(index));
                let has_no_sign = index.least >= 0 && index.root.is_none() && width > 1;
                index.trust != Trust::Void && has_no_sign && index.high < length
            });
            let within = if within { Ok(()) } else { Err(Doubt::of(of.index.map(value))) };
            self.log.push(Entry::Index { site: of.site, within });
        }
        let void = |node: NodeId| value(node).trust == Trust::Void;
        broken |= acts.stored.iter().any(|&node| void(node));
        broken |= acts.never_ends || acts.condition.is_some_and(void);
        if broken && !mutant::has(Mutant::ZeroDivisor) {
            self.log.push(Entry::Undefined { block });
        }
    }

    /// How many invocations along each axis, from the first, may be in the current block.
    fn counts(&self) -> Counts {
        let Launch { groups, local_size, .. } = self.launch;
        let mut counts = [0; 3];
        for (axis, count) in counts.iter_mut().enumerate() {
            let all = u64::from(groups[axis]) * u64::from(local_size[axis]);
            let place = self.plan.places[axis].filter(|&place| self.is_current(place));
            let last = place.map(|place| self.values[place as usize].high.saturating_add(1));
            let more = u64::from(mutant::has(Mutant::OneMoreWrites));
            *count = last.map_or(all, |last| last.saturating_add(more).min(all));
        }
        counts
    }

    /// Whether the specification does not say what a division does.
    fn may_break(&mut self, division: &Division) -> bool {
        let [by, of] = [division.divisor, division.dividend].map(|node| {
            let value = self.values[node as usize];
            if mutant::has(Mutant::PlaceIsDivided) { value } else { self.number(value) }
        });
        let width = self.plan.graph.width(division.divisor);
        let zero = if division.has_sign {
            (by.least <= 0 && by.most >= 0)
                || (by.least <= -1 && by.most >= -1 && of.least == least(width))
        } else {
            by.low == 0
        };
        zero || by.root.is_some() || by.trust == Trust::Void
    }

    /// Computes again what conclusions have changed. Returns whether that can be.
    fn carry_on(&mut self, block: usize) -> bool {
        let plan = self.plan;
        for &id in &plan.blocks[block].code {
            let node = plan.graph.get(id);
            let is_changed = |arg: &NodeId| self.changes.iter().any(|change| change.0 == *arg);
            if !node.args().iter().any(is_changed) {
                continue;
            }
            let old = self.values[id as usize];
            let read = &mut self.read;
            let new = value(plan, &self.launch, read, &self.values, &self.phis, &node);
            let is_fixed = old.trust == Trust::Fixed && new.trust == Trust::Fixed;
            let met = if is_fixed { old.meet(new, node.width) } else { Some(old) };
            match met {
                Some(met) if met == old => {}
                Some(met) => {
                    self.changes.push((id, old));
                    self.values[id as usize] = met;
                }
                None => return false,
            }
        }
        true
    }

    /// Leaves a block by a way. `None` if that cannot be.
    fn leave(&mut self, block: usize, edge: usize) -> Result<Option<Arrival>, Unknown> {
        let plan = self.plan;
        let way = &plan.edges[edge];
        let possible = match (plan.blocks[block].acts.condition, &way.when) {
            (Some(condition), When::Holds(holds)) => self.assume(condition, *holds, 0),
            (Some(selector), When::OneOf(numbers)) => self.assume_one_of(selector, numbers),
            (Some(selector), When::NoneOf(numbers)) => self.assume_none_of(selector, numbers),
            _ => true,
        };
        let carries = !way.moves.is_empty() && !self.changes.is_empty();
        if carries {
            self.spend(plan.blocks[block].code.len())?;
        }
        let possible = possible && (!carries || self.carry_on(block));
        let arrival = possible.then(|| {
            let value = |node: &NodeId| self.values[*node as usize];
            let moves = way.moves.iter().map(value).collect();
            let counts = way.counters.iter().map(|of| (value(&of.node), value(&of.step))).collect();
            Arrival { facts: self.conclusions(0, 0), moves, counts }
        });
        self.spend(self.changes.len() + self.extra.len())?;
        self.undo(0, 0);
        Ok(arrival)
    }
}
