//! Lookup of memory areas: `PROCMAP_QUERY`, or the text of `/proc/self/maps`.
//!
//! # Safety
//!
//! One `ioctl` is made, `PROCMAP_QUERY`. The kernel reads its argument structure and writes two
//! places: the structure itself, and the buffer for the name whose address and size stand in the
//! structure. Both are borrowed mutably for the call and owned by the function that makes it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;

use rustix::io::Errno;
use rustix::ioctl::{Updater, ioctl};

use super::abi::{self, procmap_query};
use crate::addr::{VaRange, VirtAddr};
use crate::error::MapsError;
use crate::host::vma::{Device, Vma, VmaFlags, parse_maps};

const PATH: &str = "/proc/self/maps";

/// How [`Maps`] asks the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MapsSource {
    /// The `PROCMAP_QUERY` request of Linux 6.11: one short call per area.
    Query,
    /// The text of `/proc/self/maps`, read whole for every question.
    Text,
}

/// The memory areas of this process.
///
/// Answers are snapshots. An answer about several areas may be pieced together from several
/// moments.
///
/// The value belongs to the process that opened it: with [`MapsSource::Query`] a child made by
/// `fork` that uses its copy is told about its parent. A child opens its own.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{Maps, VirtAddr};
///
/// let maps = Maps::open()?;
/// let on_the_stack = 1u32;
/// let addr = VirtAddr::of(&on_the_stack);
/// let vma = maps.find_vma(addr)?.ok_or("the stack is mapped")?;
/// assert!(vma.range.contains(addr));
/// assert!(vma.flags.read && vma.flags.write);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Maps {
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Query(File),
    Text,
}

impl Maps {
    /// Opens the best source that works here.
    ///
    /// # Errors
    ///
    /// - [`MapsError::Open`] if `/proc/self/maps` cannot be opened.
    pub fn open() -> Result<Self, MapsError> {
        let file = open_file()?;
        let backend = if probe(&file).is_ok() { Backend::Query(file) } else { Backend::Text };
        Ok(Self { backend })
    }

    /// Opens one particular source.
    ///
    /// # Errors
    ///
    /// - [`MapsError::Open`] if `/proc/self/maps` cannot be opened.
    /// - [`MapsError::QueryUnavailable`] if the source is [`MapsSource::Query`] and the kernel
    ///   does not offer it.
    pub fn open_with(source: MapsSource) -> Result<Self, MapsError> {
        let file = open_file()?;
        let backend = match source {
            MapsSource::Query => {
                probe(&file).map_err(|source| MapsError::QueryUnavailable { source })?;
                Backend::Query(file)
            }
            MapsSource::Text => Backend::Text,
        };
        Ok(Self { backend })
    }

    /// Returns the source in use.
    #[must_use]
    pub fn source(&self) -> MapsSource {
        match self.backend {
            Backend::Query(_) => MapsSource::Query,
            Backend::Text => MapsSource::Text,
        }
    }

    /// Finds the first area that ends above `addr`, or `None` if there is none.
    ///
    /// As with the kernel's function of this name, the area need not contain `addr`: if `addr`
    /// lies in a hole, the next area above is returned. Check
    /// [`vma.range.contains(addr)`](VaRange::contains).
    ///
    /// # Errors
    ///
    /// - [`MapsError::Query`] or [`MapsError::Read`] if the kernel refuses.
    /// - [`MapsError::Parse`] if `/proc/self/maps` is not what Linux writes.
    pub fn find_vma(&self, addr: VirtAddr) -> Result<Option<Vma>, MapsError> {
        match &self.backend {
            Backend::Query(file) => {
                query(file, addr).map_err(|source| MapsError::Query { addr, source })
            }
            Backend::Text => Ok(read_text(addr)?.into_iter().find(|vma| vma.range.end() > addr)),
        }
    }

    /// Lists the areas that have an address in common with `range`, lowest first.
    ///
    /// The areas are whole: the first and the last may reach past the range.
    ///
    /// # Errors
    ///
    /// As [`Maps::find_vma`].
    pub fn vmas(&self, range: VaRange) -> Result<Vec<Vma>, MapsError> {
        match &self.backend {
            Backend::Query(_) => self.query_each(range),
            Backend::Text => {
                let mut vmas = read_text(range.start())?;
                vmas.retain(|vma| vma.range.overlaps(&range));
                Ok(vmas)
            }
        }
    }

    fn query_each(&self, range: VaRange) -> Result<Vec<Vma>, MapsError> {
        let mut vmas = Vec::new();
        let mut cursor = range.start();
        while cursor < range.end() {
            let Some(vma) = self.find_vma(cursor)? else {
                break;
            };
            cursor = vma.range.end();
            if vma.range.overlaps(&range) {
                vmas.push(vma);
            }
        }
        Ok(vmas)
    }
}

fn open_file() -> Result<File, MapsError> {
    File::open(PATH).map_err(|source| MapsError::Open { source })
}

/// Finds out whether `PROCMAP_QUERY` works on `file`.
fn probe(file: &File) -> io::Result<()> {
    query(file, VirtAddr::NULL).map(drop)
}

/// Reads all areas afresh, through a file of its own: a position shared with another thread, or
/// with a parent process, would tear the text.
fn read_text(addr: VirtAddr) -> Result<Vec<Vma>, MapsError> {
    let text = std::fs::read(PATH).map_err(|source| MapsError::Read { addr, source })?;
    Ok(parse_maps(&text)?)
}

/// Asks for the first area that ends above `addr`.
fn query(file: &File, addr: VirtAddr) -> io::Result<Option<Vma>> {
    let mut name = [0; abi::NAME_BYTES];
    let reply = match procmap_query(file, addr, &mut name) {
        // The path does not fit in the longest buffer that the kernel fills.
        Err(Errno::NAMETOOLONG) => procmap_query(file, addr, &mut []),
        reply => reply,
    };
    match reply {
        Ok(reply) => Ok(decode(&reply, &name)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes the call. An empty `name` asks for no name.
fn procmap_query(
    file: &File,
    addr: VirtAddr,
    name: &mut [u8],
) -> rustix::io::Result<procmap_query> {
    let name_bytes = u32::try_from(name.len()).map_err(|_| Errno::INVAL)?;
    let name_addr = if name.is_empty() { VirtAddr::NULL } else { VirtAddr::of_slice_mut(name) };
    let mut arg = procmap_query {
        size: size_of::<procmap_query>() as u64,
        query_flags: abi::QUERY_COVERING_OR_NEXT,
        query_addr: addr.get(),
        vma_start: 0,
        vma_end: 0,
        vma_flags: 0,
        vma_page_size: 0,
        vma_offset: 0,
        inode: 0,
        dev_major: 0,
        dev_minor: 0,
        vma_name_size: name_bytes,
        build_id_size: 0,
        vma_name_addr: name_addr.get(),
        build_id_addr: 0,
    };
    // SAFETY: `Updater` asks that the opcode be valid and that the kernel expect this structure
    // for it; `abi` derives the opcode from the structure and asserts both against the header.
    let update = unsafe { Updater::<{ abi::PROCMAP_QUERY }, procmap_query>::new(&mut arg) };
    // SAFETY: `ioctl` asks that opcode, operand and memory accesses be what the driver behind the
    // file does. Every `File` that reaches this function was opened on `/proc/self/maps` by
    // `open_file`. The kernel writes at most `size` bytes of `arg`, which `update` borrows, and
    // at most `vma_name_size` bytes at `vma_name_addr`, which is `name`, borrowed mutably and
    // exposed for writing above. With `build_id_size` zero it writes nothing else.
    unsafe { ioctl(file, update) }?;
    Ok(arg)
}

/// Makes an area of a reply; `None` if it lies outside user space.
fn decode(reply: &procmap_query, name: &[u8]) -> Option<Vma> {
    let range = VaRange::new(VirtAddr::new(reply.vma_start), VirtAddr::new(reply.vma_end))?;
    Some(Vma {
        range,
        flags: VmaFlags {
            read: reply.vma_flags & abi::VMA_READABLE != 0,
            write: reply.vma_flags & abi::VMA_WRITABLE != 0,
            execute: reply.vma_flags & abi::VMA_EXECUTABLE != 0,
            shared: reply.vma_flags & abi::VMA_SHARED != 0,
        },
        offset_bytes: reply.vma_offset,
        device: Device { major: reply.dev_major, minor: reply.dev_minor },
        inode: reply.inode,
        name: decode_name(reply.vma_name_size, name),
    })
}

/// Takes the name without its terminating zero, which the size counts.
fn decode_name(size_bytes: u32, buffer: &[u8]) -> Option<OsString> {
    let last = usize::try_from(size_bytes).ok()?.checked_sub(1)?;
    let name = buffer.get(..last)?;
    (!name.is_empty()).then(|| OsString::from_vec(name.to_vec()))
}
