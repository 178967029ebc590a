//! The cost that the walk adds to populating: untouched memory, wanted for writing.

use super::{pages_in, range_of, watch_all};
use crate::{
    case::{Case, Context},
    failure::Failure,
    measure::Variant,
    rival::{HugePages, Memory, Pages, Scanner},
};
use farptr_hmm::{FaultError, HmmRange, Notifier, Pfn, ProcessMm, Request, range_fault};
use std::time::{Duration, Instant};

/// The large size gives the cost of each page; the small size shows the cost of the call itself.
const SIZES_BYTES: &[u64] = &[64 << 10, 256 << 20];

pub(in crate::cases) struct Populate;

impl Case for Populate {
    fn name(&self) -> &'static str {
        "hmm-populate"
    }

    fn about(&self) -> &'static str {
        "untouched anonymous memory in small pages, made writable for a device"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["madvise-populate", "farptr"]
    }

    fn sizes_bytes(&self) -> &'static [u64] {
        SIZES_BYTES
    }

    fn needs_device(&self) -> bool {
        false
    }

    fn prepare<'c>(
        &self,
        _context: &'c Context,
        size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let host = ProcessMm::open().map_err(FaultError::from)?;
        let notifier = watch_all();
        let fault = move |memory: &Memory| fault(&host, &notifier, memory);
        let advise = |memory: &Memory| memory.populate().map(|()| pages_in(memory.len_bytes()));
        Ok(vec![
            Box::new(Populates::new("madvise-populate", size_bytes, advise)?),
            Box::new(Populates::new("farptr", size_bytes, fault)?),
        ])
    }
}

/// farptr: one attempt of a device to get the pages, from `read_begin` to `read_retry`. Returns
/// how many pages it may write.
fn fault(host: &ProcessMm, notifier: &Notifier, memory: &Memory) -> Result<u64, Failure> {
    let mut range = HmmRange::new(range_of(memory), notifier)?;
    range.default_flags = Request::FAULT | Request::WRITE;
    range_fault(host, &mut range)?;
    assert!(!range.read_retry(), "nobody invalidates");
    Ok(range.pfns().count(Pfn::is_writable).get())
}

/// Populates fresh memory each time. Mapping, checking and unmapping it are not timed.
struct Populates<F> {
    name: &'static str,
    size_bytes: u64,
    scanner: Scanner,
    right: bool,
    populate: F,
}

impl<F: FnMut(&Memory) -> Result<u64, Failure>> Populates<F> {
    fn new(name: &'static str, size_bytes: u64, populate: F) -> Result<Self, Failure> {
        Ok(Self { name, size_bytes, scanner: Scanner::open()?, right: true, populate })
    }

    /// Populates once, and compares the pages that the call reports and the pages that are present
    /// with those that were requested.
    fn once(&mut self) -> Result<Duration, Failure> {
        let pages = pages_in(self.size_bytes);
        let memory = Memory::map(self.size_bytes, HugePages::Never)?;
        let start = Instant::now();
        let populated = (self.populate)(&memory)?;
        let elapsed = start.elapsed();
        let found = self.scanner.scan(&memory)?;
        self.right &= populated == pages && found == Pages { present: pages, huge: 0 };
        Ok(elapsed)
    }
}

impl<F: FnMut(&Memory) -> Result<u64, Failure>> Variant for Populates<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        (0..calls).map(|_| self.once()).sum()
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}
