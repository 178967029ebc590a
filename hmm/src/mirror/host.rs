//! The mirror as a host for walks: this process, and what devices hold of it.

#![forbid(unsafe_code)]

use super::Mirror;
use super::table::block_size;
use crate::addr::pages::{pages_from, pages_in};
use crate::addr::{PageSize, VaRange};
use crate::device::DeviceRun;
use crate::error::HostError;
use crate::host::vma::Vma;
use crate::host::{Detail, FaultInError, HostMm, PageAccess, PageRun};
use crate::mirror::table::HeldRun;
use crate::sys::uffd::MirrorTier;

impl HostMm for Mirror {
    fn vmas(&self, range: VaRange) -> Result<Vec<Vma>, HostError> {
        self.migrator.host.vmas(range)
    }

    fn is_special(&self, vma: &Vma) -> Result<bool, HostError> {
        self.migrator.host.is_special(vma)
    }

    fn pages(&self, vma: &Vma, range: VaRange, detail: Detail) -> Result<Vec<PageRun>, HostError> {
        self.migrator.host.pages(vma, range, detail)
    }

    /// Lists the pages that devices hold and that still have their marks. A page without a mark was
    /// dropped or replaced, and the message about it is unread.
    fn device_pages(&self, range: VaRange) -> Vec<DeviceRun> {
        if self.is_inherited() {
            return Vec::new();
        }
        let mut runs = Vec::new();
        let mut rest = range;
        loop {
            let state = self.shared().lock();
            let Some(run) = state.table.next_held(rest, u64::MAX) else {
                return runs;
            };
            let device = state.devices.get(run.first.device);
            drop(state);
            // An allocation must not happen under the lock of the table.
            let owner = device.map(|device| device.owner());
            let mut push = |range: VaRange| runs.extend(device_run(run, range, owner));
            let _ = self.shared().marks.for_each(run.range, &mut push);
            rest = VaRange::new(run.range.end(), range.end()).unwrap_or_default();
        }
    }

    fn fault_in(&self, range: VaRange, access: PageAccess) -> Result<(), FaultInError> {
        self.fill_ahead(range);
        self.migrator.host.fault_in(range, access)
    }

    fn bring_home(&self, range: VaRange, access: PageAccess) -> Result<(), FaultInError> {
        if !self.is_inherited() {
            let _guard = self.shared().migration_lock.lock();
            self.migrator.bring_home(range, None);
        }
        self.fault_in(range, access)
    }
}

impl Mirror {
    /// Fills the holes at the start of a range with one request, in place of one fault for each.
    fn fill_ahead(&self, range: VaRange) {
        if self.is_inherited() || self.tier() != MirrorTier::KernelFaults {
            return;
        }
        let shared = self.shared();
        let mut state = shared.lock();
        if state.table.next_away(range).is_some() {
            return;
        }
        let bytes = shared.transfer.zero_home(range).done_bytes;
        let filled = pages_from(range.start(), pages_in(bytes));
        state.sets.pending_drops.remove(filled);
        drop(state);
        shared.wake(filled);
    }
}

fn device_run(run: HeldRun, range: VaRange, owner: Option<crate::Owner>) -> Option<DeviceRun> {
    let skipped = VaRange::new(run.range.start(), range.start())?.page_count(PageSize::host());
    let first = run.first.advance(skipped.get());
    let mapping = if first.huge { block_size() } else { PageSize::host() };
    Some(DeviceRun { range, owner: owner?, frame: first.frame, hold: first.hold, mapping })
}
