//! The original kernel, run by hand: what it leaves without farptr.
//!
//! It runs twice, on two copies of the lends in device memory, so that the addresses in its results
//! are known from the other numbers (`image`).
//!
//! # Safety
//!
//! The words are those of a compiler, the assembler or a generator that makes valid modules. They
//! need no feature that the device lacks, since farptr has accepted them on the same device, and
//! push what their case pushes. Each case's kernel keeps to its lends.
#![allow(unsafe_code, reason = "launches by hand, see above")]

use crate::{
    failure::Failure,
    rival::{Run, StagedBytes},
    vulkan::{Device, Pipeline},
};
use farptr::rewrite::without_unused_capabilities;
use farptr_kernel_cases::{
    case::{Case, Image},
    layout::{Layout, PAGE},
};
use std::rc::Rc;

/// Bytes of the first memory, which most cases fit in.
const ROOM: usize = 128 << 10;

/// A device on which kernels run by hand.
pub(super) struct ByHand {
    device: Rc<Device>,
    memory: StagedBytes,
}

/// What an original leaves, of two runs in different places.
pub(super) struct Left {
    pub(super) first: Image,
    pub(super) second: Image,
    /// Whether bytes beside the lends are as they were.
    pub(super) kept_to_lends: bool,
}

impl ByHand {
    /// Opens the device at this place in Vulkan's list.
    pub(super) fn open(index: usize) -> Result<Self, Failure> {
        let device = Rc::new(Device::open_at(index)?);
        let memory = within_four_gib(&device, ROOM)?;
        Ok(Self { device, memory })
    }

    /// Runs the kernel of a case.
    pub(super) fn run(&mut self, case: &Case, words: &[u32]) -> Result<Left, Failure> {
        let layout = Layout::of(&case.buffers);
        let len = layout.bytes();
        // The first copy begins at a page, and a page lies between the two.
        let needed = PAGE + 2 * len + PAGE;
        if self.memory.size_bytes() < needed {
            self.memory = within_four_gib(&self.device, needed)?;
        }
        let start = self.memory.address();
        let skipped = start.next_multiple_of(PAGE as u64) - start;
        let skip = usize::try_from(skipped).expect("less than a page");
        let (at, again) = (skip, skip + len + PAGE);
        let (base, other) = (start + at as u64, start + again as u64);
        let mut bytes = vec![0; again + len];
        bytes[at..at + len].copy_from_slice(&layout.content(base, &case.buffers));
        bytes[again..].copy_from_slice(&layout.content(other, &case.buffers));
        let (push, other_push) = (layout.push(base, &case.push), layout.push(other, &case.push));
        let push_bytes = u32::try_from(push.len()).expect("cases push few bytes");
        // A compiler may declare what it does not use, and the device does not have.
        let words = without_unused_capabilities(words);
        // SAFETY: see the module's documentation.
        let pipeline = unsafe { Pipeline::new(&self.device, &words, push_bytes) }?;
        let groups = case.groups;
        let runs = [Run { push: &push, groups }, Run { push: &other_push, groups }];
        // SAFETY: 1. the pipeline is of this device, and cases have few workgroups; 2. the kernel
        // keeps to its lends, which are in the bytes.
        unsafe { self.memory.run(&pipeline, &runs, &mut bytes) }?;
        let (one, two) = (&bytes[at..at + len], &bytes[again..]);
        Ok(Left {
            first: layout.image(base, one),
            second: layout.image(other, two),
            kept_to_lends: layout.canaries_live(one) && layout.canaries_live(two),
        })
    }
}

/// Memory whose addresses differ in the low word alone: kernels of cases may do without carries.
fn within_four_gib(device: &Rc<Device>, size_bytes: usize) -> Result<StagedBytes, Failure> {
    let mut refused = Vec::new();
    loop {
        let memory = StagedBytes::new(device, size_bytes)?;
        let first = memory.address();
        if first >> 32 == (first + size_bytes as u64) >> 32 {
            return Ok(memory);
        }
        refused.push(memory);
    }
}
