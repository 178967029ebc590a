//! The pages that a launch is known to touch before it runs. Pure.

use super::{PAGE_BYTES, pages::Pages, report::Missing};
use crate::{launch::control_block::pointer_at, lend::lends::Lends};
use farptr_hmm::{VaRange, VirtAddr};
use farptr_rewrite::{Footprint, Root, RootBytes};
use std::collections::BTreeMap;

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

fn behind(bytes: &RootBytes, push: &[u8], lends: &Lends) -> Vec<Stretch> {
    let root = bytes.root;
    let Root::Push { offset_bytes } = root;
    let address = pointer_at(push, offset_bytes);
    let Some(segment) = lends.of_pointer(VirtAddr::new(address)) else { return Vec::new() };
    let (first, end) = (segment.range.start().get(), segment.range.end().get());
    let writes = bytes.writes.is_some() && segment.writable;
    let parts = bytes.reads.into_iter().chain(bytes.writes);
    let within = parts.filter_map(|(start, stop)| {
        let at = |to: i64| {
            let at = i128::from(address) + i128::from(to);
            u64::try_from(at.clamp(first.into(), end.into())).ok()
        };
        let range = VaRange::new(VirtAddr::new(at(start)?), VirtAddr::new(at(stop)?))?;
        (!range.is_empty()).then_some(Stretch { range, writes })
    });
    within.collect()
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

#[cfg(test)]
#[path = "first_tests.rs"]
mod tests;
