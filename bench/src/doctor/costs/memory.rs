//! How fast the host, a kernel and copies by the device are in memory of one type.
//!
//! # Safety
//!
//! The kernel that is launched by hand touches two buffers that live until its run has ended.
#![allow(unsafe_code, reason = "a launch by hand, see above")]

use super::clock::{median, short};
use crate::{
    doctor::{finding::Finding, kernels::triple, probe::Subject},
    failure::Failure,
    rival::Copies,
    vulkan::{Device, HOST, HostBuffer, KERNEL_WRITES, Kernel, Lane},
};
use farptr::{KernelDesc, Ptr, PtrMut};
use std::{hint::black_box, rc::Rc};

/// Bytes by which memory is measured.
const BYTES: usize = 16 << 20;

/// The rates in memory of one type.
pub(super) fn rates(subject: &mut Subject, kind: u32) -> Result<Finding, Failure> {
    let device = Rc::new(Device::open_at(subject.device)?);
    let mut home = vec![1u32; BYTES / 4];
    subject.at("making a buffer");
    let mut buffer = HostBuffer::new_in(&device, &home, kind)?;
    subject.at("copying by the host");
    let (write, read) = by_host(&mut buffer, &mut home)?;
    subject.at("copying by a kernel");
    let kernel = by_kernel(&device, &buffer, &HostBuffer::new_in(&device, &home, kind)?)?;
    subject.at("copying by the device");
    let (up, down) = by_copies(&device, &mut buffer)?;
    // SAFETY: no run is under way.
    if unsafe { buffer.elements() } != home {
        return Ok(Finding::wrong("words that were copied to the device and back differ"));
    }
    let rate = |ns: f64| short(1e3 * BYTES as f64 / ns);
    let [write, read, kernel, up, down] = [write, read, kernel, up, down].map(rate);
    let detail = format!(
        "host writes {write} MB/s, reads {read} MB/s; a kernel {kernel} MB/s; the device copies \
         {up} MB/s to its own memory, {down} MB/s from there"
    );
    Ok(Finding::measured(detail)
        .figure("host_write_mb_s", write)
        .figure("host_read_mb_s", read)
        .figure("kernel_mb_s", kernel)
        .figure("copy_to_device_mb_s", up)
        .figure("copy_from_device_mb_s", down))
}

/// The times in which the host writes and reads the buffer.
fn by_host(buffer: &mut HostBuffer<u32>, home: &mut Vec<u32>) -> Result<(f64, f64), Failure> {
    let write = median(5, || {
        // SAFETY: no run is under way.
        unsafe { buffer.elements_mut() }.copy_from_slice(black_box(home));
        Ok(())
    })?;
    let read = median(3, || {
        // SAFETY: no run is under way.
        black_box(&mut *home).copy_from_slice(unsafe { buffer.elements() });
        Ok(())
    })?;
    Ok((write, read))
}

/// The time in which a kernel reads one buffer and writes the other.
fn by_kernel(
    device: &Rc<Device>,
    from: &HostBuffer<u32>,
    to: &HostBuffer<u32>,
) -> Result<f64, Failure> {
    let n = u32::try_from(BYTES / 4).expect("few words");
    let kernel = Kernel::<triple::Kernel>::new(device)?;
    let groups = device.groups_for(n, kernel.width);
    let (x, y) = (Ptr::from_address(from.address()), PtrMut::from_address(to.address()));
    let mut lane = Lane::new(device)?;
    let push = triple::Kernel::push(triple::Args { x, y, n, k: 0 });
    median(5, || {
        lane.run(|recorder| {
            // SAFETY: the kernel touches the words of both buffers, which live and have `n`.
            unsafe { recorder.launch(&kernel, &push, groups) };
            recorder.barrier(KERNEL_WRITES, HOST);
        })
    })
}

/// The times in which the device copies the buffer to its own memory, and back, where it was
/// emptied meanwhile.
fn by_copies(device: &Rc<Device>, buffer: &mut HostBuffer<u32>) -> Result<(f64, f64), Failure> {
    let mut copies = Copies::new(device, BYTES as u64)?;
    let up = median(5, || copies.up(buffer))?;
    // SAFETY: no run is under way.
    unsafe { buffer.elements_mut() }.fill(0);
    let down = median(5, || copies.down(buffer))?;
    Ok((up, down))
}
