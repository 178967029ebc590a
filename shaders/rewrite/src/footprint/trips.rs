//! Loops: the values at their start, and how often it runs.
//!
//! A loop is tried out until the values at its start cover what comes around it. Only a further
//! pass is recorded, which shows this once more with the values that it used.

use crate::footprint::counts::{reached, returns};
use crate::footprint::log::Entry;
use crate::footprint::mutant::{self, Mutant};
use crate::footprint::nest::Step;
use crate::footprint::plan::Counter;
use crate::footprint::run::Run;
use crate::footprint::unknown::Unknown;
use crate::footprint::value::{Trust, Value};

/// The most passes in which the values at a loop's start are widened one by one.
const MOST_PASSES: usize = 8;

/// The findings of a pass through a loop.
struct Pass {
    /// The values that come back to the loop's start, by its phis. `None` if nothing does.
    back: Option<Vec<Value>>,
    /// How often the loop's start runs at most.
    runs: Option<u64>,
    /// The values of counters at the start, if it runs so often.
    counted: Vec<(usize, Value)>,
}

impl Run<'_> {
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

    /// Evaluates the loop whose steps are between two positions, and leaves it.
    fn run_loop(&mut self, which: usize, from: usize, to: usize) -> Result<(), Unknown> {
        self.try_loop(which, from, to)?;
        let plan = self.plan;
        let of = &plan.loops[which];
        let choice = self.choice(&of.choices);
        self.spend(of.choices.len())?;
        if choice == Trust::Fixed {
            return Ok(());
        }
        // Within a run its values are what they are; behind the loop it is not known of which.
        for step in &plan.steps[from..to] {
            let Step::Block(block) = *step else { continue };
            for &phi in &plan.blocks[block].phis {
                self.phis[phi] = self.phis[phi].chosen(choice);
            }
        }
        for &edge in &of.exits {
            let Some(arrival) = &mut self.arrivals[edge] else { continue };
            arrival.moves.iter_mut().for_each(|value| *value = value.chosen(choice));
            arrival.counts.iter_mut().for_each(|(_, step)| *step = step.chosen(choice));
        }
        Ok(())
    }

    /// Evaluates the loop whose steps are between two positions.
    fn try_loop(&mut self, which: usize, from: usize, to: usize) -> Result<(), Unknown> {
        let header = self.plan.loops[which].header;
        // A loop that is not entered is gone through once, to mark its ways.
        let Some(entry) = self.met(header, false) else { return self.steps(from, to) };
        let records = std::mem::replace(&mut self.records, false);
        let mut at_start = entry.clone();
        let mut last = self.pass(header, &at_start, &entry, from, to)?;
        for passes in 0.. {
            let next = self.around(header, &entry, &last);
            if covers(&at_start, &next) || mutant::has(Mutant::FirstRunOnly) {
                break;
            }
            at_start = self.widened(header, &at_start, &next, passes >= MOST_PASSES);
            last = self.pass(header, &at_start, &entry, from, to)?;
        }
        self.records = records;
        let mark = self.log.len();
        let around = self.around(header, &entry, &last);
        if let Some(narrow) = self.narrowed(header, &around, &last) {
            let pass = self.pass(header, &narrow, &entry, from, to)?;
            let next = self.around(header, &entry, &pass);
            let shown = pass.back.is_none()
                || (covers(&around, &next) && self.still_counts(header, &narrow, &around, &pass));
            if shown {
                self.note_runs(which, pass.runs);
                return Ok(());
            }
            self.log.truncate(mark);
        }
        let pass = self.pass(header, &at_start, &entry, from, to)?;
        self.note_runs(which, pass.runs);
        Ok(())
    }

    fn note_runs(&mut self, which: usize, runs: Option<u64>) {
        if self.records {
            self.log.push(Entry::Loop { which, runs });
        }
    }

    /// The values that come to a loop's start, around the loop or from before it.
    fn met(&self, header: usize, is_back: bool) -> Option<Vec<Value>> {
        let of = &self.plan.blocks[header];
        let ways = of.ins.iter().filter(|&&edge| self.plan.edges[edge].is_back == is_back);
        let mut arrivals = ways.filter_map(|&edge| self.arrivals[edge].as_ref());
        let mut all = arrivals.next()?.moves.clone();
        let choose = self.choice(if is_back { &of.choices_back } else { &of.choices });
        let mut choice = Trust::Fixed;
        for arrival in arrivals {
            choice = choose;
            for ((to, from), &phi) in all.iter_mut().zip(&arrival.moves).zip(&of.phis) {
                *to = to.hull(*from, self.width(phi));
            }
        }
        all.iter_mut().for_each(|value| *value = value.chosen(choice));
        Some(all)
    }

    fn width(&self, phi: usize) -> u8 {
        self.plan.graph.width(self.plan.graph.phis[phi].node)
    }

    /// Runs through a loop once, with these values at its start.
    fn pass(
        &mut self,
        header: usize,
        at_start: &[Value],
        entry: &[Value],
        from: usize,
        to: usize,
    ) -> Result<Pass, Unknown> {
        let plan = self.plan;
        for (&phi, &value) in plan.blocks[header].phis.iter().zip(at_start) {
            self.phis[phi] = value;
        }
        self.steps(from, to)?;
        self.spend(at_start.len())?;
        let back = self.met(header, true);
        let runs = if back.is_some() { self.runs(header) } else { Some(1) };
        let mut counted = Vec::new();
        if let (Some(runs), Some(counts)) = (runs, self.only_way_back(header)) {
            for (counter, _, step) in &counts {
                let width = self.width(plan.blocks[header].phis[counter.phi]);
                let Some(&first) = entry.get(counter.phi) else { continue };
                if let Some(value) = reached(counter, first, *step, runs, width) {
                    counted.push((counter.phi, value));
                }
            }
        }
        Ok(Pass { back, runs, counted })
    }

    /// The counters with their values and steps, if one way alone leads back to a loop's start.
    fn only_way_back(&self, header: usize) -> Option<Vec<(Counter, Value, Value)>> {
        let edges = &self.plan.edges;
        let mut ways = self.plan.blocks[header].ins.iter().filter(|&&edge| edges[edge].is_back);
        let (Some(&edge), None) = (ways.next(), ways.next()) else { return None };
        let counts = &self.arrivals[edge].as_ref()?.counts;
        let both = edges[edge].counters.iter().zip(counts);
        Some(both.map(|(counter, &(value, step))| (*counter, value, step)).collect())
    }

    /// How often a loop's start runs at most, by any of its counters.
    fn runs(&self, header: usize) -> Option<u64> {
        let limits =
            self.only_way_back(header)?.into_iter().filter_map(|(counter, value, step)| {
                let phi = *self.plan.blocks[header].phis.get(counter.phi)?;
                returns(counter.change, value, step, self.width(phi))
            });
        let last = u64::from(!mutant::has(Mutant::LoopTooShort));
        limits.min()?.checked_add(last)
    }

    /// The values with which a loop is entered, and those that come around it.
    fn around(&self, header: usize, entry: &[Value], pass: &Pass) -> Vec<Value> {
        let mut all = entry.to_vec();
        let phis = &self.plan.blocks[header].phis;
        for ((to, from), &phi) in all.iter_mut().zip(pass.back.iter().flatten()).zip(phis) {
            *to = to.hull(*from, self.width(phi));
        }
        all
    }

    /// Values that cover more of what comes around: each end that has moved goes to its limit.
    fn widened(&self, header: usize, old: &[Value], next: &[Value], gives_up: bool) -> Vec<Value> {
        let phis = self.plan.blocks[header].phis.iter();
        phis.zip(old.iter().zip(next))
            .map(|(&phi, (old, next))| {
                let width = self.width(phi);
                let all = old.hull(*next, width);
                if old.covers(*next) {
                    return *old;
                }
                let any = Value { root: all.root, ..Value::any(width, all.trust) };
                if gives_up {
                    return Value { root: None, ..any }.trusted(Trust::Loose, width);
                }
                Value {
                    low: if next.low < old.low { any.low } else { all.low },
                    high: if next.high > old.high { any.high } else { all.high },
                    least: if next.least < old.least { any.least } else { all.least },
                    most: if next.most > old.most { any.most } else { all.most },
                    ..all
                }
            })
            .collect()
    }

    /// Smaller values, which a further pass has to show: what came around, and no more than
    /// counters reach.
    fn narrowed(&self, header: usize, around: &[Value], pass: &Pass) -> Option<Vec<Value>> {
        let mut all = around.to_vec();
        for &(at, counted) in &pass.counted {
            let width = self.width(*self.plan.blocks[header].phis.get(at)?);
            let value = all.get_mut(at)?;
            *value = value.meet(counted, width)?;
        }
        Some(all)
    }

    /// Whether a pass shows that the counters go no further than its values at the start say.
    fn still_counts(&self, header: usize, narrow: &[Value], around: &[Value], pass: &Pass) -> bool {
        let phis = &self.plan.blocks[header].phis;
        narrow.iter().zip(around).enumerate().all(|(at, (narrow, around))| {
            if narrow == around {
                return true;
            }
            let counted = pass.counted.iter().find(|(counted, _)| *counted == at);
            let met = counted.and_then(|(_, value)| around.meet(*value, self.width(phis[at])));
            met.is_some_and(|met| narrow.covers(met))
        })
    }
}

/// Whether values cover others.
fn covers(all: &[Value], others: &[Value]) -> bool {
    all.iter().zip(others).all(|(one, other)| one.covers(*other))
}
