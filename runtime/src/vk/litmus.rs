//! What a device does with a long loop, tried at start-up.
//!
//! Some drivers end an invocation's loops after so many iterations and say nothing (llvmpipe:
//! 65,535 over all loops). The limit cannot be queried, so the probe kernel follows a link that
//! leads to itself, and reports how often it did. Where it was cut, rewritten kernels count their
//! loops on a second way, and a loop that was cut is an error instead of a wrong result.

use super::{Device, Pipeline, buffer::SharedBuffer, with_scope};
use crate::{Error, LaunchError, config::Config, grid::Dispatch};
use farptr_shaders::{
    KernelDesc, Ptr, PtrMut,
    probe::{Args, Kernel},
};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// Iterations that are asked for: more than the limit of any driver that is known to have one.
pub(crate) const ITERATIONS: u32 = 70_000;
/// Where the kernel reports, in words behind the link.
const RESULT_WORD: usize = 8;

/// Finds out how many of [`ITERATIONS`] iterations the device runs, and notes it.
pub(crate) fn try_loops(device: &Arc<Device>, probe: &Arc<Pipeline>) -> Result<u32, Error> {
    let buffer = SharedBuffer::new(device, 64).map_err(LaunchError::from)?;
    let address = buffer.address();
    let words = buffer.words();
    words.iter().for_each(|word| word.store(0, Relaxed));
    for (word, half) in words.iter().zip(crate::launch::control::words(address)) {
        word.store(half, Relaxed);
    }
    let result = address + RESULT_WORD as u64 * 4;
    let push = Kernel::push(Args {
        head: Ptr::from_address(address),
        result: PtrMut::from_address(result),
        limit: ITERATIONS,
    });
    let run = with_scope(device, &Arc::new(Config::DIRECT), |scope| {
        let one = Dispatch::of([1, 1, 1]);
        // SAFETY: 1. the probe was compiled as it is for this device and its push constants, and
        // one group keeps every limit; 2. it reads the one link and writes two words, all in
        // `buffer`, at its device address.
        let recorded = unsafe { scope.record(probe, bytemuck::bytes_of(&push), &one) };
        recorded.map_err(LaunchError::into)
    });
    let links = words[RESULT_WORD].load(Relaxed);
    // SAFETY: the buffer belongs to this device; `with_scope` has waited for the kernel.
    unsafe { buffer.destroy(device) };
    run?;
    device.note_cut_after((links < ITERATIONS).then_some(links));
    Ok(links)
}
