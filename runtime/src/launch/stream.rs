//! Launches that run one after the other: recorded, handed over in batches, waited for.
//!
//! # Safety
//!
//! A stream knows nothing of borrows. The callers of its unsafe functions promise that the memory
//! stays valid until the stream is idle: after [`Stream::finish`], [`Stream::abandon`] or `Drop`,
//! each of which waits for everything that was submitted. If the device is lost, it may have to
//! stay valid for longer: [`Stream::is_unproved`] says so.
#![allow(unsafe_code, reason = "it records kernels, with the argument above")]

use super::{
    batch::{Batch, InFlight},
    grid::Dispatch,
    launcher::Launcher,
    options::LaunchOptions,
    order::Touch,
    pool::Pooled,
    stop::StopWord,
    tables::Tables,
};
use crate::{
    LaunchError, VulkanError,
    lend::lends::Lends,
    trace,
    vk::{Device, Pipeline, command::Work},
};
use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

/// Submissions that a stream has in flight at most; before one more it waits for the oldest, so
/// that a host that launches without waiting does not collect command buffers without end.
pub(crate) const IN_FLIGHT: usize = 32;

/// A launch without checks that was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Plain<'a> {
    pub(crate) kernel: &'static str,
    pub(crate) pipeline: &'a Arc<Pipeline>,
    pub(crate) push: &'a [u8],
    pub(crate) dispatch: Dispatch,
    /// The bytes that it touches, if they are known.
    pub(crate) touched: Option<&'a [Touch]>,
}

/// Launches with a control block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CheckedSoFar {
    /// Whether there was one. It may have been told to end before it did everything.
    any: bool,
    /// Whether one of them may have counted a failure in the stop word.
    may_count: bool,
}

impl CheckedSoFar {
    /// Adds a launch, and says whether the stop word may tell it of a failure.
    pub(super) fn add(&mut self, may_fail: bool) -> bool {
        self.any = true;
        let before = self.may_count;
        self.may_count |= may_fail;
        before
    }
}

/// Launches that run one after the other.
///
/// Errors name the lend that is nearest to a fault, so the functions that may read a log take the
/// lends as an argument.
pub(crate) struct Stream {
    recording: Option<Batch>,
    /// Submitted and perhaps not completed, oldest first.
    in_flight: VecDeque<Box<InFlight>>,
    /// The stop word, once a checked launch needed one.
    stop: Option<Pooled<StopWord>>,
    /// The launches with a control block that were recorded since the last time that the stop word
    /// was 0 and nothing was in flight.
    checked: CheckedSoFar,
    /// The first failure that was not yet reported.
    failure: Option<LaunchError>,
    /// Whether the device was lost while it had launches of this stream.
    unproved: bool,
    /// The segments that launches bisect.
    pub(crate) tables: Tables,
    launcher: Arc<Launcher>,
}

impl Stream {
    pub(crate) fn new(launcher: &Arc<Launcher>) -> Self {
        Self {
            recording: None,
            in_flight: VecDeque::new(),
            stop: None,
            checked: CheckedSoFar::default(),
            failure: None,
            unproved: false,
            tables: Tables::default(),
            launcher: Arc::clone(launcher),
        }
    }

    pub(crate) fn launcher(&self) -> &Arc<Launcher> {
        &self.launcher
    }

    pub(crate) fn device(&self) -> &Arc<Device> {
        self.launcher.device()
    }

    /// Records an unchecked launch, and submits when enough launches are recorded.
    ///
    /// Checked launches are waited for first: a kernel that is not stopped by their failure might
    /// rely on the bytes that they were to write.
    ///
    /// # Safety
    ///
    /// 1. The pipeline belongs to this stream's device, and is not a checked one; the push
    ///    constants and the grid keep its limits; the pipeline is the form for its fold.
    /// 2. With these push constants, the kernel touches only memory that stays valid until the
    ///    stream is idle and that no other code uses in a conflicting way meanwhile.
    pub(crate) unsafe fn record_unchecked(
        &mut self,
        launch: &Plain<'_>,
        lends: &Lends,
    ) -> Result<(), LaunchError> {
        if self.checked.any {
            self.finish(lends)?;
        }
        self.check()?;
        self.submit_unless(false, lends)?;
        // SAFETY: the caller's promises.
        unsafe { self.record_plain(launch) }?;
        self.submit_if_full(lends)
    }

    /// Waits for what was submitted, before a form of a kernel is compiled: a driver may compile
    /// when its kernels have ended (llvmpipe), and nobody would end one that is late meanwhile.
    /// Failures are kept until they are reported.
    pub(crate) fn prepare_to_compile(&mut self, lends: &Lends) {
        self.drain(lends);
    }

    /// Whether a launch that was recorded may fail, or has failed, so that those after it have to
    /// look whether it did.
    pub(crate) fn may_fail(&self) -> bool {
        self.checked.any
    }

    /// Whether a launch that touches these bytes needs no barrier before it, though another launch
    /// is recorded that it would wait for otherwise.
    pub(crate) fn may_overlap(&self, touched: &[Touch]) -> bool {
        self.recording.as_ref().is_some_and(|batch| batch.may_overlap(touched))
    }

    /// Records a launch that is proved to touch what is lent alone, and to end, while no launch
    /// [may fail](Self::may_fail); it takes `most`. A launch with a deadline of its own is
    /// submitted alone and at once, so that the time of no other launch counts.
    ///
    /// # Safety
    ///
    /// As [`record_unchecked`](Self::record_unchecked), and no launch may fail.
    pub(crate) unsafe fn record_proved(
        &mut self,
        launch: &Plain<'_>,
        options: &LaunchOptions,
        most: Duration,
        lends: &Lends,
    ) -> Result<(), LaunchError> {
        debug_assert!(!self.checked.any, "the caller promises that no launch may fail");
        let alone = options.deadline.is_some();
        let has_time = self.recording.as_ref().is_none_or(|batch| batch.has_time(most));
        if alone || !has_time {
            self.submit(lends)?;
        }
        self.submit_unless(true, lends)?;
        // SAFETY: the caller's promises.
        let batch = unsafe { self.record_plain(launch) }?;
        batch.expect_end(launch.kernel, options, most);
        self.submit_if_full(lends)?;
        if alone { self.submit(lends) } else { Ok(()) }
    }

    /// Submits a batch whose launches are proved to end, or not, as is not wanted: a launch that is
    /// waited for without a limit takes no limit from others.
    fn submit_unless(&mut self, proved: bool, lends: &Lends) -> Result<(), LaunchError> {
        let recorded = self.recording.as_ref().and_then(Batch::is_proved);
        if recorded.is_some_and(|recorded| recorded != proved) {
            self.submit(lends)
        } else {
            Ok(())
        }
    }

    /// Records a launch without checks, in the batch that is recording.
    ///
    /// # Safety
    ///
    /// As [`record_unchecked`](Self::record_unchecked).
    unsafe fn record_plain(&mut self, launch: &Plain<'_>) -> Result<&mut Batch, LaunchError> {
        let &Plain { kernel, pipeline, push, dispatch, touched } = launch;
        let batch = match &mut self.recording {
            Some(batch) => batch,
            none => none.insert(Batch::begin(&self.launcher)?),
        };
        let rows = dispatch.rows();
        let control = rows.map(|rows| batch.grid_block(&self.launcher, &rows)).transpose()?;
        let (groups, waits) = (dispatch.groups, batch.waits(touched));
        let work = Work { pipeline, control, push, groups, copy: None, waits };
        // SAFETY: 1. the caller's promise 1, and a folded grid got its control block; 2. the batch
        // keeps pipeline and control block; 3. the caller's promise 2, since an idle stream has
        // waited.
        unsafe { batch.add(kernel, pipeline, work.groups).launch(&work) };
        Ok(batch)
    }

    /// The batch of checked launches that is recording, or a new one if that is of another kind or
    /// has too little room for so many control rows; and the note of whether there were others.
    pub(super) fn checked_batch(
        &mut self,
        rows: usize,
        lends: &Lends,
    ) -> Result<(&mut Batch, &mut CheckedSoFar), LaunchError> {
        let fits = self.recording.as_mut().is_some_and(|batch| batch.channel(rows).is_some());
        if !fits {
            self.submit(lends)?;
        }
        let batch = match &mut self.recording {
            Some(batch) => batch,
            none => none.insert(Batch::begin_checked(&self.launcher)?),
        };
        Ok((batch, &mut self.checked))
    }

    /// The stop word.
    pub(crate) fn stop_word(&mut self) -> Result<&StopWord, VulkanError> {
        match &mut self.stop {
            Some(stop) => Ok(stop),
            none => Ok(none.insert(self.launcher.take_stop()?)),
        }
    }

    /// Hands the launches that are recorded to the device if they are as many as a batch takes.
    pub(super) fn submit_if_full(&mut self, lends: &Lends) -> Result<(), LaunchError> {
        let is_full = self.recording.as_ref().is_some_and(Batch::is_full);
        if is_full { self.submit(lends) } else { Ok(()) }
    }

    /// Hands the launches that are recorded to the device.
    pub(crate) fn submit(&mut self, lends: &Lends) -> Result<(), LaunchError> {
        self.check()?;
        if self.recording.is_none() {
            return Ok(());
        }
        if self.device().info.kind.has_watchdog() {
            // The time of launches that have completed says how many the next batch may have.
            self.complete_ended(lends)?;
        }
        if self.in_flight.len() >= IN_FLIGHT {
            self.complete_oldest(lends);
        }
        let Some(batch) = self.recording.take() else { return Ok(()) };
        let submitted = batch.submit(self.launcher.device(), self.stop.as_deref());
        self.note_loss(submitted.as_ref().err());
        self.in_flight.push_back(Box::new(submitted?));
        Ok(())
    }

    /// Hands over the launches that are recorded, and says whether all have completed, without
    /// waiting. The logs of those that have are read; a failure is kept until it is reported.
    pub(crate) fn poll(&mut self, lends: &Lends) -> Result<bool, LaunchError> {
        self.check()?;
        self.complete_ended(lends)?;
        // With as many in flight as there may be, submitting would wait.
        if self.in_flight.len() < IN_FLIGHT {
            self.submit(lends)?;
        }
        Ok(self.is_idle() && self.recording.is_none())
    }

    /// Reads the logs of batches that have completed, without waiting.
    fn complete_ended(&mut self, lends: &Lends) -> Result<(), LaunchError> {
        while let Some(oldest) = self.in_flight.front_mut() {
            let polled = oldest.poll(self.stop.as_deref());
            self.note_loss(polled.as_ref().err());
            if self.stop.as_ref().is_some_and(|stop| stop.is_raised()) {
                self.in_flight.iter().for_each(|batch| batch.end());
            }
            if !polled? {
                break;
            }
            self.complete_oldest(lends);
        }
        Ok(())
    }

    /// Submits the launches that are recorded, waits for all, and reports the first failure since
    /// the last time. After a failure launches work again.
    pub(crate) fn finish(&mut self, lends: &Lends) -> Result<(), LaunchError> {
        self.submit(lends)?;
        self.drain(lends);
        // Kernels of a lost device may be running, and are to end.
        if self.device().check().is_ok() {
            self.checked = CheckedSoFar::default();
            self.stop.iter().for_each(|stop| stop.clear());
            self.tables.keep(lends.version());
        }
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Waits for the launches that were submitted; those that were not do not run, and failures are
    /// forgotten.
    pub(crate) fn abandon(&mut self, lends: &Lends) {
        // In a child made by `fork` nothing is pending: the launches are the parent's.
        if !self.device().is_inherited() {
            self.drain(lends);
            self.recording = None;
        }
    }

    /// Whether a checked launch is known to have failed, so that those after it do nothing.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
            || self.stop.as_ref().is_some_and(|stop| stop.is_raised() || stop.failures() != 0)
    }

    /// Whether everything that was submitted is known to have completed.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// Refuses to work in a child made by `fork`, and on a lost device.
    pub(crate) fn check(&self) -> Result<(), LaunchError> {
        if self.device().is_inherited() {
            return Err(LaunchError::Forked);
        }
        Ok(self.device().check()?)
    }

    /// Whether the device was lost while it had launches of this stream, so that they may be
    /// running.
    pub(crate) fn is_unproved(&self) -> bool {
        self.unproved || (!self.is_idle() && self.device().check().is_err())
    }

    fn note_loss(&mut self, error: Option<&VulkanError>) {
        self.unproved |= error.is_some_and(VulkanError::is_loss);
    }

    fn drain(&mut self, lends: &Lends) {
        while !self.is_idle() {
            self.complete_oldest(lends);
        }
    }

    /// Waits for the oldest batch and reads its logs.
    fn complete_oldest(&mut self, lends: &Lends) {
        let Some(mut batch) = self.in_flight.pop_front() else { return };
        let (stop, later) = (self.stop.as_deref(), &self.in_flight);
        let finished = batch.finish(self.launcher.device(), lends, stop, later);
        self.note_loss(finished.as_ref().err());
        let failure = finished.unwrap_or_else(|lost| Some(lost.into()));
        let Some(failure) = failure else { return };
        // It is kept before anybody hears of it, because a subscriber of traces may panic.
        if self.failure.is_none() {
            trace::failure(self.failure.insert(failure));
        } else {
            trace::failure(&failure);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.abandon(&Lends::default());
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("device", self.device())
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}
