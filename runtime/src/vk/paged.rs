//! What a scope keeps on the device for launches in rounds: frames, tables, bitmaps, a log.

use super::{Device, arena::Arena, buffer::SharedBuffer};
use crate::{
    VulkanError,
    config::Config,
    launch::{channel::Channel, control::Record, launcher::Launcher, log, pool::Pooled},
    lend::{
        homes::Homes,
        lends::{Lends, Segment},
    },
    paging::{
        PAGE_BYTES,
        areas::Areas,
        pages::{Pages, pages_of},
        process::ProcessPages,
        rounds,
        shared::is_shared,
    },
    residency::memory::{Memory, Span},
    stats::Counters,
};
use farptr_hmm::{Maps, VaRange, VirtAddr, Vma};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering::Relaxed,
};

/// Faults that the log of a round has room for.
pub(crate) const LOG_CAPACITY: u32 = 1023;
/// Pages to a word of a fault bitmap: two bits each.
pub(crate) const PAGES_PER_WORD: u64 = 16;

/// The device's side of a scope whose launches run in rounds.
pub(crate) struct Paged {
    pub(crate) pages: Pages,
    pub(crate) memory: Frames,
    /// By the starts of the segments.
    pub(crate) placed: BTreeMap<VirtAddr, Placed>,
    pub(crate) log: SharedBuffer,
    pub(crate) channel: Pooled<Channel>,
    pub(crate) process: Option<ProcessPages>,
    /// Memory for the segments that a kernel bisects, once one did.
    bisected: Option<SegmentList>,
    /// The device may have written since the last flush.
    pub(crate) written: bool,
    /// The areas of the process, if the kernel tells.
    areas: Option<Areas>,
}

/// Memory that each launch fills anew with the records of segments: no launch runs beside another.
struct SegmentList {
    address: u64,
    bytes: u64,
}

/// Frames, and the lent memory that they are copies of.
pub(crate) struct Frames {
    pub(crate) arena: Arena,
    pub(crate) homes: Homes,
}

/// A segment that has a table.
pub(crate) struct Placed {
    /// The position of its lend among the pages.
    pub(crate) lend: usize,
    range: VaRange,
    /// Two bits for each page, from a multiple of [`PAGES_PER_WORD`] on.
    pub(crate) bitmap: SharedBuffer,
}

impl Placed {
    /// The number of the first page.
    pub(crate) fn first_page(&self) -> u64 {
        self.range.start().get() / PAGE_BYTES
    }

    /// The number of the page that the bitmap starts with.
    pub(crate) fn first_bit(&self) -> u64 {
        self.range.start().get() / PAGE_BYTES / PAGES_PER_WORD * PAGES_PER_WORD
    }
}

impl Paged {
    pub(crate) fn new(launcher: &Launcher, config: &Config) -> Result<Self, VulkanError> {
        let device = launcher.device();
        let words = log::log_words(LOG_CAPACITY);
        let log_buffer = SharedBuffer::for_host(device, u64::from(words) * 4)?;
        log_buffer.words().iter().for_each(|word| word.store(0, Relaxed));
        let channel = launcher.take_channel()?;
        let arena = Arena::new(device, config.device_budget, config.hooks.staged_copies);
        Ok(Self {
            pages: Pages::default(),
            memory: Frames { arena, homes: Homes::default() },
            placed: BTreeMap::new(),
            log: log_buffer,
            channel,
            process: None,
            bisected: None,
            written: false,
            areas: Maps::open().ok().map(Areas::of),
        })
    }

    /// Gives every segment a table. Nothing is running.
    ///
    /// # Safety
    ///
    /// Each segment was lent to the scope that owns this value, as [`Homes::add`] asks for.
    pub(crate) unsafe fn place(
        &mut self,
        device: &Device,
        lends: &Lends,
    ) -> Result<(), VulkanError> {
        let is_new = |segment: &&Segment| {
            let known = self.placed.get(&segment.range.start());
            known.is_none_or(|placed| placed.range != segment.range)
        };
        let new: Vec<Segment> = lends.iter().filter(is_new).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        if let Some(areas) = &mut self.areas {
            areas.refresh();
        }
        if self.pages.has_aliases() {
            self.bring_home(device)?;
        }
        let mut aliased = BTreeSet::new();
        for segment in &new {
            self.retire_within(segment.range)?;
            // SAFETY: the caller's promise.
            unsafe { self.memory.homes.add(segment.range, segment.writable) };
            let areas = self.areas_of(segment.range);
            aliased.extend(self.pages.shared.add(segment.range, segment.writable, &areas));
        }
        self.retire_aliased(device, lends, &aliased)?;
        for segment in lends.iter() {
            if !self.placed.contains_key(&segment.range.start()) {
                self.add(device, segment)?;
            }
        }
        Ok(())
    }

    /// Takes segments away that another one has swallowed.
    fn retire_within(&mut self, range: VaRange) -> Result<(), VulkanError> {
        let within = self.placed.range(range.start()..range.end());
        let swallowed: Vec<VirtAddr> = within.map(|(&start, _)| start).collect();
        for start in swallowed {
            self.retire(start)?;
        }
        self.pages.shared.remove(range);
        Ok(())
    }

    /// Takes segments away that need frames in common with new ones.
    fn retire_aliased(
        &mut self,
        device: &Device,
        lends: &Lends,
        addresses: &BTreeSet<u64>,
    ) -> Result<(), VulkanError> {
        if addresses.is_empty() {
            return Ok(());
        }
        self.bring_home(device)?;
        for &address in addresses {
            if let Some(segment) = lends.containing(VirtAddr::new(address)) {
                self.retire(segment.range.start())?;
            }
        }
        Ok(())
    }

    fn bring_home(&mut self, device: &Device) -> Result<(), VulkanError> {
        let bytes = self.write_back()?;
        Counters::add(&device.counters.bytes_home, bytes);
        Ok(())
    }

    /// The areas that a segment is in; none where the kernel does not tell.
    fn areas_of(&mut self, range: VaRange) -> Vec<Vma> {
        let areas = self.areas.as_mut().and_then(|areas| areas.within(range).ok());
        areas.unwrap_or_default()
    }

    fn add(&mut self, device: &Device, segment: &Segment) -> Result<(), VulkanError> {
        let range = segment.range;
        let areas = if self.pages.has_aliases() { self.areas_of(range) } else { Vec::new() };
        let aliases = self.pages.shared.aliases(range, &areas);
        let pages = pages_of(range) as u64;
        let table = self.memory.arena.allocate(pages * 8)?;
        let words = pages / PAGES_PER_WORD + 2;
        let bitmap = SharedBuffer::for_host(device, words * 4)?;
        bitmap.words().iter().for_each(|word| word.store(0, Relaxed));
        let apart = aliases.is_empty();
        let frames = if apart { self.memory.arena.reserve(pages * PAGE_BYTES) } else { None };
        let lend = self.pages.add(range, segment.writable, frames, table);
        self.pages.set_aliases(lend, aliases);
        self.placed.insert(range.start(), Placed { lend, range, bitmap });
        Ok(())
    }

    fn retire(&mut self, start: VirtAddr) -> Result<(), VulkanError> {
        let Some(placed) = self.placed.remove(&start) else { return Ok(()) };
        if let Some(frames) = self.pages.retire(placed.lend) {
            self.memory.arena.release(frames)?;
        }
        Ok(())
    }

    /// The segments as a kernel sees them that looks up pages.
    pub(crate) fn records<'a>(&'a self, lends: &'a Lends) -> impl Iterator<Item = Record> + 'a {
        lends.iter().filter_map(|segment| {
            let placed = self.placed.get(&segment.range.start())?;
            let lend = &self.pages.lends()[placed.lend];
            let table = self.pages.table.address(lend.flat());
            let target = table.wrapping_sub(lend.first_page() * 8);
            let first_word = placed.first_bit() / PAGES_PER_WORD;
            let bitmap = placed.bitmap.address().wrapping_sub(first_word * 4);
            Some(Record { segment: *segment, target, bitmap })
        })
    }

    /// Puts records where a kernel can bisect them, and gives their address. Nothing is running:
    /// what is there of an earlier launch is overwritten.
    pub(crate) fn bisected(&mut self, records: &[u8]) -> Result<u64, VulkanError> {
        let needed = records.len() as u64;
        let address = match &self.bisected {
            Some(held) if held.bytes >= needed => held.address,
            // Powers of two, so that all that was outgrown is no more than what is held.
            _ => {
                let bytes = needed.next_power_of_two().max(PAGE_BYTES);
                let address = self.memory.allocate(bytes)?;
                self.bisected = Some(SegmentList { address, bytes });
                address
            }
        };
        self.memory.write(address, records)?;
        Ok(address)
    }

    /// Notes that a launch without rounds may write all that it may.
    pub(crate) fn note_written(&mut self) {
        if !std::mem::replace(&mut self.written, true) {
            self.pages.commit();
        }
    }

    /// Writes home what the device has newer; nothing is running.
    pub(crate) fn write_back(&mut self) -> Result<u64, VulkanError> {
        let bytes = rounds::write_back(&mut self.memory, &mut self.pages)?;
        self.written = false;
        Ok(bytes)
    }

    /// Writes home what the device has newer, if it may have written since the last time; nothing is
    /// running.
    pub(crate) fn bring_written_home(&mut self, device: &Device) -> Result<(), VulkanError> {
        if self.written { self.bring_home(device) } else { Ok(()) }
    }

    /// Drops what the device has of a segment, since home was or will be changed.
    pub(crate) fn forget(&mut self, start: VirtAddr) {
        let below = self.placed.range(..=start).next_back();
        if let Some((_, placed)) = below.filter(|(_, placed)| placed.range.contains(start)) {
            self.pages.forget(placed.lend);
        }
    }

    /// Drops what the device has of memory that the host is about to change through a segment: also
    /// at other addresses, where that is known, or everything, where it is not known yet.
    pub(crate) fn forget_home(&mut self, segment: &Segment) {
        if self.placed.contains_key(&segment.range.start()) {
            return self.forget(segment.range.start());
        }
        if let Some(areas) = &mut self.areas {
            areas.refresh();
        }
        if self.areas_of(segment.range).iter().any(is_shared) {
            self.placed.values().for_each(|placed| self.pages.forget(placed.lend));
        }
    }

    /// Notes which segments the device has whole.
    pub(crate) fn note_resident(&self, lends: &mut Lends) {
        let changed = |segment: &&Segment| segment.delta != self.delta(segment.range.start());
        let changed: Vec<Segment> = lends.iter().filter(changed).copied().collect();
        for segment in changed {
            let delta = self.delta(segment.range.start());
            lends.insert(Segment { delta, ..segment });
        }
    }

    /// What is to be added to host addresses of a segment, if the device has all of it.
    pub(crate) fn delta(&self, start: VirtAddr) -> Option<u64> {
        let placed = self.placed.get(&start)?;
        self.pages.lends()[placed.lend].resident_delta()
    }
}

impl Memory for Frames {
    type Error = VulkanError;

    fn allocate(&mut self, bytes: u64) -> Result<u64, VulkanError> {
        self.arena.allocate(bytes)
    }

    fn copy_in(&mut self, spans: &[Span]) -> Result<(), VulkanError> {
        self.arena.copy_in(&self.homes, spans)
    }

    fn copy_home(&mut self, spans: &[Span]) -> Result<(), VulkanError> {
        self.arena.copy_home(&mut self.homes, spans)
    }

    fn read_home(&mut self, home: u64, bytes: &mut [u8]) {
        bytes.copy_from_slice(self.homes.bytes(home, bytes.len() as u64));
    }

    fn write(&mut self, device: u64, bytes: &[u8]) -> Result<(), VulkanError> {
        self.arena.write(device, bytes)
    }

    fn read(&mut self, device: u64, bytes: &mut [u8]) -> Result<(), VulkanError> {
        self.arena.read(device, bytes)
    }
}
