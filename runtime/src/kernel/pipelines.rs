//! The driver's cache of compiled kernels, kept on disk.

use super::cache_file::{CacheFile, Contents, kernel_hash};
use crate::{
    VulkanError, trace,
    vk::{Device, Pipeline, PipelineCache, Shader},
};
use farptr_hmm::file_limit_as_error;
use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

/// The driver's cache of compiled kernels, and its file.
pub(crate) struct Pipelines {
    cache: PipelineCache,
    state: Mutex<State>,
}

struct State {
    file: Option<CacheFile>,
    /// The contents of the file.
    stored: Contents,
    /// Why the file could not be written the last time it was tried.
    failure: Option<String>,
}

impl Pipelines {
    /// Starts with what an earlier process stored.
    pub(crate) fn open(device: &Device, file: Option<CacheFile>) -> Result<Self, VulkanError> {
        let stored = file.as_ref().map(CacheFile::load).unwrap_or_default();
        let cache = PipelineCache::new(device, &stored.data)?;
        let state = State { file, stored, failure: None };
        Ok(Self { cache, state: Mutex::new(state) })
    }

    /// Compiles words, unless the driver finds them in its cache.
    pub(crate) fn compile(
        &self,
        device: &Device,
        shader: &Shader<'_>,
    ) -> Result<Pipeline, VulkanError> {
        // Drivers write files of their own.
        let pipeline = file_limit_as_error(|| Pipeline::new(device, &self.cache, shader))?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let kernel = kernel_hash(shader.words, shader.entry);
        // The driver may have caches of its own, too.
        trace::event!(DEBUG, "pipeline cache", hit = state.stored.kernels.contains(&kernel));
        state.store(&self.cache, kernel);
        Ok(pipeline)
    }

    /// Names the place where compiled kernels are kept.
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
