//! The requests for pages of a walk, and its answers.
//!
//! The kernel's HMM answers with physical page numbers. User space has none and needs none: a
//! [`Pfn`] has the *number* by which the device finds the page. For a host page it is the number of
//! the virtual page, because the device accesses the page through the host address or through a
//! copy of it. For a device-private page it is the number of a frame in the device's own memory. It
//! is never the number of a physical page.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::{BitAnd, BitOr};

use crate::addr::{PageCount, PageNumber, PageSize, VaRange, VirtAddr};

/// The access that a caller wants to a page.
///
/// # Examples
///
/// ```
/// use farptr_hmm::Request;
///
/// let write = Request::FAULT | Request::WRITE;
/// assert!(write.contains(Request::FAULT));
/// // Wanting to write without wanting the page is no request at all.
/// assert!(!Request::WRITE.is_fault());
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Request(u8);

impl Request {
    /// Nothing: report the page as it is.
    pub const NONE: Self = Self(0);

    /// `REQ_FAULT`: the page must be there for reading. Fault it in if it is not.
    pub const FAULT: Self = Self(1);

    /// `REQ_WRITE`: together with [`Request::FAULT`], the page must be there for writing.
    pub const WRITE: Self = Self(2);

    /// Every bit, as a mask.
    pub const ALL: Self = Self(3);

    /// Tells whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Tells whether the page must be there.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        self.contains(Self::FAULT)
    }

    /// Tells whether the page must be there for writing.
    #[must_use]
    pub const fn is_write_fault(self) -> bool {
        self.contains(Self::ALL)
    }
}

impl BitOr for Request {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Request {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(["NONE", "FAULT", "WRITE", "FAULT | WRITE"][usize::from(self.0 & 3)])
    }
}

/// The accesses that a page allows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PfnFlags(u64);

impl PfnFlags {
    /// No flag: nothing is there, or it was not asked for. This is not an error.
    pub const NONE: Self = Self(0);

    /// The device may read the page.
    pub const VALID: Self = Self(1 << 63);

    /// The device may write the page. Never without [`PfnFlags::VALID`].
    pub const WRITE: Self = Self(1 << 62);

    /// The page cannot be accessed: no area, no permission to read, or a mapping of no memory.
    /// Never together with [`PfnFlags::VALID`].
    pub const ERROR: Self = Self(1 << 61);

    /// The page lies in the memory of the device that the walk was made for. Never without
    /// [`PfnFlags::VALID`].
    pub const DEVICE: Self = Self(1 << 60);

    const ALL: Self = Self(0b1111 << 60);

    /// Tells whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for PfnFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Debug for PfnFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::VALID, "VALID"),
            (Self::WRITE, "WRITE"),
            (Self::ERROR, "ERROR"),
            (Self::DEVICE, "DEVICE"),
        ];
        let set = names.into_iter().filter(|(flag, _)| self.contains(*flag));
        let set: Vec<_> = set.map(|(_, name)| name).collect();
        f.write_str(if set.is_empty() { "NONE" } else { "" })?;
        f.write_str(&set.join(" | "))
    }
}

/// The answer about one page: flags, the size of the mapping around it, and a number.
///
/// The number is *not* that of a physical page; the module's introduction says what it is. It means
/// something only if the page is [`PfnFlags::VALID`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Pfn(u64);

impl Pfn {
    /// Nothing is there, or it was not asked for.
    pub const NONE: Self = Self(PfnFlags::NONE.0);

    /// The page cannot be accessed.
    pub const ERROR: Self = Self(PfnFlags::ERROR.0);

    const ORDER_SHIFT: u32 = 53;
    const ORDER_MASK: u64 = 0x1f;
    const NUMBER_MASK: u64 = (1 << Self::ORDER_SHIFT) - 1;

    /// Numbers are below this: room for every page of the address space.
    pub(crate) const NUMBERS: u64 = Self::NUMBER_MASK + 1;

    /// Makes the answer about a page that is there.
    pub(crate) fn valid(flags: PfnFlags, number: PageNumber, mapping: PageSize) -> Self {
        debug_assert!(number.get() < Self::NUMBERS, "number {number:?} does not fit");
        let order = u64::from(mapping.log2().saturating_sub(PageSize::host().log2()));
        let order = (order & Self::ORDER_MASK) << Self::ORDER_SHIFT;
        Self((flags | PfnFlags::VALID).0 | order | number.get() & Self::NUMBER_MASK)
    }

    /// Returns the flags.
    #[must_use]
    pub const fn flags(self) -> PfnFlags {
        PfnFlags(self.0 & PfnFlags::ALL.0)
    }

    /// Tells whether the device may read the page.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.flags().contains(PfnFlags::VALID)
    }

    /// Tells whether the device may write the page.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.flags().contains(PfnFlags::WRITE)
    }

    /// Tells whether the page cannot be accessed.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.flags().contains(PfnFlags::ERROR)
    }

    /// Tells whether the page lies in the memory of the device that the walk was made for.
    #[must_use]
    pub const fn is_device(self) -> bool {
        self.flags().contains(PfnFlags::DEVICE)
    }

    /// Returns the size of the mapping that contains the page, as the base-two logarithm of a
    /// number of host pages: on a machine with 4 KiB pages 0, 9 for 2 MiB or 18 for 1 GiB.
    ///
    /// The mapping may reach past the walked range. The number is that of this page all the same,
    /// and not that of the first page of the mapping.
    #[must_use]
    pub const fn order(self) -> u32 {
        (self.0 >> Self::ORDER_SHIFT & Self::ORDER_MASK) as u32
    }

    /// Returns the number of a page that is valid: the number of the host's virtual page or, for a
    /// page on the device, the number of the page in device memory.
    #[must_use]
    pub fn number(self) -> Option<PageNumber> {
        self.is_valid().then_some(PageNumber::new(self.0 & Self::NUMBER_MASK))
    }

    /// The answer about the page `pages` further on in the same run.
    fn advance(self, pages: PageCount) -> Self {
        if self.is_valid() { Self(self.0 + pages.get()) } else { self }
    }
}

impl fmt::Debug for Pfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.flags())?;
        match self.number() {
            Some(number) => write!(f, " number {:#x} order {}", number.get(), self.order()),
            None => Ok(()),
        }
    }
}

/// A run of neighbouring pages with the same flags and order, in consecutive numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PfnRun {
    /// The pages, never none.
    pub range: VaRange,
    /// The answer about the first of them.
    pub first: Pfn,
}

impl PfnRun {
    /// Returns the answer about the page of the run that contains `addr`.
    fn at(&self, addr: VirtAddr) -> Pfn {
        self.first.advance(pages_between(self.range.start(), addr))
    }

    /// Tells whether `next`, which begins where this run ends, continues it.
    fn is_continued_by(&self, next: Pfn) -> bool {
        self.at(self.range.end()) == next
    }
}

/// Counts the pages from `start`, a page boundary, to the page that contains `addr`.
fn pages_between(start: VirtAddr, addr: VirtAddr) -> PageCount {
    let size = PageSize::host();
    addr.page_number(size).offset_from(start.page_number(size)).unwrap_or_default()
}

/// The answers about the pages of a range, run-length encoded: a gigabyte of ordinary memory is
/// one run.
///
/// The runs adjoin and are as long as they can be. After a walk that failed they end where the
/// walk did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pfns {
    /// The address at which the first run starts.
    start: VirtAddr,
    /// Adjoining, maximal, none empty.
    runs: Vec<PfnRun>,
}

impl Pfns {
    pub(crate) const fn new(start: VirtAddr) -> Self {
        Self { start, runs: Vec::new() }
    }

    /// Returns the range that there are answers about.
    #[must_use]
    pub fn range(&self) -> VaRange {
        VaRange::new(self.start, self.end()).unwrap_or_default()
    }

    /// Returns the runs, lowest address first.
    #[must_use]
    pub fn runs(&self) -> &[PfnRun] {
        &self.runs
    }

    /// Returns the answer about the page that contains `addr`, or `None` outside the range.
    #[must_use]
    pub fn at(&self, addr: VirtAddr) -> Option<Pfn> {
        let index = self.runs.partition_point(|run| run.range.end() <= addr);
        let run = self.runs.get(index).filter(|run| run.range.contains(addr))?;
        Some(run.at(addr))
    }

    /// Lists the answers page by page, each with the page's address. Meant for small ranges; the
    /// runs say the same in less.
    pub fn pages(&self) -> impl Iterator<Item = (VirtAddr, Pfn)> {
        self.runs.iter().flat_map(|run| {
            run.range.pages(PageSize::host()).map(|page| (page.start(), run.at(page.start())))
        })
    }

    /// Counts the pages for which `wanted` holds; every page of a run answers alike.
    pub fn count(&self, wanted: impl Fn(Pfn) -> bool) -> PageCount {
        let runs = self.runs.iter().filter(|run| wanted(run.first));
        PageCount::new(runs.map(|run| run.range.page_count(PageSize::host()).get()).sum())
    }

    /// The address at which the last run ends.
    pub(crate) fn end(&self) -> VirtAddr {
        self.runs.last().map_or(self.start, |run| run.range.end())
    }

    /// Appends answers about `range`, which begins where the last run ends.
    pub(crate) fn push(&mut self, range: VaRange, first: Pfn) {
        debug_assert_eq!(range.start(), self.end(), "answers come in ascending order");
        if range.is_empty() {
            return;
        }
        match self.runs.last_mut() {
            Some(last) if last.is_continued_by(first) => {
                last.range = VaRange::new(last.range.start(), range.end()).unwrap_or(last.range);
            }
            _ => self.runs.push(PfnRun { range, first }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pages(first: u64, count: u64) -> VaRange {
        let bytes = PageSize::host().bytes();
        VaRange::from_len(VirtAddr::new(first * bytes), count * bytes).expect("a user range")
    }

    fn host(first: u64) -> Pfn {
        Pfn::valid(PfnFlags::WRITE, PageNumber::new(first), PageSize::host())
    }

    #[test]
    fn a_pfn_keeps_its_parts_apart() {
        let number = PageNumber::new(Pfn::NUMBERS - 1);
        let huge = PageSize::new(PageSize::host().bytes() << 18).unwrap();
        let pfn = Pfn::valid(PfnFlags::DEVICE, number, huge);
        assert_eq!(pfn.flags(), PfnFlags::VALID | PfnFlags::DEVICE);
        assert!(pfn.is_valid() && pfn.is_device() && !pfn.is_writable() && !pfn.is_error());
        assert_eq!((pfn.number(), pfn.order()), (Some(number), 18));
        assert_eq!((Pfn::ERROR.number(), Pfn::NONE.number()), (None, None));
    }

    #[test]
    fn flags_print_by_name() {
        assert_eq!(format!("{:?}", Pfn::NONE), "NONE");
        assert_eq!(format!("{:?}", Pfn::ERROR), "ERROR");
        assert_eq!(format!("{:?}", host(16)), "VALID | WRITE number 0x10 order 0");
        assert_eq!(format!("{:?}", Request::FAULT | Request::WRITE), "FAULT | WRITE");
    }

    #[test]
    fn consecutive_numbers_are_one_run() {
        let mut pfns = Pfns::new(pages(10, 0).start());
        pfns.push(pages(10, 5), host(10));
        pfns.push(pages(15, 1), host(15));
        assert_eq!(pfns.runs().len(), 1);
        pfns.push(pages(16, 2), host(40));
        pfns.push(pages(18, 2), Pfn::ERROR);
        pfns.push(pages(20, 2), Pfn::ERROR);
        assert_eq!(pfns.runs().len(), 3);
        assert_eq!(pfns.range(), pages(10, 12));
        assert_eq!(pfns.at(pages(17, 1).start()), Some(host(41)));
        assert_eq!(pfns.at(pages(22, 1).start()), None);
        assert_eq!(pfns.count(Pfn::is_error).get(), 4);
    }

    fn pfn() -> impl Strategy<Value = Pfn> {
        prop_oneof![
            Just(Pfn::NONE),
            Just(Pfn::ERROR),
            (0u64..20).prop_map(host),
            (0u64..20).prop_map(|number| {
                Pfn::valid(PfnFlags::DEVICE, PageNumber::new(number), PageSize::host())
            }),
        ]
    }

    proptest! {
        #[test]
        fn runs_say_the_same_as_a_page_by_page_list(list in prop::collection::vec(pfn(), 0..40)) {
            let mut pfns = Pfns::new(pages(5, 0).start());
            for (page, &pfn) in (5..).zip(&list) {
                pfns.push(pages(page, 1), pfn);
            }
            let read: Vec<Pfn> = pfns.pages().map(|(_, pfn)| pfn).collect();
            prop_assert_eq!(&read, &list);
            for (addr, pfn) in pfns.pages() {
                prop_assert_eq!(pfns.at(addr), Some(pfn));
            }
            for pair in pfns.runs().windows(2) {
                prop_assert_eq!(pair[0].range.end(), pair[1].range.start());
                prop_assert!(!pair[0].is_continued_by(pair[1].first));
            }
        }
    }
}
