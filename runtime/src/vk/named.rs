//! Results of Vulkan calls as errors.

use crate::VulkanError;
use ash::vk;

/// Names the call that a Vulkan result came from.
pub(super) trait Named<T> {
    fn named(self, call: &'static str) -> Result<T, VulkanError>;
}

impl<T> Named<T> for Result<T, vk::Result> {
    fn named(self, call: &'static str) -> Result<T, VulkanError> {
        self.map_err(|result| VulkanError { call, result })
    }
}
