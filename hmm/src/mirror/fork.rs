//! Forks of the process: the mirror brings everything home first, and lets nothing out until the
//! child exists.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::migrator::Migrator;
use crate::addr::VaRange;
use crate::notifier::Event;
use crate::sys::atfork::ForkHook;

/// Registered while the mirror lives.
pub(super) struct Fork {
    pub(super) migrator: Arc<Migrator>,
}

impl ForkHook for Fork {
    fn prepare(&self) {
        if !self.migrator.shared.is_inherited() {
            self.migrator.shared.migration_lock.acquire();
            self.migrator.bring_home(VaRange::USER, None);
            // From now on a store copies the page first: no entry of a device may say otherwise.
            drop(self.migrator.shared.invalidate(Event::ProtectionPage, VaRange::USER));
        }
    }

    fn parent(&self) {
        if !self.migrator.shared.is_inherited() {
            self.migrator.shared.migration_lock.release();
        }
    }

    /// The child's copy of the mirror refuses everything, so nothing is to be put right.
    fn child(&self) {}
}
