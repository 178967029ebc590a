//! Whether no addition is lost when device, or device and host, add to one word.
//!
//! # Safety
//!
//! The kernel changes one word of a buffer that lives until its run has ended, by atomic
//! operations; so does the host.
#![allow(unsafe_code, reason = "launches by hand, see above")]

use crate::{
    doctor::{
        finding::Finding,
        kernels::{COUNTED, count, count_long},
        probe::Subject,
    },
    failure::Failure,
    vulkan::{Device, HOST, HostBuffer, KERNEL_WRITES, Kernel, Lane},
};
use farptr::{KernelDesc, PtrMut};
use std::{rc::Rc, sync::atomic::Ordering::Relaxed};

const GROUPS: u32 = 256;
const GROUP: u32 = 64;
/// Additions of a launch.
const BY_DEVICE: u32 = GROUPS * GROUP * COUNTED;
/// Additions of the host between two looks at the device.
const AT_A_TIME: u32 = 64;

pub(super) fn device_alone(subject: &mut Subject, kind: u32) -> Result<Finding, Failure> {
    words(subject, kind, 0)
}

pub(super) fn both(subject: &mut Subject, kind: u32) -> Result<Finding, Failure> {
    words(subject, kind, AT_A_TIME)
}

fn words(subject: &mut Subject, kind: u32, by_host: u32) -> Result<Finding, Failure> {
    let device = Rc::new(Device::open_at(subject.device)?);
    let memory = HostBuffer::new_in(&device, &[0u32; 16], kind)?;
    let push = count::Kernel::push(count::Args { word: PtrMut::from_address(memory.address()) });
    let word = memory.word(0);
    let added = run::<count::Kernel>(subject, &device, &push, || {
        for _ in 0..by_host {
            word.fetch_add(1, Relaxed);
        }
        by_host
    })?;
    Ok(judge(u64::from(word.load(Relaxed)), added, by_host > 0))
}

/// As [`both`], with a word of 64 bits.
pub(super) fn both_long(subject: &mut Subject, kind: u32) -> Result<Finding, Failure> {
    let device = Rc::new(Device::open_at(subject.device)?);
    let memory = HostBuffer::new_in(&device, &[0u64; 8], kind)?;
    let word = PtrMut::from_address(memory.address());
    let push = count_long::Kernel::push(count_long::Args { word });
    let word = memory.word(0);
    let added = run::<count_long::Kernel>(subject, &device, &push, || {
        for _ in 0..AT_A_TIME {
            word.fetch_add(1, Relaxed);
        }
        AT_A_TIME
    })?;
    Ok(judge(word.load(Relaxed), added, true))
}

/// Runs the kernel, and `add` while it runs; what the host added.
fn run<K: KernelDesc>(
    subject: &mut Subject,
    device: &Rc<Device>,
    push: &K::Push,
    add: impl Fn() -> u32,
) -> Result<u64, Failure> {
    let kernel = Kernel::<K>::new(device)?;
    let mut added = 0;
    subject.at("adding");
    let record = |recorder: &crate::vulkan::Recorder<'_>| {
        // SAFETY: the kernel changes the word that the push constants name, which lives.
        unsafe { recorder.launch(&kernel, push, [GROUPS, 1, 1]) };
        recorder.barrier(KERNEL_WRITES, HOST);
    };
    Lane::new(device)?.run_while(record, |_| added += u64::from(add()))?;
    Ok(added)
}

fn judge(found: u64, by_host: u64, host_adds: bool) -> Finding {
    let wanted = u64::from(BY_DEVICE) + by_host;
    let lost = i128::from(wanted) - i128::from(found);
    let finding = match (lost, host_adds) {
        (0, false) => Finding::right(format!("{BY_DEVICE} additions")),
        (0, true) => Finding::measured(format!("{BY_DEVICE} + {by_host} additions, none lost")),
        // Nothing promises that host and device see each other's.
        (_, true) => Finding::measured(format!("{lost} of {BY_DEVICE} + {by_host} additions lost")),
        (_, false) => Finding::wrong(format!("{lost} of {BY_DEVICE} additions lost")),
    };
    let lost = i64::try_from(lost).unwrap_or(i64::MAX);
    finding.figure("by_device", BY_DEVICE).figure("by_host", by_host).figure("lost", lost)
}
