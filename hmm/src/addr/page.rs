//! Page sizes, page numbers and page counts.

use std::fmt;

/// The size of a page: a power of two.
///
/// # Examples
///
/// ```
/// use farptr_hmm::PageSize;
///
/// assert_eq!(PageSize::MIB_2.bytes(), 2 * 1024 * 1024);
/// assert_eq!(PageSize::new(3000), None);
/// assert!(PageSize::host() >= PageSize::KIB_4);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize {
    /// At most [`PageSize::MAX_LOG2`].
    log2: u32,
}

impl PageSize {
    /// 4 KiB, the small page of x86-64 and of most other machines.
    pub const KIB_4: Self = Self { log2: 12 };

    /// 2 MiB, the huge page of a machine with 4 KiB pages.
    pub const MIB_2: Self = Self { log2: 21 };

    /// 1 GiB, the next level above [`PageSize::MIB_2`].
    pub const GIB_1: Self = Self { log2: 30 };

    const MAX_LOG2: u32 = 62;

    /// Makes a page size, or returns `None` unless `bytes` is a power of two up to 2⁶².
    #[must_use]
    pub const fn new(bytes: u64) -> Option<Self> {
        if !bytes.is_power_of_two() || bytes.trailing_zeros() > Self::MAX_LOG2 {
            return None;
        }
        Some(Self { log2: bytes.trailing_zeros() })
    }

    /// Returns the size of the host's small page, the unit of its page tables.
    #[must_use]
    pub fn host() -> Self {
        let bytes = rustix::param::page_size();
        debug_assert!(bytes.is_power_of_two(), "a page of {bytes} bytes");
        Self { log2: bytes.trailing_zeros() }
    }

    /// Returns the size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.log2
    }

    /// Returns the base-two logarithm of the size in bytes.
    #[must_use]
    pub const fn log2(self) -> u32 {
        self.log2
    }

    pub(super) const fn mask(self) -> u64 {
        self.bytes() - 1
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageSize({self})")
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let unit = UNITS[(self.log2 / 10) as usize];
        write!(f, "{} {unit}", 1u64 << (self.log2 % 10))
    }
}

/// The number of a page, counted from address zero in pages of one [`PageSize`].
///
/// The size is not part of the number: pass the same one in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNumber(u64);

impl PageNumber {
    /// Makes a page number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the page number as an integer.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the page `count` pages further up, or `None` on overflow.
    #[must_use]
    pub fn checked_add(self, count: PageCount) -> Option<Self> {
        self.0.checked_add(count.get()).map(Self)
    }

    /// Returns how many pages lie between `base` and this page, or `None` if `base` is above.
    #[must_use]
    pub fn offset_from(self, base: Self) -> Option<PageCount> {
        self.0.checked_sub(base.0).map(PageCount::new)
    }
}

/// A number of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageCount(u64);

impl PageCount {
    /// No pages.
    pub const ZERO: Self = Self(0);

    /// Makes a page count.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// Returns the count as an integer.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the bytes in this many pages, or `None` on overflow.
    #[must_use]
    pub fn bytes(self, size: PageSize) -> Option<u64> {
        self.0.checked_mul(size.bytes())
    }

    /// Returns the sum of two counts, or `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }
}

impl fmt::Display for PageCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.0 == 1 { "page" } else { "pages" };
        write!(f, "{} {unit}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_are_page_sizes() {
        assert_eq!(PageSize::new(4096), Some(PageSize::KIB_4));
        for bytes in [0, 3, 4095, 4097, 1 << 63, u64::MAX] {
            assert_eq!(PageSize::new(bytes), None, "{bytes}");
        }
        assert_eq!(PageSize::new(1 << 62).map(PageSize::bytes), Some(1 << 62));
    }

    #[test]
    fn the_host_page_size_round_trips() {
        assert_eq!(PageSize::new(PageSize::host().bytes()), Some(PageSize::host()));
    }

    #[test]
    fn sizes_print_with_their_unit() {
        let printed = [PageSize::KIB_4, PageSize::MIB_2, PageSize::GIB_1].map(|s| s.to_string());
        assert_eq!(printed, ["4 KiB", "2 MiB", "1 GiB"]);
        assert_eq!(PageSize::new(1 << 62).map(|s| s.to_string()).as_deref(), Some("4 EiB"));
    }

    #[test]
    fn counts_print_in_the_right_number() {
        assert_eq!(PageCount::new(1).to_string(), "1 page");
        assert_eq!(PageCount::new(2).to_string(), "2 pages");
    }

    #[test]
    fn numbers_and_counts_do_not_wrap() {
        let last = PageNumber::new(u64::MAX);
        assert_eq!(last.checked_add(PageCount::new(1)), None);
        assert_eq!(last.start(PageSize::KIB_4), None);
        assert_eq!(PageNumber::new(3).offset_from(PageNumber::new(1)), Some(PageCount::new(2)));
        assert_eq!(PageNumber::new(1).offset_from(PageNumber::new(3)), None);
        assert_eq!(PageCount::new(u64::MAX).bytes(PageSize::KIB_4), None);
        assert_eq!(PageCount::new(u64::MAX).checked_add(PageCount::new(1)), None);
        assert_eq!(PageCount::new(3).bytes(PageSize::KIB_4), Some(12288));
    }
}
