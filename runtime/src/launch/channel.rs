//! The memory through which the host and a batch of checked launches exchange data: control blocks
//! and logs.
//!
//! Everything is written before the batch is submitted and read after it has completed, so host and
//! device never race, but for the words by which a launch is told to end.

use super::{
    control_block::Row,
    log::{self, Log},
};
use crate::{
    VulkanError,
    vk::{
        Device,
        buffer::{SharedBuffer, WordAt},
        control::{BlockAt, ControlBuffer},
    },
};
use farptr_rewrite::control::{ENDED, MAX_ROWS, STOPPED};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Faults that the log of a launch has room for. One would do for a launch that is not repeated.
/// With room for more, the error can name the fault of the first invocation in the grid, and not of
/// the one that happened to report first.
const LOG_CAPACITY: u32 = 31;
const LOG_WORDS: u32 = log::log_words(LOG_CAPACITY);
/// The alignment of control blocks: no device asks for more (Vulkan
/// specification, "Required Limits", `minUniformBufferOffsetAlignment`).
const BLOCK_ALIGN_WORDS: u32 = 64;
/// The bytes that a kernel sees of the control buffer from its block on.
const WINDOW_BYTES: u32 = MAX_ROWS * 16;
/// Words of control blocks: 1 KiB for each launch of a batch, or four blocks of the largest size.
const CONTROL_WORDS: u32 = 4 * WINDOW_BYTES / 4;
/// Words of the buffer of blocks: the last block starts before the end of the blocks, and its
/// window has to be in the buffer.
const BLOCKS_WORDS: u32 = CONTROL_WORDS + WINDOW_BYTES / 4;

/// The word of the logs that says how many invocations of the scope had failed when the batch was
/// complete.
const AFTER_AT: u32 = Channel::LAUNCHES * LOG_WORDS;

/// Control blocks and logs for the launches of one batch.
pub(crate) struct Channel {
    /// The control blocks, which the host writes and kernels read.
    control: ControlBuffer,
    /// The logs, which kernels write and the host reads.
    reports: SharedBuffer,
    /// Words of control blocks that are in use.
    used: u32,
    /// The words at which control blocks start.
    blocks: Vec<u32>,
    /// Logs that are in use.
    logs: u32,
}

/// The place of one launch in a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaunchPlace {
    log: u32,
    /// The word of the control block that says whether an earlier launch failed.
    stopped: u32,
}

impl Channel {
    /// Launches that a channel has room for at least, if their blocks are small.
    pub(crate) const LAUNCHES: u32 = 64;

    pub(crate) fn new(device: &Device) -> Result<Self, VulkanError> {
        let bytes = u64::from(BLOCKS_WORDS) * 4;
        let control = ControlBuffer::new(device, bytes, WINDOW_BYTES.into())?;
        let reports = SharedBuffer::for_host(device, u64::from(AFTER_AT + 1) * 4)?;
        Ok(Self { control, reports, used: 0, blocks: Vec::new(), logs: 0 })
    }

    /// Whether a launch with this many control rows has room.
    pub(crate) fn has_room(&self, rows: usize) -> bool {
        let words = u32::try_from(rows * 4).unwrap_or(u32::MAX);
        self.logs < Self::LAUNCHES && CONTROL_WORDS - self.used >= words
    }

    /// Starts the log of a launch, whose control block is written next, and gives the log's device
    /// address.
    ///
    /// There is room for it: [`has_room`](Self::has_room) said so.
    pub(crate) fn add_launch(&mut self) -> (LaunchPlace, u64) {
        let place =
            LaunchPlace { log: self.logs * LOG_WORDS, stopped: word_at(self.used, STOPPED) };
        self.logs += 1;
        log::clear(&self.reports.words()[place.log as usize..][..LOG_WORDS as usize], LOG_CAPACITY);
        (place, self.reports.address() + u64::from(place.log) * 4)
    }

    /// Writes the control block of a launch.
    pub(crate) fn write(&mut self, rows: &[Row]) -> BlockAt {
        let at = self.used;
        let words = &self.control.words()[at as usize..CONTROL_WORDS as usize];
        assert!(rows.len() * 4 <= words.len(), "`has_room` was asked");
        for (word, &value) in words.iter().zip(rows.as_flattened()) {
            word.store(value, Relaxed);
        }
        self.blocks.push(at);
        let len = u32::try_from(rows.len() * 4).expect("it is in the buffer");
        self.used = (at + len).next_multiple_of(BLOCK_ALIGN_WORDS);
        self.control.block_at(at)
    }

    /// The word of a launch's control block to which the batch copies the stop word before the
    /// launch.
    pub(crate) fn before(&self, place: LaunchPlace) -> WordAt {
        self.control.word_at(place.stopped)
    }

    /// The word of the logs to which the batch copies the stop word after its last launch.
    pub(crate) fn after(&self) -> WordAt {
        self.reports.word_at(AFTER_AT)
    }

    /// Tells the workgroups that have not begun to do nothing.
    pub(crate) fn stop(&self) {
        for &at in &self.blocks {
            self.control.words()[word_at(at, ENDED) as usize].store(1, Relaxed);
        }
    }

    /// How many invocations failed in the launch: the difference of the stop word before this
    /// launch and before the next one, or after the last launch of the batch.
    ///
    /// The batch is complete, was not told to end, and recorded these copies of the stop word.
    pub(crate) fn failures(&self, place: LaunchPlace, next: Option<LaunchPlace>) -> u32 {
        let before = |place: LaunchPlace| &self.control.words()[place.stopped as usize];
        let after = next.map_or(&self.reports.words()[AFTER_AT as usize], before);
        let count = |word: &AtomicU32| word.load(Relaxed);
        count(after).wrapping_sub(count(before(place)))
    }

    /// The log of a launch that has completed.
    pub(crate) fn log(&self, place: LaunchPlace) -> Log {
        let words = &self.reports.words()[place.log as usize..][..LOG_WORDS as usize];
        Log::read(words, LOG_CAPACITY)
    }

    /// Makes room for another batch.
    pub(crate) fn clear(&mut self) {
        (self.used, self.logs) = (0, 0);
        self.blocks.clear();
    }
}

/// A word of a row, in the control block at a word.
const fn word_at(block: u32, (row, word): (u32, u32)) -> u32 {
    block + row * 4 + word
}
