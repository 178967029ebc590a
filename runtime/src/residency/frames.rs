//! Frames and tables in device memory, and copies to and from them.
//!
//! The host writes device memory that it can map, and reads it if the mapping is cached. For all
//! other memory the device copies, from one staging block for writes and to another for reads.
//! There are two blocks because a card's own memory is fast to write for the host and slow to read:
//! 124 MB/s on an NVIDIA H200. Writes are queued, and go in the submission of the round that needs
//! them. Reads of one call share a submission. Each staging block that is full takes one more.

use super::{
    kept::Kept,
    memory::{Memory, Span},
    queue::{Queue, Queued, STAGING_BYTES},
};
use crate::{
    VulkanError,
    lend::homes::Homes,
    vk::{
        Device,
        block::Block,
        command::{Recording, Submitted},
        frames::{FrameRun, FrameStore},
        transfer::{Region, Transfer},
    },
};
use farptr_rewrite::control::PAGE_BYTES;
use gpu_allocator::MemoryLocation;
use std::{collections::BTreeMap, sync::Arc};

/// Bytes of the first run that single pages come from. The next ones are twice as long each.
const GRANULE_BYTES: u64 = 64 << 10;
/// Bytes of the longest such run.
const MOST_BYTES: u64 = 1 << 20;

/// The device memory of one scope.
pub(crate) struct Frames {
    device: Arc<Device>,
    store: Arc<FrameStore>,
    /// What earlier scopes have left, which gives way.
    kept: Arc<Kept>,
    /// By address.
    runs: BTreeMap<u64, FrameRun>,
    /// The rest of the run that single pages come from.
    free: std::ops::Range<u64>,
    /// Bytes of the next such run.
    next_bytes: u64,
    /// Writes to memory that the host does not map.
    queue: Option<Queue>,
    /// The staging block for reads: host memory that the device copies to.
    reading: Option<Block>,
    /// Whether the device copies also where the host could, for tests.
    staged: bool,
}

/// Frames, and the lent memory that they hold copies of.
pub(crate) struct Copies<'c> {
    pub(crate) frames: &'c mut Frames,
    pub(crate) homes: &'c mut Homes,
}

impl Frames {
    pub(crate) fn new(
        device: &Arc<Device>,
        (store, kept): (&Arc<FrameStore>, &Arc<Kept>),
        staged: bool,
    ) -> Self {
        Self {
            device: Arc::clone(device),
            store: Arc::clone(store),
            kept: Arc::clone(kept),
            runs: BTreeMap::new(),
            free: 0..0,
            next_bytes: GRANULE_BYTES,
            queue: None,
            reading: None,
            staged,
        }
    }

    /// Whole pages in one stretch of device-local memory, if the budget and the device have them.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Option<u64> {
        let run = self.find(bytes, |store| store.take(bytes))?;
        Some(self.hold(run))
    }

    /// A run, in the place of what earlier scopes have left if there is no other: the oldest of it
    /// gives way, as long as that makes room at once.
    fn find(
        &self,
        bytes: u64,
        take: impl Fn(&Arc<FrameStore>) -> Option<FrameRun>,
    ) -> Option<FrameRun> {
        loop {
            if let Some(run) = take(&self.store) {
                return Some(run);
            }
            let left = self.store.left_bytes();
            let may_fit = bytes <= self.device.budget().limit().bytes();
            if !may_fit || !self.kept.evict() || self.store.left_bytes() <= left {
                return None;
            }
        }
    }

    /// Takes a run over, and returns its address.
    pub(crate) fn hold(&mut self, run: FrameRun) -> u64 {
        let address = run.address();
        self.runs.insert(address, run);
        address
    }

    /// Hands over the run at an address, after all copies to and from it.
    pub(crate) fn hand_over(&mut self, start: u64) -> Option<FrameRun> {
        self.runs.remove(&start)
    }

    /// Gives back what [`reserve`](Self::reserve) returned, after all copies to and from it.
    pub(crate) fn release(&mut self, start: u64) -> Result<(), VulkanError> {
        self.finish_writes()?;
        self.runs.remove(&start);
        Ok(())
    }

    /// Whole pages in one stretch: of device-local memory within the budget, of the host's beyond.
    pub(crate) fn allocate(&mut self, bytes: u64) -> Result<u64, VulkanError> {
        let bytes = bytes.next_multiple_of(PAGE_BYTES);
        if bytes > self.next_bytes / 4 {
            return match self.reserve(bytes) {
                Some(address) => Ok(address),
                None => self.spill(bytes),
            };
        }
        if self.free.end - self.free.start < bytes {
            self.free = self.take_more(bytes)?;
        }
        let start = self.free.start;
        self.free.start += bytes;
        Ok(start)
    }

    /// A run for single pages, so many bytes of them at least. Small budgets are used to the last
    /// page, but not for single pages alone at once.
    fn take_more(&mut self, least: u64) -> Result<std::ops::Range<u64>, VulkanError> {
        let wanted = self.next_bytes;
        self.next_bytes = (2 * wanted).min(MOST_BYTES);
        let part = self.store.left_bytes() / 4 / PAGE_BYTES * PAGE_BYTES;
        let most = wanted.min(part).max(least);
        let start = match self.find(least, |store| store.take_up_to(least, most)) {
            Some(run) => self.hold(run),
            None => self.spill(wanted)?,
        };
        Ok(start..start + self.runs[&start].bytes())
    }

    /// Whole pages of memory of the host that the device reads.
    fn spill(&mut self, bytes: u64) -> Result<u64, VulkanError> {
        let block = Block::new(&self.device, bytes, MemoryLocation::GpuToCpu)?;
        Ok(self.hold(FrameRun::whole(block)))
    }

    /// Splits spans where a run ends: the next run may begin at the very next address.
    fn pieces(&self, spans: &[Span]) -> Vec<Span> {
        let mut pieces = Vec::new();
        for span in spans {
            let mut done = 0;
            while done < span.bytes {
                let (home, device) = (span.home + done, span.device + done);
                let (run, offset) = run_of(&self.runs, device);
                let bytes = (span.bytes - done).min(run.bytes() - offset as u64);
                pieces.push(Span { home, device, bytes });
                done += bytes;
            }
        }
        pieces
    }

    /// Writes device memory, at the latest when [`submit_before`](Self::submit_before) hands over
    /// commands that read it.
    pub(crate) fn write(&mut self, device: u64, bytes: &[u8]) -> Result<(), VulkanError> {
        let staged = self.staged;
        let (run, offset) = run_of_mut(&mut self.runs, device);
        if let Some(host) = run.host_mut().filter(|_| !staged) {
            host[offset..offset + bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
        let start = run.address();
        let mut done = 0;
        while done < bytes.len() {
            if self.queue.as_ref().is_some_and(Queue::is_full) {
                self.finish_writes()?;
            }
            let queue = match &mut self.queue {
                Some(queue) => queue,
                none => none.insert(Queue::new(&self.device)?),
            };
            done += queue.push(start, device + done as u64, &bytes[done..]);
        }
        Ok(())
    }

    /// The writes that are queued, as copies from the staging block.
    fn writes(&self) -> Transfer<'_> {
        let mut transfer = Transfer::default();
        for (staging, step) in self.queue.iter().flat_map(Queue::steps) {
            transfer.step(step.map(|Queued { device, bytes, at }| {
                let (run, offset) = run_of(&self.runs, device);
                Region { from: staging.place(at), to: run.place(offset as u64), bytes }
            }));
        }
        transfer
    }

    /// Hands over what `then` records, with the writes that are queued before it. The caller waits
    /// for the commands before it writes again.
    ///
    /// An error means that nothing was submitted; the writes stay queued.
    pub(crate) fn submit_before(
        &mut self,
        then: impl FnOnce(&mut Recording),
    ) -> Result<Submitted, VulkanError> {
        let submitted = self.writes().submit_before(&self.device, then)?;
        self.forget_writes();
        Ok(submitted)
    }

    /// Makes sure that everything that was written is on the device.
    pub(crate) fn finish_writes(&mut self) -> Result<(), VulkanError> {
        if self.queue.as_ref().is_some_and(|queue| !queue.is_empty()) {
            let submitted = self.writes().submit(&self.device)?;
            self.forget_writes();
            submitted.finish()?;
        }
        Ok(())
    }

    /// Drops the writes that are queued.
    pub(crate) fn forget_writes(&mut self) {
        self.queue.iter_mut().for_each(Queue::clear);
    }

    /// Reads device memory and gives each part to `put`: the host reads memory that it caches, and
    /// the device copies all other memory to the staging block, one block at a time.
    fn read_each(
        &mut self,
        spans: &[Span],
        mut put: impl FnMut(Span, &[u8]),
    ) -> Result<(), VulkanError> {
        // What the host sees of the memory of a lost device is undefined.
        self.device.check()?;
        let staged = self.staged;
        let mut hidden = Vec::new();
        for part in self.pieces(spans) {
            let (run, offset) = run_of(&self.runs, part.device);
            match run.host().filter(|_| run.is_cached() && !staged) {
                Some(host) => put(part, &host[offset..][..part.bytes as usize]),
                None => hidden.push(part),
            }
        }
        if hidden.is_empty() {
            return Ok(());
        }
        if self.reading.is_none() {
            let reading = Block::new(&self.device, STAGING_BYTES, MemoryLocation::GpuToCpu)?;
            self.reading = Some(reading);
        }
        let reading = self.reading.as_ref().expect("made just now if it was not there");
        for parts in batches(&hidden) {
            // The first submission takes the queued writes along.
            let mut transfer = self.writes();
            let mut at = 0;
            transfer.step(parts.iter().map(|part| {
                let (run, offset) = run_of(&self.runs, part.device);
                let (from, to) = (run.place(offset as u64), reading.place(at));
                at += part.bytes;
                Region { from, to, bytes: part.bytes }
            }));
            transfer.submit(&self.device)?.finish()?;
            self.queue.iter_mut().for_each(Queue::clear);
            let mut rest = reading.host().expect("the block was made for the host");
            for part in parts {
                let (bytes, behind) = rest.split_at(part.bytes as usize);
                put(part, bytes);
                rest = behind;
            }
        }
        Ok(())
    }
}

/// The parts of each copy to the block that the host reads. They lie there one behind the other.
fn batches(spans: &[Span]) -> Vec<Vec<Span>> {
    let (mut all, mut parts, mut used) = (Vec::new(), Vec::new(), 0);
    for &span in spans {
        let mut done = 0;
        while done < span.bytes {
            if used == STAGING_BYTES {
                all.push(std::mem::take(&mut parts));
                used = 0;
            }
            let bytes = (span.bytes - done).min(STAGING_BYTES - used);
            parts.push(Span { home: span.home + done, device: span.device + done, bytes });
            (done, used) = (done + bytes, used + bytes);
        }
    }
    all.push(parts);
    all
}

impl Memory for Copies<'_> {
    type Error = VulkanError;

    fn allocate(&mut self, bytes: u64) -> Result<u64, VulkanError> {
        self.frames.allocate(bytes)
    }

    fn copy_in(&mut self, spans: &[Span]) -> Result<(), VulkanError> {
        for piece in self.frames.pieces(spans) {
            self.frames.write(piece.device, self.homes.bytes(piece.home, piece.bytes))?;
        }
        Ok(())
    }

    fn copy_home(&mut self, spans: &[Span]) -> Result<(), VulkanError> {
        let homes = &mut *self.homes;
        self.frames.read_each(spans, |Span { home, bytes, .. }, read| {
            homes.bytes_mut(home, bytes).copy_from_slice(read);
        })
    }

    fn read_home(&mut self, home: u64, bytes: &mut [u8]) {
        bytes.copy_from_slice(self.homes.bytes(home, bytes.len() as u64));
    }

    fn write(&mut self, device: u64, bytes: &[u8]) -> Result<(), VulkanError> {
        self.frames.write(device, bytes)
    }

    fn read_pages(&mut self, pages: &[u64]) -> Result<Vec<u8>, VulkanError> {
        let mut bytes = vec![0; pages.len() * PAGE_BYTES as usize];
        // In place of a home address, each span has the position among `bytes`.
        let place = |(home, &device): (u64, &u64)| Span { home, device, bytes: PAGE_BYTES };
        let spans: Vec<Span> = (0..).step_by(PAGE_BYTES as usize).zip(pages).map(place).collect();
        self.frames.read_each(&spans, |Span { home, .. }, read| {
            bytes[home as usize..][..read.len()].copy_from_slice(read);
        })?;
        Ok(bytes)
    }
}

/// The run that has a device address, and the address's place in it.
fn run_of(runs: &BTreeMap<u64, FrameRun>, device: u64) -> (&FrameRun, usize) {
    let (_, run) = runs.range(..=device).next_back().expect("addresses come from these frames");
    (run, place(run, device))
}

/// As [`run_of`], for writing.
fn run_of_mut(runs: &mut BTreeMap<u64, FrameRun>, device: u64) -> (&mut FrameRun, usize) {
    let (_, run) = runs.range_mut(..=device).next_back().expect("addresses come from these frames");
    let place = place(run, device);
    (run, place)
}

fn place(run: &FrameRun, device: u64) -> usize {
    let offset = device - run.address();
    assert!(offset < run.bytes(), "addresses come from these frames");
    usize::try_from(offset).expect("blocks are in memory")
}
