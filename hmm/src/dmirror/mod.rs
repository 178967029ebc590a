//! A device in software, with the commands and the counters of the kernel's test driver.
//!
//! It mirrors the memory of this process page by page and computes nothing. It makes visible from
//! outside what the mirror does: each command says how many pages it copied and how often it had to
//! fault pages in.

#![forbid(unsafe_code)]

mod code;
mod coherent;
mod entries;
mod error;

use std::sync::Arc;
use std::time::Instant;

use crate::addr::pages::{bytes_of, count_of, page_bytes};
use crate::addr::{PageCount, PageSize, VaRange, VirtAddr};
use crate::device::{Hold, Owner};
use crate::error::FaultError;
use crate::fatal::or_die;
use crate::host::HostMm;
use crate::mirror::migrate::Migration;
use crate::mirror::table::PageTable;
use crate::mirror::{DeviceId, Mirror};
use crate::notifier::Notifier;
use crate::sync::{Mutex, lock};
use crate::sys::copy::read_bytes;
use crate::sys::device::HostDevice;
use crate::sys::lease::Lease;
use crate::walk::pfn::Request;
use crate::walk::range::HmmRange;
use crate::walk::{range_fault, snapshot};

pub use code::Code;
use code::{Kind, code};
use coherent::CoherentDevice;
pub use coherent::CoherentMemory;
use entries::{Entries, Entry, erase};
use error::DEADLINE;
pub use error::{DmirrorError, Reply};

/// The software device.
#[derive(Debug)]
pub struct Dmirror {
    mirror: Arc<Mirror>,
    device: Arc<HostDevice>,
    id: DeviceId,
    entries: Arc<Entries>,
    notifier: Notifier,
    /// The memory to which its pages go instead of its own.
    coherent: Option<Arc<CoherentMemory>>,
}

/// The reasons for which a copy stops.
enum Stop {
    Missing(VirtAddr),
    Failed(DmirrorError),
}

impl Dmirror {
    /// Opens a device with room for `count` pages.
    ///
    /// # Errors
    ///
    /// - [`DmirrorError`] says what could not be made.
    pub fn open(mirror: Arc<Mirror>, count: PageCount) -> Result<Self, DmirrorError> {
        Self::make(mirror, count, None)
    }

    /// Opens a device whose memory the CPU can access: pages that are moved there are touched
    /// without a fault, and come home by a command only.
    ///
    /// # Errors
    ///
    /// - [`DmirrorError`] says what could not be made.
    pub fn open_coherent(
        mirror: Arc<Mirror>,
        count: PageCount,
        memory: Arc<CoherentMemory>,
    ) -> Result<Self, DmirrorError> {
        Self::make(mirror, count, Some(memory))
    }

    fn make(
        mirror: Arc<Mirror>,
        count: PageCount,
        coherent: Option<Arc<CoherentMemory>>,
    ) -> Result<Self, DmirrorError> {
        let owner = Owner::new();
        let device = Arc::new(HostDevice::new(owner, count)?);
        let id = mirror.attach(Arc::clone(&device) as _)?;
        let table = PageTable::new(1 << 14).map_err(|_| DmirrorError::NoMemory)?;
        let entries = Arc::new(Entries { table: Mutex::new(table) });
        let everything = VaRange::USER;
        let notifier =
            mirror.notifiers().register(everything, Some(owner), Arc::clone(&entries) as _);
        let notifier = notifier.map_err(|_| DmirrorError::NoMemory)?;
        Ok(Self { mirror, device, id, entries, notifier, coherent })
    }

    /// Returns the mirror.
    #[must_use]
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Counts the pages in the device's memory.
    #[must_use]
    pub fn used(&self) -> PageCount {
        match &self.coherent {
            Some(memory) => memory.used(self.id.index),
            None => self.device.used(),
        }
    }

    /// `FLAGS(FAIL_ALLOC)`: the next allocation of a huge page fails, once, on the device or on
    /// the way home.
    pub fn fail_next_huge(&self) {
        self.device.fail_next_huge();
    }

    /// `READ`: copies the pages as the device sees them.
    ///
    /// # Errors
    ///
    /// - [`DmirrorError`] if a page cannot be accessed. Nothing is returned then.
    pub fn read(&self, range: VaRange) -> Result<(Vec<u8>, Reply), DmirrorError> {
        let mut bytes = vec![0; len_of(range)];
        let reply = self.each_page(range, false, |index, entry, at| {
            let page = bytes_of(index..index + 1);
            let page = or_die(bytes.get_mut(page), "a read is too short for its pages");
            match entry.frame {
                Some(frame) => Ok(self.device.read(frame, page)?),
                None => read_bytes(at, page).map_err(|_| DmirrorError::Fault { addr: at }),
            }
        })?;
        Ok((bytes, reply))
    }

    /// `WRITE`: stores bytes as the device does. The lease begins where the bytes go.
    ///
    /// # Errors
    ///
    /// - [`DmirrorError`] if a page cannot be accessed. Pages before it may have been written.
    ///
    /// # Panics
    ///
    /// If the lease is not as long as the bytes.
    pub fn write(&self, lease: &Lease, bytes: &[u8]) -> Result<Reply, DmirrorError> {
        assert_eq!(lease.range().len_bytes(), bytes.len() as u64, "the lease of {lease:?}");
        self.each_page(lease.range(), true, |index, entry, at| {
            let page =
                or_die(bytes.get(bytes_of(index..index + 1)), "a write is too short for its pages");
            match entry.frame {
                Some(frame) => Ok(lease.write_frame(at, &self.device, frame, page)?),
                None => lease.write_back(at, page).map_err(|_| DmirrorError::Fault { addr: at }),
            }
        })
    }

    /// Goes through the pages with the entries of the table only. If one is missing, the rest of
    /// the range is faulted in once.
    fn each_page(
        &self,
        range: VaRange,
        write: bool,
        mut act: impl FnMut(usize, Entry, VirtAddr) -> Result<(), DmirrorError>,
    ) -> Result<Reply, DmirrorError> {
        if !range.is_aligned(PageSize::host()) {
            return Err(DmirrorError::Invalid { addr: range.start() });
        }
        self.revalidate(range)?;
        let mut reply = Reply::default();
        let deadline = Instant::now() + DEADLINE;
        let mut cursor = range.start();
        while cursor < range.end() {
            let index = usize::try_from(reply.cpages).unwrap_or(usize::MAX);
            match self.one_page(cursor, write, |entry| act(index, entry, cursor)) {
                Ok(()) => {
                    reply.cpages += 1;
                    cursor = VirtAddr::new(cursor.get() + page_bytes());
                }
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Missing(addr)) if Instant::now() > deadline => {
                    return Err(DmirrorError::Busy { addr });
                }
                Err(Stop::Missing(_)) => {
                    let rest = VaRange::new(cursor, range.end()).unwrap_or_default();
                    self.fault(rest, write, deadline)?;
                    reply.faults += 1;
                }
            }
        }
        Ok(reply)
    }

    /// A page of the device is accessed under the lock; one at home without, because the access may
    /// wait for a thread that needs the lock.
    fn one_page(
        &self,
        at: VirtAddr,
        write: bool,
        act: impl FnOnce(Entry) -> Result<(), DmirrorError>,
    ) -> Result<(), Stop> {
        let table = lock(&self.entries.table);
        let entry = Entry::find(&table, at).filter(|entry| entry.write || !write);
        let entry = entry.ok_or(Stop::Missing(at))?;
        if entry.frame.is_none() {
            drop(table);
        }
        act(entry).map_err(Stop::Failed)
    }

    /// Removes entries that the areas do not allow any more: no message tells of an `mprotect`.
    fn revalidate(&self, range: VaRange) -> Result<(), DmirrorError> {
        self.mirror.drain();
        let vmas = self.mirror.vmas(range).map_err(FaultError::from)?;
        for vma in vmas.iter().filter(|vma| !(vma.flags.read && vma.flags.write)) {
            if let Some(part) = vma.range.intersection(&range) {
                let mut table = lock(&self.entries.table);
                for page in part.pages(PageSize::host()) {
                    let writable = Entry::find(&table, page.start()).is_some_and(|e| e.write);
                    if !vma.flags.read || writable {
                        erase(&mut table, page);
                    }
                }
            }
        }
        Ok(())
    }

    /// Faults pages in and enters them into the device's page table.
    fn fault(&self, pages: VaRange, write: bool, deadline: Instant) -> Result<(), DmirrorError> {
        // Memory that cannot be watched is mirrored all the same: it is accessed by its address.
        let _ = self.mirror.watch(pages);
        let mut range = HmmRange::new(pages, &self.notifier)?;
        range.default_flags = if write { Request::FAULT | Request::WRITE } else { Request::FAULT };
        loop {
            match range_fault(&*self.mirror, &mut range) {
                // Entries that an `mprotect` forbade during the walk are removed again.
                Ok(()) if self.enter(&range) => return self.revalidate(pages),
                Ok(()) | Err(FaultError::Busy { .. }) if Instant::now() > deadline => {
                    return Err(DmirrorError::Busy { addr: pages.start() });
                }
                Ok(()) | Err(FaultError::Busy { .. }) => range.read_begin(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Enters the answers of a walk, unless they do not count any more.
    fn enter(&self, range: &HmmRange<'_>) -> bool {
        let mut table = lock(&self.entries.table);
        if range.read_retry() || self.mirror.has_pending_drop(range.range()) {
            return false;
        }
        for run in range.pfns().runs().iter().filter(|run| run.first.is_valid()) {
            for (index, page) in run.range.pages(PageSize::host()).enumerate() {
                let frame = run.first.number().filter(|_| run.first.is_device());
                let frame = frame.and_then(|frame| frame.checked_add(PageCount::new(index as u64)));
                let entry = Entry { frame, write: run.first.is_writable(), exclusive: false };
                // A full table shows as a page that is missing.
                let _ = table.set(page.start(), entry.place(page.start()));
            }
        }
        true
    }

    /// `MIGRATE_TO_DEV`: moves the pages to the device and returns what it then finds there. With a
    /// lease it moves pages of areas that cannot be written too.
    ///
    /// # Errors
    ///
    /// - [`DmirrorError::Invalid`] if nothing readable is mapped at some address.
    /// - [`DmirrorError::NotFound`] if a page did not move. Others may have.
    pub fn migrate_to_dev(
        &self,
        range: VaRange,
        lease: Option<&Lease>,
    ) -> Result<(Vec<u8>, Reply), DmirrorError> {
        if let Some(memory) = &self.coherent {
            let (index, owner) = (self.id.index, self.device_owner());
            let device = CoherentDevice { mirror: &self.mirror, memory, index, owner };
            return device.place(range);
        }
        match lease {
            Some(lease) => self.mirror.migrate_leased(range, self.id, lease)?,
            None => self.mirror.migrate_to_device(range, self.id)?,
        };
        self.adopt(range, Hold::Private)?;
        self.read_present(range)
    }

    /// `EXCLUSIVE`: has the pages for the device alone, until the CPU touches them.
    ///
    /// # Errors
    ///
    /// - As [`Dmirror::migrate_to_dev`].
    pub fn exclusive(&self, range: VaRange) -> Result<(Vec<u8>, Reply), DmirrorError> {
        let migration: Migration = self.mirror.make_exclusive(range, self.id)?;
        if let Some(skipped) = migration.skipped().first() {
            return Err(DmirrorError::NotFound { addr: skipped.range.start() });
        }
        self.adopt(range, Hold::Exclusive)?;
        self.read_present(range)
    }

    /// Enters the pages that the device holds into its page table, in place of what was there.
    fn adopt(&self, range: VaRange, hold: Hold) -> Result<(), DmirrorError> {
        loop {
            let seq = self.notifier.read_begin();
            let vmas = self.mirror.vmas(range).map_err(FaultError::from)?;
            let writable = |at| vmas.iter().any(|vma| vma.flags.write && vma.range.contains(at));
            let mut held = self.mirror.device_pages(range);
            held.retain(|run| run.owner == self.device_owner() && run.hold == hold);
            let mut table = lock(&self.entries.table);
            if self.notifier.read_retry(seq) {
                continue;
            }
            erase(&mut table, range);
            for run in held {
                for (index, page) in run.range.pages(PageSize::host()).enumerate() {
                    let frame = run.frame.checked_add(PageCount::new(index as u64));
                    let write = writable(page.start());
                    let entry = Entry { frame, write, exclusive: hold == Hold::Exclusive };
                    // A full table shows as a page that is missing.
                    let _ = table.set(page.start(), entry.place(page.start()));
                }
            }
            return Ok(());
        }
    }

    fn device_owner(&self) -> Owner {
        crate::DeviceMemory::owner(&*self.device)
    }

    /// Reads what the device's page table has, without faulting.
    fn read_present(&self, range: VaRange) -> Result<(Vec<u8>, Reply), DmirrorError> {
        let mut bytes = vec![0; len_of(range)];
        let mut reply = Reply::default();
        let chunks = bytes.chunks_mut(usize::try_from(page_bytes()).unwrap_or(1));
        for (page, chunk) in range.pages(PageSize::host()).zip(chunks) {
            let read = self.one_page(page.start(), false, |entry| match entry.frame {
                Some(frame) => Ok(self.device.read(frame, chunk)?),
                None => Err(DmirrorError::NotFound { addr: page.start() }),
            });
            match read {
                Ok(()) => reply.cpages += 1,
                Err(Stop::Missing(addr)) => return Err(DmirrorError::NotFound { addr }),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        Ok((bytes, reply))
    }

    /// `MIGRATE_TO_SYS`: brings the pages home that devices hold.
    ///
    /// # Errors
    ///
    /// - [`DmirrorError::Invalid`] if the range is not made of whole pages.
    pub fn migrate_to_sys(&self, range: VaRange) -> Result<Reply, DmirrorError> {
        let mut cpages = 0;
        if let Some(memory) = &self.coherent {
            cpages += memory.bring_home(range, self.id.index).get();
        }
        if self.device.take_failure() {
            for page in range.pages(PageSize::host()) {
                cpages += self.mirror.migrate_to_home(page)?.get();
            }
        } else {
            cpages += self.mirror.migrate_to_home(range)?.get();
        }
        Ok(Reply { cpages, faults: 0 })
    }

    /// `CHECK_EXCLUSIVE`: succeeds if the device has none of the pages for itself.
    ///
    /// # Errors
    ///
    /// - [`DmirrorError::Permission`] names the first page that it has.
    pub fn check_exclusive(&self, range: VaRange) -> Result<(), DmirrorError> {
        self.mirror.drain();
        let table = lock(&self.entries.table);
        let mut pages = range.pages(PageSize::host());
        let is_held =
            |page: &VaRange| Entry::find(&table, page.start()).is_some_and(|e| e.exclusive);
        match pages.find(is_held) {
            Some(page) => Err(DmirrorError::Permission { addr: page.start() }),
            None => Ok(()),
        }
    }

    /// `RELEASE`: brings every page home that the device holds.
    ///
    /// # Errors
    ///
    /// - [`DmirrorError::Migrate`] if the mirror belongs to the parent process.
    pub fn release(&self) -> Result<Reply, DmirrorError> {
        let memory = self.coherent.as_ref();
        let placed =
            memory.map_or(0, |memory| memory.bring_home(VaRange::USER, self.id.index).get());
        Ok(Reply { cpages: placed + self.mirror.evict(self.id)?.get(), faults: 0 })
    }

    /// `SNAPSHOT`: one byte a page, in the encoding of the kernel's driver; see [`Code`].
    ///
    /// # Errors
    ///
    /// - [`DmirrorError`] if the pages cannot be examined.
    pub fn snapshot(&self, pages: VaRange) -> Result<Vec<u8>, DmirrorError> {
        self.mirror.drain();
        let mut range = HmmRange::new(pages, &self.notifier)?;
        while let Err(error) = snapshot(&*self.mirror, &mut range) {
            match error {
                FaultError::Busy { .. } => range.read_begin(),
                error => return Err(error.into()),
            }
        }
        let kind = |at| match self.coherent.as_ref().and_then(|memory| memory.holder(at)) {
            Some(holder) if holder == self.id.index => Kind::LocalCoherent,
            Some(_) => Kind::RemoteCoherent,
            None if self.mirror.is_zero_page(at) => Kind::Zero,
            None => Kind::System,
        };
        Ok(range.pfns().pages().map(|(at, pfn)| code(pfn, || kind(at))).collect())
    }
}

impl Drop for Dmirror {
    /// Closing the device brings its pages home.
    fn drop(&mut self) {
        if let Some(memory) = &self.coherent {
            memory.bring_home(VaRange::USER, self.id.index);
        }
        self.mirror.detach(self.id);
    }
}

fn len_of(range: VaRange) -> usize {
    bytes_of(0..count_of(range)).len()
}
