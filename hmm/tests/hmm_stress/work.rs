//! The work of one thread, step by step.
//!
//! # Safety
//!
//! System calls are given pointers to pages whose locks are held, and to local buffers.

#![allow(unsafe_code)]

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::atomic::Ordering;

use farptr_hmm::{Dmirror, DmirrorError, HostMm, MigrateError, Migration, PageCount, VaRange};

use super::Stress;
use super::content::{Random, Stamp};
use super::memory::{Held, Mapped};

/// How a page is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By loads and stores.
    Cpu,
    /// By the kernel, which copies between the page and a pipe.
    Pipe,
    /// By the kernel, which pins the page and copies.
    ProcessVm,
    /// By a device.
    Device,
}

/// The effect of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Verify(Way),
    Rewrite(Way),
    /// Moves pages to the first or the second device.
    ToDevice(usize),
    ToCopies,
    Exclusive,
    CopiesExclusive,
    /// Moves pages out, and has the device say what it got.
    OutAndVerify,
    Home,
    Evict,
    EvictCopies,
    Discard,
    UnmapAndMap,
    MapOver,
    Remap,
    RemapAndKeep,
}

/// All steps.
pub(crate) const OPS: [Op; 22] = [
    Op::Verify(Way::Cpu),
    Op::Verify(Way::Pipe),
    Op::Verify(Way::ProcessVm),
    Op::Verify(Way::Device),
    Op::Rewrite(Way::Cpu),
    Op::Rewrite(Way::Pipe),
    Op::Rewrite(Way::ProcessVm),
    Op::Rewrite(Way::Device),
    Op::ToDevice(0),
    Op::ToDevice(1),
    Op::ToCopies,
    Op::Exclusive,
    Op::CopiesExclusive,
    Op::OutAndVerify,
    Op::Home,
    Op::Discard,
    Op::Remap,
    Op::RemapAndKeep,
    Op::Evict,
    Op::EvictCopies,
    Op::UnmapAndMap,
    Op::MapOver,
];

/// The last steps undo much of what the others did, so they come seldom.
const SELDOM: usize = 6;

/// See the module.
#[derive(Debug)]
pub(crate) struct Worker<'s> {
    stress: &'s Stress,
    owner: u64,
    random: Random,
    pipe: (PipeReader, PipeWriter),
}

impl<'s> Worker<'s> {
    pub(crate) fn new(stress: &'s Stress, owner: u64, random: Random) -> Self {
        Self { stress, owner, random, pipe: std::io::pipe().expect("a pipe") }
    }

    /// Takes any step.
    pub(crate) fn any(&mut self) {
        let op = self.random.below(OPS.len());
        if op < OPS.len() - SELDOM || self.random.below(6) == 0 {
            self.step(op);
        }
    }

    /// Takes one step, and counts it if it did anything.
    pub(crate) fn step(&mut self, index: usize) {
        let stress = self.stress;
        let buffer = &stress.buffers[self.random.below(stress.buffers.len())];
        let (first, count) = self.pages_of(buffer);
        let guess = buffer.guess(first, count);
        let mirror = &stress.rig.mirror;
        let device = &stress.rig.devices[self.random.below(2)];
        let done = match OPS[index] {
            Op::Verify(way) => self.verify(buffer, first, count.min(8), way),
            Op::Rewrite(way) => self.rewrite(buffer, first, way),
            Op::ToDevice(device) => {
                moved(stress.rig.devices[device].migrate_to_dev(guess, None).map(drop))
            }
            Op::ToCopies => went(mirror.migrate_to_device(guess, stress.copies_id)),
            Op::Exclusive => moved(device.exclusive(guess).map(drop)),
            Op::CopiesExclusive => went(mirror.make_exclusive(guess, stress.copies_id)),
            Op::OutAndVerify => self.out_and_verify(buffer, first, count.min(8), device),
            Op::Home => self.called(mirror.migrate_to_home(guess)),
            Op::Evict => {
                let reply = device.release().map(|reply| PageCount::new(reply.cpages));
                self.called(Ok(reply.expect("release")))
            }
            Op::EvictCopies => self.called(mirror.evict(stress.copies_id)),
            Op::Discard => self.discard(buffer, first, count.min(16)),
            Op::UnmapAndMap => {
                buffer.alone().unmap_and_map(&stress.arena);
                true
            }
            Op::MapOver => {
                buffer.alone().map_over();
                true
            }
            Op::Remap => self.remap(buffer, device, false),
            Op::RemapAndKeep => self.remap(buffer, device, true),
        };
        stress.done[index].fetch_add(u64::from(done), Ordering::Relaxed);
    }

    fn pages_of(&mut self, buffer: &Mapped) -> (usize, usize) {
        if self.random.below(8) == 0 {
            return (0, buffer.pages());
        }
        let first = self.random.below(buffer.pages());
        (first, 1 + self.random.below((buffer.pages() - first).min(40)))
    }

    fn called(&self, home: Result<PageCount, MigrateError>) -> bool {
        let count = home.expect("bring home").get();
        self.stress.called_home.fetch_add(count, Ordering::Relaxed);
        count > 0
    }

    /// Reads pages and checks what they hold.
    fn verify(&mut self, buffer: &Mapped, first: usize, count: usize, way: Way) -> bool {
        let held = buffer.hold();
        let stamps: Vec<_> = (first..first + count).map(|page| buffer.reading(page)).collect();
        let read = match way {
            Way::Device => {
                let device = &self.stress.rig.devices[self.random.below(2)];
                match device.read(held.range(first, count)) {
                    Ok((bytes, _)) => words(&bytes),
                    Err(DmirrorError::Busy { .. }) => return false,
                    Err(error) => panic!("{error:?}"),
                }
            }
            _ => (first..first + count).flat_map(|page| self.read(&held, page, way)).collect(),
        };
        let size = read.len() / count;
        for (index, (stamp, page)) in stamps.iter().zip(read.chunks(size)).enumerate() {
            self.expect(buffer, first + index, **stamp, page, &format!("{way:?}"));
        }
        true
    }

    fn expect(&self, buffer: &Mapped, page: usize, stamp: Stamp, words: &[u64], by: &str) {
        if let Err(error) = stamp.verify(words) {
            let at = buffer.guess(page, 1);
            panic!("page {page} of {} at {at}, read by {by}: {error}", buffer.pages());
        }
    }

    fn read(&mut self, held: &Held<'_>, page: usize, way: Way) -> Vec<u64> {
        let (start, len) = held.raw(page);
        let mut bytes = vec![0; len];
        match way {
            Way::Cpu | Way::Device => return held.load(page),
            Way::Pipe => {
                // SAFETY: The page is mapped while its place is held.
                let sent = unsafe { libc::write(raw_fd(&self.pipe.1), start, len) };
                assert_eq!(sent, len.cast_signed(), "{}", std::io::Error::last_os_error());
                self.pipe.0.read_exact(&mut bytes).expect("what was sent");
            }
            Way::ProcessVm => {
                let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len };
                let remote = libc::iovec { iov_base: start, iov_len: len };
                let (local, remote) = (&raw const local, &raw const remote);
                // SAFETY: One vector each; the local one is the bytes'.
                let read = unsafe { libc::process_vm_readv(process(), local, 1, remote, 1, 0) };
                assert_eq!(read, len.cast_signed(), "{}", std::io::Error::last_os_error());
            }
        }
        words(&bytes)
    }

    /// Writes another version of a page.
    fn rewrite(&mut self, buffer: &Mapped, page: usize, way: Way) -> bool {
        let held = buffer.hold();
        let mut stamp = buffer.writing(page);
        self.rewrite_locked(buffer, &held, page, way, &mut stamp)
    }

    fn rewrite_locked(
        &mut self,
        buffer: &Mapped,
        held: &Held<'_>,
        page: usize,
        way: Way,
        stamp: &mut Stamp,
    ) -> bool {
        let version = self.stress.version.fetch_add(1, Ordering::Relaxed) + 1;
        let new = buffer.stamp(page, version, self.owner);
        let (start, len) = held.raw(page);
        let new_words = new.words(len / 8);
        let bytes: Vec<u8> = new_words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        match way {
            Way::Cpu => held.store(page, &new_words),
            Way::Pipe => {
                self.pipe.1.write_all(&bytes).expect("room in the pipe");
                // SAFETY: The page is mapped while its place is held, and its lock is held alone.
                let got = unsafe { libc::read(raw_fd(&self.pipe.0), start, len) };
                assert_eq!(got, len.cast_signed(), "{}", std::io::Error::last_os_error());
            }
            Way::ProcessVm => {
                let base = bytes.as_ptr().cast_mut().cast();
                let local = libc::iovec { iov_base: base, iov_len: len };
                let remote = libc::iovec { iov_base: start, iov_len: len };
                let (local, remote) = (&raw const local, &raw const remote);
                // SAFETY: One vector each. The page's lock is held alone.
                let wrote = unsafe { libc::process_vm_writev(process(), local, 1, remote, 1, 0) };
                assert_eq!(wrote, len.cast_signed(), "{}", std::io::Error::last_os_error());
            }
            Way::Device => {
                let device = &self.stress.rig.devices[self.random.below(2)];
                match device.write(&held.lease(page, 1), &bytes) {
                    Ok(_) => {}
                    // One page is written in one piece or not at all.
                    Err(DmirrorError::Busy { .. }) => return false,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        *stamp = new;
        true
    }

    /// Moves pages out while no thread writes them: the device then has the bytes that were
    /// written.
    fn out_and_verify(
        &mut self,
        buffer: &Mapped,
        first: usize,
        count: usize,
        device: &Dmirror,
    ) -> bool {
        let held = buffer.hold();
        let stamps: Vec<_> = (first..first + count).map(|page| buffer.reading(page)).collect();
        let (bytes, _) = match device.migrate_to_dev(held.range(first, count), None) {
            Ok(read) => read,
            Err(DmirrorError::NotFound { .. }) => return false,
            Err(error) => panic!("{error:?}"),
        };
        let read = words(&bytes);
        let size = read.len() / count;
        for (index, (stamp, page)) in stamps.iter().zip(read.chunks(size)).enumerate() {
            self.expect(buffer, first + index, **stamp, page, "its device");
        }
        true
    }

    /// Drops pages, finds zeroes, and writes them anew.
    fn discard(&mut self, buffer: &Mapped, first: usize, count: usize) -> bool {
        let held = buffer.hold();
        let pages = first..first + count;
        let mut stamps: Vec<_> = pages.clone().map(|page| buffer.writing(page)).collect();
        held.discard(first, count);
        for (page, stamp) in pages.zip(&mut stamps) {
            **stamp = Stamp::default();
            if self.random.below(2) == 0 {
                self.expect(buffer, page, Stamp::default(), &held.load(page), "who dropped it");
            }
            self.rewrite_locked(buffer, &held, page, Way::Cpu, stamp);
        }
        true
    }

    /// Moves a buffer, with pages away, to another place.
    fn remap(&mut self, buffer: &Mapped, device: &Dmirror, keep: bool) -> bool {
        let (mut alone, arena) = (buffer.alone(), &self.stress.arena);
        let _ = device.migrate_to_dev(alone.range(), None);
        let first_area = |range: VaRange| {
            let areas = self.stress.rig.mirror.vmas(range).expect("areas");
            areas[0].range.intersection(&range).expect("the first area")
        };
        alone.remap(arena, arena.take(self.random.below(64)), keep, &first_area);
        true
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |bytes: &[u8]| u64::from_ne_bytes(*bytes.first_chunk().expect("a word"));
    bytes.chunks(8).map(word).collect()
}

fn raw_fd(file: &impl std::os::fd::AsRawFd) -> i32 {
    file.as_raw_fd()
}

fn process() -> i32 {
    // SAFETY: The call has no obligations.
    unsafe { libc::getpid() }
}

/// Tells whether pages moved. Some may not, and a guess may miss the buffer.
fn moved(result: Result<(), DmirrorError>) -> bool {
    match result {
        Ok(()) => true,
        Err(DmirrorError::NotFound { .. } | DmirrorError::Invalid { .. }) => false,
        Err(error) => panic!("{error:?}"),
    }
}

fn went(result: Result<Migration, MigrateError>) -> bool {
    match result {
        Ok(migration) => migration.moved() > PageCount::ZERO,
        Err(MigrateError::NoMemory { .. }) => false,
        Err(error) => panic!("{error:?}"),
    }
}
