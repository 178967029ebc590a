//! The rounds of a launch: run, judge, undo, serve, run again.
//!
//! The protocol, and the race that each step prevents, are in `DESIGN.md`.

use super::{
    door::{Change, Denial, Door},
    pages::{Copy, Missing, Pages},
    prefetch,
    table::Frozen,
};
use farptr_shaders::rewrite::{Analysis, Effects};
use std::fmt;

/// Device memory, and copies between it and lent memory.
pub(crate) trait Memory {
    /// Why the device failed. Nothing is certain about its memory then.
    type Error;

    /// Finds room for whole pages, on a page boundary.
    fn allocate(&mut self, bytes: u64) -> Result<u64, Self::Error>;

    /// Copies lent bytes to the device.
    fn copy_in(&mut self, copies: &[Copy]) -> Result<(), Self::Error>;

    /// Copies bytes of the device to the lent bytes.
    fn copy_home(&mut self, copies: &[Copy]) -> Result<(), Self::Error>;

    /// Reads lent bytes.
    fn look(&mut self, home: u64, bytes: &mut [u8]);

    /// Writes device memory.
    fn write(&mut self, device: u64, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Reads device memory.
    fn read(&mut self, device: u64, bytes: &mut [u8]) -> Result<(), Self::Error>;
}

/// A launch that can be run any number of times.
pub(crate) trait Run: Memory {
    /// Runs it once with the table that was uploaded, and waits for its end.
    fn run(&mut self, table: &Frozen<'_>) -> Result<Report, Self::Error>;

    /// Whether the time is over that the launch may take.
    fn is_overdue(&mut self) -> bool;
}

/// What a round left in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Faults that were reported, whether or not they found room.
    pub(crate) total: u64,
    /// The pages of lends with faults, from the bitmaps: all of them, each once.
    pub(crate) missing: Vec<Missing>,
    /// The queue.
    pub(crate) faults: Vec<Fault>,
    /// Invocations that had a loop cut short by the driver.
    pub(crate) cut: u32,
    /// Invocations that reached the loop limit.
    pub(crate) exhausted: u32,
}

/// An entry of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The address, or an index in the low word.
    pub(crate) address: u64,
    /// It is an index.
    pub(crate) index: bool,
    /// The access would have written.
    pub(crate) write: bool,
    /// The position of the instruction among the kernel's accesses.
    pub(crate) site: u32,
    /// The workgroup.
    pub(crate) group: [u32; 3],
    /// The invocation's number in its workgroup.
    pub(crate) invocation: u32,
}

/// How a round with faults is made undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// The kernel writes nothing.
    ReadOnly,
    /// A second run writes the same places, and its result does not depend on what was there.
    Overwrite,
    /// What could be written is copied from home again.
    Undo,
}

impl Replay {
    /// The cheapest that is exact for a kernel.
    pub(crate) fn of(effects: &Effects) -> Self {
        if !effects.writes && !effects.atomics {
            Self::ReadOnly
        } else if effects.overwrites {
            Self::Overwrite
        } else {
            Self::Undo
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "reads only: a round with faults leaves nothing to undo",
            Self::Overwrite => "a second round overwrites the first: nothing is undone",
            Self::Undo => "a round with faults is undone from host memory",
        })
    }
}

/// How a launch is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How a round with faults is made undone.
    pub(crate) replay: Replay,
    /// A launch that fails leaves no trace.
    pub(crate) transactional: bool,
    /// The kernel follows pointers that it loaded from memory.
    pub(crate) follows: bool,
    /// The most rounds.
    pub(crate) max_rounds: u32,
    /// The most faults.
    pub(crate) max_faults: u64,
    /// Serves few pages at a time and in another order, for tests.
    pub(crate) service: Option<Service>,
}

/// In which order, and how many at a time, pages are served; for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Decides the order.
    pub(crate) seed: u64,
    /// The most pages per round, at least 1.
    pub(crate) most_per_round: usize,
}

impl Plan {
    /// The plan for a kernel, without limits worth the name.
    pub(crate) fn of(analysis: &Analysis) -> Self {
        Self {
            replay: Replay::of(&analysis.effects),
            transactional: false,
            follows: !analysis.is_roots_only(),
            max_rounds: u32::MAX,
            max_faults: u64::MAX,
            service: None,
        }
    }

    /// Whether home has to be what memory was before the launch.
    fn needs_home(&self) -> bool {
        self.replay == Replay::Undo || self.transactional
    }
}

/// What a launch cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Costs {
    /// How often it was run.
    pub(crate) rounds: u64,
    /// The rounds that did not count.
    pub(crate) undone: u64,
    /// Faults that were reported.
    pub(crate) faults: u64,
    /// Pages brought to the device, and pages that it may write now.
    pub(crate) served: u64,
    /// Bytes copied in, those of undone rounds included.
    pub(crate) bytes_in: u64,
    /// Bytes copied home.
    pub(crate) bytes_home: u64,
}

/// Why a launch ended without a result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended<E> {
    /// An access that nothing allows.
    Fault(Fault, Option<Denial>),
    /// The driver cut a loop short.
    Cut,
    /// An invocation reached the loop limit.
    Exhausted,
    /// The limit of rounds.
    TooManyRounds,
    /// The limit of faults.
    TooManyFaults,
    /// The limit of time.
    Deadline,
    /// A round with faults that named no page that was missing.
    NoProgress,
    /// Memory of the process changed, at this address, while results were written there.
    Raced(u64),
    /// Results cannot be written to memory of the process, at this address.
    Unwritable(u64, Denial),
    /// The device failed.
    Device(E),
}

/// Pages that were brought in through the door, and a fault that nothing can be done about.
type Opened<E> = Result<(usize, Option<(Fault, Option<Denial>)>), Ended<E>>;

/// Pages outside lends that are brought in because words point to them: in the first round, and
/// at most. Fewer than in lends: each is looked at again before the commit.
const CHASED: usize = 8;
const CHASED_MOST: usize = 1024;

/// The rounds of one launch.
struct Rounds<'r, M: Run> {
    memory: &'r mut M,
    pages: &'r mut Pages,
    door: Option<&'r mut Door>,
    plan: Plan,
    costs: &'r mut Costs,
    /// Decides the order of service, if the plan wants one.
    random: u64,
}

/// Runs a launch in rounds until one has no faults, or nothing can be done about them.
///
/// `written` are positions of lends that the kernel writes to, as far as that can be told: their
/// pages come for writing at once.
///
/// # Errors
///
/// Why there is no result. Lent memory is then, at home or on the device, as it was before, unless
/// the kernel overwrites and the launch is not transactional.
pub(crate) fn launch<M: Run>(
    memory: &mut M,
    pages: &mut Pages,
    mut door: Option<&mut Door>,
    mut plan: Plan,
    written: &[usize],
    costs: &mut Costs,
) -> Result<(), Ended<M::Error>> {
    if pages.has_twins() && plan.replay == Replay::Overwrite {
        // What is written at one address may be read at another.
        plan.replay = Replay::Undo;
    }
    // A page that is brought in must find at home what the device has of it at another address.
    if plan.needs_home() || pages.has_twins() {
        flush(memory, pages, costs).map_err(Ended::Device)?;
    }
    pages.begin(written);
    let random = plan.service.map_or(0, |service| service.seed);
    let door_used = door.as_deref_mut();
    let mut rounds = Rounds { memory, pages, door: door_used, plan, costs, random };
    let result = rounds.until_clean();
    match result {
        Err(_) if plan.needs_home() => pages.discard(),
        _ if plan.replay != Replay::ReadOnly => pages.commit(),
        _ => {}
    }
    if let Some(door) = door {
        door.close(pages);
    }
    result
}

/// Writes home what the device has newer.
pub(crate) fn flush<M: Memory>(
    memory: &mut M,
    pages: &mut Pages,
    costs: &mut Costs,
) -> Result<(), M::Error> {
    let plan = pages.flush();
    memory.copy_home(&plan)?;
    costs.bytes_home += bytes(&plan);
    pages.flushed();
    Ok(())
}

fn bytes(plan: &[Copy]) -> u64 {
    plan.iter().map(|copy| copy.bytes).sum()
}

impl<M: Run> Rounds<'_, M> {
    fn until_clean(&mut self) -> Result<(), Ended<M::Error>> {
        let mut faulty = 0;
        for _ in 0..self.plan.max_rounds {
            let report = self.round()?;
            if report.total == 0 && report.cut == 0 && report.exhausted == 0 {
                match self.commit_door()? {
                    Change::Nothing => return Ok(()),
                    Change::Pages => self.undo()?,
                    Change::Raced(address) => return Err(Ended::Raced(address)),
                    Change::Unwritable(address, why) => {
                        return Err(Ended::Unwritable(address, why));
                    }
                }
            } else {
                self.undo()?;
                self.serve(&report, faulty)?;
                faulty += 1;
            }
            self.costs.undone += 1;
            if self.costs.faults > self.plan.max_faults {
                return Err(Ended::TooManyFaults);
            }
            if self.memory.is_overdue() {
                return Err(Ended::Deadline);
            }
        }
        Err(Ended::TooManyRounds)
    }

    fn round(&mut self) -> Result<Report, Ended<M::Error>> {
        let memory = &mut *self.memory;
        let upload = |address, words: &[u64]| memory.write(address, bytemuck::cast_slice(words));
        let table = self.pages.table.upload(upload).map_err(Ended::Device)?;
        let report = self.memory.run(&table).map_err(Ended::Device)?;
        self.costs.rounds += 1;
        self.costs.faults += report.total;
        Ok(report)
    }

    fn commit_door(&mut self) -> Result<Change, Ended<M::Error>> {
        let Some(door) = &mut self.door else {
            return Ok(Change::Nothing);
        };
        door.commit(self.memory, self.pages).map_err(Ended::Device)
    }

    /// Makes a round's writes undone.
    fn undo(&mut self) -> Result<(), Ended<M::Error>> {
        if self.plan.replay == Replay::Undo {
            let plan = self.pages.undo();
            self.memory.copy_in(&plan).map_err(Ended::Device)?;
            self.costs.bytes_in += bytes(&plan);
        }
        if let Some(door) = &mut self.door {
            door.undo(self.memory).map_err(Ended::Device)?;
        }
        Ok(())
    }

    /// Brings in what the round missed, or says why there is nothing to bring in.
    fn serve(&mut self, report: &Report, faulty: u32) -> Result<(), Ended<M::Error>> {
        let lacks = |missing: &&Missing| {
            let lend = &self.pages.lends()[missing.lend];
            lend.lacks(missing.page, missing.write)
        };
        let mut missed: Vec<Missing> = report.missing.iter().filter(lacks).copied().collect();
        self.reorder(&mut missed);
        self.pages.note_writes(&missed);
        let wanted = self.widen(&missed, faulty);
        let memory = &mut *self.memory;
        let frame = || memory.allocate(super::PAGE_BYTES);
        let plan = self.pages.serve(&wanted, frame).map_err(Ended::Device)?;
        self.memory.copy_in(&plan).map_err(Ended::Device)?;
        self.costs.bytes_in += bytes(&plan);
        let (opened, denied) = self.open(report, wanted.len(), faulty)?;
        self.costs.served += (wanted.len() + opened) as u64;
        if wanted.len() + opened > 0 {
            return Ok(());
        }
        let explained = |(fault, denial): (Fault, Option<Denial>)| {
            let door = self.door.as_deref_mut().zip(denial);
            let denial = door.map(|(door, denial)| door.explain(&fault, denial));
            Ended::Fault(fault, denial)
        };
        Err(match (denied.map(explained), report) {
            (Some(ended), _) => ended,
            (None, Report { cut: 1.., .. }) => Ended::Cut,
            (None, Report { exhausted: 1.., .. }) => Ended::Exhausted,
            (None, _) => Ended::NoProgress,
        })
    }

    fn widen(&mut self, missed: &[Missing], faulty: u32) -> Vec<Missing> {
        if self.plan.service.is_some() {
            return missed.to_vec();
        }
        let memory = &mut *self.memory;
        let mut look = |home: u64, bytes: &mut [u8]| memory.look(home, bytes);
        let look: Option<&mut prefetch::Look<'_>> =
            if self.plan.follows { Some(&mut look) } else { None };
        prefetch::widen(self.pages, missed, faulty, look)
    }

    /// Serves what the queue has of pages that are in no lend. Returns how many, and a fault that
    /// cannot be served.
    fn open(&mut self, report: &Report, served: usize, faulty: u32) -> Opened<M::Error> {
        let mut queue = report.faults.clone();
        self.shuffle(&mut queue);
        let pages = &*self.pages;
        let outside = |fault: &Fault| !fault.index && pages.find(fault.address).is_none();
        let (outside, inside): (Vec<Fault>, Vec<Fault>) = queue.into_iter().partition(outside);
        let refused = |queue: &[Fault]| queue.first().map(|&fault| (fault, None));
        let Some(door) = self.door.as_deref_mut() else {
            return Ok((0, refused(&inside).or(refused(&outside))));
        };
        let most = self.plan.service.map_or(usize::MAX, |service| service.most_per_round);
        let chased = match self.plan.service {
            None => CHASED.checked_shl(faulty.min(32)).unwrap_or(CHASED_MOST).min(CHASED_MOST),
            Some(_) => 0,
        };
        let most = most.saturating_sub(served);
        let opened =
            door.serve(&outside, most, chased, self.memory, self.pages).map_err(Ended::Device)?;
        let denied = opened.denied.map(|(fault, denial)| (fault, Some(denial)));
        // A page that the device has is no reason to fault on it.
        let misaligned = outside.first().map(|&fault| (fault, Some(Denial::Misaligned)));
        Ok((opened.pages, denied.or(refused(&inside)).or(misaligned)))
    }

    /// Shuffles and shortens what is served, if the plan says so.
    fn reorder(&mut self, missed: &mut Vec<Missing>) {
        if let Some(service) = self.plan.service {
            self.shuffle(missed);
            missed.truncate(service.most_per_round.max(1));
        }
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        if self.plan.service.is_none() {
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
