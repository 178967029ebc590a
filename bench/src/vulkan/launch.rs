//! Records commands, submits them and waits.
//!
//! # Safety
//!
//! All rules of the parent module; the third is kept here: `Lane::run` returns when the commands
//! have completed, or ends the process. Code that records a launch or a copy promises that what it
//! names lives and that its numbers keep the limits.

use super::{
    Device, Named,
    kernel::{Kernel, Pipeline},
};
use crate::failure::{self, Failure};
use ash::vk;
use farptr::KernelDesc;
use std::{
    io::Write,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

/// A command buffer that is recorded anew for each run, and the timeline on which runs complete.
pub(crate) struct Lane {
    // Invariant: the handles are null or made from `device`, and destroyed by Drop only; `commands`
    // comes from `pool`. Every run that was submitted has completed.
    device: Rc<Device>,
    pool: vk::CommandPool,
    commands: vk::CommandBuffer,
    timeline: vk::Semaphore,
    /// The timeline value that the newest run signals.
    newest: u64,
}

impl Lane {
    pub(crate) fn new(device: &Rc<Device>) -> Result<Self, Failure> {
        let mut lane = Self {
            device: Rc::clone(device),
            pool: vk::CommandPool::null(),
            commands: vk::CommandBuffer::null(),
            timeline: vk::Semaphore::null(),
            newest: 0,
        };
        let raw = device.raw();
        let info = vk::CommandPoolCreateInfo::default()
            .flags(vk::CommandPoolCreateFlags::TRANSIENT)
            .queue_family_index(device.physical().family);
        // SAFETY: 1. the device lives and has a queue of this family.
        lane.pool = unsafe { raw.create_command_pool(&info, None) }.named("vkCreateCommandPool")?;
        let info = vk::CommandBufferAllocateInfo::default()
            .command_pool(lane.pool)
            .command_buffer_count(1);
        // SAFETY: 1. the pool lives; 2. nothing else uses it.
        lane.commands =
            unsafe { raw.allocate_command_buffers(&info) }.named("vkAllocateCommandBuffers")?[0];
        let mut kind =
            vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: 1. the device lives; 4. it was made with timeline semaphores.
        lane.timeline = unsafe { raw.create_semaphore(&info, None) }.named("vkCreateSemaphore")?;
        Ok(lane)
    }

    /// The device that runs the commands.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Records commands, submits them and returns when they have completed.
    ///
    /// If the device is lost, the process ends: nothing else is safe while commands may still run.
    pub(crate) fn run(&mut self, record: impl FnOnce(&Recorder<'_>)) -> Result<(), Failure> {
        self.start(record)?;
        self.wait();
        Ok(())
    }

    /// As [`run`](Self::run), and calls `during` over and over while the commands run, with the
    /// time since they were submitted.
    pub(crate) fn run_while(
        &mut self,
        record: impl FnOnce(&Recorder<'_>),
        mut during: impl FnMut(Duration),
    ) -> Result<(), Failure> {
        self.start(record)?;
        let began = Instant::now();
        // The host acts between two looks at the counter. If it cannot be read, the wait finds out
        // why.
        while self.completed().unwrap_or(self.newest) < self.newest {
            during(began.elapsed());
            thread::sleep(PAUSE);
        }
        self.wait();
        Ok(())
    }

    /// Records commands and submits them. The caller waits.
    fn start(&mut self, record: impl FnOnce(&Recorder<'_>)) -> Result<(), Failure> {
        let raw = self.device.raw();
        // SAFETY: 1. the pool lives; 3. its commands have completed.
        unsafe { raw.reset_command_pool(self.pool, vk::CommandPoolResetFlags::empty()) }
            .named("vkResetCommandPool")?;
        let info = vk::CommandBufferBeginInfo::default()
            .flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
        // SAFETY: 1. the command buffer lives; the reset has made it ready to record.
        unsafe { raw.begin_command_buffer(self.commands, &info) }.named("vkBeginCommandBuffer")?;
        record(&Recorder { device: raw, commands: self.commands });
        // SAFETY: 1. the command buffer lives and is recording since the call above.
        unsafe { raw.end_command_buffer(self.commands) }.named("vkEndCommandBuffer")?;
        self.submit()
    }

    /// Hands over what is recorded. The caller waits.
    fn submit(&mut self) -> Result<(), Failure> {
        let (commands, timelines) = ([self.commands], [self.timeline]);
        let values = [self.newest + 1];
        let mut signal =
            vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&values);
        let info = [vk::SubmitInfo::default()
            .command_buffers(&commands)
            .signal_semaphores(&timelines)
            .push_next(&mut signal)];
        let queue = self.device.queue();
        // SAFETY: 1. queue, commands and semaphore live, and the commands are recorded; 2. the
        // queue is used by this thread only; 4. the value is higher than all signalled before.
        let submitted = unsafe { self.device.raw().queue_submit(queue, &info, vk::Fence::null()) };
        match submitted {
            // Any other failure has submitted nothing.
            Err(vk::Result::ERROR_DEVICE_LOST) => end_process(vk::Result::ERROR_DEVICE_LOST),
            submitted => submitted.named("vkQueueSubmit")?,
        }
        self.newest += 1;
        Ok(())
    }

    fn wait(&self) {
        let (timelines, values) = ([self.timeline], [self.newest]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&timelines).values(&values);
        // SAFETY: 1. the semaphore lives and is a timeline.
        if let Err(result) = unsafe { self.device.raw().wait_semaphores(&info, u64::MAX) } {
            end_process(result);
        }
    }

    /// How many runs were submitted, and how many the device says have completed.
    pub(crate) fn submitted_and_completed(&self) -> Result<(u64, u64), Failure> {
        Ok((self.newest, self.completed()?))
    }

    fn completed(&self) -> Result<u64, Failure> {
        // SAFETY: 1. the semaphore lives and is a timeline.
        let value = unsafe { self.device.raw().get_semaphore_counter_value(self.timeline) };
        value.named("vkGetSemaphoreCounterValue")
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // SAFETY: 1. the semaphore lives or is null; 3. every run has completed.
        unsafe { self.device.raw().destroy_semaphore(self.timeline, None) };
        // SAFETY: 1. the pool lives or is null, and its command buffer goes with it; 3. as above.
        unsafe { self.device.raw().destroy_command_pool(self.pool, None) };
    }
}

/// The time between two looks at a run beside which something goes on.
const PAUSE: Duration = Duration::from_micros(50);

/// The exit code of a process that cannot know whether its commands have completed.
pub(crate) const EXIT_LOST: u8 = 3;

/// Ends the process with a message, because commands may still be running.
fn end_process(result: vk::Result) -> ! {
    let failure = Failure::Vulkan { call: "waiting for the device", result };
    let _ = writeln!(std::io::stderr(), "farptr-bench: {}", failure::chain(&failure));
    std::process::exit(EXIT_LOST.into())
}

/// One side of a barrier: a stage and its accesses.
pub(crate) type Side = (vk::PipelineStageFlags, vk::AccessFlags);

/// A kernel's writes.
pub(crate) const KERNEL_WRITES: Side =
    (vk::PipelineStageFlags::COMPUTE_SHADER, vk::AccessFlags::SHADER_WRITE);
/// A kernel's reads and writes.
pub(crate) const KERNEL: Side = (
    vk::PipelineStageFlags::COMPUTE_SHADER,
    vk::AccessFlags::from_raw(
        vk::AccessFlags::SHADER_READ.as_raw() | vk::AccessFlags::SHADER_WRITE.as_raw(),
    ),
);
/// The reads of copies.
pub(crate) const COPY_READS: Side =
    (vk::PipelineStageFlags::TRANSFER, vk::AccessFlags::TRANSFER_READ);
/// The writes of copies.
pub(crate) const COPY_WRITES: Side =
    (vk::PipelineStageFlags::TRANSFER, vk::AccessFlags::TRANSFER_WRITE);
/// The host's reads and writes after it has waited.
pub(crate) const HOST: Side = (
    vk::PipelineStageFlags::HOST,
    vk::AccessFlags::from_raw(
        vk::AccessFlags::HOST_READ.as_raw() | vk::AccessFlags::HOST_WRITE.as_raw(),
    ),
);

/// A command buffer that is being recorded.
pub(crate) struct Recorder<'a> {
    // Invariant: `commands` belongs to `device` and is recording while this value lives; `run`
    // makes the only one.
    device: &'a ash::Device,
    commands: vk::CommandBuffer,
}

impl Recorder<'_> {
    /// Makes what came before and accessed `from` visible to what comes after and accesses `to`.
    pub(crate) fn barrier(&self, from: Side, to: Side) {
        let barriers = [vk::MemoryBarrier::default().src_access_mask(from.1).dst_access_mask(to.1)];
        let none = vk::DependencyFlags::empty();
        // SAFETY: 1. the command buffer is recording (invariant); 4. the constants above pair
        // stages with accesses that they have.
        unsafe {
            self.device.cmd_pipeline_barrier(
                self.commands,
                from.0,
                to.0,
                none,
                &barriers,
                &[],
                &[],
            );
        }
    }

    /// Records one launch.
    ///
    /// # Safety
    ///
    /// 1. The kernel belongs to this device and lives until `run` returns; the groups are within
    ///    the device's limits.
    /// 2. With this `push`, it touches only memory that stays valid until `run` returns and that
    ///    nothing else uses meanwhile.
    pub(crate) unsafe fn launch<K: KernelDesc>(
        &self,
        kernel: &Kernel<K>,
        push: &K::Push,
        groups: [u32; 3],
    ) {
        // SAFETY: 1. and 2. as the caller promises; a `K::Push` is as long as the push constants
        // of the kernel's pipeline (invariant of `Kernel`).
        unsafe { self.dispatch(kernel.pipeline(), bytemuck::bytes_of(push), groups) };
    }

    /// Records several launches of one kernel, with a barrier between each two if one is given.
    ///
    /// # Safety
    ///
    /// As for [`launch`](Self::launch), for each `push`; launches without a barrier between them do
    /// not write what another one touches.
    pub(crate) unsafe fn launch_all<K: KernelDesc>(
        &self,
        kernel: &Kernel<K>,
        pushes: &[K::Push],
        groups: [u32; 3],
        between: Option<(Side, Side)>,
    ) {
        // SAFETY: the kernel lives, as the caller promises.
        unsafe { self.bind(kernel.pipeline()) };
        for (index, push) in pushes.iter().enumerate() {
            if let Some((from, to)) = between.filter(|_| index > 0) {
                self.barrier(from, to);
            }
            // SAFETY: bound above; as in `launch`.
            unsafe { self.dispatch_bound(kernel.pipeline(), bytemuck::bytes_of(push), groups) };
        }
    }

    /// As [`launch`](Self::launch), for a pipeline of any words, and the bytes of its push
    /// constants.
    ///
    /// # Safety
    ///
    /// As for [`launch`](Self::launch).
    pub(crate) unsafe fn dispatch(&self, pipeline: &Pipeline, push: &[u8], groups: [u32; 3]) {
        // SAFETY: the pipeline lives, as the caller promises.
        unsafe { self.bind(pipeline) };
        // SAFETY: bound above; the rest is promised.
        unsafe { self.dispatch_bound(pipeline, push, groups) };
    }

    /// # Safety
    ///
    /// The pipeline belongs to this device and lives until `run` returns.
    unsafe fn bind(&self, pipeline: &Pipeline) {
        let compute = vk::PipelineBindPoint::COMPUTE;
        // SAFETY: 1. the command buffer is recording, the pipeline lives by the caller's promise.
        unsafe { self.device.cmd_bind_pipeline(self.commands, compute, pipeline.raw()) };
    }

    /// # Safety
    ///
    /// As for [`launch`](Self::launch), and the pipeline is bound.
    unsafe fn dispatch_bound(&self, pipeline: &Pipeline, push: &[u8], groups: [u32; 3]) {
        let (raw, [x, y, z]) = (self.device, groups);
        assert_eq!(push.len(), pipeline.push_bytes() as usize, "bytes of push constants");
        let stage = vk::ShaderStageFlags::COMPUTE;
        if !push.is_empty() {
            // SAFETY: as above; the layout has room for as many bytes, as compared above.
            unsafe { raw.cmd_push_constants(self.commands, pipeline.layout(), stage, 0, push) };
        }
        // SAFETY: as above; the group counts keep the limits, as the caller promises.
        unsafe { raw.cmd_dispatch(self.commands, x, y, z) };
    }

    /// Records a copy of whole buffers.
    ///
    /// # Safety
    ///
    /// Both buffers live until `run` returns, are bound to different memory, were made for
    /// transfers, and have room for `size_bytes` at the offsets; nothing else uses them meanwhile.
    pub(crate) unsafe fn copy(
        &self,
        from: (vk::Buffer, u64),
        to: (vk::Buffer, u64),
        size_bytes: u64,
    ) {
        let regions =
            [vk::BufferCopy::default().src_offset(from.1).dst_offset(to.1).size(size_bytes)];
        // SAFETY: 1. the command buffer is recording (invariant); the rest is promised.
        unsafe {
            self.device.cmd_copy_buffer(self.commands, from.0, to.0, &regions);
        }
    }
}
