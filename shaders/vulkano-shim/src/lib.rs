//! Stands in for `::vulkano` in the code that `vulkano_shaders::shader!` generates.
//!
//! The macro (release 0.35.0) keeps a kernel's SPIR-V words in a `static` inside a generated
//! function `load(Arc<vulkano::device::Device>)`. farptr talks to Vulkan through ash and rewrites
//! words, so it wants the words and no second owner of a `VkDevice`. This crate is renamed to
//! `vulkano` in the manifest of a crate with kernels; it provides just the paths that the macro
//! names, and its [`shader::ShaderModule`] hands the words back.
//!
//! The macro's output is not a documented interface, which is why `vulkano-shaders` is pinned to
//! one exact release. A newer release that generates other paths fails to compile; it cannot
//! misbehave at run time.

/// The type that the macro writes for a `buffer_reference` member: a device address in bytes.
pub type DeviceAddress = u64;

/// The error type that `load` names; this crate never produces it.
#[derive(Debug)]
pub enum VulkanError {}

/// The wrapper around [`VulkanError`] that `load` names; this crate never produces it.
#[derive(Debug)]
pub struct Validated<E>(pub E);

/// Stand-in for `vulkano::device`.
pub mod device {
    /// A device without a device: what `load` wants to be called with.
    #[derive(Debug)]
    pub struct Device;
}

/// Stand-in for `vulkano::buffer`.
pub mod buffer {
    pub use farptr_vulkano_shim_derive::BufferContents;
}

/// Stand-in for `vulkano::padded`.
pub mod padded {
    /// A value followed by `N` bytes of padding, as std140 and std430 arrays need it.
    #[derive(Clone, Copy, Debug)]
    #[repr(C)]
    pub struct Padded<T, const N: usize> {
        /// The value itself.
        pub value: T,
        /// The bytes behind it.
        pub padding: [u8; N],
    }

    impl<T, const N: usize> From<T> for Padded<T, N> {
        fn from(value: T) -> Self {
            Self { value, padding: [0; N] }
        }
    }
}

/// Stand-in for `vulkano::shader`.
pub mod shader {
    use crate::{Validated, VulkanError, device::Device};
    use std::sync::Arc;

    /// The argument that the generated `load` passes to [`ShaderModule::new`].
    #[derive(Debug)]
    pub struct ShaderModuleCreateInfo {
        words: &'static [u32],
    }

    impl ShaderModuleCreateInfo {
        /// Keeps the words.
        #[must_use]
        pub fn new(words: &'static [u32]) -> Self {
            Self { words }
        }
    }

    /// The words of one compiled kernel.
    #[derive(Debug)]
    pub struct ShaderModule {
        words: &'static [u32],
    }

    impl ShaderModule {
        /// Keeps the words; touches no device.
        ///
        /// # Errors
        ///
        /// Never: [`VulkanError`] has no values.
        ///
        /// # Safety
        ///
        /// The caller has no obligations. The function is `unsafe` because the generated code calls
        /// it in an `unsafe` block, as vulkano's own function demands.
        #[allow(
            unsafe_code,
            clippy::must_use_candidate,
            clippy::needless_pass_by_value,
            reason = "the signature that the generated code expects"
        )]
        pub unsafe fn new(
            _device: Arc<Device>,
            info: ShaderModuleCreateInfo,
        ) -> Result<Arc<Self>, Validated<VulkanError>> {
            Ok(Arc::new(Self { words: info.words }))
        }

        /// The SPIR-V words.
        #[must_use]
        pub fn words(&self) -> &'static [u32] {
            self.words
        }
    }
}
