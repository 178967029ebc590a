//! The frames of a device whose memory is memory of this process: pages can be moved there.
//!
//! # Safety
//!
//! The memory is a mapping of its own, to which no reference is ever given out. It is read and
//! written by system calls only, and its pages are dropped only while their frames are free.

use crate::addr::{PageCount, PageNumber, PageSize, VaRange, VirtAddr};
use crate::device::DeviceError;
use crate::fatal::or_die;
use crate::sync::{Mutex, lock};

use super::copy::{read_bytes, write_bytes};
use super::mmap::{HugePages, Locked, Mapping, MemoryError, drop_pages};
use super::owned::Owned;

const NO_FRAME: &str = "a frame was meant that a device does not have";

/// Frames in the memory of this process. Frame `n` is `n` pages behind the start.
#[derive(Debug)]
pub(crate) struct HostFrames {
    memory: Mapping,
    /// How many frames there are.
    count: usize,
    state: Mutex<State>,
}

/// The frames that are free, and those that are not holes. One bit for each frame.
#[derive(Debug)]
struct State {
    taken: Owned<u64>,
    dirty: Owned<u64>,
    /// Holes with a table of small pages above them, so that no huge page can be moved there. The
    /// kernel takes an empty table away when the whole of it is dropped.
    tables: Owned<u64>,
    /// The frame at which the search begins.
    next: usize,
    used: usize,
}

fn get(bits: &[u64], bit: usize) -> bool {
    or_die(bits.get(bit / 64), NO_FRAME) >> (bit % 64) & 1 != 0
}

fn set(bits: &mut [u64], bit: usize, to: bool) {
    let word = or_die(bits.get_mut(bit / 64), NO_FRAME);
    *word = *word & !(1 << (bit % 64)) | u64::from(to) << (bit % 64);
}

impl State {
    /// Finds free neighbouring frames, the first at a multiple of `align`.
    fn find(&self, count: usize, align: usize, total: usize) -> Option<usize> {
        let start = self.next / align * align;
        let fits = |first: usize| {
            first.checked_add(count).is_some_and(|end| end <= total)
                && (first..first + count).all(|frame| !get(&self.taken, frame))
        };
        let ahead = (start..total).step_by(align);
        ahead.chain((0..start).step_by(align)).find(|&first| fits(first))
    }
}

impl HostFrames {
    /// Reserves room for `count` pages. Frames that hold nothing cost nothing.
    pub(crate) fn new(count: PageCount) -> Result<Self, DeviceError> {
        let no_memory = |_| DeviceError::NoMemory;
        let bytes = count.bytes(PageSize::host()).ok_or(DeviceError::NoMemory)?;
        let memory = Mapping::new(bytes, PageSize::MIB_2, HugePages::Never).map_err(no_memory)?;
        let count = usize::try_from(count.get()).map_err(|_| DeviceError::NoMemory)?;
        let bits = || Owned::new(count.div_ceil(64), HugePages::Never).map_err(no_memory);
        let bits = || bits().map(Owned::keep_home);
        let (taken, dirty, tables) = (bits()?, bits()?, bits()?);
        let state = State { taken, dirty, tables, next: 0, used: 0 };
        Ok(Self { memory, count, state: Mutex::new(state) })
    }

    /// Counts the frames that are taken.
    pub(crate) fn used(&self) -> PageCount {
        PageCount::new(lock(&self.state).used as u64)
    }

    /// Takes `count` neighbouring frames, aligned to `align`, and returns the first. They hold
    /// anything.
    pub(crate) fn alloc(
        &self,
        count: PageCount,
        align: PageSize,
    ) -> Result<PageNumber, DeviceError> {
        let count = usize::try_from(count.get()).map_err(|_| DeviceError::NoMemory)?;
        let align = (align.bytes() / PageSize::host().bytes()).max(1);
        let align = usize::try_from(align).map_err(|_| DeviceError::NoMemory)?;
        let mut state = lock(&self.state);
        let first = state.find(count, align, self.count).ok_or(DeviceError::NoMemory)?;
        (first..first + count).for_each(|frame| set(&mut state.taken, frame, true));
        state.next = if first + count < self.count { first + count } else { 0 };
        state.used += count;
        Ok(PageNumber::new(first as u64))
    }

    /// Gives frames back. Allocates nothing and drops no page.
    pub(crate) fn free(&self, first: PageNumber, count: PageCount) {
        if self.range_of(first, count).is_err() {
            return;
        }
        let mut state = lock(&self.state);
        for frame in frames(first, count) {
            if get(&state.taken, frame) {
                set(&mut state.taken, frame, false);
                state.used -= 1;
            }
        }
    }

    /// Tells whether frames are holes, and no table stands in the way of a huge page if they are
    /// as many as one has.
    pub(crate) fn is_empty(&self, first: PageNumber, count: PageCount) -> bool {
        let state = lock(&self.state);
        let whole = is_huge(count);
        let used = |frame| get(&state.dirty, frame) || whole && get(&state.tables, frame);
        !frames(first, count).any(used)
    }

    /// Makes taken frames holes, which read as zeroes and to which pages can be moved. They count
    /// as empty only once they are: a drop that fails leaves them as they were noted.
    pub(crate) fn clear(&self, first: PageNumber, count: PageCount) -> Result<(), DeviceError> {
        let range = self.range_of(first, count)?;
        if self.is_empty(first, count) {
            return Ok(());
        }
        // SAFETY: 1. The range is a part of the mapping. 2. The frames are taken by the caller,
        // which wants them to be zeroes; no reference to them exists.
        unsafe { drop_pages(range, Locked::Goes) }
            .map_err(|error| DeviceError::Other { source: error.into() })?;
        self.note(first, count, false, !is_huge(count));
        Ok(())
    }

    /// Takes back what the program did by locking all memory of the process: pages cannot be moved
    /// between locked and other memory.
    pub(crate) fn unlock(&self) -> Result<(), MemoryError> {
        self.memory.unlock()
    }

    fn note(&self, first: PageNumber, count: PageCount, dirty: bool, tables: bool) {
        let mut state = lock(&self.state);
        for frame in frames(first, count) {
            set(&mut state.dirty, frame, dirty);
            set(&mut state.tables, frame, tables);
        }
    }

    /// Notes that frames may hold pages, before anything is done that fills them.
    pub(crate) fn note_filled(&self, first: PageNumber, count: PageCount) {
        self.note(first, count, true, !is_huge(count));
    }

    /// Notes that the pages of frames were moved away, as small ones.
    pub(crate) fn note_emptied(&self, first: PageNumber, count: PageCount) {
        self.note(first, count, false, true);
    }

    /// The addresses of frames.
    pub(crate) fn range_of(
        &self,
        first: PageNumber,
        count: PageCount,
    ) -> Result<VaRange, DeviceError> {
        let size = PageSize::host();
        let offset = first.get().checked_mul(size.bytes());
        let start = offset.and_then(|offset| self.memory.range().start().checked_add(offset));
        let range = start.zip(count.bytes(size)).and_then(|(at, len)| VaRange::from_len(at, len));
        let range = range.filter(|range| self.memory.range().contains_range(range));
        range.ok_or(DeviceError::OutOfRange { frame: first })
    }

    /// The addresses of all frames.
    pub(crate) fn range(&self) -> VaRange {
        self.memory.range()
    }

    /// Reads bytes from the start of a frame on. A hole that is read is none afterwards.
    pub(crate) fn read(&self, first: PageNumber, bytes: &mut [u8]) -> Result<(), DeviceError> {
        let count = pages_of(bytes.len());
        let range = self.range_of(first, count)?;
        self.note_filled(first, count);
        read_bytes(range.start(), bytes).map_err(|e| DeviceError::Other { source: e.into() })
    }

    /// Writes bytes from the start of a frame on.
    pub(crate) fn write(&self, first: PageNumber, bytes: &[u8]) -> Result<(), DeviceError> {
        let count = pages_of(bytes.len());
        let range = self.range_of(first, count)?;
        self.note_filled(first, count);
        let start: VirtAddr = range.start();
        // SAFETY: 1. The bytes lie in the mapping, which has no other owner. 2. It is accessed by
        // such calls and by moves of the kernel only.
        unsafe { write_bytes(start, bytes) }.map_err(|e| DeviceError::Other { source: e.into() })
    }
}

/// Tells whether so many pages are at least one huge page.
fn is_huge(count: PageCount) -> bool {
    count.bytes(PageSize::host()).is_some_and(|bytes| bytes >= PageSize::MIB_2.bytes())
}

fn frames(first: PageNumber, count: PageCount) -> std::ops::Range<usize> {
    let [first, count] = [first.get(), count.get()].map(|n| usize::try_from(n).ok());
    let end = first.zip(count).and_then(|(first, count)| first.checked_add(count));
    or_die(first, NO_FRAME)..or_die(end, NO_FRAME)
}

fn pages_of(len: usize) -> PageCount {
    PageCount::new((len as u64).div_ceil(PageSize::host().bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(count: u64) -> PageCount {
        PageCount::new(count)
    }

    #[test]
    fn frames_are_given_out_once() {
        let frames = HostFrames::new(pages(8)).expect("memory");
        let page = PageSize::host();
        let first = frames.alloc(pages(5), page).expect("frames");
        assert!(frames.alloc(pages(5), page).is_err());
        let second = frames.alloc(pages(3), page).expect("frames");
        assert_eq!((first.get(), second.get(), frames.used()), (0, 5, pages(8)));
        frames.free(first, pages(2));
        assert_eq!(frames.alloc(pages(2), page).expect("frames"), first);
    }

    #[test]
    fn huge_frames_are_aligned() {
        let frames = HostFrames::new(pages(2048)).expect("memory");
        frames.alloc(pages(1), PageSize::host()).expect("a frame");
        let huge = pages(PageSize::MIB_2.bytes() / PageSize::host().bytes());
        let first = frames.alloc(huge, PageSize::MIB_2).expect("frames");
        assert_eq!(first.get() % huge.get(), 0);
    }

    #[test]
    fn frames_are_read_written_and_cleared() {
        let frames = HostFrames::new(pages(3)).expect("memory");
        let first = frames.alloc(pages(3), PageSize::host()).expect("frames");
        let bytes = vec![7; 5000];
        frames.write(first, &bytes).expect("write");
        let mut read = vec![0; 5000];
        frames.read(first, &mut read).expect("read");
        assert_eq!(read, bytes);
        frames.clear(first, pages(3)).expect("clear");
        frames.read(first, &mut read).expect("read");
        assert!(read.iter().all(|&byte| byte == 0));
        assert!(frames.read(PageNumber::new(3), &mut [0]).is_err());
    }
}
