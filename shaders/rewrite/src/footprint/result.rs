//! The footprint of a launch.

use crate::contract::analysis::{AccessKind, Check, Root, Site};
use crate::footprint::log::Entry;
use crate::footprint::mutant::{self, Mutant};
use crate::footprint::plan::Plan;
use crate::footprint::unknown::{Doubt, Unknown};

/// The bytes that a launch may touch, over all of its invocations.
///
/// What is not known is said to be so; everything else is a bound from above.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Footprint {
    /// The reach of each site, by its position in [`Analysis::sites`](crate::Analysis).
    pub sites: Vec<SiteReach>,
    /// The bytes behind each root, by the sites whose reach is known.
    pub roots: Vec<RootBytes>,
    /// How often the start of each loop runs each time that the loop is entered, in the order of
    /// the module's loops. A loop over `n` elements runs `n + 1` times, with the last test. `None`
    /// where it is not known.
    pub loops: Vec<Option<u64>>,
    /// How often the starts of all loops run in one invocation, together. `None` where it is not
    /// known.
    pub loop_runs: Option<u64>,
    /// The same for a driver that runs invocations in lockstep and ends their loops by one count.
    /// It passes once through a loop that none of them enters, and may make a loop of a selection:
    /// all selections of the kernel count as loops that run once.
    pub lockstep_runs: Option<u64>,
    /// Why nothing is known, if that is so.
    pub unknown: Option<Unknown>,
    /// The positions of the words of the push constants that this depends on, besides the grid.
    pub words_read: Vec<usize>,
}

/// The reach of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SiteReach {
    /// Bytes behind roots; none if it never runs.
    Bytes(Vec<Span>),
    /// An index into a variable of the kernel's own is within it.
    Within,
    /// It is not known.
    Unknown(Doubt),
}

impl SiteReach {
    /// Whether it is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }
}

/// Bytes behind a root: eight bytes of the push constants that the address is a sum of. They need
/// not be the address of an argument; a caller has to know that they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The root.
    pub root: Root,
    /// The distance of the first byte from the root. It may be before it.
    pub start_bytes: i64,
    /// The distance of the end.
    pub end_bytes: i64,
    /// The root has to be a multiple of this: the access is then. Nothing here says that it is.
    pub align_bytes: u32,
}

/// The bytes that may be touched behind a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RootBytes {
    /// The root.
    pub root: Root,
    /// First and end of the bytes that may be read, if any.
    pub reads: Option<(i64, i64)>,
    /// First and end of the bytes that may be written, if any.
    pub writes: Option<(i64, i64)>,
    /// The root has to be a multiple of this: all accesses are then.
    pub align_bytes: u32,
    /// First and end of bytes that are written, each of them, before a launch ends without a
    /// fault, and that none of its accesses behind this root reads. `None` where that is not
    /// shown, or was not asked for
    /// ([`Footprints::of_launch_with_overwritten`](crate::Footprints::of_launch_with_overwritten)).
    ///
    /// So what these bytes are before the launch does not count. A caller has to see to it that
    /// other roots do not lead to them, and that the launch was not cut short.
    pub overwritten: Option<(i64, i64)>,
}

/// The kind of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Access(AccessKind),
    OwnIndex,
}

impl Kind {
    pub(super) fn of(site: &Site) -> Self {
        match site.check {
            Check::Own => Self::OwnIndex,
            Check::Index(_) | Check::Address(_) => Self::Access(site.access),
        }
    }

    /// Whether it is an access that writes.
    pub(super) fn writes(&self) -> bool {
        matches!(self, Self::Access(access) if access.writes())
    }
}

impl Footprint {
    /// Whether every access is known to stay within bytes behind roots, and every index within the
    /// kernel's own variables. Accesses are aligned then if their roots are, as
    /// [`RootBytes::align_bytes`] says.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.sites.iter().all(SiteReach::is_known)
    }

    /// A launch that touches nothing.
    pub(super) fn empty(sites: &[Kind], loops: usize) -> Self {
        let nothing = |kind: &Kind| match kind {
            Kind::Access(_) => SiteReach::Bytes(Vec::new()),
            Kind::OwnIndex => SiteReach::Within,
        };
        Self {
            sites: sites.iter().map(nothing).collect(),
            roots: Vec::new(),
            loops: vec![Some(0); loops],
            loop_runs: Some(0),
            lockstep_runs: Some(0),
            unknown: None,
            words_read: Vec::new(),
        }
    }

    /// A launch that may touch anything.
    pub(super) fn unknown(sites: &[Kind], loops: usize, why: Unknown) -> Self {
        Self {
            sites: vec![SiteReach::Unknown(Doubt::Launch); sites.len()],
            loops: vec![None; loops],
            loop_runs: None,
            lockstep_runs: None,
            unknown: Some(why),
            ..Self::empty(&[], 0)
        }
    }

    /// The footprint that an evaluation has found.
    pub(super) fn of_log(log: &[Entry], sites: &[Kind], loops: usize, plan: &Plan) -> Self {
        if log.iter().any(|entry| matches!(entry, Entry::Undefined { .. })) {
            return Self::unknown(sites, loops, Unknown::Undefined);
        }
        let mut footprint = Self::empty(sites, loops);
        let mut runs = vec![Some(0); plan.loops.len()];
        for entry in log {
            match *entry {
                Entry::Access { site, place, bytes, align } => {
                    footprint.touch(site, place, bytes, align);
                }
                Entry::Index { site, within } => {
                    if let (Some(reach), Err(why)) = (footprint.sites.get_mut(site), within) {
                        *reach = SiteReach::Unknown(why);
                    }
                }
                Entry::Loop { which, runs: found } => runs[which] = found,
                Entry::Undefined { .. } => {}
            }
        }
        footprint.count(&runs, plan);
        footprint.sum_up(sites);
        footprint
    }

    fn touch(
        &mut self,
        site: usize,
        place: Result<(u32, i64, i64), Doubt>,
        bytes: u32,
        align_bytes: u32,
    ) {
        let Some(reach) = self.sites.get_mut(site) else { return };
        let bytes = if mutant::has(Mutant::FirstByteOnly) { 1 } else { bytes };
        let span = place.and_then(|(offset_bytes, first, last)| {
            let end_bytes = last.checked_add(bytes.into()).ok_or(Doubt::Unbounded)?;
            let root = Root::Push { offset_bytes };
            Ok(Span { root, start_bytes: first, end_bytes, align_bytes })
        });
        match (reach, span) {
            (SiteReach::Bytes(spans), Ok(span)) => {
                match spans.iter_mut().find(|known| known.root == span.root) {
                    Some(known) => {
                        known.start_bytes = known.start_bytes.min(span.start_bytes);
                        known.end_bytes = known.end_bytes.max(span.end_bytes);
                    }
                    None => spans.push(span),
                }
            }
            (reach, Err(why)) => *reach = SiteReach::Unknown(why),
            (_, Ok(_)) => {}
        }
    }

    /// The runs of loops: each by itself, and all of them in one invocation.
    fn count(&mut self, runs: &[Option<u64>], plan: &Plan) {
        self.lockstep_runs = lockstep_runs(runs, plan);
        let mut all = Some(0u64);
        for (which, found) in plan.loops.iter().enumerate() {
            let mut product = runs[which];
            let mut outer = found.outer.filter(|_| !mutant::has(Mutant::NestForgotten));
            // A loop that is never entered does not run, whatever is around it.
            while let Some(around) = outer.filter(|_| runs[which] != Some(0)) {
                product = product.zip(runs[around]).and_then(|(one, other)| one.checked_mul(other));
                outer = plan.loops[around].outer;
            }
            all = all.zip(product).and_then(|(one, other)| one.checked_add(other));
            if let Some(known) = found.number.and_then(|number| self.loops.get_mut(number)) {
                *known = known.zip(runs[which]).map(|(one, other)| one.max(other));
            }
        }
        self.loop_runs = all;
    }

    /// Adds the bytes behind roots that are overwritten, unless some are read.
    pub(super) fn add_overwritten(&mut self, all: &[(u32, (i64, i64))]) {
        for &(at, (start, end)) in all {
            let is_it = |of: &&mut RootBytes| of.root == Root::Push { offset_bytes: at };
            let Some(bytes) = self.roots.iter_mut().find(is_it) else { continue };
            let reads = bytes.reads.filter(|_| !mutant::has(Mutant::ReadIsForgotten));
            if reads.is_none_or(|reads| reads.1 <= start || end <= reads.0) {
                bytes.overwritten = Some((start, end));
            }
        }
    }

    /// Puts the sites of each root together.
    fn sum_up(&mut self, sites: &[Kind]) {
        for (reach, kind) in self.sites.iter().zip(sites) {
            let (SiteReach::Bytes(spans), Kind::Access(access)) = (reach, kind) else { continue };
            for span in spans {
                let at = self.roots.iter().position(|known| known.root == span.root);
                let at = at.unwrap_or_else(|| {
                    let (root, reads, writes, overwritten) = (span.root, None, None, None);
                    self.roots.push(RootBytes { root, reads, writes, align_bytes: 1, overwritten });
                    self.roots.len() - 1
                });
                let bytes = &mut self.roots[at];
                bytes.align_bytes = bytes.align_bytes.max(span.align_bytes);
                if *access != AccessKind::Write {
                    bytes.reads = Some(around(bytes.reads, span));
                }
                if access.writes() {
                    bytes.writes = Some(around(bytes.writes, span));
                }
            }
        }
    }
}

/// How often the starts of all loops run in lockstep, by how often each runs by itself.
fn lockstep_runs(runs: &[Option<u64>], plan: &Plan) -> Option<u64> {
    let mut all = 0u64;
    for (which, found) in plan.loops.iter().enumerate() {
        let (mut product, mut outer) = (runs[which]?.max(1), found.outer);
        while let Some(around) = outer {
            product = product.checked_mul(runs[around]?.max(1))?;
            outer = plan.loops[around].outer;
        }
        all = all.checked_add(product)?;
    }
    // A selection is in some loops, or in none.
    all.checked_add(plan.selections.checked_mul(all.checked_add(1)?)?)
}

fn around(known: Option<(i64, i64)>, span: &Span) -> (i64, i64) {
    let (start, end) = known.unwrap_or((span.start_bytes, span.end_bytes));
    (start.min(span.start_bytes), end.max(span.end_bytes))
}
