//! Whether a launch needs checks: its footprint, compared with the lends and with the time that it
//! may take. Pure.
//!
//! A launch is proved if its footprint says of every access which bytes it may touch, and of all
//! loops how often they run. `DESIGN.md`, "Launches without checks", has the argument; each step
//! here is one of its conditions.

use super::{
    control_block::{self, pointer_at},
    order::{Touch, Touches},
    wait::PATIENCE,
};
use crate::lend::lends::{Lends, Segment};
use farptr_hmm::VirtAddr;
use farptr_rewrite::{
    Analysis, Check, Footprint, Proved, Root, RootBytes, SiteReach, Unknown,
    control::{PAGE_BYTES, REPORT_RUNS},
};
use smallvec::SmallVec;
use std::{fmt, time::Duration};

/// Why the kernel's own words do not run for a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unproved {
    /// Proofs are switched off, for the runtime or for this launch.
    Off,
    /// Nothing is known of the launch.
    Launch(Unknown),
    /// It is not known what this many of its accesses touch, or of indices into own arrays.
    Accesses {
        /// How many.
        count: usize,
    },
    /// An argument's bytes are not all lent, or not for writing, or it is not aligned.
    Argument {
        /// The byte of the push constants at which the argument begins.
        offset_bytes: u32,
        /// What is wrong with it.
        why: NotLent,
    },
    /// It is not known how often a loop runs.
    Loops,
    /// Loops may run more often than the launch, or the driver, allows an invocation.
    LoopLimit {
        /// How often they may run.
        runs: u64,
        /// How often they would have to run less.
        limit: u64,
    },
    /// The driver ends loops by a count that all invocations of a vector share, also those that are
    /// not there: the workgroup is no multiple of 16 along x.
    IdleLanes,
    /// At the measured speed of the device, and with all that can delay it, it might not end in the
    /// time that it is allowed.
    Time {
        /// The most that it takes at that speed.
        most: Duration,
        /// The time that it is allowed.
        allowed: Duration,
    },
    /// The device works on copies, and does not have those of an argument's lend as a whole. The
    /// next launch brings them first if there is memory for them, and may be proved then.
    Absent {
        /// The byte of the push constants at which the argument begins.
        offset_bytes: u32,
    },
    /// It runs in rounds, because a lend that it may reach is not on the device as a whole.
    Rounds,
    /// The device has an argument's bytes at an address that cannot stand for the host's: the
    /// kernel uses that as more than the base of accesses, or the two are not equally aligned.
    Elsewhere {
        /// The byte of the push constants at which the argument begins.
        offset_bytes: u32,
    },
    /// It is transactional, or the memory of the process is lent: it runs by itself.
    Alone,
    /// It follows a launch of the scope that may fail, and has to look whether it did.
    Behind,
    /// The driver does not take the kernel's own words, or its checked form cannot be made.
    Form,
}

/// What keeps the bytes behind an argument from being proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotLent {
    /// It points into no lend.
    Nowhere,
    /// Some bytes are outside of the lend that it points into.
    Outside,
    /// It may be written, and is lent for reading.
    ReadOnly,
    /// It is not a multiple of the alignment that its accesses have.
    Misaligned,
}

impl Unproved {
    /// What its user can do about it, if that is not plain from the reason.
    pub(super) fn advice(&self) -> Option<&'static str> {
        Some(match self {
            Self::Accesses { .. } => {
                "let indices depend on arguments and invocations alone, and compare each with a \
                 length before its use; what memory holds may be cut off, as by `& mask` or `min`"
            }
            Self::Loops => {
                "let each loop count, by a step that is not 0, to a bound that arguments decide"
            }
            Self::LoopLimit { .. } => "raise the limit, or give each invocation less to do",
            Self::IdleLanes => "use a workgroup of a multiple of 16 invocations along x",
            Self::Time { .. } => "allow more time, or launch parts",
            Self::Argument { why: NotLent::ReadOnly, .. } => "lend it with `lend_mut`",
            Self::Argument { why: NotLent::Nowhere | NotLent::Outside, .. } => {
                "lend all that the lines above name, or pass a smaller length"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Unproved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("proofs are switched off"),
            Self::Launch(why) => write!(f, "nothing is known of it: {why}"),
            Self::Accesses { count: 1 } => f.write_str("it is not known what an access touches"),
            Self::Accesses { count } => {
                write!(f, "it is not known what {count} of its accesses touch")
            }
            Self::Argument { offset_bytes, why } => {
                write!(f, "the argument at byte {offset_bytes} of the push constants {why}")
            }
            Self::Loops => f.write_str("it is not known how often a loop runs"),
            Self::LoopLimit { runs, limit } => {
                write!(f, "loops may run {runs} times in an invocation, and the limit is {limit}")
            }
            Self::IdleLanes => f.write_str(
                "the driver cuts loops, and the workgroup is no multiple of 16 invocations along x",
            ),
            Self::Time { most, allowed } => write!(
                f,
                "in the worst case it may take {most:.1?}, and it is allowed {allowed:.1?}"
            ),
            Self::Elsewhere { offset_bytes } => write!(
                f,
                "the device has the bytes of the argument at byte {offset_bytes} of the push \
                 constants at an address that cannot stand for the host's"
            ),
            Self::Absent { offset_bytes } => write!(
                f,
                "the device does not have the lend of the argument at byte {offset_bytes} of the \
                 push constants as a whole yet"
            ),
            Self::Rounds => {
                f.write_str("it runs in rounds: a lend is not on the device as a whole")
            }
            Self::Alone => f.write_str("it is transactional, or the memory of the process is lent"),
            Self::Behind => f.write_str("it follows a launch that may fail"),
            Self::Form => f.write_str("the driver does not take the kernel's own words"),
        }
    }
}

impl fmt::Display for NotLent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nowhere => "points into no lend",
            Self::Outside => "may be followed out of its lend",
            Self::ReadOnly => "may be written, and is lent for reading",
            Self::Misaligned => "is not aligned",
        })
    }
}

/// Push constants.
pub(crate) type Push = SmallVec<[u8; 128]>;

/// The arguments that the device has at other addresses.
type Moves = SmallVec<[Move; 4]>;

/// An argument of which the device's address stands for the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Move {
    /// The byte of the push constants at which its eight bytes begin.
    at: usize,
    /// The device's.
    address: u64,
}

/// The memory that the arguments of a launch lead to.
#[derive(Clone, Copy)]
pub(crate) struct Memory<'m> {
    pub(crate) analysis: &'m Analysis,
    /// Those of the analysis, looked up.
    pub(crate) roots: &'m [control_block::Root],
    pub(crate) push: &'m [u8],
    pub(crate) lends: &'m Lends,
}

impl Memory<'_> {
    /// The address that a root leads to, and its lend.
    fn root(&self, root: Root) -> (u64, Option<Segment>) {
        let known = self.analysis.roots.iter().zip(self.roots);
        if let Some((_, found)) = known.into_iter().find(|(known, _)| **known == root) {
            return (found.address, found.segment);
        }
        // The checks go by its address, so it was not looked up for them.
        let Root::Push { offset_bytes } = root;
        let address = pointer_at(self.push, offset_bytes);
        (address, self.lends.of_pointer(VirtAddr::new(address)).copied())
    }
}

/// The proof that a launch touches lent bytes alone. There is none without [`Proof::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    moves: Moves,
    /// Why the device's addresses cannot stand for the host's, if that is so.
    elsewhere: Option<Unproved>,
    touched: Touches,
    is_private: bool,
}

impl Proof {
    /// Compares the bytes that a launch touches with the lends that its arguments lead to.
    pub(crate) fn new(footprint: &Footprint, memory: Memory<'_>) -> Result<Self, Unproved> {
        if let Some(why) = footprint.unknown {
            return Err(Unproved::Launch(why));
        }
        let unknown = footprint.sites.iter().filter(|site| !site.is_known()).count();
        if unknown > 0 {
            return Err(Unproved::Accesses { count: unknown });
        }
        let (moves, touched) = (Moves::new(), Touches::new());
        let mut proof = Self { moves, elsewhere: None, touched, is_private: true };
        for root in &footprint.roots {
            proof.add(&root.into(), memory)?;
        }
        Ok(proof)
    }

    /// Adds the bytes behind a root.
    fn add(&mut self, behind: &Behind, memory: Memory<'_>) -> Result<(), Unproved> {
        let (address, lend) = lent(behind, memory)?;
        match moved(behind, address, &lend, memory.analysis) {
            Ok(None) => {}
            Ok(Some(of_this)) => self.moves.push(of_this),
            Err(why) => _ = self.elsewhere.get_or_insert(why),
        }
        self.is_private &= lend.private == Some(true);
        for (part, writes) in [(behind.reads, false), (behind.writes, true)] {
            // Within a lend, so that both are addresses.
            let at = |to: i64| address.wrapping_add_signed(to);
            let bytes = part.map_or(0..0, |(start, stop)| at(start)..at(stop));
            if !bytes.is_empty() {
                self.touched.push(Touch { bytes, writes });
            }
        }
        Ok(())
    }

    /// The push constants with which the kernel's own words reach all of it: the device's addresses
    /// stand for the host's.
    pub(crate) fn push(&self, push: &[u8]) -> Result<Push, Unproved> {
        if let Some(why) = &self.elsewhere {
            return Err(why.clone());
        }
        let mut push = Push::from_slice(push);
        for &Move { at, address } in &self.moves {
            push[at..at + size_of::<u64>()].copy_from_slice(&address.to_le_bytes());
        }
        Ok(push)
    }

    /// The bytes that the launch may touch, and no others.
    pub(crate) fn touched(&self) -> &[Touch] {
        &self.touched
    }

    /// Whether it is known that no other address leads to the lends that they are in.
    pub(crate) fn is_private(&self) -> bool {
        self.is_private
    }
}

/// The time in which a card reads from memory of the host, as long as such things take.
const FAR: Duration = Duration::from_micros(2);
/// The time in which a page of a file comes from a disk that has to seek.
const PAGE: Duration = Duration::from_millis(10);

/// Invocations along x that a driver which cuts loops runs in lockstep at most: llvmpipe has
/// vectors of up to 512 bits.
const LANES: u32 = 16;

/// What an invocation may run, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Passes through loops after which an invocation is ended, by the launch's options.
    pub(crate) loop_limit: u32,
    /// After how many the driver ends its loops, if it does.
    pub(crate) cut_after: Option<u32>,
    /// Passes through a short loop that an invocation made in a second.
    pub(crate) passes_per_second: u64,
    /// Whether the device is a processor.
    pub(crate) is_processor: bool,
    /// The time of the launch.
    pub(crate) allowed: Duration,
}

/// How large a launch is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) groups: [u32; 3],
    pub(crate) local_size: [u32; 3],
    /// Operations of an invocation for each pass through a loop, at most, and as many besides.
    pub(crate) operations: u64,
    /// Pages that are touched.
    pub(crate) pages: u64,
}

/// Bytes behind a root that may be read and written.
struct Behind {
    root: Root,
    reads: Option<(i64, i64)>,
    writes: Option<(i64, i64)>,
    align_bytes: u32,
}

impl From<&RootBytes> for Behind {
    fn from(bytes: &RootBytes) -> Self {
        let &RootBytes { root, reads, writes, align_bytes, .. } = bytes;
        Self { root, reads, writes, align_bytes }
    }
}

/// The pages between the first and the last byte, at most.
fn most_pages(bytes: &Behind) -> u64 {
    let parts = || bytes.reads.into_iter().chain(bytes.writes);
    let start = parts().map(|(start, _)| start).min().unwrap_or(0);
    let stop = parts().map(|(_, stop)| stop).max().unwrap_or(0);
    stop.abs_diff(start) / PAGE_BYTES + 2
}

/// The address that a root leads to, and the lend that has all bytes behind it.
fn lent(bytes: &Behind, memory: Memory<'_>) -> Result<(u64, Segment), Unproved> {
    let root = bytes.root;
    let Root::Push { offset_bytes } = root;
    let no = |why| Unproved::Argument { offset_bytes, why };
    let (address, segment) = memory.root(root);
    let segment = segment.ok_or(no(NotLent::Nowhere))?;
    if !address.is_multiple_of(bytes.align_bytes.max(1).into()) {
        return Err(no(NotLent::Misaligned));
    }
    if bytes.writes.is_some() && !segment.writable {
        return Err(no(NotLent::ReadOnly));
    }
    // The address is in the lend, or is its end.
    let before = address.saturating_sub(segment.range.start().get());
    let behind = segment.range.end().get().saturating_sub(address);
    for (start, stop) in [bytes.reads, bytes.writes].into_iter().flatten() {
        let is_before = start < 0 && start.unsigned_abs() > before;
        if is_before || u64::try_from(stop).is_ok_and(|stop| stop > behind) {
            return Err(no(NotLent::Outside));
        }
    }
    Ok((address, segment))
}

/// How an argument whose bytes are all [`lent`] reaches them on the device; nothing if it does as
/// it is.
fn moved(
    behind: &Behind,
    address: u64,
    lend: &Segment,
    analysis: &Analysis,
) -> Result<Option<Move>, Unproved> {
    let root = behind.root;
    let Root::Push { offset_bytes } = root;
    let Some(delta) = lend.delta else { return Err(Unproved::Absent { offset_bytes }) };
    if delta == 0 {
        return Ok(None);
    }
    let is_aligned = delta.is_multiple_of(behind.align_bytes.max(1).into());
    if !is_aligned || !analysis.is_only_base(root) {
        return Err(Unproved::Elsewhere { offset_bytes });
    }
    Ok(Some(Move { at: offset_bytes as usize, address: address.wrapping_add(delta) }))
}

/// What of a launch need not be checked while it runs. `ends` says that its loops need no limit.
pub(crate) fn known(footprint: &Footprint, memory: Memory<'_>, ends: bool) -> Proved {
    let analysis = memory.analysis;
    let mut proved = Proved { own: true, loops: ends, ..Proved::NOTHING };
    let all = analysis.index_checks.len().min(Proved::MOST_CHECKS);
    proved = (0..all).fold(proved, Proved::with_check);
    for (site, reach) in analysis.sites.iter().zip(&footprint.sites) {
        match site.check {
            Check::Own => proved.own &= *reach == SiteReach::Within,
            Check::Index(at) => {
                let root = analysis.index_checks.get(at).and_then(|of| analysis.roots.get(of.root));
                let writes = site.access.writes();
                if !root.is_some_and(|root| is_lent(reach, root, writes, memory)) {
                    proved = proved.without_check(at);
                }
            }
            Check::Address(_) => {}
        }
    }
    if footprint.unknown.is_some() { Proved::NOTHING } else { proved }
}

/// Whether all that a site touches is behind one root and in the lend that this points into.
fn is_lent(reach: &SiteReach, root: &Root, writes: bool, memory: Memory<'_>) -> bool {
    let SiteReach::Bytes(spans) = reach else { return false };
    spans.iter().all(|span| {
        let bytes = Some((span.start_bytes, span.end_bytes));
        let (reads, writes) = if writes { (None, bytes) } else { (bytes, None) };
        let behind = Behind { root: span.root, reads, writes, align_bytes: span.align_bytes };
        let is_reached = |(_, segment): (u64, Segment)| segment.delta.is_some();
        span.root == *root && lent(&behind, memory).is_ok_and(is_reached)
    })
}

/// The pages behind arguments that a launch may touch, as far as it is known, or more.
pub(crate) fn pages(footprint: &Footprint) -> u64 {
    footprint.roots.iter().map(|root| most_pages(&root.into())).fold(0, u64::saturating_add)
}

/// Whether every invocation, and the launch, ends by itself before anybody would end it; and the
/// most that this takes.
pub(crate) fn ends(
    footprint: &Footprint,
    size: &Size,
    limits: &Limits,
) -> Result<Duration, Unproved> {
    let runs = loops_end(footprint, size, limits)?;
    let most = time(runs, size, limits);
    if most > limits.allowed {
        return Err(Unproved::Time { most, allowed: limits.allowed });
    }
    Ok(most)
}

/// Whether the loops of a launch need no limit: workgroups that have not begun are kept from it
/// when its time is over, and those that have end by themselves in [`PATIENCE`] times that. On a
/// card all of them have to.
pub(crate) fn workgroups_end(footprint: &Footprint, size: &Size, limits: &Limits) -> bool {
    // The report is a loop, too.
    let report = |after: u32| after.saturating_sub(REPORT_RUNS);
    let limits = Limits { cut_after: limits.cut_after.map(report), ..*limits };
    let Ok(runs) = loops_end(footprint, size, &limits) else { return false };
    // That workgroups of a card see the word was not tried.
    let groups = if limits.is_processor { [1, 1, 1] } else { size.groups };
    // Each access that is not known may lead to a page of its own.
    let unknown = footprint.sites.iter().filter(|site| !site.is_known()).count() as u64;
    let invocations = size.local_size.into_iter().map(u64::from).fold(1, u64::saturating_mul);
    let each = runs.saturating_add(1).saturating_mul(unknown);
    let pages = size.pages.saturating_add(invocations.saturating_mul(each));
    let most = time(runs, &Size { groups, pages, ..*size }, &limits);
    most <= limits.allowed.saturating_mul(PATIENCE)
}

/// How often loops run, if that is known and nobody ends them before.
fn loops_end(footprint: &Footprint, size: &Size, limits: &Limits) -> Result<u64, Unproved> {
    let runs = footprint.loop_runs.ok_or(Unproved::Loops)?;
    let below = |runs: u64, limit: u64| {
        if runs < limit { Ok(()) } else { Err(Unproved::LoopLimit { runs, limit }) }
    };
    below(runs, limits.loop_limit.into())?;
    if let Some(after) = limits.cut_after.filter(|_| !footprint.loops.is_empty()) {
        // Invocations that are not there, since a vector has more, run loops of any length.
        if !size.local_size[0].is_multiple_of(LANES) {
            return Err(Unproved::IdleLanes);
        }
        // A driver's count may include a pass that ours does not.
        below(footprint.lockstep_runs.ok_or(Unproved::Loops)?, u64::from(after).saturating_sub(1))?;
    }
    Ok(runs)
}

/// The time of a launch whose invocations run one after the other, each operation as slowly as a
/// whole pass through the loop that was measured, or as an access of a card to memory of the host;
/// where the device is a processor, each page that is touched is first read from a disk.
fn time(runs: u64, size: &Size, limits: &Limits) -> Duration {
    let numbers = size.groups.into_iter().chain(size.local_size).map(u128::from);
    let invocations = numbers.fold(1, u128::saturating_mul);
    let each = (u128::from(runs) + 1).saturating_mul(size.operations.into());
    let operations = invocations.saturating_mul(each);
    let pass = 1_000_000_000u64.div_ceil(limits.passes_per_second.max(1));
    let (operation, page) = if limits.is_processor {
        (Duration::from_nanos(pass), PAGE)
    } else {
        (Duration::from_nanos(pass).max(FAR), Duration::ZERO)
    };
    let all = operations.saturating_mul(operation.as_nanos());
    let all = all.saturating_add(u128::from(size.pages).saturating_mul(page.as_nanos()));
    Duration::from_nanos(u64::try_from(all).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
