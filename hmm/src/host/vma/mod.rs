//! Virtual memory areas: what one line of `/proc/self/maps` says.

#![forbid(unsafe_code)]

mod parse;
mod smaps;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::addr::VaRange;

pub use parse::parse_maps;
pub(crate) use smaps::{Smaps, find_smaps};

/// The suffix that the kernel appends to the path of a file that has been unlinked.
const DELETED: &[u8] = b" (deleted)";

/// A virtual memory area: a range of addresses mapped in one way.
///
/// It describes the address space at the moment of the query. Areas split, merge and disappear
/// without notice, even where the program did not ask for it: the kernel merges neighbours that
/// are mapped alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vma {
    /// The addresses, page aligned.
    pub range: VaRange,
    /// The permissions, and whether writes are shared.
    pub flags: VmaFlags,
    /// The offset in the file at which the area begins, in bytes; zero without a file.
    pub offset_bytes: u64,
    /// The device that holds the file; zero without a file.
    pub device: Device,
    /// The file's inode on that device; zero without a file.
    pub inode: u64,
    /// The path of the file, or a name in brackets such as `[heap]`, as the kernel writes it.
    pub name: Option<OsString>,
}

impl Vma {
    /// Tells whether a file lies behind the area.
    ///
    /// Shared anonymous memory and huge page mappings count: the kernel keeps them in files of
    /// its own.
    #[must_use]
    pub fn is_file_backed(&self) -> bool {
        self.inode != 0 || self.device != Device::default()
    }

    /// Tells whether this is private memory without a file or a special name: ordinary heap,
    /// stack or `mmap` memory.
    ///
    /// Areas that the kernel provides, such as `[vdso]`, are not.
    #[must_use]
    pub fn is_private_anonymous(&self) -> bool {
        !self.flags.shared && !self.is_file_backed() && !self.is_kernel_provided()
    }

    /// Returns the path of the mapped file, or `None` if there is no file or it was unlinked.
    ///
    /// A file whose own name ends in ` (deleted)` cannot be told from an unlinked one and counts
    /// as unlinked.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        let name = self.name.as_deref()?;
        (name.as_bytes().starts_with(b"/") && !self.is_deleted()).then_some(Path::new(name))
    }

    /// Tells whether the mapped file has been unlinked.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        let deleted = |name: &OsStr| name.as_bytes().ends_with(DELETED);
        self.is_file_backed() && self.name.as_deref().is_some_and(deleted)
    }

    fn is_kernel_provided(&self) -> bool {
        const ORDINARY: [&[u8]; 3] = [b"[heap]", b"[stack]", b"[anon:"];
        let special =
            |name: &OsStr| !ORDINARY.iter().any(|ordinary| name.as_bytes().starts_with(ordinary));
        self.name.as_deref().is_some_and(special)
    }
}

/// How an area may be accessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VmaFlags {
    /// The CPU may read.
    pub read: bool,
    /// The CPU may write.
    pub write: bool,
    /// The CPU may execute.
    pub execute: bool,
    /// Writes reach the file and other processes. Otherwise a written page becomes a private copy.
    pub shared: bool,
}

impl fmt::Display for VmaFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |set: bool, letter: &'static str| if set { letter } else { "-" };
        f.write_str(letter(self.read, "r"))?;
        f.write_str(letter(self.write, "w"))?;
        f.write_str(letter(self.execute, "x"))?;
        f.write_str(if self.shared { "s" } else { "p" })
    }
}

/// The number of a block device or of a file system without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Device {
    /// The driver's part of the number.
    pub major: u32,
    /// The instance's part of the number.
    pub minor: u32,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::VirtAddr;

    fn vma(inode: u64, shared: bool, name: Option<&str>) -> Vma {
        Vma {
            range: VaRange::from_len(VirtAddr::new(0x1000), 0x1000).expect("a user range"),
            flags: VmaFlags { read: true, shared, ..VmaFlags::default() },
            offset_bytes: 0,
            device: Device::default(),
            inode,
            name: name.map(OsString::from),
        }
    }

    #[test]
    fn an_unlinked_file_has_no_path() {
        let linked = vma(7, false, Some("/tmp/a file"));
        assert_eq!(linked.path(), Some(Path::new("/tmp/a file")));
        assert!(!linked.is_deleted());
        let unlinked = vma(7, false, Some("/memfd:scratch (deleted)"));
        assert_eq!(unlinked.path(), None);
        assert!(unlinked.is_deleted());
    }

    #[test]
    fn names_in_brackets_are_not_paths() {
        let heap = vma(0, false, Some("[heap]"));
        assert_eq!(heap.path(), None);
        assert!(!heap.is_deleted());
    }

    #[test]
    fn private_anonymous_memory_has_no_file_behind_it() {
        for name in [None, Some("[heap]"), Some("[stack]"), Some("[anon:arena]")] {
            assert!(vma(0, false, name).is_private_anonymous(), "{name:?}");
        }
        assert!(!vma(0, false, Some("[vdso]")).is_private_anonymous());
        assert!(!vma(0, true, None).is_private_anonymous());
        assert!(!vma(7, false, Some("/bin/true")).is_private_anonymous());
    }

    #[test]
    fn flags_print_like_the_kernel_does() {
        let flags = VmaFlags { read: true, execute: true, ..VmaFlags::default() };
        assert_eq!(flags.to_string(), "r-xp");
        let flags = VmaFlags { write: true, shared: true, ..VmaFlags::default() };
        assert_eq!(flags.to_string(), "-w-s");
    }
}
