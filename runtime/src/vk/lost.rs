//! The loss of a device: noticed once, and final.
//!
//! A device is lost when the driver says so, and also when it does not end work that it was told to
//! end. From then on nothing is submitted. The protocol is in `DESIGN.md`, "A lost device".

use crate::VulkanError;
use ash::vk;
use std::{
    io::Write,
    sync::{
        OnceLock,
        atomic::{
            AtomicBool,
            Ordering::{AcqRel, Acquire, Release},
        },
    },
};

/// The answer of a driver that was asked for the end of submissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// They have completed.
    Reached,
    /// They have not, or not yet.
    Pending,
    /// The driver had no memory for the answer, which says nothing about the device.
    Silent,
    /// The device is lost, or the driver fails in a way that no specification names.
    Lost,
}

impl Answer {
    pub(super) fn of(result: vk::Result) -> Self {
        match result {
            vk::Result::SUCCESS => Self::Reached,
            vk::Result::TIMEOUT | vk::Result::NOT_READY => Self::Pending,
            vk::Result::ERROR_OUT_OF_HOST_MEMORY | vk::Result::ERROR_OUT_OF_DEVICE_MEMORY => {
                Self::Silent
            }
            _ => Self::Lost,
        }
    }
}

/// Whether a device is lost, and what may be done with its objects then.
#[derive(Default)]
pub(crate) struct Loss {
    /// The first call that told of the loss.
    why: OnceLock<VulkanError>,
    /// Whether nothing is pending any more, after the loss.
    at_rest: AtomicBool,
    /// Whether an object was left to the device, so that the device has to stay.
    left: AtomicBool,
}

impl Loss {
    /// The call that told of the loss, if the device is lost.
    pub(super) fn why(&self) -> Option<VulkanError> {
        self.why.get().copied()
    }

    /// Notes the loss. The first note is kept, and returned.
    ///
    /// Drivers have other words for a failure than `VK_ERROR_DEVICE_LOST`. The note has that word,
    /// or `VK_TIMEOUT` for a device that does not end its work, so that errors tell the two apart.
    pub(super) fn note(&self, VulkanError { call, result }: VulkanError) -> VulkanError {
        let result = match result {
            vk::Result::TIMEOUT => result,
            _ => vk::Result::ERROR_DEVICE_LOST,
        };
        *self.why.get_or_init(|| VulkanError { call, result })
    }

    /// Notes that nothing is pending, and that nothing will be.
    pub(super) fn come_to_rest(&self) {
        self.at_rest.store(true, Release);
    }

    /// Whether an object that is dropped now has to be left to the device, because it may be in
    /// use. Then whatever it was made from is left, too.
    pub(super) fn leaves_object(&self) -> bool {
        let leaves = self.why.get().is_some() && !self.at_rest.load(Acquire);
        self.left.fetch_or(leaves, AcqRel);
        leaves
    }

    /// Whether objects of the device were left to it.
    pub(super) fn has_left_objects(&self) -> bool {
        self.left.load(Acquire)
    }
}

/// Ends the process because the device may still be using lent memory.
pub(crate) fn end_process(why: VulkanError) -> ! {
    let _ = writeln!(
        std::io::stderr(),
        "farptr: cannot prove that the device has stopped ({why}: {}); aborting, because a kernel \
         may still write to memory that would be given back. Backing::Copy makes this an error",
        why.result
    );
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: vk::Result) -> VulkanError {
        VulkanError { call: "vkWaitSemaphores", result }
    }

    #[test]
    fn only_a_failure_that_says_nothing_is_asked_again() {
        for (result, answer) in [
            (vk::Result::SUCCESS, Answer::Reached),
            (vk::Result::TIMEOUT, Answer::Pending),
            (vk::Result::ERROR_OUT_OF_HOST_MEMORY, Answer::Silent),
            (vk::Result::ERROR_OUT_OF_DEVICE_MEMORY, Answer::Silent),
            (vk::Result::ERROR_DEVICE_LOST, Answer::Lost),
            (vk::Result::ERROR_UNKNOWN, Answer::Lost),
        ] {
            assert_eq!(Answer::of(result), answer, "{result:?}");
        }
    }

    #[test]
    fn the_first_call_that_told_is_named() {
        let loss = Loss::default();
        assert_eq!(loss.why(), None);
        let first = loss.note(said(vk::Result::ERROR_UNKNOWN));
        assert_eq!(first, said(vk::Result::ERROR_DEVICE_LOST), "in Vulkan's word");
        assert_eq!(loss.note(said(vk::Result::TIMEOUT)), first);
        assert_eq!(loss.why(), Some(first));
        assert_eq!(Loss::default().note(said(vk::Result::TIMEOUT)).result, vk::Result::TIMEOUT);
    }

    #[test]
    fn objects_are_left_until_nothing_is_pending() {
        let loss = Loss::default();
        assert!(!loss.leaves_object() && !loss.has_left_objects(), "a device that works");
        loss.note(said(vk::Result::ERROR_DEVICE_LOST));
        assert!(!loss.has_left_objects());
        assert!(loss.leaves_object() && loss.leaves_object() && loss.has_left_objects());
        loss.come_to_rest();
        assert!(!loss.leaves_object(), "later ones are destroyed");
        assert!(loss.has_left_objects(), "but the device has to stay for those that were left");
    }
}
