//! Calls of the software device to its mirror that other devices do not have.

#![forbid(unsafe_code)]

use super::Mirror;
use crate::addr::VaRange;
use crate::host::{HostMm, PageAccess};
use crate::mirror::migrate::{MigrateError, routes};
use crate::notifier::Event;

impl Mirror {
    /// Lists the parts of a range whose pages may leave, with the access that they allow.
    pub(crate) fn movable(
        &self,
        range: VaRange,
    ) -> Result<Vec<(VaRange, PageAccess)>, MigrateError> {
        self.check(range)?;
        let areas = routes(&self.migrator.host, range, true)?;
        let movable = areas.iter().filter_map(|area| Some((area.range, area.access()?)));
        Ok(movable.collect())
    }

    /// Tells all devices but the one of owner `by` that this device takes pages.
    pub(crate) fn announce_migration(&self, range: VaRange, by: crate::Owner) {
        drop(self.shared().invalidate(Event::Migrate { by: Some(by) }, range));
    }

    /// Lists the parts of a range of which no device holds a page.
    pub(crate) fn held_by_nobody(&self, range: VaRange) -> Vec<VaRange> {
        let mut free = Vec::new();
        let mut cursor = range.start();
        for held in self.device_pages(range) {
            free.extend(VaRange::new(cursor, held.range.start()));
            cursor = held.range.end();
        }
        free.extend(VaRange::new(cursor, range.end()));
        free.retain(|part| !part.is_empty());
        free
    }

    /// Tells whether the page of zeroes is mapped at an address.
    pub(crate) fn is_zero_page(&self, at: crate::VirtAddr) -> bool {
        let page = crate::addr::pages::pages_from(at, 1);
        self.shared().transfer.surveyor.survey(page).is_ok_and(|survey| survey.zero.contains(0))
    }
}
