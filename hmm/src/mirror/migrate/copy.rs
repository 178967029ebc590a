//! The fifth step: content that was not moved to the frames is copied there, with no lock held.

use super::block::{Block, guarded};
use super::collect::Collected;
use super::outcome::Skip;
use super::pages::{Content, Frame, Taken, frame_run};
use crate::addr::pages::{bytes_of, pages_from};
use crate::fatal::or_die;
use crate::sys::copy::read_bytes;
use crate::sys::device::MirrorCall;
use crate::sys::survey::Survey;

/// Pages whose content is on the device, or in a place from which it can be put back.
pub(super) struct Copied<'m> {
    pub(super) block: Block<'m>,
    pub(super) pages: &'m mut Vec<Taken>,
}

impl<'m> Copied<'m> {
    /// Copies to the device.
    pub(super) fn after(collected: Collected<'m>) -> Self {
        let Collected { block, pages } = collected;
        let mut copied = Self { block, pages };
        copied.find_nothing();
        let mut index = 0;
        while let Some(&page) = copied.pages.get(index) {
            let count = frame_run(copied.pages, index, |page| match page {
                Taken::Goes { frame, content } => Some((frame, content)),
                _ => None,
            });
            if let Taken::Goes { frame, content } = page
                && let Err(reason) = copied.copy_run(index, count, frame, content)
            {
                copied.note_returns(index, count, reason);
            }
            index += count;
        }
        copied
    }

    /// Finds out which staged pages have no content but zeroes.
    fn find_nothing(&mut self) {
        let is_staged =
            |page: &Taken| matches!(page, Taken::Goes { content: Content::Staging, .. });
        if !self.pages.iter().any(is_staged) {
            return;
        }
        let range = self.block.staged(0, self.pages.len());
        let survey = self.block.shared.transfer.surveyor.survey(range);
        let Ok(Survey { present, swapped, zero, .. }) = survey else {
            return;
        };
        for (index, page) in self.pages.iter_mut().enumerate() {
            let there = present.contains(index) || swapped.contains(index);
            if let Taken::Goes { content: content @ Content::Staging, .. } = page
                && (!there || zero.contains(index))
            {
                *content = Content::Nothing;
            }
        }
    }

    /// Copies a run of pages, unless it was moved.
    fn copy_run(
        &mut self,
        index: usize,
        count: usize,
        frame: Frame,
        content: Content,
    ) -> Result<(), Skip> {
        let (bytes, first) = (bytes_of(index..index + count), frame.number);
        let host = pages_from(self.block.at(index), count);
        let device = self.block.device;
        let copied = match content {
            Content::Frame => return Ok(()),
            Content::Staging => {
                let bytes = self.block.staging.bytes(bytes);
                guarded(|| device.copy_in(&MirrorCall::BY_MIRROR, first, host, bytes))
            }
            Content::Nothing => guarded(|| device.zero(&MirrorCall::BY_MIRROR, first, host)),
            Content::Protected => {
                let buffer = or_die(self.block.buffer.get_mut(bytes), "a buffer is too short");
                read_bytes(host.start(), buffer).map_err(|_| Skip::Unreadable)?;
                guarded(|| device.copy_in(&MirrorCall::BY_MIRROR, first, host, buffer))
            }
        };
        copied.ok_or(Skip::DeviceFailed)
    }

    fn note_returns(&mut self, index: usize, count: usize, reason: Skip) {
        for page in self.pages.iter_mut().skip(index).take(count) {
            if let Taken::Goes { frame, content } = *page {
                *page = Taken::Returns { reason, frame, content: Some(content) };
            }
        }
    }
}
