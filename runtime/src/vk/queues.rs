//! The device's queues: one that runs kernels, and one that copies where the device has it.
//!
//! A lost device completes nothing. Whoever notices the loss notes it, and every later call gives
//! the error of it. `DESIGN.md`, "A lost device", says what becomes of commands and objects then.

use super::{handle::Handle, lost::Answer, queue::Queue, retire::Retired};
use crate::VulkanError;
use ash::vk;
use std::{
    sync::{Arc, Mutex, PoisonError},
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

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Kernels, and copies on a device without a queue for them.
    Compute,
    /// Copies alone.
    Transfer,
}

/// A submission: the queue, and the value that it signals there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    role: Role,
    value: u64,
    /// Of a copy in a queue of its own: the newest value of the kernels' queue at that time.
    /// Nothing says that a device begins the copy before these kernels have ended.
    kernels: u64,
}

/// The queues of a device.
pub(crate) struct Queues {
    compute: Queue,
    transfer: Option<Queue>,
    retired: Mutex<Retired>,
    handle: Arc<Handle>,
}

impl Queues {
    /// The queues of the families that the device was opened with.
    pub(crate) fn new(
        handle: &Arc<Handle>,
        compute: u32,
        transfer: Option<u32>,
    ) -> Result<Self, VulkanError> {
        Ok(Self {
            compute: Queue::new(handle, compute)?,
            transfer: transfer.map(|family| Queue::new(handle, family)).transpose()?,
            retired: Mutex::new(Retired::default()),
            handle: Arc::clone(handle),
        })
    }

    /// The queue for copies.
    pub(crate) fn copies(&self) -> Role {
        if self.transfer.is_some() { Role::Transfer } else { Role::Compute }
    }

    fn of(&self, role: Role) -> &Queue {
        match (role, &self.transfer) {
            (Role::Transfer, Some(transfer)) => transfer,
            _ => &self.compute,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Queue> {
        std::iter::once(&self.compute).chain(&self.transfer)
    }

    /// The loss of the device as an error, if it is lost.
    pub(crate) fn check(&self) -> Result<(), VulkanError> {
        self.handle.loss().why().map_or(Ok(()), Err)
    }

    /// Hands commands to a queue. They see what submissions did that are known to have completed,
    /// whichever queue they ran in.
    ///
    /// An error means that nothing was submitted, with one exception: a device that was lost by
    /// the call may have begun. Then the point is given with the error.
    ///
    /// # Safety
    ///
    /// The commands belong to this device, and are recorded for this queue and ended; what they use
    /// is as [`Recording::launch`](super::command::Recording::launch) asks for.
    pub(crate) unsafe fn submit(
        &self,
        role: Role,
        commands: vk::CommandBuffer,
    ) -> Result<Point, (VulkanError, Option<Point>)> {
        let other = match role {
            Role::Compute => self.transfer.as_ref(),
            Role::Transfer => Some(&self.compute),
        };
        let other = other.map(|queue| &queue.timeline);
        let kernels = match role {
            Role::Compute => 0,
            Role::Transfer => self.compute.timeline.newest(),
        };
        // SAFETY: 1. the caller's promise; 2. it is the timeline of this device's other queue.
        let submitted = unsafe { self.of(role).submit(commands, other) };
        let point = |value| Point { role, value, kernels };
        match submitted {
            Ok(value) => {
                self.reap();
                Ok(point(value))
            }
            Err((lost, Some(value))) => Err((self.lose(lost), Some(point(value)))),
            Err((error, None)) => Err((error, None)),
        }
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
            // Nobody waits with a lock, so that others can submit, and end what does not end.
            let ended = |role| self.wait_at_most(self.newest(role), SLICE);
            if !ended(Role::Compute)? || !ended(self.copies())? {
                continue;
            }
            let locks: Vec<_> = self.all().map(Queue::lock).collect();
            // A loss is noted by someone who does not have the locks.
            self.check()?;
            let is_idle =
                |queue: &Queue| queue.timeline.ask(queue.timeline.newest(), Duration::ZERO).is_ok();
            if self.all().all(is_idle) {
                let done = act();
                drop(locks);
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

    /// The newest submission of a queue.
    fn newest(&self, role: Role) -> Point {
        Point { role, value: self.of(role).timeline.newest(), kernels: 0 }
    }

    /// Waits for a submission, for so long at most.
    fn answer(&self, point: Point, at_most: Duration) -> Result<Answer, VulkanError> {
        let timeline = &self.of(point.role).timeline;
        if timeline.reached() >= point.value {
            return Ok(Answer::Reached);
        }
        self.check()?;
        let asked = timeline.ask(point.value, at_most);
        let answer = asked.err().map_or(Answer::Reached, |error| Answer::of(error.result));
        match (answer, asked) {
            (Answer::Lost, Err(error)) => return Err(self.lose(error)),
            (Answer::Silent, _) => thread::sleep(at_most.min(PAUSE)),
            (Answer::Reached, _) => timeline.note_reached(point.value),
            _ => {}
        }
        Ok(answer)
    }

    /// Waits for a submission, so long at most, and says whether it is complete.
    pub(crate) fn wait_at_most(
        &self,
        point: Point,
        at_most: Duration,
    ) -> Result<bool, VulkanError> {
        self.answer(point, at_most).map(|answer| answer == Answer::Reached)
    }

    /// Waits for a submission and all before it in its queue. With a limit, work that the device
    /// could begin so long ago and has not ended is a loss.
    ///
    /// After the device is lost, a driver must return from a wait with a limit in time, and need
    /// not return from a wait without one (Vulkan specification, "Lost Device"). So this wait is
    /// made of short waits.
    pub(crate) fn wait(&self, point: Point, limit: Option<Duration>) -> Result<(), VulkanError> {
        let (mut silence, mut waited) = (0, Duration::ZERO);
        while limit.is_none_or(|limit| waited < limit) {
            let first = self.is_first(point)?;
            let slice = match self.answer(point, SLICE)? {
                Answer::Reached => return Ok(()),
                Answer::Silent => PAUSE,
                _ => SLICE,
            };
            silence = if slice == PAUSE { silence + 1 } else { 0 };
            waited += if first { slice } else { Duration::ZERO };
            if silence == SILENCE && limit.is_none() {
                return self.wait_idle(point);
            }
        }
        self.give_up(point)
    }

    /// Ends a wait for a submission that does not end: the device is lost, unless the submission
    /// has ended by now.
    pub(crate) fn give_up(&self, point: Point) -> Result<(), VulkanError> {
        if self.wait_at_most(point, Duration::ZERO)? {
            return Ok(());
        }
        let (call, result) = ("vkWaitSemaphores", vk::Result::TIMEOUT);
        Err(self.handle.loss().note(VulkanError { call, result }))
    }

    /// Waits in a way that needs no memory, where the driver had none for another.
    fn wait_idle(&self, point: Point) -> Result<(), VulkanError> {
        let queue = self.of(point.role);
        queue.wait_idle().map_err(|error| self.lose(error))?;
        queue.timeline.note_reached(point.value);
        Ok(())
    }

    /// Whether all submissions are complete that the device may run before this one: those before
    /// it in its queue, and before a copy in a queue of its own the kernels of that time.
    pub(crate) fn is_first(&self, point: Point) -> Result<bool, VulkanError> {
        // Each submission signals the next value, and values are signalled in their order.
        let Point { role, value, kernels } = point;
        Ok(self.has_reached(role, value - 1)? && self.has_reached(Role::Compute, kernels)?)
    }

    fn has_reached(&self, role: Role, value: u64) -> Result<bool, VulkanError> {
        Ok(self.of(role).timeline.reached() >= value || self.look(role)? >= value)
    }

    /// The newest value of a queue that is known to be reached.
    fn look(&self, role: Role) -> Result<u64, VulkanError> {
        self.check()?;
        let timeline = &self.of(role).timeline;
        match timeline.counter() {
            Ok(value) => Ok(value),
            Err(error) if Answer::of(error.result) == Answer::Lost => Err(self.lose(error)),
            Err(_) => Ok(timeline.reached()),
        }
    }

    /// Notes that the device is lost, and finds out whether anything is pending. Gives the first
    /// error that told of the loss.
    ///
    /// For pending commands a loss is as good as their end (Vulkan specification, "Lost Device").
    /// The validation layer (1.3.239) does not know that rule, so with it only their end counts.
    fn lose(&self, error: VulkanError) -> VulkanError {
        let first = self.handle.loss().note(error);
        let validates = self.handle.instance().validates();
        let mut at_rest = true;
        let told = self.settle(|_, answer| {
            let is_told = answer == Answer::Reached || answer == Answer::Lost;
            at_rest &= answer != Answer::Lost || !validates;
            is_told
        });
        if told && at_rest {
            self.handle.loss().come_to_rest();
        }
        first
    }

    /// Whether the driver says of everything that was submitted, in the [`GRACE`] after a loss,
    /// what is wanted of each queue.
    fn settle(&self, mut is_wanted: impl FnMut(&Queue, Answer) -> bool) -> bool {
        let begun = Instant::now();
        self.all().all(|queue| {
            // Whoever has the lock later sees the loss and submits nothing, so the value is the
            // last.
            drop(queue.lock());
            let newest = queue.timeline.newest();
            loop {
                let asked = queue.timeline.ask(newest, PAUSE);
                let answer = asked.err().map_or(Answer::Reached, |error| Answer::of(error.result));
                if is_wanted(queue, answer) {
                    return true;
                }
                if begun.elapsed() >= GRACE {
                    return false;
                }
                if answer != Answer::Pending {
                    thread::sleep(PAUSE);
                }
            }
        })
    }

    /// Whether everything that was submitted to a lost device has completed, as the values of the
    /// timelines say in the [`GRACE`] that it gets. Then objects are destroyed as usual again.
    ///
    /// That the driver calls the device lost is no answer here: one that failed to submit says so
    /// while earlier commands still run. Neither is the success of a wait, which may stand for the
    /// loss.
    pub(crate) fn has_ended(&self) -> bool {
        let ended = self.settle(|Queue { timeline, .. }, _| {
            timeline.counter().is_ok_and(|value| value >= timeline.newest())
        });
        if ended {
            self.handle.loss().come_to_rest();
        }
        ended
    }

    /// Destroys an object when all commands that were submitted to run kernels so far are complete.
    /// Copies in a queue of their own are waited for by whoever has the memory.
    pub(crate) fn retire(&self, object: impl Send + 'static) {
        // In a forked child objects destroy nothing, and a lock may have been held by a thread that
        // did not come along.
        if self.handle.is_inherited() {
            return drop(object);
        }
        let timeline = &self.compute.timeline;
        let value = timeline.newest();
        // Objects of a lost device know by themselves whether to stay.
        if timeline.reached() >= value || self.check().is_err() {
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
        let reached = self.look(Role::Compute).unwrap_or(u64::MAX);
        let done = retired().take_until(reached);
        drop(done);
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        let retired = self.retired.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !self.handle.is_inherited() && !retired.is_empty() {
            // Kernels that are not checked may take any time. Objects of a lost device know by
            // themselves whether to stay.
            let _ = self.wait(self.newest(Role::Compute), None);
        }
    }
}
