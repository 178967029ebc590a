//! A device to which pages are copied: plain memory behind frames. farptr is measured with it where
//! pages are copied to the device and not moved.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module: frames lie in the device's own memory and do not overlap,
//! and a frame is used for one page at a time.

use super::{HugePages, Memory};
use crate::failure::Failure;
use farptr_hmm::{DeviceError, DeviceMemory, MirrorCall, Owner, PageNumber, PageSize, VaRange};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// If a device is larger, it is written past the caches. The bytes of a smaller device may stay in
/// the caches, as do those of a rival that copies as few bytes.
const CACHED_BYTES: u64 = 16 << 20;

/// A device whose memory is populated, in huge pages, before anything is measured.
pub(crate) struct CopyingDevice {
    owner: Owner,
    memory: Memory,
    frames: Mutex<Frames>,
}

/// The frames that are taken, and the one at which the search begins.
struct Frames {
    taken: Vec<bool>,
    next: usize,
}

// SAFETY: 3. the memory is private; its bytes are copied only by the methods of `DeviceMemory`, for
// frames that were given out, which the mirror uses for one page at a time.
unsafe impl Send for CopyingDevice {}
// SAFETY: as above.
unsafe impl Sync for CopyingDevice {}

impl CopyingDevice {
    /// Makes a device with room for so many bytes.
    pub(crate) fn new(len_bytes: u64) -> Result<Self, Failure> {
        let memory = Memory::map(len_bytes, HugePages::Prefer)?;
        memory.populate()?;
        let taken = vec![false; index(len_bytes / PageSize::host().bytes())];
        Ok(Self { owner: Owner::new(), memory, frames: Mutex::new(Frames { taken, next: 0 }) })
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first byte of a frame, if `len` of them are left from there on.
    fn at(&self, first: PageNumber, len: usize) -> Result<*mut u8, DeviceError> {
        let offset = first.get().checked_mul(PageSize::host().bytes());
        let end = offset.and_then(|offset| offset.checked_add(len as u64));
        match (offset, end) {
            (Some(offset), Some(end)) if end <= self.memory.len_bytes() => {
                Ok(self.memory.as_ptr().wrapping_add(index(offset)))
            }
            _ => Err(DeviceError::OutOfRange { frame: first }),
        }
    }
}

impl Frames {
    fn find(&self, count: usize, align: usize) -> Option<usize> {
        let free = |&first: &usize| {
            let run = self.taken.get(first..first + count);
            run.is_some_and(|run| !run.contains(&true))
        };
        let start = self.next.next_multiple_of(align);
        let ahead = (start..self.taken.len()).step_by(align);
        ahead.chain((0..start).step_by(align)).find(free)
    }
}

// SAFETY: 1. a frame's bytes are written by `copy_in` and `zero` only, and no two frames overlap.
// 2. `taken` says which frames are given out.
unsafe impl DeviceMemory for CopyingDevice {
    fn owner(&self) -> Owner {
        self.owner
    }

    fn is_self_contained(&self) -> bool {
        true
    }

    fn alloc(
        &self,
        _: &MirrorCall,
        host: VaRange,
        page_size: PageSize,
    ) -> Result<PageNumber, DeviceError> {
        let (count, mut frames) = (pages_of(host), self.frames());
        let align = index(page_size.bytes() / PageSize::host().bytes());
        let first = frames.find(count, align).ok_or(DeviceError::NoMemory)?;
        frames.taken[first..first + count].fill(true);
        frames.next = first + count;
        Ok(PageNumber::new(first as u64))
    }

    fn free(&self, _: &MirrorCall, first: PageNumber, host: VaRange) {
        let first = index(first.get());
        self.frames().taken[first..first + pages_of(host)].fill(false);
    }

    fn copy_in(
        &self,
        _: &MirrorCall,
        first: PageNumber,
        _: VaRange,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        let frame = self.at(first, bytes.len())?;
        if self.memory.len_bytes() > CACHED_BYTES {
            // SAFETY: 3. the bytes are in the memory, and nothing else uses the frames.
            unsafe { stream(bytes.as_ptr(), frame, bytes.len()) };
        } else {
            // SAFETY: 3. as above.
            unsafe { frame.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
        Ok(())
    }

    fn copy_out(
        &self,
        _: &MirrorCall,
        first: PageNumber,
        _: VaRange,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        let frame = self.at(first, bytes.len())?;
        // SAFETY: 3. the bytes are in the memory, and nothing else uses the frames.
        unsafe { frame.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn zero(&self, _: &MirrorCall, first: PageNumber, host: VaRange) -> Result<(), DeviceError> {
        let len = index(host.len_bytes());
        let frame = self.at(first, len)?;
        // SAFETY: 3. the bytes are in the memory, and nothing else uses the frames.
        unsafe { frame.write_bytes(0, len) };
        Ok(())
    }
}

/// Copies whole pages past the caches, as a device would, and as `memcpy` does with much memory.
/// In portions of a huge page `memcpy` takes half as long again.
///
/// # Safety
///
/// 3. `len` bytes from `src` on can be read, and from `dst` on written by nothing else.
#[cfg(target_arch = "x86_64")]
unsafe fn stream(src: *const u8, dst: *mut u8, len: usize) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_sfence, _mm_stream_si128};
    debug_assert!(dst.addr().is_multiple_of(64) && len.is_multiple_of(64));
    for offset in (0..len).step_by(16) {
        let src = src.wrapping_add(offset).cast::<__m128i>();
        let dst = dst.wrapping_add(offset).cast::<__m128i>();
        // SAFETY: 3. the 16 bytes can be read.
        let word = unsafe { _mm_loadu_si128(src) };
        // SAFETY: 3. the 16 bytes can be written; frames begin at a multiple of 16.
        unsafe { _mm_stream_si128(dst, word) };
    }
    // SAFETY: every x86-64 processor has the instruction, which orders stores.
    unsafe { _mm_sfence() };
}

/// Copies whole pages.
///
/// # Safety
///
/// 3. `len` bytes from `src` on can be read, and from `dst` on written by nothing else.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn stream(src: *const u8, dst: *mut u8, len: usize) {
    // SAFETY: 3. as the caller says.
    unsafe { dst.copy_from_nonoverlapping(src, len) };
}

fn pages_of(host: VaRange) -> usize {
    index(host.page_count(PageSize::host()).get())
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a 64-bit machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_give_back_what_was_put_in() {
        let device = CopyingDevice::new(4 << 20).unwrap();
        // SAFETY: 1. No mirror knows the device.
        let call = unsafe { MirrorCall::without_mirror() };
        let page = PageSize::host();
        let host = |pages| {
            VaRange::from_len(farptr_hmm::VirtAddr::new(1 << 30), pages * page.bytes()).unwrap()
        };
        let first = device.alloc(&call, host(3), page).unwrap();
        let huge = device.alloc(&call, host(512), PageSize::MIB_2).unwrap();
        assert_eq!((first.get(), huge.get()), (0, 512));
        assert!(device.alloc(&call, host(512), PageSize::MIB_2).is_err());
        let bytes = vec![7; index(page.bytes())];
        device.copy_in(&call, PageNumber::new(1), host(1), &bytes).unwrap();
        device.zero(&call, PageNumber::new(2), host(1)).unwrap();
        let mut read = vec![1; 2 * bytes.len()];
        device.copy_out(&call, PageNumber::new(1), host(2), &mut read).unwrap();
        assert_eq!(read, [bytes.clone(), vec![0; bytes.len()]].concat());
        assert!(device.copy_in(&call, PageNumber::new(1024), host(1), &bytes).is_err());
        device.free(&call, huge, host(512));
        assert_eq!(device.alloc(&call, host(512), PageSize::MIB_2).unwrap(), huge);
    }
}
