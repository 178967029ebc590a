//! What is counted, and the report of it.

use std::{
    fmt::Write as _,
    fs::OpenOptions,
    io::{self, Write as _},
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

macro_rules! counters {
    ($($variant:ident $name:literal;)*) => {
        /// A number of the report.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Count { $($variant,)* }

        const NAMES: &[&str] = &[$($name,)*];
    };
}

counters! {
    Allocations "allocations";
    Imports "imports";
    PeakMemory "peak_memory";
    Maps "maps";
    Submissions "submissions";
    Waits "waits";
    Queries "queries";
    Dispatches "dispatches";
    Reordered "reordered";
    TransferSubmissions "transfer_submissions";
    Late "late";
    CopyCalls "copy_calls";
    CopyRegions "copy_regions";
    CopyBytes "copy_bytes";
    Failures "failures";
    Lost "lost";
    Memory "live_memory";
    Buffers "live_buffers";
    Semaphores "live_semaphores";
    Fences "live_fences";
    CommandPools "live_command_pools";
    QueryPools "live_query_pools";
    DescriptorPools "live_descriptor_pools";
    SetLayouts "live_set_layouts";
    ShaderModules "live_shader_modules";
    PipelineLayouts "live_pipeline_layouts";
    PipelineCaches "live_pipeline_caches";
    Pipelines "live_pipelines";
}

/// The numbers of a device.
#[derive(Debug)]
pub(crate) struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Adds 1, and returns how many that makes.
    pub(crate) fn one_more(&self, count: Count) -> u64 {
        self.add(count, 1)
    }

    pub(crate) fn add(&self, count: Count, more: u64) -> u64 {
        self.0[count as usize].fetch_add(more, Relaxed) + more
    }

    pub(crate) fn one_less(&self, count: Count) {
        self.0[count as usize].fetch_sub(1, Relaxed);
    }

    pub(crate) fn raise_to(&self, count: Count, least: u64) {
        self.0[count as usize].fetch_max(least, Relaxed);
    }

    /// Appends a line with names and numbers to a file.
    pub(crate) fn report(&self, path: &Path) -> io::Result<()> {
        let mut line = String::new();
        for (name, count) in NAMES.iter().zip(&self.0) {
            let space = if line.is_empty() { "" } else { " " };
            // Writing into a String cannot fail.
            let _ = write!(line, "{space}{name} {}", count.load(Relaxed));
        }
        line.push('\n');
        // One write, so that lines of several processes do not mix.
        OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())
    }
}
