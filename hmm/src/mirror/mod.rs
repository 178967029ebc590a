//! The mirror of this process's memory: everything else in this crate, put together.

#![forbid(unsafe_code)]

mod attach;
mod build;
mod devices;
mod fill;
mod fork;
mod handler;
mod home;
mod host;
pub(crate) mod migrate;
pub(crate) mod migration_lock;
mod migrator;
pub(crate) mod range_set;
pub(crate) mod sets;
mod shared;
#[cfg(feature = "dmirror")]
mod software;
pub(crate) mod stats;
mod streams;
pub(crate) mod table;
mod track;
mod watch;

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::addr::{PageCount, PageSize, VaRange, VirtAddr};
use crate::device::Hold;
use crate::notifier::{Event, Notifiers};
use crate::sys::atfork::HookRegistration;
use crate::sys::device::DeviceMemory;
use crate::sys::lease::Lease;
use crate::sys::memory::Memory;
use crate::sys::uffd::{Feature, Features, MirrorTier};

pub use build::{MirrorBuildError, MirrorBuilder};
pub use devices::{AttachError, DeviceId};
use migrate::{MigrateError, Migration, Order};
use migrator::Migrator;
use shared::Shared;
use stats::MirrorStats;
use table::block_size;
pub use track::TrackError;
pub use watch::{UnwatchError, WatchError};

/// A mirror of this process's address space, for any number of devices.
///
/// It knows which pages devices hold, tells devices about changes of the mappings it watches, moves
/// pages to devices, and brings them home when the CPU touches them. Only one mirror can watch a
/// range; devices share one.
///
/// Moving pages out and back does not change what the program sees: a thread that touches a page
/// that is away waits until it is back, also in a system call. So any memory may be moved, that of
/// Rust references too; what the mirror itself needs, stays, see
/// [`Skip::Needed`](crate::Skip::Needed). Beyond the value that was registered, a device's own
/// callbacks must use only memory that is never moved. Debuggers and core files do not see pages
/// that are away, see [`Mirror::migrate_all_home`].
///
/// A child made by `fork` finds every page at home, and is refused everything by the mirror it
/// inherits. A process made by `clone` without the C library finds zeroes where pages are away.
///
/// Dropping the mirror brings every page home first.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use farptr_hmm::{HostDevice, MigrateError, Mirror, Owner, PageCount};
///
/// let mirror = Mirror::build()?;
/// let device = Arc::new(HostDevice::new(Owner::new(), PageCount::new(1024))?);
/// let id = mirror.attach(device)?;
///
/// let numbers: Vec<u32> = (0..100_000).collect();
/// match mirror.migrate_to_device(&numbers[..], id) {
///     Ok(migration) => println!("{} moved", migration.moved()),
///     Err(MigrateError::Unprivileged { .. }) => println!("needs root"),
///     Err(error) => return Err(error.into()),
/// }
/// // The CPU does not notice.
/// assert!((0..100_000).eq(numbers.iter().copied()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Mirror {
    migrator: Arc<Migrator>,
    handler: Option<JoinHandle<()>>,
    /// `None` once the mirror is being dropped.
    hook: Option<HookRegistration>,
}

impl Mirror {
    fn shared(&self) -> &Shared {
        &self.migrator.shared
    }

    /// The failures that a test wants.
    #[cfg(test)]
    pub(crate) fn injection(&self) -> &crate::sys::transfer::injection::Injection {
        &self.shared().transfer.injection
    }

    #[cfg(test)]
    pub(crate) fn transfer(&self) -> &crate::sys::transfer::Transfer {
        &self.shared().transfer
    }

    /// The addresses of the staging memory.
    #[cfg(test)]
    pub(crate) fn staging(&self) -> VaRange {
        self.shared().lock().staging
    }

    /// Returns which faults the mirror can serve. Pages are moved only if it is
    /// [`MirrorTier::KernelFaults`]: in the other tier a system call on a page that is away would
    /// fail.
    #[must_use]
    pub fn tier(&self) -> MirrorTier {
        self.shared().transfer.uffd().tier()
    }

    /// Tells whether the mirror can say which pages were written, see [`Mirror::protect`]: since
    /// Linux 6.7, unless [`MirrorBuilder::track_stores`] says otherwise.
    #[must_use]
    pub fn tracks_stores(&self) -> bool {
        self.features().contains(Feature::WpAsync)
    }

    /// Returns the features of userfaultfd that the mirror uses.
    #[must_use]
    pub fn features(&self) -> Features {
        self.shared().transfer.uffd().features()
    }

    /// Returns the notifiers of the address space, to register devices with.
    #[must_use]
    pub fn notifiers(&self) -> &Notifiers {
        &self.shared().notifiers
    }

    /// Returns what the mirror has done so far.
    #[must_use]
    pub fn stats(&self) -> MirrorStats {
        // The lock is taken because requests count under it: a thread that a request has woken sees
        // what the request counted.
        let _state = self.shared().lock();
        self.shared().stats.read()
    }

    /// Counts the pages that devices hold.
    #[must_use]
    pub fn pages_away(&self) -> PageCount {
        self.shared().lock().table.held()
    }

    /// Tells whether this process is a child of the process that built the mirror. A child can only
    /// drop the mirror.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        self.shared().is_inherited()
    }

    /// Makes a device known, so that pages can be moved to it.
    ///
    /// A device is attached to a mirror once at a time. One whose memory is memory of this process
    /// ([`HostDevice`](crate::HostDevice)) is attached to one mirror at a time.
    ///
    /// # Errors
    ///
    /// - [`AttachError`] says why not.
    pub fn attach(&self, device: Arc<dyn DeviceMemory>) -> Result<DeviceId, AttachError> {
        if self.is_inherited() {
            return Err(AttachError::Inherited);
        }
        attach::attach(self.shared(), device)
    }

    /// Brings every page home that the device holds, and forgets the device. Nothing happens if it
    /// is not attached, or not any more.
    pub fn detach(&self, device: DeviceId) {
        if !self.is_inherited() {
            attach::detach(&self.migrator, device);
        }
    }

    /// Tells all devices that a range changes in a way that raises no message: an `mprotect`, a
    /// truncated file.
    pub fn invalidate(&self, range: VaRange) {
        if !self.is_inherited() {
            drop(self.shared().invalidate(Event::ProtectionVma, range));
        }
    }

    /// Waits until every change of a watched range that was made before the call is known to all
    /// devices.
    pub fn drain(&self) {
        if !self.is_inherited() {
            self.shared().drain();
        }
    }

    /// Tells whether a page of a watched range is about to be dropped.
    ///
    /// The kernel announces a drop (`MADV_DONTNEED`) before it happens. Until it has happened, a
    /// device may not keep the bytes that it reads of the pages. Call this under the device's lock,
    /// with [`Notifier::read_retry`](crate::Notifier::read_retry). It is always `false` where the
    /// mirror cannot know: in [`MirrorTier::UserFaults`], and in memory that was adopted and not
    /// watched, where it does not see the first touch of a page that was dropped.
    #[must_use]
    pub fn has_pending_drop(&self, range: VaRange) -> bool {
        if self.is_inherited() || self.tier() != MirrorTier::KernelFaults {
            return false;
        }
        let shared = self.shared();
        let mut state = shared.lock();
        if !state.sets.has_pending_drop(range) {
            return false;
        }
        for block in range.pages(block_size()).filter_map(|block| block.intersection(&range)) {
            shared.review_pending_drops(&mut state, block);
        }
        state.sets.has_pending_drop(range)
    }

    /// Moves pages to a device: those of a range, a slice or a mapping, see [`Memory`].
    ///
    /// Pages may stay where they are, each for a reason that the result names. Pages that were
    /// never touched go without a copy and are zeroes there.
    ///
    /// # Errors
    ///
    /// - [`MigrateError`] if the memory as a whole cannot be migrated. No page has moved then.
    pub fn migrate_to_device<'a>(
        &self,
        memory: impl Into<Memory<'a>>,
        device: DeviceId,
    ) -> Result<Migration, MigrateError> {
        self.migrate(memory.into(), device, Hold::Private, None)
    }

    /// Moves pages to a device, those of areas that cannot be written included.
    ///
    /// # Errors
    ///
    /// - As [`Mirror::migrate_to_device`], and [`MigrateError::NotLeased`].
    pub fn migrate_leased<'a>(
        &self,
        memory: impl Into<Memory<'a>>,
        device: DeviceId,
        lease: &Lease,
    ) -> Result<Migration, MigrateError> {
        let memory = memory.into();
        let range = memory.range();
        if !lease.range().contains_range(&range) {
            return Err(MigrateError::NotLeased { range, leased: lease.range() });
        }
        self.migrate(memory, device, Hold::Private, Some(lease))
    }

    /// Gives a device pages for itself alone, until the CPU or another device touches them.
    ///
    /// # Errors
    ///
    /// - As [`Mirror::migrate_to_device`].
    pub fn make_exclusive<'a>(
        &self,
        memory: impl Into<Memory<'a>>,
        device: DeviceId,
    ) -> Result<Migration, MigrateError> {
        self.migrate(memory.into(), device, Hold::Exclusive, None)
    }

    fn check(&self, range: VaRange) -> Result<(), MigrateError> {
        if range.is_empty() || !range.is_aligned(PageSize::host()) {
            return Err(MigrateError::Invalid { range });
        }
        if self.is_inherited() { Err(MigrateError::Inherited { range }) } else { Ok(()) }
    }

    fn migrate(
        &self,
        memory: Memory<'_>,
        id: DeviceId,
        hold: Hold,
        lease: Option<&Lease>,
    ) -> Result<Migration, MigrateError> {
        let range = memory.range();
        self.check(range)?;
        if self.tier() != MirrorTier::KernelFaults {
            return Err(MigrateError::Unprivileged { range });
        }
        let order = Order { device: id.index, hold, lease };
        self.migrator.migrate(VirtAddr::of(self), memory, id, order)
    }

    /// Brings the pages of `range` home that devices hold, and returns how many there were.
    ///
    /// # Errors
    ///
    /// - [`MigrateError::Invalid`] if the range is not made of whole pages.
    /// - [`MigrateError::Inherited`] in a child process.
    pub fn migrate_to_home(&self, range: VaRange) -> Result<PageCount, MigrateError> {
        self.check(range)?;
        let _guard = self.shared().migration_lock.lock();
        Ok(self.migrator.bring_home(range, None))
    }

    /// Brings every page home, and returns how many were away.
    ///
    /// `ptrace` and `/proc/PID/mem` answer `EIO` for pages that are away, also when a process reads
    /// itself, and a core file has zeroes there: the kernel does not let a userfaultfd serve such
    /// accesses. So call this before a dump, or from a debugger. Pages that migrate afterwards are
    /// away again.
    ///
    /// # Errors
    ///
    /// - [`MigrateError::Inherited`] in a child process.
    pub fn migrate_all_home(&self) -> Result<PageCount, MigrateError> {
        self.migrate_to_home(VaRange::USER)
    }

    /// Brings the pages home that one device holds, wherever they belong, and returns how many
    /// there were.
    ///
    /// # Errors
    ///
    /// - [`MigrateError::Inherited`] in a child process.
    pub fn evict(&self, device: DeviceId) -> Result<PageCount, MigrateError> {
        self.check(VaRange::USER)?;
        let _guard = self.shared().migration_lock.lock();
        if self.shared().lock().devices.attached(device).is_none() {
            return Ok(PageCount::ZERO);
        }
        Ok(self.migrator.bring_home(VaRange::USER, Some(device.index)))
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        if self.is_inherited() {
            // The thread exists in the parent only; this process has nothing to wait for.
            std::mem::forget(self.handler.take());
            return;
        }
        drop(self.hook.take());
        let migrator = Arc::clone(&self.migrator);
        let shared = &*migrator.shared;
        let _guard = shared.migration_lock.lock();
        shared.notifiers.release();
        migrator.bring_home(VaRange::USER, None);
        if shared.stop.raise().is_ok()
            && let Some(handler) = self.handler.take()
        {
            // It ends the process rather than panic.
            let _ = handler.join();
        }
        attach::release_all(shared);
    }
}
