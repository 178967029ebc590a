//! A bare userfaultfd: one thread that reads a fault, copies one page, and reads the next.
//!
//! # Safety
//!
//! Rules 1 to 3 of the parent module: each request is made with the structure that the kernel's
//! header names for it; the value owns the memory that is registered and filled, and no code writes
//! the memory that it is filled from.

use super::{HugePages, Memory};
use crate::failure::Failure;
use linux_raw_sys::general::{
    UFFD_USER_MODE_ONLY, UFFDIO_REGISTER_MODE_MISSING, uffd_msg, uffdio_api, uffdio_copy,
    uffdio_range, uffdio_register,
};
use rustix::{
    ioctl::{Opcode, opcode},
    mm::{UserfaultfdFlags, userfaultfd},
};
use std::{
    fs::File,
    io::{self, Read},
    mem,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    thread::{self, JoinHandle},
};

const API: Opcode = opcode::read_write::<uffdio_api>(0xAA, 0x3F);
const REGISTER: Opcode = opcode::read_write::<uffdio_register>(0xAA, 0x00);
const COPY: Opcode = opcode::read_write::<uffdio_copy>(0xAA, 0x03);
/// The version of the interface, of which there has been one.
const VERSION: u64 = 0xAA;
const MESSAGE_BYTES: usize = size_of::<uffd_msg>();
/// The offset of the fault's address in a message.
const ADDRESS: std::ops::Range<usize> = 16..24;

/// Memory whose missing pages are copied from other memory, one at a time, when they are touched.
pub(crate) struct Userfault {
    memory: Memory,
    source: Arc<Source>,
    /// One page more: a fault there ends the thread.
    last: Memory,
    uffd: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// The memory that the pages are copied from. Nothing writes it.
struct Source(Memory);

// SAFETY: 3. the kernel reads the memory and nothing writes it.
unsafe impl Send for Source {}
// SAFETY: as above.
unsafe impl Sync for Source {}

impl Userfault {
    /// Makes memory whose pages hold what `source` does once they are touched.
    pub(crate) fn new(source: Memory) -> Result<Self, Failure> {
        let memory = Memory::map(source.len_bytes(), HugePages::Never)?;
        let last = Memory::map(rustix::param::page_size() as u64, HugePages::Never)?;
        let flags =
            UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::from_bits_retain(UFFD_USER_MODE_ONLY);
        // SAFETY: the file watches nothing yet.
        let uffd = unsafe { userfaultfd(flags) };
        let uffd = uffd.map_err(|errno| failed("userfaultfd", errno.into()))?;
        let mut api = uffdio_api { api: VERSION, features: 0, ioctls: 0 };
        request(&uffd, API, &mut api, "UFFDIO_API")?;
        for watched in [&memory, &last] {
            let range = uffdio_range { start: watched.start(), len: watched.len_bytes() };
            let mode = u64::from(UFFDIO_REGISTER_MODE_MISSING);
            let mut register = uffdio_register { range, mode, ioctls: 0 };
            request(&uffd, REGISTER, &mut register, "UFFDIO_REGISTER")?;
        }
        let (uffd, source) = (Arc::new(uffd), Arc::new(Source(source)));
        let mut server = Server {
            messages: File::from(uffd.try_clone().map_err(|error| failed("dup", error))?),
            uffd: Arc::clone(&uffd),
            source: Arc::clone(&source),
            start: memory.start(),
            last: last.start(),
        };
        let thread = thread::spawn(move || server.run());
        Ok(Self { memory, source, last, uffd, thread: Some(thread) })
    }

    /// The memory. Dropping its pages makes it miss them again.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Copies all pages without a fault, by one call.
    pub(crate) fn copy_all(&self) -> Result<(), Failure> {
        let (dst, src) = (self.memory.start(), self.source.0.start());
        copy(&self.uffd, dst, src, self.memory.len_bytes())
    }
}

impl Drop for Userfault {
    fn drop(&mut self) {
        self.last.touch(0, 0);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so, and no thread waits for it any more.
            let _ = thread.join();
        }
    }
}

/// The thread's own things.
struct Server {
    messages: File,
    uffd: Arc<OwnedFd>,
    source: Arc<Source>,
    start: u64,
    last: u64,
}

impl Server {
    /// Answers faults until the last page is touched. Without this thread, other threads would wait
    /// for ever, so a failure ends the process.
    fn run(&mut self) {
        let mut message = [0; MESSAGE_BYTES];
        let page_bytes = rustix::param::page_size() as u64;
        loop {
            let read = self.messages.read(&mut message);
            let address = message[ADDRESS].try_into().map(u64::from_ne_bytes);
            let page = address.map(|address| address / page_bytes * page_bytes);
            let (Ok(MESSAGE_BYTES), Ok(page)) = (read, page) else {
                std::process::abort();
            };
            let from = if page == self.last { 0 } else { page - self.start };
            let source = self.source.0.start() + from;
            if copy(&self.uffd, page, source, page_bytes).is_err() {
                std::process::abort();
            }
            if page == self.last {
                return;
            }
        }
    }
}

fn copy(uffd: &OwnedFd, dst: u64, src: u64, len: u64) -> Result<(), Failure> {
    let mut copy = uffdio_copy { dst, src, len, mode: 0, copy: 0 };
    request(uffd, COPY, &mut copy, "UFFDIO_COPY")
}

/// Makes a request whose argument is a `T`.
fn request<T>(
    uffd: &OwnedFd,
    code: Opcode,
    argument: &mut T,
    call: &'static str,
) -> Result<(), Failure> {
    let argument: *mut T = argument;
    // SAFETY: 2. the descriptor is that of a userfaultfd, for which the number means a `T`, which
    // the caller lends. 1. and 3.: memory is registered and filled that belongs to a `Userfault`,
    // from memory that nothing writes.
    let status = unsafe { libc::ioctl(uffd.as_raw_fd(), code.into(), argument) };
    if status < 0 { Err(failed(call, io::Error::last_os_error())) } else { Ok(()) }
}

fn failed(call: &'static str, source: io::Error) -> Failure {
    Failure::Linux { call, source }
}

const _: () = assert!(mem::offset_of!(uffd_msg, arg) == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_when_they_are_touched_and_come_again() {
        let source = Memory::map(1 << 16, HugePages::Never).unwrap();
        source.fill(5);
        let fault = Userfault::new(source).unwrap();
        assert!((0..16).all(|page| fault.memory().touch(page, 5)));
        fault.memory().drop_pages().unwrap();
        fault.copy_all().unwrap();
        assert!(fault.memory().holds(5));
        assert!(!fault.memory().holds(6));
    }
}
