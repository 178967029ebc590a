//! Launches that are submitted together.
//!
//! # Safety
//!
//! A batch has its command slot and channels from one device, and gives them back when its commands
//! have completed or were never submitted.
#![allow(unsafe_code, reason = "it records commands, with the argument above")]

use super::{
    allowance::Overdue,
    channel::{Channel, Post},
    control::Row,
    pending::Pending,
};
use crate::{
    LaunchError, VulkanError,
    lend::lends::Lends,
    stats::Counters,
    vk::{
        Device, Pipeline,
        buffer::SharedBuffer,
        command::{Slot, WordCopy, Work},
    },
};
use ash::vk;
use std::{sync::Arc, time::Duration};

/// Launches per submission: enough to make the cost of a submission small beside that of the
/// launches, few enough that the device does not wait long for its first one.
const LAUNCHES: u32 = Channel::LAUNCHES;

/// The launches of one submission, all checked or all unchecked.
pub(crate) struct Batch {
    slot: Slot,
    launches: u32,
    /// Keeps the pipelines alive until the launches have completed.
    pipelines: Vec<Arc<Pipeline>>,
    checked: Option<Checked>,
    /// Control blocks of folded launches that nobody checks.
    grids: Option<Channel>,
}

/// What checked launches need besides.
struct Checked {
    channel: Channel,
    pending: Vec<(Post, Pending)>,
}

impl Batch {
    /// A batch for launches that nobody checks.
    pub(crate) fn begin(device: &Device) -> Result<Self, VulkanError> {
        let mut slot = device.take_slot()?;
        // SAFETY: the slot comes from this device and is not in use.
        match unsafe { slot.begin(device.raw()) } {
            Ok(()) => {
                Ok(Self { slot, launches: 0, pipelines: Vec::new(), checked: None, grids: None })
            }
            Err(error) => {
                device.return_slot(slot);
                Err(error)
            }
        }
    }

    /// A batch for checked launches.
    pub(crate) fn begin_checked(device: &Device) -> Result<Self, VulkanError> {
        let mut batch = Self::begin(device)?;
        match device.take_channel() {
            Ok(channel) => {
                batch.checked = Some(Checked { channel, pending: Vec::new() });
                Ok(batch)
            }
            Err(error) => {
                batch.give_back(device);
                Err(error)
            }
        }
    }

    /// The channel, if this is a batch of checked launches with room for so many control rows.
    pub(crate) fn channel(&mut self, rows: usize) -> Option<&mut Channel> {
        let checked = self.checked.as_mut()?;
        checked.channel.has_room(rows).then_some(&mut checked.channel)
    }

    /// Writes the control block of a folded launch that nobody checks, and gives its set and
    /// offset.
    pub(crate) fn grid_block(
        &mut self,
        device: &Device,
        rows: &[Row],
    ) -> Result<(vk::DescriptorSet, u32), VulkanError> {
        let channel = match self.grids.take() {
            Some(channel) => channel,
            None => device.take_channel()?,
        };
        // A channel has room for as many launches as a batch has.
        let channel = self.grids.insert(channel);
        Ok((channel.set(), channel.write(rows)))
    }

    /// Records a launch behind those before it.
    ///
    /// # Safety
    ///
    /// 1. The batch was begun for this device, as was the pipeline, and is not ended.
    /// 2. What the pipeline runs with keeps its and the device's limits.
    pub(crate) unsafe fn record(&mut self, device: &Device, work: &Work<'_>) {
        // SAFETY: 1. `begin` made the slot from this device and began it; 2. the caller's promise.
        unsafe { self.slot.launch(device.raw(), self.launches > 0, work) };
        self.launches += 1;
    }

    /// Keeps the pipeline of a recorded launch.
    pub(crate) fn keep(&mut self, pipeline: &Arc<Pipeline>) {
        if self.pipelines.last().is_none_or(|last| !Arc::ptr_eq(last, pipeline)) {
            self.pipelines.push(Arc::clone(pipeline));
        }
    }

    /// Notes what a checked launch was, for when its log is read.
    pub(crate) fn expect(&mut self, post: Post, pending: Pending) {
        if let Some(checked) = &mut self.checked {
            checked.pending.push((post, pending));
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.launches >= LAUNCHES
    }

    pub(crate) fn launches(&self) -> u32 {
        self.launches
    }

    /// Ends recording. Where a report may be lost, because the driver cuts loops, what the stop
    /// word was after the last launch is kept.
    ///
    /// # Safety
    ///
    /// The batch was begun for `device` and is not ended; the stop word is `device`'s and lives
    /// until the launches have completed.
    pub(crate) unsafe fn end(
        &mut self,
        device: &Device,
        stop: Option<&SharedBuffer>,
    ) -> Result<(), VulkanError> {
        let stop = stop.filter(|_| device.traits().cuts_loops);
        let copy = stop
            .zip(self.checked.as_ref())
            .map(|(stop, checked)| WordCopy { from: stop.raw(), to: checked.channel.after() });
        // SAFETY: the caller's promise; the channel lives as long.
        unsafe { self.slot.end(device.raw(), copy) }
    }

    /// Tells workgroups that have not begun to do nothing.
    pub(crate) fn stop(&self) {
        if let Some(checked) = &self.checked {
            checked.channel.stop();
        }
    }

    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// How long the launches may take together; for ever if nobody checks them.
    pub(crate) fn time(&self) -> Option<Duration> {
        let checked = self.checked.as_ref()?;
        let times = checked.pending.iter().map(|(_, pending)| pending.options.time());
        Some(times.fold(Duration::ZERO, Duration::saturating_add))
    }

    /// The failure of the first launch that failed, the batch being complete.
    ///
    /// Launches of one scope run one after the other, and those after a failed one do nothing, so
    /// that the logs after the first that is not clean are empty. A launch that was stopped before
    /// its first workgroup has an empty log too: if the time was over, something did not run.
    pub(crate) fn failure(
        &self,
        device: &Device,
        lends: &Lends,
        overdue: Option<Overdue>,
    ) -> Option<LaunchError> {
        let checked = self.checked.as_ref()?;
        for (at, &(post, ref pending)) in checked.pending.iter().enumerate() {
            let mut log = checked.channel.log(post);
            if overdue.is_none() && device.traits().cuts_loops {
                let next = checked.pending.get(at + 1).map(|&(next, _)| next);
                log.count_failures(checked.channel.failures(post, next));
            }
            Counters::add(&device.counters.faults, u64::from(log.faults));
            if !log.is_clean() {
                return Some(pending.failure(&log, lends, overdue, device.cut_after()));
            }
        }
        let (_, last) = checked.pending.last()?;
        overdue.map(|overdue| last.deadline(overdue))
    }

    /// Returns what the batch took from the device, to which it is not or no longer of use.
    pub(crate) fn give_back(self, device: &Device) {
        device.return_slot(self.slot);
        if let Some(checked) = self.checked {
            device.return_channel(checked.channel);
        }
        if let Some(channel) = self.grids {
            device.return_channel(channel);
        }
    }
}
