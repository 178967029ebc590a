//! The runtime: a device, its kernels, and scopes.
//!
//! # Safety
//!
//! The unsafe functions here take a promise about words and keep it with them.

use crate::{
    Error, Explanation, Kernel, KernelError, ProvedAccess, RawKernel, RawKernelOptions,
    ResidencyTier, Scope, Stats,
    config::Config,
    kernel::{kernels::Kernels, known::Keep},
    launch::launcher::Launcher,
    scope::with_scope,
};
use farptr_rewrite::{KernelDesc, SpecKey, SpecializedDesc};
use std::sync::Arc;

/// A Vulkan device that runs kernels on host memory.
///
/// It can be shared between threads; each thread opens scopes of its own.
#[derive(Debug)]
pub struct Runtime {
    launcher: Arc<Launcher>,
    kernels: Kernels,
    config: Arc<Config>,
    explanation: Explanation,
}

impl Runtime {
    pub(crate) fn new(
        launcher: Arc<Launcher>,
        kernels: Kernels,
        config: Arc<Config>,
        explanation: Explanation,
    ) -> Self {
        Self { launcher, kernels, config, explanation }
    }

    /// Sets the counters back, so that the cost of start-up is not counted.
    pub(crate) fn begin_counting(&self) {
        self.launcher.device().counters.begin();
    }

    /// Says what was chosen and why: devices, access mode, tier.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        Explanation {
            cache: self.kernels.place(),
            pages_imported: self.launcher.pages_imported(),
            ..self.explanation.clone()
        }
    }

    /// The device's name.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.launcher.device().info.name
    }

    /// The driver's name and version.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.launcher.device().info.driver
    }

    /// The access mode that was proved.
    #[must_use]
    pub fn access(&self) -> ProvedAccess {
        self.explanation.access
    }

    /// The place of lent data between launches.
    #[must_use]
    pub fn tier(&self) -> ResidencyTier {
        self.explanation.tier
    }

    /// Counts what this runtime has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.launcher.device().counters.stats()
    }

    /// Compares a kernel with its Rust types and the device.
    ///
    /// The form of the kernel that a launch needs is compiled at the first such launch, once per
    /// runtime, and the driver's work is kept on disk for the next process. Kernels of equal words
    /// and the same [`KernelDesc::ENTRY`] share it.
    ///
    /// # Errors
    ///
    /// * [`KernelError::Words`] when the words are not one compute kernel: also when they have
    ///   several entry points and [`KernelDesc::ENTRY`] names none, or one that is not there.
    /// * [`KernelError::PushSize`] when [`KernelDesc::Push`] is shorter than the kernel says, or
    ///   longer than that filled up to its alignment.
    /// * [`KernelError::Descriptors`] when the kernel binds resources instead of taking addresses.
    /// * [`KernelError::Limit`] or [`KernelError::Capability`] when the device cannot run it, or
    ///   its Vulkan version takes no SPIR-V of the kernel's version (1.6 needs Vulkan 1.3).
    /// * [`KernelError::Forked`] in a child made by `fork`.
    pub fn kernel<K: KernelDesc>(&self) -> Result<Kernel<K>, KernelError> {
        Kernel::new(self.kernels.get(K::NAME, K::words(), K::ENTRY, &[], Keep::Always)?)
    }

    /// As [`kernel`](Self::kernel), with values for its specialisation constants.
    ///
    /// Workgroup size, grids, checks and the driver's optimiser see the values as constants of the
    /// kernel. Kernels with different values live side by side; equal values share what is
    /// compiled. It goes with the last clone of such a kernel, when no launch uses it any more,
    /// since nothing limits how many values a program has.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "glsl")] mod example {
    /// farptr::kernel! {
    ///     mod scale,
    ///     source: r#"
    ///         #version 460
    ///         #extension GL_EXT_buffer_reference_uvec2 : require
    ///         layout(local_size_x_id = 0) in;
    ///         layout(constant_id = 1) const float FACTOR = 2.0;
    ///         layout(buffer_reference, buffer_reference_align = 4) buffer F32 { float at[]; };
    ///         layout(push_constant) uniform Push { uvec2 x; uint n; };
    ///         void main() {
    ///             uint i = gl_GlobalInvocationID.x;
    ///             if (i < n) F32(x).at[i] *= FACTOR;
    ///         }
    ///     "#,
    /// }
    ///
    /// # pub(super) fn main() -> Result<(), farptr::Error> {
    /// let runtime = farptr::Runtime::builder().build()?;
    /// let constants = scale::Constants { local_size_x: 64, factor: 3.0 };
    /// let kernel = runtime.specialized::<scale::Kernel>(constants)?;
    /// assert_eq!(kernel.local_size(), [64, 1, 1]);
    /// let mut x = vec![1.0f32; 1000];
    /// runtime.scope(|s| {
    ///     let args = scale::Args { x: s.lend_mut(&mut x)?.ptr(), n: 1000 };
    ///     Ok(s.launch(&kernel, farptr::Grid::cover(1000), args)?)
    /// })?;
    /// assert_eq!(x, [3.0; 1000]);
    /// # Ok(()) }
    /// # }
    /// # #[cfg(feature = "glsl")] example::main()?;
    /// # Ok::<(), farptr::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`KernelError::Constants`] when the kernel has no such constant, when a value has another
    ///   type, or when the kernel would not be valid with it: an array without elements.
    /// * Otherwise as [`kernel`](Self::kernel). [`KernelError::Words`] names a workgroup without
    ///   invocations, [`KernelError::Limit`] one that is too large for the device, or that shares
    ///   too much memory. [`KernelError::PushSize`] says that a value is the length of an array in
    ///   the push constants, which the Rust type has with another length.
    pub fn specialized<K: SpecializedDesc>(
        &self,
        constants: K::Constants,
    ) -> Result<Kernel<K>, KernelError> {
        let constants = K::constants(constants).into_iter();
        let constants: Vec<_> = constants.map(|(id, value)| (SpecKey::Id(id), value)).collect();
        let words = K::words();
        Kernel::new(self.kernels.get(K::NAME, words, K::ENTRY, &constants, Keep::WhileUsed)?)
    }

    /// As [`kernel`](Self::kernel), for words that came at run time and have no Rust types.
    ///
    /// Its compiled forms go with the last of its clones, when no launch uses them any more.
    ///
    /// # Errors
    ///
    /// As [`kernel`](Self::kernel), without [`KernelError::PushSize`].
    ///
    /// # Safety
    ///
    /// `words` is a module that is valid by the SPIR-V specification and Vulkan's environment for
    /// it (what `spirv-val --target-env vulkan1.2` accepts): a driver trusts what it is given.
    #[allow(unsafe_code, reason = "public; its promise goes to `vk::pipeline`")]
    pub unsafe fn raw_kernel(
        &self,
        name: &'static str,
        words: &[u32],
    ) -> Result<RawKernel, KernelError> {
        self.raw(name, words, &RawKernelOptions::new())
    }

    /// As [`raw_kernel`](Self::raw_kernel), for words that may have several compute entry points:
    /// `entry` is the name of the one that is meant, `name` stands in reports as always.
    ///
    /// # Errors
    ///
    /// As [`raw_kernel`](Self::raw_kernel); [`KernelError::Words`] says which entry points there
    /// are when none is called `entry`.
    ///
    /// # Safety
    ///
    /// As [`raw_kernel`](Self::raw_kernel).
    #[allow(unsafe_code, reason = "as `raw_kernel`")]
    pub unsafe fn raw_kernel_entry(
        &self,
        name: &'static str,
        words: &[u32],
        entry: &str,
    ) -> Result<RawKernel, KernelError> {
        self.raw(name, words, &RawKernelOptions::new().entry(entry))
    }

    /// As [`raw_kernel`](Self::raw_kernel), with an entry point or values for specialisation
    /// constants, or both.
    ///
    /// # Errors
    ///
    /// As [`raw_kernel_entry`](Self::raw_kernel_entry); [`KernelError::Constants`] names a constant
    /// that is not there, is given twice or has another type, and those that are there.
    ///
    /// # Safety
    ///
    /// As [`raw_kernel`](Self::raw_kernel); values that would make valid words invalid are refused.
    #[allow(unsafe_code, reason = "as `raw_kernel`")]
    pub unsafe fn raw_kernel_with(
        &self,
        name: &'static str,
        words: &[u32],
        options: &RawKernelOptions<'_>,
    ) -> Result<RawKernel, KernelError> {
        self.raw(name, words, options)
    }

    /// A kernel whose words came at run time.
    fn raw(
        &self,
        name: &'static str,
        words: &[u32],
        options: &RawKernelOptions<'_>,
    ) -> Result<RawKernel, KernelError> {
        let RawKernelOptions { entry, constants } = options;
        let code = self.kernels.get(name, words, *entry, constants, Keep::WhileUsed)?;
        Ok(RawKernel::new(name, code))
    }

    /// Runs `body`, in which host memory can be lent to kernels, and waits for the kernels.
    ///
    /// The wait happens in this function: when `scope` has returned or unwound, none of its kernels
    /// is running, even if `body` leaked values or panicked. Memory is borrowed for `'env`, so the
    /// borrow checker keeps it alive and unaliased until then; in exchange it must have been
    /// created outside the closure.
    ///
    /// A driver may lose its device, often since a launch took too long for its watchdog. On copies
    /// this is [`LaunchError::DeviceLost`](crate::LaunchError::DeviceLost), now and in every later
    /// operation: results that were not home are gone, and lent memory is otherwise as it was
    /// before the launches. Where the device works on host memory itself, kernels may go on writing
    /// there. If it cannot be proved within five seconds that they have ended, the process is
    /// aborted with a message rather than the memory given back
    /// ([`assume_stopped_when_lost`](crate::RuntimeBuilder::assume_stopped_when_lost) has the
    /// alternative); if it can, the error is the same, and lent memory has what the kernels
    /// left.
    ///
    /// # Examples
    ///
    /// ```
    /// use farptr::{Grid, Runtime, shaders::saxpy};
    ///
    /// let runtime = Runtime::builder().build()?;
    /// let kernel = runtime.kernel::<saxpy::Kernel>()?;
    /// let x = vec![1.0f32; 1000];
    /// let mut y = vec![2.0f32; 1000];
    /// runtime.scope(|s| {
    ///     let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
    ///     let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: 1000, a: 3.0 };
    ///     s.launch(&kernel, Grid::cover(1000), args)?;
    ///     Ok(())
    /// })?;
    /// assert_eq!(y, vec![5.0f32; 1000]);
    /// # Ok::<(), farptr::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `body`, or [`Error::Launch`] when the last launches failed or could not be
    /// handed to the device. In a child made by `fork`,
    /// [`LaunchError::Forked`](crate::LaunchError::Forked): a device does not come along, so the
    /// child builds a runtime of its own.
    pub fn scope<'env, R>(
        &self,
        body: impl for<'scope> FnOnce(&mut Scope<'scope, 'env>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        with_scope(&self.launcher, &self.config, body)
    }
}
