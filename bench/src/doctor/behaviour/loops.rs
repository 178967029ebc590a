//! How long a loop, a batch and a kernel may be.
//!
//! # Safety
//!
//! Kernels touch words of buffers that live until their run has ended, and the host looks at those
//! between runs.
#![allow(unsafe_code, reason = "launches by hand, see above")]

use super::stop::{TURNS, Watch, rounded};
use crate::{
    doctor::{finding::Finding, probe::Subject},
    failure::Failure,
    vulkan::{Device, HOST, HostBuffer, KERNEL, KERNEL_WRITES, Kernel, Lane},
};
use farptr::{
    KernelDesc, Ptr, PtrMut,
    shaders::{affine, probe},
};
use std::{rc::Rc, time::Instant};

/// How the name of a probe begins that runs a kernel for some time.
pub(super) const KERNEL_OF: &str = "a kernel of ";
/// Lengths of loops: above the limits that drivers are known to have, and a thousand times that.
const ITERATIONS: [u32; 2] = [70_000, 20_000_000];

/// Workgroups by whose time that of others is known.
const GROUPS: u32 = 16;
/// The most workgroups that every device runs in one dimension.
const MOST_GROUPS: u32 = 65_535;

/// Follows a link to itself so often, and counts.
pub(super) fn longest(subject: &mut Subject) -> Result<Finding, Failure> {
    let device = Rc::new(Device::open_at(subject.device)?);
    let kernel = Kernel::<probe::Kernel>::new(&device)?;
    let mut lane = Lane::new(&device)?;
    let mut ran = 0;
    for wanted in ITERATIONS {
        subject.at(&format!("a loop of {wanted} iterations"));
        // The link, its payload, and two words for the result.
        let mut memory = HostBuffer::new(&device, &[0u32; 8])?;
        let address = memory.address();
        // SAFETY: no run has begun.
        let words = unsafe { memory.elements_mut() };
        [words[0], words[1]] = bytemuck::cast(address);
        let push = probe::Kernel::push(probe::Args {
            head: Ptr::from_address(address),
            result: PtrMut::from_address(address + 16),
            limit: wanted,
        });
        lane.run(|recorder| {
            // SAFETY: the link leads to itself, and the result has two words of `memory`.
            unsafe { recorder.launch(&kernel, &push, [1, 1, 1]) };
            recorder.barrier(KERNEL_WRITES, HOST);
        })?;
        // SAFETY: the run has ended.
        ran = unsafe { memory.elements() }[4];
        if ran < wanted {
            let detail = format!("the driver ended a loop of {wanted} iterations after {ran}");
            return Ok(Finding::measured(detail).figure("cut", true).figure("iterations", ran));
        }
    }
    let detail = format!("not cut within {ran} iterations");
    Ok(Finding::measured(detail).figure("cut", false).figure("iterations", ran))
}

/// 64 launches in one submission, each behind a barrier, each on what the one before wrote.
pub(super) fn batch(subject: &mut Subject) -> Result<Finding, Failure> {
    const LAUNCHES: u16 = 64;
    const COUNT: u32 = 4096;
    let device = Rc::new(Device::open_at(subject.device)?);
    let kernel = Kernel::<affine::Kernel>::new(&device)?;
    let memory = HostBuffer::new(&device, &vec![0f32; COUNT as usize])?;
    let y = PtrMut::from_address(memory.address());
    let push = affine::Kernel::push(affine::Args { y, n: COUNT, a: 1.0, c: 1.0 });
    let groups = device.groups_for(COUNT, kernel.width);
    subject.at("running the batch");
    Lane::new(&device)?.run(|recorder| {
        for _ in 0..LAUNCHES {
            // SAFETY: the kernel touches the elements of `memory`.
            unsafe { recorder.launch(&kernel, &push, groups) };
            recorder.barrier(KERNEL_WRITES, KERNEL);
        }
        recorder.barrier(KERNEL_WRITES, HOST);
    })?;
    // SAFETY: the run has ended.
    let found = unsafe { memory.elements() };
    let wrong = found.iter().filter(|&&y| y != f32::from(LAUNCHES)).count();
    Ok(match wrong {
        0 => Finding::right(format!("{LAUNCHES} launches behind barriers")),
        wrong => Finding::wrong(format!("{wrong} of {COUNT} elements differ")),
    })
}

/// The seconds in the name of a probe.
pub(super) fn seconds(name: &str) -> Option<u32> {
    name.strip_prefix(KERNEL_OF)?.strip_suffix(" s")?.parse().ok()
}

/// A kernel that runs for so many seconds, as far as its speed is known. It is a long loop or,
/// where the driver cuts long loops, many workgroups with short ones.
pub(super) fn kernel_of(subject: &mut Subject, seconds: u32) -> Result<Finding, Failure> {
    subject.at("measuring the kernel");
    let mut watch = Watch::on_buffer(subject, None)?;
    watch.run(subject, 1, 1)?;
    let cuts = watch.run(subject, 1, ITERATIONS[0])?.turns < ITERATIONS[0];
    let measured = if cuts { GROUPS } else { 1 };
    let began = Instant::now();
    watch.run(subject, measured, TURNS)?;
    let factor = f64::from(seconds) / began.elapsed().as_secs_f64();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let longer = |number: u32| (f64::from(number) * factor) as u32;
    let (groups, turns) = if cuts { (longer(GROUPS), TURNS) } else { (1, longer(TURNS)) };
    if cuts && groups > MOST_GROUPS {
        return Ok(Finding::not_tried("the driver cuts loops, and no grid is that large"));
    }
    let began = Instant::now();
    let long = watch.run(subject, groups, turns)?;
    let took = began.elapsed();
    Ok(if long.complete == groups {
        Finding::right(format!("ended by itself after {:.1} s", took.as_secs_f64()))
    } else {
        let complete = long.complete;
        Finding::wrong(format!("{complete} of {groups} workgroups made their {turns} turns"))
    }
    .figure("seconds", rounded(took))
    .figure("workgroups", groups))
}
