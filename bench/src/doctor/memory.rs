//! Host memory of many kinds, to be imported.
//!
//! # Safety
//!
//! 1. *Memory has one owner.* The kernel chooses its place, a private field keeps it, and `Drop`
//!    alone unmaps it. No reference to it is ever made: words are read and written through
//!    pointers, within the mapping and as its protection allows.
//! 2. *Imports end first.* Code that imports it keeps the import in a value that goes before.
#![allow(unsafe_code, reason = "mappings that the library does not offer, see above")]

use crate::{
    failure::Failure,
    rival::{HugePages, Memory, Userfault},
};
use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::Errno,
    mm::{
        Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap,
    },
};
use std::{ffi::c_void, fs::File, io::Write, ptr};

/// The size of huge pages where small ones have 4 KiB.
pub(super) const HUGE_BYTES: u64 = 2 << 20;
/// Tells the contents of memory that a userfaultfd serves from others.
const SEED: u64 = 11;

/// A kind of host memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Anonymous,
    /// No page of it is there.
    Untouched,
    /// In transparent huge pages.
    Huge,
    /// In huge pages of the pool.
    Hugetlb,
    PrivateFile,
    SharedFile,
    SharedFileReadOnly,
    Memfd,
    /// Anonymous, written, and then without the right to write.
    ReadOnly,
    /// Each page comes from this process, by a userfaultfd, when it is touched.
    Served,
}

impl Kind {
    pub(super) const ALL: [Self; 10] = [
        Self::Anonymous,
        Self::Untouched,
        Self::Huge,
        Self::Hugetlb,
        Self::PrivateFile,
        Self::SharedFile,
        Self::SharedFileReadOnly,
        Self::Memfd,
        Self::ReadOnly,
        Self::Served,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Untouched => "anonymous, untouched",
            Self::Huge => "anonymous, in huge pages",
            Self::Hugetlb => "hugetlb",
            Self::PrivateFile => "file, private",
            Self::SharedFile => "file, shared",
            Self::SharedFileReadOnly => "file, shared and read-only",
            Self::Memfd => "memfd, shared",
            Self::ReadOnly => "anonymous, read-only",
            Self::Served => "anonymous, with a userfaultfd",
        }
    }

    pub(super) fn is_writable(self) -> bool {
        !matches!(self, Self::SharedFileReadOnly | Self::ReadOnly)
    }
}

/// Memory of some kind, and its contents before a kernel ran.
pub(super) struct HostMemory {
    place: Place,
    kind: Kind,
}

enum Place {
    Mapped(Mapping),
    Served(Userfault),
}

/// A mapping that unmaps itself.
struct Mapping {
    // Invariant: a mapping of `mapped_bytes` at `base` that nothing else owns; `start` is in it,
    // and `len_bytes` before its end.
    base: *mut c_void,
    mapped_bytes: usize,
    start: *mut c_void,
    len_bytes: usize,
}

impl HostMemory {
    /// Maps memory with contents; `len_bytes` is a multiple of the page.
    pub(super) fn map(kind: Kind, len_bytes: u64) -> Result<Self, Failure> {
        let place = match kind {
            Kind::Served => {
                let source = Memory::map(len_bytes, HugePages::Never)?;
                source.fill(SEED);
                Place::Served(Userfault::new(source)?)
            }
            _ => Place::Mapped(map(kind, usize::try_from(len_bytes).expect("64 bits"))?),
        };
        Ok(Self { place, kind })
    }

    /// The first byte.
    pub(super) fn start(&self) -> *mut c_void {
        match &self.place {
            Place::Mapped(mapping) => mapping.start,
            Place::Served(served) => {
                let start = usize::try_from(served.memory().start()).expect("64 bits");
                ptr::with_exposed_provenance_mut(start)
            }
        }
    }

    pub(super) fn len_bytes(&self) -> u64 {
        match &self.place {
            Place::Mapped(mapping) => mapping.len_bytes as u64,
            Place::Served(served) => served.memory().len_bytes(),
        }
    }

    /// The word that was at a place before a kernel ran.
    pub(super) fn initial(&self, word: usize) -> u32 {
        match self.kind {
            Kind::Untouched => 0,
            Kind::Served => {
                let [low, high] = bytemuck::cast(Memory::content(SEED, word / 2));
                if word.is_multiple_of(2) { low } else { high }
            }
            _ => content(word),
        }
    }

    /// The word that is at a place now.
    pub(super) fn word(&self, word: usize) -> u32 {
        assert!((word as u64) < self.len_bytes() / 4, "no such word");
        // SAFETY: 1. the word is in the memory, which is readable and mapped for as long as `self`.
        unsafe { self.start().cast::<u32>().wrapping_add(word).read_volatile() }
    }

    /// Writes a word; the memory is writable.
    pub(super) fn set_word(&self, word: usize, value: u32) {
        assert!(self.kind.is_writable(), "it cannot be written");
        assert!((word as u64) < self.len_bytes() / 4, "no such word");
        // SAFETY: 1. the word is in the memory, which is writable and mapped for as long as `self`.
        unsafe { self.start().cast::<u32>().wrapping_add(word).write_volatile(value) };
    }
}

/// A word of memory that is written before it is imported.
fn content(word: usize) -> u32 {
    u32::try_from(word).unwrap_or(u32::MAX).wrapping_mul(0x85eb_ca6b) ^ 7
}

fn map(kind: Kind, len_bytes: usize) -> Result<Mapping, Failure> {
    let write = ProtFlags::READ | ProtFlags::WRITE;
    match kind {
        Kind::PrivateFile => map_file(&file(len_bytes)?, len_bytes, write, MapFlags::PRIVATE),
        Kind::SharedFile => map_file(&file(len_bytes)?, len_bytes, write, MapFlags::SHARED),
        Kind::SharedFileReadOnly => {
            map_file(&file(len_bytes)?, len_bytes, ProtFlags::READ, MapFlags::SHARED)
        }
        Kind::Memfd => {
            let fd = memfd_create("farptr-doctor", MemfdFlags::CLOEXEC)
                .map_err(|errno| failed("memfd_create", errno))?;
            let file = filled(File::from(fd), len_bytes)?;
            map_file(&file, len_bytes, write, MapFlags::SHARED)
        }
        _ => map_anonymous(kind, len_bytes),
    }
}

fn map_anonymous(kind: Kind, len_bytes: usize) -> Result<Mapping, Failure> {
    let huge = usize::try_from(HUGE_BYTES).expect("64 bits");
    let (mapped_bytes, align, flags) = match kind {
        Kind::Huge => (len_bytes + huge, huge, MapFlags::PRIVATE),
        Kind::Hugetlb => (len_bytes, 1, MapFlags::PRIVATE | MapFlags::HUGETLB),
        _ => (len_bytes, 1, MapFlags::PRIVATE | MapFlags::NORESERVE),
    };
    // SAFETY: 1. without a fixed place the kernel maps memory where there is none.
    let base = unsafe {
        mmap_anonymous(ptr::null_mut(), mapped_bytes, ProtFlags::READ | ProtFlags::WRITE, flags)
    };
    let base = base.map_err(|errno| failed("mmap", errno))?;
    let start = base.wrapping_byte_add(base.addr().next_multiple_of(align) - base.addr());
    let mapping = Mapping { base, mapped_bytes, start, len_bytes };
    if kind == Kind::Huge {
        // SAFETY: 1. the range is the mapping's; the advice changes no contents.
        unsafe { madvise(start, len_bytes, Advice::LinuxHugepage) }
            .map_err(|errno| failed("madvise of huge pages", errno))?;
    }
    if kind != Kind::Untouched {
        mapping.fill();
    }
    if kind == Kind::ReadOnly {
        // SAFETY: 1. the range is the mapping's, and nothing writes it from here on.
        unsafe { mprotect(start, len_bytes, MprotectFlags::READ) }
            .map_err(|errno| failed("mprotect", errno))?;
    }
    Ok(mapping)
}

fn map_file(
    file: &File,
    len_bytes: usize,
    access: ProtFlags,
    flags: MapFlags,
) -> Result<Mapping, Failure> {
    // SAFETY: 1. without a fixed place the kernel maps memory where there is none; the file is this
    // process's alone and does not shrink.
    let base = unsafe { mmap(ptr::null_mut(), len_bytes, access, flags, file, 0) };
    let base = base.map_err(|errno| failed("mmap", errno))?;
    Ok(Mapping { base, mapped_bytes: len_bytes, start: base, len_bytes })
}

/// A file without a name, with contents.
fn file(len_bytes: usize) -> Result<File, Failure> {
    let file = tempfile::tempfile();
    filled(file.map_err(|source| Failure::Linux { call: "open", source })?, len_bytes)
}

fn filled(mut file: File, len_bytes: usize) -> Result<File, Failure> {
    let words: Vec<u32> = (0..len_bytes / 4).map(content).collect();
    let written = file.write_all(bytemuck::cast_slice(&words));
    written.map_err(|source| Failure::Linux { call: "write", source })?;
    Ok(file)
}

impl Mapping {
    fn fill(&self) {
        for word in 0..self.len_bytes / 4 {
            // SAFETY: 1. the word is in the mapping, which is writable and nobody else's.
            unsafe { self.start.cast::<u32>().wrapping_add(word).write_volatile(content(word)) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: 1. the mapping is this value's, unmapped once; 2. its imports are gone.
        let unmapped = unsafe { munmap(self.base, self.mapped_bytes) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

fn failed(call: &'static str, errno: Errno) -> Failure {
    Failure::Linux { call, source: errno.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_holds_what_it_says() {
        for kind in Kind::ALL {
            let memory = match HostMemory::map(kind, HUGE_BYTES) {
                Ok(memory) => memory,
                Err(error) => {
                    assert_eq!(kind, Kind::Hugetlb, "{}: {error:?}", kind.name());
                    continue;
                }
            };
            for word in [0, 1, 1023, 1024, 524_287] {
                assert_eq!(memory.word(word), memory.initial(word), "{}: {word}", kind.name());
            }
            if kind.is_writable() {
                memory.set_word(1024, 5);
                assert_eq!(memory.word(1024), 5, "{}", kind.name());
            }
        }
    }
}
