//! The sizes of a random program's memory.

/// Invocations per workgroup; there are two workgroups.
pub(super) const GROUP: u32 = 32;
/// Invocations.
pub(super) const LANES: u32 = 2 * GROUP;
/// Words of an invocation's own.
pub(super) const OWN_WORDS: u32 = 32;
/// Addresses of an invocation's own.
pub(super) const SLOTS_COUNT: u32 = 4;
/// Words of the input.
pub(super) const INPUT_WORDS: u32 = 2048;
/// Addresses in the table of links.
pub(super) const LINKS_COUNT: u32 = 256;
/// Counters for each of five operations.
pub(super) const COUNTERS_EACH: u32 = 256;
