//! Errors, one enum per family of operations.
//!
//! Each says what failed, on which device, kernel or address, and what can be done. A message does
//! not repeat its source: print the chain. The type of an error says what it is about:
//! [`BuildError`] is about the machine, [`KernelError`] about a kernel's words, [`LendError`] about
//! memory, [`LaunchError`] about one launch. Broken invariants of farptr's own are assertions, not
//! errors.

pub(crate) mod array;
pub(crate) mod fault;
mod forked;
pub(crate) mod launch;
pub(crate) mod vulkan;

use array::ArrayError;
use farptr_hmm::{MapsError, VaRange};
use farptr_rewrite::{Capability, ReflectError, SpecializeError};
use forked::FORKED;
use launch::LaunchError;
use std::{fmt, time::Duration};
use vulkan::VulkanError;

/// Why no [`Runtime`](crate::Runtime) could be built.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The Vulkan loader library is not there.
    #[error(
        "cannot load the Vulkan library; install a Vulkan loader and driver, on Debian or Ubuntu \
         the packages libvulkan1 and mesa-vulkan-drivers"
    )]
    NoLoader(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The Vulkan loader is too old.
    #[error("the Vulkan loader has version {found}, farptr needs 1.2; update libvulkan1")]
    OldLoader {
        /// The loader's version.
        found: String,
    },
    /// Validation was asked for and its layer is not installed.
    #[error(
        "the layer VK_LAYER_KHRONOS_validation is not installed; install vulkan-validationlayers \
         or switch validation off"
    )]
    NoValidationLayer,
    /// Vulkan lists no device at all.
    #[error("Vulkan found no device; install a driver, for example mesa-vulkan-drivers")]
    NoDevice,
    /// No listed device can be used.
    #[error("no Vulkan device can be used: {reasons}")]
    NoSuitableDevice {
        /// Each device and why it was refused.
        reasons: String,
    },
    /// No device has the name or index that was asked for.
    #[error("there is no {wanted}; the devices are: {devices}")]
    NoSuchDevice {
        /// The name or index that was asked for.
        wanted: String,
        /// The devices that exist.
        devices: String,
    },
    /// The environment variable `FARPTR_ACCESS` names no access mode.
    #[error("FARPTR_ACCESS is `{word}`; set it to auto, direct or mirrored, or not at all")]
    UnknownAccess {
        /// Its value.
        word: String,
    },
    /// The environment variable `FARPTR_BACKING` names no backing.
    #[error("FARPTR_BACKING is `{word}`; set it to auto, import or copy, or not at all")]
    UnknownBacking {
        /// Its value.
        word: String,
    },
    /// The environment variable `FARPTR_PROOFS` is neither on nor off.
    #[error("FARPTR_PROOFS is `{word}`; set it to on or off, or not at all")]
    UnknownProofs {
        /// Its value.
        word: String,
    },
    /// The environment variable `FARPTR_REUSE` names no choice of memory.
    #[error("FARPTR_REUSE is `{word}`; set it to never or anonymous, or not at all")]
    UnknownReuse {
        /// Its value.
        word: String,
    },
    /// The process was forked from one that had, or has had, a runtime.
    #[error("{FORKED}")]
    Forked,
    /// A limit of the process, which is the likely reason for the failure.
    #[error("{lack}: the limit is {limit} ({resource}); raise it")]
    Shortage {
        /// The thing that there is too little of, in words.
        lack: String,
        /// The name of the limit: a resource limit as `RLIMIT_NOFILE`, or a setting.
        resource: &'static str,
        /// The limit, or what is known of it.
        limit: String,
        /// The failure that it is likely to be behind.
        #[source]
        source: Box<BuildError>,
    },
    /// A Vulkan call failed.
    #[error("Vulkan could not be set up")]
    Vulkan(#[from] VulkanError),
}

/// Why a kernel cannot run on a device.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The words are not one compute kernel.
    #[error("kernel `{kernel}` is not a usable SPIR-V module")]
    Words {
        /// The kernel.
        kernel: &'static str,
        /// The defect of the words.
        #[source]
        source: ReflectError,
    },
    /// The specialisation constants cannot have the values that they were given.
    #[error("the constants of kernel `{kernel}` cannot have these values")]
    Constants {
        /// The kernel.
        kernel: &'static str,
        /// The constant and what is wrong with its value.
        #[source]
        source: Box<SpecializeError>,
    },
    /// `KernelDesc::Push` does not have the size that the kernel declares.
    #[error(
        "kernel `{kernel}` declares {declared} bytes of push constants, its Rust type has {given}"
    )]
    PushSize {
        /// The kernel.
        kernel: &'static str,
        /// Bytes in the SPIR-V module.
        declared: usize,
        /// Bytes in Rust.
        given: usize,
    },
    /// The kernel has bound buffers, images or samplers.
    #[error(
        "kernel `{kernel}` has {descriptors} bound resources; pass addresses in its push constants \
         instead (buffer_reference)"
    )]
    Descriptors {
        /// The kernel.
        kernel: &'static str,
        /// How many resources it binds.
        descriptors: u32,
    },
    /// The kernel needs more than the device gives.
    #[error("kernel `{kernel}` needs {what}, device `{device}` allows {limit}")]
    Limit {
        /// The kernel.
        kernel: &'static str,
        /// The need.
        what: String,
        /// The device's limit.
        limit: String,
        /// The device.
        device: String,
    },
    /// The kernel declares a SPIR-V capability that the device lacks or farptr does not enable.
    #[error(
        "kernel `{kernel}` needs the SPIR-V capability {capability:?}, device `{device}` lacks it"
    )]
    Capability {
        /// The kernel.
        kernel: &'static str,
        /// The capability.
        capability: Capability,
        /// The device.
        device: String,
    },
    /// The process was forked from the one that built the runtime.
    #[error("kernel `{kernel}`: {FORKED}")]
    Forked {
        /// The kernel.
        kernel: &'static str,
    },
}

/// Why memory could not be lent.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LendError {
    /// The device sees the memory at another address, so kernels cannot use host pointers.
    #[error(
        "host memory at {host:#x} has the device address {device:#x}: direct access does not hold \
         for it"
    )]
    AddressDiffers {
        /// The host address.
        host: u64,
        /// The device address.
        device: u64,
    },
    /// No memory type of the device can hold the imported memory coherently.
    #[error("host memory {range:?} cannot be imported: no coherent memory type fits it")]
    NoMemoryType {
        /// The pages.
        range: VaRange,
    },
    /// The device has as many memory allocations as it allows, of which each import is one.
    #[error(
        "host memory {range:?} cannot be imported: the device allows {limit} memory allocations \
         (maxMemoryAllocationCount), {used} are in use, and the rest is kept for farptr's own \
         buffers; lend fewer and larger slices, end other scopes, or use mirrored access, which \
         copies what it cannot import"
    )]
    TooManyImports {
        /// The pages.
        range: VaRange,
        /// The device's limit.
        limit: u32,
        /// The allocations that there are.
        used: u32,
    },
    /// The driver cannot be given this kind of memory to import.
    #[error(
        "host memory {range:?} cannot be imported by this device: {why}; copy it to memory from \
         the allocator, or use mirrored access, which copies what cannot be imported"
    )]
    NotImportable {
        /// The bytes that were lent.
        range: VaRange,
        /// The reason in words.
        why: &'static str,
    },
    /// The device imports larger pieces of memory than the host's pages, and other memory lies in
    /// the same piece.
    #[error(
        "host memory {range:?} cannot be imported alone: the device imports pieces of \
         {granule_bytes} bytes; align the memory and its length to that, or use mirrored access, \
         which copies what cannot be imported"
    )]
    PartOfGranule {
        /// The bytes that were lent.
        range: VaRange,
        /// The alignment and the unit of imports, in bytes.
        granule_bytes: u64,
    },
    /// Another scope has imported some of the pages together with others, and the device was busy
    /// for too long to divide that import.
    #[error(
        "host memory {range:?} shares pages with memory that another scope has lent, and the \
         device was busy for {waited:?}; lend it before that scope launches, or when it is done"
    )]
    Occupied {
        /// The bytes that were lent.
        range: VaRange,
        /// The time after which the lend gave up.
        waited: Duration,
    },
    /// A part was to be taken of lent memory, and is not within it.
    #[error("elements {start}..{end} are not within the {len} that were lent")]
    OutOfRange {
        /// The first element of the part.
        start: usize,
        /// The one behind its last element.
        end: usize,
        /// The number of elements.
        len: usize,
    },
    /// The device has no memory for what lending the process needs.
    #[error("the memory of the process could not be opened to the device")]
    Process {
        /// The call that failed.
        #[source]
        source: VulkanError,
    },
    /// The kernel does not say what is mapped, which lending the process needs.
    #[error(
        "the memory of the process cannot be lent: what is mapped cannot be looked up; mount \
         procfs on /proc, or lend what the kernel touches piece by piece"
    )]
    NoMaps {
        /// The call that failed.
        #[source]
        source: MapsError,
    },
    /// A system call is refused that lending the process needs: by a sandbox (seccomp), or by the
    /// kernel's configuration.
    #[error(
        "the memory of the process cannot be lent: the system refuses {call}; allow it in the \
         sandbox, or lend what the kernel touches piece by piece"
    )]
    Refused {
        /// The call.
        call: &'static str,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
    /// The process was forked from the one that built the runtime.
    #[error("{FORKED}")]
    Forked,
    /// The device was lost before: see [`LaunchError::DeviceLost`].
    #[error("memory cannot be lent to a device that is lost; build another runtime")]
    DeviceLost {
        /// The call that said so.
        #[source]
        source: VulkanError,
    },
    /// A Vulkan call failed.
    #[error("host memory {range:?} could not be imported; is it mapped from a device or a driver?")]
    Vulkan {
        /// The pages.
        range: VaRange,
        /// The call that failed.
        #[source]
        source: VulkanError,
    },
}

/// Any error of farptr, and the error type of [`Runtime::scope`](crate::Runtime::scope).
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No runtime could be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A kernel cannot run.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Memory could not be lent.
    #[error(transparent)]
    Lend(#[from] LendError),
    /// A launch was refused or failed.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// An array could not be made.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// The caller's own error, carried out of a scope.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps an error of the caller's, to leave a [`scope`](crate::Runtime::scope) with it.
    ///
    /// # Examples
    ///
    /// ```
    /// let error = farptr::Error::other("the input is empty");
    /// assert_eq!(error.to_string(), "the input is empty");
    /// ```
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

/// A length that is no `u32`, which most kernels count in: `u32::try_from(x.len())?`.
impl From<std::num::TryFromIntError> for Error {
    fn from(error: std::num::TryFromIntError) -> Self {
        Self::other(error)
    }
}

/// As Rust prints an error that `main` returns, or that `unwrap` finds: in words, each cause on a
/// line of its own.
macro_rules! debug_in_words {
    ($($error:ty),*) => {
        $(impl fmt::Debug for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_causes(self, f)
            }
        })*
    };
}

debug_in_words!(VulkanError, BuildError, KernelError, LendError, LaunchError, ArrayError, Error);

fn write_causes(
    error: &(dyn std::error::Error + 'static),
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(f, "{error}")?;
    causes(error).try_for_each(|cause| write!(f, "\n  cause: {cause}"))
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    for cause in causes(error) {
        line.push_str(": ");
        line.push_str(&cause.to_string());
    }
    line
}

fn causes<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_error_that_main_returns_is_printed_in_words_cause_by_cause() {
        let call = VulkanError { call: "vkQueueSubmit", result: ash::vk::Result::NOT_READY };
        let error = Error::from(LaunchError::from(call));
        let said = format!("Error: {error:?}");
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines[..2],
            [
                "Error: the launch could not be handed to the device",
                "  cause: vkQueueSubmit failed",
            ]
        );
        assert!(lines.len() == 3 && lines[2].starts_with("  cause: "), "{said}");
        let boxed: Box<dyn std::error::Error> = BuildError::NoDevice.into();
        assert_eq!(format!("{boxed:?}"), boxed.to_string());
    }

    #[test]
    fn a_length_that_is_no_u32_leaves_a_scope() {
        let convert = |length: u64| Ok::<u32, Error>(u32::try_from(length)?);
        assert_eq!(convert(7).expect("7 is a u32"), 7);
        assert!(matches!(convert(1 << 32), Err(Error::Other(_))));
    }

    #[test]
    fn a_deadline_tells_running_from_waiting() {
        let after = |queued| {
            let deadline = Duration::from_millis(300);
            LaunchError::Deadline { kernel: "k", deadline, queued }.to_string()
        };
        assert_eq!(
            after(Duration::ZERO),
            "kernel `k` was ended after it had run for 300ms; set a later deadline if it is right"
        );
        assert_eq!(
            after(Duration::from_millis(2123)),
            "kernel `k` was ended after it had run for 300ms, after 2.1s behind launches of \
             others; set a later deadline if it is right"
        );
    }
}
