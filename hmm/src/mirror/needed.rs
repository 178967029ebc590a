//! What must stay at home while pages are on their way, of this mirror.

#![forbid(unsafe_code)]

use super::Mirror;
use crate::addr::VirtAddr;
use crate::mirror::migrate::Needed;
use crate::sync::lock;
use crate::sys::needed::{listed, pages_of_this_thread, static_variables};

impl Mirror {
    /// Collects what this mirror, its devices and this thread need. The list says by its own place
    /// where this thread's allocator gives memory out.
    pub(super) fn needed(&self) -> Needed {
        let fault_thread = &self.shared.fault_thread;
        let mut values = vec![VirtAddr::of(self), VirtAddr::of(&*self.shared)];
        values.push(VirtAddr::of(&*self.shared.core));
        values.push(lock(&self.shared.scratch).list.address());
        values.push(fault_thread.handler);
        values.extend(static_variables());
        values.extend(self.core().notifiers.addresses());
        let devices = self.core().lock().attached();
        values.extend(devices.iter().flatten().map(|device| VirtAddr::of(&**device)));
        values.push(VirtAddr::of_slice(&values));
        let mut pages = fault_thread.pages.to_vec();
        pages.extend(pages_of_this_thread());
        pages.extend(listed());
        // A stack is no allocator's, and the kernel may have joined it to a mapping beside it.
        values.retain(|&at| !pages.iter().any(|range| range.contains(at)));
        Needed { values, pages }
    }
}
