//! The cost that the walk adds to the system call under it: a snapshot of memory that is there.

use super::{pages_in, range_of, watch_all};
use crate::{
    case::{Case, Context},
    failure::Failure,
    measure::Variant,
    rival::{HugePages, Memory, Pages, Scanner},
};
use farptr_hmm::{FaultError, HmmRange, Notifier, Pfn, ProcessMm, VaRange, snapshot};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// The large size gives the cost of each page; the small size shows the cost of the call itself.
const SIZES_BYTES: &[u64] = &[2 << 20, 1 << 30];

pub(in crate::cases) struct Snapshot {
    name: &'static str,
    about: &'static str,
    huge: HugePages,
}

impl Snapshot {
    pub(in crate::cases) const SMALL: Self = Self {
        name: "hmm-snapshot-4k",
        about: "what a device may do with present anonymous memory in small pages",
        huge: HugePages::Never,
    };
    pub(in crate::cases) const HUGE: Self = Self {
        name: "hmm-snapshot-thp",
        about: "what a device may do with present anonymous memory in transparent huge pages",
        huge: HugePages::Prefer,
    };

    /// The answer that both variants must find.
    fn expected(&self, size_bytes: u64) -> Pages {
        let pages = pages_in(size_bytes);
        let huge = if self.huge == HugePages::Prefer { pages } else { 0 };
        Pages { present: pages, huge }
    }

    /// Memory that is there. Without huge pages from the system there is nothing to measure.
    fn memory(&self, size_bytes: u64) -> Result<Memory, Failure> {
        let memory = Memory::map(size_bytes, self.huge)?;
        memory.populate()?;
        let Pages { huge, .. } = Scanner::open()?.scan(&memory)?;
        let wanted = self.expected(size_bytes).huge;
        if huge < wanted {
            return Err(Failure::NoHugePages { huge, wanted });
        }
        Ok(memory)
    }
}

impl Case for Snapshot {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn variants(&self) -> &'static [&'static str] {
        &["pagemap-scan", "farptr"]
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
        let expected = self.expected(size_bytes);
        let memory = Rc::new(self.memory(size_bytes)?);
        let (mut scanner, scanned) = (Scanner::open()?, Rc::clone(&memory));
        let mirror = Mirror {
            host: ProcessMm::open().map_err(FaultError::from)?,
            notifier: watch_all(),
            range: range_of(&memory),
            _memory: memory,
        };
        Ok(vec![
            Box::new(Looks::new("pagemap-scan", expected, move || scanner.scan(&scanned))),
            Box::new(Looks::new("farptr", expected, move || mirror.snapshot())),
        ])
    }
}

/// Looks again and again, and compares each answer with what is there.
struct Looks<F> {
    name: &'static str,
    expected: Pages,
    right: bool,
    look: F,
}

impl<F: FnMut() -> Result<Pages, Failure>> Looks<F> {
    fn new(name: &'static str, expected: Pages, look: F) -> Self {
        Self { name, expected, right: true, look }
    }
}

impl<F: FnMut() -> Result<Pages, Failure>> Variant for Looks<F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let start = Instant::now();
        for _ in 0..calls {
            self.right &= (self.look)()? == self.expected;
        }
        Ok(start.elapsed())
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}

/// farptr: one attempt of a device to read the page table, from `read_begin` to `read_retry`.
struct Mirror {
    host: ProcessMm,
    notifier: Notifier,
    range: VaRange,
    _memory: Rc<Memory>,
}

impl Mirror {
    fn snapshot(&self) -> Result<Pages, Failure> {
        let mut range = HmmRange::new(self.range, &self.notifier)?;
        snapshot(&self.host, &mut range)?;
        let pfns = range.pfns();
        let present = pfns.count(|pfn| pfn.is_valid() && pfn.is_writable()).get();
        let huge = pfns.count(|pfn: Pfn| pfn.is_valid() && pfn.order() > 0).get();
        assert!(!range.read_retry(), "nobody invalidates");
        Ok(Pages { present, huge })
    }
}
