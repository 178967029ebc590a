//! The bytes that every launch that ends has written: a bound from below.
//!
//! A store counts if no invocation of a part of the grid ends without it, and its addresses there
//! are exactly known and leave no gap. `DESIGN.md`, "Overwritten bytes", says why that is so.

use crate::footprint::affine::{Sum, Sums};
use crate::footprint::launch::{Counts, Launch, Part, WordsRead};
use crate::footprint::log::Entry;
use crate::footprint::mutant::{self, Mutant};
use crate::footprint::plan::Plan;
use crate::footprint::run::Run;
use std::collections::HashMap;
use std::rc::Rc;

/// The most parts of a grid that are evaluated for a launch.
const MOST_PARTS: usize = 24;

/// Bytes behind a root: the first and the end.
type Bytes = (u32, (i64, i64));

/// A store by the first invocations of a grid.
#[derive(Clone, Copy, Debug)]
struct Store {
    counts: Counts,
    sum: Sum,
    bytes: i128,
}

/// Finds the bytes that a launch overwrites, from its evaluation: at most one range for each root.
/// Returns how much
/// more work that took, too.
pub(super) fn overwritten(plan: &Plan, run: &Run<'_>, read: &mut WordsRead) -> (Vec<Bytes>, u32) {
    let launch = run.launch;
    let mut stores: Vec<Store> = Vec::new();
    let mut ways = Parts::default();
    for &(block, counts) in &run.stores {
        let touches = plan.blocks[block].acts.accesses.iter();
        let mut sums = Sums::new(&plan.graph, launch, read);
        let found: Vec<Store> = touches
            .filter(|touch| touch.is_whole)
            .filter_map(|touch| {
                let sum = sums.of(touch.address?).filter(|sum| sum.root.is_some())?;
                Some(Store { counts, sum, bytes: touch.bytes.into() })
            })
            .collect();
        if !found.is_empty() && always_reaches(plan, &launch, read, &mut ways, (block, counts)) {
            stores.extend(found);
        }
    }
    let mut all: Vec<Bytes> = Vec::new();
    for store in side_by_side(stores) {
        if let (Some(root), Some(range)) = (store.sum.root, store.range(&launch)) {
            add(&mut all, root, range);
        }
    }
    (all, ways.work)
}

/// The parts of a grid that were evaluated.
#[derive(Debug, Default)]
struct Parts {
    /// The ways that invocations of each may take. `None` if that is not known.
    ways: HashMap<Part, Option<Rc<[bool]>>>,
    work: u32,
}

/// Whether none of the first invocations of a grid ends without coming to a block.
fn always_reaches(
    plan: &Plan,
    launch: &Launch<'_>,
    read: &mut WordsRead,
    known: &mut Parts,
    (block, counts): (usize, Counts),
) -> bool {
    parts(launch, counts).into_iter().all(|part| {
        if !known.ways.contains_key(&part) && known.ways.len() < MOST_PARTS {
            let found = evaluated(plan, Launch { part, ..*launch }, read, &mut known.work);
            known.ways.insert(part, found);
        }
        let ways = known.ways.get(&part).and_then(Option::as_ref);
        ways.is_some_and(|ways| !ends_without(plan, ways, block))
    })
}

/// The parts of a grid that its first invocations are: along each axis whole workgroups, and the
/// first invocations of one more.
fn parts(launch: &Launch<'_>, counts: Counts) -> Vec<Part> {
    let all = Part::of_grid(launch.groups, launch.local_size);
    let mut parts = vec![all];
    for (axis, count) in counts.into_iter().enumerate() {
        // Of a mutant the last of them is not looked at.
        let count = count - u64::from(mutant::has(Mutant::OneMoreWrites));
        let size = launch.local_size[axis].max(1);
        let groups = u32::try_from(count / u64::from(size)).unwrap_or(u32::MAX);
        let rest = u32::try_from(count % u64::from(size)).unwrap_or_default();
        let along = |groups, locals| {
            let mut parts = parts.clone();
            parts.iter_mut().for_each(|part| {
                (part.groups[axis], part.locals[axis]) = (groups, locals);
            });
            parts
        };
        let whole = if groups > 0 { along((0, groups), (0, size)) } else { Vec::new() };
        let last = if rest > 0 { along((groups, groups + 1), (0, rest)) } else { Vec::new() };
        parts = [whole, last].concat();
    }
    parts
}

/// The ways that invocations of a part of a grid may take.
fn evaluated(
    plan: &Plan,
    launch: Launch<'_>,
    read: &mut WordsRead,
    work: &mut u32,
) -> Option<Rc<[bool]>> {
    let mut run = Run::new(plan, launch);
    run.read = std::mem::take(read);
    let ended = run.steps(0, plan.steps.len());
    let is_defined = !run.log.iter().any(|entry| matches!(entry, Entry::Undefined { .. }));
    *work = work.saturating_add(run.work());
    *read = run.read;
    (ended.is_ok() && is_defined).then(|| run.taken.into())
}

/// Whether an invocation that takes some of these ways may end without coming to a block.
fn ends_without(plan: &Plan, taken: &[bool], block: usize) -> bool {
    if mutant::has(Mutant::SkippedStore) {
        return false;
    }
    let mut seen = vec![false; plan.blocks.len()];
    let mut open = vec![0];
    while let Some(at) = open.pop() {
        if at == block || std::mem::replace(&mut seen[at], true) {
            continue;
        }
        let outs = &plan.blocks[at].outs;
        if outs.is_empty() {
            return true;
        }
        let ways = outs.iter().filter(|&&edge| taken[edge]);
        open.extend(ways.map(|&edge| plan.edges[edge].to));
    }
    false
}

/// Stores with neighbours by the same invocations put together.
fn side_by_side(mut stores: Vec<Store>) -> Vec<Store> {
    stores.sort_by_key(|store| (store.sum.root, store.counts, store.sum.times, store.sum.number));
    let mut all: Vec<Store> = Vec::new();
    for store in stores {
        match all.last_mut() {
            Some(last)
                if (last.counts, last.sum.root, last.sum.times)
                    == (store.counts, store.sum.root, store.sum.times)
                    && store.sum.number <= last.sum.number + last.bytes =>
            {
                let end = store.sum.number + store.bytes;
                last.bytes = last.bytes.max(end - last.sum.number);
            }
            _ => all.push(store),
        }
    }
    all
}

impl Store {
    /// The bytes that it writes, if they leave no gap.
    fn range(&self, launch: &Launch<'_>) -> Option<(i64, i64)> {
        let mut steps: Vec<(i128, u64)> = Vec::new();
        for axis in 0..3 {
            let (by_group, by_local) = (self.sum.times[axis], self.sum.times[3 + axis]);
            let size = u64::from(launch.local_size[axis]);
            let count = self.counts[axis];
            // The first invocations of all, counted through the workgroups, or whole workgroups.
            if size == 1 || launch.groups[axis] == 1 {
                steps.push((if size == 1 { by_group } else { by_local }, count));
            } else if by_group == by_local * i128::from(size) {
                steps.push((by_local, count));
            } else {
                steps.extend([(by_group, count / size), (by_local, size)]);
            }
        }
        if steps.iter().any(|(_, count)| *count == 0) {
            return None;
        }
        steps.retain(|(step, count)| *step != 0 && *count > 1);
        steps.sort_by_key(|(step, _)| step.abs());
        let (mut start, mut length) = (self.sum.number, self.bytes);
        for (step, count) in steps {
            if step.abs() > length && !mutant::has(Mutant::GapsAreWritten) {
                return None;
            }
            let last = step.checked_mul(i128::from(count - 1))?;
            start = start.checked_add(last.min(0))?;
            length = length.checked_add(last.abs())?;
        }
        Some((i64::try_from(start).ok()?, i64::try_from(start.checked_add(length)?).ok()?))
    }
}

/// Adds bytes to those of a root: a neighbour makes them more, and of others the most stay.
fn add(all: &mut Vec<Bytes>, root: u32, (start, end): (i64, i64)) {
    let Some((_, known)) = all.iter_mut().find(|known| known.0 == root) else {
        return all.push((root, (start, end)));
    };
    if start <= known.1 && known.0 <= end {
        *known = (known.0.min(start), known.1.max(end));
    } else if end - start > known.1 - known.0 {
        *known = (start, end);
    }
}
