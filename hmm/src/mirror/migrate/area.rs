//! The areas of a range, and how the pages of each can leave. They are found before any page moves.

use super::error::MigrateError;
use super::outcome::Skip;
use crate::addr::VaRange;
use crate::host::{HostMm, PageAccess};

/// How a page leaves its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// The kernel moves it.
    ByMove,
    /// It is write-protected, copied and dropped.
    ByCopy,
}

/// Whether the pages of an area can leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Leaves(Leave),
    Stays(Skip),
}

/// Cuts a range at the borders of areas, and says how the pages of each piece can leave.
pub(crate) fn routes(
    host: &impl HostMm,
    range: VaRange,
    leased: bool,
) -> Result<Vec<Area>, MigrateError> {
    let fail = |source| MigrateError::Host { range, source };
    let mut areas = Vec::new();
    let mut cursor = range.start();
    for vma in host.vmas(range).map_err(fail)? {
        let special = host.is_special(&vma).map_err(fail)?;
        // The host may list areas one by one, so an area may have grown meanwhile over one that was
        // listed before it.
        let rest = VaRange::new(cursor, range.end()).unwrap_or_default();
        let Some(part) = vma.range.intersection(&rest) else {
            continue;
        };
        if part.start() != cursor || !vma.flags.read || special {
            return Err(MigrateError::NoMemory { addr: cursor });
        }
        cursor = part.end();
        let route = match () {
            () if vma.flags.shared => Route::Stays(Skip::Shared),
            () if vma.is_file_backed() => Route::Stays(Skip::File),
            () if !vma.is_private_anonymous() => Route::Stays(Skip::Unmovable),
            () if vma.flags.write => Route::Leaves(Leave::ByMove),
            () if leased => Route::Leaves(Leave::ByCopy),
            () => Route::Stays(Skip::ReadOnly),
        };
        areas.push(Area { range: part, route });
    }
    if cursor < range.end() {
        return Err(MigrateError::NoMemory { addr: cursor });
    }
    Ok(areas)
}

/// A part of the range to migrate whose pages can leave in the same way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Area {
    pub(crate) range: VaRange,
    pub(super) route: Route,
}

impl Area {
    /// Tells whether any page of it can leave.
    pub(crate) fn can_leave(&self) -> bool {
        self.access().is_some()
    }

    /// The access that its pages allow; `None` if none of them can leave.
    pub(crate) fn access(&self) -> Option<PageAccess> {
        match self.route {
            Route::Leaves(Leave::ByMove) => Some(PageAccess::Write),
            Route::Leaves(Leave::ByCopy) => Some(PageAccess::Read),
            Route::Stays(_) => None,
        }
    }
}
