//! Kernels that are compiled for a device.

use crate::{
    KernelError,
    select::DeviceInfo,
    vk::{Device, Pipeline, PipelineCache},
};
use farptr_shaders::{KernelDesc, Reflection};
use std::{fmt, marker::PhantomData, sync::Arc};

/// A kernel that is compiled for a runtime's device.
///
/// Cloning is cheap, and a kernel can be used from several threads at once.
pub struct Kernel<K> {
    pipeline: Arc<Pipeline>,
    desc: PhantomData<fn() -> K>,
}

impl<K: KernelDesc> Kernel<K> {
    pub(crate) fn from_pipeline(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, desc: PhantomData }
    }

    pub(crate) fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// Invocations per workgroup in each dimension.
    #[must_use]
    pub fn local_size(&self) -> [u32; 3] {
        self.pipeline.reflection.local_size
    }
}

impl<K> Clone for Kernel<K> {
    fn clone(&self) -> Self {
        Self { pipeline: Arc::clone(&self.pipeline), desc: PhantomData }
    }
}

impl<K> fmt::Debug for Kernel<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernel").field(&self.pipeline.name).finish()
    }
}

/// Checks a kernel against its Rust types and the device, and compiles it.
pub(crate) fn compile<K: KernelDesc>(
    device: &Arc<Device>,
    cache: &PipelineCache,
) -> Result<Pipeline, KernelError> {
    let words = K::words();
    let reflection =
        Reflection::of(words).map_err(|source| KernelError::Words { kernel: K::NAME, source })?;
    check::<K>(&reflection, &device.info)?;
    Pipeline::new(device, cache, K::NAME, words, reflection)
}

fn check<K: KernelDesc>(kernel: &Reflection, device: &DeviceInfo) -> Result<(), KernelError> {
    let declared = kernel.push_bytes as usize;
    let given = size_of::<K::Push>();
    if declared != given {
        return Err(KernelError::PushSize { kernel: K::NAME, declared, given });
    }
    if kernel.descriptors > 0 {
        let descriptors = kernel.descriptors;
        return Err(KernelError::Descriptors { kernel: K::NAME, descriptors });
    }
    let lacking = |capability: &&_| !device.capabilities.contains(capability);
    if let Some(&capability) = kernel.capabilities.iter().find(lacking) {
        let device = device.name.clone();
        return Err(KernelError::Capability { kernel: K::NAME, capability, device });
    }
    check_limits(K::NAME, kernel, device)
}

fn check_limits(
    name: &'static str,
    kernel: &Reflection,
    device: &DeviceInfo,
) -> Result<(), KernelError> {
    let limits = &device.limits;
    let over = |what: String, limit: String| {
        Err(KernelError::Limit { kernel: name, what, limit, device: device.name.clone() })
    };
    if kernel.push_bytes > limits.push_bytes || !kernel.push_bytes.is_multiple_of(4) {
        let what = format!("{} bytes of push constants", kernel.push_bytes);
        return over(what, format!("multiples of 4 up to {}", limits.push_bytes));
    }
    let size = kernel.local_size;
    if size.iter().zip(limits.group_size).any(|(&size, limit)| size > limit) {
        return over(format!("workgroups of {size:?}"), format!("{:?}", limits.group_size));
    }
    let invocations: u64 = size.iter().map(|&size| u64::from(size)).product();
    if invocations > u64::from(limits.group_invocations) {
        let what = format!("{invocations} invocations per workgroup");
        return over(what, limits.group_invocations.to_string());
    }
    Ok(())
}
