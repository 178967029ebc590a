//! What a mirror does around a fork: brings everything home first, and lets nothing out until the
//! child exists.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::Shared;
use crate::addr::VaRange;
use crate::notifier::Event;
use crate::sys::atfork::ForkHook;

/// Registered while the mirror lives.
pub(super) struct Fork {
    pub(super) shared: Arc<Shared>,
}

impl ForkHook for Fork {
    fn prepare(&self) {
        if !self.shared.core.is_inherited() {
            self.shared.core.migration_lock.acquire();
            self.shared.bring_home(VaRange::USER, None);
            // From now on a store copies the page first: no entry of a device may say otherwise.
            drop(self.shared.core.invalidate(Event::ProtectionPage, VaRange::USER));
        }
    }

    fn parent(&self) {
        if !self.shared.core.is_inherited() {
            self.shared.core.migration_lock.release();
        }
    }

    /// The child's copy of the mirror refuses everything, so nothing is to be put right.
    fn child(&self) {}
}
