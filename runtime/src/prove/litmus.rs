//! Long loops and large offsets, tried on a device at start-up.
//!
//! Some drivers end an invocation's loops after so many iterations and say nothing (llvmpipe:
//! 65,535 over all loops). The limit cannot be queried, so the probe kernel follows a link that
//! leads to itself, and reports how often it did. On a driver that cut it, rewritten kernels count
//! their loops in a second way, and a loop that was cut is an error instead of a wrong result.
//!
//! Some drivers compute the offset of an element in signed numbers of 32 bits (SwiftShader), so an
//! element 4 GiB behind an address gets that address itself. A checked kernel reads 2 and 4 GiB
//! behind an address where nothing is lent: it touches nothing, and the fault says which address
//! the driver computed. If that address is wrong, kernels compute offsets themselves.
//!
//! # Safety
//!
//! The probe kernel is farptr's own; it touches the chain that it is given and the words of its
//! result. What is lent is leaked if the device is lost meanwhile.
#![allow(unsafe_code, reason = "it launches the probe, with the argument above")]

use crate::{
    Error, LaunchError, LaunchOptions,
    config::Config,
    kernel::code::Code,
    launch::{
        checked::Request,
        grid::Dispatch,
        launcher::Launcher,
        stream::{Plain, Stream},
    },
    lend::lends::Lends,
    prove::{
        kernels::{OFFSETS, OffsetsPush, PROBE, ProbePush},
        proof::returning,
    },
    scope::with_scope,
    vk::{Pipeline, buffer::SharedBuffer},
};
use farptr_rewrite::{Ptr, PtrMut};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// Iterations that are asked for: more than the limit of any driver that is known to have one.
pub(crate) const ITERATIONS: u32 = 70_000;
/// The place of the kernel's report, in words behind the link.
const RESULT_WORD: usize = 8;

/// Finds out how many of [`ITERATIONS`] iterations the device runs, and notes it.
pub(crate) fn try_loops(launcher: &Arc<Launcher>, probe: &Arc<Pipeline>) -> Result<u32, Error> {
    let buffer = SharedBuffer::for_host(launcher.device(), 64).map_err(LaunchError::from)?;
    let address = buffer.address();
    let words = buffer.words();
    for (word, half) in words.iter().zip(crate::launch::control_block::words(address)) {
        word.store(half, Relaxed);
    }
    let result = address + RESULT_WORD as u64 * 4;
    let (head, result) = (Ptr::from_address(address), PtrMut::from_address(result));
    let push = ProbePush::new(head, result, ITERATIONS);
    let (push, dispatch) = (bytemuck::bytes_of(&push), Dispatch::of([1, 1, 1]));
    let launch = Plain { kernel: PROBE.name, pipeline: probe, push, dispatch, touched: None };
    let (mut stream, lends) = (Stream::new(launcher), Lends::default());
    // SAFETY: 1. the probe was compiled as it is for this device and its push constants, and one
    // group keeps every limit; 2. it reads the one link and writes two words, all in `buffer`, at
    // its device address; a buffer stays while the device may be using it.
    unsafe { stream.record_unchecked(&launch, &lends) }?;
    stream.finish(&lends)?;
    let links = words[RESULT_WORD].load(Relaxed);
    launcher.device().note_cut_after((links < ITERATIONS).then_some(links));
    Ok(links)
}

/// An address with nothing lent within 4 GiB of it: below the mappings of systems, above those of
/// small programs.
const NOWHERE: u64 = 1 << 45;

/// Finds out whether the driver computes offsets of 2 and 4 GiB in fewer bits than addresses have,
/// and notes it.
pub(crate) fn try_offsets(
    launcher: &Arc<Launcher>,
    config: &Arc<Config>,
    kernel: &Arc<Code>,
) -> Result<bool, Error> {
    let mut narrow = false;
    for index in [1u32 << 29, 1 << 30] {
        let (memory, mut result) = (vec![NOWHERE], vec![0u32]);
        let ran = with_scope(launcher, &returning(config), |scope| {
            scope.import(&memory)?;
            let result = scope.import_mut(&mut result)?.ptr();
            let address = Ptr::from_address(memory.as_ptr().expose_provenance() as u64);
            let push = OffsetsPush::new(address, result, index);
            let (kernel, code) = (OFFSETS.name, kernel);
            let (push, options) = (bytemuck::bytes_of(&push), &LaunchOptions::new());
            let dispatch = Dispatch::of([1, 1, 1]);
            Ok(scope.launch_request(&Request { kernel, code, dispatch, push, options })?)
        });
        if launcher.device().check().is_err() {
            // The device may still be using them.
            std::mem::forget((memory, result));
        }
        match ran {
            Err(Error::Launch(LaunchError::Fault(fault))) => {
                narrow |= fault.address != NOWHERE + u64::from(index) * 4;
            }
            Err(other) => return Err(other),
            // The address was so wrong that it was in what is lent.
            Ok(()) => narrow = true,
        }
    }
    launcher.device().note_narrow_offsets(narrow);
    Ok(narrow)
}
