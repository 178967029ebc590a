//! Kernels as a program has them.

use super::code::Code;
use crate::{KernelError, test_hooks::KernelHooks};
use farptr_rewrite::{KernelDesc, Proved};
use std::{fmt, marker::PhantomData, sync::Arc};

/// A kernel that fits a runtime's device.
///
/// The form of it that a launch needs is compiled when it is first needed, and kept. Cloning is
/// cheap, and a kernel can be used from several threads at once.
pub struct Kernel<K> {
    code: Arc<Code>,
    desc: PhantomData<fn() -> K>,
}

impl<K: KernelDesc> Kernel<K> {
    /// Compares a kernel's words with its Rust types.
    pub(crate) fn new(code: Arc<Code>) -> Result<Self, KernelError> {
        let declared = code.reflection.push_word_bytes() as usize;
        let given = size_of::<K::Push>();
        if !code.reflection.takes_push(given) {
            return Err(KernelError::PushSize { kernel: K::NAME, declared, given });
        }
        Ok(Self { code, desc: PhantomData })
    }

    pub(crate) fn code(&self) -> &Arc<Code> {
        &self.code
    }

    /// Invocations per workgroup in each dimension.
    #[must_use]
    pub fn local_size(&self) -> [u32; 3] {
        self.code.reflection.local_size
    }
}

impl<K: KernelDesc> KernelHooks for Kernel<K> {
    fn left_out(&self) -> Vec<Proved> {
        self.code.left_out()
    }
}

impl<K> Clone for Kernel<K> {
    fn clone(&self) -> Self {
        Self { code: Arc::clone(&self.code), desc: PhantomData }
    }
}

impl<K: KernelDesc> fmt::Debug for Kernel<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernel").field(&K::NAME).finish()
    }
}

/// A kernel whose words came at run time, for a runtime's device.
///
/// [`Runtime::raw_kernel`](crate::Runtime::raw_kernel) makes one, or
/// [`Runtime::raw_kernel_entry`](crate::Runtime::raw_kernel_entry) where the words have several
/// entry points. As [`Kernel`] otherwise.
#[derive(Clone)]
pub struct RawKernel {
    name: &'static str,
    code: Arc<Code>,
}

impl RawKernel {
    pub(crate) fn new(name: &'static str, code: Arc<Code>) -> Self {
        Self { name, code }
    }

    /// The name in reports and error messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name of the entry point in the words.
    #[must_use]
    pub fn entry(&self) -> &str {
        &self.code.reflection.entry
    }

    /// Invocations per workgroup in each dimension.
    #[must_use]
    pub fn local_size(&self) -> [u32; 3] {
        self.code.reflection.local_size
    }

    /// Bytes of push constants that the kernel declares, from the first to the end of the last
    /// member, in whole words of four bytes. A launch may be given a few more: those that
    /// a type of the same members has on the CPU to fill up its alignment.
    #[must_use]
    pub fn push_bytes(&self) -> usize {
        self.code.reflection.push_word_bytes() as usize
    }

    pub(crate) fn code(&self) -> &Arc<Code> {
        &self.code
    }
}

impl KernelHooks for RawKernel {
    fn left_out(&self) -> Vec<Proved> {
        self.code.left_out()
    }
}

impl fmt::Debug for RawKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawKernel").field(&self.name).finish()
    }
}
