//! Making a userfaultfd: from the device node, by the system call, or for user mode only.
//!
//! # Safety
//!
//! Three calls are made: the system call, the request of the device node that does the same, and
//! the handshake. They make files. The handshake writes one structure, which its caller owns.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{UserfaultfdFlags, userfaultfd};

use super::super::abi::{self, uffdio_api};
use super::error::OpenUffdError;
use super::feature::{Feature, Features};
use super::handle::Uffd;
use super::request::request;
use super::tier::{MirrorTier, Route};

const DEVICE: &str = "/dev/userfaultfd";

const FLAGS: UserfaultfdFlags = UserfaultfdFlags::CLOEXEC.union(UserfaultfdFlags::NONBLOCK);

impl Uffd {
    /// Makes a userfaultfd with the features required, and with as many of the optional ones as
    /// the kernel and the privilege of the process give.
    pub(crate) fn open(
        tier: MirrorTier,
        required: Features,
        optional: Features,
    ) -> Result<Self, OpenUffdError> {
        match Self::attempt(tier, required | optional) {
            Err(OpenUffdError::Features { .. }) => {}
            done => return done,
        }
        // The kernel refuses all features for the sake of one, and does not say which.
        let works = |&feature: &Feature| Self::attempt(tier, required.with(feature)).is_ok();
        let granted: Features = optional.iter().filter(works).collect();
        Self::attempt(tier, required | granted)
    }

    /// Makes a userfaultfd with exactly these features.
    fn attempt(tier: MirrorTier, features: Features) -> Result<Self, OpenUffdError> {
        let (fd, _) = make(tier)?;
        handshake(&fd, features).map_err(|source| OpenUffdError::Features {
            required: features,
            source: source.into(),
        })?;
        Self::assemble(fd, tier, features)
    }
}

/// Makes the file, before the handshake, by the first route that works.
pub(super) fn make(tier: MirrorTier) -> Result<(OwnedFd, Route), OpenUffdError> {
    match tier {
        MirrorTier::KernelFaults => {
            from_device().map(|fd| (fd, Route::DeviceNode)).or_else(|device| {
                let made = from_system_call(FLAGS).map(|fd| (fd, Route::SystemCall));
                made.map_err(|source| OpenUffdError::KernelFaults { device, source })
            })
        }
        MirrorTier::UserFaults => {
            let flags = FLAGS | UserfaultfdFlags::from_bits_retain(abi::USER_MODE_ONLY);
            let made = from_system_call(flags).map(|fd| (fd, Route::SystemCall));
            made.map_err(|source| OpenUffdError::UserFaults { source })
        }
    }
}

fn from_system_call(flags: UserfaultfdFlags) -> io::Result<OwnedFd> {
    // SAFETY: The function is unsafe because of what the file may be used for later. Each request
    // of this folder carries its own proof, and the file does not leave the folder.
    Ok(unsafe { userfaultfd(flags) }?)
}

fn from_device() -> io::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open(DEVICE)?;
    // SAFETY: `ioctl` asks that opcode, operand and memory accesses be what the driver behind the
    // file does. `DEVICE` is the node whose one request `NewUserfaultfd` is; it accesses no
    // memory. Were another driver behind the name, it would not know the letter and the number,
    // and the operand is a number that points to nothing.
    Ok(unsafe { ioctl(&device, NewUserfaultfd { flags: FLAGS }) }?)
}

/// Agrees on the features and returns all that the kernel has.
pub(super) fn handshake(fd: &OwnedFd, features: Features) -> rustix::io::Result<Features> {
    let mut arg = uffdio_api { api: abi::UFFD_API, features: features.bits(), ioctls: 0 };
    // SAFETY: 1. Every file that reaches this function was made by `make`. 2. The handshake takes
    // this structure. 3. It touches no other memory.
    unsafe { request::<{ abi::UFFDIO_API }, _>(fd.as_fd(), &mut arg) }?;
    Ok(Features::from_bits(arg.features))
}

/// The request of `/dev/userfaultfd`. Its argument is a number and its result a file.
struct NewUserfaultfd {
    flags: UserfaultfdFlags,
}

// SAFETY: The trait asks for five things.
// - The call expects what `as_ptr` gives, flags in place of a pointer, and returns a new file.
// - `output_from_ptr` does not read the pointer.
// - The opcode is that of the device node's one request.
// - The call is safe to make: it makes a file.
// - `IS_MUTATING` is false and no memory is written.
unsafe impl Ioctl for NewUserfaultfd {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        abi::USERFAULTFD_NEW
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::without_provenance_mut(self.flags.bits() as usize)
    }

    unsafe fn output_from_ptr(
        made: IoctlOutput,
        _: *mut c_void,
    ) -> rustix::io::Result<Self::Output> {
        // SAFETY: The file must be open and have no other owner. The caller passes the result of a
        // call that did not fail: the number of a file that the kernel made for this call.
        Ok(unsafe { OwnedFd::from_raw_fd(made) })
    }
}
