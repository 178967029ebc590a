//! The evaluation of a plan for all launches at once: blocks in their order, and loops as
//! `footprint/trips.rs` evaluates them for one launch.

use crate::footprint::acts::Division;
use crate::footprint::flow::When;
use crate::footprint::nest::Step;
use crate::footprint::plan::{Change, Counter};
use crate::footprint::symbolic::bound::Bound;
use crate::footprint::symbolic::compute::{Ranges, number, range, value};
use crate::footprint::symbolic::range::Range;
use crate::footprint::symbolic::state::{Arrival, Found, State, Walk, common};
use crate::footprint::unknown::{Doubt, Unknown};
use crate::footprint::value::Trust;

/// The most computations of an evaluation.
const MOST_WORK: usize = 1 << 15;
/// The most passes in which the ranges at a loop's start are widened one by one.
const MOST_PASSES: usize = 6;

impl Walk<'_> {
    /// Evaluates steps, from one position to another.
    pub(super) fn steps(&mut self, mut from: usize, to: usize) -> Result<(), Unknown> {
        while from < to {
            from += match self.plan.steps[from] {
                Step::Block(block) => {
                    self.block(block)?;
                    1
                }
                Step::Loop { which, steps } => {
                    self.run_loop(which, from + 1, from + 1 + steps)?;
                    1 + steps
                }
            };
        }
        Ok(())
    }

    /// Evaluates a block, with what came by the ways to it.
    fn block(&mut self, block: usize) -> Result<(), Unknown> {
        let plan = self.plan;
        let of = &plan.blocks[block];
        self.work += 1 + of.code.len() * (1 + of.outs.len());
        if self.work > MOST_WORK {
            return Err(Unknown::Budget);
        }
        self.branches[block] = Trust::Fixed;
        let arrived = if of.ins.is_empty() { Some(Ranges::new()) } else { self.arrive(block) };
        let state = arrived.and_then(|facts| self.compute(block, facts));
        let Some(state) = state else {
            of.outs.iter().for_each(|&edge| self.arrivals[edge] = None);
            return Ok(());
        };
        if let Some(condition) = of.acts.condition {
            let on = value(&state.values, condition);
            self.branches[block] = if on.constant().is_some() { Trust::Fixed } else { on.trust };
        }
        if self.records {
            self.record(block, &state.values);
        }
        for &edge in &of.outs {
            self.arrivals[edge] = self.leave(block, edge, &state);
        }
        Ok(())
    }

    /// The facts of the ways to a block, whose phis are taken over. `None` if nothing comes.
    fn arrive(&mut self, block: usize) -> Option<Ranges> {
        let of = &self.plan.blocks[block];
        let edges = &self.plan.edges;
        let ways = of.ins.iter().filter(|&&edge| !edges[edge].is_back);
        let arrivals = ways.filter_map(|&edge| self.arrivals[edge].as_ref());
        let facts =
            arrivals.map(|of| of.facts.clone()).reduce(|one, other| common(&one, &other))?;
        let is_header = of.ins.iter().any(|&edge| edges[edge].is_back);
        // Those of a loop's start are set by the loop.
        if let Some(moves) = self.met(block, false).filter(|_| !is_header) {
            for (&phi, range) in of.phis.iter().zip(moves) {
                self.phis[phi] = range;
            }
        }
        Some(facts)
    }

    /// Computes a block's code. `None` if the facts do not allow the block to be reached.
    fn compute(&self, block: usize, facts: Ranges) -> Option<State> {
        let mut values = Ranges::new();
        for &id in &self.plan.blocks[block].code {
            let node = self.plan.graph.get(id);
            let mut found = range(self.plan, self.local_size, &values, &self.phis, &node);
            if let Some(fact) = facts.get(&id).filter(|_| found.trust == Trust::Fixed) {
                found = found.meet(fact)?;
            }
            values.insert(id, found);
        }
        Some(State { values, facts })
    }

    /// Leaves a block by a way. `None` if that cannot be.
    fn leave(&self, block: usize, edge: usize, state: &State) -> Option<Arrival> {
        let way = &self.plan.edges[edge];
        let mut to = state.clone();
        let possible = match (self.plan.blocks[block].acts.condition, &way.when) {
            (Some(condition), When::Holds(holds)) => self.assume(&mut to, condition, *holds, 0),
            (Some(selector), When::OneOf(numbers)) => {
                self.assume_one_of(&mut to, selector, numbers)
            }
            _ => true,
        };
        if !possible || (!way.moves.is_empty() && !self.carry_on(block, &mut to)) {
            return None;
        }
        let of = |node| value(&to.values, node);
        let moves = way.moves.iter().map(|&node| of(node)).collect();
        let counts = way.counters.iter().map(|by| (of(by.node), of(by.step))).collect();
        Some(Arrival { facts: to.facts, moves, counts })
    }

    /// Computes again what depends on conclusions. Returns whether it can be.
    fn carry_on(&self, block: usize, to: &mut State) -> bool {
        for &id in &self.plan.blocks[block].code {
            let node = self.plan.graph.get(id);
            let new = range(self.plan, self.local_size, &to.values, &self.phis, &node);
            let old = value(&to.values, id);
            if old.trust != Trust::Fixed || new.trust != Trust::Fixed {
                continue;
            }
            let Some(met) = old.meet(&new) else { return false };
            to.values.insert(id, met);
        }
        true
    }

    /// Notes the acts of a block in the log.
    fn record(&mut self, block: usize, values: &Ranges) {
        let of = &self.plan.blocks[block];
        if let Some(which) = of.once {
            self.log.push(Found::Loop { which, ends: Some(Bound::constant(1)) });
        }
        for touch in &of.acts.accesses {
            let address = touch.address.map(|at| value(values, at));
            let root = address.as_ref().and_then(|of| of.root);
            let why = Doubt::of_trust(address.as_ref().map(|of| of.trust));
            let is_known = |of: &Range| of.root.is_some() && of.low.is_some() && of.high.is_some();
            let place = match address.filter(is_known) {
                Some(_) if !touch.is_aligned => Err((root, Doubt::Alignment)),
                place => place.ok_or((root, why)),
            };
            self.log.push(Found::Access { site: touch.site, place, bytes: touch.bytes });
        }
        for index in &of.acts.indices {
            let (site, length) = (index.site, index.length.unwrap_or_default());
            let found = index.index.map(|at| value(values, at));
            let why = Doubt::of_trust(found.as_ref().map(|of| of.trust));
            let index = found.filter(|of| of.is_natural() && of.high.is_some()).ok_or(why);
            self.log.push(Found::Index { site, index, length });
        }
        let void = |node| value(values, node).trust == Trust::Void;
        let acts = &of.acts;
        let breaks = acts.divisions.iter().any(|of| may_break(of, values));
        let is_void = acts.stored.iter().chain(&acts.condition).any(|&node| void(node));
        if breaks || is_void || acts.never_ends {
            self.log.push(Found::Undefined);
        }
    }

    /// Evaluates the loop whose steps are between two positions, and leaves it.
    fn run_loop(&mut self, which: usize, from: usize, to: usize) -> Result<(), Unknown> {
        self.try_loop(which, from, to)?;
        let plan = self.plan;
        let choice = self.choice(&plan.loops[which].choices);
        if choice == Trust::Fixed {
            return Ok(());
        }
        for step in &plan.steps[from..to] {
            let Step::Block(block) = *step else { continue };
            for &phi in &plan.blocks[block].phis {
                self.phis[phi] = self.phis[phi].clone().chosen(choice);
            }
        }
        for &edge in &plan.loops[which].exits {
            let Some(arrival) = &mut self.arrivals[edge] else { continue };
            let choose = |of: &mut Range| *of = of.clone().chosen(choice);
            arrival.moves.iter_mut().for_each(choose);
            arrival.counts.iter_mut().for_each(|(_, step)| choose(step));
        }
        Ok(())
    }

    /// Evaluates the loop whose steps are between two positions.
    fn try_loop(&mut self, which: usize, from: usize, to: usize) -> Result<(), Unknown> {
        let header = self.plan.loops[which].header;
        // A loop that is not entered is gone through once, so that its ways are not taken.
        let Some(entry) = self.met(header, false) else { return self.steps(from, to) };
        let records = std::mem::replace(&mut self.records, false);
        let mut at_start = entry.clone();
        self.pass(header, &at_start, from, to)?;
        for passes in 0.. {
            let next = self.around(header, &entry);
            if covers(&at_start, &next) {
                break;
            }
            at_start = widened(&at_start, &next, passes >= MOST_PASSES);
            self.pass(header, &at_start, from, to)?;
        }
        self.records = records;
        let mark = self.log.len();
        // What really came around is less, which a further pass has to show. No counter goes
        // further than its steps in all runs, whatever that pass shows.
        let counted = self.counted(header, &entry);
        let met = |around: Vec<Range>| -> Vec<Range> {
            let both = around.into_iter().zip(&counted);
            both.map(|(range, most)| range.meet(most).unwrap_or(range)).collect()
        };
        let narrow = met(self.around(header, &entry));
        self.pass(header, &narrow, from, to)?;
        if !covers(&narrow, &met(self.around(header, &entry))) {
            self.log.truncate(mark);
            self.pass(header, &at_start, from, to)?;
        }
        if self.records {
            let ends = self.ends(header);
            self.log.push(Found::Loop { which, ends });
        }
        Ok(())
    }

    /// The ranges that come to a block, around its loop or from before it.
    fn met(&self, block: usize, is_back: bool) -> Option<Vec<Range>> {
        let of = &self.plan.blocks[block];
        let ways = of.ins.iter().filter(|&&edge| self.plan.edges[edge].is_back == is_back);
        let mut arrivals = ways.filter_map(|&edge| self.arrivals[edge].as_ref());
        let mut all = arrivals.next()?.moves.clone();
        let choose = self.choice(if is_back { &of.choices_back } else { &of.choices });
        let mut choice = Trust::Fixed;
        for arrival in arrivals {
            choice = choose;
            for (to, from) in all.iter_mut().zip(&arrival.moves) {
                *to = to.hull(from);
            }
        }
        Some(all.into_iter().map(|range| range.chosen(choice)).collect())
    }

    /// Runs through a loop once, with these ranges at its start.
    fn pass(
        &mut self,
        header: usize,
        at_start: &[Range],
        from: usize,
        to: usize,
    ) -> Result<(), Unknown> {
        for (&phi, range) in self.plan.blocks[header].phis.iter().zip(at_start) {
            self.phis[phi] = range.clone();
        }
        self.steps(from, to)
    }

    /// The ranges with which a loop is entered, and those that come around it.
    fn around(&self, header: usize, entry: &[Range]) -> Vec<Range> {
        match self.met(header, true) {
            Some(back) => entry.iter().zip(&back).map(|(one, other)| one.hull(other)).collect(),
            None => entry.to_vec(),
        }
    }

    /// How far counters go in a loop, by the last pass: a range for each phi of its start.
    fn counted(&self, header: usize, entry: &[Range]) -> Vec<Range> {
        let mut all: Vec<Range> =
            entry.iter().map(|of| Range { root: of.root, ..Range::any(Trust::Fixed) }).collect();
        let edges = &self.plan.edges;
        let mut ways = self.plan.blocks[header].ins.iter().filter(|&&edge| edges[edge].is_back);
        let (Some(&edge), None) = (ways.next(), ways.next()) else { return all };
        let Some(arrival) = &self.arrivals[edge] else { return all };
        let counters = || edges[edge].counters.iter().zip(&arrival.counts);
        let Some(returns) = counters().find_map(|(by, of)| returns(by, of)) else { return all };
        for (counter, (_, step)) in counters() {
            let Some(entry) = entry.get(counter.phi) else { continue };
            if let Some(range) = reached(counter.change, entry, step, &returns) {
                all[counter.phi] = range;
            }
        }
        all
    }

    /// The step that has to be above 0 for a loop to end. `None` if it is not known to.
    fn ends(&self, header: usize) -> Option<Bound> {
        let edges = &self.plan.edges;
        let ways = self.plan.blocks[header].ins.iter().filter(|&&edge| edges[edge].is_back);
        let ways: Vec<usize> = ways.copied().collect();
        if ways.iter().all(|&edge| self.arrivals[edge].is_none()) {
            return Some(Bound::constant(1));
        }
        let [edge] = ways[..] else { return None };
        let counts = &self.arrivals[edge].as_ref()?.counts;
        let steps = edges[edge].counters.iter().zip(counts);
        let mut steps: Vec<Bound> = steps.filter_map(|(by, of)| least_step(by, of)).collect();
        let certain = steps.iter().position(|step| step.is_at_least(1));
        (!steps.is_empty()).then(|| steps.swap_remove(certain.unwrap_or_default()))
    }
}

/// The least step of a counter towards a bound of the loop. `None` if there is none.
fn least_step(counter: &Counter, (before, step): &(Range, Range)) -> Option<Bound> {
    let is_usable = |of: &Range| of.root.is_none() && of.trust == Trust::Fixed;
    if !is_usable(before) || step.root.is_some() || step.trust == Trust::Void {
        return None;
    }
    let up = step.low.clone();
    let down = step.high.as_ref().and_then(Bound::negated);
    let (up, down) = match counter.change {
        Change::Plus => (up, down),
        Change::Minus => (down, up),
        Change::Shrinks | Change::Grows | Change::Divided | Change::Multiplied => {
            return scales(counter.change, before, step).then(|| Bound::constant(1));
        }
    };
    // A step that may be below 0, or is never above it, leads nowhere.
    let leads = |step: &Bound| step.is_at_least(0) && step.as_constant() != Some(0);
    let up = up.filter(|step| before.high.is_some() && leads(step));
    up.or_else(|| down.filter(|step| before.low.is_some() && leads(step)))
}

/// How often a loop goes back to its start at most, by a counter that changes by a step.
fn returns(counter: &Counter, (before, step): &(Range, Range)) -> Option<Bound> {
    let is_usable = |of: &Range| of.root.is_none() && of.trust == Trust::Fixed;
    let steps = matches!(counter.change, Change::Plus | Change::Minus);
    if !steps || !is_usable(before) || !is_usable(step) || !step.is_at_least(1) {
        return None;
    }
    let by = step.low.as_ref()?.as_sum()?;
    let distance = before.high.as_ref()?.minus(before.low.as_ref()?)?;
    distance.map(&|of| of.divided(by).1)?.moved(1)
}

/// The values of a counter at the start of a loop that goes back so often at most.
fn reached(change: Change, entry: &Range, step: &Range, returns: &Bound) -> Option<Range> {
    if entry.trust != Trust::Fixed || step.trust != Trust::Fixed || !step.is_natural() {
        return None;
    }
    let far = step.high.as_ref()?.times(returns)?;
    // A loop that never goes back leaves the counter as it was.
    let (low, high) = match change {
        Change::Plus => {
            let high = entry.high.as_ref()?;
            (entry.low.clone(), Some(high.plus(&far)?.max(high.clone())?))
        }
        Change::Minus => {
            let low = entry.low.as_ref()?;
            (Some(low.minus(&far)?.min(low.clone())?), entry.high.clone())
        }
        _ => return None,
    };
    Some(Range { root: entry.root, ..Range::new(low, high) })
}

/// Whether a number that is not 0 is halved, or doubled up to a bound, or more.
fn scales(change: Change, before: &Range, step: &Range) -> bool {
    let least = match change {
        Change::Shrinks | Change::Grows => 1,
        _ => 2,
    };
    let is_bounded = matches!(change, Change::Shrinks | Change::Divided) || before.high.is_some();
    before.is_at_least(1) && step.is_at_least(least) && is_bounded
}

/// Whether the specification does not say what a division does, in every launch or by chance.
fn may_break(division: &Division, values: &Ranges) -> bool {
    let by = number(&value(values, division.divisor));
    by.trust != Trust::Fixed && !by.is_at_least(1)
        || !by.is_natural()
        || by.low.as_ref().is_some_and(|low| low.as_constant() == Some(0))
}

/// Whether ranges cover others.
fn covers(all: &[Range], others: &[Range]) -> bool {
    all.iter().zip(others).all(|(one, other)| one.covers(other))
}

/// Ranges that cover more of what comes around: each end that has moved goes to its limit.
fn widened(old: &[Range], next: &[Range], gives_up: bool) -> Vec<Range> {
    let both = old.iter().zip(next);
    both.map(|(old, next)| {
        let all = old.hull(next);
        if old.covers(next) {
            return old.clone();
        }
        if gives_up || all.root != old.root {
            return Range::any(all.trust.max(Trust::Loose));
        }
        let zero = next.is_natural().then(|| Bound::constant(0));
        let low = if old.has_low(next) { all.low.clone() } else { zero };
        let high = if old.has_high(next) { all.high.clone() } else { None };
        let least = old.least_number().filter(|_| old.has_least(next));
        let wide = Range { low, least: None, high, trust: all.trust, root: all.root };
        wide.with_least(least)
    })
    .collect()
}
