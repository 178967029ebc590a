//! The control block of a launch: the indices and addresses that a kernel may use. Pure.
//!
//! [`farptr_rewrite::control`] says where each number goes and how the kernel uses it.

use crate::{
    kernel::code::Facts,
    lend::lends::{Lends, Segment},
};
use farptr_hmm::VirtAddr;
use farptr_rewrite::{
    AddressCheck, Analysis, IndexCheck, Search,
    control::{self, Layout},
};
use smallvec::SmallVec;
use std::sync::Arc;

/// Four words: uniform buffers are made of such rows.
pub(crate) type Row = [u32; 4];

/// A pointer in the push constants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root {
    pub(crate) address: u64,
    /// The lend that the pointer belongs to, if any.
    pub(crate) segment: Option<Segment>,
}

/// The roots of a kernel, in the order of its analysis. Small launches allocate nothing for them.
pub(crate) type Roots = SmallVec<[Root; 4]>;

/// The arguments of a launch, looked up once: the lends that they point into, and the indices that
/// each check passes.
pub(crate) struct Arguments {
    pub(crate) facts: Arc<Facts>,
    pub(crate) roots: Roots,
    pub(crate) windows: SmallVec<[Window; 8]>,
    /// Whether a pointer into no lend reaches the memory of the process.
    pub(crate) open: bool,
}

impl Arguments {
    /// Looks up the pointers in the push constants.
    ///
    /// A pointer to the end of a lend belongs to that lend, unless `open` is set: then it may point
    /// to memory of the process behind the lend.
    pub(crate) fn new(facts: &Arc<Facts>, push: &[u8], lends: &Lends, open: bool) -> Self {
        let analysis = &facts.analysis;
        let roots = roots(analysis, push, lends, open);
        let window = |check: &IndexCheck| match roots.get(check.root) {
            Some(root) if open && root.segment.is_none() => Window::outside_lends(check, root),
            Some(root) => Window::of(check.into(), root),
            None => Window::EMPTY,
        };
        let windows = analysis.index_checks.iter().map(window).collect();
        Self { facts: Arc::clone(facts), roots, windows, open }
    }

    /// The address and the lend that a root leads to.
    pub(crate) fn root(&self, root: farptr_rewrite::Root) -> Option<&Root> {
        let known = self.facts.analysis.roots.iter().zip(&self.roots);
        known.into_iter().find_map(|(known, found)| (*known == root).then_some(found))
    }

    /// Whether the device reaches the lends of all arguments as they are.
    pub(crate) fn are_reached(&self) -> bool {
        are_reached(&self.roots)
    }

    /// The segments that the kernel may touch, or write if `writes` is set; nothing if it may touch
    /// any, because it follows pointers from memory, or one that leads into no lend.
    pub(crate) fn reach(&self, writes: bool) -> Option<Vec<Segment>> {
        reach(&self.facts.analysis, &self.roots, self.open, writes)
    }

    /// The segments of arguments that the kernel writes through.
    pub(crate) fn written(&self) -> impl Iterator<Item = Segment> {
        let writes = self.facts.analysis.index_checks.iter().filter(|check| check.access.writes());
        writes.filter_map(|check| self.roots.get(check.root)?.segment)
    }

    /// Whether no argument that the kernel writes through leads to memory that it reads through an
    /// argument.
    ///
    /// Indices stay within the lend of their root, so lends are compared. If `open` is set, a
    /// pointer into no lend may lead anywhere, also into a lend.
    pub(crate) fn are_apart(&self) -> bool {
        let of = |writes: bool| {
            let checks = self.facts.analysis.index_checks.iter();
            checks.filter(move |check| check.access.writes() == writes).filter_map(|check| {
                let segment = self.roots.get(check.root)?.segment;
                let start = segment.map(|segment| segment.range.start());
                (start.is_some() || self.open).then_some(start)
            })
        };
        let read: Vec<Option<VirtAddr>> = of(false).collect();
        let is_apart = |(written, read): (Option<VirtAddr>, Option<VirtAddr>)| {
            written.zip(read).is_some_and(|(written, read)| written != read)
        };
        of(true).all(|written| read.iter().all(|&read| is_apart((written, read))))
    }
}

/// Looks up the pointers in the push constants; `open` as in [`Arguments::new`].
pub(crate) fn roots(analysis: &Analysis, push: &[u8], lends: &Lends, open: bool) -> Roots {
    let root = |&start: &farptr_rewrite::Root| {
        let farptr_rewrite::Root::Push { offset_bytes } = start;
        let address = pointer_at(push, offset_bytes);
        let pointer = VirtAddr::new(address);
        let segment = if open { lends.containing(pointer) } else { lends.of_pointer(pointer) };
        Root { address, segment: segment.copied() }
    };
    analysis.roots.iter().map(root).collect()
}

/// Whether the device reaches the lends that roots lead to as they are.
pub(crate) fn are_reached(roots: &[Root]) -> bool {
    roots.iter().all(|root| root.segment.is_none_or(|segment| segment.delta.is_some()))
}

/// As [`Arguments::reach`].
pub(crate) fn reach(
    analysis: &Analysis,
    roots: &[Root],
    open: bool,
    writes: bool,
) -> Option<Vec<Segment>> {
    if !analysis.is_roots_only() {
        return None;
    }
    let checks = analysis.index_checks.iter();
    let found = checks
        .filter(|check| !writes || check.access.writes())
        .filter_map(|check| Some(roots.get(check.root)?.segment));
    // Into no lend, an index passes its check only where the memory of the process is open.
    let found = found.filter(|segment| segment.is_some() || open);
    let mut segments = found.collect::<Option<Vec<Segment>>>()?;
    segments.sort_unstable_by_key(|segment| segment.range.start());
    segments.dedup();
    Some(segments)
}

/// Whether an index other than 0 is the first that some check passes.
pub(crate) fn any_offset(analysis: &Analysis, roots: &[Root]) -> bool {
    analysis.index_checks.iter().any(|check| {
        let root = roots.get(check.root);
        root.is_some_and(|root| {
            let access = Indexed::from(check);
            Window::may_be_offset(access, root) && Window::of(access, root).first != 0
        })
    })
}

/// Eight bytes of the push constants, or null where they end before.
pub(crate) fn pointer_at(push: &[u8], offset_bytes: u32) -> u64 {
    let bytes = push.get(offset_bytes as usize..).and_then(|rest| rest.first_chunk());
    bytes.copied().map_or(0, u64::from_le_bytes)
}

/// A [`IndexCheck`] of an index, in numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Indexed {
    pub(crate) stride_bytes: u32,
    pub(crate) offset_bytes: u32,
    pub(crate) size_bytes: u32,
    pub(crate) align_bytes: u32,
    pub(crate) writes: bool,
}

impl From<&IndexCheck> for Indexed {
    fn from(check: &IndexCheck) -> Self {
        Self {
            stride_bytes: check.stride_bytes,
            offset_bytes: check.offset_bytes,
            size_bytes: check.size_bytes,
            align_bytes: check.align_bytes,
            writes: check.access.writes(),
        }
    }
}

/// The indices that a check passes, and the device address of index 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) base: Option<u64>,
    pub(crate) first: i32,
    pub(crate) count: u32,
}

impl Window {
    const EMPTY: Self = Self { base: None, first: 0, count: 0 };
    /// Of a lend that a kernel may touch.
    const HIGHEST_ADDRESS: u64 = 1 << 62;

    /// The indices whose bytes all lie in the root's lend, where that allows the access.
    ///
    /// An index is a signed 32-bit number. If all `2^32` of them are valid the last one is left
    /// out, so that the count fits its word: no lend is that long.
    pub(crate) fn of(access: Indexed, root: &Root) -> Self {
        let Some(segment) = root.segment else { return Self::EMPTY };
        let aligned = root.address.is_multiple_of(u64::from(access.align_bytes.max(1)));
        let ends = [segment.range.start().get(), segment.range.end().get(), root.address];
        // No process has memory beyond; below, the differences have 64 bits.
        let is_near = ends.into_iter().all(|end| end <= Self::HIGHEST_ADDRESS);
        if !aligned || !is_near || (access.writes && !segment.writable) {
            return Self::EMPTY;
        }
        // The distances from the access of index 0 to the first and to the last access that lie in
        // the lend.
        let [start, end, address] = ends.map(u64::cast_signed);
        let zero = address + i64::from(access.offset_bytes);
        let (low, high) = (start - zero, end - i64::from(access.size_bytes) - zero);
        let (first, last) = match i64::from(access.stride_bytes) {
            0 if low <= 0 && 0 <= high => (0, 0),
            0 => return Self::EMPTY,
            // The first quotient is rounded up.
            stride => (-(-low).div_euclid(stride), high.div_euclid(stride)),
        };
        let (first, last) = (first.max(i32::MIN.into()), last.min(i32::MAX.into()));
        let count = u32::try_from((last - first + 1).clamp(0, u32::MAX.into()));
        match (i32::try_from(first), count) {
            (Ok(first), Ok(count)) if count > 0 => {
                let base = segment.delta.map(|delta| root.address.wrapping_add(delta));
                Self { base, first, count }
            }
            _ => Self::EMPTY,
        }
    }

    /// Whether [`first`](Self::first) can be another than 0, which [`of`](Self::of) takes two
    /// divisions to find out.
    fn may_be_offset(access: Indexed, root: &Root) -> bool {
        root.segment.is_some_and(|segment| {
            let start = segment.range.start().get();
            let ahead =
                root.address.saturating_sub(start).saturating_add(access.offset_bytes.into());
            access.stride_bytes > 0 && ahead >= access.stride_bytes.into()
        })
    }

    /// All indices, for a pointer into no lend: the page table decides which of them may be
    /// accessed.
    fn outside_lends(check: &IndexCheck, root: &Root) -> Self {
        if !root.address.is_multiple_of(u64::from(check.align_bytes.max(1))) {
            return Self::EMPTY;
        }
        // Without an index, index 0 is checked.
        Self { base: None, first: i32::MIN, count: u32::MAX }
    }

    /// The control row; where nothing may be accessed or reached, a kernel reads zeroes at index 0.
    fn row(&self, offset_bytes: u32, zeroes: u64) -> Row {
        let base = self.base.unwrap_or_else(|| zeroes.wrapping_sub(u64::from(offset_bytes)));
        let [low, high] = words(base);
        [low, high, self.first.cast_unsigned(), self.count]
    }
}

/// A segment as a kernel sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) segment: Segment,
    /// The distance to the device address, or the biased address of the table.
    pub(crate) target: u64,
    /// The biased address of the fault bitmap.
    pub(crate) bitmap: u64,
}

/// Lays out records in the order of their addresses, and appends as many empty ones as the search
/// demands.
pub(crate) fn records(
    layout: &Layout,
    analysis: &Analysis,
    search: Search,
    segments: impl Iterator<Item = Record>,
) -> Vec<Row> {
    let numbers = layout.record_rows() as usize * 2;
    let mut all = Vec::with_capacity(search.segments() * numbers);
    for Record { segment, target, bitmap } in segments {
        let (start, len) = (segment.range.start().get(), segment.range.len_bytes());
        all.extend([start, len, target, bitmap]);
        all.extend(analysis.address_checks.iter().map(|check| span(check, &segment)));
        all.resize(all.len().next_multiple_of(numbers), 0);
    }
    while all.len() < search.segments() * numbers {
        all.push(u64::MAX);
        all.resize(all.len().next_multiple_of(numbers), 0);
    }
    let row = |pair: &[u64]| {
        let ([a, b], [c, d]) = (words(pair[0]), words(pair[1]));
        [a, b, c, d]
    };
    all.chunks_exact(2).map(row).collect()
}

/// How far from the start of a segment an access of this kind may begin, plus one.
fn span(check: &AddressCheck, segment: &Segment) -> u64 {
    if check.access.writes() && !segment.writable {
        return 0;
    }
    (segment.range.len_bytes() + 1).saturating_sub(check.size_bytes.into())
}

/// The numbers in the head of a control block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    pub(crate) loop_limit: u32,
    pub(crate) loop_limit_after_fault: u32,
    pub(crate) zeroes: u64,
    pub(crate) sink: u64,
    pub(crate) log: u64,
    pub(crate) stop: u64,
    /// The word by which the host ends loops.
    pub(crate) overdue: u64,
    pub(crate) tree: u64,
    pub(crate) tree_entries: u32,
    /// The bisected segments.
    pub(crate) segments: u64,
    /// The virtual grid, if the launch is folded.
    pub(crate) grid: Option<[Row; control::GRID_ROWS as usize]>,
}

/// Puts a control block together. `segments` are [`records`], or empty where they are bisected.
pub(crate) fn rows(
    layout: &Layout,
    head: &Head,
    analysis: &Analysis,
    windows: &[Window],
    segments: &[Row],
) -> Vec<Row> {
    let pair = |a, b| {
        let ([a, b], [c, d]) = (words(a), words(b));
        [a, b, c, d]
    };
    let mut rows = vec![[0; 4]; layout.rows() as usize];
    rows[control::LIMITS as usize] = [1, head.loop_limit, head.loop_limit_after_fault, 0];
    rows[control::SPARE as usize] = pair(head.zeroes, head.sink);
    rows[control::REPORTS as usize] = pair(head.log, head.stop);
    rows[control::LOOKUP as usize] = pair(head.tree, head.segments);
    let [low, high] = words(head.overdue);
    rows[control::TREE as usize] = [head.tree_entries, 0, low, high];
    for ((at, check), window) in (0..).zip(&analysis.index_checks).zip(windows) {
        rows[layout.check_row(at) as usize] = window.row(check.offset_bytes, head.zeroes);
    }
    let first = layout.segment_row(0) as usize;
    rows[first..first + segments.len()].copy_from_slice(segments);
    if let Some((at, grid)) = layout.grid_row().zip(head.grid) {
        rows[at as usize..].copy_from_slice(&grid);
    }
    rows
}

/// A 64-bit number as words, the low one first.
#[allow(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
pub(crate) fn words(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use farptr_hmm::VaRange;
    use proptest::prelude::*;

    const BASE: u64 = 1 << 32;

    fn segment(start: u64, len: u64, writable: bool) -> Segment {
        let range = VaRange::from_len(VirtAddr::new(start), len).unwrap();
        Segment { range, writable, delta: Some(0x1000), private: None }
    }

    fn access(stride_bytes: u32, offset_bytes: u32, size_bytes: u32, align: u32) -> Indexed {
        Indexed { stride_bytes, offset_bytes, size_bytes, align_bytes: align, writes: false }
    }

    /// Whether the access of an index touches lent bytes only, looked at byte by byte.
    fn may(access: Indexed, root: &Root, index: i64) -> bool {
        let Some(segment) = root.segment else { return false };
        let start = i128::from(root.address)
            + i128::from(access.offset_bytes)
            + i128::from(index) * i128::from(access.stride_bytes);
        let lent = |byte: i128| {
            u64::try_from(byte).is_ok_and(|byte| segment.range.contains(VirtAddr::new(byte)))
        };
        start % i128::from(access.align_bytes) == 0
            && (segment.writable || !access.writes)
            && (0..i128::from(access.size_bytes)).all(|byte| lent(start + byte))
    }

    /// A check as a kernel makes it.
    fn passes(window: &Window, index: i32) -> bool {
        index.wrapping_sub(window.first).cast_unsigned() < window.count
    }

    proptest! {
        #[test]
        fn windows_allow_what_lies_in_the_lend_byte_for_byte(
            len in 0u64..80,
            root_at in -4i64..90,
            stride_log in 0u32..5,
            offset_units in 0u32..4,
            size in 1u32..20,
            (writes, writable) in any::<(bool, bool)>(),
        ) {
            let align = 1u32 << (stride_log / 2);
            let stride = if stride_log == 0 { 12 } else { 1 << stride_log };
            let access = Indexed { writes, ..access(stride, offset_units * align, size, align) };
            let address = BASE.wrapping_add_signed(root_at);
            let lent = segment(BASE, len, writable);
            let inside = lent.range.contains(VirtAddr::new(address))
                || lent.range.end() == VirtAddr::new(address);
            let root = Root { address, segment: inside.then_some(lent) };
            let window = Window::of(access, &root);
            prop_assert!(window.first <= 0, "only the offset variant subtracts");
            prop_assert!(window.first == 0 || Window::may_be_offset(access, &root));
            for index in -100i32..100 {
                prop_assert_eq!(
                    passes(&window, index), may(access, &root, index.into()),
                    "index {} of {:?}", index, window
                );
            }
            for index in [i32::MIN, i32::MIN + 1, i32::MAX] {
                prop_assert!(!passes(&window, index));
            }
        }
    }

    #[test]
    fn without_an_index_there_is_one_or_none() {
        let root = Root { address: BASE, segment: Some(segment(BASE, 16, false)) };
        assert_eq!(Window::of(access(0, 8, 8, 8), &root).count, 1);
        assert_eq!(Window::of(access(0, 12, 8, 4), &root), Window::EMPTY);
    }

    #[test]
    fn windows_end_where_indices_do() {
        let long = segment(BASE, 1 << 33, true);
        let middle = Root { address: BASE + (1 << 32), segment: Some(long) };
        let all = Window::of(access(1, 0, 1, 1), &middle);
        assert_eq!((all.first, all.count), (i32::MIN, u32::MAX));
        assert!(passes(&all, i32::MIN) && passes(&all, i32::MAX - 1));
        let start = Root { address: BASE, segment: Some(long) };
        let half = Window::of(access(1, 0, 1, 1), &start);
        assert_eq!((half.first, half.count), (0, 1 << 31));
        assert!(passes(&half, i32::MAX) && !passes(&half, -1));
    }

    #[test]
    fn what_may_not_be_accessed_reads_zeroes() {
        let null = Root { address: 0, segment: None };
        let row = Window::of(access(4, 8, 4, 4), &null).row(8, 0x5_0000_0000);
        assert_eq!(row, [0xffff_fff8, 4, 0, 0], "index 0 is at the zeroes");
        let lent = Root { address: BASE, segment: Some(segment(BASE, 16, false)) };
        let row = Window::of(access(4, 0, 4, 4), &lent).row(0, 0x5_0000_0000);
        assert_eq!(row, [0x1000, 1, 0, 4], "the device address, first index, count");
    }

    #[test]
    fn pointers_are_read_low_word_first_and_end_with_the_push_constants() {
        let push: Vec<u8> = (0..12).collect();
        assert_eq!(pointer_at(&push, 4), 0x0b0a_0908_0706_0504);
        assert_eq!(pointer_at(&push, 5), 0);
        assert_eq!(pointer_at(&push, 400), 0);
    }
}
