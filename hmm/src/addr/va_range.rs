//! Half-open ranges of user addresses.

use std::fmt;

use super::{PageCount, PageNumber, PageSize, VirtAddr};

/// A half-open range of user addresses, `start..end`, exact to the byte.
///
/// A range may be empty. It never reaches past [`VaRange::LIMIT`], so its length and its page
/// boundaries always exist.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{PageSize, VaRange, VirtAddr};
///
/// // A buffer that starts and ends inside a page shares those two pages with other data.
/// let buffer = VaRange::from_len(VirtAddr::new(0x10_0800), 0x3000).ok_or("not user memory")?;
/// let outer = buffer.pages_covering(PageSize::KIB_4);
/// let owned = buffer.whole_pages(PageSize::KIB_4);
/// assert_eq!(outer.to_string(), "0x100000..0x104000");
/// assert_eq!(owned.to_string(), "0x101000..0x103000");
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaRange {
    /// Not above `end`.
    start: VirtAddr,
    /// Not above [`VaRange::LIMIT`].
    end: VirtAddr,
}

impl VaRange {
    /// The end of the lower half of the address space, which is all that Linux gives a process.
    pub const LIMIT: VirtAddr = VirtAddr::new(1 << 63);

    /// Every user address.
    pub const USER: Self = Self { start: VirtAddr::NULL, end: Self::LIMIT };

    /// Makes the range `start..end`, or returns `None` if it is reversed or passes the limit.
    #[must_use]
    pub fn new(start: VirtAddr, end: VirtAddr) -> Option<Self> {
        (start <= end && end <= Self::LIMIT).then_some(Self { start, end })
    }

    /// Makes the range of `len_bytes` bytes from `start`, or returns `None` past the limit.
    #[must_use]
    pub fn from_len(start: VirtAddr, len_bytes: u64) -> Option<Self> {
        Self::new(start, start.checked_add(len_bytes)?)
    }

    /// Returns the bytes of `value` and exposes the provenance of the reference.
    ///
    /// # Panics
    ///
    /// Never on a port where user space is the lower half of the address space, which is what
    /// [`VaRange::LIMIT`] assumes.
    #[must_use]
    pub fn of<T: ?Sized>(value: &T) -> Self {
        Self::from_len(VirtAddr::of(value), size_of_val(value) as u64)
            .expect("a Rust value lies in the lower half of the address space")
    }

    /// Returns the bytes of the elements of `slice` and exposes the whole slice.
    ///
    /// # Panics
    ///
    /// As [`VaRange::of`]: never on a supported port.
    #[must_use]
    pub fn of_slice<T>(slice: &[T]) -> Self {
        Self::of(slice)
    }

    /// Returns the first address.
    #[must_use]
    pub const fn start(&self) -> VirtAddr {
        self.start
    }

    /// Returns the address after the last one.
    #[must_use]
    pub const fn end(&self) -> VirtAddr {
        self.end
    }

    /// Returns the length in bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.end.get() - self.start.get()
    }

    /// Tells whether the range contains no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Tells whether `addr` is in the range.
    #[must_use]
    pub fn contains(&self, addr: VirtAddr) -> bool {
        self.start <= addr && addr < self.end
    }

    /// Tells whether `other` lies between the ends of this range; an empty one may touch them.
    #[must_use]
    pub fn contains_range(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Tells whether some address is in both ranges.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.intersection(other).is_some()
    }

    /// Returns the addresses that are in both ranges, or `None` if there are none.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start < end).then_some(Self { start, end })
    }

    /// Tells whether both ends are page boundaries.
    #[must_use]
    pub const fn is_aligned(&self, size: PageSize) -> bool {
        self.start.is_aligned(size) && self.end.is_aligned(size)
    }

    /// Returns the smallest page-aligned range that contains this one.
    ///
    /// An empty range is covered by no page: the answer is empty too.
    #[must_use]
    pub fn pages_covering(&self, size: PageSize) -> Self {
        let start = self.start.align_down(size);
        let end = if self.is_empty() { start } else { round_up(self.end, size) };
        Self { start, end }
    }

    /// Returns the largest page-aligned range inside this one: the pages it has to itself.
    ///
    /// If it owns no page whole, the answer is an empty range.
    #[must_use]
    pub fn whole_pages(&self, size: PageSize) -> Self {
        let start = round_up(self.start, size);
        Self { start, end: self.end.align_down(size).max(start) }
    }

    /// Returns how many pages the range touches.
    #[must_use]
    pub fn page_count(&self, size: PageSize) -> PageCount {
        PageCount::new(self.pages_covering(size).len_bytes() >> size.log2())
    }

    /// Lists the pages that the range touches, each as a range of its own, lowest first.
    #[must_use]
    pub fn pages(&self, size: PageSize) -> impl DoubleEndedIterator<Item = Self> + use<> {
        let outer = self.pages_covering(size);
        let first = outer.start.page_number(size).get();
        let last = outer.end.page_number(size).get();
        (first..last).filter_map(move |number| {
            Self::from_len(PageNumber::new(number).start(size)?, size.bytes())
        })
    }
}

/// Rounds up an address that is not above [`VaRange::LIMIT`], a boundary of every page size: the
/// answer is not above the limit either.
const fn round_up(addr: VirtAddr, size: PageSize) -> VirtAddr {
    VirtAddr::new(addr.get().next_multiple_of(size.bytes()))
}

impl fmt::Debug for VaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

impl fmt::Display for VaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: PageSize = PageSize::KIB_4;

    fn range(start: u64, end: u64) -> VaRange {
        VaRange::new(VirtAddr::new(start), VirtAddr::new(end)).expect("a user range")
    }

    fn small_range() -> impl Strategy<Value = VaRange> {
        (0u64..0x8000, 0u64..0x8000).prop_map(|(start, len)| range(start, start + len))
    }

    fn any_range() -> impl Strategy<Value = VaRange> {
        (0..=1u64 << 63, 0..=1u64 << 63).prop_map(|(a, b)| range(a.min(b), a.max(b)))
    }

    #[test]
    fn a_range_is_neither_reversed_nor_past_the_limit() {
        let (low, high) = (VirtAddr::new(1), VirtAddr::new(2));
        assert_eq!(VaRange::new(high, low), None);
        assert_eq!(VaRange::from_len(low, u64::MAX), None);
        assert_eq!(VaRange::from_len(low, 1 << 63), None);
        assert_eq!(VaRange::new(VirtAddr::NULL, VaRange::LIMIT), Some(VaRange::USER));
    }

    #[test]
    fn the_range_of_a_slice_is_its_bytes() {
        let numbers = [1u32, 2, 3];
        let bytes = VaRange::of_slice(&numbers);
        assert_eq!(bytes.start(), VirtAddr::of(&numbers[0]));
        assert_eq!(bytes.len_bytes(), 12);
        assert!(VaRange::of_slice::<u32>(&[]).is_empty());
        assert_eq!(VaRange::of(&7u64).len_bytes(), 8);
    }

    #[test]
    fn a_range_inside_one_page_owns_no_page() {
        let inside = range(0x1100, 0x1200);
        assert_eq!(inside.pages_covering(PAGE), range(0x1000, 0x2000));
        assert!(inside.whole_pages(PAGE).is_empty());
        assert_eq!(inside.page_count(PAGE), PageCount::new(1));
    }

    #[test]
    fn an_empty_range_touches_no_page() {
        let empty = range(0x1100, 0x1100);
        assert!(empty.pages_covering(PAGE).is_empty());
        assert_eq!(empty.page_count(PAGE), PageCount::ZERO);
        assert_eq!(empty.pages(PAGE).count(), 0);
        assert!(!empty.overlaps(&range(0x1000, 0x2000)));
        assert!(range(0x1000, 0x2000).contains_range(&empty));
    }

    #[test]
    fn pages_reach_the_top_of_user_space() {
        let top = range((1 << 63) - 1, 1 << 63);
        assert_eq!(top.pages_covering(PageSize::GIB_1).end(), VaRange::LIMIT);
        assert_eq!(top.pages(PAGE).next_back().map(|p| p.end()), Some(VaRange::LIMIT));
    }

    proptest! {
        #[test]
        fn whole_is_inside_and_covering_is_outside(range in any_range()) {
            for size in [PageSize::KIB_4, PageSize::MIB_2, PageSize::GIB_1] {
                let outer = range.pages_covering(size);
                let inner = range.whole_pages(size);
                prop_assert!(outer.is_aligned(size) && inner.is_aligned(size));
                prop_assert!(range.is_empty() || outer.contains_range(&range));
                prop_assert!(inner.is_empty() || range.contains_range(&inner));
                let slack = outer.len_bytes() - inner.len_bytes();
                prop_assert!(slack <= 2 * size.bytes());
            }
        }

        #[test]
        fn pages_are_those_that_share_a_byte(range in small_range()) {
            let listed: Vec<VaRange> = range.pages(PAGE).collect();
            let expected: Vec<VaRange> = (0..17)
                .map(|n| self::range(n * 0x1000, (n + 1) * 0x1000))
                .filter(|page| page.overlaps(&range))
                .collect();
            prop_assert_eq!(range.page_count(PAGE).get(), expected.len() as u64);
            prop_assert_eq!(listed, expected);
        }

        #[test]
        fn intersection_is_membership_in_both(
            a in small_range(), b in small_range(), probe in 0u64..0x10000,
        ) {
            let addr = VirtAddr::new(probe);
            let both = a.contains(addr) && b.contains(addr);
            let common = a.intersection(&b);
            prop_assert_eq!(common.is_some_and(|c| c.contains(addr)), both);
            prop_assert_eq!(common, b.intersection(&a));
            prop_assert_eq!(common.is_some(), a.overlaps(&b));
        }
    }
}
