//! Whether a running kernel sees a word that the host writes, and how long that takes.
//!
//! The kernel ends by itself after a bounded number of turns, and reports why it ended and in which
//! turn. So the answer is the kernel's, and no time is judged.
//!
//! # Safety
//!
//! The kernel reads the stop word and writes the result, both in memory that lives until its run
//! has ended. The host writes the stop word meanwhile, as one atomic word.
#![allow(unsafe_code, reason = "launches by hand, see above")]

use crate::{
    doctor::{
        finding::Finding,
        kernels::watch,
        memory::{HUGE_BYTES, HostMemory, Kind},
        probe::Subject,
    },
    failure::{self, Failure},
    vulkan::{Device, HOST, HostBuffer, Imported, KERNEL_WRITES, Kernel, Lane},
};
use farptr::{KernelDesc, Ptr, PtrMut};
use std::{
    rc::Rc,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

pub(super) const IMPORTED: &str = "a stop word is seen, imported memory";
/// Turns of a run, below the iterations after which drivers are known to cut loops.
pub(super) const TURNS: u32 = 60_000;
/// Runs until the host's write falls into one.
const ATTEMPTS: u32 = 4;

/// The kernel, and the memory that it watches.
pub(super) struct Watch {
    lane: Lane,
    kernel: Kernel<watch::Kernel>,
    result: HostBuffer<u32>,
    word: Word,
}

/// The place of the stop word.
enum Word {
    Buffer(HostBuffer<u32>),
    // The import goes first.
    Imported(Imported, HostMemory),
}

/// The kernel's report; of several workgroups, the last one's.
pub(super) struct Report {
    seen: bool,
    pub(super) turns: u32,
    /// Workgroups that made all turns.
    pub(super) complete: u32,
}

/// In memory of one type.
pub(super) fn in_type(subject: &mut Subject, kind: u32) -> Result<Finding, Failure> {
    let watch = Watch::on_buffer(subject, Some(kind))?;
    find_out(subject, watch)
}

/// In imported memory.
pub(super) fn imported(subject: &mut Subject) -> Result<Finding, Failure> {
    let device = Rc::new(Device::open_at(subject.device)?);
    let memory = HostMemory::map(Kind::Huge, HUGE_BYTES)?;
    memory.set_word(0, 0);
    subject.at("importing");
    // SAFETY: the memory goes behind the import, in `Word`.
    let imported = match unsafe { Imported::new(&device, memory.start(), memory.len_bytes()) } {
        Ok(imported) => imported,
        Err(refused) => return Ok(Finding::refused(failure::chain(&refused))),
    };
    let watch = Watch::new(&device, Word::Imported(imported, memory))?;
    find_out(subject, watch)
}

impl Word {
    fn address(&self) -> u64 {
        match self {
            Self::Buffer(buffer) => buffer.address(),
            Self::Imported(imported, _) => imported.address(),
        }
    }

    fn set(&self, value: u32) {
        match self {
            Self::Buffer(buffer) => buffer.word(0).store(value, Ordering::SeqCst),
            Self::Imported(_, memory) => memory.set_word(0, value),
        }
    }
}

impl Watch {
    /// A stop word in a buffer, in memory of one type or of the usual one.
    pub(super) fn on_buffer(subject: &Subject, kind: Option<u32>) -> Result<Self, Failure> {
        let device = Rc::new(Device::open_at(subject.device)?);
        let word = match kind {
            Some(kind) => HostBuffer::new_in(&device, &[0; 16], kind)?,
            None => HostBuffer::new(&device, &[0; 16])?,
        };
        Self::new(&device, Word::Buffer(word))
    }

    fn new(device: &Rc<Device>, word: Word) -> Result<Self, Failure> {
        Ok(Self {
            lane: Lane::new(device)?,
            kernel: Kernel::new(device)?,
            result: HostBuffer::new(device, &[0; 4])?,
            word,
        })
    }

    /// Runs so many workgroups, each of so many turns.
    pub(super) fn run(
        &mut self,
        subject: &mut Subject,
        groups: u32,
        turns: u32,
    ) -> Result<Report, Failure> {
        self.run_while(subject, [groups, turns], |_, _| {})
    }

    /// As [`run`](Self::run); `during` is called while the kernel runs.
    fn run_while(
        &mut self,
        subject: &mut Subject,
        [groups, turns]: [u32; 2],
        mut during: impl FnMut(&dyn Fn(), Duration),
    ) -> Result<Report, Failure> {
        subject.at(&format!("running a kernel of {groups} workgroups and {turns} turns"));
        self.word.set(0);
        // SAFETY: no run is under way.
        unsafe { self.result.elements_mut() }.fill(0);
        let push = watch::Kernel::push(watch::Args {
            stop: Ptr::from_address(self.word.address()),
            result: PtrMut::from_address(self.result.address()),
            turns,
        });
        let (kernel, word) = (&self.kernel, &self.word);
        let record = |recorder: &crate::vulkan::Recorder<'_>| {
            // SAFETY: the kernel reads the word and writes four words of the result.
            unsafe { recorder.launch(kernel, &push, [groups, 1, 1]) };
            recorder.barrier(KERNEL_WRITES, HOST);
        };
        self.lane.run_while(record, |time| during(&|| word.set(1), time))?;
        // SAFETY: the run has ended.
        let result = unsafe { self.result.elements() };
        Ok(Report { seen: result[0] == 1, turns: result[1], complete: result[3] })
    }
}

fn find_out(subject: &mut Subject, mut watch: Watch) -> Result<Finding, Failure> {
    // The first run compiles; the second shows how long a run takes.
    watch.run(subject, 1, 1)?;
    let began = Instant::now();
    let alone = watch.run(subject, 1, TURNS)?;
    let whole = began.elapsed();
    if alone.seen {
        return Ok(Finding::wrong("a kernel saw a word that nobody wrote"));
    }
    for attempt in 1..=ATTEMPTS {
        let mut written = None;
        let write_at = whole * attempt / (ATTEMPTS + 1);
        let report = watch.run_while(subject, [1, TURNS], |stop, time| {
            if written.is_none() && time >= write_at {
                stop();
                written = Some(Instant::now());
            }
        })?;
        let Some(written) = written else { continue };
        let (took, of) = (written.elapsed(), alone.turns);
        if !report.seen {
            let detail = format!("never within {of} turns, which take {} s", rounded(whole));
            return Ok(Finding::measured(detail).figure("seen", false));
        }
        if report.turns > 0 {
            let (turn, ms) = (report.turns, 1e3 * took.as_secs_f64());
            let known = format!("the host knew {ms:.1} ms after its write");
            let detail = format!("in turn {turn} of {of}; {known}");
            let ms = (ms * 100.0).round() / 100.0;
            return Ok(Finding::measured(detail).figure("seen", true).figure("ms_until_known", ms));
        }
    }
    Ok(Finding::not_tried("the kernel is too short here for a write to fall into a run"))
}

/// Seconds with three places.
pub(super) fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
