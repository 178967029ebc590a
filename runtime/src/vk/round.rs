//! One round: a rewritten kernel that collects faults runs alone, and its log is read.
#![allow(dead_code, reason = "the seam for rounds: `launch::rounds` does not run any yet")]

use super::{Pipeline, Scope, batch::Batch, buffer::SharedBuffer, command::Work, session};
use crate::{
    LaunchError,
    launch::{
        control::{self, Head, Row, Window},
        options::LaunchOptions,
        report::{self, Log},
    },
    stats::Counters,
};
use farptr_shaders::rewrite::{
    Analysis,
    control::{Layout, LogWord},
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

/// Faults that the log of a round has room for. What overflows it is in the bitmaps.
pub(crate) const ROUND_FAULTS: u32 = 1 << 14;

/// What a round runs.
#[derive(Clone, Copy)]
pub(crate) struct Round<'r> {
    pub(crate) kernel: &'static str,
    pub(crate) pipeline: &'r Arc<Pipeline>,
    pub(crate) layout: &'r Layout,
    pub(crate) analysis: &'r Analysis,
    pub(crate) windows: &'r [Window],
    /// The records of the segments, unless they are bisected.
    pub(crate) segments: &'r [Row],
    /// Where tree and bisected segments are; the rest is filled in.
    pub(crate) head: Head,
    /// Push constants, as many as the kernel declares.
    pub(crate) push: &'r [u8],
    /// Workgroups, within the device's limits.
    pub(crate) groups: [u32; 3],
    pub(crate) options: &'r LaunchOptions,
    /// When the round is ended.
    pub(crate) due: Option<Instant>,
}

impl Scope<'_, '_> {
    /// Runs a round, waits for it, and reads its log.
    ///
    /// Launches before it are waited for first; if one failed, that is the error, and nothing is
    /// run. Faults, cut loops and reached limits are in the log and no error here: a fault
    /// outweighs the others, which may come from what the invocation read in its place.
    ///
    /// # Safety
    ///
    /// 1. The pipeline is a rewritten one with this layout and belongs to this scope's device.
    /// 2. Windows, segments and tables lead to memory that stays valid, that the kernel may use in
    ///    the way that they allow, and that no other code uses meanwhile.
    pub(crate) unsafe fn run_round(&mut self, round: &Round<'_>) -> Result<Log, LaunchError> {
        if self.device.is_inherited() {
            return Err(LaunchError::Forked);
        }
        self.settle()?;
        let stop = self.stop_address()?;
        let log = self.round_log()?;
        let mut batch = Batch::begin_checked(&self.device)?;
        let [zeroes, sink] = self.device.spare();
        let head = Head {
            loop_limit: round.options.loop_limit,
            loop_limit_after_fault: round.options.loop_limit_after_fault(),
            number: 1,
            zeroes,
            sink,
            log,
            stop,
            ..round.head
        };
        let rows =
            control::rows(round.layout, &head, round.analysis, round.windows, round.segments);
        let channel = batch.channel(rows.len()).expect("an empty channel has room for any block");
        let control = Some((channel.set(), channel.write(&rows)));
        let Round { pipeline, push, groups, .. } = *round;
        let work = Work { pipeline, control, push, groups };
        // SAFETY: 1. the batch was begun for this device, to which the pipeline belongs (promise
        // 1); 2. push constants and groups keep the limits (`Round`).
        unsafe { batch.record(&self.device, &work) };
        batch.keep(pipeline);
        // SAFETY: what the launch uses stays valid (promise 2) or belongs to the batch, this scope
        // or the device.
        let in_time = unsafe { self.run_alone(batch, round.due) }?;
        if !in_time {
            let (kernel, deadline) = (round.kernel, round.options.time());
            return Err(LaunchError::Deadline { kernel, deadline });
        }
        let log = self.read_round_log();
        Counters::add(&self.device.counters.faults, u64::from(log.faults));
        Ok(log)
    }

    /// Submits a batch and waits for it; says whether it was complete in time.
    ///
    /// # Safety
    ///
    /// What its launch uses stays valid until this returns.
    unsafe fn run_alone(
        &self,
        mut batch: Batch,
        due: Option<Instant>,
    ) -> Result<bool, LaunchError> {
        // SAFETY: the batch was begun for this device and is recording.
        let ended = unsafe { batch.end(&self.device) };
        // SAFETY: 1. ended just now, or not submitted; 2. the caller's promise.
        let submitted = ended.and_then(|()| unsafe { self.device.submit(batch.slot()) });
        let done = match submitted {
            Ok(value) => {
                Counters::add(&self.device.counters.submissions, 1);
                Counters::add(&self.device.counters.rounds, 1);
                Ok(self.wait_or_stop(value, due))
            }
            Err(error) if error.result == ash::vk::Result::ERROR_DEVICE_LOST => {
                session::abort_unproved(error)
            }
            Err(error) => Err(error.into()),
        };
        if let Some(stop) = &self.stop {
            stop.words()[0].store(u32::MAX, Relaxed);
        }
        batch.give_back(&self.device);
        done
    }

    /// The device address of an empty log.
    fn round_log(&mut self) -> Result<u64, LaunchError> {
        let log = match self.round_log.take() {
            Some(log) => log,
            None => {
                SharedBuffer::new(&self.device, u64::from(report::log_words(ROUND_FAULTS)) * 4)?
            }
        };
        for (word, value) in log.words().iter().zip(report::header(ROUND_FAULTS)) {
            word.store(value, Relaxed);
        }
        let address = log.address();
        self.round_log = Some(log);
        Ok(address)
    }

    fn read_round_log(&self) -> Log {
        let Some(log) = &self.round_log else { return Log::default() };
        let queued = log.words()[LogWord::Queued as usize].load(Relaxed).min(ROUND_FAULTS);
        let used = log.words().iter().take(report::log_words(queued) as usize);
        Log::decode(&used.map(|word| word.load(Relaxed)).collect::<Vec<u32>>())
    }
}
