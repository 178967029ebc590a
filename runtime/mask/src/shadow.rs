//! A second copy of memory that host and device share.
//!
//! The host sees one copy, the device the other, and both are compared with what they were when
//! they were last equal. Only bytes that changed are carried over. So a write of the host is not
//! lost that happened while a kernel ran, and no write of the device next to it is undone.
//!
//! # Safety
//!
//! Both sides are memory of this process: the driver is a software driver, or maps the memory.
//! Other threads, of the driver too, may change it at any time, so it is read as atomic words. A
//! first comparison is made by a function of C, whose answer may be out of date: then the next one
//! sees the change.

use memmap2::MmapMut;
use std::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// Words that are compared at once.
const CHUNK: usize = 1024;

/// The two copies.
#[derive(Debug)]
pub(crate) struct Shadow {
    // Invariant: both point to `words` words that live as long as this does; `synced` has as many.
    host: *mut u32,
    device: *mut u32,
    words: usize,
    synced: MmapMut,
    /// The memory behind `host`, if it is not the application's own.
    _owned: Option<MmapMut>,
    /// Whether the host's side may be written.
    writable: bool,
}

// SAFETY: the pointers lead to memory of the process, which is accessed atomically.
unsafe impl Send for Shadow {}

impl Shadow {
    /// A copy for memory that the host mapped.
    ///
    /// # Safety
    ///
    /// `device` points to so many bytes, rounded up to words, which live as long as the result.
    pub(crate) unsafe fn of_mapping(device: *mut u32, bytes: u64) -> std::io::Result<Self> {
        let words = words_of(bytes);
        let mut owned = anonymous(words)?;
        let host = owned.as_mut_ptr().cast();
        let synced = anonymous(words)?;
        let mut shadow = Self { host, device, words, synced, _owned: Some(owned), writable: true };
        shadow.down(0..words);
        Ok(shadow)
    }

    /// The host's memory itself is the host's side.
    ///
    /// # Safety
    ///
    /// As above, and `host` points to as many bytes, which can be read, and written if `writable`.
    pub(crate) unsafe fn of_import(
        host: *mut u32,
        device: *mut u32,
        bytes: u64,
        writable: bool,
    ) -> std::io::Result<Self> {
        let words = words_of(bytes);
        let synced = anonymous(words)?;
        let mut shadow = Self { host, device, words, synced, _owned: None, writable };
        // Nothing is known of the device's side, so all of it is made equal.
        (0..words).for_each(|at| shadow.device(at).store(!shadow.host(at).load(Relaxed), Relaxed));
        (0..words).for_each(|at| shadow.set_synced(at, !shadow.host(at).load(Relaxed)));
        shadow.up(0..words);
        Ok(shadow)
    }

    /// What the host sees.
    pub(crate) fn host_address(&self) -> *mut u32 {
        self.host
    }

    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// Carries over what the host changed.
    pub(crate) fn up(&mut self, range: Range<usize>) {
        for chunk in chunks(range) {
            if self.is_as_synced(self.host, &chunk) {
                continue;
            }
            for at in chunk {
                let (old, new) = (self.synced(at), self.host(at).load(Relaxed));
                if old != new {
                    merge(self.device(at), old, new);
                    self.set_synced(at, new);
                }
            }
        }
    }

    /// Carries over what the device changed.
    pub(crate) fn down(&mut self, range: Range<usize>) {
        for chunk in chunks(range) {
            if self.is_as_synced(self.device, &chunk) {
                continue;
            }
            for at in chunk {
                let (old, new) = (self.synced(at), self.device(at).load(Relaxed));
                if old != new && self.writable {
                    merge(self.host(at), old, new);
                    self.set_synced(at, new);
                }
            }
        }
    }

    /// Whether a side is as it was when both were last equal.
    fn is_as_synced(&self, side: *mut u32, chunk: &Range<usize>) -> bool {
        let side = side.wrapping_add(chunk.start);
        let synced = self.synced.as_ptr().wrapping_add(chunk.start * 4);
        // SAFETY: the invariant: both have the chunk; the module's argument for races.
        unsafe { libc::memcmp(side.cast(), synced.cast(), chunk.len() * 4) == 0 }
    }

    fn synced(&self, at: usize) -> u32 {
        let bytes = &self.synced[at * 4..at * 4 + 4];
        u32::from_ne_bytes(bytes.try_into().expect("four bytes"))
    }

    fn set_synced(&mut self, at: usize, word: u32) {
        self.synced[at * 4..at * 4 + 4].copy_from_slice(&word.to_ne_bytes());
    }

    fn host(&self, at: usize) -> &AtomicU32 {
        assert!(at < self.words, "the word is in the memory");
        // SAFETY: the invariant; the word is aligned, and accessed atomically.
        unsafe { AtomicU32::from_ptr(self.host.wrapping_add(at)) }
    }

    fn device(&self, at: usize) -> &AtomicU32 {
        assert!(at < self.words, "the word is in the memory");
        // SAFETY: the invariant; the word is aligned, and accessed atomically.
        unsafe { AtomicU32::from_ptr(self.device.wrapping_add(at)) }
    }
}

/// The words that so many bytes lie in.
pub(crate) fn words_of(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(4)).expect("mapped memory has addresses")
}

/// Gives a word the bytes that changed from `old` to `new`, whatever its other bytes are by now.
fn merge(word: &AtomicU32, old: u32, new: u32) {
    let changed = old ^ new;
    let byte = |at: u32| if changed >> at & 0xff_u32 == 0 { 0_u32 } else { 0xff << at };
    let mask: u32 = [0, 8, 16, 24].map(byte).iter().sum();
    let merged = |now: u32| Some(now & !mask | new & mask);
    // The closure always gives a word.
    let _ = word.fetch_update(Relaxed, Relaxed, merged);
}

fn chunks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(CHUNK).map(move |at| at..end.min(at + CHUNK))
}

/// Zeroes, on a page boundary.
fn anonymous(words: usize) -> std::io::Result<MmapMut> {
    MmapMut::map_anon((words * 4).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shadow of 3,000 words; index 1 is their place in `device`.
    fn shadow(device: &mut [u32]) -> Shadow {
        // SAFETY: the caller's words outlive the shadow, in each test below.
        unsafe { Shadow::of_mapping(device.as_mut_ptr(), device.len() as u64 * 4) }.unwrap()
    }

    #[test]
    fn nothing_is_carried_until_it_is_asked_for() {
        let mut device = vec![7; 3000];
        let mut shadow = shadow(&mut device);
        assert_eq!(shadow.host(2999).load(Relaxed), 7);
        shadow.host(2999).store(8, Relaxed);
        assert_eq!(shadow.device(2999).load(Relaxed), 7);
        shadow.up(0..3000);
        assert_eq!(shadow.device(2999).load(Relaxed), 8);
        shadow.device(0).store(9, Relaxed);
        assert_eq!(shadow.host(0).load(Relaxed), 7);
        shadow.down(0..3000);
        assert_eq!(shadow.host(0).load(Relaxed), 9);
    }

    #[test]
    fn writes_of_both_sides_survive_even_in_one_word() {
        let mut device = vec![0; 3000];
        let mut shadow = shadow(&mut device);
        shadow.host(5).store(0x0000_00aa, Relaxed);
        shadow.device(5).store(0xbb00_0000, Relaxed);
        shadow.device(6).store(1, Relaxed);
        shadow.down(0..3000);
        assert_eq!(shadow.host(5).load(Relaxed), 0xbb00_00aa);
        assert_eq!(shadow.host(6).load(Relaxed), 1);
        shadow.up(0..3000);
        assert_eq!(shadow.device(5).load(Relaxed), 0xbb00_00aa);
    }

    #[test]
    fn an_import_begins_with_the_host_s_bytes() {
        let (mut host, mut device) = (vec![3; 2000], vec![3; 2000]);
        device[1] = 4;
        let (at, device_at) = (host.as_mut_ptr(), device.as_mut_ptr());
        // SAFETY: both outlive the shadow.
        let mut shadow = unsafe { Shadow::of_import(at, device_at, 8000, false) }.unwrap();
        assert_eq!(shadow.device(1).load(Relaxed), 3);
        shadow.device(2).store(5, Relaxed);
        shadow.down(0..2000);
        assert_eq!(shadow.host(2).load(Relaxed), 3, "it may not be written");
    }
}
