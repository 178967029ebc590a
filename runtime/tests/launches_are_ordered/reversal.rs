//! The layer does what the programs rely on: dispatches that no barrier separates run in the
//! reverse order, each with what was bound for it.
//!
//! # Safety
//!
//! As in `common/vulkan.rs`. The kernels are those that farptr ships, which touch what their
//! arguments point to; that lives until the device has done with it. Dispatches that write the same
//! element without a barrier between them are the point of these tests: the driver orders them.
#![allow(unsafe_code, reason = "Vulkan by hand")]

use crate::{common, masked, vulkan::Machine};
use ash::vk;
use farptr::KernelDesc;
use farptr::shaders::{affine, axpby};

const COMPUTE: vk::ShaderStageFlags = vk::ShaderStageFlags::COMPUTE;

/// `y = a * y + c`, and `y = a * x + b * y`.
#[derive(Clone, Copy)]
enum Step {
    Affine(f32, f32),
    Axpby(f32, f32),
    Barrier,
    /// Copies `y`.
    CopyY,
    /// Writes a timestamp.
    Stamp,
}
use Step::{Affine, Axpby, Barrier, CopyY, Stamp};

/// A kernel, with a layout of its own.
struct Kernel {
    pipeline: vk::Pipeline,
    layout: vk::PipelineLayout,
    module: vk::ShaderModule,
}

impl Kernel {
    fn new<K: KernelDesc>(device: &ash::Device) -> Self {
        let bytes = u32::try_from(size_of::<K::Push>()).unwrap();
        let ranges = [vk::PushConstantRange::default().stage_flags(COMPUTE).size(bytes)];
        let info = vk::PipelineLayoutCreateInfo::default().push_constant_ranges(&ranges);
        // SAFETY: the module's argument.
        let layout = unsafe { device.create_pipeline_layout(&info, None) }.unwrap();
        let info = vk::ShaderModuleCreateInfo::default().code(K::words());
        // SAFETY: the module's argument.
        let module = unsafe { device.create_shader_module(&info, None) }.unwrap();
        let stage = vk::PipelineShaderStageCreateInfo::default()
            .stage(COMPUTE)
            .module(module)
            .name(c"main");
        let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout)];
        let cache = vk::PipelineCache::null();
        // SAFETY: the module's argument.
        let made = unsafe { device.create_compute_pipelines(cache, &info, None) }.unwrap();
        Self { pipeline: made[0], layout, module }
    }

    fn destroy(self, device: &ash::Device) {
        // SAFETY: no command buffer that has it is pending, or will be.
        unsafe { device.destroy_pipeline(self.pipeline, None) };
        // SAFETY: as above.
        unsafe { device.destroy_shader_module(self.module, None) };
        // SAFETY: as above.
        unsafe { device.destroy_pipeline_layout(self.layout, None) };
    }
}

/// A device with both kernels, and three elements: `y`, a place for a copy of it, and `x`.
struct Rig {
    machine: Machine,
    affine: Kernel,
    axpby: Kernel,
    queries: vk::QueryPool,
    buffer: vk::Buffer,
    memory: vk::DeviceMemory,
    host: *mut u32,
}

impl Rig {
    fn new() -> Self {
        let machine = Machine::new();
        let memory = machine.allocate(machine.host_type(), 4096).unwrap();
        let buffer = machine.buffer(memory, 4096, false);
        let host = machine.map(memory).unwrap();
        let (affine, axpby) = (
            Kernel::new::<affine::Kernel>(&machine.device),
            Kernel::new::<axpby::Kernel>(&machine.device),
        );
        let info =
            vk::QueryPoolCreateInfo::default().query_type(vk::QueryType::TIMESTAMP).query_count(1);
        // SAFETY: the module's argument.
        let queries = unsafe { machine.device.create_query_pool(&info, None) }.unwrap();
        Self { machine, affine, axpby, queries, buffer, memory, host }
    }

    fn write(&self, elements: [f32; 3]) {
        for (at, element) in elements.into_iter().enumerate() {
            // SAFETY: the module's argument; the memory has a page of words.
            unsafe { self.host.wrapping_add(at).write_volatile(element.to_bits()) };
        }
    }

    fn read(&self) -> [f32; 2] {
        // SAFETY: the module's argument; the memory has a page of words.
        let word = |at| unsafe { self.host.wrapping_add(at).read_volatile() };
        [0, 1].map(|at| f32::from_bits(word(at)))
    }

    /// Records steps. Each launch binds and pushes anew.
    fn record(&self, commands: vk::CommandBuffer, steps: &[Step]) {
        let device = &self.machine.device;
        let (y, x) = (self.machine.address(self.buffer), self.machine.address(self.buffer) + 8);
        for &step in steps {
            match step {
                Affine(a, c) => self.launch(commands, &self.affine, &[y], [a, c]),
                Axpby(a, b) => self.launch(commands, &self.axpby, &[x, y], [a, b]),
                Barrier => self.barrier(commands),
                CopyY => {
                    let region = [vk::BufferCopy::default().dst_offset(4).size(4)];
                    // SAFETY: the module's argument.
                    unsafe { device.cmd_copy_buffer(commands, self.buffer, self.buffer, &region) };
                }
                Stamp => {
                    // SAFETY: the module's argument.
                    unsafe { device.cmd_reset_query_pool(commands, self.queries, 0, 1) };
                    let stage = vk::PipelineStageFlags::BOTTOM_OF_PIPE;
                    // SAFETY: the module's argument.
                    unsafe { device.cmd_write_timestamp(commands, stage, self.queries, 0) };
                }
            }
        }
    }

    fn launch(
        &self,
        commands: vk::CommandBuffer,
        kernel: &Kernel,
        pointers: &[u64],
        factors: [f32; 2],
    ) {
        let device = &self.machine.device;
        let point = vk::PipelineBindPoint::COMPUTE;
        // SAFETY: the module's argument.
        unsafe { device.cmd_bind_pipeline(commands, point, kernel.pipeline) };
        // The pointers and the count, one element, and behind them the factors.
        let mut first: Vec<u8> = pointers.iter().flat_map(|at| at.to_ne_bytes()).collect();
        first.extend(1u32.to_ne_bytes());
        let second: Vec<u8> = factors.iter().flat_map(|factor| factor.to_ne_bytes()).collect();
        let offset = u32::try_from(first.len()).unwrap();
        for (offset, bytes) in [(0, first), (offset, second)] {
            // SAFETY: the module's argument.
            unsafe { device.cmd_push_constants(commands, kernel.layout, COMPUTE, offset, &bytes) };
        }
        // SAFETY: the module's argument.
        unsafe { device.cmd_dispatch(commands, 1, 1, 1) };
    }

    fn barrier(&self, commands: vk::CommandBuffer) {
        let stage = vk::PipelineStageFlags::COMPUTE_SHADER;
        let (read, write) = (vk::AccessFlags::SHADER_READ, vk::AccessFlags::SHADER_WRITE);
        let barrier =
            [vk::MemoryBarrier::default().src_access_mask(write).dst_access_mask(read | write)];
        let (device, none) = (&self.machine.device, vk::DependencyFlags::empty());
        // SAFETY: the module's argument.
        unsafe { device.cmd_pipeline_barrier(commands, stage, stage, none, &barrier, &[], &[]) };
    }

    /// What steps leave in `y`, and in the copy of it. Steps `before` are recorded first, in the
    /// same command buffer, which is then begun again.
    fn run(&mut self, before: &[Step], steps: &[Step]) -> [f32; 2] {
        self.write([5.0, 0.0, 100.0]);
        let commands = self.machine.commands().unwrap();
        if !before.is_empty() {
            self.record(commands, before);
            self.machine.begin_again(commands);
        }
        self.record(commands, steps);
        let value = self.machine.submit(commands, None).unwrap();
        self.machine.wait(value, u64::MAX).unwrap();
        self.read()
    }

    fn destroy(self) {
        let device = &self.machine.device;
        self.affine.destroy(device);
        self.axpby.destroy(device);
        // SAFETY: the device is idle.
        unsafe { device.destroy_query_pool(self.queries, None) };
        // SAFETY: the device is idle.
        unsafe { device.destroy_buffer(self.buffer, None) };
        self.machine.free(self.memory);
        self.machine.destroy();
    }
}

#[test]
fn dispatches_without_a_barrier_run_in_reverse() {
    // A machine without a device skips the test.
    if !masked::is_child() && common::runtime().is_none() {
        return;
    }
    for (mask, reordered) in
        [("lavapipe,reorder=yes", 4), ("nvidia,reorder=yes", 4), ("lavapipe", 0)]
    {
        let name = "reversal::dispatches_without_a_barrier_run_in_reverse";
        let Some(ended) = masked::again(mask, name) else { return compare_orders() };
        ended.assert_passed();
        let counted = ["dispatches", "reordered"].map(|name| ended.total(name));
        assert_eq!(counted, [15, reordered], "on {mask}");
        assert_eq!(ended.left(), [], "on {mask}");
    }
}

fn compare_orders() {
    let mut rig = Rig::new();
    let reverses = masked::mask().unwrap().contains("reorder=yes");
    let either = |in_order: f32, reversed: f32| if reverses { reversed } else { in_order };
    let [y, _] = rig.run(&[], &[Affine(2.0, 1.0), Axpby(1.0, 3.0)]);
    assert_eq!(y, either(133.0, 231.0));
    let [y, _] = rig.run(&[], &[Affine(2.0, 1.0), Barrier, Axpby(1.0, 3.0)]);
    assert_eq!(y, 133.0, "a barrier separates them");
    let (two, three) = ([Affine(2.0, 1.0), Affine(3.0, 0.0)], [Affine(1.0, 4.0), Axpby(0.0, 2.0)]);
    let five = [&two[..], &[Barrier], &three, &[Affine(1.0, 7.0)]].concat();
    assert_eq!(rig.run(&[], &five)[0], either(81.0, 80.0));
    let [y, copied] = rig.run(&[], &[Affine(2.0, 1.0), CopyY, Affine(3.0, 0.0)]);
    assert_eq!([y, copied], [33.0, 11.0], "copies keep their place");
    let [y, _] = rig.run(&[], &[Affine(2.0, 1.0), Stamp, Affine(3.0, 0.0)]);
    assert_eq!(y, 33.0, "timestamps keep their place");
    let [y, _] = rig.run(&[Affine(2.0, 1.0)], &[Affine(3.0, 0.0)]);
    assert_eq!(y, 15.0, "what was held is forgotten");
    rig.destroy();
}
