//! The null device, and pipelines that are made to be looked at.
//!
//! # Safety
//!
//! Vulkan checks nothing, so each call below rests on these rules; the proofs name them by number.
//!
//! 1. *What is named exists.* A handle is a private field. Its owner made it and destroys it in
//!    `Drop` and nowhere else. The device goes before its instance, and what is made from the
//!    device within a function goes in that function.
//! 2. *One thread.* A [`Compiler`] makes no object by two threads at a time: its functions take it
//!    exclusively.
//! 3. *Structures are those that ash's builders make*, and their lifetimes keep alive what they
//!    point to. The device has Vulkan 1.2, which was compared, and the one extension that was
//!    enabled.
//! 4. *Nothing runs.* No queue is asked for, so no command uses what is destroyed.
#![allow(unsafe_code, reason = "the driver is called by hand, below what the runtime needs")]

use crate::features::Features;
use crate::statistics::{self, Statistics};
use ash::{khr::pipeline_executable_properties as executable, vk};
use farptr_rewrite::{Capability, Reflection};
use std::ffi::{CStr, CString};

/// The layer that checks every Vulkan call.
const VALIDATION: &CStr = c"VK_LAYER_KHRONOS_validation";

/// Why a [`Compiler`] could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no Vulkan loader.
    #[error("the Vulkan loader cannot be loaded; `./farptr setup` installs it")]
    NoLoader(#[from] ash::LoadingError),
    /// The layer that was asked for is not installed.
    #[error("the Vulkan validation layer is not installed; `./farptr setup` says how")]
    NoValidation,
    /// The driver shows no device with Vulkan 1.2.
    #[error("the driver shows no device with Vulkan 1.2; does it know the family?")]
    NoDevice,
    /// A call failed.
    #[error(transparent)]
    Call(#[from] Call),
}

/// A call of Vulkan failed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{name} failed")]
pub struct Call {
    /// The call.
    pub name: &'static str,
    /// Its result.
    #[source]
    pub result: vk::Result,
}

/// A driver's null device, open.
#[derive(Debug)]
pub struct Compiler {
    name: String,
    driver: String,
    features: Features,
    /// The layout of the set that names a control block: that of the runtime.
    control: vk::DescriptorSetLayout,
    device: Device,
}

impl Compiler {
    /// Opens the device that the environment asks for: see [`Target::apply`](crate::Target::apply).
    ///
    /// With `validation`, the validation layer writes its messages to the standard output.
    ///
    /// # Errors
    ///
    /// Says what is not there, or which call failed.
    pub fn open(validation: bool) -> Result<Self, OpenError> {
        let instance = Instance::open(validation)?;
        // SAFETY: 1. the instance is live.
        let listed = unsafe { instance.raw.enumerate_physical_devices() };
        let listed = listed.map_err(called("vkEnumeratePhysicalDevices"))?;
        let physical = *listed.first().ok_or(OpenError::NoDevice)?;
        // SAFETY: 1. the instance has just listed the device.
        let basic = unsafe { instance.raw.get_physical_device_properties(physical) };
        if basic.api_version < vk::API_VERSION_1_2 {
            return Err(OpenError::NoDevice);
        }
        let name = basic.device_name_as_c_str().unwrap_or_default().to_string_lossy().into_owned();
        let driver = driver(&instance.raw, physical);
        let features = features(&instance.raw, physical);
        let device = Device::open(instance, physical, &features)?;
        let control = control_layout(&device.raw)?;
        Ok(Self { name, driver, features, control, device })
    }

    /// The device's name, in which RADV names the family.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.name
    }

    /// The driver's release.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// A capability that words declare and the device lacks, so that they must not be compiled.
    #[must_use]
    pub fn lacks(&self, declared: &Reflection) -> Option<Capability> {
        declared.capabilities.iter().copied().find(|&wanted| !self.features.allow(wanted))
    }

    /// Makes a pipeline, as the runtime does, and returns what the driver says about it.
    ///
    /// # Errors
    ///
    /// The call that failed, and its result.
    ///
    /// # Safety
    ///
    /// 1. The words are a valid module for Vulkan 1.2, of which `declared` was read, and the device
    ///    [lacks](Self::lacks) nothing. It has at most 128 bytes of push constants.
    /// 2. If it is `controlled`, the module may bind a uniform buffer, as binding 0 of set 0; it
    ///    binds nothing else.
    pub unsafe fn compile(
        &mut self,
        words: &[u32],
        declared: &Reflection,
        controlled: bool,
    ) -> Result<Statistics, Call> {
        let raw = &self.device.raw;
        let sets = [self.control];
        let sets: &[_] = if controlled { &sets } else { &[] };
        let layout = pipeline_layout(raw, sets, declared.push_word_bytes())?;
        let info = vk::ShaderModuleCreateInfo::default().code(words);
        // SAFETY: 1. the device is live; 3. the caller promises a valid module.
        let module = unsafe { raw.create_shader_module(&info, None) };
        let made = module.map_err(called("vkCreateShaderModule")).and_then(|module| {
            let made = pipeline(raw, layout, module, &declared.entry);
            // SAFETY: 1. the module is live, and a finished pipeline does without it.
            unsafe { raw.destroy_shader_module(module, None) };
            made
        });
        let found = made.and_then(|pipeline| {
            let found = statistics(&self.device.executable, pipeline);
            // SAFETY: 1. the pipeline is live; 4. nothing runs it.
            unsafe { raw.destroy_pipeline(pipeline, None) };
            found
        });
        // SAFETY: 1. the layout is live, and the pipeline is gone.
        unsafe { raw.destroy_pipeline_layout(layout, None) };
        found
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // SAFETY: 1. the layout is live, and no pipeline is left.
        unsafe { self.device.raw.destroy_descriptor_set_layout(self.control, None) };
    }
}

/// Names the call that a result came from.
fn called(name: &'static str) -> impl FnOnce(vk::Result) -> Call {
    move |result| Call { name, result }
}

/// An instance that destroys itself.
struct Instance {
    raw: ash::Instance,
    /// Keeps the library loaded.
    _entry: ash::Entry,
}

impl Instance {
    fn open(validation: bool) -> Result<Self, OpenError> {
        // SAFETY: the system's Vulkan loader is trusted, as each library is that is linked.
        let entry = unsafe { ash::Entry::load() }?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_2);
        let layers = [VALIDATION.as_ptr()];
        let info = vk::InstanceCreateInfo::default()
            .application_info(&application)
            .enabled_layer_names(if validation { &layers } else { &[] });
        // SAFETY: 3. the structure is built above.
        match unsafe { entry.create_instance(&info, None) } {
            Ok(raw) => Ok(Self { raw, _entry: entry }),
            Err(vk::Result::ERROR_LAYER_NOT_PRESENT) => Err(OpenError::NoValidation),
            Err(vk::Result::ERROR_INCOMPATIBLE_DRIVER) => Err(OpenError::NoDevice),
            Err(result) => Err(called("vkCreateInstance")(result).into()),
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: 1. the instance is live, and the device made from it is gone: `Device` destroys
        // that before its fields are dropped.
        unsafe { self.raw.destroy_instance(None) };
    }
}

/// A device that destroys itself.
struct Device {
    raw: ash::Device,
    executable: executable::Device,
    _instance: Instance,
}

impl Device {
    fn open(
        instance: Instance,
        physical: vk::PhysicalDevice,
        features: &Features,
    ) -> Result<Self, OpenError> {
        let priorities = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
        let extensions = [executable::NAME.as_ptr()];
        let core = features.core();
        let (mut v11, mut v12) = (features.v11(), features.v12());
        let mut statistics = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(true);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .enabled_features(&core)
            .push_next(&mut v11)
            .push_next(&mut v12)
            .push_next(&mut statistics);
        // SAFETY: 1. the instance has listed the device; 3. only features that it reports are
        // enabled; RADV has the extension since Mesa 20, and the call fails without it.
        let raw = unsafe { instance.raw.create_device(physical, &info, None) };
        let raw = raw.map_err(called("vkCreateDevice"))?;
        let executable = executable::Device::new(&instance.raw, &raw);
        Ok(Self { raw, executable, _instance: instance })
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").finish_non_exhaustive()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: 1. the device is live, and what was made from it is gone: `Compiler` destroys its
        // layout before its fields are dropped; 4. nothing runs.
        unsafe { self.raw.destroy_device(None) };
    }
}

/// The features of a device that the runtime would enable.
fn features(instance: &ash::Instance, physical: vk::PhysicalDevice) -> Features {
    let mut v11 = vk::PhysicalDeviceVulkan11Features::default();
    let mut v12 = vk::PhysicalDeviceVulkan12Features::default();
    let mut all = vk::PhysicalDeviceFeatures2::default().push_next(&mut v11).push_next(&mut v12);
    // SAFETY: 1. the instance has listed the device; 3. Vulkan 1.2 knows both structures.
    unsafe { instance.get_physical_device_features2(physical, &mut all) };
    let core = all.features;
    Features::new(&core, &v11, &v12)
}

/// The driver's release.
fn driver(instance: &ash::Instance, physical: vk::PhysicalDevice) -> String {
    let mut driver = vk::PhysicalDeviceDriverProperties::default();
    let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
    // SAFETY: 1. the instance has listed the device; 3. Vulkan 1.2 knows the structure.
    unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
    driver.driver_info_as_c_str().unwrap_or_default().to_string_lossy().into_owned()
}

/// The layout of the runtime's set: `runtime/src/vk/set_layout.rs`.
fn control_layout(device: &ash::Device) -> Result<vk::DescriptorSetLayout, Call> {
    let bindings = [vk::DescriptorSetLayoutBinding::default()
        .descriptor_type(vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC)
        .descriptor_count(1)
        .stage_flags(vk::ShaderStageFlags::COMPUTE)];
    let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
    // SAFETY: 1. the device is live.
    let made = unsafe { device.create_descriptor_set_layout(&info, None) };
    made.map_err(called("vkCreateDescriptorSetLayout"))
}

/// The layout of the runtime's pipelines: `runtime/src/vk/pipeline.rs`.
fn pipeline_layout(
    device: &ash::Device,
    sets: &[vk::DescriptorSetLayout],
    push_bytes: u32,
) -> Result<vk::PipelineLayout, Call> {
    let ranges = [vk::PushConstantRange::default()
        .stage_flags(vk::ShaderStageFlags::COMPUTE)
        .size(push_bytes)];
    let info = vk::PipelineLayoutCreateInfo::default()
        .push_constant_ranges(if push_bytes > 0 { &ranges } else { &[] })
        .set_layouts(sets);
    // SAFETY: 1. device and set layout are live; 3. an empty range is left out, and every device
    // allows the bytes that the caller of `compile` keeps to.
    let made = unsafe { device.create_pipeline_layout(&info, None) };
    made.map_err(called("vkCreatePipelineLayout"))
}

fn pipeline(
    device: &ash::Device,
    layout: vk::PipelineLayout,
    module: vk::ShaderModule,
    entry: &str,
) -> Result<vk::Pipeline, Call> {
    // Reflection ends the name at its first zero, so none is inside.
    let entry = CString::new(entry).unwrap_or_default();
    let stage = vk::PipelineShaderStageCreateInfo::default()
        .stage(vk::ShaderStageFlags::COMPUTE)
        .module(module)
        .name(&entry);
    let info = [vk::ComputePipelineCreateInfo::default()
        .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR)
        .stage(stage)
        .layout(layout)];
    // SAFETY: 1. module and layout are live; 3. the entry point is the module's, as the caller
    // promises.
    let made = unsafe { device.create_compute_pipelines(vk::PipelineCache::null(), &info, None) };
    let made = made.map(|pipelines| pipelines[0]).map_err(|(_, result)| result);
    made.map_err(called("vkCreateComputePipelines"))
}

fn statistics(executable: &executable::Device, pipeline: vk::Pipeline) -> Result<Statistics, Call> {
    let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
    // SAFETY: 1. the pipeline is live and has one executable, number 0, because it is a compute
    // pipeline of RADV; 3. it was made with the flag that keeps statistics.
    let listed = unsafe { executable.get_pipeline_executable_statistics(&info) };
    let listed = listed.map_err(called("vkGetPipelineExecutableStatisticsKHR"))?;
    Ok(listed.iter().fold(Statistics::default(), |found, statistic| {
        match (statistic.name_as_c_str(), statistic.format) {
            (Ok(name), vk::PipelineExecutableStatisticFormatKHR::UINT64) => {
                // SAFETY: 3. the format says that this field of the union was written.
                let value = unsafe { statistic.value.u64 };
                statistics::note(found, &name.to_string_lossy(), value)
            }
            _ => found,
        }
    }))
}
