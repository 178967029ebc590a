//! Limits of the process that are the cause of a failure.
//!
//! A loader that cannot open a file says that there is no driver, and a driver that gets no memory
//! says that there is no device. So when a runtime cannot be built, this module tries the
//! operations that a loader and a driver need: opening some files, mapping memory, starting a
//! thread. An operation that fails now is likely to have failed before, and the error names its
//! limit. Nothing is tried before a failure, because only the driver knows how much it needs.

use crate::BuildError;
use memmap2::MmapMut;
use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    process::{Resource, getrlimit},
};
use std::thread;

/// Files that loader and driver have open at once.
const FILES: usize = 4;
/// Bytes of address space for a driver's code, stacks and buffers.
const MEMORY_BYTES: usize = 256 << 20;
/// Bytes of a file in which a driver keeps the memory of a small runtime.
const FILE_BYTES: u64 = 64 << 20;

/// The failure, with the limit that is behind it if there is one.
pub(crate) fn behind(failure: BuildError) -> BuildError {
    let by_machine = matches!(
        failure,
        BuildError::NoLoader(_)
            | BuildError::NoValidationLayer
            | BuildError::NoDevice
            | BuildError::NoSuitableDevice { .. }
            | BuildError::NoSuchDevice { .. }
            | BuildError::Vulkan(_)
    );
    let found = if by_machine { shortage() } else { None };
    match found {
        Some(Shortage { lack, resource, limit }) => {
            BuildError::Shortage { lack, resource, limit, source: Box::new(failure) }
        }
        None => failure,
    }
}

fn shortage() -> Option<Shortage> {
    files().or_else(memory).or_else(threads).or_else(file_bytes)
}

/// Too little of something.
struct Shortage {
    lack: String,
    resource: &'static str,
    limit: String,
}

fn files() -> Option<Shortage> {
    let mut open = Vec::new();
    while open.len() < FILES {
        match openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => open.push(file),
            Err(Errno::MFILE) => {
                let lack = format!("the process can open {} more files", open.len());
                let (resource, limit) = ("RLIMIT_NOFILE, ulimit -n", limit(Resource::Nofile)?);
                return Some(Shortage { lack, resource, limit: limit.to_string() });
            }
            Err(Errno::NFILE) => {
                let lack = "the system can open no more files".to_owned();
                let limit = "the system's".to_owned();
                return Some(Shortage { lack, resource: "sysctl fs.file-max", limit });
            }
            // A sandbox: nothing can be known.
            Err(_) => return None,
        }
    }
    None
}

fn memory() -> Option<Shortage> {
    // Mapped and not touched, it takes addresses and no memory.
    MmapMut::map_anon(MEMORY_BYTES).err()?;
    let lack = format!("the process cannot map {} MiB of memory", MEMORY_BYTES >> 20);
    let limits =
        [(Resource::As, "RLIMIT_AS, ulimit -v"), (Resource::Data, "RLIMIT_DATA, ulimit -d")];
    for (which, resource) in limits {
        if let Some(limit) = limit(which) {
            return Some(Shortage { lack, resource, limit: format!("{limit} bytes") });
        }
    }
    let limit = "the system's".to_owned();
    Some(Shortage { lack, resource: "free memory, or sysctl vm.overcommit_memory", limit })
}

fn threads() -> Option<Shortage> {
    match thread::Builder::new().spawn(|| {}) {
        Ok(thread) => {
            // It does nothing that could fail.
            let _ = thread.join();
            None
        }
        Err(_) => {
            let lack = "the process can start no more threads".to_owned();
            let limit = limit(Resource::Nproc);
            let limit = limit.map_or_else(|| "the container's".to_owned(), |it| it.to_string());
            let resource = "RLIMIT_NPROC, ulimit -u, or the container's pids.max";
            Some(Shortage { lack, resource, limit })
        }
    }
}

fn file_bytes() -> Option<Shortage> {
    let limit = limit(Resource::Fsize).filter(|&limit| limit < FILE_BYTES)?;
    let lack = "the process can make no long files, in which some drivers keep memory".to_owned();
    let resource = "RLIMIT_FSIZE, ulimit -f";
    Some(Shortage { lack, resource, limit: format!("{limit} bytes") })
}

/// A resource limit of the process, if there is one.
fn limit(resource: Resource) -> Option<u64> {
    getrlimit(resource).current
}
