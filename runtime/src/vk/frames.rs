//! Device memory for frames, which scopes take and give back.
//!
//! A block is one buffer with memory of its own. To make one costs system calls and, page by page,
//! faults of the driver, so blocks are large, stay, and are given out in parts: see `DESIGN.md`,
//! "Frames outlive scopes".
//!
//! # Safety
//!
//! A [`FrameRun`] gives out slices of a block that several of them share. The argument:
//!
//! 1. The bytes of a run are no other run's. The list of free parts gives each byte out once, and
//!    gets it back from the run that had it, by [`Returned`] alone.
//! 2. A run keeps its block alive.
//! 3. A byte is given out again when the commands have completed that were submitted to run kernels
//!    before its run was dropped. Copies in a queue of their own are waited for by whoever has the
//!    run, as for any memory ([`deferred`](super::deferred)).

use super::{
    Device,
    block::{Block, Place},
    deferred::Deferred,
};
use farptr_rewrite::control::PAGE_BYTES;
use gpu_allocator::MemoryLocation;
use range_alloc::RangeAllocator;
use std::{
    collections::BTreeMap,
    ops::Range,
    ptr::NonNull,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Bytes of the smallest block, if there is room for it.
const LEAST_BYTES: u64 = 1 << 20;
/// A block is not larger than this, unless one run needs it to be.
const MOST_BYTES: u64 = 256 << 20;

/// The blocks of a device for frames.
pub(crate) struct FrameStore {
    /// By address. Nothing is made or dropped while the lock is held: a block that goes may let
    /// other objects go, and runs among them come back here.
    blocks: Mutex<BTreeMap<u64, Parted>>,
    device: Arc<Device>,
}

/// A block, and which of its bytes no run has.
struct Parted {
    block: Arc<SharedBlock>,
    /// By device address.
    free: RangeAllocator<u64>,
}

/// A block whose bytes are given out in parts. None of its functions makes a slice of them.
struct SharedBlock(Block);

// SAFETY: the functions of this type read what never changes, and make no reference to the mapping.
unsafe impl Sync for SharedBlock {}

impl SharedBlock {
    fn addresses(&self) -> Range<u64> {
        self.0.address()..self.0.address() + self.0.bytes()
    }

    fn place(&self, address: u64) -> Place<'_> {
        self.0.place(address - self.0.address())
    }

    fn mapped_at(&self, address: u64) -> Option<NonNull<u8>> {
        self.0.mapped_at(address - self.0.address())
    }

    fn is_cached(&self) -> bool {
        self.0.is_cached()
    }
}

/// Frames at consecutive device addresses, until they are dropped.
pub(crate) struct FrameRun {
    // Invariant: the block has the bytes, and no other run does.
    addresses: Range<u64>,
    block: Arc<SharedBlock>,
    /// Gives the addresses back; absent if the run is all of a block that no store has.
    _returned: Option<Deferred<Returned>>,
}

/// Gives the addresses of a run back when it is dropped.
struct Returned {
    store: Weak<FrameStore>,
    block: u64,
    addresses: Range<u64>,
}

impl FrameStore {
    pub(crate) fn new(device: &Arc<Device>) -> Self {
        Self { blocks: Mutex::default(), device: Arc::clone(device) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Parted>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whole pages in one stretch of device-local memory, if the budget and the device have them.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> Option<FrameRun> {
        self.take_up_to(bytes, bytes)
    }

    /// As [`take`](Self::take), but for fewer pages if there are no more, `least` bytes or more.
    pub(crate) fn take_up_to(self: &Arc<Self>, least: u64, most: u64) -> Option<FrameRun> {
        let halves = std::iter::successors(Some(most / 2), |bytes| Some(bytes / 2));
        let halves = halves.map(|bytes| bytes / PAGE_BYTES * PAGE_BYTES);
        let fewer = halves.take_while(|&bytes| bytes > least).chain([least]);
        let fit = || self.fit(most).or_else(|| fewer.clone().find_map(|bytes| self.fit(bytes)));
        if let Some(run) = self.fit(most) {
            return Some(run);
        }
        self.grow(least);
        fit().or_else(|| {
            // Blocks that nobody uses may be in the way of one with room.
            self.release();
            self.grow(least);
            fit()
        })
    }

    /// Bytes that were taken from the device, for frames and for others.
    #[cfg(test)]
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.device.allocated_bytes()
    }

    /// Bytes that all runs together may still have: of what no run has, and of new blocks.
    pub(crate) fn left_bytes(&self) -> u64 {
        let free: u64 = self.lock().values().map(|parted| parted.free.total_available()).sum();
        free + self.device.budget().left() / PAGE_BYTES * PAGE_BYTES
    }

    /// A run in a block that is there: in the smallest one with room, so that large ones become
    /// free for large runs.
    fn fit(self: &Arc<Self>, bytes: u64) -> Option<FrameRun> {
        let mut blocks = self.lock();
        let mut by_size: Vec<_> = blocks.iter_mut().collect();
        by_size.sort_by_key(|(_, parted)| parted.bytes());
        by_size.into_iter().find_map(|(&start, Parted { block, free })| {
            let addresses = free.allocate_range(bytes).ok()?;
            let store = Arc::downgrade(self);
            let returned = Returned { store, block: start, addresses: addresses.clone() };
            let _returned = Some(Deferred::new(returned, self.device.queues()));
            Some(FrameRun { addresses, block: Arc::clone(block), _returned })
        })
    }

    /// Makes a block with room for a run of so many bytes, if the budget and the device have one:
    /// as large as all others together, within limits, so that few are needed whatever scopes use.
    fn grow(&self, bytes: u64) {
        let held: u64 = self.lock().values().map(Parted::bytes).sum();
        let left = self.device.budget().left() / PAGE_BYTES * PAGE_BYTES;
        let wanted = held.clamp(LEAST_BYTES, MOST_BYTES).min(left).max(bytes);
        let block = new_block(&self.device, wanted).or_else(|| new_block(&self.device, bytes));
        if let Some(block) = block.map(|block| Arc::new(SharedBlock(block))) {
            let free = RangeAllocator::new(block.addresses());
            self.lock().insert(block.addresses().start, Parted { block, free });
        }
    }

    /// Gives the blocks back to the device of which no run has a byte.
    fn release(&self) {
        let unused: Vec<Parted> = self
            .lock()
            .extract_if(.., |_, parted| parted.free.is_empty())
            .map(|(_, p)| p)
            .collect();
        drop(unused);
    }
}

impl Parted {
    fn bytes(&self) -> u64 {
        let Range { start, end } = self.block.addresses();
        end - start
    }
}

/// A block of device-local memory, if the budget and the device have it.
fn new_block(device: &Device, bytes: u64) -> Option<Block> {
    let share = device.budget().take(bytes)?;
    let mut block = Block::new(device, bytes, MemoryLocation::GpuOnly).ok()?;
    block.keep_share(share);
    Some(block)
}

impl FrameRun {
    /// All of a block.
    pub(crate) fn whole(block: Block) -> Self {
        let block = Arc::new(SharedBlock(block));
        Self { addresses: block.addresses(), block, _returned: None }
    }

    /// The device address of the first page.
    pub(crate) fn address(&self) -> u64 {
        self.addresses.start
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.addresses.end - self.addresses.start
    }

    /// The place of a byte of the run, for commands that copy.
    pub(crate) fn place(&self, offset: u64) -> Place<'_> {
        let left = self.bytes().checked_sub(offset).expect("the byte is in the run");
        self.block.place(self.address() + offset).within(left)
    }

    /// As [`Block::is_cached`].
    pub(crate) fn is_cached(&self) -> bool {
        self.block.is_cached()
    }

    fn mapped(&self) -> Option<NonNull<u8>> {
        self.block.mapped_at(self.address())
    }

    /// The bytes of the pages as the host sees them, if it does. No kernel is writing them.
    pub(crate) fn host(&self) -> Option<&[u8]> {
        let length = usize::try_from(self.bytes()).expect("mapped memory has addresses");
        // SAFETY: 1. the memory is mapped while the block lives (module, 2), and initialised as far
        // as the host can tell; 2. no other run has the bytes (module, 1), writing needs
        // `&mut self`, and kernels run only while no slice lives.
        self.mapped().map(|start| unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
    }

    /// As [`host`](Self::host), for writing.
    pub(crate) fn host_mut(&mut self) -> Option<&mut [u8]> {
        let length = usize::try_from(self.bytes()).expect("mapped memory has addresses");
        // SAFETY: as in `host`; `&mut self` shows that no other slice lives.
        self.mapped().map(|start| unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), length) })
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        let Some(store) = self.store.upgrade() else { return };
        // In a child made by `fork` a thread that did not come along may hold the lock. A lost
        // device may still run kernels that use the bytes, so nobody gets them.
        if store.device.is_inherited() || store.device.check().is_err() {
            return;
        }
        let mut blocks = store.lock();
        if let Some(parted) = blocks.get_mut(&self.block) {
            parted.free.free_range(self.addresses.clone());
        }
    }
}
