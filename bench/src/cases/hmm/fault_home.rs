//! The cost of one fault that brings one page home.

use super::device_mirror::{DeviceMirror, TransferKind};
use crate::{
    case::{Case, Context},
    failure::Failure,
    measure::Variant,
    rival::{HugePages, Memory, Userfault},
};
use farptr_hmm::{MirrorBuilder, PageSize};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::time::{Duration, Instant};

/// The memory that is touched, again and again.
const BYTES: u64 = 4 << 20;
const SEED: u64 = 1;

/// Small pages, brought home one by one.
pub(in crate::cases) struct FaultHome {
    name: &'static str,
    about: &'static str,
    placement: Placement,
}

/// The processor of the thread that answers faults, for all variants alike. If the system chooses
/// the processor, it changes within a run, and the change costs more than the differences that are
/// measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    /// On the core of the thread that touches.
    SameCore,
    /// On another core.
    OtherCore,
}

impl FaultHome {
    pub(in crate::cases) const SAME_CORE: Self = Self {
        name: "hmm-fault-home",
        about: "one small page brought home by a fault, answered on the same core",
        placement: Placement::SameCore,
    };
    pub(in crate::cases) const OTHER_CORE: Self = Self {
        name: "hmm-fault-home-far",
        about: "one small page brought home by a fault, answered on another core",
        placement: Placement::OtherCore,
    };
}

impl Case for FaultHome {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn variants(&self) -> &'static [&'static str] {
        &["uffdio-copy", "farptr-copy", "farptr-move"]
    }

    fn needs_device(&self) -> bool {
        false
    }

    fn prepare<'c>(
        &self,
        _context: &'c Context,
        _size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let cores = Cores::of_thread()?;
        let handler = if self.placement == Placement::SameCore { cores.first } else { cores.last };
        // Threads inherit the processors of the thread that starts them.
        cores.restrict_to(handler)?;
        let variants = variants(cores.first);
        cores.restore()?;
        variants
    }
}

fn variants<'c>(core: usize) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
    let source = Memory::map(BYTES, HugePages::Never)?;
    source.fill(SEED);
    let fault = Userfault::new(source)?;
    let mirror = |kind| {
        let page = PageSize::host();
        let alone = MirrorBuilder::new().fault_around(page).fault_around_limit(page);
        DeviceMirror::open(alone, kind, BYTES)
    };
    let small = || -> Result<Memory, Failure> {
        let memory = Memory::map(BYTES, HugePages::Never)?;
        memory.fill(SEED);
        Ok(memory)
    };
    let farptr =
        |name, mirror, memory| Touches { name, core, right: true, pages: (mirror, memory) };
    Ok(vec![
        Box::new(Touches { name: "uffdio-copy", core, right: true, pages: fault }),
        Box::new(farptr("farptr-copy", mirror(TransferKind::Copy)?, small()?)),
        Box::new(farptr("farptr-move", mirror(TransferKind::Move)?, small()?)),
    ])
}

/// Two of the cores that this thread may run on, the same one if there is no other.
struct Cores {
    all: CpuSet,
    first: usize,
    last: usize,
}

impl Cores {
    fn of_thread() -> Result<Self, Failure> {
        let all = sched_getaffinity(None).map_err(|errno| failed("sched_getaffinity", errno))?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|&core| all.is_set(core));
        let first = allowed.next().unwrap_or(0);
        Ok(Self { all, first, last: allowed.next_back().unwrap_or(first) })
    }

    fn restrict_to(&self, core: usize) -> Result<(), Failure> {
        let mut one = CpuSet::new();
        one.set(core);
        sched_setaffinity(None, &one).map_err(|errno| failed("sched_setaffinity", errno))
    }

    fn restore(&self) -> Result<(), Failure> {
        sched_setaffinity(None, &self.all).map_err(|errno| failed("sched_setaffinity", errno))
    }
}

fn failed(call: &'static str, errno: rustix::io::Errno) -> Failure {
    Failure::Linux { call, source: errno.into() }
}

/// Pages that can be missing at home, each until its first touch.
trait Migrated {
    fn memory(&self) -> &Memory;

    /// Takes all pages away from home, and returns whether all are gone.
    fn migrate_out(&self) -> Result<bool, Failure>;

    /// Whether as many faults were answered, with a page each.
    fn answered(&self, faults: u64) -> bool;
}

impl Migrated for Userfault {
    fn memory(&self) -> &Memory {
        Userfault::memory(self)
    }

    fn migrate_out(&self) -> Result<bool, Failure> {
        self.memory().drop_pages().map(|()| true)
    }

    /// A fault that is not answered is not returned from.
    fn answered(&self, _faults: u64) -> bool {
        true
    }
}

impl Migrated for (DeviceMirror, Memory) {
    fn memory(&self) -> &Memory {
        &self.1
    }

    fn migrate_out(&self) -> Result<bool, Failure> {
        let (mirror, memory) = self;
        // The sample before may have left pages on the device.
        mirror.bring_home(memory)?;
        mirror.migrate_out(memory)
    }

    fn answered(&self, faults: u64) -> bool {
        let (seen, home) = self.0.faults_and_pages_home();
        seen >= faults && home >= faults
    }
}

/// Touches pages that are missing at home, one after the other. Taking them away is not timed.
struct Touches<P> {
    name: &'static str,
    core: usize,
    right: bool,
    pages: P,
}

impl<P: Migrated> Touches<P> {
    fn touch(&mut self, calls: u32) -> Result<Duration, Failure> {
        let in_all = usize::try_from(super::pages_in(BYTES)).expect("a 64-bit machine");
        let (mut elapsed, mut left) = (Duration::ZERO, calls as usize);
        while left > 0 {
            let count = left.min(in_all);
            self.right &= self.pages.migrate_out()?;
            let start = Instant::now();
            let right = (0..count).all(|page| self.pages.memory().touch(page, SEED));
            elapsed += start.elapsed();
            self.right &= right && self.pages.answered(count as u64);
            left -= count;
        }
        Ok(elapsed)
    }
}

impl<P: Migrated> Variant for Touches<P> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let cores = Cores::of_thread()?;
        cores.restrict_to(self.core)?;
        let elapsed = self.touch(calls);
        cores.restore()?;
        elapsed
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}
