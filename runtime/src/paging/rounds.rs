//! The rounds of a launch: run, judge, undo, serve, run again.
//!
//! The protocol, and the race that each step prevents, are in `DESIGN.md`.

use super::{
    PAGE_BYTES,
    pages::{Dirty, Pages},
    plan::{Costs, Ended, Plan, Replay},
    prefetch,
    process::{Access, Change, Limits, ProcessPages},
    report::{Denial, Missing, Report},
    table::Frozen,
    together,
};
use crate::{
    launch::log::{FaultRecord, Place},
    residency::memory::{Memory, Span},
    trace,
};

/// A launch that can be run any number of times.
pub(crate) trait Run {
    /// The memory that it works on.
    type Memory: Memory;

    /// The memory that it works on.
    fn memory(&mut self) -> &mut Self::Memory;

    /// Runs it once with the table that was uploaded, and waits for its end.
    fn run(&mut self, table: &Frozen<'_>) -> Result<Report, Ended<DeviceError<Self>>>;

    /// Whether the access that faulted would have written.
    fn writes(&self, fault: &FaultRecord) -> bool;

    /// Whether the time is over that the launch may take.
    fn is_overdue(&mut self) -> bool;
}

/// The error of a launch's device.
type DeviceError<R> = <<R as Run>::Memory as Memory>::Error;

/// The end of a launch, or of a step of it.
type Outcome<T, R> = Result<T, Ended<DeviceError<R>>>;

/// A fault that cannot be served, with the reason if its page cannot be brought in.
type Denied = (FaultRecord, Option<Denial>);

/// The rounds of one launch.
struct Rounds<'r, R: Run> {
    run: &'r mut R,
    pages: &'r mut Pages,
    process: Option<&'r mut ProcessPages>,
    plan: &'r Plan,
    costs: Costs,
    /// The state of the random numbers that order the served pages, if the plan asks for that.
    random: u64,
}

/// Runs a launch in rounds until a round has no faults, or its faults cannot be served. Returns the
/// costs too.
///
/// Without a result, lent memory is as it was before, at home or on the device, unless the kernel
/// overwrites and the launch is not transactional.
pub(crate) fn launch<R: Run>(
    run: &mut R,
    pages: &mut Pages,
    process: Option<&mut ProcessPages>,
    mut plan: Plan,
) -> (Outcome<(), R>, Costs) {
    if pages.has_aliases() {
        // Bytes that are written at one address may be read at another.
        plan.writes = pages.with_aliased(plan.writes);
        if plan.replay == Replay::Overwrite {
            plan.replay = Replay::Undo;
        }
    }
    let random = plan.serve_faults.map_or(0, |order| order.seed);
    let costs = Costs::default();
    let mut rounds = Rounds { run, pages, process, plan: &plan, costs, random };
    let outcome = rounds.launch();
    (outcome, rounds.costs)
}

/// Writes home bytes that are newer on the device, and returns how many.
pub(crate) fn write_back<M: Memory>(
    memory: &mut M,
    pages: &mut Pages,
    dirty: &Dirty,
) -> Result<u64, M::Error> {
    let bytes = Span::sum(&dirty.spans);
    let _copy = (bytes > 0).then(|| trace::span!("copy", to = "home", bytes = bytes));
    memory.copy_home(&dirty.spans)?;
    pages.written_back(dirty);
    Ok(bytes)
}

impl<R: Run> Rounds<'_, R> {
    fn launch(&mut self) -> Outcome<(), R> {
        // A page that is brought in must find at home the bytes that the device has of it at
        // another address.
        if self.plan.needs_home() || self.pages.has_aliases() {
            let dirty = self.pages.dirty(&self.plan.writes);
            let bytes = write_back(self.run.memory(), self.pages, &dirty);
            self.costs.bytes_home += bytes.map_err(Ended::Device)?;
        }
        self.pages.begin(&self.plan.written);
        let outcome = self.until_clean();
        match outcome {
            Err(_) if self.plan.needs_home() => self.pages.discard(&self.plan.writes),
            // What was queued for pages may not have come there, so they are not newer than home.
            Err(Ended::Device(_)) => {}
            _ if self.plan.replay != Replay::ReadOnly => self.pages.commit(&self.plan.writes),
            _ => {}
        }
        if let Some(process) = &mut self.process {
            process.close(self.pages);
        }
        outcome
    }

    fn until_clean(&mut self) -> Outcome<(), R> {
        let mut faulty = 0;
        for number in 1..=self.plan.max_rounds {
            let round =
                trace::span!("round", number = number, faults = trace::LATER, pages = trace::LATER);
            let report = self.round()?;
            round.record("faults", report.total);
            if report.is_clean() {
                match self.commit_to_process()? {
                    Change::Nothing => return Ok(()),
                    Change::Pages => self.undo()?,
                    Change::Raced(address) => return Err(Ended::Raced(address)),
                    Change::Unwritable(address, why) => {
                        return Err(Ended::Unwritable(address, why));
                    }
                }
            } else {
                self.undo()?;
                round.record("pages", self.serve(&report, faulty)?);
                faulty += 1;
            }
            self.costs.undone += 1;
            if self.costs.faults > self.plan.max_faults {
                return Err(Ended::TooManyFaults);
            }
            if self.run.is_overdue() {
                return Err(Ended::Deadline);
            }
        }
        Err(Ended::TooManyRounds)
    }

    fn round(&mut self) -> Outcome<Report, R> {
        let memory = self.run.memory();
        let upload = |address, words: &[u64]| memory.write(address, bytemuck::cast_slice(words));
        let table = self.pages.table.upload(upload).map_err(Ended::Device)?;
        let report = self.run.run(&table)?;
        self.costs.rounds += 1;
        self.costs.faults += report.total;
        Ok(report)
    }

    fn commit_to_process(&mut self) -> Outcome<Change, R> {
        let Some(process) = &mut self.process else {
            return Ok(Change::Nothing);
        };
        process.commit(self.run.memory(), self.pages).map_err(Ended::Device)
    }

    /// Undoes the writes of a round.
    fn undo(&mut self) -> Outcome<(), R> {
        if self.plan.replay == Replay::Undo {
            self.copy_in(&self.pages.writable(&self.plan.writes))?;
        }
        if let Some(process) = &mut self.process {
            process.undo(self.run.memory()).map_err(Ended::Device)?;
        }
        Ok(())
    }

    fn copy_in(&mut self, spans: &[Span]) -> Outcome<(), R> {
        let bytes = Span::sum(spans);
        let _copy = (bytes > 0).then(|| trace::span!("copy", to = "device", bytes = bytes));
        self.run.memory().copy_in(spans).map_err(Ended::Device)?;
        self.costs.bytes_in += bytes;
        Ok(())
    }

    /// Brings in the pages that the round missed, and returns how many; or says why there is
    /// nothing to bring in.
    fn serve(&mut self, report: &Report, faulty: u32) -> Outcome<usize, R> {
        let of_lends = self.serve_lends(report, faulty)?;
        let (of_process, denied) = self.serve_process(report, of_lends, faulty)?;
        let served = of_lends + of_process;
        self.costs.served += served as u64;
        if served > 0 {
            return Ok(served);
        }
        Err(match (denied, report) {
            (Some((fault, denial)), _) => Ended::Fault(fault, self.explain(&fault, denial)),
            (None, Report { cut: 1.., .. }) => Ended::Cut,
            (None, Report { exhausted: 1.., .. }) => Ended::Exhausted,
            (None, _) => Ended::NoProgress,
        })
    }

    /// Says why a page cannot be brought in, as exactly as can be found out.
    fn explain(&mut self, fault: &FaultRecord, denial: Option<Denial>) -> Option<Denial> {
        match (self.process.as_deref_mut(), fault.place) {
            (Some(process), Place::Address(address)) => {
                denial.map(|denial| process.explain(address, denial))
            }
            _ => denial,
        }
    }

    /// Brings in pages of lends, and returns how many.
    fn serve_lends(&mut self, report: &Report, faulty: u32) -> Outcome<usize, R> {
        let lacks = |missing: &&Missing| {
            let lend = &self.pages.lends()[missing.lend];
            lend.lacks(missing.page, missing.write)
        };
        let mut missed: Vec<Missing> = report.missing.iter().filter(lacks).copied().collect();
        if self.plan.serve_faults.is_none() {
            missed = together::with_others(self.pages, &missed, &self.plan.together);
        }
        self.reorder(&mut missed);
        self.pages.note_missed(&missed);
        let wanted = self.widen(&missed, faulty);
        let memory = self.run.memory();
        let frame = || memory.allocate(PAGE_BYTES);
        let spans = self.pages.serve(&wanted, frame).map_err(Ended::Device)?;
        self.copy_in(&spans)?;
        Ok(wanted.len())
    }

    fn widen(&mut self, missed: &[Missing], faulty: u32) -> Vec<Missing> {
        if self.plan.serve_faults.is_some() {
            return missed.to_vec();
        }
        let memory = self.run.memory();
        let mut read = |home: u64, bytes: &mut [u8]| memory.read_home(home, bytes);
        let read: Option<&mut prefetch::ReadHome<'_>> =
            if self.plan.follows { Some(&mut read) } else { None };
        prefetch::widen(self.pages, missed, faulty, read)
    }

    /// Brings in the pages of the queue that are in no lend. Returns how many, and the first fault
    /// that cannot be served.
    fn serve_process(
        &mut self,
        report: &Report,
        served: usize,
        faulty: u32,
    ) -> Outcome<(usize, Option<Denied>), R> {
        let mut queue = report.faults.clone();
        self.shuffle(&mut queue);
        let (outside, inside): (Vec<_>, Vec<_>) =
            queue.into_iter().partition(|fault| self.outside_lends(fault).is_some());
        let refused = |queue: &[FaultRecord]| queue.first().map(|&fault| (fault, None));
        let accesses: Vec<Access> = outside.iter().filter_map(|f| self.outside_lends(f)).collect();
        let Some(process) = self.process.as_deref_mut() else {
            return Ok((0, refused(&inside).or(refused(&outside))));
        };
        let limits = match self.plan.serve_faults {
            None => Limits { pages: usize::MAX, followed: prefetch::followed_in_process(faulty) },
            Some(order) => {
                Limits { pages: order.most_per_round.saturating_sub(served), followed: 0 }
            }
        };
        let served = process.serve(&accesses, limits, self.run.memory(), self.pages);
        let served = served.map_err(Ended::Device)?;
        let denied = served.denied.map(|(position, denial)| (outside[position], Some(denial)));
        // A page that the device has is no reason to fault on it.
        let misaligned = outside.first().map(|&fault| (fault, Some(Denial::Misaligned)));
        Ok((served.pages, denied.or(refused(&inside)).or(misaligned)))
    }

    /// The access of a fault at an address that is in no lend.
    fn outside_lends(&self, fault: &FaultRecord) -> Option<Access> {
        match fault.place {
            Place::Address(address) if self.pages.find(address).is_none() => {
                Some(Access { address, write: self.run.writes(fault) })
            }
            _ => None,
        }
    }

    /// Shuffles and shortens the list of pages to serve, if the plan says so.
    fn reorder(&mut self, missed: &mut Vec<Missing>) {
        if let Some(order) = self.plan.serve_faults {
            self.shuffle(missed);
            missed.truncate(order.most_per_round.max(1));
        }
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        if self.plan.serve_faults.is_none() {
            return;
        }
        for last in (1..items.len()).rev() {
            // A 64-bit linear congruential generator; the upper bits are the random ones.
            self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let chosen = (self.random >> 33) as usize % (last + 1);
            items.swap(last, chosen);
        }
    }
}

#[cfg(test)]
#[path = "rounds_tests.rs"]
mod tests;
