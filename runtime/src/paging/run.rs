//! One round of a launch on a device: the kernel runs, and its log and bitmaps are read.
//!
//! # Safety
//!
//! The argument is that of [`checked`](crate::launch::checked): a rewritten kernel touches memory
//! that its control rows allow, here frames that the page table names. They belong to the scope's
//! [`View`](super::view::View), which outlives the launch, since each round is waited for.
#![allow(unsafe_code, reason = "it gives kernels to the device, with the argument above")]

use super::{bitmap::FaultBitmap, plan::Ended, report::Report, rounds::Run, table::Frozen};
use crate::{
    FaultReason, LaunchError, VulkanError,
    kernel::code::Facts,
    launch::{
        allowance::{Allowance, Overdue},
        channel::Channel,
        checked::Request,
        control_block::{Arguments, Row},
        fault::Launched,
        log::{self, FaultRecord, Log},
        stop::StopWord,
        wait::wait_or_stop,
    },
    lend::lends::{Lends, Segment},
    residency::frames::Copies,
    stats::Counters,
    times::LaunchTicks,
    vk::{
        Device, Pipeline,
        buffer::SharedBuffer,
        command::{Recording, Work},
    },
};
use farptr_hmm::VirtAddr;
use rustix::time::{ClockId, clock_gettime};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Faults that the log of a round has room for.
const LOG_CAPACITY: u32 = 1023;

/// A checked launch that takes rounds.
#[derive(Clone, Copy)]
pub(crate) struct Launch<'l> {
    pub(crate) request: &'l Request<'l>,
    pub(crate) arguments: &'l Arguments,
    /// The stop word, which is 0.
    pub(crate) stop: &'l StopWord,
}

/// The form of the kernel for a launch, and its control block: the same in all rounds.
pub(super) struct Prepared {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) rows: Vec<Row>,
}

/// The memory through which a round and the host exchange data.
pub(super) struct Round<'r> {
    pub(super) log: &'r SharedBuffer,
    pub(super) channel: &'r mut Channel,
    /// By the starts of the segments.
    pub(super) bitmaps: &'r BTreeMap<VirtAddr, FaultBitmap>,
    /// The segments that the kernel reaches, or all.
    pub(super) reached: Option<&'r [Segment]>,
}

impl Round<'_> {
    /// A log for rounds.
    pub(super) fn new_log(device: &Device) -> Result<SharedBuffer, VulkanError> {
        SharedBuffer::for_host(device, u64::from(log::log_words(LOG_CAPACITY)) * 4)
    }
}

/// A launch on a device that can be run again and again.
pub(super) struct Runner<'r> {
    device: &'r Arc<Device>,
    launch: &'r Launch<'r>,
    memory: Copies<'r>,
    round: Round<'r>,
    work: Work<'r>,
    rows: &'r [Row],
    /// The time of all rounds together.
    allowance: Allowance,
    /// The times for the error, once a round was stopped.
    overdue: Option<Overdue>,
    /// The time that this thread had worked when it was last counted.
    worked: Duration,
    /// The log of the newest round.
    newest: Log,
    /// The ticks of each round, on a device that times kernels.
    ticks: Vec<u64>,
}

impl<'r> Run for Runner<'r> {
    type Memory = Copies<'r>;

    fn memory(&mut self) -> &mut Copies<'r> {
        &mut self.memory
    }

    fn writes(&self, fault: &FaultRecord) -> bool {
        let sites = &self.launch.arguments.facts.analysis.sites;
        sites.get(fault.site).is_some_and(|site| site.access.writes())
    }

    fn run(&mut self, _table: &Frozen<'_>) -> Result<Report, Ended<VulkanError>> {
        let (log, stop) = (self.round.log.words(), self.launch.stop);
        log::clear(log, LOG_CAPACITY);
        stop.clear();
        self.round.channel.clear();
        self.work.control = Some(self.round.channel.write(self.rows));
        self.count_work();
        if self.submit_and_wait().map_err(Ended::Device)?.is_some() {
            return Err(Ended::Deadline);
        }
        // The time of the wait is counted already.
        self.worked = worked();
        self.newest = Log::read(log, LOG_CAPACITY);
        if self.device.traits().cuts_loops {
            self.newest.count_failures(stop.failures());
        }
        Ok(self.report())
    }

    fn is_overdue(&mut self) -> bool {
        self.count_work();
        self.allowance.is_spent()
    }
}

impl<'r> Runner<'r> {
    pub(super) fn new(
        device: &'r Arc<Device>,
        launch: &'r Launch<'r>,
        prepared: &'r Prepared,
        memory: Copies<'r>,
        round: Round<'r>,
    ) -> Self {
        let request = launch.request;
        let (pipeline, groups) = (&*prepared.pipeline, request.dispatch.groups);
        Self {
            device,
            launch,
            memory,
            round,
            work: Work {
                pipeline,
                control: None,
                push: request.push,
                groups,
                copy: None,
                waits: true,
            },
            rows: &prepared.rows,
            allowance: Allowance::new(request.options.time()),
            overdue: None,
            worked: worked(),
            newest: Log::default(),
            ticks: Vec::new(),
        }
    }

    /// Runs the kernel and says whether it had to be stopped; it has ended in any case.
    fn submit_and_wait(&mut self) -> Result<Option<Overdue>, VulkanError> {
        let work = &self.work;
        let launch = |recording: &mut Recording| {
            // SAFETY: 1. groups and push constants keep the limits (`Request`), and pipeline and
            // control block belong to this device and to each other; 2. both outlive this call,
            // which waits; 3. the module's argument.
            unsafe { recording.launch(work) };
        };
        let submitted = self.memory.frames.submit_before(launch)?;
        Counters::add(&self.device.counters.submissions, 1);
        let limit = self.launch.request.options.submission_limit(self.device.info.kind);
        let mut part = self.allowance.part(limit);
        self.overdue = wait_or_stop(&submitted, Some(&mut part), Duration::ZERO, || {
            self.launch.stop.raise();
            self.round.channel.stop();
        })?;
        self.allowance.count_part(&part);
        self.ticks.extend(submitted.ticks());
        Ok(self.overdue)
    }

    /// Counts the time that this thread worked for the launch since the last time.
    fn count_work(&mut self) {
        let now = worked();
        self.allowance.work(now.saturating_sub(self.worked));
        self.worked = now;
    }

    /// The report of the round, from its log and bitmaps; the bitmaps are empty again.
    fn report(&self) -> Report {
        let log = &self.newest;
        let (total, cut, exhausted) = (log.faults.into(), log.cut, log.exhausted);
        let mut report = Report { total, cut, exhausted, ..Report::default() };
        if log.faults == 0 {
            return report;
        }
        let Round { bitmaps, reached, .. } = &self.round;
        match reached {
            None => bitmaps.values().for_each(|bitmap| bitmap.take(&mut report.missing)),
            Some(segments) => {
                let bitmaps = segments.iter().filter_map(|of| bitmaps.get(&of.range.start()));
                bitmaps.for_each(|bitmap| bitmap.take(&mut report.missing));
            }
        }
        report.faults.clone_from(&log.records);
        report.faults.sort_by_key(FaultRecord::order);
        report
    }

    /// Ends a launch, in which so many rounds did not count: the stop word is 0 again.
    pub(super) fn finish(self, undone: u64) {
        self.launch.stop.clear();
        let Some(times) = self.device.times().filter(|_| !self.ticks.is_empty()) else { return };
        let undone = usize::try_from(undone).map_or(self.ticks.len(), |n| n.min(self.ticks.len()));
        let sum = |ticks: &[u64]| ticks.iter().copied().fold(0, u64::saturating_add);
        let ticks = LaunchTicks { total: sum(&self.ticks), undone: sum(&self.ticks[..undone]) };
        times.add([(self.launch.request.kernel, ticks)]);
    }

    /// The error for a launch without result.
    pub(super) fn error(&self, why: &Ended<VulkanError>, lends: &Lends) -> LaunchError {
        let Launch { request: &Request { kernel, options, .. }, arguments, .. } = *self.launch;
        match *why {
            Ended::Fault(ref fault, denial) => {
                let Facts { analysis, push_names: names } = &*arguments.facts;
                let roots = &arguments.roots;
                let launched = Launched { kernel, analysis, names, roots, lends };
                LaunchError::Fault(Box::new(launched.fault(fault, denial.map(FaultReason::from))))
            }
            Ended::Cut => {
                let (limit, invocations) = (self.device.cut_after(), self.newest.cut);
                LaunchError::LoopCut { kernel, limit, invocations }
            }
            Ended::Exhausted => {
                let (limit, invocations) = (options.loop_limit, self.newest.exhausted);
                LaunchError::LoopLimit { kernel, limit, invocations }
            }
            Ended::TooManyRounds => {
                LaunchError::TooManyRounds { kernel, limit: options.max_rounds }
            }
            Ended::TooManyFaults => {
                LaunchError::TooManyFaults { kernel, limit: options.max_faults }
            }
            Ended::NoProgress => LaunchError::NoProgress { kernel },
            Ended::Raced(address) => LaunchError::Raced { kernel, address },
            Ended::Unwritable(address, why) => {
                LaunchError::Unwritable { kernel, address, reason: why.into() }
            }
            Ended::Deadline => {
                let overdue = self.overdue.unwrap_or_else(|| self.allowance.overdue());
                let Overdue { allowed: deadline, queued } = overdue;
                LaunchError::Deadline { kernel, deadline, queued }
            }
            Ended::Device(error) => error.into(),
        }
    }
}

/// The time for which the processor ran this thread, without time in which it was stopped or
/// waited.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("the clock of a thread counts up from 0")
}
