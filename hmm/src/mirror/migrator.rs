//! The calls of the program's threads that move pages out or bring them home, one call at a time.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::devices::DeviceId;
use super::handler::FaultThread;
use super::home::bring_next;
use super::migrate::{
    Area, BlockOrder, MigrateError, Migration, Needed, Order, Scratch, migrate_block, routes,
};
use super::shared::{Shared, State};
use super::table::{BLOCK, DeviceIndex, HeldRun, block_size};
use crate::addr::{PageCount, PageSize, VaRange, VirtAddr};
use crate::sync::{Mutex, lock};
use crate::sys::device::DeviceMemory;
use crate::sys::memory::{Known, Memory};
use crate::sys::needed::{listed, pages_of_this_thread, static_variables};
use crate::walk::process::ProcessMm;

/// The state that the threads that migrate share with the hook around forks.
#[derive(Debug)]
pub(super) struct Migrator {
    /// The first field, so that the userfaultfd is closed before the memory that it watches is
    /// unmapped.
    pub(super) shared: Arc<Shared>,
    /// Locked under the migration lock only.
    pub(super) scratch: Mutex<Scratch>,
    pub(super) host: ProcessMm,
    pub(super) fault_thread: FaultThread,
}

impl Migrator {
    /// Moves pages to a device. `mirror` is where the mirror itself lies.
    pub(super) fn migrate(
        &self,
        mirror: VirtAddr,
        memory: Memory<'_>,
        id: DeviceId,
        order: Order<'_>,
    ) -> Result<Migration, MigrateError> {
        let range = memory.range();
        let _guard = self.shared.migration_lock.lock();
        let device = self.shared.lock().devices.attached(id);
        let device = device.ok_or(MigrateError::NoDevice { range })?;
        let areas = self.areas(mirror, memory, &*device, order.lease.is_some())?;
        let mut scratch = lock(&self.scratch);
        let mut migration = Migration::default();
        for block in range.pages(block_size()).filter_map(|block| block.intersection(&range)) {
            let (shared, device) = (&*self.shared, &*device);
            let block = BlockOrder { shared, device, order, range: block, areas: &areas };
            migration.append(migrate_block(block, &mut scratch));
        }
        Ok(migration)
    }

    /// Says how the pages of each area can leave, by what is known about the memory.
    fn areas(
        &self,
        mirror: VirtAddr,
        memory: Memory<'_>,
        device: &dyn DeviceMemory,
        leased: bool,
    ) -> Result<Vec<Area>, MigrateError> {
        let range = memory.range();
        if memory.known() != Known::Mapping && !device.is_self_contained() {
            return Err(MigrateError::MayAllocate { range });
        }
        let areas = routes(&self.host, range, leased)?;
        if memory.known() != Known::Nothing {
            return Ok(areas);
        }
        self.needed(mirror).keep_home(&self.host, range, &areas)
    }

    /// Collects the memory that the mirror, its devices and this thread need. The address of the
    /// list itself shows in which area this thread's allocator gives memory out.
    fn needed(&self, mirror: VirtAddr) -> Needed {
        let mut values = vec![mirror, VirtAddr::of(self), VirtAddr::of(&*self.shared)];
        values.extend(lock(&self.scratch).lists.addresses());
        values.push(self.fault_thread.handler);
        values.extend(static_variables());
        values.extend(self.shared.notifiers.addresses());
        let devices = self.shared.lock().devices.all();
        values.extend(devices.iter().flatten().map(|device| VirtAddr::of(&**device)));
        values.push(VirtAddr::of_slice(&values));
        let mut pages = self.fault_thread.pages.to_vec();
        pages.extend(pages_of_this_thread());
        pages.extend(listed());
        // A value on a stack needs only the pages of that stack, which `pages` lists; its area may
        // also contain a neighbouring mapping that the kernel joined to the stack.
        values.retain(|&at| !pages.iter().any(|range| range.contains(at)));
        Needed { values, pages }
    }

    /// Brings pages home, all or those of one device, and waits for those that the handler is
    /// bringing home. The caller holds the migration lock.
    pub(super) fn bring_home(&self, range: VaRange, device: Option<DeviceIndex>) -> PageCount {
        let count = self.bring_held(range, device);
        self.shared.drain();
        count
    }

    fn bring_held(&self, range: VaRange, device: Option<DeviceIndex>) -> PageCount {
        let mut scratch = lock(&self.scratch);
        let mut count = 0;
        let mut rest = range;
        loop {
            let next = next_run(&self.shared.lock(), rest);
            let Some(run) = next else {
                return PageCount::new(count);
            };
            if device.is_none_or(|device| device == run.first.device) {
                let brought = bring_next(&self.shared, &mut *scratch, run.range, BLOCK);
                count += brought.map_or(0, |range| range.page_count(PageSize::host()).get());
            }
            rest = VaRange::new(run.range.end(), range.end()).unwrap_or_default();
        }
    }
}

/// The first run of a range that a device holds, cut at the end of a block.
fn next_run(state: &State, range: VaRange) -> Option<HeldRun> {
    let run = state.table.next_held(range, BLOCK as u64)?;
    let block = VaRange::from_len(run.range.start(), 1)?.pages_covering(block_size());
    Some(HeldRun { range: run.range.intersection(&block)?, ..run })
}
