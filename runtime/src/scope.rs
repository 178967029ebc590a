//! What a program does inside a scope: lend, launch, wait.
//!
//! # Safety
//!
//! The core of a scope is in `vk::session`, with its proof. The one unsafe function here is the
//! public door to launches that nobody checks; it passes its caller's promises on.

pub use crate::vk::{Idle, Scope};
use crate::{Grid, Kernel, LaunchError, LendError, Lent, LentMut};
use bytemuck::{NoUninit, Pod};
use farptr_shaders::KernelDesc;
use std::sync::Arc;

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Lends a slice to the device for reading, until the scope ends.
    ///
    /// The bytes stay where they are; nothing is copied, and pages that are not resident stay so
    /// until a kernel touches them. The pages under the slice are imported once per scope. An empty
    /// slice can be lent.
    ///
    /// # Errors
    ///
    /// * [`LendError::AddressDiffers`] when the device sees this memory at another address.
    /// * [`LendError::NoMemoryType`] or [`LendError::Vulkan`] when it cannot be imported.
    pub fn lend<T: NoUninit>(&mut self, memory: &'env [T]) -> Result<Lent<'scope, T>, LendError> {
        self.import(memory)?;
        Ok(Lent::new(memory))
    }

    /// Lends a slice to the device for reading and writing, until the scope ends.
    ///
    /// As [`lend`](Self::lend) otherwise. `T` is [`Pod`], because a kernel may leave any bits. The
    /// host can look at the elements between launches through [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// As [`lend`](Self::lend).
    pub fn lend_mut<T: Pod>(
        &mut self,
        memory: &'env mut [T],
    ) -> Result<LentMut<'scope, T>, LendError> {
        self.import_mut(memory)
    }

    /// Launches a kernel that nobody checks.
    ///
    /// Launches of a scope run one after the other: each sees what those before it wrote. The call
    /// returns when the launch is recorded; launches are handed to the device in batches, at the
    /// latest when the scope waits or ends. If the scope's closure returns an error or panics, a
    /// launch that was not yet handed over does not run.
    ///
    /// # Errors
    ///
    /// * [`LaunchError::EmptyGrid`], [`LaunchError::GridTooLarge`],
    ///   [`LaunchError::TooManyInvocations`] or [`LaunchError::NotOneDimensional`] when the grid
    ///   does not fit the kernel and the device.
    /// * [`LaunchError::ForeignKernel`] when the kernel belongs to another runtime.
    /// * [`LaunchError::Vulkan`] when the driver refuses.
    ///
    /// # Safety
    ///
    /// In direct access a kernel has the reach of any native code of the process. For these
    /// arguments and this grid:
    ///
    /// 1. Each address that the kernel reads is in memory that this scope lent, or that otherwise
    ///    stays mapped and initialised until the scope ends.
    /// 2. Each address that it writes is in memory that this scope lent with
    ///    [`lend_mut`](Self::lend_mut), or that no Rust code reads or writes until the scope ends.
    /// 3. What it leaves in memory that was not lent is valid for the types of that memory.
    /// 4. Invocations do not race with each other, by the rules of the Vulkan memory model, and
    ///    every invocation ends: a scope waits for a kernel that does not end for ever.
    #[allow(unsafe_code, reason = "the public door; its promises go to `vk::session`")]
    pub unsafe fn launch_unchecked<K: KernelDesc>(
        &mut self,
        kernel: &Kernel<K>,
        grid: Grid,
        args: K::Args<'scope>,
    ) -> Result<(), LaunchError> {
        let pipeline = kernel.pipeline();
        if !Arc::ptr_eq(pipeline.device(), self.device()) {
            return Err(LaunchError::ForeignKernel { kernel: K::NAME });
        }
        let limits = &self.device().info.limits;
        let groups = grid.resolve(K::NAME, pipeline.reflection.local_size, limits)?;
        let push = K::push(args);
        // SAFETY: 1. the device was compared above; the size of `Push` was checked when the kernel
        // was made, and `resolve` keeps the device's limits; 2. the caller's promises.
        unsafe { self.record(pipeline, bytemuck::bytes_of(&push), groups) }
    }

    /// Waits until every launch so far has completed, and lets the host look at lent memory.
    ///
    /// While the returned [`Idle`] lives, nothing can be launched.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Vulkan`] when launches could not be handed to the device.
    pub fn wait(&mut self) -> Result<Idle<'_, 'scope, 'env>, LaunchError> {
        self.idle()
    }
}
