//! A Vulkan call that failed.

/// A Vulkan call that failed.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{call} failed")]
pub struct VulkanError {
    pub(crate) call: &'static str,
    #[source]
    pub(crate) result: ash::vk::Result,
}

impl VulkanError {
    /// The name of the Vulkan function.
    #[must_use]
    pub fn call(&self) -> &'static str {
        self.call
    }

    /// Whether the device is lost, in one of the two ways in which `vk` notes it.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self.result, ash::vk::Result::ERROR_DEVICE_LOST | ash::vk::Result::TIMEOUT)
    }

    /// The `VkResult` that it returned.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.result.as_raw()
    }
}
