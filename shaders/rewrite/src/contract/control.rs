//! The control block and the log: the memory through which host and rewritten kernel exchange data.
//!
//! The control block is a uniform buffer of rows of four words, read-only for the kernel and new
//! for each launch:
//!
//! | rows | words |
//! |---|---|
//! | [`LIMITS`] | the number 1, loop limit, loop limit after a fault, [`STOPPED`] |
//! | [`SPARE`] | address of zeroes to read, address of memory to write, where a check failed |
//! | [`REPORTS`] | address of the log, address of the stop word |
//! | [`LOOKUP`] | address of the radix tree's root, address of the bisected segments |
//! | [`TREE`] | entries of the tree's root, [`ENDED`], address of the host's word ([`OVERDUE`]) |
//! | [`Layout::check_row`] | per [`IndexCheck`]: device address, first index, count |
//! | [`Layout::segment_row`] | per segment, unless bisected: its record |
//! | [`Layout::grid_row`] | if folded: workgroups in x, y, z and altogether; the size of each |
//!
//! Of a check that is left out ([`Proved`](crate::Proved)) at most the device address is read.
//!
//! A check whose count is 0 has the first index 0, and its device address plus its `offset_bytes`
//! is that of the zeroes. Without `offset_roots` the first index is 0. The root of
//! the tree has at least one entry.
//!
//! A check's device address is that of index 0, its `offset_bytes` not included. Addresses are 64
//! bits, low word first. A segment's record is [`Layout::record_rows`] rows of 64-bit numbers:
//! start, length in bytes, target, fault bitmap, then a *span* per
//! [`AddressCheck`](crate::AddressCheck). An access at `a` is within a segment if
//! `a - start < span`, unsigned and wrapping; the span is the length less the size of the access
//! plus one, or 0 where the segment does not allow it. The *target* is what is added to an address
//! ([`Translation::Segments`](crate::Translation)), or the address of the entry that page number 0
//! would have in the segment's flat table, wrapping ([`Translation::Table`](crate::Translation)).
//! The *fault bitmap* is, in the same way, the address of the word for page number 0: two bits per
//! page, 16 pages to a word, the upper bit for writes.
//!
//! A table's entry is a 64-bit number: the frame's device address, a multiple of 4096, plus
//! [`ENTRY_READ`] and [`ENTRY_WRITE`]. The radix tree has three levels: bits 36 and up of an
//! address index the root, bits 24 to 35 a node of 4096 addresses, bits 12 to 23 a leaf of 4096
//! entries. There is no null: an absent part of the tree is a pointer to a shared node, or leaf, of
//! absent entries.
//!
//! The log is 8 words of counts ([`LogWord`]) and then entries of [`LOG_ENTRY_WORDS`] words:
//! address or index (low word, high word), workgroup (x, y, z), the invocation's number in its
//! workgroup, and last the site's position plus one, times two, plus one for an index. The host
//! sets all of it to 0 but the capacity; kernels add to it. An entry whose last word is 0 was not
//! finished: its invocation had no iterations left for its report.
//!
//! The stop word counts the invocations that failed, those whose faults are collected excepted. It
//! is 0 at first; kernels alone write it while they run, and a launch gets its value from before
//! the launch through [`STOPPED`]. The host's word is 0, too, and the host alone writes it, to end
//! a launch. Loops end once either word is not 0. The words are apart because neither side could
//! add to a word of the other: a processor has no atomic operations on memory of a card.
//!
//! [`IndexCheck`]: crate::IndexCheck

use crate::contract::analysis::Analysis;
use crate::contract::variant::{Fold, Search, Variant};

/// The row of limits.
pub const LIMITS: u32 = 0;
/// Row and word of the copy of the stop word from before the launch. If it is not 0, the launch
/// does nothing. Kernels do not write it.
pub const STOPPED: (u32, u32) = (LIMITS, 3);
/// The row with the addresses of the memory that refused accesses use: zeroes to read and the sink
/// to write, each [`SPARE_BYTES`] long.
pub const SPARE: u32 = 1;
/// The row of addresses of the log and the stop word.
pub const REPORTS: u32 = 2;
/// The row of addresses of the tree's root and of the bisected segments.
pub const LOOKUP: u32 = 3;
/// The row that describes the tree.
pub const TREE: u32 = 4;
/// Row and word by which the host ends a launch: if it is not 0, workgroups that begin do nothing.
/// The host alone writes it, also while the launch runs.
pub const ENDED: (u32, u32) = (TREE, 1);
/// Row and half of the address of the word by which the host ends loops.
pub const OVERDUE: (u32, u32) = (TREE, 1);
/// The rows before the checks.
pub const HEADER_ROWS: u32 = 5;
/// Rows that describe the virtual grid. A folded kernel that is not checked has these alone.
pub const GRID_ROWS: u32 = 2;
/// The most rows: 16 KiB, the least that every device gives a uniform buffer (Vulkan
/// specification, "Required Limits", `maxUniformBufferRange`).
pub const MAX_ROWS: u32 = 1024;
/// Bytes of the zeroes, and of the sink. No access is larger.
pub const SPARE_BYTES: u64 = 65_536;
/// The page of tables and faults, in bytes.
pub const PAGE_BYTES: u64 = 4096;
/// The bit of a table's entry that allows reading.
pub const ENTRY_READ: u64 = 1;
/// The bit of a table's entry that allows writing.
pub const ENTRY_WRITE: u64 = 2;
/// Entries of a node and of a leaf of the radix tree.
pub const TREE_FANOUT: u64 = 4096;
/// Words of a log entry.
pub const LOG_ENTRY_WORDS: u32 = 7;
/// Words before the first log entry.
pub const LOG_HEADER_WORDS: u32 = 8;

/// The most that the start of a report's own loop runs. A driver that cuts loops counts these runs
/// with those of the kernel's loops.
pub const REPORT_RUNS: u32 = LOG_ENTRY_WORDS + 5;

/// The counts at the start of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogWord {
    /// Faults that were reported, more than one per page where subgroups or pages are shared.
    Faults = 0,
    /// Entries that invocations wanted; more than the capacity when the queue overflowed.
    Queued = 1,
    /// Entries that there is room for; the host's to write.
    Capacity = 2,
    /// Invocations that had a loop cut short by the driver.
    Cut = 3,
    /// Invocations that reached the loop limit, or were stopped in a loop.
    Exhausted = 4,
}

/// The rows of the control block for one kernel and variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    index_checks: u32,
    segments: u32,
    address_checks: u32,
    grid_rows: u32,
}

impl Layout {
    /// The layout for a kernel and a variant, or `None` if it needs more than [`MAX_ROWS`] rows.
    #[must_use]
    pub fn new(analysis: &Analysis, variant: &Variant) -> Option<Self> {
        let segments = match variant.search {
            Search::Unrolled(count) => u32::from(count),
            Search::Bisected { .. } => 0,
        };
        let index_checks = u32::try_from(analysis.index_checks.len()).ok()?;
        let address_checks = u32::try_from(analysis.address_checks.len()).ok()?;
        let fits = index_checks < MAX_ROWS && address_checks < MAX_ROWS;
        let grid_rows = if variant.fold == Fold::None { 0 } else { GRID_ROWS };
        let layout = Self { index_checks, segments, address_checks, grid_rows };
        (fits && layout.rows() <= MAX_ROWS).then_some(layout)
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.segment_row(self.segments) + self.grid_rows
    }

    /// The first of the rows that describe the virtual grid, if the launch is folded.
    #[must_use]
    pub fn grid_row(&self) -> Option<u32> {
        (self.grid_rows > 0).then(|| self.segment_row(self.segments))
    }

    /// The row of a check.
    #[must_use]
    pub fn check_row(&self, check: u32) -> u32 {
        HEADER_ROWS + check
    }

    /// The first row of a segment's record, where segments are not bisected.
    #[must_use]
    pub fn segment_row(&self, segment: u32) -> u32 {
        HEADER_ROWS + self.index_checks + segment * self.record_rows()
    }

    /// Rows of a segment's record: two 64-bit numbers each.
    #[must_use]
    pub fn record_rows(&self) -> u32 {
        (4 + self.address_checks).div_ceil(2)
    }
}
