//! The memory allocations of a device, counted against its limit. Pure.
//!
//! Vulkan leaves the count to the program: an allocation beyond the limit is a wrong call, and need
//! not be an error.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// Allocations that imports leave to buffers of farptr's own: an eighth of all, but no more than
/// this.
const RESERVE: u32 = 512;

/// The uses of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Host memory. What cannot be imported is copied, to memory of the other two.
    Import,
    /// A part of an import that was given back to be split. Kernels need it.
    Part,
    /// One large buffer. Pages that it has no room for go to shared blocks.
    Large,
    /// A block that small buffers share.
    Shared,
}

/// The allocations of a device: how many there may be, and how many there are.
#[derive(Debug)]
pub(crate) struct Allocations {
    limit: u32,
    /// It stands alone, so relaxed order is enough.
    used: AtomicU32,
}

/// The right to one allocation, from before it is made until after it is freed.
#[derive(Debug)]
pub(crate) struct Slot {
    allocations: Arc<Allocations>,
}

/// All allocations that the device allows for a use are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    /// The device's limit.
    pub(crate) limit: u32,
    /// The allocations that there are.
    pub(crate) used: u32,
}

impl Allocations {
    /// No allocations, of so many that the device allows (`maxMemoryAllocationCount`).
    pub(crate) fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicU32::new(0) })
    }

    /// A slot for an allocation. Each use leaves some to the ones that it falls back to.
    pub(crate) fn take(self: &Arc<Self>, purpose: Purpose) -> Result<Slot, Full> {
        let reserve = RESERVE.min(self.limit / 8);
        let limit = match purpose {
            Purpose::Import => self.limit - reserve,
            Purpose::Large => self.limit - reserve / 2,
            Purpose::Shared | Purpose::Part => self.limit,
        };
        let more = |used: u32| (used < limit).then(|| used + 1);
        match self.used.fetch_update(Relaxed, Relaxed, more) {
            Ok(_) => Ok(Slot { allocations: Arc::clone(self) }),
            Err(used) => Err(Full { limit: self.limit, used }),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.allocations.used.fetch_sub(1, Relaxed);
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} memory allocations are in use", self.used, self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_leave_an_eighth_to_buffers() {
        let allocations = Allocations::new(64);
        let take = |count, purpose| -> Vec<Slot> {
            (0..count).map(|_| allocations.take(purpose).unwrap()).collect()
        };
        let full = |purpose| allocations.take(purpose).unwrap_err().used;
        let imports = take(56, Purpose::Import);
        assert_eq!(full(Purpose::Import), 56);
        let buffers = [take(4, Purpose::Large), take(4, Purpose::Shared)];
        assert_eq!([Purpose::Import, Purpose::Large, Purpose::Shared].map(full), [64; 3]);
        drop(imports);
        assert_eq!(allocations.used.load(Relaxed), 8);
        assert!(allocations.take(Purpose::Import).is_ok());
        drop(buffers);
        assert_eq!(allocations.used.load(Relaxed), 0, "each was given back once");
    }

    #[test]
    fn a_device_without_a_limit_reserves_little() {
        let allocations = Allocations::new(u32::MAX);
        allocations.used.store(u32::MAX - RESERVE - 1, Relaxed);
        let last = allocations.take(Purpose::Import).unwrap();
        assert!(
            allocations.take(Purpose::Import).is_err() && allocations.take(Purpose::Large).is_ok()
        );
        drop(last);
    }

    #[test]
    fn threads_together_take_no_more_than_there_are() {
        let allocations = Allocations::new(100);
        let taken = std::thread::scope(|s| {
            let take = || {
                s.spawn(|| (0..60).filter_map(|_| allocations.take(Purpose::Shared).ok()).collect())
            };
            let threads: Vec<_> = (0..4).map(|_| take()).collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.collect::<Vec<Vec<Slot>>>()
        });
        assert_eq!(taken.iter().map(Vec::len).sum::<usize>(), 100);
    }
}
