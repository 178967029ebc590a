//! The mirror's page table: where every page is that is not simply at home.
//!
//! It is read and changed by the thread that serves faults, so it lives in memory of its own and
//! never allocates after it was made. Pages are kept in blocks of 512, as the processor keeps
//! them; a block exists while one of its pages is away, and looking at a range costs what the
//! blocks in it cost.

#![forbid(unsafe_code)]

mod entry;
#[cfg(test)]
mod tests;

use std::cell::Cell;

use bytemuck::{Pod, Zeroable};

use crate::addr::pages::page_bytes;
use crate::addr::{PageCount, PageNumber, PageSize, VaRange, VirtAddr};
use crate::fatal::or_die;
use crate::sys::mmap::{HugePages, MemoryError};
use crate::sys::owned::Owned;

pub(crate) use entry::DeviceIndex;
use entry::Entry;
pub(crate) use entry::{Held, Mover, Place};

/// How many pages a block has, and how many a mover may have in transit at a time.
pub(crate) const BLOCK: usize = 512;

/// The size of a block, which is that of a huge page.
pub(crate) fn block_size() -> PageSize {
    let size = PageSize::new(BLOCK as u64 * page_bytes());
    or_die(size, "a block is no power of two")
}

/// Blocks that only pages moved by `mremap` may use, which cannot be refused.
const SPARE: usize = 1024;

/// The message for an entry that is missing, which never happens. Going on would take a page whose
/// bytes are elsewhere for one at home.
const DAMAGED: &str = "the table of the pages that are away is damaged";

/// How many runs of frames may wait to be given back.
const GARBAGE: usize = 1 << 16;

/// There is no room for another block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A block that exists.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct BlockRef {
    /// The number of the block: its address in blocks.
    number: u64,
    /// Its words are `node * BLOCK..`.
    node: u32,
    /// How many of its pages are away, never zero.
    away: u32,
}

/// Frames to be given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Garbage {
    device: u64,
    frame: u64,
    /// Where the first of the pages belonged last.
    host: u64,
    count: u64,
}

impl Garbage {
    pub(crate) fn device(self) -> DeviceIndex {
        DeviceIndex(self.device.to_le_bytes()[0])
    }

    /// The first frame, and the pages whose frames they were.
    pub(crate) fn frames(self) -> (PageNumber, VaRange) {
        let host = VaRange::from_len(VirtAddr::new(self.host), self.count * page_bytes());
        (PageNumber::new(self.frame), or_die(host, DAMAGED))
    }

    /// Adds a frame that follows the last, of a page that follows the last; `false` if it does not.
    fn join(&mut self, next: Self) -> bool {
        let end = Self {
            frame: self.frame + self.count,
            host: self.host + self.count * page_bytes(),
            count: next.count,
            ..*self
        };
        let follows = end == next;
        self.count += if follows { next.count } else { 0 };
        follows
    }
}

/// The pages that one mover has in transit.
///
/// Mappings may change meanwhile. The table keeps the list up to date, so that the mover learns
/// where each page belongs now.
#[derive(Debug)]
pub(crate) struct Transit {
    /// The home of each page, or [`Transit::GONE`].
    at: [VirtAddr; BLOCK],
}

impl Transit {
    const GONE: VirtAddr = VirtAddr::new(u64::MAX);

    /// Returns the home of a page now, or `None` if it has none any more.
    pub(crate) fn at(&self, index: usize) -> Option<VirtAddr> {
        self.at.get(index).copied().filter(|&at| at != Self::GONE)
    }

    fn set(&mut self, index: usize, at: VirtAddr) {
        *or_die(self.at.get_mut(index), DAMAGED) = at;
    }
}

/// Neighbouring pages that a device holds in consecutive frames, in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldRun {
    pub(crate) range: VaRange,
    pub(crate) first: Held,
}

/// The mirror's page table.
#[derive(Debug)]
pub(crate) struct PageTable {
    /// The first `blocks` are in use, in ascending order.
    index: Owned<BlockRef>,
    blocks: usize,
    /// The place at which the last block was found: the next look-up is often about a neighbour.
    recent: Cell<usize>,
    words: Owned<Entry>,
    /// Nodes that are free again: the first `freed` of them.
    free: Owned<u32>,
    freed: usize,
    /// Nodes from here on were never used.
    fresh: u32,
    garbage: Owned<Garbage>,
    garbage_len: usize,
    /// Pages in [`Place::Device`].
    held: u64,
    migrator: Transit,
    handler: Transit,
}

fn split(at: VirtAddr) -> (u64, usize) {
    let page = at.page_number(PageSize::host()).get();
    (page / BLOCK as u64, or_die(usize::try_from(page % BLOCK as u64).ok(), DAMAGED))
}

fn join(number: u64, index: usize) -> VirtAddr {
    VirtAddr::new((number * BLOCK as u64 + index as u64) * page_bytes())
}

impl PageTable {
    /// Makes a table for as many blocks.
    pub(crate) fn new(blocks: usize) -> Result<Self, MemoryError> {
        let total = blocks + SPARE;
        let transit = || Transit { at: [Transit::GONE; BLOCK] };
        Ok(Self {
            index: Owned::new(total, HugePages::Never)?.keep_home(),
            blocks: 0,
            recent: Cell::new(0),
            words: Owned::new(total * BLOCK, HugePages::Never)?.keep_home(),
            free: Owned::new(total, HugePages::Never)?.keep_home(),
            freed: 0,
            fresh: 0,
            garbage: Owned::new(GARBAGE, HugePages::Never)?.keep_home(),
            garbage_len: 0,
            held: 0,
            migrator: transit(),
            handler: transit(),
        })
    }

    fn used(&self) -> &[BlockRef] {
        or_die(self.index.get(..self.blocks), DAMAGED)
    }

    fn block(&self, found: usize) -> BlockRef {
        or_die(self.used().get(found).copied(), DAMAGED)
    }

    fn find(&self, number: u64) -> Result<usize, usize> {
        let recent = self.recent.get();
        if self.used().get(recent).is_some_and(|block| block.number == number) {
            return Ok(recent);
        }
        let found = self.used().binary_search_by_key(&number, |block| block.number);
        found.inspect(|&found| self.recent.set(found))
    }

    fn word(&self, block: BlockRef, index: usize) -> Entry {
        or_die(self.words.get(block.node as usize * BLOCK + index).copied(), DAMAGED)
    }

    /// Says where a page is.
    pub(crate) fn place(&self, at: VirtAddr) -> Place {
        let (number, index) = split(at);
        match self.find(number) {
            Ok(found) => self.word(self.block(found), index).place(),
            Err(_) => Place::Home,
        }
    }

    /// Tells whether a migration may use another block.
    pub(crate) fn has_room(&self) -> bool {
        self.blocks + SPARE < self.index.len()
    }

    /// Counts the pages that devices hold.
    pub(crate) fn held(&self) -> PageCount {
        PageCount::new(self.held)
    }

    /// Notes where a page is. A page in transit is entered in the mover's list too.
    pub(crate) fn set(&mut self, at: VirtAddr, place: Place) -> Result<(), Full> {
        let (number, index) = split(at);
        let found = match self.find(number) {
            Ok(found) => found,
            Err(_) if place == Place::Home => return Ok(()),
            Err(position) => self.open_block(number, position)?,
        };
        let old = self.replace(found, index, Entry::new(place));
        self.held -= u64::from(matches!(old, Place::Device(_)));
        self.held += u64::from(matches!(place, Place::Device(_)));
        if let Place::Transit(mover, index) = place {
            self.transit_mut(mover).set(index, at);
        }
        Ok(())
    }

    fn replace(&mut self, found: usize, index: usize, entry: Entry) -> Place {
        let block = or_die(self.index.get_mut(found), DAMAGED);
        let word = or_die(self.words.get_mut(block.node as usize * BLOCK + index), DAMAGED);
        let old = std::mem::replace(word, entry);
        block.away += u32::from(entry != Entry::HOME);
        block.away -= u32::from(old != Entry::HOME);
        if block.away == 0 {
            self.close_block(found);
        }
        old.place()
    }

    fn open_block(&mut self, number: u64, position: usize) -> Result<usize, Full> {
        if self.blocks == self.index.len() {
            return Err(Full);
        }
        let node = if self.freed > 0 {
            self.freed -= 1;
            self.free.get(self.freed).copied().ok_or(Full)?
        } else {
            self.fresh += 1;
            self.fresh - 1
        };
        let end = self.blocks;
        self.blocks += 1;
        self.index.copy_within(position..end, position + 1);
        *or_die(self.index.get_mut(position), DAMAGED) = BlockRef { number, node, away: 0 };
        Ok(position)
    }

    /// Takes a block out whose words are all zero.
    fn close_block(&mut self, found: usize) {
        let node = self.block(found).node;
        self.index.copy_within(found + 1..self.blocks, found);
        self.blocks -= 1;
        if let Some(free) = self.free.get_mut(self.freed) {
            *free = node;
            self.freed += 1;
        }
    }

    /// Finds the first page of `range` that is not at home.
    pub(crate) fn next_away(&self, range: VaRange) -> Option<(VirtAddr, Place)> {
        let (number, skipped) = split(range.start());
        let first = self.used().partition_point(|block| block.number < number);
        for &block in self.used().get(first..)? {
            let from = if block.number == number { skipped } else { 0 };
            if let Some(index) = self.next_in(block, from) {
                let at = join(block.number, index);
                let found = (at, self.word(block, index).place());
                return Some(found).filter(|_| at < range.end());
            }
        }
        None
    }

    /// Finds the first page of a block that is not at home, from a place in it on.
    fn next_in(&self, block: BlockRef, from: usize) -> Option<usize> {
        let start = block.node as usize * BLOCK;
        let words = self.words.get(start + from..start + BLOCK)?;
        Some(from + words.iter().position(|&word| word != Entry::HOME)?)
    }

    /// Finds the first run of pages of `range` that a device holds, of at most `limit` pages.
    pub(crate) fn next_held(&self, range: VaRange, limit: u64) -> Option<HeldRun> {
        let mut rest = range;
        loop {
            match self.next_away(rest)? {
                (at, Place::Device(first)) => return Some(self.run_from(at, first, range, limit)),
                (at, _) => rest = VaRange::new(at.checked_add(page_bytes())?, range.end())?,
            }
        }
    }

    fn run_from(&self, at: VirtAddr, first: Held, range: VaRange, limit: u64) -> HeldRun {
        let rest = or_die(VaRange::new(at, range.end()), DAMAGED);
        let most = rest.page_count(PageSize::host()).get().min(limit).max(1);
        let (mut number, mut from) = split(at);
        let mut count = 0;
        while let Ok(found) = self.find(number)
            && let Some(&block) = self.used().get(found)
        {
            let start = block.node as usize * BLOCK;
            let words = or_die(self.words.get(start + from..start + BLOCK), DAMAGED);
            let follows = |&(page, &word): &(u64, &Entry)| {
                page < most && word == Entry::new(Place::Device(first.advance(page)))
            };
            let alike = (count..).zip(words).take_while(follows).count();
            count += alike as u64;
            if alike < words.len() {
                break;
            }
            (number, from) = (number + 1, 0);
        }
        HeldRun {
            range: or_die(VaRange::from_len(at, count.max(1) * page_bytes()), DAMAGED),
            first,
        }
    }

    pub(crate) fn transit(&self, mover: Mover) -> &Transit {
        match mover {
            Mover::Migrator => &self.migrator,
            Mover::Handler => &self.handler,
        }
    }

    fn transit_mut(&mut self, mover: Mover) -> &mut Transit {
        match mover {
            Mover::Migrator => &mut self.migrator,
            Mover::Handler => &mut self.handler,
        }
    }

    /// Notes that the pages of `range` have no content any more. Their frames become garbage, and
    /// those in transit have no home any more.
    pub(crate) fn forget(&mut self, range: VaRange) {
        let mut rest = range;
        while let Some((at, _)) = self.next_away(rest) {
            let end = self.forget_in_block(at, range.end());
            rest = or_die(VaRange::new(end, range.end()), DAMAGED);
        }
    }

    /// Does so for the pages from `at` on, up to `end` or the end of the block; returns which.
    fn forget_in_block(&mut self, at: VirtAddr, end: VirtAddr) -> VirtAddr {
        let ((number, from), (last, rest)) = (split(at), split(end));
        let (to, end) = if last == number { (rest, end) } else { (BLOCK, join(number + 1, 0)) };
        let Ok(found) = self.find(number) else {
            return end;
        };
        let start = self.block(found).node as usize * BLOCK;
        let mut forgotten = 0;
        for index in from..to {
            let word = std::mem::take(or_die(self.words.get_mut(start + index), DAMAGED));
            forgotten += u32::from(word != Entry::HOME);
            match word.place() {
                Place::Device(held) => {
                    self.held -= 1;
                    self.discard(held, join(number, index));
                }
                Place::Transit(mover, index) => self.transit_mut(mover).set(index, Transit::GONE),
                Place::Home => {}
            }
        }
        let block = or_die(self.index.get_mut(found), DAMAGED);
        block.away -= forgotten;
        if block.away == 0 {
            self.close_block(found);
        }
        end
    }

    /// Notes that the pages of `from` are at `to` now, in place of whatever was noted there: a
    /// mover may have claimed them between the change and the message about it.
    pub(crate) fn rekey(&mut self, from: VaRange, to: VirtAddr) -> Result<(), Full> {
        self.forget(VaRange::from_len(to, from.len_bytes()).ok_or(Full)?);
        let mut rest = from;
        while let Some((at, place)) = self.next_away(rest) {
            rest = or_die(VaRange::new(at, from.end()), DAMAGED);
            let new = at.offset_from(from.start()).and_then(|offset| to.checked_add(offset));
            self.set(at, Place::Home)?;
            self.set(new.ok_or(Full)?, place)?;
        }
        Ok(())
    }

    /// Keeps the frame of the page at `at` to be given back. Without room for it, it stays taken.
    fn discard(&mut self, held: Held, at: VirtAddr) {
        let (frame, host) = (held.frame.get(), at.get());
        let new = Garbage { device: held.device.0.into(), frame, host, count: 1 };
        let filled = or_die(self.garbage.get_mut(..self.garbage_len), DAMAGED);
        if filled.last_mut().is_some_and(|last| last.join(new)) {
            return;
        }
        if let Some(next) = self.garbage.get_mut(self.garbage_len) {
            *next = new;
            self.garbage_len += 1;
        }
    }

    /// Takes frames to be given back.
    pub(crate) fn take_garbage(&mut self) -> Option<Garbage> {
        self.garbage_len = self.garbage_len.checked_sub(1)?;
        self.garbage.get(self.garbage_len).copied()
    }
}
