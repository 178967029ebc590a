//! A runtime's compiled kernels: each compiled once, the driver's cache kept on disk.

use crate::{
    KernelError, VulkanError,
    cache_file::{CacheFile, Contents, kernel_hash},
    kernel,
    vk::{Device, Pipeline, PipelineCache},
};
use farptr_shaders::KernelDesc;
use std::{
    any::TypeId,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The compiled kernels of one device.
pub(crate) struct Pipelines {
    cache: PipelineCache,
    state: Mutex<State>,
}

struct State {
    compiled: HashMap<TypeId, Arc<Pipeline>>,
    file: Option<CacheFile>,
    /// What the file holds.
    stored: Contents,
    /// Why the file could not be written the last time it was tried.
    failure: Option<String>,
}

impl Pipelines {
    /// Starts with what an earlier process stored.
    pub(crate) fn open(device: &Arc<Device>, file: Option<CacheFile>) -> Result<Self, VulkanError> {
        let stored = file.as_ref().map(CacheFile::load).unwrap_or_default();
        let cache = PipelineCache::new(device, &stored.data)?;
        let state = State { compiled: HashMap::new(), file, stored, failure: None };
        Ok(Self { cache, state: Mutex::new(state) })
    }

    /// The compiled kernel, from memory or from the driver.
    pub(crate) fn get_or_compile<K: KernelDesc>(
        &self,
        device: &Arc<Device>,
    ) -> Result<Arc<Pipeline>, KernelError> {
        if device.is_inherited() {
            return Err(KernelError::Forked { kernel: K::NAME });
        }
        // The lock is held while the driver compiles, so that no kernel is compiled twice. A panic
        // under it cannot leave a half-made entry, so a poisoned lock is as good as any.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = state.compiled.get(&TypeId::of::<K>()) {
            return Ok(Arc::clone(pipeline));
        }
        let pipeline = Arc::new(kernel::compile::<K>(device, &self.cache)?);
        state.compiled.insert(TypeId::of::<K>(), Arc::clone(&pipeline));
        state.store(&self.cache, kernel_hash(K::words()));
        Ok(pipeline)
    }

    /// Where compiled kernels are kept, in words.
    pub(crate) fn place(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (&state.file, &state.failure) {
            (None, _) => "not kept on disk".to_owned(),
            (Some(file), None) => format!("kept in {}", file.path().display()),
            (Some(file), Some(why)) => {
                format!("not kept: cannot write {}: {why}", file.path().display())
            }
        }
    }
}

impl State {
    /// Writes the cache to its file when a kernel was compiled that the file does not list.
    ///
    /// A failure costs time in the next process and nothing else; `explain` reports it.
    fn store(&mut self, cache: &PipelineCache, kernel: u64) {
        let Some(file) = &self.file else { return };
        if self.stored.kernels.contains(&kernel) {
            return;
        }
        let Ok(data) = cache.data() else { return };
        let mut contents = Contents { kernels: self.stored.kernels.clone(), data };
        contents.kernels.insert(kernel);
        match file.store(&contents) {
            Ok(()) => (self.stored, self.failure) = (contents, None),
            Err(error) => self.failure = Some(error.to_string()),
        }
    }
}

impl fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipelines").field("place", &self.place()).finish_non_exhaustive()
    }
}
