//! Whether a kernel that is running sees a word that the host writes, tried at start-up.
//!
//! A deadline is a word that the host writes while a kernel runs, and Vulkan does not say that the
//! kernel sees it. So a kernel makes many passes through a loop, is told to end in the middle, and
//! reports how far it came. It makes no more passes than take a tenth of a second, so that the
//! trial ends in any case. The words are those of launches: rewritten code looks at them.
//!
//! The kernel saw the word if it ended early, and if it had looked at the word several times before
//! and found nothing. Both follow from its count of passes, and not from a clock: the host may be
//! late, and the device slow.
//!
//! # Safety
//!
//! The kernel is farptr's own, rewritten, and touches the words of its result.
#![allow(unsafe_code, reason = "it launches the probe, with the argument above")]

use crate::{
    LaunchError, LaunchOptions, VulkanError,
    kernel::code::Code,
    launch::{
        allowance::Allowance,
        checked::Request,
        control_block::{self, Arguments, Head},
        grid::Dispatch,
        launcher::Launcher,
        stop::StopWord,
        wait::wait_or_stop,
    },
    lend::lends::{Lends, Segment},
    prove::kernels::{ENDLESS, EndlessPush},
    vk::{
        buffer::SharedBuffer,
        command::{Recording, Work},
        info::{SeenIn, Stopping},
    },
};
use farptr_hmm::{VaRange, VirtAddr};
use farptr_rewrite::{PtrMut, Translation};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Bytes of the kernel's result.
const RESULT_BYTES: u64 = 64;
/// Passes of the first trial of the kernel's speed, and how many more each further one makes.
const FIRST_PASSES: u32 = 1 << 16;
const MORE: u32 = 4;
/// A trial that takes so long tells the speed.
const LONG_ENOUGH: Duration = Duration::from_millis(10);
/// When the kernel is told to end while its speed is measured: it ends long before.
const MEASURED_FOR: Duration = Duration::from_secs(10);
/// When the kernel is told to end, and how long it runs if it does not.
const TOLD_AFTER: Duration = Duration::from_millis(20);
const RUNS_FOR: Duration = Duration::from_millis(100);
/// Passes of a kernel that has looked several times: rewritten code looks every 4096 passes.
const HAS_LOOKED: u32 = 4 * 4096;
/// How often a trial is made; the time doubles after each that decides nothing.
const TRIALS: u32 = 4;
/// How many trials say that the word is not seen before that is believed: the host may have been
/// late, by as much as the kernel ran.
const BELIEVED: u32 = 2;

/// The end of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Passes that were made, or nearly.
    passes: u32,
    /// Whether these were all.
    complete: bool,
    /// Whether the kernel was told to end.
    told: bool,
}

/// What a run says of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Seen,
    NotSeen,
    Nothing,
}

impl Run {
    fn says(self) -> Said {
        match self {
            Self { told: false, .. } => Said::Nothing,
            Self { complete: true, .. } => Said::NotSeen,
            Self { passes, .. } if passes >= HAS_LOOKED => Said::Seen,
            // It may have begun when the word was written already.
            _ => Said::Nothing,
        }
    }
}

/// Finds out how a running kernel can be ended, and notes it.
pub(crate) fn try_stopping(
    launcher: &Arc<Launcher>,
    code: &Arc<Code>,
) -> Result<Stopping, LaunchError> {
    let device = launcher.device();
    let mut trial = Trial::new(launcher, code)?;
    let stopping = if device.traits().cuts_loops {
        trial.measure_short(device.cut_after())?;
        Stopping::Cut
    } else {
        trial.measure()?;
        trial.find()?
    };
    device.note_passes_per_second(trial.passes_per_second);
    device.note_stopping(stopping);
    Ok(stopping)
}

/// The kernel, and what was found out about it.
struct Trial<'t> {
    launcher: &'t Arc<Launcher>,
    code: &'t Arc<Code>,
    result: SharedBuffer,
    /// The most passes that an invocation was seen to make in a second.
    passes_per_second: u64,
}

impl<'t> Trial<'t> {
    fn new(launcher: &'t Arc<Launcher>, code: &'t Arc<Code>) -> Result<Self, VulkanError> {
        let result = SharedBuffer::for_host(launcher.device(), RESULT_BYTES)?;
        Ok(Self { launcher, code, result, passes_per_second: 1 })
    }

    /// Measures the passes of a second.
    fn measure(&mut self) -> Result<(), LaunchError> {
        let mut passes = FIRST_PASSES;
        // Drivers compile at the first run.
        self.run(SeenIn::HostMemory, 1, MEASURED_FOR)?;
        loop {
            let took = self.timed(SeenIn::HostMemory, passes, MEASURED_FOR)?.1;
            if took >= LONG_ENOUGH || passes == u32::MAX {
                return Ok(());
            }
            passes = passes.saturating_mul(MORE);
        }
    }

    /// Measures the passes of a second on a driver that ends loops after so many. The runs are
    /// short, so that what a launch costs makes the speed smaller than it is.
    fn measure_short(&mut self, cut_after: u32) -> Result<(), LaunchError> {
        self.run(SeenIn::HostMemory, 1, MEASURED_FOR)?;
        for _ in 0..TRIALS {
            self.timed(SeenIn::HostMemory, cut_after / 4, MEASURED_FOR)?;
        }
        Ok(())
    }

    /// Tries each kind of memory for the word.
    fn find(&mut self) -> Result<Stopping, LaunchError> {
        for memory in [SeenIn::HostMemory, SeenIn::DeviceMemory] {
            let (mut not_seen, mut times) = (0, 1);
            for _ in 0..TRIALS {
                let passes = self.passes_in(RUNS_FOR * times);
                match self.timed(memory, passes, TOLD_AFTER * times)?.0.says() {
                    Said::Seen => return Ok(Stopping::Seen(memory)),
                    Said::NotSeen => not_seen += 1,
                    Said::Nothing => times *= 2,
                }
                if not_seen == BELIEVED {
                    break;
                }
            }
        }
        Ok(Stopping::Unseen { passes_per_second: self.passes_per_second })
    }

    /// The passes that the kernel makes in a time, or more.
    fn passes_in(&self, time: Duration) -> u32 {
        let passes = u128::from(self.passes_per_second) * time.as_millis() / 1000;
        u32::try_from(passes).unwrap_or(u32::MAX).max(FIRST_PASSES)
    }

    /// As [`run`](Self::run), with the time that it took.
    fn timed(
        &mut self,
        memory: SeenIn,
        passes: u32,
        told_after: Duration,
    ) -> Result<(Run, Duration), LaunchError> {
        let begun = Instant::now();
        let run = self.run(memory, passes, told_after)?;
        let took = begun.elapsed();
        if run.complete {
            let nanos = took.as_nanos().max(1);
            let per_second = u128::from(passes) * 1_000_000_000 / nanos;
            let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
            self.passes_per_second = self.passes_per_second.max(per_second);
        }
        Ok((run, took))
    }

    /// Runs the kernel, and tells it to end after a time.
    fn run(&self, memory: SeenIn, passes: u32, told_after: Duration) -> Result<Run, LaunchError> {
        let (launcher, device) = (self.launcher, self.launcher.device());
        self.result.clear();
        let push = EndlessPush::new(PtrMut::from_address(self.result.address()), passes);
        let (push, dispatch) = (bytemuck::bytes_of(&push), Dispatch::of([1, 1, 1]));
        let (kernel, code, options) = (ENDLESS.name, self.code, &LaunchOptions::new());
        let request = Request { kernel, code, dispatch, push, options };
        let lends = self.lends();
        let arguments = Arguments::new(code.facts(kernel)?, push, &lends, false);
        let (variant, layout) =
            request.form(device, &arguments, Translation::Segments, &lends, 1)?;
        let pipeline = &code.rewritten(kernel, &variant)?;
        let stop = StopWord::seen_in(device, memory)?;
        let mut channel = launcher.take_channel()?;
        let (_, log) = channel.add_launch();
        let head = Head { log, ..request.head(launcher, stop.addresses()) };
        let analysis = &arguments.facts.analysis;
        let rows = control_block::rows(&layout, &head, analysis, &arguments.windows, &[]);
        let control = Some(channel.write(&rows));
        let groups = dispatch.groups;
        let work = Work { pipeline, control, push, groups, copy: None, waits: true };
        let mut recording = Recording::begin(device)?;
        // SAFETY: 1. the pipeline is the form for this control block, and one group keeps every
        // limit; 2. all outlive the commands, which are waited for below; a buffer of a lost device
        // stays; 3. the kernel writes the words of `result`, at its device address.
        unsafe { recording.launch(&work) };
        let submitted = recording.submit(None)?;
        let mut allowance = Allowance::new(told_after);
        let told = wait_or_stop(&submitted, Some(&mut allowance), Duration::ZERO, || stop.raise())?
            .is_some();
        let [made, all] = [0, 1].map(|at| self.result.words()[at].load(Relaxed));
        Ok(Run { passes: made, complete: all != 0, told })
    }

    /// The result as the only lend, whose addresses are those of the device.
    fn lends(&self) -> Lends {
        let mut lends = Lends::default();
        let range = VaRange::from_len(VirtAddr::new(self.result.address()), RESULT_BYTES);
        let segment = |range| Segment { range, writable: true, delta: Some(0), private: None };
        range.into_iter().map(segment).for_each(|segment| lends.insert(segment));
        lends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_saw_the_word_if_it_had_looked_before_and_ended_early() {
        let run = Run { passes: HAS_LOOKED, complete: false, told: true };
        assert_eq!(run.says(), Said::Seen);
        assert_eq!(Run { passes: HAS_LOOKED - 4096, ..run }.says(), Said::Nothing, "too early");
        assert_eq!(Run { complete: true, ..run }.says(), Said::NotSeen);
        assert_eq!(Run { told: false, complete: true, ..run }.says(), Said::Nothing, "too late");
    }
}
