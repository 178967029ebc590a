//! As much of Vulkan by hand as tests of masked devices need.
//!
//! # Safety
//!
//! Every call of ash is unsafe. Here handles are live because nothing is destroyed before the end,
//! one thread alone uses them, and structures are made by ash's builders. The tests break rules of
//! Vulkan on purpose only where the layer or the driver is known to refuse the call.
#![allow(unsafe_code, reason = "Vulkan by hand")]
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

use ash::{ext, vk};

const HANDLE: vk::ExternalMemoryHandleTypeFlags =
    vk::ExternalMemoryHandleTypeFlags::HOST_ALLOCATION_EXT;

/// The first device, with a queue of each family and a timeline.
pub(crate) struct Machine {
    _entry: ash::Entry,
    pub(crate) instance: ash::Instance,
    pub(crate) physical: vk::PhysicalDevice,
    pub(crate) device: ash::Device,
    queue: vk::Queue,
    pool: vk::CommandPool,
    /// The queue of the last family, and a pool for it, if there are several.
    last: Option<(vk::Queue, vk::CommandPool)>,
    pub(crate) timeline: vk::Semaphore,
    submitted: u64,
    pub(crate) can_import: bool,
}

/// An instance, or why there is none.
pub(crate) fn instance() -> Result<(ash::Entry, ash::Instance), vk::Result> {
    // SAFETY: the system's loader is trusted.
    let entry = unsafe { ash::Entry::load() };
    let entry = entry.map_err(|_| vk::Result::ERROR_INITIALIZATION_FAILED)?;
    let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_2);
    let info = vk::InstanceCreateInfo::default().application_info(&application);
    // SAFETY: the module's argument.
    let instance = unsafe { entry.create_instance(&info, None) }?;
    Ok((entry, instance))
}

impl Machine {
    pub(crate) fn new() -> Self {
        let (entry, instance) = instance().unwrap();
        // SAFETY: the module's argument.
        let physical = unsafe { instance.enumerate_physical_devices() }.unwrap()[0];
        // SAFETY: the module's argument.
        let found = unsafe { instance.enumerate_device_extension_properties(physical) }.unwrap();
        let wanted = Ok(ext::external_memory_host::NAME);
        let can_import = found.iter().any(|one| one.extension_name_as_c_str() == wanted);
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default()
            .buffer_device_address(true)
            .timeline_semaphore(true);
        // SAFETY: the module's argument.
        let families =
            unsafe { instance.get_physical_device_queue_family_properties(physical) }.len();
        let one = |family| {
            vk::DeviceQueueCreateInfo::default().queue_family_index(family).queue_priorities(&[1.0])
        };
        let queues: Vec<_> = (0..u32::try_from(families).unwrap()).map(one).collect();
        let names = [ext::external_memory_host::NAME.as_ptr()];
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names[..usize::from(can_import)])
            .push_next(&mut v12);
        // SAFETY: the module's argument.
        let device = unsafe { instance.create_device(physical, &info, None) }.unwrap();
        // SAFETY: the module's argument.
        let queue = unsafe { device.get_device_queue(0, 0) };
        let pool = |family| {
            let info = vk::CommandPoolCreateInfo::default().queue_family_index(family);
            // SAFETY: the module's argument.
            unsafe { device.create_command_pool(&info, None) }.unwrap()
        };
        let last = queues[1..].last().map(|last| {
            let family = last.queue_family_index;
            // SAFETY: the module's argument.
            (unsafe { device.get_device_queue(family, 0) }, pool(family))
        });
        let pool = pool(0);
        let mut kind =
            vk::SemaphoreTypeCreateInfo::default().semaphore_type(vk::SemaphoreType::TIMELINE);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut kind);
        // SAFETY: the module's argument.
        let timeline = unsafe { device.create_semaphore(&info, None) }.unwrap();
        let (_entry, submitted) = (entry, 0);
        Self {
            _entry,
            instance,
            physical,
            device,
            queue,
            pool,
            last,
            timeline,
            submitted,
            can_import,
        }
    }

    /// What the device says of itself, and the alignment of imports.
    pub(crate) fn properties(&self) -> (vk::PhysicalDeviceProperties, u64) {
        let mut host = vk::PhysicalDeviceExternalMemoryHostPropertiesEXT::default();
        let mut all = vk::PhysicalDeviceProperties2::default();
        if self.can_import {
            all = all.push_next(&mut host);
        }
        // SAFETY: the module's argument.
        unsafe { self.instance.get_physical_device_properties2(self.physical, &mut all) };
        (all.properties, host.min_imported_host_pointer_alignment)
    }

    pub(crate) fn memory(&self) -> vk::PhysicalDeviceMemoryProperties {
        // SAFETY: the module's argument.
        unsafe { self.instance.get_physical_device_memory_properties(self.physical) }
    }

    /// The first type that has all of these flags, and none of those.
    pub(crate) fn memory_type(
        &self,
        with: vk::MemoryPropertyFlags,
        without: vk::MemoryPropertyFlags,
    ) -> u32 {
        let memory = self.memory();
        let fits =
            |flags: vk::MemoryPropertyFlags| flags.contains(with) && !flags.intersects(without);
        let types = memory.memory_types_as_slice().iter();
        let found = types.clone().position(|kind| fits(kind.property_flags));
        u32::try_from(found.expect("there is such a type")).unwrap()
    }

    /// A type that the host can map.
    pub(crate) fn host_type(&self) -> u32 {
        let none = vk::MemoryPropertyFlags::empty();
        self.memory_type(vk::MemoryPropertyFlags::HOST_VISIBLE, none)
    }

    pub(crate) fn allocate(&self, kind: u32, bytes: u64) -> Result<vk::DeviceMemory, vk::Result> {
        let mut flags =
            vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(bytes)
            .memory_type_index(kind)
            .push_next(&mut flags);
        // SAFETY: the module's argument.
        unsafe { self.device.allocate_memory(&info, None) }
    }

    /// Imports memory that stays mapped.
    pub(crate) fn import(&self, memory: &[u8]) -> Result<vk::DeviceMemory, vk::Result> {
        let pointer = memory.as_ptr().cast_mut().cast();
        let extension = ext::external_memory_host::Device::new(&self.instance, &self.device);
        let mut allowed = vk::MemoryHostPointerPropertiesEXT::default();
        let call = extension.fp().get_memory_host_pointer_properties_ext;
        // SAFETY: the module's argument.
        unsafe { call(self.device.handle(), HANDLE, pointer, &raw mut allowed) }.result()?;
        let mut flags =
            vk::MemoryAllocateFlagsInfo::default().flags(vk::MemoryAllocateFlags::DEVICE_ADDRESS);
        let mut import =
            vk::ImportMemoryHostPointerInfoEXT::default().handle_type(HANDLE).host_pointer(pointer);
        let info = vk::MemoryAllocateInfo::default()
            .allocation_size(memory.len() as u64)
            .memory_type_index(allowed.memory_type_bits.trailing_zeros())
            .push_next(&mut flags)
            .push_next(&mut import);
        // SAFETY: the module's argument.
        unsafe { self.device.allocate_memory(&info, None) }
    }

    pub(crate) fn free(&self, memory: vk::DeviceMemory) {
        // SAFETY: no buffer is bound to it.
        unsafe { self.device.free_memory(memory, None) };
    }

    /// A buffer over all of an allocation.
    pub(crate) fn buffer(&self, memory: vk::DeviceMemory, bytes: u64, import: bool) -> vk::Buffer {
        let mut external = vk::ExternalMemoryBufferCreateInfo::default().handle_types(HANDLE);
        let usage = vk::BufferUsageFlags::TRANSFER_SRC
            | vk::BufferUsageFlags::TRANSFER_DST
            | vk::BufferUsageFlags::SHADER_DEVICE_ADDRESS;
        let mut info = vk::BufferCreateInfo::default().size(bytes).usage(usage);
        if import {
            info = info.push_next(&mut external);
        }
        // SAFETY: the module's argument.
        let buffer = unsafe { self.device.create_buffer(&info, None) }.unwrap();
        // SAFETY: the module's argument.
        let needs = unsafe { self.device.get_buffer_memory_requirements(buffer) };
        assert!(needs.size <= bytes && needs.memory_type_bits != 0);
        // SAFETY: the module's argument.
        unsafe { self.device.bind_buffer_memory(buffer, memory, 0) }.unwrap();
        buffer
    }

    pub(crate) fn address(&self, buffer: vk::Buffer) -> u64 {
        let info = vk::BufferDeviceAddressInfo::default().buffer(buffer);
        // SAFETY: the module's argument.
        unsafe { self.device.get_buffer_device_address(&info) }
    }

    /// The words of memory that the host can map.
    pub(crate) fn map(&self, memory: vk::DeviceMemory) -> Result<*mut u32, vk::Result> {
        let flags = vk::MemoryMapFlags::empty();
        // SAFETY: the module's argument.
        let at = unsafe { self.device.map_memory(memory, 0, vk::WHOLE_SIZE, flags) }?;
        Ok(at.cast())
    }

    /// Submits a copy of the first bytes, without waiting. With `after`, it begins when the
    /// timeline has that value.
    pub(crate) fn copy(
        &mut self,
        from: vk::Buffer,
        to: vk::Buffer,
        bytes: u64,
        after: Option<u64>,
    ) -> Result<u64, vk::Result> {
        let commands = self.commands()?;
        let region = [vk::BufferCopy::default().size(bytes)];
        // SAFETY: the module's argument.
        unsafe { self.device.cmd_copy_buffer(commands, from, to, &region) };
        self.submit(commands, after)
    }

    /// As [`copy`](Self::copy), in the queue of the last family: the timeline has a value then.
    pub(crate) fn copy_in_last(
        &self,
        from: vk::Buffer,
        to: vk::Buffer,
        bytes: u64,
        then: u64,
    ) -> Result<(), vk::Result> {
        let (queue, pool) = self.last.expect("there are several families");
        let commands = [self.commands_of(pool)?];
        let region = [vk::BufferCopy::default().size(bytes)];
        // SAFETY: the module's argument.
        unsafe { self.device.cmd_copy_buffer(commands[0], from, to, &region) };
        // SAFETY: the module's argument.
        unsafe { self.device.end_command_buffer(commands[0]) }?;
        let (semaphores, signals) = ([self.timeline], [then]);
        let mut values =
            vk::TimelineSemaphoreSubmitInfo::default().signal_semaphore_values(&signals);
        let info = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .signal_semaphores(&semaphores)
            .push_next(&mut values);
        // SAFETY: the module's argument.
        unsafe { self.device.queue_submit(queue, &[info], vk::Fence::null()) }
    }

    /// A command buffer that is being recorded.
    pub(crate) fn commands(&self) -> Result<vk::CommandBuffer, vk::Result> {
        self.commands_of(self.pool)
    }

    fn commands_of(&self, pool: vk::CommandPool) -> Result<vk::CommandBuffer, vk::Result> {
        let info =
            vk::CommandBufferAllocateInfo::default().command_pool(pool).command_buffer_count(1);
        // SAFETY: the module's argument.
        let commands = unsafe { self.device.allocate_command_buffers(&info) }?[0];
        self.begin(commands)?;
        Ok(commands)
    }

    fn begin(&self, commands: vk::CommandBuffer) -> Result<(), vk::Result> {
        let begin = vk::CommandBufferBeginInfo::default();
        // SAFETY: the module's argument.
        unsafe { self.device.begin_command_buffer(commands, &begin) }
    }

    /// Begins to record a command buffer again, after all of them were reset; none is pending.
    pub(crate) fn begin_again(&self, commands: vk::CommandBuffer) {
        // SAFETY: the module's argument.
        unsafe { self.device.reset_command_pool(self.pool, vk::CommandPoolResetFlags::empty()) }
            .unwrap();
        self.begin(commands).unwrap();
    }

    /// Ends and submits a command buffer, without waiting. With `after`, it begins when the
    /// timeline has that value.
    pub(crate) fn submit(
        &mut self,
        commands: vk::CommandBuffer,
        after: Option<u64>,
    ) -> Result<u64, vk::Result> {
        // SAFETY: the module's argument.
        unsafe { self.device.end_command_buffer(commands) }?;
        let commands = [commands];
        self.submitted = after.unwrap_or(self.submitted) + 1;
        let (signals, waits) = ([self.submitted], [after.unwrap_or(0)]);
        let mut values = vk::TimelineSemaphoreSubmitInfo::default()
            .signal_semaphore_values(&signals)
            .wait_semaphore_values(&waits);
        let (semaphores, stages) = ([self.timeline], [vk::PipelineStageFlags::TRANSFER]);
        let info = vk::SubmitInfo::default()
            .command_buffers(&commands)
            .signal_semaphores(&semaphores)
            .wait_semaphores(&semaphores)
            .wait_dst_stage_mask(&stages)
            .push_next(&mut values);
        // SAFETY: the module's argument.
        unsafe { self.device.queue_submit(self.queue, &[info], vk::Fence::null()) }?;
        Ok(self.submitted)
    }

    pub(crate) fn wait(&self, value: u64, nanoseconds: u64) -> Result<(), vk::Result> {
        let (semaphores, values) = ([self.timeline], [value]);
        let info = vk::SemaphoreWaitInfo::default().semaphores(&semaphores).values(&values);
        // SAFETY: the module's argument.
        unsafe { self.device.wait_semaphores(&info, nanoseconds) }
    }

    pub(crate) fn query(&self) -> Result<u64, vk::Result> {
        // SAFETY: the module's argument.
        unsafe { self.device.get_semaphore_counter_value(self.timeline) }
    }

    /// What each call says that can tell of a lost device.
    pub(crate) fn all_calls(&mut self, buffer: vk::Buffer) -> Vec<Result<(), vk::Result>> {
        vec![
            self.copy(buffer, buffer, 4, None).map(drop),
            self.wait(1, 0),
            self.query().map(drop),
            // SAFETY: the module's argument.
            unsafe { self.device.queue_wait_idle(self.queue) },
            // SAFETY: the module's argument.
            unsafe { self.device.device_wait_idle() },
        ]
    }

    pub(crate) fn signal(&self, value: u64) {
        let info = vk::SemaphoreSignalInfo::default().semaphore(self.timeline).value(value);
        // SAFETY: the module's argument.
        unsafe { self.device.signal_semaphore(&info) }.unwrap();
    }

    /// Destroys the device with everything but buffers and memory.
    pub(crate) fn destroy(self) {
        // SAFETY: the device is idle, or lost.
        unsafe { self.device.destroy_semaphore(self.timeline, None) };
        for pool in self.last.map(|(_, pool)| pool).into_iter().chain([self.pool]) {
            // SAFETY: as above.
            unsafe { self.device.destroy_command_pool(pool, None) };
        }
        // SAFETY: as above.
        unsafe { self.device.destroy_device(None) };
    }
}
