//! A queue family that copies alone, for drivers that have none: its queue hands over to the
//! driver's own queue as late as it may.
//!
//! # Safety
//!
//! As in the crate's documentation.

use crate::loader::{array, find, key};
use ash::vk::{self, Handle};
use std::{collections::VecDeque, sync::atomic::AtomicUsize};

/// What the family is said to be.
pub(crate) const FAMILY: vk::QueueFamilyProperties = vk::QueueFamilyProperties {
    queue_flags: vk::QueueFlags::TRANSFER,
    queue_count: 1,
    timestamp_valid_bits: 0,
    min_image_transfer_granularity: vk::Extent3D { width: 1, height: 1, depth: 1 },
};

/// The family and its one queue.
pub(crate) struct TransferQueue {
    /// The family's index, behind those of the driver.
    pub(crate) family: u32,
    /// The queue is a pointer to it. The loader writes its own pointer there.
    word: Box<AtomicUsize>,
}

impl TransferQueue {
    /// # Safety
    ///
    /// The device is live.
    pub(crate) unsafe fn new(family: u32, device: vk::Device) -> Self {
        // SAFETY: the caller's promise.
        let key = unsafe { key(device) };
        Self { family, word: Box::new(AtomicUsize::new(key)) }
    }

    /// The handle of the queue.
    pub(crate) fn queue(&self) -> vk::Queue {
        vk::Queue::from_raw(self.word.as_ptr().expose_provenance() as u64)
    }
}

/// A submission, copied from the program's structures.
pub(crate) struct Submission {
    waits: Vec<(vk::Semaphore, vk::PipelineStageFlags, u64)>,
    commands: Vec<vk::CommandBuffer>,
    signals: Vec<(vk::Semaphore, u64)>,
    /// Whether the driver has got a submission to its own queue that was made later.
    is_late: bool,
}

/// The values of semaphores that a submission waits for.
///
/// # Safety
///
/// The structure is the application's.
pub(crate) unsafe fn waits_of(info: &vk::SubmitInfo<'_>) -> Vec<(vk::Semaphore, u64)> {
    // SAFETY: the caller's promise.
    let Submission { waits, .. } = unsafe { Submission::of(info) };
    waits.into_iter().map(|(semaphore, _, value)| (semaphore, value)).collect()
}

impl Submission {
    /// # Safety
    ///
    /// The structure is the application's.
    pub(crate) unsafe fn of(info: &vk::SubmitInfo<'_>) -> Self {
        type Values<'a> = vk::TimelineSemaphoreSubmitInfo<'a>;
        // SAFETY: 1. the application's chain.
        let values = unsafe { find::<Values<'_>>(info.p_next) };
        let waited = values.as_ref().map_or_else(Vec::new, |values| {
            // SAFETY: 1. the application's array.
            unsafe { array(values.p_wait_semaphore_values, values.wait_semaphore_value_count) }
        });
        let signalled = values.as_ref().map_or_else(Vec::new, |values| {
            // SAFETY: 1. the application's array.
            unsafe { array(values.p_signal_semaphore_values, values.signal_semaphore_value_count) }
        });
        let count = info.wait_semaphore_count;
        // SAFETY: 1. the application's array.
        let before = unsafe { array(info.p_wait_semaphores, count) };
        // SAFETY: 1. the application's array, of as many.
        let stages = unsafe { array(info.p_wait_dst_stage_mask, count) };
        // SAFETY: 1. the application's array.
        let commands = unsafe { array(info.p_command_buffers, info.command_buffer_count) };
        // SAFETY: 1. the application's array.
        let after = unsafe { array(info.p_signal_semaphores, info.signal_semaphore_count) };
        // Binary semaphores have no values.
        let value = |of: &[u64], at: usize| of.get(at).copied().unwrap_or(0);
        let wait = |(at, (semaphore, stages))| (semaphore, stages, value(&waited, at));
        let signal = |(at, semaphore)| (semaphore, value(&signalled, at));
        Self {
            waits: before.into_iter().zip(stages).enumerate().map(wait).collect(),
            commands,
            signals: after.into_iter().enumerate().map(signal).collect(),
            is_late: false,
        }
    }

    /// Whether somebody who waits for these values waits for it.
    fn leads_to(&self, wanted: &[(vk::Semaphore, u64)]) -> bool {
        self.signals.iter().any(|&(semaphore, value)| {
            wanted.iter().any(|&(of, wanted)| of == semaphore && wanted >= value)
        })
    }

    /// # Safety
    ///
    /// The application submitted it to the device, and the caller has the queue to itself.
    unsafe fn submit(&self, next: &ash::Device, queue: vk::Queue) -> vk::Result {
        let before: Vec<_> = self.waits.iter().map(|&(semaphore, ..)| semaphore).collect();
        let stages: Vec<_> = self.waits.iter().map(|&(_, stages, _)| stages).collect();
        let waited: Vec<_> = self.waits.iter().map(|&(.., value)| value).collect();
        let (after, signalled): (Vec<_>, Vec<_>) = self.signals.iter().copied().unzip();
        let mut values = vk::TimelineSemaphoreSubmitInfo::default()
            .wait_semaphore_values(&waited)
            .signal_semaphore_values(&signalled);
        let info = vk::SubmitInfo::default()
            .wait_semaphores(&before)
            .wait_dst_stage_mask(&stages)
            .command_buffers(&self.commands)
            .signal_semaphores(&after)
            .push_next(&mut values);
        // SAFETY: 1. the application's handles; the caller's promise.
        let submitted = unsafe { next.queue_submit(queue, &[info], vk::Fence::null()) };
        submitted.map_or_else(|error| error, |()| vk::Result::SUCCESS)
    }
}

/// Submissions to the queue that copies alone, which the driver has not got yet; oldest first.
#[derive(Default)]
pub(crate) struct Late {
    held: VecDeque<Submission>,
    /// The driver's queue, once the program asked for it.
    pub(crate) behind: Option<vk::Queue>,
}

impl Late {
    pub(crate) fn hold(&mut self, submission: Submission) {
        self.held.push_back(submission);
    }

    /// Notes a submission to the driver's own queue. Returns how many are late because of it that
    /// were not before.
    pub(crate) fn passed(&mut self) -> u64 {
        let waiting = self.held.iter_mut().filter(|submission| !submission.is_late);
        waiting.map(|submission| submission.is_late = true).count() as u64
    }

    /// Hands over those that somebody waits for, and all before them.
    ///
    /// # Safety
    ///
    /// The device is live, and the caller has its queues to itself.
    pub(crate) unsafe fn release(
        &mut self,
        next: &ash::Device,
        wanted: &[(vk::Semaphore, u64)],
    ) -> vk::Result {
        let last = self.held.iter().rposition(|submission| submission.leads_to(wanted));
        // SAFETY: the caller's promise.
        unsafe { self.release_first(next, last.map_or(0, |last| last + 1)) }
    }

    /// As [`release`](Self::release), for all of them.
    ///
    /// # Safety
    ///
    /// The same.
    pub(crate) unsafe fn release_all(&mut self, next: &ash::Device) -> vk::Result {
        // SAFETY: the caller's promise.
        unsafe { self.release_first(next, self.held.len()) }
    }

    unsafe fn release_first(&mut self, next: &ash::Device, count: usize) -> vk::Result {
        let Some(queue) = self.behind else { return vk::Result::SUCCESS };
        for _ in 0..count {
            let Some(submission) = self.held.front() else { break };
            // SAFETY: the caller's promise; what is held was submitted.
            let result = unsafe { submission.submit(next, queue) };
            if result != vk::Result::SUCCESS {
                return result;
            }
            self.held.pop_front();
        }
        vk::Result::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_is_wanted_by_those_who_wait_for_its_value_or_a_later_one() {
        let [one, other] = [1, 2].map(vk::Semaphore::from_raw);
        let (signals, values) = ([one], [5]);
        let mut chain = vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&values);
        let info = vk::SubmitInfo::default().signal_semaphores(&signals).push_next(&mut chain);
        // SAFETY: the structure was made by ash's builders.
        let submission = unsafe { Submission::of(&info) };
        for (wanted, leads) in [((one, 4), false), ((one, 5), true), ((one, 6), true)] {
            assert_eq!(submission.leads_to(&[wanted]), leads, "{wanted:?}");
        }
        assert!(!submission.leads_to(&[(other, 5)]) && !submission.leads_to(&[]));
        let mut late = Late::default();
        late.hold(submission);
        assert_eq!((late.passed(), late.passed()), (1, 0), "each is late once");
    }
}
