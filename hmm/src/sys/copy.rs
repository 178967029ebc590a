//! Copies that cannot kill the process: memory that is not there is an error, not a signal.
//!
//! # Safety
//!
//! Two C functions are called, `process_vm_readv` and `process_vm_writev`, on this process. The
//! kernel finds out itself what it may read and write. Reading fills a buffer that is borrowed
//! mutably; writing is an unsafe function.

use std::ffi::c_void;
use std::io;

use thiserror::Error;

use crate::addr::VirtAddr;
use crate::error::debug_in_words;

/// Memory that could not be read or written.
#[derive(Error)]
#[error("the memory at {at} cannot be accessed")]
#[non_exhaustive]
pub struct CopyError {
    /// The first address that could not, to the page.
    pub at: VirtAddr,
    /// The error of the kernel: `EFAULT` if there is no memory or no permission, or if a
    /// userfaultfd that serves no kernel faults watches a hole there.
    pub source: io::Error,
}

debug_in_words!(CopyError);

/// Reads the memory of this process from `src` on, whatever is mapped there.
///
/// The bytes are those of some moments during the call; other threads may be writing them.
/// Holes that a userfaultfd for kernel faults watches are waited for, so the thread that serves
/// them must not read them.
///
/// # Errors
///
/// - [`CopyError`] if not all of it is memory that the process may read. Bytes before the address
///   of the error have been read.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{VirtAddr, read_bytes};
///
/// let numbers = [1u8, 2, 3];
/// let mut copy = [0; 3];
/// read_bytes(VirtAddr::of_slice(&numbers), &mut copy)?;
/// assert_eq!(copy, numbers);
/// assert!(read_bytes(VirtAddr::NULL, &mut copy).is_err());
/// # Ok::<(), farptr_hmm::CopyError>(())
/// ```
pub fn read_bytes(src: VirtAddr, dst: &mut [u8]) -> Result<(), CopyError> {
    let len = dst.len();
    let local = dst.as_mut_ptr();
    each_part(src, len, |offset, remote| {
        let left = len - offset;
        let local = iovec(local.wrapping_add(offset).cast(), left);
        let remote = iovec(remote.as_mut_ptr(), left);
        // SAFETY: `getpid` has no obligations.
        let process = unsafe { libc::getpid() };
        // SAFETY: Each pointer is to one vector, as the counts say. The kernel writes at most
        // `left` bytes from `offset` on into `dst`, which is borrowed mutably. The call itself
        // checks the memory that it reads.
        unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) }
    })
}

/// Writes the memory of this process from `dst` on.
///
/// Watched holes are waited for as by [`read_bytes`].
///
/// # Errors
///
/// - [`CopyError`] if not all of it is memory that the process may write. Bytes before the address
///   of the error have been written.
///
/// # Safety
///
/// 1. The caller may change the bytes of the destination, as through a pointer of their owner.
/// 2. No other thread accesses them during the call, unless they are accessed by such calls only.
pub unsafe fn write_bytes(dst: VirtAddr, src: &[u8]) -> Result<(), CopyError> {
    let len = src.len();
    each_part(dst, len, |offset, remote| {
        let left = len - offset;
        let local = iovec(src.as_ptr().wrapping_add(offset).cast_mut().cast(), left);
        let remote = iovec(remote.as_mut_ptr(), left);
        // SAFETY: `getpid` has no obligations.
        let process = unsafe { libc::getpid() };
        // SAFETY: Each pointer is to one vector, as the counts say. The kernel reads at most
        // `left` bytes from `offset` on of `src`, and writes as many at the destination, which
        // the caller allows; whether it is memory, the kernel checks itself.
        unsafe { libc::process_vm_writev(process, &raw const local, 1, &raw const remote, 1, 0) }
    })
}

fn iovec(base: *mut c_void, len: usize) -> libc::iovec {
    libc::iovec { iov_base: base, iov_len: len }
}

/// Repeats a transfer that may stop halfway without saying why. The next transfer, of the rest,
/// then moves nothing and returns the error.
fn each_part(
    far: VirtAddr,
    len: usize,
    mut transfer: impl FnMut(usize, VirtAddr) -> isize,
) -> Result<(), CopyError> {
    let mut offset = 0;
    while offset < len {
        let at = VirtAddr::new(far.get().wrapping_add(offset as u64));
        match usize::try_from(transfer(offset, at)) {
            Ok(bytes @ 1..) => offset += bytes,
            Ok(0) => return Err(CopyError { at, source: io::ErrorKind::UnexpectedEof.into() }),
            Err(_) => {
                let source = io::Error::last_os_error();
                if source.kind() != io::ErrorKind::Interrupted {
                    return Err(CopyError { at, source });
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::mmap::{HugePages, Mapping};
    use super::*;
    use crate::addr::PageSize;

    fn mapping(pages: u64) -> Mapping {
        let page = PageSize::host();
        Mapping::new(pages * page.bytes(), page, HugePages::Never).expect("memory")
    }

    #[test]
    fn memory_is_read_and_written_like_memory() {
        let memory = mapping(2);
        let start = memory.range().start().checked_add(4000).expect("an address");
        let bytes: Vec<u8> = (0..200).collect();
        // SAFETY: The mapping is this test's and no other thread accesses it.
        unsafe { write_bytes(start, &bytes) }.expect("write");
        let mut read = vec![0; 200];
        read_bytes(start, &mut read).expect("read");
        assert_eq!(read, bytes);
        read_bytes(VirtAddr::NULL, &mut []).expect("nothing to read");
    }

    #[test]
    fn memory_that_is_not_there_is_an_error_with_its_address() {
        let memory = mapping(2);
        let last = memory.range().pages(PageSize::host()).next_back().expect("a page");
        let len = usize::try_from(last.len_bytes()).expect("64 bits");
        // SAFETY: The page is the mapping's, and no reference to it exists.
        unsafe {
            rustix::mm::mprotect(last.start().as_mut_ptr(), len, rustix::mm::MprotectFlags::empty())
        }
        .expect("mprotect");
        let start = last.start().checked_sub(8).expect("an address");
        let mut read = [1; 16];
        let error = read_bytes(start, &mut read).expect_err("not readable");
        assert_eq!((error.at, error.source.raw_os_error()), (last.start(), Some(libc::EFAULT)));
        assert_eq!(read, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
        // SAFETY: The bytes are the mapping's.
        let error = unsafe { write_bytes(start, &[7; 16]) }.expect_err("not writable");
        assert_eq!(error.at, last.start());
        let error = read_bytes(VirtAddr::NULL, &mut read).expect_err("never mapped");
        assert_eq!(error.at, VirtAddr::NULL);
        let error = read_bytes(VirtAddr::new(u64::MAX - 7), &mut read).expect_err("not memory");
        assert!(error.to_string().contains("0xfffffffffffffff8"), "{error}");
    }
}
