//! The device's queue, and the timeline that says how far it has come.
//!
//! Completion is a *timeline semaphore*: every submission signals the next value, and waiting for a
//! value waits for that submission and all before it. One semaphore serves all threads, because the
//! queue's mutex hands out values in the order of submission.
//!
//! A lost device completes nothing. Whoever notices the loss notes it, and every later call gives
//! the error of it. `DESIGN.md`, "A lost device", says what becomes of commands and objects then.

use super::{handle::Handle, lost::Answer, named::Named, retire::Retired};
use crate::VulkanError;
use ash::vk;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
    thread,
    time::{Duration, Instant},
};

/// The time of one wait.
const SLICE: Duration = Duration::from_secs(1);
/// The time between two questions to a driver that has no memory for an answer.
const PAUSE: Duration = Duration::from_millis(10);
/// Such answers in a row after which a wait without a limit asks in another way.
const SILENCE: u32 = 100;
/// How long after a loss the driver is asked whether submitted commands have ended.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// The one queue of a device.
pub(crate) struct Queue {
    // Invariant: both were made from `handle`; the semaphore is destroyed by Drop only.
    raw: Mutex<vk::Queue>,
    timeline: vk::Semaphore,
    /// The value that the newest submission signals; changed under the lock of `raw`.
    newest: AtomicU64,
    /// A value that the timeline has reached; it may have reached a higher one.
    reached: AtomicU64,
    retired: Mutex<Retired>,
    handle: Arc<Handle>,
}

impl Queue {
    /// The queue of the family that the device was opened with.
    pub(crate) fn new(handle: &Arc<Handle>, family: u32) -> Result<Self, VulkanError> {
        // SAFETY: 1. the device is live, and was created with one queue of this family.
        let raw = unsafe { handle.raw().get_device_queue(family, 0) };
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(0);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: 1. the device is live; 3. it was created with timelineSemaphore.
        let timeline =
            unsafe { handle.raw().create_semaphore(&info, None) }.named("vkCreateSemaphore")?;
        Ok(Self {
            raw: Mutex::new(raw),
            timeline,
            newest: AtomicU64::new(0),
            reached: AtomicU64::new(0),
            retired: Mutex::new(Retired::default()),
            handle: Arc::clone(handle),
        })
    }

    /// The loss of the device as an error, if it is lost.
    pub(crate) fn check(&self) -> Result<(), VulkanError> {
        self.handle.loss().why().map_or(Ok(()), Err)
    }

    /// Hands commands to the queue and returns the timeline value that they will signal.
    ///
    /// An error means that nothing was submitted, with one exception: a device that was lost by
    /// the call may have begun. Then the value is given with the error.
    ///
    /// # Safety
    ///
    /// The commands belong to this device, and are recorded and ended; what they use is as
    /// [`Recording::launch`](super::command::Recording::launch) asks for.
    pub(crate) unsafe fn submit(
        &self,
        commands: vk::CommandBuffer,
    ) -> Result<u64, (VulkanError, Option<u64>)> {
        // A panic while the lock was held leaves at worst a value that is never signalled or waited
        // for, so a poisoned lock is as good as any.
        let queue = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that nothing is submitted once `settle` has had it.
        self.check().map_err(|lost| (lost, None))?;
        let value = self.newest.load(Acquire) + 1;
        let values = [value];
        let mut timeline =
            vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&values);
        let (commands, semaphores) = ([commands], [self.timeline]);
        let info = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .signal_semaphores(&semaphores)
            .push_next(&mut timeline);
        // SAFETY: 1. handles are live; 2. the mutex guards the queue; 4. the caller's promise.
        let submitted =
            unsafe { self.handle.raw().queue_submit(*queue, &[info], vk::Fence::null()) }
                .named("vkQueueSubmit");
        let is_loss = |error: &VulkanError| Answer::of(error.result) == Answer::Lost;
        let lost = submitted.err().filter(is_loss);
        if submitted.is_ok() || lost.is_some() {
            // Pairs with the load in `retire`: a thread that drops objects of these commands has
            // seen this.
            self.newest.store(value, Release);
        }
        drop(queue);
        if let Some(lost) = lost {
            return Err((self.lose(lost), Some(value)));
        }
        // A driver without memory has submitted nothing (Vulkan specification, vkQueueSubmit).
        submitted.map_err(|error| (error, None))?;
        self.reap();
        Ok(value)
    }

    /// Runs `act` while no command is pending and none can be submitted; absent if commands were
    /// pending for so long.
    pub(crate) fn while_idle<R>(
        &self,
        at_most: Duration,
        act: impl FnOnce() -> R,
    ) -> Result<Option<R>, VulkanError> {
        let begun = Instant::now();
        while begun.elapsed() < at_most {
            // Nobody waits with the lock, so that others can submit, and end what does not end.
            if !self.wait_at_most(self.newest.load(Acquire), SLICE)? {
                continue;
            }
            let queue = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
            // A loss is noted by someone who does not have the lock.
            self.check()?;
            if self.ask(self.newest.load(Acquire), Duration::ZERO).is_ok() {
                let done = act();
                drop(queue);
                return Ok(Some(done));
            }
        }
        Ok(None)
    }

    /// Takes the device for lost because of a call that failed in [`while_idle`](Self::while_idle),
    /// so that nothing is pending.
    pub(crate) fn lose_while_idle(&self, call: &'static str) {
        let loss = self.handle.loss();
        loss.note(VulkanError { call, result: vk::Result::ERROR_DEVICE_LOST });
        loss.come_to_rest();
    }

    /// Asks for a submission, for so long at most.
    fn ask(&self, value: u64, at_most: Duration) -> Result<(), VulkanError> {
        let nanos = u64::try_from(at_most.as_nanos()).unwrap_or(u64::MAX);
        let (semaphores, values) = ([self.timeline], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        // SAFETY: 1. the semaphore is live and a timeline.
        unsafe { self.handle.raw().wait_semaphores(&info, nanos) }.named("vkWaitSemaphores")
    }

    /// Waits for a submission, for so long at most.
    fn answer(&self, value: u64, at_most: Duration) -> Result<Answer, VulkanError> {
        if self.reached.load(Acquire) >= value {
            return Ok(Answer::Reached);
        }
        self.check()?;
        let asked = self.ask(value, at_most);
        let answer = asked.err().map_or(Answer::Reached, |error| Answer::of(error.result));
        match (answer, asked) {
            (Answer::Lost, Err(error)) => return Err(self.lose(error)),
            (Answer::Silent, _) => thread::sleep(at_most.min(PAUSE)),
            (Answer::Reached, _) => self.note_reached(value),
            _ => {}
        }
        Ok(answer)
    }

    fn note_reached(&self, value: u64) {
        self.reached.fetch_max(value, AcqRel);
    }

    /// Waits for a submission, so long at most, and says whether it is complete.
    pub(crate) fn wait_at_most(&self, value: u64, at_most: Duration) -> Result<bool, VulkanError> {
        self.answer(value, at_most).map(|answer| answer == Answer::Reached)
    }

    /// Waits for a submission and all before it. With a limit, work that the device could begin so
    /// long ago and has not ended is a loss.
    ///
    /// After the device is lost, a driver must return from a wait with a limit in time, and need
    /// not return from a wait without one (Vulkan specification, "Lost Device"). So this wait is
    /// made of short waits.
    pub(crate) fn wait(&self, value: u64, limit: Option<Duration>) -> Result<(), VulkanError> {
        let (mut silence, mut waited) = (0, Duration::ZERO);
        while limit.is_none_or(|limit| waited < limit) {
            let first = self.has_completed(value - 1)?;
            let slice = match self.answer(value, SLICE)? {
                Answer::Reached => return Ok(()),
                Answer::Silent => PAUSE,
                _ => SLICE,
            };
            silence = if slice == PAUSE { silence + 1 } else { 0 };
            waited += if first { slice } else { Duration::ZERO };
            if silence == SILENCE && limit.is_none() {
                return self.wait_idle(value);
            }
        }
        self.give_up(value)
    }

    /// Ends a wait for a submission that does not end: the device is lost, unless the submission
    /// has ended by now.
    pub(crate) fn give_up(&self, value: u64) -> Result<(), VulkanError> {
        if self.wait_at_most(value, Duration::ZERO)? {
            return Ok(());
        }
        let (call, result) = ("vkWaitSemaphores", vk::Result::TIMEOUT);
        Err(self.handle.loss().note(VulkanError { call, result }))
    }

    /// Waits in a way that needs no memory, where the driver had none for another. It must return
    /// in time also if the device is lost.
    fn wait_idle(&self, value: u64) -> Result<(), VulkanError> {
        let queue = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: 1. the queue is live; 2. the mutex guards it.
        let waited = unsafe { self.handle.raw().queue_wait_idle(*queue) };
        drop(queue);
        waited.named("vkQueueWaitIdle").map_err(|error| self.lose(error))?;
        self.note_reached(value);
        Ok(())
    }

    /// Whether a submission and all before it are complete.
    pub(crate) fn has_completed(&self, value: u64) -> Result<bool, VulkanError> {
        Ok(self.reached.load(Acquire) >= value || self.look()? >= value)
    }

    /// The newest value that is known to be reached.
    fn look(&self) -> Result<u64, VulkanError> {
        self.check()?;
        match self.counter() {
            Ok(value) => Ok(value),
            Err(error) if Answer::of(error.result) == Answer::Lost => Err(self.lose(error)),
            Err(_) => Ok(self.reached.load(Acquire)),
        }
    }

    /// The value of the timeline. It is not kept as reached: a driver may only find out in a wait
    /// that the work behind the value was ended by a reset of the device.
    fn counter(&self) -> Result<u64, VulkanError> {
        // SAFETY: 1. the semaphore is live and a timeline.
        unsafe { self.handle.raw().get_semaphore_counter_value(self.timeline) }
            .named("vkGetSemaphoreCounterValue")
    }

    /// Notes that the device is lost, and finds out whether anything is pending. Gives the first
    /// error that told of the loss.
    ///
    /// For pending commands a loss is as good as their end (Vulkan specification, "Lost Device").
    /// The validation layer (1.3.239) does not know that rule, so with it only their end counts.
    fn lose(&self, error: VulkanError) -> VulkanError {
        let first = self.handle.loss().note(error);
        let validates = self.handle.instance().validates();
        let mut is_at_rest = false;
        self.settles(|answer| {
            is_at_rest = answer == Answer::Reached || (answer == Answer::Lost && !validates);
            answer == Answer::Reached || answer == Answer::Lost
        });
        if is_at_rest {
            self.handle.loss().come_to_rest();
        }
        first
    }

    /// Whether the driver says of everything that was submitted, in the [`GRACE`] after a loss,
    /// what is wanted.
    fn settles(&self, mut is_wanted: impl FnMut(Answer) -> bool) -> bool {
        // Whoever has the lock later sees the loss and submits nothing, so the value is the last.
        drop(self.raw.lock().unwrap_or_else(PoisonError::into_inner));
        let (newest, begun) = (self.newest.load(Acquire), Instant::now());
        loop {
            let asked = self.ask(newest, PAUSE);
            let answer = asked.err().map_or(Answer::Reached, |error| Answer::of(error.result));
            if is_wanted(answer) {
                return true;
            }
            if begun.elapsed() >= GRACE {
                return false;
            }
            if answer != Answer::Pending {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Whether everything that was submitted to a lost device has completed, as the value of the
    /// timeline says in the [`GRACE`] that it gets. Then objects are destroyed as usual again.
    ///
    /// That the driver calls the device lost is no answer here: one that failed to submit says so
    /// while earlier commands still run. Neither is the success of a wait, which may stand for the
    /// loss.
    pub(crate) fn has_ended(&self) -> bool {
        let ended = |value| value >= self.newest.load(Acquire);
        let ended = self.settles(|_| self.counter().is_ok_and(ended));
        if ended {
            self.handle.loss().come_to_rest();
        }
        ended
    }

    /// Destroys an object when all commands that were submitted so far are complete.
    pub(crate) fn retire(&self, object: impl Send + 'static) {
        // In a forked child objects destroy nothing, and a lock may have been held by a thread that
        // did not come along.
        if self.handle.is_inherited() {
            return drop(object);
        }
        let value = self.newest.load(Acquire);
        // Objects of a lost device know by themselves whether to stay.
        if self.reached.load(Acquire) >= value || self.check().is_err() {
            return drop(object);
        }
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(value, object);
        self.reap();
    }

    /// Destroys the objects that the device has done with.
    fn reap(&self) {
        let retired = || self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        if retired().is_empty() {
            return;
        }
        // To look may be to find the device lost, and destroying takes other locks: neither is done
        // with this one.
        let reached = self.look().unwrap_or(u64::MAX);
        let done = retired().take_until(reached);
        drop(done);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let retired = self.retired.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.handle.is_inherited() {
            return;
        }
        if !retired.is_empty() {
            // Kernels that are not checked may take any time. Objects of a lost device know by
            // themselves whether to stay.
            let newest = self.newest.load(Acquire);
            let _ = self.wait(newest, None);
        }
        if self.handle.leaves_object() {
            return;
        }
        // SAFETY: 1. the semaphore is live; 4. `Submitted` has an Arc of this queue and waits, so
        // no submission is pending that would signal it.
        unsafe { self.handle.raw().destroy_semaphore(self.timeline, None) };
    }
}
