//! The features that are enabled: those that the runtime would enable.

use ash::vk;
use farptr_rewrite::Capability;

/// The features that the runtime enables where a device has them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Features {
    int64: bool,
    float64: bool,
    int16: bool,
    storage_16: bool,
    push_16: bool,
    storage_8: bool,
    push_8: bool,
    float16: bool,
    int8: bool,
    int64_atomics: bool,
    memory_model: bool,
    memory_model_device_scope: bool,
}

impl Features {
    /// What a device reports.
    pub(crate) fn new(
        core: &vk::PhysicalDeviceFeatures,
        v11: &vk::PhysicalDeviceVulkan11Features<'_>,
        v12: &vk::PhysicalDeviceVulkan12Features<'_>,
    ) -> Self {
        Self {
            int64: core.shader_int64 != 0,
            float64: core.shader_float64 != 0,
            int16: core.shader_int16 != 0,
            storage_16: v11.storage_buffer16_bit_access != 0,
            push_16: v11.storage_push_constant16 != 0,
            storage_8: v12.storage_buffer8_bit_access != 0,
            push_8: v12.storage_push_constant8 != 0,
            float16: v12.shader_float16 != 0,
            int8: v12.shader_int8 != 0,
            int64_atomics: v12.shader_buffer_int64_atomics != 0,
            memory_model: v12.vulkan_memory_model != 0,
            memory_model_device_scope: v12.vulkan_memory_model_device_scope != 0,
        }
    }

    pub(crate) fn core(&self) -> vk::PhysicalDeviceFeatures {
        vk::PhysicalDeviceFeatures::default()
            .shader_int64(self.int64)
            .shader_float64(self.float64)
            .shader_int16(self.int16)
    }

    pub(crate) fn v11(&self) -> vk::PhysicalDeviceVulkan11Features<'static> {
        vk::PhysicalDeviceVulkan11Features::default()
            .storage_buffer16_bit_access(self.storage_16)
            .storage_push_constant16(self.push_16)
    }

    pub(crate) fn v12(&self) -> vk::PhysicalDeviceVulkan12Features<'static> {
        vk::PhysicalDeviceVulkan12Features::default()
            .buffer_device_address(true)
            .scalar_block_layout(true)
            .storage_buffer8_bit_access(self.storage_8)
            .storage_push_constant8(self.push_8)
            .shader_float16(self.float16)
            .shader_int8(self.int8)
            .shader_buffer_int64_atomics(self.int64_atomics)
            .vulkan_memory_model(self.memory_model)
            .vulkan_memory_model_device_scope(self.memory_model_device_scope)
    }

    /// Whether modules may declare a capability (Vulkan specification, appendix A).
    pub(crate) fn allow(&self, capability: Capability) -> bool {
        match capability {
            Capability::Int64 => self.int64,
            Capability::Float64 => self.float64,
            Capability::Int16 => self.int16,
            Capability::StorageBuffer16BitAccess => self.storage_16,
            Capability::StoragePushConstant16 => self.push_16,
            Capability::StorageBuffer8BitAccess => self.storage_8,
            Capability::StoragePushConstant8 => self.push_8,
            Capability::Float16 => self.float16,
            Capability::Int8 => self.int8,
            Capability::Int64Atomics => self.int64_atomics,
            Capability::VulkanMemoryModel => self.memory_model,
            Capability::VulkanMemoryModelDeviceScope => self.memory_model_device_scope,
            // What every device with `bufferDeviceAddress` has, and operations across subgroups,
            // all of which RADV has.
            Capability::Matrix
            | Capability::Shader
            | Capability::PhysicalStorageBufferAddresses
            | Capability::GroupNonUniform
            | Capability::GroupNonUniformVote
            | Capability::GroupNonUniformArithmetic
            | Capability::GroupNonUniformBallot
            | Capability::GroupNonUniformShuffle
            | Capability::GroupNonUniformShuffleRelative
            | Capability::GroupNonUniformClustered
            | Capability::GroupNonUniformQuad => true,
            _ => false,
        }
    }
}
