//! Bringing content to the device, with no lock held.

use super::{Collected, Content, Copied, Skip, Voyage, guarded};
use crate::addr::PageCount;
use crate::addr::pages::bytes_of;
use crate::fatal::or_die;
use crate::sys::copy::read_bytes;
use crate::sys::device::MirrorCall;
use crate::sys::survey::Survey;

impl<'m> Collected<'m> {
    /// Copies what was not moved to the device.
    pub(crate) fn copy(mut self) -> Copied<'m> {
        self.0.find_nothing();
        let mut index = 0;
        while index < self.0.pages.len() {
            let run = self.0.frame_run(index).max(1);
            if self.0.pages.get(index).is_some_and(|page| page.goes() && page.claimed) {
                self.0.copy_run(index, run);
            }
            index += run;
        }
        Copied(self.0)
    }
}

impl Voyage<'_> {
    /// Finds out which staged pages have no content but zeroes.
    fn find_nothing(&mut self) {
        let staged = |page: &super::Passenger| page.content == Content::Staging;
        if !self.pages.iter().any(staged) {
            return;
        }
        let range = self.staged(0, self.pages.len());
        let Ok(Survey { present, swapped, zero, .. }) = self.core.transfer.surveyor.survey(range)
        else {
            return;
        };
        for (index, page) in self.pages.iter_mut().enumerate() {
            let there = present.contains(index) || swapped.contains(index);
            if staged(page) && (!there || zero.contains(index)) {
                page.content = Content::Nothing;
            }
        }
    }

    fn copy_run(&mut self, index: usize, count: usize) {
        let Some(page) = self.pages.get(index).copied() else {
            return;
        };
        let Some(frame) = page.frame else {
            return self.skip(index, count, Skip::NoDeviceMemory);
        };
        let bytes = bytes_of(index..index + count);
        let copied = match page.content {
            Content::Frame | Content::Home | Content::Dropped => return,
            Content::Staging => {
                let bytes = self.scratch.staging.bytes(bytes);
                guarded(|| self.device.copy_in(&MirrorCall::BY_MIRROR, frame, bytes)).is_some()
            }
            Content::Nothing => guarded(|| {
                self.device.zero(&MirrorCall::BY_MIRROR, frame, PageCount::new(count as u64))
            })
            .is_some(),
            Content::Protected => {
                let at = self.at(index);
                let buffer = or_die(self.scratch.buffer.get_mut(bytes), "a buffer is too short");
                if read_bytes(at, buffer).is_err() {
                    return self.skip(index, count, Skip::Unreadable);
                }
                guarded(|| self.device.copy_in(&MirrorCall::BY_MIRROR, frame, buffer)).is_some()
            }
        };
        if !copied {
            self.skip(index, count, Skip::DeviceFailed);
        }
    }
}
