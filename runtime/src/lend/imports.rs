//! The host memory that scopes have imported.
//!
//! # Safety
//!
//! An import needs memory that stays mapped until the import was dropped. A scope keeps what it
//! lends borrowed, and waits for its launches before it ends its holds of imports. Each import lies
//! within the pages of every scope that holds it, and none outlives the last of these scopes
//! ([`Registry`], which is checked by a model). So each of its pages has a byte that is borrowed,
//! and a page with a mapped byte is mapped whole.
#![allow(unsafe_code, reason = "it imports memory, with the argument above")]

use super::{
    kinds,
    registry::{Held, Importer, Refused, Registry},
};
use crate::{
    LendError,
    stats::Counters,
    trace,
    vk::{Device, allocations::Purpose, import::HostImport},
};
use farptr_hmm::{Maps, PageSize, VaRange};
use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

/// How long a lend waits for launches of other scopes, if it needs a part of what they imported.
const PATIENCE: Duration = Duration::from_secs(60);

/// The live imports of a device, which its scopes share.
#[derive(Default)]
pub(crate) struct DeviceImports {
    registry: Mutex<Registry<HostImport>>,
    /// The areas of the process, if a lend had to look and the kernel tells.
    maps: OnceLock<Option<Maps>>,
}

impl DeviceImports {
    /// Pages that are imported now.
    pub(crate) fn pages(&self) -> u64 {
        self.with(|registry| {
            registry.iter().map(|pages| pages.page_count(PageSize::host()).get()).sum()
        })
    }

    fn with<R>(&self, act: impl FnOnce(&mut Registry<HostImport>) -> R) -> R {
        // Nothing in the registry panics; its tests would have found it.
        act(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why a device with hardware is not given memory to import, if it is not.
    fn obstacle(&self, range: VaRange) -> Option<&'static str> {
        let maps = self.maps.get_or_init(|| Maps::open().ok());
        let areas = maps.as_ref().and_then(|maps| maps.vmas(range).ok());
        kinds::obstacle(range, &areas.unwrap_or_default())
    }
}

/// The imports that a scope holds. They are given back when no scope holds them.
pub(crate) struct Imports {
    held: Held,
    all: Arc<DeviceImports>,
    device: Arc<Device>,
}

impl Imports {
    pub(crate) fn new(all: &Arc<DeviceImports>, device: &Arc<Device>) -> Self {
        Self { held: Held::default(), all: Arc::clone(all), device: Arc::clone(device) }
    }

    /// Imports the pages that cover a range, unless live imports have them, and gives what is to be
    /// added to a host address to get the device address; nothing where the device does not see the
    /// pages as one range.
    ///
    /// With `identity`, device addresses must equal host addresses.
    ///
    /// # Safety
    ///
    /// The range is not empty and stays mapped until this value was dropped; no pending command
    /// uses the range on the device then.
    pub(crate) unsafe fn import(
        &mut self,
        range: VaRange,
        identity: bool,
    ) -> Result<Option<u64>, LendError> {
        let pages = range.pages_covering(PageSize::host());
        if let Some(delta) = self.held.find(pages) {
            return Ok(Some(delta));
        }
        let info = &self.device.info;
        let no_type = LendError::NoMemoryType { range };
        let granule = info.import_alignment.and_then(PageSize::new).ok_or(no_type)?;
        let granule = granule.max(PageSize::host());
        if range.pages_covering(granule) != pages {
            return Err(LendError::PartOfGranule { range, granule_bytes: granule.bytes() });
        }
        if !kinds::imports_all(info.kind)
            && let Some(why) = self.all.obstacle(range)
        {
            return Err(LendError::NotImportable { range, why });
        }
        let device = &*self.device;
        let mut importer =
            DeviceImporter { device, range, granule, identity, purpose: Purpose::Import, pages: 0 };
        let held = &mut self.held;
        match self.all.with(|registry| registry.cover(held, pages, &mut importer)) {
            Ok(delta) => {
                Counters::add(&device.counters.pages_imported, importer.pages);
                Ok(Some(delta))
            }
            Err(Refused::Device(error)) => Err(error),
            Err(refused) => {
                let (bytes, why) = (range.len_bytes(), trace::debug(refused));
                trace::event!(DEBUG, "not imported as one", bytes = bytes, why = why);
                Ok(None)
            }
        }
    }
}

impl Drop for Imports {
    fn drop(&mut self) {
        // In a child made by `fork` the imports are the parent's, and the lock may be held by a
        // thread that did not come along.
        if self.device.is_inherited() {
            return;
        }
        self.all.with(|registry| registry.release(&mut self.held));
    }
}

/// The device, while a range is lent.
struct DeviceImporter<'d> {
    // Invariant: made by `Imports::import`, for pages under its promise.
    device: &'d Device,
    range: VaRange,
    granule: PageSize,
    identity: bool,
    purpose: Purpose,
    /// Host pages that were imported.
    pages: u64,
}

impl DeviceImporter<'_> {
    /// Imports all pieces, or none.
    fn import_all(
        &self,
        pieces: impl Iterator<Item = VaRange>,
    ) -> Result<Vec<(VaRange, HostImport)>, LendError> {
        let import = |piece| {
            // SAFETY: 1. the registry asks for pages of the range that is lent, or of an import
            // that it has just given back, and drops the import before their last holder ends (the
            // module's argument); 2. pieces are whole granules within the limit; 3. a scope ends
            // its holds when its launches are complete, and a part of an import is dropped while
            // the device is idle.
            let made = unsafe { HostImport::new(self.device, piece, self.identity, self.purpose) };
            made.map(|made| (piece, made))
        };
        pieces.map(import).collect()
    }
}

impl Importer for DeviceImporter<'_> {
    type Import = HostImport;
    type Error = LendError;

    fn import(&mut self, pages: VaRange) -> Result<Vec<(VaRange, HostImport)>, LendError> {
        let limit = self.device.info.limits.allocation_bytes;
        let mut done = self.import_all(pieces(pages, limit, self.granule));
        if done.is_err() && pages.len_bytes() >= limit {
            // Some drivers refuse an import of exactly the limit's length.
            done = self.import_all(pieces(pages, limit / 2, self.granule));
        }
        self.pages += done.as_ref().map_or(0, |_| pages.page_count(PageSize::host()).get());
        done
    }

    fn delta(import: &HostImport) -> u64 {
        import.delta()
    }

    fn is_identity(&self) -> bool {
        self.identity
    }

    fn while_idle<R>(&mut self, act: impl FnOnce(&mut Self) -> R) -> Result<R, LendError> {
        let (device, range) = (self.device, self.range);
        let done = device.while_idle(PATIENCE, || {
            self.purpose = Purpose::Part;
            let done = act(self);
            self.purpose = Purpose::Import;
            done
        });
        done.map_err(|source| LendError::DeviceLost { source })?
            .ok_or(LendError::Occupied { range, waited: PATIENCE })
    }

    fn lose(&mut self) {
        self.device.lose_while_idle();
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
    use farptr_hmm::VirtAddr;

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
