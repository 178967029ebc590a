//! Devices: the functions that their memory must offer so that host pages can live there, and one
//! device whose memory is memory of this process.
//!
//! # Safety
//!
//! A device holds the only copy of pages that ordinary code goes on using later. So the trait is
//! unsafe to implement: an implementation promises to give back the bytes that were put in.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::frames::HostFrames;
use super::needed::{Listed, list};
use crate::addr::{PageCount, PageNumber, PageSize, VaRange};
use crate::device::{DeviceError, Owner};

/// The proof that a mirror makes a call of a [`DeviceMemory`].
///
/// Frames hold the memory of ordinary code. Code that could fill or free frames at any time would
/// change values behind references. So only a mirror can make this proof, and it lends the proof
/// for one call.
///
/// ```compile_fail,E0423
/// use farptr_hmm::{DeviceMemory, HostDevice, MirrorCall, Owner, PageCount, PageNumber, VaRange};
///
/// let device = HostDevice::new(Owner::new(), PageCount::new(8))?;
/// let page = [0; 4096];
/// let host = VaRange::of_slice(&page);
/// device.copy_in(&MirrorCall(()), PageNumber::new(0), host, &page)?; // not to be had
/// # Ok::<(), farptr_hmm::DeviceError>(())
/// ```
#[derive(Debug)]
pub struct MirrorCall(());

impl MirrorCall {
    /// The crate's own, for the mirror.
    pub(crate) const BY_MIRROR: Self = Self(());

    /// Makes the promise in place of a mirror, to test a device by itself.
    ///
    /// # Safety
    ///
    /// 1. No mirror has pages in the frames for which the value is used.
    #[must_use]
    pub const unsafe fn without_mirror() -> Self {
        Self(())
    }
}

/// The memory of a device, by *frames* of the host's page size, in which host pages can live.
///
/// A frame has one content. Only a mirror has frames given out, filled, read and taken back: each
/// such call proves by a [`MirrorCall`] that one makes it. The device's own program reads and
/// writes them as its page table allows.
///
/// # Safety
///
/// Pages that live here are the memory of ordinary code, which trusts it to keep its values:
///
/// 1. [`copy_out`](DeviceMemory::copy_out) gives back the bytes that were put into a frame, unless
///    the device wrote the frame in between on behalf of code that may change those bytes.
/// 2. A frame that was given out is not given out again before it was taken back.
/// 3. If [`as_host`](DeviceMemory::as_host) returns a device, the frames are that device's: all
///    functions hand their calls on to it.
///
/// # Rules for implementations
///
/// [`copy_out`](DeviceMemory::copy_out) and [`free`](DeviceMemory::free) are called by the thread
/// that serves page faults, for which other threads wait. There they must not touch memory that the
/// mirror watches, and must not wait for a thread that may touch such memory; the device says
/// whether they may allocate ([`is_self_contained`](DeviceMemory::is_self_contained)). All other
/// functions are called by the thread that migrates. No lock of the mirror is held during any call,
/// except that one migration goes on at a time: none of them may migrate in turn, or fork.
///
/// # Addresses of the host
///
/// Each call that is about frames names the pages of the host that they are for (`host`), so that a
/// device can keep neighbours together. The addresses are for this only. They say where the pages
/// belonged when the mirror prepared the call; since then the program may have moved or unmapped
/// them. [`free`](DeviceMemory::free) names where they belonged last, which after an `mremap` is
/// not where they were when the frames were given out. A device finds its frames by their numbers.
pub unsafe trait DeviceMemory: Send + Sync {
    /// The owner of the memory.
    fn owner(&self) -> Owner;

    /// Gives out neighbouring frames for the pages of `host`, one for each, and returns the first,
    /// at a multiple of `page_size`.
    ///
    /// The mirror asks for huge pages first and is content with single frames in the end. A device
    /// that reserves a run of frames for a range of the host, and gives each page its own place in
    /// the run, has pages that are neighbours in neighbouring frames, however often they come and
    /// go.
    ///
    /// # Errors
    ///
    /// - [`DeviceError::NoMemory`] if there are not as many frames in a row.
    fn alloc(
        &self,
        call: &MirrorCall,
        host: VaRange,
        page_size: PageSize,
    ) -> Result<PageNumber, DeviceError>;

    /// Takes frames back from `first` on, one for each page of `host`, not always in the portions
    /// in which they were given out.
    fn free(&self, call: &MirrorCall, first: PageNumber, host: VaRange);

    /// Fills the frames of the pages of `host`, from the start of `first` on, with bytes of the
    /// host.
    ///
    /// # Errors
    ///
    /// - [`DeviceError`] if it failed; the pages then stay at home.
    fn copy_in(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        host: VaRange,
        bytes: &[u8],
    ) -> Result<(), DeviceError>;

    /// Reads the frames of the pages of `host`, from the start of `first` on.
    ///
    /// # Errors
    ///
    /// - [`DeviceError`] if it failed. A page that cannot be read back is lost, and a thread that
    ///   touches it gets a bus error.
    fn copy_out(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        host: VaRange,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError>;

    /// Fills the frames of the pages of `host`, from the start of `first` on, with zeroes.
    ///
    /// # Errors
    ///
    /// - [`DeviceError`] if it failed; the pages then stay at home.
    fn zero(&self, call: &MirrorCall, first: PageNumber, host: VaRange) -> Result<(), DeviceError>;

    /// Tells whether the device gives pages back without the help of other threads.
    ///
    /// `true` promises of [`copy_out`](DeviceMemory::copy_out) and [`free`](DeviceMemory::free):
    ///
    /// 1. They do not allocate, not in a thread that they wait for either.
    /// 2. They wait for no lock that a thread holds while it allocates, and for no lock that a
    ///    thread holds while it touches memory that may be moved to a device.
    ///
    /// An allocator may give memory out again while its pages are away. So a device that does not
    /// promise this gets memory only that is known to be a mapping of its own, see
    /// [`Memory`](crate::Memory): otherwise the thread that brings a page home could wait for a
    /// thread that waits, in an allocator, for that page.
    fn is_self_contained(&self) -> bool {
        false
    }

    /// The device itself, if its memory is memory of this process. Pages are then moved and not
    /// copied.
    fn as_host(&self) -> Option<&HostDevice> {
        None
    }
}

/// A device that computes on the host: its memory is memory of this process, to which pages are
/// moved without a copy, huge pages whole.
#[derive(Debug)]
pub struct HostDevice {
    owner: Owner,
    frames: HostFrames,
    fail_huge: AtomicBool,
    /// The frames are never moved in turn.
    _frames: Listed,
    /// The process with a mirror that the device is attached to; zero if there is none.
    attached_in: AtomicI32,
}

impl HostDevice {
    /// Makes a device with room for `count` pages. Room that holds nothing costs nothing.
    ///
    /// # Errors
    ///
    /// - [`DeviceError::NoMemory`] if there is no room.
    pub fn new(owner: Owner, count: PageCount) -> Result<Self, DeviceError> {
        let (fail_huge, attached_in) = (AtomicBool::new(false), AtomicI32::new(0));
        let frames = HostFrames::new(count)?;
        let _frames = list(frames.range());
        Ok(Self { owner, frames, fail_huge, _frames, attached_in })
    }

    /// Counts the frames that are in use.
    #[must_use]
    pub fn used(&self) -> PageCount {
        self.frames.used()
    }

    /// Has the next allocation of huge pages fail, once.
    pub fn fail_next_huge(&self) {
        // Relaxed: a flag for the next allocation, ordered by nothing.
        self.fail_huge.store(true, Ordering::Relaxed);
    }

    /// Takes the order of [`HostDevice::fail_next_huge`] back, and tells whether it was open.
    pub fn take_failure(&self) -> bool {
        self.fail_huge.swap(false, Ordering::Relaxed)
    }

    /// Reads bytes from the start of a frame on.
    ///
    /// # Errors
    ///
    /// - [`DeviceError::OutOfRange`] if there are no such frames.
    pub fn read(&self, first: PageNumber, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.frames.read(first, bytes)
    }

    /// Writes bytes from the start of a frame on.
    ///
    /// # Safety
    ///
    /// 1. The frames are free, or the caller may change the bytes of the pages that live there.
    ///
    /// # Errors
    ///
    /// - [`DeviceError::OutOfRange`] if there are no such frames.
    pub unsafe fn write(&self, first: PageNumber, bytes: &[u8]) -> Result<(), DeviceError> {
        self.frames.write(first, bytes)
    }

    /// Takes the device for one mirror; `false` if a mirror has it, this one or another. A device
    /// that a child of `fork` inherits is attached to its parent's mirror, and so is free.
    pub(crate) fn take_for_mirror(&self) -> bool {
        let here = rustix::process::getpid().as_raw_nonzero().get();
        // Relaxed: the flag guards no memory; a thread that attaches or detaches holds a mirror's
        // migration lock.
        let mut seen = self.attached_in.load(Ordering::Relaxed);
        while seen != here {
            let (order, other) = (Ordering::Relaxed, Ordering::Relaxed);
            match self.attached_in.compare_exchange(seen, here, order, other) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Lets another mirror have the device.
    pub(crate) fn release_from_mirror(&self) {
        self.attached_in.store(0, Ordering::Relaxed);
    }

    /// The memory in which the frames lie.
    pub(crate) fn frames(&self) -> &HostFrames {
        &self.frames
    }
}

// SAFETY: 1. The frames are written by `copy_in`, by `zero`, by moves of the mirror, and by callers
// of `write`, which promised that they may. 2. The frames' bitmap gives a frame out while it is not
// taken.
unsafe impl DeviceMemory for HostDevice {
    fn owner(&self) -> Owner {
        self.owner
    }

    fn alloc(
        &self,
        _: &MirrorCall,
        host: VaRange,
        page_size: PageSize,
    ) -> Result<PageNumber, DeviceError> {
        if page_size > PageSize::host() && self.take_failure() {
            return Err(DeviceError::NoMemory);
        }
        self.frames.alloc(host.page_count(PageSize::host()), page_size)
    }

    fn free(&self, _: &MirrorCall, first: PageNumber, host: VaRange) {
        self.frames.free(first, host.page_count(PageSize::host()));
    }

    fn copy_in(
        &self,
        _: &MirrorCall,
        first: PageNumber,
        _: VaRange,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        self.frames.write(first, bytes)
    }

    fn copy_out(
        &self,
        _: &MirrorCall,
        first: PageNumber,
        _: VaRange,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        self.frames.read(first, bytes)
    }

    fn zero(&self, _: &MirrorCall, first: PageNumber, host: VaRange) -> Result<(), DeviceError> {
        self.frames.clear(first, host.page_count(PageSize::host()))
    }

    /// Frames are moved and copied by system calls, and noted in memory of the device's own.
    fn is_self_contained(&self) -> bool {
        true
    }

    fn as_host(&self) -> Option<&HostDevice> {
        Some(self)
    }
}
