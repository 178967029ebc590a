//! A runtime's kernels: equal words and entry points are one kernel. Words that were specialised
//! differ by the values.

use super::{
    code::Code,
    known::{Keep, Known},
    pipelines::Pipelines,
};
use crate::{KernelError, vk::Device};
use farptr_rewrite::{SpecKey, SpecValue, SpecializeError, specialize};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The kernels of one device, by their words and entry points.
pub(crate) struct Kernels {
    device: Arc<Device>,
    pipelines: Arc<Pipelines>,
    known: Mutex<Known<Code>>,
}

impl Kernels {
    pub(crate) fn new(device: &Arc<Device>, pipelines: Pipelines) -> Self {
        let (device, pipelines) = (Arc::clone(device), Arc::new(pipelines));
        Self { device, pipelines, known: Mutex::new(Known::new()) }
    }

    /// The kernel of these words with these constants, and of this entry point or the only one,
    /// checked against the device.
    pub(crate) fn get(
        &self,
        kernel: &'static str,
        words: &[u32],
        entry: Option<&str>,
        constants: &[(SpecKey<'_>, SpecValue)],
        keep: Keep,
    ) -> Result<Arc<Code>, KernelError> {
        if self.device.is_inherited() {
            return Err(KernelError::Forked { kernel });
        }
        let words = specialize(words, entry, constants).map_err(|error| match error {
            SpecializeError::Words(source) => KernelError::Words { kernel, source },
            source => KernelError::Constants { kernel, source: Box::new(source) },
        })?;
        // A panic under the lock cannot leave a half-made entry, so a poisoned one is as good.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&words, entry, keep, |words| {
            Code::new(&self.device, &self.pipelines, kernel, words, entry)
        })
    }

    /// Names the place where compiled kernels are kept.
    pub(crate) fn place(&self) -> String {
        self.pipelines.place()
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernels").field("place", &self.place()).finish_non_exhaustive()
    }
}
