//! A device whose memory is not made of pages of this process: everything is copied.
//!
//! # Safety
//!
//! The device gives back what it was given, which the trait asks for.

#![allow(unsafe_code)]
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod forward;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farptr_hmm::{
    DeviceError, DeviceId, DeviceMemory, HostDevice, Mirror, MirrorCall, Owner, PageCount,
    PageNumber, PageSize, VaRange,
};

/// Attaches a device of so many frames that are copied to, or of pages of this process.
pub(crate) fn attach(mirror: &Mirror, copies: bool, frames: usize) -> DeviceId {
    let device: Arc<dyn DeviceMemory> = if copies {
        Arc::new(Copies::new(frames))
    } else {
        let frames = PageCount::new(frames as u64);
        Arc::new(HostDevice::new(Owner::new(), frames).expect("a device"))
    };
    mirror.attach(device).expect("attach")
}

/// See the module. Its functions allocate nothing: two of them run on the thread that serves
/// faults.
#[derive(Debug)]
pub(crate) struct Copies {
    owner: Owner,
    memory: Mutex<Memory>,
    /// While set, nothing can be read back.
    mute: AtomicBool,
    copied_in: AtomicU64,
    copied_out: AtomicU64,
    /// Counts down the calls that bring pages here; the one that finds zero fails. Negative never
    /// fails.
    countdown: Mutex<i32>,
    /// Whether the call that fails panics.
    panics: AtomicBool,
}

#[derive(Debug)]
struct Memory {
    bytes: Vec<u8>,
    taken: Vec<bool>,
    /// The number of the page that each frame was given out for.
    host: Vec<u64>,
}

impl Memory {
    /// Checks that frames are filled for the pages that they were given out for.
    fn check_host(&self, first: PageNumber, host: VaRange) {
        let given = &self.host[frames(first, host)];
        let same = given.iter().copied().eq(page_numbers(host));
        assert!(
            same,
            "frame {} is filled for {host}, and was given out for {given:?}",
            first.get()
        );
    }
}

impl Copies {
    pub(crate) fn new(frames: usize) -> Self {
        let memory = Memory {
            bytes: vec![0xee; frames * page()],
            taken: vec![false; frames],
            host: vec![0; frames],
        };
        Self {
            owner: Owner::new(),
            memory: Mutex::new(memory),
            mute: AtomicBool::new(false),
            copied_in: AtomicU64::new(0),
            copied_out: AtomicU64::new(0),
            countdown: Mutex::new(-1),
            panics: AtomicBool::new(false),
        }
    }

    /// Has the call after so many others that bring pages here fail.
    pub(crate) fn fail_after(&self, calls: i32) {
        *self.countdown.lock().expect("countdown") = calls;
    }

    /// Says whether the call that fails panics.
    pub(crate) fn set_panics(&self, panics: bool) {
        self.panics.store(panics, Ordering::Relaxed);
    }

    fn step(&self) -> Result<(), DeviceError> {
        let mut countdown = self.countdown.lock().expect("countdown");
        let fails = *countdown == 0;
        *countdown -= i32::from(*countdown >= 0);
        drop(countdown);
        if fails {
            assert!(!self.panics.load(Ordering::Relaxed), "the device panics, as it was told to");
            return Err(DeviceError::NoMemory);
        }
        Ok(())
    }

    pub(crate) fn used(&self) -> usize {
        self.memory().taken.iter().filter(|&&taken| taken).count()
    }

    /// Has every attempt to read frames back fail from now on.
    pub(crate) fn fall_mute(&self) {
        self.mute.store(true, Ordering::Relaxed);
    }

    /// How many pages were copied here, those of zeroes left out.
    pub(crate) fn copied_in(&self) -> u64 {
        self.copied_in.load(Ordering::Relaxed)
    }

    /// How many pages were read back.
    pub(crate) fn copied_out(&self) -> u64 {
        self.copied_out.load(Ordering::Relaxed)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn page() -> usize {
    usize::try_from(PageSize::host().bytes()).expect("64 bits")
}

fn bytes_of(first: PageNumber, len: usize) -> Range<usize> {
    let start = frames(first, VaRange::default()).start * page();
    start..start + len
}

/// The frames from `first` on for the pages of a range.
fn frames(first: PageNumber, host: VaRange) -> Range<usize> {
    let first = usize::try_from(first.get()).expect("64 bits");
    first..first + page_numbers(host).count()
}

fn page_numbers(host: VaRange) -> impl Iterator<Item = u64> {
    let size = PageSize::host();
    host.pages(size).map(move |page| page.start().page_number(size).get())
}

// SAFETY: 1. Frames are written by `copy_in` and `zero` only. 2. `taken` says what is given out.
unsafe impl DeviceMemory for Copies {
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
        self.step()?;
        let count = frames(PageNumber::default(), host).len();
        let align = usize::try_from(page_size.bytes()).expect("64 bits") / page();
        let mut memory = self.memory();
        let total = memory.taken.len();
        let fits = |first: &usize| {
            first + count <= total && memory.taken[*first..first + count].iter().all(|t| !t)
        };
        let first = (0..total).step_by(align).find(fits).ok_or(DeviceError::NoMemory)?;
        memory.taken[first..first + count].fill(true);
        let hosts = memory.host[first..first + count].iter_mut();
        hosts.zip(page_numbers(host)).for_each(|(of, page)| *of = page);
        Ok(PageNumber::new(first as u64))
    }

    fn free(&self, _: &MirrorCall, first: PageNumber, host: VaRange) {
        let mut memory = self.memory();
        for frame in frames(first, host) {
            assert!(memory.taken[frame], "frame {frame} was not taken");
            memory.taken[frame] = false;
            memory.bytes[frame * page()..(frame + 1) * page()].fill(0xee);
        }
    }

    fn copy_in(
        &self,
        _: &MirrorCall,
        first: PageNumber,
        host: VaRange,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        self.step()?;
        let mut memory = self.memory();
        memory.check_host(first, host);
        memory.bytes[bytes_of(first, bytes.len())].copy_from_slice(bytes);
        self.copied_in.fetch_add((bytes.len() / page()) as u64, Ordering::Relaxed);
        Ok(())
    }

    fn copy_out(
        &self,
        _: &MirrorCall,
        first: PageNumber,
        host: VaRange,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        if self.mute.load(Ordering::Relaxed) {
            return Err(DeviceError::OutOfRange { frame: first });
        }
        assert_eq!(frames(first, host).len() * page(), bytes.len(), "one frame for each page");
        bytes.copy_from_slice(&self.memory().bytes[bytes_of(first, bytes.len())]);
        self.copied_out.fetch_add((bytes.len() / page()) as u64, Ordering::Relaxed);
        Ok(())
    }

    fn zero(&self, _: &MirrorCall, first: PageNumber, host: VaRange) -> Result<(), DeviceError> {
        self.step()?;
        let mut memory = self.memory();
        memory.check_host(first, host);
        memory.bytes[bytes_of(first, frames(first, host).len() * page())].fill(0);
        Ok(())
    }
}
