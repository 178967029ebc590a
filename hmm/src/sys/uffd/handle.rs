//! The userfaultfd itself: one file, which children of `fork` let go of.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use super::super::atfork::{ForkHook, ForkMark, HookRegistration, register_hook};
use super::error::{OpenUffdError, UffdError};
use super::feature::{Feature, Features};
use super::tier::MirrorTier;
use crate::addr::VaRange;

/// A userfaultfd of this process.
///
/// Dropping it ends the watch over every range: threads that wait go on, and what is a hole then
/// reads as zeroes. A child made by `fork` can use its copy for nothing but dropping it; one made
/// by other means than the C library's `fork` keeps the watch over the parent alive until it drops
/// its copy, executes a program or ends.
#[derive(Debug)]
pub(crate) struct Uffd {
    file: Arc<UffdFile>,
    pub(super) tier: MirrorTier,
    pub(super) features: Features,
    /// Lets go of the file in children.
    _hook: HookRegistration,
}

/// The file of a userfaultfd, and what tells whether a fork came in between.
#[derive(Debug)]
struct UffdFile {
    /// A userfaultfd that does not block and has passed the handshake; in a child, once the hook
    /// has run, another name of `spare`.
    fd: OwnedFd,
    origin: ForkMark,
    /// A file without any effect.
    spare: OwnedFd,
}

impl UffdFile {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let spare = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd, origin: ForkMark::new()?, spare })
    }
}

/// A child that kept the file open would keep the watch over its parent alive.
impl ForkHook for UffdFile {
    fn prepare(&self) {}

    fn parent(&self) {}

    fn child(&self) {
        self.let_go();
    }
}

impl UffdFile {
    /// Puts the file without any effect in the place of the userfaultfd.
    fn let_go(&self) {
        let (spare, fd) = (self.spare.as_raw_fd(), self.fd.as_raw_fd());
        // SAFETY: The call closes the file behind the number `fd` and opens another there. The
        // number stays open and owned by `self.fd`. A thread that is using the file keeps it open
        // until it is done. A request that is made afterwards fails and accesses no memory: the
        // other file knows no requests.
        let _ = unsafe { libc::dup3(spare, fd, libc::O_CLOEXEC) };
    }
}

impl Uffd {
    /// Completes a userfaultfd that has passed the handshake.
    pub(super) fn assemble(
        fd: OwnedFd,
        tier: MirrorTier,
        features: Features,
    ) -> Result<Self, OpenUffdError> {
        let file = UffdFile::new(fd).and_then(|file| {
            let file = Arc::new(file);
            Ok((Arc::clone(&file), register_hook(file)?))
        });
        let (file, hook) = file.map_err(|source| OpenUffdError::Setup { source })?;
        Ok(Self { file, tier, features, _hook: hook })
    }

    /// The faults that it serves.
    pub(crate) fn tier(&self) -> MirrorTier {
        self.tier
    }

    /// The features that it was made with.
    pub(crate) fn features(&self) -> Features {
        self.features
    }

    /// Tells whether stores to pages that are protected go on and are remembered. Otherwise the
    /// threads that make them wait, and messages tell of them.
    pub(crate) fn tracks_stores(&self) -> bool {
        self.features.contains(Feature::WpAsync)
    }

    /// Ends the watch over every range, as dropping it does: threads that wait go on, and what is a
    /// hole then reads as zeroes. Requests fail from now on, and there are no messages.
    pub(crate) fn close(&self) {
        if !self.is_inherited() {
            self.file.let_go();
        }
    }

    /// Tells whether this process is a child of the one that made the userfaultfd.
    ///
    /// Requests through the file would still change the memory of the parent, at the same
    /// addresses.
    pub(crate) fn is_inherited(&self) -> bool {
        self.file.origin.is_inherited()
    }

    pub(super) fn check_origin(&self, range: VaRange) -> Result<(), UffdError> {
        if self.is_inherited() { Err(UffdError::Inherited { range }) } else { Ok(()) }
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.fd.as_fd()
    }
}
