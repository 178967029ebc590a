//! An opened device: its queue, its timeline, its free command slots.

use super::{
    Instance, Named, Physical,
    buffer::{self, SharedBuffer},
    command::Slot,
    info::{DeviceInfo, Traits},
    physical::Features,
};
use crate::{
    VulkanError,
    launch::channel::{self, Channel},
    stats::Counters,
};
use ash::{ext, vk};
use crossbeam::queue::SegQueue;
use farptr_hmm::file_limit_as_error;
use farptr_rewrite::{Capability, control::SPARE_BYTES};
use gpu_allocator::vulkan::Allocator;
use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// An opened device.
///
/// Completion is a *timeline semaphore*: every submission signals the next value, and waiting for a
/// value waits for that submission and all before it. One semaphore serves all threads, because the
/// queue's mutex hands out values in the order of submission.
pub(crate) struct Device {
    // Invariant: everything below was made from `raw` and is destroyed by Drop only, in this order:
    // slots, channels, buffers, allocator, layout, timeline, raw. `instance` outlives `raw`.
    raw: ash::Device,
    host_memory: Option<ext::external_memory_host::Device>,
    queue: Mutex<Queue>,
    timeline: vk::Semaphore,
    /// Command slots that no scope uses: a lock-free list, because threads launch side by side.
    slots: SegQueue<Slot>,
    /// Channels and stop words that no scope uses.
    channels: SegQueue<Channel>,
    stops: SegQueue<SharedBuffer>,
    /// There until Drop.
    allocator: Mutex<Option<Allocator>>,
    /// What stands in for memory that a check refused; there from the end of `open` until Drop.
    spare: Option<SharedBuffer>,
    control_layout: vk::DescriptorSetLayout,
    /// After how many passes the device cuts loops short, if it does, once that was tried.
    cut_after: OnceLock<Option<u32>>,
    /// Whether it computes offsets in fewer bits than addresses have, once that was tried.
    narrow_offsets: OnceLock<bool>,
    family: u32,
    memory: vk::PhysicalDeviceMemoryProperties,
    pub(crate) info: DeviceInfo,
    pub(crate) counters: Counters,
    instance: Arc<Instance>,
}

struct Queue {
    raw: vk::Queue,
    /// The timeline value that the newest submission signals.
    newest: u64,
}

impl Device {
    /// Opens a device that `prove::judge` found fit.
    pub(crate) fn open(instance: &Arc<Instance>, physical: &Physical) -> Result<Self, VulkanError> {
        let family = physical.info.compute_family.unwrap_or(0);
        let import = physical.info.import_alignment.is_some();
        let raw = create(instance, physical, family, import)?;
        // The guard destroys the device if the semaphore cannot be made.
        let raw = Unfinished(Some(raw));
        let device = raw.get();
        // SAFETY: 1. the device was created with one queue of this family.
        let queue = unsafe { device.get_device_queue(family, 0) };
        let mut kind = vk::SemaphoreTypeCreateInfo::default()
            .semaphore_type(vk::SemaphoreType::TIMELINE)
            .initial_value(0);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: 1. the device is live; 3. it was created with timelineSemaphore.
        let timeline =
            unsafe { device.create_semaphore(&info, None) }.named("vkCreateSemaphore")?;
        // SAFETY: 1. `physical` was listed by this live instance.
        let memory = unsafe { instance.raw().get_physical_device_memory_properties(physical.raw) };
        let host_memory =
            import.then(|| ext::external_memory_host::Device::new(instance.raw(), device));
        let mut opened = Self {
            raw: raw.finish(),
            host_memory,
            queue: Mutex::new(Queue { raw: queue, newest: 0 }),
            timeline,
            slots: SegQueue::new(),
            channels: SegQueue::new(),
            stops: SegQueue::new(),
            allocator: Mutex::new(None),
            spare: None,
            control_layout: vk::DescriptorSetLayout::null(),
            cut_after: OnceLock::new(),
            narrow_offsets: OnceLock::new(),
            family,
            memory,
            info: physical.info.clone(),
            counters: Counters::default(),
            instance: Arc::clone(instance),
        };
        opened.furnish(physical)?;
        Ok(opened)
    }

    /// Makes what all checked launches share. Drop removes what was made, also after a failure.
    fn furnish(&mut self, physical: &Physical) -> Result<(), VulkanError> {
        let allocator = buffer::allocator(self.instance.raw(), &self.raw, physical.raw)?;
        *self.allocator.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(allocator);
        self.control_layout = channel::create_layout(&self.raw)?;
        let spare = SharedBuffer::new(self, 2 * SPARE_BYTES)?;
        spare.words().iter().for_each(|word| word.store(0, Relaxed));
        self.spare = Some(spare);
        Ok(())
    }

    /// What decides on the form of kernels.
    pub(crate) fn traits(&self) -> Traits {
        Traits {
            int64: self.info.capabilities.contains(&Capability::Int64),
            cuts_loops: self.cut_after.get().is_none_or(Option::is_some),
            narrow_offsets: self.narrow_offsets.get().copied().unwrap_or(false),
        }
    }

    /// Notes after how many passes the device cuts loops short, if it does.
    pub(crate) fn note_cut_after(&self, passes: Option<u32>) {
        // What was noted first holds: it was tried on the same device.
        let _ = self.cut_after.set(passes);
    }

    /// After how many passes the device cuts loops short; 0 where it was not seen to.
    pub(crate) fn cut_after(&self) -> u32 {
        self.cut_after.get().copied().flatten().unwrap_or(0)
    }

    /// Notes whether the device computes offsets in fewer bits than addresses have.
    pub(crate) fn note_narrow_offsets(&self, narrow: bool) {
        // As above.
        let _ = self.narrow_offsets.set(narrow);
    }

    /// The device addresses of zeroes to read and of memory to write.
    pub(crate) fn spare(&self) -> [u64; 2] {
        let address = self.spare.as_ref().map_or(0, SharedBuffer::address);
        [address, address + SPARE_BYTES]
    }

    pub(crate) fn control_layout(&self) -> vk::DescriptorSetLayout {
        self.control_layout
    }

    /// Runs `act` on the allocator of the device's buffers, which is there until Drop.
    pub(crate) fn with_allocator<R>(&self, act: impl FnOnce(&mut Allocator) -> R) -> R {
        // The allocator's own state may be half changed after a panic in it; it has none but that
        // of a wrong call, which would be found by tests.
        let mut allocator = self.allocator.lock().unwrap_or_else(PoisonError::into_inner);
        let allocator = allocator.as_mut().expect("there until Drop has destroyed all buffers");
        // Some drivers have files for the memory of their devices.
        file_limit_as_error(|| act(allocator))
    }

    pub(crate) fn raw(&self) -> &ash::Device {
        &self.raw
    }

    /// Whether this process was forked from the one that opened the device, so that no call works.
    pub(crate) fn is_inherited(&self) -> bool {
        self.instance.is_inherited()
    }

    pub(crate) fn host_memory(&self) -> Option<&ext::external_memory_host::Device> {
        self.host_memory.as_ref()
    }

    pub(crate) fn memory_types(&self) -> &[vk::MemoryType] {
        self.memory.memory_types_as_slice()
    }

    /// A command slot that is not in use: a returned one, or a new one.
    pub(crate) fn take_slot(&self) -> Result<Slot, VulkanError> {
        match self.slots.pop() {
            Some(slot) => Ok(slot),
            None => Slot::new(&self.raw, self.family),
        }
    }

    /// Takes back a slot whose commands have completed or were never submitted.
    pub(crate) fn return_slot(&self, slot: Slot) {
        self.slots.push(slot);
    }

    /// A channel that is not in use: a returned one, or a new one.
    pub(crate) fn take_channel(&self) -> Result<Channel, VulkanError> {
        match self.channels.pop() {
            Some(channel) => Ok(channel),
            None => Channel::new(self),
        }
    }

    /// Takes back a channel whose batch has completed or was never submitted.
    pub(crate) fn return_channel(&self, mut channel: Channel) {
        channel.clear();
        self.channels.push(channel);
    }

    /// A stop word that is not in use, which says that no launch has failed.
    pub(crate) fn take_stop(&self) -> Result<SharedBuffer, VulkanError> {
        let stop = match self.stops.pop() {
            Some(stop) => stop,
            None => SharedBuffer::new(self, size_of::<AtomicU32>() as u64)?,
        };
        stop.words()[0].store(0, Relaxed);
        Ok(stop)
    }

    /// Takes back a stop word that no pending launch uses.
    pub(crate) fn return_stop(&self, stop: SharedBuffer) {
        self.stops.push(stop);
    }

    /// Hands a recorded slot to the queue and returns the timeline value that it will signal.
    ///
    /// # Safety
    ///
    /// 1. The slot's commands are recorded and ended.
    /// 2. What they use stays alive until [`wait`](Self::wait) for the returned value succeeded.
    pub(crate) unsafe fn submit(&self, slot: &Slot) -> Result<u64, VulkanError> {
        // A panic while the lock was held leaves at worst a value that is never signalled or waited
        // for, so a poisoned lock is as good as any.
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let values = [queue.newest + 1];
        let mut timeline =
            vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&values);
        let (commands, semaphores) = ([slot.commands()], [self.timeline]);
        let info = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .signal_semaphores(&semaphores)
            .push_next(&mut timeline);
        // SAFETY: 1. handles are live, the commands by the caller's promise 1; 2. the mutex
        // guards the queue; 4. the caller's promise 2.
        unsafe { self.raw.queue_submit(queue.raw, &[info], vk::Fence::null()) }
            .named("vkQueueSubmit")?;
        queue.newest += 1;
        Ok(queue.newest)
    }

    /// The semaphore that each submission signals.
    pub(crate) fn timeline(&self) -> vk::Semaphore {
        self.timeline
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("name", &self.info.name).finish_non_exhaustive()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.is_inherited() {
            // Everything is the parent's.
            let allocator = self.allocator.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(allocator.take());
            return;
        }
        while let Some(slot) = self.slots.pop() {
            // SAFETY: 1. returned slots are idle and belong to this device.
            unsafe { slot.destroy(&self.raw) };
        }
        while let Some(channel) = self.channels.pop() {
            // SAFETY: returned channels are idle and belong to this device.
            unsafe { channel.destroy(self) };
        }
        while let Some(stop) = self.stops.pop() {
            // SAFETY: returned stop words are idle and belong to this device.
            unsafe { stop.destroy(self) };
        }
        if let Some(spare) = self.spare.take() {
            // SAFETY: launches use it, and none is pending, as below.
            unsafe { spare.destroy(self) };
        }
        // The allocator gives its memory back to the device, which is still live.
        drop(self.allocator.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        // SAFETY: 1. the layout is live or null, which Vulkan ignores; pipelines that used it hold
        // an Arc of this device, so none is left.
        unsafe { self.raw.destroy_descriptor_set_layout(self.control_layout, None) };
        // SAFETY: 1. the semaphore is live; 4. scopes hold an Arc of this device and wait for their
        // submissions, so none is pending.
        unsafe { self.raw.destroy_semaphore(self.timeline, None) };
        // SAFETY: 1. every object made from the device is destroyed: pipelines and scopes hold an
        // Arc of it, the slots and the semaphore went just now.
        unsafe { self.raw.destroy_device(None) };
    }
}

/// Destroys the device unless it is finished.
struct Unfinished(Option<ash::Device>);

impl Unfinished {
    fn get(&self) -> &ash::Device {
        self.0.as_ref().expect("present until `finish` consumes the guard")
    }

    fn finish(mut self) -> ash::Device {
        self.0.take().expect("present until `finish` consumes the guard")
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(device) = self.0.take() {
            // SAFETY: 1. nothing that was made from the device survives the failure.
            unsafe { device.destroy_device(None) };
        }
    }
}

fn create(
    instance: &Instance,
    physical: &Physical,
    family: u32,
    import: bool,
) -> Result<ash::Device, VulkanError> {
    let priorities = [1.0];
    let queues = [vk::DeviceQueueCreateInfo::default()
        .queue_family_index(family)
        .queue_priorities(&priorities)];
    let extension = [ext::external_memory_host::NAME.as_ptr()];
    let Features { core, storage_16, v12, .. } = physical.features;
    let mut v11 =
        vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(storage_16);
    let mut v12 = vk::PhysicalDeviceVulkan12Features::default()
        .buffer_device_address(v12.buffer_device_address)
        .timeline_semaphore(v12.timeline_semaphore)
        .scalar_block_layout(v12.scalar_layout)
        .storage_buffer8_bit_access(v12.storage_8)
        .shader_float16(v12.float_16)
        .shader_int8(v12.int_8)
        .shader_buffer_int64_atomics(v12.int64_atomics)
        .vulkan_memory_model(v12.memory_model)
        .vulkan_memory_model_device_scope(v12.memory_model_device_scope);
    let info = vk::DeviceCreateInfo::default()
        .queue_create_infos(&queues)
        .enabled_extension_names(if import { &extension } else { &[] })
        .enabled_features(&core)
        .push_next(&mut v11)
        .push_next(&mut v12);
    // SAFETY: 1. `physical` was listed by this live instance; 3. only features and the extension
    // that it reports are enabled.
    unsafe { instance.raw().create_device(physical.raw, &info, None) }.named("vkCreateDevice")
}
