//! How a kernel reaches a host address, and where the bytes are meanwhile: what a program asks for,
//! and what was proved.

use std::fmt;

/// How a program asks for kernels to reach a host address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AccessMode {
    /// Direct access where the device is proved to support it, otherwise mirrored access.
    #[default]
    Auto,
    /// The device address of imported host memory equals the host address, so kernels run on host
    /// pointers as they are. A missing page is an ordinary CPU fault.
    Direct,
    /// The device has an address space of its own, and kernels are rewritten to translate.
    Mirrored,
}

impl AccessMode {
    /// Reads a user's word; the empty word is [`AccessMode::Auto`].
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word.trim().to_lowercase().as_str() {
            "" | "auto" => Some(Self::Auto),
            "direct" => Some(Self::Direct),
            "mirrored" => Some(Self::Mirrored),
            _ => None,
        }
    }
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::Mirrored => "mirrored",
        })
    }
}

/// How a kernel was proved to reach a host address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProvedAccess {
    /// As [`AccessMode::Direct`].
    Direct,
    /// As [`AccessMode::Mirrored`].
    Mirrored,
}

impl fmt::Display for ProvedAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Mirrored => "mirrored",
        })
    }
}

/// A program's choice of the place of the bytes that a kernel works on in mirrored access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backing {
    /// Imported host memory on software and integrated devices that import single pages, otherwise
    /// copies.
    #[default]
    Auto,
    /// Host memory itself, imported with `VK_EXT_external_memory_host`. Memory that cannot be
    /// imported is copied: see [`Scope::lend`](crate::Scope::lend).
    Import,
    /// Memory of the device, to which pages are copied when a kernel first touches them.
    Copy,
}

impl Backing {
    /// Reads a user's word; the empty word is [`Backing::Auto`].
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word.trim().to_lowercase().as_str() {
            "" | "auto" => Some(Self::Auto),
            "import" => Some(Self::Import),
            "copy" => Some(Self::Copy),
            _ => None,
        }
    }
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Import => "import",
            Self::Copy => "copy",
        })
    }
}

/// The place of the bytes that a kernel works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChosenBacking {
    /// As [`Backing::Import`]; so it is in direct access.
    Import,
    /// As [`Backing::Copy`].
    Copy,
}

impl fmt::Display for ChosenBacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Import => "import",
            Self::Copy => "copy",
        })
    }
}

/// A program's choice of the memory of which copies stay on the device from scope to scope.
///
/// It matters where kernels work on copies ([`ChosenBacking::Copy`]), and the kernel of the system
/// can tell which pages were stored to (Linux 6.7). A page that the program has stored to since
/// comes anew, and so does memory that was unmapped or mapped anew. Copies that stay take memory of
/// the device until another scope needs it, or the runtime is dropped.
///
/// To find out about stores has a price: the first store to each page after a scope takes some
/// microseconds longer. So lends are left alone of which more than one page in eight is stored to
/// between scopes or written by kernels, those of which a scope used less than one page in eight,
/// and those of fewer than 16 pages. The pages that a lend shares with other data come anew in each
/// scope. Threads that unmap memory next to such lends, as an allocator may, wait for a thread of
/// farptr's, and no `userfaultfd` of the program can watch that memory.
///
/// # Examples
///
/// ```
/// use farptr::{Backing, Grid, Reuse, Runtime, shaders::saxpy};
///
/// let runtime = Runtime::builder().backing(Backing::Copy).reuse(Reuse::Anonymous).build()?;
/// let kernel = runtime.kernel::<saxpy::Kernel>()?;
/// let (x, mut y) = (vec![1.0f32; 100_000], vec![0.0f32; 100_000]);
/// for _ in 0..3 {
///     runtime.scope(|s| {
///         let (x, y) = (s.lend(&x)?.ptr(), s.lend_mut(&mut y)?.ptr());
///         s.launch(&kernel, Grid::cover(100_000), saxpy::Args { x, y, n: 100_000, a: 1.0 })?;
///         Ok(())
///     })?;
/// }
/// assert!(y.iter().all(|&y| y == 3.0));
/// println!("{} pages were there already", runtime.stats().pages_kept);
/// # Ok::<(), farptr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reuse {
    /// Of none: copies end with their scope.
    #[default]
    Never,
    /// Of private memory without a file behind it: heap, stack, and anonymous mappings.
    ///
    /// The program promises that while such memory has a copy, nothing changes it that Linux does
    /// not count as a store of the program: another device, or a buffer that is registered with
    /// `io_uring`, that writes to it after a scope in which it was lent; `MADV_FREE`. Kernels would
    /// read old bytes otherwise. That is wrong data and not undefined behaviour.
    Anonymous,
}

impl Reuse {
    /// Reads a user's word; the empty word is [`Reuse::Never`].
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word.trim().to_lowercase().as_str() {
            "" | "never" => Some(Self::Never),
            "anonymous" => Some(Self::Anonymous),
            _ => None,
        }
    }
}

impl fmt::Display for Reuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Anonymous => "anonymous",
        })
    }
}

/// The place of lent data between launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResidencyTier {
    /// Nowhere: kernels work on host memory itself, or copies end with their scope.
    None,
    /// Copies stay on the device from scope to scope, of memory that [`Reuse`] names.
    Scoped,
}

impl fmt::Display for ResidencyTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Scoped => "scoped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_modes_are_read_as_they_are_printed() {
        for mode in [AccessMode::Auto, AccessMode::Direct, AccessMode::Mirrored] {
            assert_eq!(
                AccessMode::parse(&format!(" {} ", mode.to_string().to_uppercase())),
                Some(mode)
            );
        }
        assert_eq!(AccessMode::parse(""), Some(AccessMode::Auto));
        assert_eq!(AccessMode::parse("mirror"), None);
    }

    #[test]
    fn backings_are_read_as_they_are_printed() {
        for backing in [Backing::Auto, Backing::Import, Backing::Copy] {
            let word = format!(" {} ", backing.to_string().to_uppercase());
            assert_eq!(Backing::parse(&word), Some(backing));
        }
        assert_eq!(Backing::parse(""), Some(Backing::Auto));
        assert_eq!(Backing::parse("imported"), None);
    }

    #[test]
    fn choices_of_reuse_are_read_as_they_are_printed() {
        for reuse in [Reuse::Never, Reuse::Anonymous] {
            assert_eq!(Reuse::parse(&reuse.to_string().to_uppercase()), Some(reuse));
        }
        assert_eq!(Reuse::parse(""), Some(Reuse::Never));
        assert_eq!(Reuse::parse("always"), None);
    }
}
