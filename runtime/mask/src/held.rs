//! Dispatches that command buffers hold back while they are recorded, each with what it runs with.
//!
//! # Safety
//!
//! As in the crate's documentation.

use ash::vk;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, PoisonError},
};

const COMPUTE: vk::PipelineBindPoint = vk::PipelineBindPoint::COMPUTE;

/// The command buffers that are being recorded; none on a device whose dispatches keep their order.
#[derive(Default)]
pub(crate) struct Recordings(Mutex<BTreeMap<vk::CommandBuffer, Recording>>);

impl Recordings {
    /// From here on the command buffer holds nothing, whatever it held before it was reset.
    pub(crate) fn begin(&self, commands: vk::CommandBuffer) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(commands, Recording::default());
    }

    pub(crate) fn end(&self, commands: vk::CommandBuffer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&commands);
    }

    /// Looks at a command buffer, if it is one of these.
    pub(crate) fn with<R>(
        &self,
        commands: vk::CommandBuffer,
        look: impl FnOnce(&mut Recording) -> R,
    ) -> Option<R> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(&commands).map(look)
    }
}

/// A command buffer that is being recorded.
#[derive(Default)]
pub(crate) struct Recording {
    bound: Bound,
    held: Vec<Dispatch>,
}

impl Recording {
    pub(crate) fn bind(&mut self, pipeline: vk::Pipeline) {
        self.bound.pipeline = pipeline;
    }

    pub(crate) fn bind_sets(&mut self, sets: Sets) {
        self.bound.sets.retain(|earlier| !covers(&sets.range(), &earlier.range()));
        self.bound.sets.push(sets);
    }

    pub(crate) fn push(&mut self, pushed: Pushed) {
        let replaces = |earlier: &Pushed| {
            earlier.stages == pushed.stages && covers(&pushed.range(), &earlier.range())
        };
        self.bound.pushed.retain(|earlier| !replaces(earlier));
        self.bound.pushed.push(pushed);
    }

    /// Holds a dispatch, with what is bound now.
    pub(crate) fn hold(&mut self, groups: [u32; 3]) {
        self.held.push(Dispatch { bound: self.bound.clone(), groups });
    }

    /// The dispatches that were held, in the order in which they were recorded.
    pub(crate) fn take(&mut self) -> Vec<Dispatch> {
        std::mem::take(&mut self.held)
    }
}

/// The calls that bound something for compute, or pushed, and that matter; oldest first.
#[derive(Clone, Default)]
struct Bound {
    pipeline: vk::Pipeline,
    sets: Vec<Sets>,
    pushed: Vec<Pushed>,
}

/// A call of `vkCmdBindDescriptorSets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) layout: vk::PipelineLayout,
    pub(crate) first: u32,
    pub(crate) sets: Vec<vk::DescriptorSet>,
    pub(crate) offsets: Vec<u32>,
}

impl Sets {
    fn range(&self) -> Range<usize> {
        let first = self.first as usize;
        first..first + self.sets.len()
    }
}

/// A call of `vkCmdPushConstants`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) layout: vk::PipelineLayout,
    pub(crate) stages: vk::ShaderStageFlags,
    pub(crate) offset: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Pushed {
    fn range(&self) -> Range<usize> {
        let first = self.offset as usize;
        first..first + self.bytes.len()
    }
}

fn covers(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// A dispatch that is held.
pub(crate) struct Dispatch {
    bound: Bound,
    groups: [u32; 3],
}

impl Dispatch {
    /// Records the dispatch, behind all that it runs with.
    ///
    /// # Safety
    ///
    /// The command buffer is one of the device's that is being recorded, and the application
    /// recorded this dispatch in it.
    pub(crate) unsafe fn record(&self, next: &ash::Device, commands: vk::CommandBuffer) {
        let Self { bound: Bound { pipeline, sets, pushed }, groups: [x, y, z] } = self;
        // SAFETY: 1. the application bound it in this command buffer; the caller's promise.
        unsafe { next.cmd_bind_pipeline(commands, COMPUTE, *pipeline) };
        for Sets { layout, first, sets, offsets } in sets {
            // SAFETY: as above.
            unsafe {
                next.cmd_bind_descriptor_sets(commands, COMPUTE, *layout, *first, sets, offsets);
            }
        }
        for Pushed { layout, stages, offset, bytes } in pushed {
            // SAFETY: 1. the application pushed them in this command buffer; the caller's promise.
            unsafe { next.cmd_push_constants(commands, *layout, *stages, *offset, bytes) };
        }
        // SAFETY: 1. the application's arguments; what it had bound is bound.
        unsafe { next.cmd_dispatch(commands, *x, *y, *z) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ash::vk::Handle;

    fn pushed(offset: u32, bytes: &[u8]) -> Pushed {
        let (layout, bytes) = (vk::PipelineLayout::from_raw(1), bytes.to_vec());
        Pushed { layout, stages: vk::ShaderStageFlags::COMPUTE, offset, bytes }
    }

    fn sets(first: u32, sets: &[u64], offset: u32) -> Sets {
        let (layout, sets) = (vk::PipelineLayout::from_raw(1), sets.iter().copied());
        let sets = sets.map(vk::DescriptorSet::from_raw).collect();
        Sets { layout, first, sets, offsets: vec![offset] }
    }

    #[test]
    fn a_dispatch_is_held_with_what_is_bound_at_that_moment() {
        let mut recording = Recording::default();
        recording.bind(vk::Pipeline::from_raw(7));
        recording.bind_sets(sets(0, &[1], 256));
        recording.push(pushed(0, &[1; 16]));
        recording.hold([1, 2, 3]);
        recording.bind(vk::Pipeline::from_raw(8));
        recording.bind_sets(sets(0, &[1], 512));
        recording.push(pushed(12, &[2; 4]));
        recording.hold([4, 5, 6]);
        let held = recording.take();
        let bound = |at: usize| (held[at].bound.pipeline.as_raw(), held[at].groups);
        assert_eq!((bound(0), bound(1)), ((7, [1, 2, 3]), (8, [4, 5, 6])));
        assert_eq!(held[0].bound.sets, [sets(0, &[1], 256)]);
        assert_eq!(held[1].bound.sets, [sets(0, &[1], 512)]);
        assert_eq!(held[0].bound.pushed, [pushed(0, &[1; 16])]);
        assert_eq!(held[1].bound.pushed, [pushed(0, &[1; 16]), pushed(12, &[2; 4])]);
        assert!(recording.take().is_empty());
        recording.hold([1, 1, 1]);
        assert_eq!(recording.take()[0].bound.sets.len(), 1, "what was bound stays bound");
    }

    #[test]
    fn a_call_replaces_those_that_it_covers() {
        let mut recording = Recording::default();
        for call in [pushed(0, &[1; 8]), pushed(4, &[2; 8]), pushed(0, &[3; 12])] {
            recording.push(call);
        }
        assert_eq!(recording.bound.pushed, [pushed(0, &[3; 12])]);
        for call in [sets(1, &[1, 2], 0), sets(0, &[3], 0), sets(2, &[4], 0), sets(1, &[5, 6], 0)] {
            recording.bind_sets(call);
        }
        assert_eq!(recording.bound.sets, [sets(0, &[3], 0), sets(1, &[5, 6], 0)]);
    }

    #[test]
    fn a_command_buffer_that_begins_again_holds_nothing() {
        let (recordings, commands) = (Recordings::default(), vk::CommandBuffer::from_raw(64));
        let held = || recordings.with(commands, |recording| recording.take().len());
        assert_eq!(held(), None);
        recordings.begin(commands);
        recordings.with(commands, |recording| recording.hold([1, 1, 1]));
        recordings.begin(commands);
        assert_eq!(held(), Some(0));
        recordings.end(commands);
        assert_eq!(held(), None);
    }
}
