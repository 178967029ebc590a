//! An application's own userfaultfd: a thread that serves the missing pages of one range.
//!
//! It uses `UFFD_USER_MODE_ONLY`, which every user may open: the kernels of a software device fault
//! in user mode. Independent of farptr's code on purpose: it plays the application.
//!
//! # Safety
//!
//! Each request goes with the structure that the kernel's header pairs with it. A copy reads a
//! buffer that lives until the call returns, and fills missing pages alone, of a range whose owner
//! has requested that.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use linux_raw_sys::{
    general::{
        UFFD_EVENT_PAGEFAULT, UFFD_USER_MODE_ONLY, UFFDIO_REGISTER_MODE_MISSING,
        UFFDIO_REGISTER_MODE_WP, uffd_msg, uffdio_api, uffdio_copy, uffdio_range, uffdio_register,
        uffdio_writeprotect,
    },
    ioctl::{UFFDIO_API, UFFDIO_COPY, UFFDIO_REGISTER, UFFDIO_WRITEPROTECT},
};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    fd::{AsFd, OwnedFd},
    io,
    ioctl::{Opcode, Updater, ioctl},
    mm::{UserfaultfdFlags, userfaultfd},
};
use std::{ops::Range, thread::JoinHandle};

/// The version of the userfaultfd interface (`UFFD_API` of `linux/userfaultfd.h`).
const UFFD_API: u64 = 0xaa;
/// `UFFDIO_WRITEPROTECT_MODE_WP` of `linux/userfaultfd.h`.
const PROTECT: u64 = 1;

/// Serves a range's missing pages until it is stopped, and counts them.
pub struct Pager {
    thread: JoinHandle<io::Result<u64>>,
    stop: OwnedFd,
}

impl Pager {
    /// Registers `range` (page aligned, untouched) and serves page `i` of it with `page(i)`.
    pub fn start(
        range: Range<u64>,
        page_bytes: usize,
        page: impl Fn(usize) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Self> {
        let uffd = watch(&range, UFFDIO_REGISTER_MODE_MISSING)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
        let stopped = stop.try_clone().map_err(|_| io::Errno::MFILE)?;
        let thread = std::thread::spawn(move || {
            let mut served = 0;
            while wait(&uffd, &stopped)? {
                served += serve(&uffd, &range, page_bytes, &page)?;
            }
            Ok(served)
        });
        Ok(Self { thread, stop })
    }

    /// Stops serving and returns how many faults were served.
    pub fn stop(self) -> u64 {
        rustix::io::write(&self.stop, &1u64.to_ne_bytes()).expect("an eventfd takes a count");
        self.thread.join().expect("the pager does not panic").expect("the pager's calls succeed")
    }
}

/// A userfaultfd that watches a range.
fn watch(range: &Range<u64>, mode: u32) -> io::Result<OwnedFd> {
    let flags = UserfaultfdFlags::CLOEXEC
        | UserfaultfdFlags::NONBLOCK
        | UserfaultfdFlags::from_bits_retain(UFFD_USER_MODE_ONLY);
    // SAFETY: opening the descriptor has no effect on memory.
    let uffd = unsafe { userfaultfd(flags) }?;
    request::<{ UFFDIO_API as Opcode }, _>(
        &uffd,
        &mut uffdio_api { api: UFFD_API, features: 0, ioctls: 0 },
    )?;
    let range = uffdio_range { start: range.start, len: range.end - range.start };
    let mut register = uffdio_register { range, mode: u64::from(mode), ioctls: 0 };
    request::<{ UFFDIO_REGISTER as Opcode }, _>(&uffd, &mut register)?;
    Ok(uffd)
}

/// Protects present pages from writes until the descriptor is dropped; the faults are not served.
pub fn write_protect(range: Range<u64>) -> io::Result<OwnedFd> {
    let uffd = watch(&range, UFFDIO_REGISTER_MODE_WP)?;
    let range = uffdio_range { start: range.start, len: range.end - range.start };
    let mut protect = uffdio_writeprotect { range, mode: PROTECT };
    request::<{ UFFDIO_WRITEPROTECT as Opcode }, _>(&uffd, &mut protect)?;
    Ok(uffd)
}

/// Waits for a fault (true) or the order to stop (false).
fn wait(uffd: &OwnedFd, stop: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(uffd, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
    poll(&mut fds, None)?;
    Ok(!fds[1].revents().contains(PollFlags::IN))
}

/// Reads one fault and answers it.
fn serve(
    uffd: &OwnedFd,
    range: &Range<u64>,
    page_bytes: usize,
    page: &impl Fn(usize) -> Vec<u8>,
) -> io::Result<u64> {
    let mut bytes = [0; size_of::<uffd_msg>()];
    match rustix::io::read(uffd, &mut bytes) {
        Err(io::Errno::AGAIN) => return Ok(0),
        read => assert_eq!(read?, bytes.len(), "the kernel gives whole messages"),
    }
    assert_eq!(u32::from(bytes[0]), UFFD_EVENT_PAGEFAULT);
    // struct uffd_msg: the event's flags are at byte 8, the address at byte 16.
    let address = u64::from_ne_bytes(bytes[16..24].try_into().expect("eight bytes"));
    assert!(range.contains(&address), "a fault outside the registered range");
    let index = (address - range.start) / page_bytes as u64;
    let content = page(usize::try_from(index).expect("an index of a page in memory"));
    assert_eq!(content.len(), page_bytes);
    let mut copy = uffdio_copy {
        dst: range.start + index * page_bytes as u64,
        src: content.as_ptr().expose_provenance() as u64,
        len: page_bytes as u64,
        mode: 0,
        copy: 0,
    };
    match request::<{ UFFDIO_COPY as Opcode }, _>(uffd, &mut copy) {
        Ok(()) => Ok(1),
        // Two threads faulted on one page: the first answer served both.
        Err(io::Errno::EXIST) => Ok(0),
        Err(error) => Err(error),
    }
}

fn request<const OP: Opcode, T>(uffd: &OwnedFd, argument: &mut T) -> io::Result<()> {
    // SAFETY: each caller names the request and passes the structure that belongs to it.
    let update = unsafe { Updater::<OP, T>::new(argument) };
    // SAFETY: as above; the pages that a copy names are a live buffer and a registered, missing
    // page.
    unsafe { ioctl(uffd.as_fd(), update) }
}

// `uffd_msg` is read as bytes, because its union has no safe accessors.
const _: () = assert!(size_of::<uffd_msg>() == 32);
