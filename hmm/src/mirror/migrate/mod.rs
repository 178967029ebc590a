//! Moving pages to a device, one block at a time: `Setup → Collected → Copied → Finalized`.
//!
//! Each step is a value that the next one consumes. A page falls out at any step, for a reason that
//! the result names, and then is where it was and holds what it held. `DESIGN.md` has the protocol.

#![forbid(unsafe_code)]

mod collect;
mod copy;
mod finalize;
mod needed;
mod setup;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::addr::pages::{above, pages_from};
use crate::addr::{PageCount, PageNumber, VaRange, VirtAddr};
use crate::device::DeviceError;
use crate::device::Hold;
use crate::error::HostError;
use crate::host::{HostMm, PageAccess};
use crate::mirror::home::BringsHome;
use crate::mirror::shared::Core;
use crate::mirror::table::{BLOCK, DeviceIndex, Mover};
use crate::notifier::InvalidationGuard;
use crate::sync::backoff::Backoff;
use crate::sys::device::DeviceMemory;
use crate::sys::lease::Lease;
use crate::sys::owned::Owned;
use crate::sys::transfer::Staging;

pub(crate) use needed::Needed;
pub(crate) use setup::Setup;

/// Why a page stayed where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Skip {
    /// The area is shared with other processes.
    Shared,
    /// The area maps a file.
    File,
    /// The kernel does not let the area be watched, or somebody else watches it.
    Unwatchable,
    /// The area cannot be written, so that its pages cannot be moved in one step; see
    /// [`Lease`](crate::Lease).
    ReadOnly,
    /// The kernel does not move such pages: the area is locked in memory, or executable.
    Unmovable,
    /// Somebody may need the page while it is on its way, who then waits for himself: it is part of
    /// an allocator's memory, of a stack, or of the mirror. A buffer there can be moved by its
    /// slice, a mapping as one; see [`Memory`](crate::Memory).
    Needed,
    /// The page is pinned, or shared with another process.
    Pinned,
    /// The page is in swap, or in flight.
    Swapped,
    /// Another device holds the page.
    HeldByOther,
    /// The page was on its way already.
    InTransit,
    /// The program is dropping the page.
    Dropping,
    /// The mapping changed during the migration.
    Changed,
    /// The mirror has no room to note where the page is.
    NoRoom,
    /// The device has no memory.
    NoDeviceMemory,
    /// The host has no memory.
    NoHostMemory,
    /// The device failed to take the content.
    DeviceFailed,
    /// The content could not be read.
    Unreadable,
}

/// Neighbouring pages that stayed where they were for the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The pages.
    pub range: VaRange,
    /// The reason.
    pub reason: Skip,
}

/// What became of a migration. That some pages stay is normal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migration {
    moved: u64,
    already: u64,
    skipped: Vec<Skipped>,
}

impl Migration {
    /// Counts the pages that moved.
    #[must_use]
    pub fn moved(&self) -> PageCount {
        PageCount::new(self.moved)
    }

    /// Counts the pages that were there before.
    #[must_use]
    pub fn already_there(&self) -> PageCount {
        PageCount::new(self.already)
    }

    /// Lists the pages that stayed where they were, lowest first, and why.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    fn skip(&mut self, range: VaRange, reason: Skip) {
        match self.skipped.last_mut() {
            Some(last) if last.reason == reason && last.range.end() == range.start() => {
                last.range = VaRange::new(last.range.start(), range.end()).unwrap_or(last.range);
            }
            _ => self.skipped.push(Skipped { range, reason }),
        }
    }

    /// Adds what became of the next block.
    pub(crate) fn append(&mut self, next: Self) {
        self.moved += next.moved;
        self.already += next.already;
        next.skipped.into_iter().for_each(|run| self.skip(run.range, run.reason));
    }

    /// The result of doing it twice: what the second attempt found there, the first had moved or
    /// found there too. A page that came home in between went twice and counts once.
    pub(crate) fn repeated(self, second: Self) -> Self {
        let already = self.already.min(second.already);
        let moved = second.moved + (second.already - already);
        Self { moved, already, skipped: second.skipped }
    }
}

/// How the pages of an area can leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// Moved by the kernel.
    Move,
    /// Protected, copied and dropped.
    Copy,
    /// Not at all.
    Stay(Skip),
}

/// Where the content of a page is during its migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Where it was.
    Home,
    /// In the frame, by a move. If the page had none the frame reads as zeroes.
    Frame,
    /// In the staging memory, by a move.
    Staging,
    /// Still at home, write-protected.
    Protected,
    /// There is none; the hole is marked or was moved.
    Nothing,
    /// On the device and nowhere else.
    Dropped,
}

/// One page of a block under migration.
#[derive(Clone, Copy, Debug)]
struct Passenger {
    route: Route,
    skip: Option<Skip>,
    /// It was on the device before.
    already: bool,
    frame: Option<PageNumber>,
    huge: bool,
    content: Content,
    /// It is in the list of pages in transit.
    claimed: bool,
}

impl Passenger {
    fn goes(&self) -> bool {
        self.skip.is_none() && !self.already
    }
}

/// A block under migration, common to all steps.
struct Voyage<'m> {
    core: &'m Core,
    scratch: &'m mut Scratch,
    device: &'m dyn DeviceMemory,
    order: Order<'m>,
    /// Pages of one block.
    range: VaRange,
    pages: Vec<Passenger>,
    backoff: Backoff,
    /// How often something was in the way of a move and was removed.
    clearings: u32,
    /// Whether the destination was unlocked.
    unlocked: bool,
    /// From before anything changes until everything has.
    _guard: InvalidationGuard,
}

/// What is to be migrated where, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'m> {
    pub(crate) device: DeviceIndex,
    pub(crate) hold: Hold,
    pub(crate) lease: Option<&'m Lease>,
}

/// Memory of the migrating thread.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) staging: Staging,
    pub(crate) buffer: Owned<u8>,
    pub(crate) list: PassengerList,
}

/// Room for the pages of a block, made once: while they are on their way their list stays where it
/// is known to be, see [`Needed`].
#[derive(Debug)]
pub(crate) struct PassengerList(Vec<Passenger>);

impl PassengerList {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(BLOCK))
    }

    /// Where the list is.
    pub(crate) fn address(&self) -> VirtAddr {
        VirtAddr::from_ptr(self.0.as_ptr())
    }
}

impl Drop for Voyage<'_> {
    fn drop(&mut self) {
        self.scratch.list.0 = std::mem::take(&mut self.pages);
    }
}

impl BringsHome for Scratch {
    fn mover(&self) -> Mover {
        Mover::Migrator
    }

    /// The handler reads the message of the change without being asked.
    fn pause(&mut self, _: &Core) {
        Backoff::default().pause();
    }

    fn buffer(&mut self) -> &mut Owned<u8> {
        &mut self.buffer
    }
}

/// Pages taken from their places.
pub(crate) struct Collected<'m>(Voyage<'m>);

/// Pages whose content is on the device, or still where it can be restored from.
pub(crate) struct Copied<'m>(Voyage<'m>);

/// Pages that are on the device or home.
pub(crate) struct Finalized<'m>(Voyage<'m>);

impl Voyage<'_> {
    fn at(&self, index: usize) -> VirtAddr {
        above(self.range.start(), index)
    }

    fn page(&self, index: usize) -> VaRange {
        pages_from(self.at(index), 1)
    }

    fn staged(&self, index: usize, count: usize) -> VaRange {
        pages_from(above(self.scratch.staging.range().start(), index), count)
    }

    fn pause(&mut self) {
        self.core.stats.retries.add(1);
        self.backoff.pause();
    }

    /// The pages from `index` on that are alike, as far as `same` says of a page and the first.
    fn run(&self, index: usize, same: impl Fn(&Passenger, &Passenger) -> bool) -> usize {
        let Some(first) = self.pages.get(index) else {
            return 0;
        };
        self.pages.iter().skip(index).take_while(|page| same(page, first)).count()
    }

    /// The pages from `index` on that go, alike, into frames that follow each other.
    fn frame_run(&self, index: usize) -> usize {
        let first = self.pages.get(index).and_then(|page| page.frame).map_or(0, PageNumber::get);
        let follows = |(offset, page): &(usize, &Passenger)| {
            page.frame.map(PageNumber::get) == Some(first + *offset as u64)
        };
        let all = self.pages.iter().skip(index).enumerate();
        let frames = all.take_while(follows).count();
        if frames == 0 {
            return 0;
        }
        let alike = self.run(index, |page, first| {
            page.goes() == first.goes()
                && (page.route, page.content) == (first.route, first.content)
        });
        frames.min(alike)
    }

    fn skip(&mut self, index: usize, count: usize, reason: Skip) {
        for page in self.pages.iter_mut().skip(index).take(count) {
            page.skip = Some(reason);
        }
    }

    fn set_content(&mut self, index: usize, count: usize, content: Content) {
        for page in self.pages.iter_mut().skip(index).take(count) {
            page.content = content;
        }
    }
}

impl Finalized<'_> {
    /// Says what became of the block.
    pub(crate) fn report(&self) -> Migration {
        let mut result = Migration::default();
        for (index, page) in self.0.pages.iter().enumerate() {
            match page.skip {
                Some(reason) => result.skip(self.0.page(index), reason),
                None if page.already => result.already += 1,
                None => result.moved += 1,
            }
        }
        result
    }

    /// Pages that could not be moved because others share them, which a store of each ends.
    pub(crate) fn shared_pages(&self) -> impl Iterator<Item = VaRange> {
        let pinned = self.0.pages.iter().enumerate();
        let pinned = pinned.filter(|(_, page)| page.skip == Some(Skip::Pinned));
        pinned.map(|(index, _)| self.0.page(index))
    }
}

/// Calls a device; one that panics has failed.
fn guarded<T>(call: impl FnOnce() -> Result<T, DeviceError>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()?.ok()
}

/// A failure of a migration as a whole. A page that stays is none.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// `EINVAL`: the range is empty or not made of whole pages.
    #[error("{range} is not made of whole pages")]
    Invalid {
        /// The range that was passed.
        range: VaRange,
    },

    /// `EINVAL`: nothing is mapped there, or it cannot be read, or it maps no memory.
    #[error("the page at {addr} cannot be migrated: no readable memory is mapped there")]
    NoMemory {
        /// The first such page.
        addr: VirtAddr,
    },

    /// This process may not keep pages away: a system call on them would fail.
    #[error(
        "cannot migrate {range}: this process cannot serve the page faults of system calls; run \
         as root or give access to /dev/userfaultfd"
    )]
    Unprivileged {
        /// The range that was passed.
        range: VaRange,
    },

    /// The mirror came over a fork: it belongs to the parent.
    #[error("cannot migrate {range}: the mirror belongs to the parent process; build a new one")]
    Inherited {
        /// The range that was passed.
        range: VaRange,
    },

    /// The device is not attached.
    #[error("cannot migrate {range}: the device is not attached to the mirror")]
    NoDevice {
        /// The range that was passed.
        range: VaRange,
    },

    /// The device may allocate or wait while it gives pages back, and nothing says that an
    /// allocator has no part in the memory.
    #[error(
        "cannot migrate {range}: the device does not say that it is self-contained, so it may only \
         have memory that is a mapping of its own; pass the mapping (Memory), or implement \
         DeviceMemory::is_self_contained"
    )]
    MayAllocate {
        /// The range that was passed.
        range: VaRange,
    },

    /// The lease does not cover the range.
    #[error("the lease of {leased} does not cover {range}")]
    NotLeased {
        /// The range that was passed.
        range: VaRange,
        /// What the lease covers.
        leased: VaRange,
    },

    /// The host address space could not be asked.
    #[error("the migration of {range} could not begin")]
    Host {
        /// The range that was passed.
        range: VaRange,
        /// What failed.
        source: HostError,
    },
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
        // Listed one by one: a neighbour may have grown over what was listed before.
        let rest = VaRange::new(cursor, range.end()).unwrap_or_default();
        let Some(part) = vma.range.intersection(&rest) else {
            continue;
        };
        if part.start() != cursor || !vma.flags.read || special {
            return Err(MigrateError::NoMemory { addr: cursor });
        }
        cursor = part.end();
        let route = match () {
            () if vma.flags.shared => Route::Stay(Skip::Shared),
            () if vma.is_file_backed() => Route::Stay(Skip::File),
            () if !vma.is_private_anonymous() => Route::Stay(Skip::Unmovable),
            () if vma.flags.write => Route::Move,
            () if leased => Route::Copy,
            () => Route::Stay(Skip::ReadOnly),
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
    route: Route,
}

impl Area {
    /// The result for a block none of whose pages may go because somebody may need them.
    pub(crate) fn block_at_home(areas: &[Self], block: VaRange) -> Option<Migration> {
        let area = areas.iter().find(|area| area.range.contains_range(&block))?;
        let mut result = Migration::default();
        result.skip(block, Skip::Needed);
        (area.route == Route::Stay(Skip::Needed)).then_some(result)
    }

    /// Tells whether any page of it can leave.
    pub(crate) fn can_leave(&self) -> bool {
        self.access().is_some()
    }

    /// For what its pages can be accessed; `None` if none can leave.
    pub(crate) fn access(&self) -> Option<PageAccess> {
        match self.route {
            Route::Move => Some(PageAccess::Write),
            Route::Copy => Some(PageAccess::Read),
            Route::Stay(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Migration;

    #[test]
    fn a_page_counts_once_however_often_it_went() {
        let migration = |moved, already| Migration { moved, already, skipped: vec![] };
        // Of 12 pages 10 went, 2 were there; then all stayed, or 2 or all came home in between.
        let first = || migration(10, 2);
        assert_eq!(first().repeated(migration(0, 12)), migration(10, 2));
        assert_eq!(first().repeated(migration(2, 10)), migration(10, 2));
        assert_eq!(first().repeated(migration(12, 0)), migration(12, 0));
    }
}
