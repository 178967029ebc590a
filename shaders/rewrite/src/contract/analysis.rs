//! Facts about a kernel that hold for all its variants.

use crate::contract::bases::OtherUses;
use std::{convert::Infallible, fmt};

/// The kind of an access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessKind {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It reads and writes in one step.
    Atomic,
}

impl AccessKind {
    /// Whether memory has to be writable.
    #[must_use]
    pub fn writes(self) -> bool {
        self != Self::Read
    }
}

impl fmt::Display for AccessKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Atomic => "atomic",
        })
    }
}

/// Facts about a kernel that host and rewritten kernel share: sites, roots and checks.
///
/// All numbering is by position and does not depend on the [`Variant`](crate::Variant), so that one
/// set of tables on the host serves every variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Analysis {
    /// Every access through a physical pointer. A fault reports its position plus one.
    pub sites: Vec<Site>,
    /// The addresses that accesses start from and that the host knows.
    pub roots: Vec<Root>,
    /// The kinds of access whose index is compared with a count.
    pub index_checks: Vec<IndexCheck>,
    /// The kinds of access whose address is compared with segments.
    pub address_checks: Vec<AddressCheck>,
    /// Accesses that can be checked together instead.
    pub joints: Vec<Joint>,
    /// How pointers are used, each use once.
    pub uses: Vec<PointerUse>,
    /// The number of loops.
    pub loops: usize,
    /// The place of each loop in the source, if the module has debug information.
    pub loop_lines: Vec<Option<Line>>,
    /// The name of the entry point.
    pub entry: String,
    /// The descriptor set of the control block, which is at binding 0: the first that the kernel
    /// does not use.
    pub control_set: u32,
    /// Whether the kernel itself has 64-bit integers.
    pub int64: bool,
    /// The effects of the kernel beside loads and stores.
    pub effects: Effects,
    /// The bytes of the push constants that are more than the base of accesses.
    pub(crate) other_uses: OtherUses,
}

impl Analysis {
    /// Whether the kernel uses the eight bytes of a root as nothing but the base of accesses: each
    /// address in which they count is their number and another one, which does not depend on them.
    ///
    /// So another address may stand in for them, if what lies behind the one lies behind the
    /// other: the kernel accesses the same bytes, writes the same numbers and takes the same ways.
    /// Several roots may be replaced at once if this holds for each of them. It holds for
    /// bytes that the kernel does not use. If it is not known, the answer is `false`.
    ///
    /// Nothing is said of accesses whose address does not depend on the root, such as those
    /// through pointers in memory, nor of the alignment of the root. Behind the other
    /// address, too, no two things may overlap that do not overlap behind the first.
    ///
    /// # Examples
    ///
    /// ```
    /// use farptr_kernels::{KernelDesc, saxpy};
    /// use farptr_rewrite::{Program, Root};
    ///
    /// let program = Program::parse(saxpy::Kernel::words(), None)?;
    /// let is_base = |offset_bytes| program.analysis().is_only_base(Root::Push { offset_bytes });
    /// assert!(is_base(0) && is_base(8)); // x and y
    /// assert!(!is_base(16)); // n, which is compared with the number of the invocation
    /// # Ok::<(), farptr_rewrite::RewriteError>(())
    /// ```
    #[must_use]
    pub fn is_only_base(&self, root: Root) -> bool {
        let Root::Push { offset_bytes } = root;
        self.other_uses.leave(offset_bytes)
    }

    /// The least distance between any two segments, in bytes from the end of one to the start of
    /// the next, at which [`Variant::joint`](crate::Variant::joint) may be used. 0 if no accesses
    /// are checked together.
    #[must_use]
    pub fn joint_bytes(&self) -> u64 {
        let address_checks =
            self.joints.iter().filter_map(|joint| self.address_checks.get(joint.check));
        address_checks.map(|check| check.size_bytes.into()).max().unwrap_or_default()
    }

    /// Whether every access is an index from a pointer argument, so that no segment is searched.
    #[must_use]
    pub fn is_roots_only(&self) -> bool {
        self.address_checks.is_empty()
    }
}

/// The effects of a kernel that decide how a round with faults may be repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effects {
    /// It stores.
    pub writes: bool,
    /// It has atomic operations on memory.
    pub atomics: bool,
    /// It has a control barrier.
    pub barriers: bool,
    /// It has operations across a subgroup.
    pub subgroups: bool,
    /// The addresses of its writes depend on its arguments and invocation numbers alone, never on
    /// memory, and it reads nothing that it may have written. So a second run writes the same
    /// bytes.
    pub overwrites: bool,
}

/// An instruction that accesses memory through a physical pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Site {
    /// The instruction's name, as `OpLoad`.
    pub instruction: &'static str,
    /// The kind of the access.
    pub access: AccessKind,
    /// How it is checked.
    pub check: Check,
    /// Its place in the source, if the module has debug information.
    pub line: Option<Line>,
}

/// How an access is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// By its index: the position of an [`IndexCheck`].
    Index(usize),
    /// By its address: the position of an [`AddressCheck`].
    Address(usize),
    /// By its index into one of the kernel's own variables, whose length the module says.
    Own,
}

/// Accesses at fixed distances from one address. Either all of them run or none does.
///
/// If they are checked together, the first of them reports the fault, with the address that it
/// would have accessed itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Joint {
    /// The position of the [`AddressCheck`] of all of them.
    pub check: usize,
    /// The positions of their sites, in the order of the program, and how many bytes behind the
    /// start of the extent each is.
    pub members: Vec<(usize, u64)>,
}

/// A place in a kernel's source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// The file's name as the compiler was given it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, or 0 where it is not known.
    pub column: u32,
}

/// The start of accesses: an address that the host knows before the launch.
///
/// [`Root::Bound`] has no values yet, because the pass follows no bound buffer: a kernel's accesses
/// through descriptors stay as they are. The compiler accepts the pattern
/// `Root::Push { offset_bytes }` as complete, and will point to each place that has it when that
/// changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Root {
    /// A pointer in the push constants.
    Push {
        /// The byte at which its eight bytes begin, low word first.
        offset_bytes: u32,
    },
    /// The first byte of a buffer that is bound by a descriptor.
    Bound {
        /// The descriptor set.
        set: u32,
        /// The binding in the set.
        binding: u32,
        /// No value has this field.
        unsupported: Infallible,
    },
}

/// A kind of access behind a pointer, for hosts that type the arguments of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PointerUse {
    /// The byte of the push constants at which the pointer's eight bytes begin. `None` if the
    /// pointer came from memory, or from one of several places.
    pub push_offset_bytes: Option<u32>,
    /// The pointer's type: its id in the kernel's words.
    pub pointer_type: u32,
    /// The alignment of the pointer that the access relies on: a power of two, or 1 if it
    /// relies on more than the pointer.
    pub align_bytes: u32,
    /// The kind of the access.
    pub access: AccessKind,
}

/// A kind of access that starts at a root and has at most one index that is not constant.
///
/// The access of index `i`, a signed 32-bit number, covers `size_bytes` bytes from
/// `root + offset_bytes + i * stride_bytes`. Without an index the stride is 0 and `i` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct IndexCheck {
    /// The position of the [`Root`].
    pub root: usize,
    /// Bytes from one index to the next.
    pub stride_bytes: u32,
    /// Bytes from the root to index 0.
    pub offset_bytes: u32,
    /// Bytes that are accessed.
    pub size_bytes: u32,
    /// The alignment of the address: a power of two. It divides stride and offset, so
    /// that it is the root alone that has to be aligned.
    pub align_bytes: u32,
    /// The kind of the access.
    pub access: AccessKind,
}

/// A kind of access whose address is only known when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AddressCheck {
    /// Bytes from the checked address that have to be lent.
    pub size_bytes: u32,
    /// The alignment of the address: a power of two.
    pub align_bytes: u32,
    /// The kind of the access.
    pub access: AccessKind,
}
