//! The kinds of memory through which host and device exchange data, on a card.

#[path = "../../tests/common/masked.rs"]
mod masked;

use super::common;
use crate::{
    Runtime,
    vk::{Device, block::Block, buffer::SharedBuffer},
};
use ash::vk::MemoryPropertyFlags as Flags;
use gpu_allocator::MemoryLocation;

#[test]
fn words_are_near_their_reader() {
    let test = "scope::memory_tests::words_are_near_their_reader";
    for row in ["nvidia", "nvidia-rebar", "tiny"] {
        let Some(ended) = masked::again(row, test) else {
            let Some(runtime) = common::build(Runtime::builder()) else { return };
            let looked = runtime.scope(|s| {
                look(s.device(), &masked::mask().unwrap());
                Ok(())
            });
            return looked.unwrap();
        };
        ended.assert_passed();
    }
}

/// Looks where buffers of each kind are, on the device of a row.
fn look(device: &Device, row: &str) {
    let read_by_host = SharedBuffer::for_host(device, 4096).unwrap().memory();
    assert!(read_by_host.contains(Flags::HOST_CACHED), "{row}: {read_by_host:?}");
    assert!(!read_by_host.contains(Flags::DEVICE_LOCAL), "{row}: {read_by_host:?}");
    let read_by_device = SharedBuffer::for_device(device, 4096).unwrap().memory();
    // Without a window there is only memory of the host.
    let window = !row.starts_with("tiny");
    assert_eq!(read_by_device.contains(Flags::DEVICE_LOCAL), window, "{row}: {read_by_device:?}");
    let block = |location| Block::new(device, 4096, location).unwrap();
    assert!(block(MemoryLocation::GpuToCpu).is_cached(), "{row}: pages on their way home");
    let frame = block(MemoryLocation::GpuOnly);
    assert!(frame.host().is_none(), "{row}: frames are in memory that the device alone sees");
}
