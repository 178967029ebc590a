//! The device memory that copies of host pages may take. Pure.

use farptr_rewrite::control::PAGE_BYTES;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Bytes that a block of pages has beside them, so that they start on a page.
pub(super) const BESIDE_BYTES: u64 = PAGE_BYTES;

/// The memory of a device that is next to its processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heap {
    /// All of it.
    pub(crate) bytes: u64,
    /// As much as the process may take more, if the driver says so (`VK_EXT_memory_budget`).
    pub(crate) free_bytes: Option<u64>,
}

/// A limit, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// The program asked for it. It holds for copies alone.
    Asked(u64),
    /// It is a part of what the device has, and holds for all buffers of farptr's.
    Derived(Heap),
}

/// How much device memory a runtime may take for copies, and how much it has.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Limit,
    /// It stands alone, so relaxed order is enough.
    used: AtomicU64,
}

/// A part of a budget, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Limit {
    /// The bytes: four fifths of a heap, because drivers and other programs need some.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::Asked(bytes) => bytes,
            Self::Derived(Heap { bytes, free_bytes }) => {
                let free = free_bytes.map_or(bytes, |free| free.min(bytes));
                free / 5 * 4
            }
        }
    }
}

impl Budget {
    pub(crate) fn new(limit: Limit) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU64::new(0) })
    }

    pub(crate) fn limit(&self) -> Limit {
        self.limit
    }

    /// The bytes of the largest block of copies that there is room for.
    pub(crate) fn left(&self) -> u64 {
        let left = self.limit.bytes().saturating_sub(self.used.load(Relaxed));
        left.saturating_sub(self.beside())
    }

    /// Bytes that a block has beside its pages, as far as the limit counts them.
    fn beside(&self) -> u64 {
        if matches!(self.limit, Limit::Asked(_)) { 0 } else { BESIDE_BYTES }
    }

    /// Takes a block of copies, if there is room for it.
    pub(crate) fn take(self: &Arc<Self>, bytes: u64) -> Option<Share> {
        let (limit, bytes) = (self.limit.bytes(), bytes.checked_add(self.beside())?);
        let more = |used: u64| used.checked_add(bytes).filter(|&used| used <= limit);
        self.used.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Share { budget: Arc::clone(self), bytes })
    }

    /// Counts bytes of another buffer in device memory, which is needed whatever is left. The limit
    /// that a program asked for does not count them.
    pub(crate) fn charge(self: &Arc<Self>, bytes: u64) -> Share {
        let bytes = if matches!(self.limit, Limit::Asked(_)) { 0 } else { bytes };
        self.used.fetch_add(bytes, Relaxed);
        Share { budget: Arc::clone(self), bytes }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = Size(self.bytes());
        match *self {
            Self::Asked(_) => write!(f, "{limit} of device memory for copies, as asked for"),
            Self::Derived(Heap { bytes, free_bytes: None }) => {
                write!(f, "{limit} of device memory: four fifths of its {}", Size(bytes))
            }
            Self::Derived(Heap { bytes, free_bytes: Some(free) }) => write!(
                f,
                "{limit} of device memory: four fifths of the {} that the driver says are free, of \
                 {}",
                Size(free.min(bytes)),
                Size(bytes)
            ),
        }
    }
}

/// A number of bytes, in the unit in which it has one to four digits.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        let (shift, unit) = match bytes {
            0..0x2800 => return write!(f, "{bytes} bytes"),
            0x2800..0xa0_0000 => (10, "KiB"),
            0xa0_0000..0x2_8000_0000 => (20, "MiB"),
            0x2_8000_0000.. => (30, "GiB"),
        };
        write!(f, "{} {unit}", bytes >> shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn four_fifths_of_what_is_free_may_be_taken() {
        let derived = |bytes, free_bytes| Limit::Derived(Heap { bytes, free_bytes });
        for (limit, bytes, said) in [
            (
                derived(10 * GIB, None),
                8 * GIB,
                "8192 MiB of device memory: four fifths of its 10 GiB",
            ),
            (
                derived(80 * GIB, Some(60 * GIB)),
                48 * GIB,
                "48 GiB of device memory: four fifths of the 60 GiB that the driver says are free, \
                 of 80 GiB",
            ),
            (
                derived(GIB, Some(2 * GIB)),
                GIB / 5 * 4,
                "819 MiB of device memory: four fifths of the 1024 MiB that the driver says are \
                 free, of 1024 MiB",
            ),
            (Limit::Asked(12_288), 12_288, "12 KiB of device memory for copies, as asked for"),
            (Limit::Asked(0), 0, "0 bytes of device memory for copies, as asked for"),
        ] {
            assert_eq!((limit.bytes(), limit.to_string().as_str()), (bytes, said));
        }
    }

    #[test]
    fn other_buffers_count_unless_the_program_set_the_limit() {
        let heap = Heap { bytes: 100_000, free_bytes: None };
        let page = BESIDE_BYTES;
        for (limit, whole, left) in [
            (Limit::Derived(heap), 80_000 - page, 20_000 - 2 * page),
            (Limit::Asked(80_000), 80_000, 50_000),
        ] {
            let budget = Budget::new(limit);
            assert_eq!(budget.left(), whole);
            let copies = budget.take(30_000).unwrap();
            let other = budget.charge(30_000);
            assert_eq!(budget.left(), left);
            assert!(budget.take(left + 1).is_none());
            let rest = budget.take(left).unwrap();
            assert_eq!(budget.left(), 0);
            drop((copies, other, rest));
            assert_eq!(budget.left(), whole);
            // More than there is, because it is needed.
            let large = budget.charge(1_000_000);
            assert_eq!(budget.take(1).is_some(), limit == Limit::Asked(80_000));
            drop(large);
            assert_eq!(budget.left(), whole);
        }
    }
}
