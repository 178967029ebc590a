//! The host memory that a scope has imported.
//!
//! # Safety
//!
//! The scope keeps the memory borrowed, and waits for its launches before the imports go.
#![allow(unsafe_code, reason = "it imports memory, with the argument above")]

use crate::{
    LendError,
    stats::Counters,
    vk::{Device, import::HostImport},
};
use farptr_hmm::{PageSize, VaRange, VirtAddr};
use std::collections::BTreeMap;

/// The imports of a scope.
#[derive(Default)]
pub(crate) struct Imports {
    list: Vec<HostImport>,
    /// Stretches of pages with one distance from host address to device address: from the start to
    /// the end and the distance. No stretch lies within another, so only the last stretch that
    /// starts at or before a page can contain it.
    stretches: BTreeMap<VirtAddr, (VirtAddr, u64)>,
}

impl Imports {
    /// Imports the pages that cover a range, unless an earlier import covers them, and gives what
    /// is to be added to a host address to get the device address; nothing where the device does
    /// not see the pages as one range.
    ///
    /// With `identity`, device addresses must equal host addresses.
    ///
    /// # Safety
    ///
    /// The range is not empty and stays mapped until this value was dropped; no pending command
    /// uses the imports then.
    pub(crate) unsafe fn import(
        &mut self,
        device: &Device,
        range: VaRange,
        identity: bool,
    ) -> Result<Option<u64>, LendError> {
        let no_type = LendError::NoMemoryType { range };
        let granule = device.info.import_alignment.and_then(PageSize::new).ok_or(no_type)?;
        let pages = range.pages_covering(granule);
        let before = self.stretches.range(..=pages.start()).next_back();
        if let Some((_, &(end, delta))) = before
            && end >= pages.end()
        {
            return Ok(Some(delta));
        }
        let first = self.list.len();
        let limit = device.info.limits.allocation_bytes;
        // SAFETY: the caller's promise; pieces are within the allocation limit.
        let mut done = unsafe { self.import_all(device, pieces(pages, limit, granule), identity) };
        if done.is_err() && pages.len_bytes() >= limit {
            // Some drivers refuse an import of exactly the limit's length.
            let halves = pieces(pages, limit / 2, granule);
            // SAFETY: as above.
            done = unsafe { self.import_all(device, halves, identity) };
        }
        done?;
        let count = pages.page_count(PageSize::host()).get();
        Counters::add(&device.counters.pages_imported, count);
        let delta = self.list[first].delta();
        if self.list[first..].iter().any(|import| import.delta() != delta) {
            return Ok(None);
        }
        let below = self.stretches.range(pages.start()..pages.end());
        let within = below.filter(|(_, (end, _))| *end <= pages.end());
        for start in within.map(|(&start, _)| start).collect::<Vec<_>>() {
            self.stretches.remove(&start);
        }
        self.stretches.insert(pages.start(), (pages.end(), delta));
        Ok(Some(delta))
    }

    /// Imports all pieces, or none.
    ///
    /// # Safety
    ///
    /// The pieces are whole granules within the allocation limit, and each page of them has a byte
    /// that stays mapped until this value was dropped; no pending command uses the imports then.
    unsafe fn import_all(
        &mut self,
        device: &Device,
        pieces: impl Iterator<Item = VaRange>,
        identity: bool,
    ) -> Result<(), LendError> {
        let first = self.list.len();
        for piece in pieces {
            // SAFETY: 1. the caller's promise: a page with a mapped byte is mapped whole; 2. and 3.
            // the caller's promise, or it is dropped below and was never used.
            match unsafe { HostImport::new(device, piece, identity) } {
                Ok(import) => self.list.push(import),
                Err(error) => {
                    self.list.truncate(first);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The number of imports.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}

/// Splits pages into pieces of whole granules that one allocation can hold.
fn pieces(pages: VaRange, limit_bytes: u64, granule: PageSize) -> impl Iterator<Item = VaRange> {
    let step = (limit_bytes / granule.bytes()).max(1) * granule.bytes();
    let mut rest = Some(pages);
    std::iter::from_fn(move || {
        let pages = rest.take()?;
        let Some(middle) = pages.start().checked_add(step).filter(|&end| end < pages.end()) else {
            return Some(pages);
        };
        rest = VaRange::new(middle, pages.end());
        VaRange::new(pages.start(), middle)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_tile_the_pages_within_the_limit() {
        let granule = PageSize::new(4096).unwrap();
        let pages = VaRange::from_len(VirtAddr::new(0x10_0000), 10 * 4096).unwrap();
        let lengths = |limit| -> Vec<u64> {
            let mut next = pages.start();
            let lengths = pieces(pages, limit, granule)
                .map(|piece| {
                    assert_eq!(piece.start(), next);
                    next = piece.end();
                    piece.len_bytes() / 4096
                })
                .collect();
            assert_eq!(next, pages.end());
            lengths
        };
        assert_eq!(lengths(1 << 30), [10]);
        assert_eq!(lengths(10 * 4096), [10]);
        assert_eq!(lengths(4 * 4096 + 100), [4, 4, 2]);
        assert_eq!(lengths(5 * 4096), [5, 5]);
        assert_eq!(lengths(0), [1; 10]);
    }
}
