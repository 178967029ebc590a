//! The pages that a launch is known to touch before it runs. Pure.

use super::{PAGE_BYTES, lend_pages::pages_of, pages::Pages, report::Missing};
use crate::{
    launch::control_block::pointer_at,
    lend::lends::{Lends, Segment},
};
use farptr_hmm::{VaRange, VirtAddr};
use farptr_rewrite::{Analysis, Check, Footprint, Root, RootBytes};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Lent bytes that a launch may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) range: VaRange,
    /// Whether the launch may write some of them.
    pub(crate) writes: bool,
}

/// The lent bytes behind the arguments of a launch, as far as its footprint knows them. What it
/// would touch outside of an argument's lend is left out.
pub(crate) fn stretches(footprint: &Footprint, push: &[u8], lends: &Lends) -> Vec<Stretch> {
    footprint.roots.iter().flat_map(|root| behind(root, push, lends)).collect()
}

/// How many times the pages that a kernel missed once a lend may have, to come as a whole.
const MORE: usize = 4;

/// The whole lends that arguments lead to behind which something is not known of this launch, if
/// launches have missed half of such a lend: `gathered` says how many pages.
pub(crate) fn gathered(
    footprint: &Footprint,
    analysis: &Analysis,
    push: &[u8],
    lends: &Lends,
    gathered: impl Fn(usize) -> usize,
) -> Vec<Stretch> {
    let unknown = analysis.sites.iter().zip(&footprint.sites).filter_map(|(site, reach)| {
        let Check::Index(check) = site.check else { return None };
        (!reach.is_known()).then(|| analysis.index_checks.get(check).map(|check| check.root))?
    });
    let roots: BTreeSet<usize> = unknown.collect();
    let lend = |root: usize| {
        let (_, segment) = led_to(*analysis.roots.get(root)?, push, lends)?;
        let comes = pages_of(segment.range) <= gathered(root).saturating_mul(MORE);
        comes.then_some(Stretch { range: segment.range, writes: false })
    };
    roots.into_iter().filter_map(lend).filter(|stretch| !stretch.range.is_empty()).collect()
}

fn behind(bytes: &RootBytes, push: &[u8], lends: &Lends) -> Vec<Stretch> {
    let Some((address, segment)) = led_to(bytes.root, push, lends) else { return Vec::new() };
    let writes = bytes.writes.is_some() && segment.writable;
    let parts = bytes.reads.into_iter().chain(bytes.writes);
    let within =
        parts.filter_map(|part| Some(Stretch { range: within(segment, address, part)?, writes }));
    within.collect()
}

/// The address that an argument has, and the segment that it leads to.
fn led_to<'l>(root: Root, push: &[u8], lends: &'l Lends) -> Option<(u64, &'l Segment)> {
    let Root::Push { offset_bytes } = root;
    let address = pointer_at(push, offset_bytes);
    Some((address, lends.of_pointer(VirtAddr::new(address))?))
}

/// Those of some bytes behind an address that a segment has, if there are any.
fn within(segment: &Segment, address: u64, (start, stop): (i64, i64)) -> Option<VaRange> {
    let (first, end) = (segment.range.start().get(), segment.range.end().get());
    let at = |to: i64| {
        let at = i128::from(address) + i128::from(to);
        u64::try_from(at.clamp(first.into(), end.into())).ok()
    };
    let range = VaRange::new(VirtAddr::new(at(start)?), VirtAddr::new(at(stop)?))?;
    (!range.is_empty()).then_some(range)
}

/// Lent bytes that a launch overwrites before it ends, and those that it may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overwritten {
    written: Vec<VaRange>,
    read: Vec<VaRange>,
}

impl Overwritten {
    /// From a footprint with overwritten bytes, which there are only if all accesses are known.
    pub(crate) fn of(footprint: &Footprint, push: &[u8], lends: &Lends) -> Self {
        let mut found = Self::default();
        for root in &footprint.roots {
            let Some((address, segment)) = led_to(root.root, push, lends) else { continue };
            let part = |bytes: Option<(i64, i64)>| within(segment, address, bytes?);
            found.written.extend(part(root.overwritten).filter(|_| segment.writable));
            found.read.extend(part(root.reads));
        }
        found
    }

    /// Whether the launch overwrites all of some lent bytes, and reads none of them: so it does
    /// not count what they are before.
    fn has(&self, bytes: &Range<u64>) -> bool {
        let (start, end) = (VirtAddr::new(bytes.start), VirtAddr::new(bytes.end));
        let is_read = |read: &VaRange| read.start() < end && start < read.end();
        self.written.iter().any(|of| of.start() <= start && end <= of.end())
            && !self.read.iter().any(is_read)
    }
}

/// The pages of these bytes that the device lacks, each once: of lends whose frames it has set
/// aside. Those of others, which are more than its budget, come on demand.
///
/// Pages of a lend that comes whole come with permission to write where there is one, also if the
/// launch only reads them: without it the lend is not resident.
pub(super) fn missing(pages: &Pages, stretches: &[Stretch]) -> Vec<Missing> {
    let mut wanted = BTreeMap::new();
    for &Stretch { range, writes } in stretches {
        let Some((lend, first)) = pages.find(range.start().get()) else { continue };
        let of = &pages.lends()[lend];
        if of.run_start().is_none() {
            continue;
        }
        let write = of.writable() && (writes || range == of.range());
        let last = (range.end().get() - 1) / PAGE_BYTES - of.first_page();
        for page in first..=last as usize {
            if of.lacks(page, write) {
                *wanted.entry((lend, page)).or_insert(false) |= write;
            }
        }
    }
    wanted.into_iter().map(|((lend, page), write)| Missing { lend, page, write }).collect()
}

/// Pages apart by whether they are to be copied in; behind them those that a launch overwrites.
pub(super) fn parted(
    pages: &Pages,
    missing: Vec<Missing>,
    overwritten: &Overwritten,
) -> (Vec<Missing>, Vec<Missing>) {
    missing.into_iter().partition(|&Missing { lend, page, write }| {
        !write || !overwritten.has(&pages.lends()[lend].lent_bytes(page))
    })
}

#[cfg(test)]
#[path = "first_tests.rs"]
mod tests;
