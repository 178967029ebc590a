//! An access that was not allowed, as an error names it.

use farptr_hmm::VaRange;
use farptr_rewrite::{AccessKind, Line};
use std::fmt;

/// An access that was not allowed: its kind, its address, its invocation, and its distance from the
/// nearest lend.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The kernel.
    pub kernel: &'static str,
    /// The address of the first byte, as the kernel computed it.
    pub address: u64,
    /// The access: a read, a write or an atomic.
    pub access: AccessKind,
    /// How many bytes from there.
    pub size_bytes: u32,
    /// The argument whose pointer the access starts from, if it starts from one.
    pub argument: Option<Argument>,
    /// The instruction, with its place in the source where that is known.
    pub instruction: String,
    /// The place in the source, if the kernel was compiled with debug information (`-g`).
    pub line: Option<Line>,
    /// The workgroup of the invocation.
    pub workgroup: [u32; 3],
    /// The invocation's number in its workgroup.
    pub invocation: u32,
    /// Why it was not allowed.
    pub reason: FaultReason,
    /// The lend that was probably meant; absent where nothing was lent.
    pub nearest: Option<Nearest>,
}

/// A pointer in a kernel's push constants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Argument {
    /// Its name in the kernel's source, if the module has names.
    pub name: Option<String>,
    /// Its offset in the push constants, in bytes.
    pub offset_bytes: u32,
    /// The address that was passed.
    pub address: u64,
}

/// Addresses below this are those of a null pointer, or of a member of an object at one: nothing is
/// mapped there.
const NULL_BYTES: u64 = 4096;

impl Fault {
    /// Whether the pointer was null: the argument, or a pointer that the kernel loaded from memory
    /// or computed.
    #[must_use]
    pub fn is_null(&self) -> bool {
        match (&self.argument, self.reason) {
            (Some(argument), _) => argument.address == 0,
            (None, FaultReason::OutOfBounds | FaultReason::Unmapped) => self.address < NULL_BYTES,
            (None, _) => false,
        }
    }
}

/// Why an access was not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultReason {
    /// Not all of its bytes are in one lend, or an index left the lend that its pointer points
    /// into.
    OutOfBounds,
    /// The bytes were lent for reading only.
    ReadOnly,
    /// The address is not a multiple of the alignment that the kernel promised.
    Misaligned,
    /// Nothing is mapped there, or the address is behind the end of a mapped file.
    Unmapped,
    /// The mapping does not allow it.
    Protected,
    /// A userfaultfd watches the memory, and system calls cannot reach it: the page is missing or
    /// write-protected, and the userfaultfd was opened for faults of user mode only
    /// (`UFFD_USER_MODE_ONLY`). Touch the pages before the launch, or lend them with
    /// [`lend`](crate::Scope::lend).
    Userfaultfd,
    /// The memory is the page in which the kernel keeps the time for the process, `[vvar]`.
    Vvar,
    /// The memory is a ring of performance events.
    PerfRing,
    /// The memory belongs to a device or a driver, and system calls cannot reach it.
    Special,
    /// The mapping allows it, and system calls fail there: a guard page, secret memory, memory that
    /// is broken, or a file system that is full.
    Unreachable,
    /// A sandbox has begun to refuse the system calls `process_vm_readv` and `process_vm_writev`.
    Refused,
    /// `/proc/self/maps` cannot be read any more, so the mappings are not known.
    NoMaps,
    /// The memory is lent as well, at this other address, and written at one of the two: lend it
    /// once, or use the lend's address.
    Aliased {
        /// The address of a byte of the page, in the lend.
        other: u64,
    },
    /// An index leaves one of the kernel's own variables: an array, a vector or a matrix. The
    /// address then is the index, and no lend is near.
    OwnVariable,
    /// The index is 2^31 or more. Indices of access chains are signed numbers of 32 bits, so that
    /// it is negative to the device. The address is that of the element with the unsigned index.
    IndexTooLarge,
}

/// A lend, and where an address is relative to its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nearest {
    /// The lent bytes.
    pub range: VaRange,
    /// From the first lent byte to the address: negative before it.
    pub offset_bytes: i64,
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Aliased { other } = self {
            return write!(
                f,
                "in memory that is lent at another address, {other:#x}, and written at one of them"
            );
        }
        f.write_str(match self {
            Self::OutOfBounds => "out of bounds",
            Self::ReadOnly => "lent for reading only",
            Self::Misaligned => "misaligned",
            Self::Unmapped => "not mapped",
            Self::Protected => "not allowed by the mapping",
            Self::Userfaultfd => "watched by a userfaultfd that serves user mode only",
            Self::Vvar => "in [vvar], which the kernel keeps for itself and the CPU",
            Self::PerfRing => "in a ring of performance events, which system calls cannot reach",
            Self::Special => "in memory of a device or a driver, which system calls cannot reach",
            Self::Unreachable => "in a mapping that allows it, but system calls fail there",
            Self::Refused => {
                "out of reach: a sandbox refuses process_vm_readv and process_vm_writev"
            }
            Self::NoMaps => "unknown memory: /proc/self/maps cannot be read any more",
            Self::Aliased { .. } => "lent at another address",
            Self::OwnVariable => "beyond the kernel's own variable",
            Self::IndexTooLarge => {
                "at an index of 2^31 or more, and indices in kernels are signed numbers of 32 bits \
                 (point the argument further into the lend, or access wider elements)"
            }
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kernel, address, access, size_bytes, reason, .. } = self;
        if *reason == FaultReason::OwnVariable {
            let index = address.cast_signed();
            return write!(f, "kernel `{kernel}`: index {index} is {reason}: {}", Place(self));
        }
        write!(f, "kernel `{kernel}`: {access} of {size_bytes} bytes at {address:#x}")?;
        if let Some(argument) = &self.argument {
            write!(f, " ({argument})")?;
        }
        if self.is_null() {
            return write!(f, " goes through a null pointer: {}", Place(self));
        }
        write!(f, " is {reason}: {}", Place(self))?;
        match &self.nearest {
            None => write!(f, "; nothing was lent"),
            Some(Nearest { range, offset_bytes }) => {
                let (start, end) = (range.start().get(), range.end().get());
                write!(f, "; {} the lend {start:#x}..{end:#x}", Offset(*offset_bytes, range))
            }
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.offset_bytes;
        match &self.name {
            Some(name) => write!(f, "argument {name}, byte {at} of the push constants"),
            None => write!(f, "argument at byte {at} of the push constants"),
        }
    }
}

/// Says where in a kernel, and in which invocation, a fault was.
struct Place<'f>(&'f Fault);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { instruction, workgroup, invocation, line, .. } = self.0;
        write!(f, "{instruction}")?;
        if line.is_none() {
            write!(f, " (compile the kernel with -g to see its line)")?;
        }
        write!(f, ", workgroup {workgroup:?}, invocation {invocation}")
    }
}

/// Says where an address is relative to a lend.
pub(crate) struct Offset<'r>(pub(crate) i64, pub(crate) &'r VaRange);

impl fmt::Display for Offset<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self(offset_bytes, range) = self;
        match u64::try_from(offset_bytes) {
            Err(_) => write!(f, "{} bytes before", offset_bytes.unsigned_abs()),
            Ok(offset) if offset < range.len_bytes() => write!(f, "{offset} bytes into"),
            Ok(offset) => write!(f, "{} bytes after the end of", offset - range.len_bytes()),
        }
    }
}
