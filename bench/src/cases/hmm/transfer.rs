//! The cost of bringing memory to a device and home, beside a copy of it.

use super::device_mirror::{DeviceMirror, TransferKind, huge_memory};
use crate::{
    case::{Case, Context},
    failure::Failure,
    measure::Variant,
    rival::{HugePages, Memory, Userfault},
};
use farptr_hmm::MirrorBuilder;
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// The large size gives the cost of each page; the small size shows the cost of the call itself.
const SIZES_BYTES: &[u64] = &[8 << 20, 256 << 20];

/// Pages are migrated there and back by calls.
pub(in crate::cases) struct Transfer {
    name: &'static str,
    about: &'static str,
    variants: &'static [&'static str],
    kind: TransferKind,
}

impl Transfer {
    pub(in crate::cases) const MOVE: Self = Self {
        name: "hmm-migrate-move",
        about: "memory in huge pages moved to a device that computes on the host, and home",
        variants: &["memcpy", "farptr-out", "farptr-home"],
        kind: TransferKind::Move,
    };
    pub(in crate::cases) const COPY: Self = Self {
        name: "hmm-migrate-copy",
        about: "memory in huge pages copied to a device, and home",
        variants: &["memcpy", "farptr-out", "farptr-home", "uffdio-copy"],
        kind: TransferKind::Copy,
    };
}

impl Case for Transfer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn variants(&self) -> &'static [&'static str] {
        self.variants
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
        let mirror = Rc::new(DeviceMirror::open(MirrorBuilder::new(), self.kind, size_bytes)?);
        let trip = |name, timed| Trip::new(name, &mirror, size_bytes, timed);
        let mut variants: Vec<Box<dyn Variant>> = vec![
            Box::new(Copies::new(size_bytes)?),
            Box::new(trip("farptr-out", Timed::Out)),
            Box::new(trip("farptr-home", Timed::Home)),
        ];
        if self.kind == TransferKind::Copy {
            variants.push(Box::new(Fills::new(size_bytes)?));
        }
        Ok(variants)
    }
}

/// Pages are migrated by a call and brought home by touching them.
pub(in crate::cases) struct Touch;

impl Case for Touch {
    fn name(&self) -> &'static str {
        "hmm-touch-home-seq"
    }

    fn about(&self) -> &'static str {
        "huge pages on a device, touched by the CPU one small page after the other"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["memcpy", "farptr-move", "farptr-copy"]
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
        let mirror = |kind| DeviceMirror::open(MirrorBuilder::new(), kind, size_bytes).map(Rc::new);
        let (moves, copies) = (mirror(TransferKind::Move)?, mirror(TransferKind::Copy)?);
        Ok(vec![
            Box::new(Copies::new(size_bytes)?),
            Box::new(Trip::new("farptr-move", &moves, size_bytes, Timed::Touch)),
            Box::new(Trip::new("farptr-copy", &copies, size_bytes, Timed::Touch)),
        ])
    }
}

/// The part of a trip that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timed {
    /// All pages out, by a call. They then come home by a call.
    Out,
    /// All pages home, by a call.
    Home,
    /// All pages home, by a read of each.
    Touch,
}

/// Migrates fresh memory, there and back. Filling it, comparing the bytes that came back, and
/// unmapping it are not timed.
struct Trip {
    name: &'static str,
    mirror: Rc<DeviceMirror>,
    size_bytes: u64,
    timed: Timed,
    trips: u64,
    right: bool,
}

impl Trip {
    fn new(name: &'static str, mirror: &Rc<DeviceMirror>, size_bytes: u64, timed: Timed) -> Self {
        let mirror = Rc::clone(mirror);
        Self { name, mirror, size_bytes, timed, trips: 0, right: true }
    }

    fn once(&mut self) -> Result<Duration, Failure> {
        self.trips += 1;
        let memory = huge_memory(self.size_bytes, self.trips)?;
        let start = Instant::now();
        self.right &= self.mirror.migrate_out(&memory)?;
        let out = start.elapsed();
        let start = Instant::now();
        match self.timed {
            Timed::Touch => self.right &= touch_all(&memory, self.trips),
            Timed::Out | Timed::Home => self.right &= self.mirror.bring_home(&memory)?,
        }
        let home = start.elapsed();
        self.right &= memory.holds(self.trips);
        Ok(if self.timed == Timed::Out { out } else { home })
    }
}

fn touch_all(memory: &Memory, seed: u64) -> bool {
    let pages = usize::try_from(super::pages_in(memory.len_bytes())).expect("a 64-bit machine");
    (0..pages).all(|page| memory.touch(page, seed))
}

impl Variant for Trip {
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

/// Copies memory that is there to memory that is there, both in huge pages.
struct Copies {
    from: Memory,
    to: Memory,
    copies: u64,
    right: bool,
}

impl Copies {
    fn new(size_bytes: u64) -> Result<Self, Failure> {
        let (from, to) = (huge_memory(size_bytes, 0)?, huge_memory(size_bytes, 0)?);
        Ok(Self { from, to, copies: 0, right: true })
    }
}

impl Variant for Copies {
    fn name(&self) -> &'static str {
        "memcpy"
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        self.copies += 1;
        self.from.fill(self.copies);
        let start = Instant::now();
        for _ in 0..calls {
            self.to.copy_from(&self.from);
        }
        let elapsed = start.elapsed();
        self.right &= self.to.holds(self.copies);
        Ok(elapsed)
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}

/// Hand-written: one `UFFDIO_COPY` of everything into holes. Bringing copied pages home uses the
/// same request.
struct Fills {
    fault: Userfault,
    right: bool,
}

impl Fills {
    const SEED: u64 = 3;

    fn new(size_bytes: u64) -> Result<Self, Failure> {
        let source = Memory::map(size_bytes, HugePages::Prefer)?;
        source.fill(Self::SEED);
        Ok(Self { fault: Userfault::new(source)?, right: true })
    }

    fn once(&mut self) -> Result<Duration, Failure> {
        self.fault.memory().drop_pages()?;
        let start = Instant::now();
        self.fault.copy_all()?;
        let elapsed = start.elapsed();
        self.right &= self.fault.memory().holds(Self::SEED);
        Ok(elapsed)
    }
}

impl Variant for Fills {
    fn name(&self) -> &'static str {
        "uffdio-copy"
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        (0..calls).map(|_| self.once()).sum()
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}
