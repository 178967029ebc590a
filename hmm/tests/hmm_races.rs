//! Changes of mappings in the middle of a migration, made by the device at a chosen step.
//!
//! # Safety
//!
//! The device hands everything on to one that keeps the promises of the trait. The memory that it
//! maps anew is that of the test's buffer, to which no reference exists.

#![cfg(feature = "dmirror")]
#![allow(unsafe_code)]

mod hmm_copies;
mod hmm_rig;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use farptr_hmm::{DeviceError, DeviceMemory, MirrorCall, Owner, PageCount, PageNumber, PageSize};
use hmm_copies::Copies;
use hmm_rig::{Buffer, RW, Rig, page};
use rustix::mm::MapFlags;

type Step = Box<dyn FnMut() + Send>;

/// A device that does something before it gives out frames.
struct Meddling {
    device: Copies,
    step: Mutex<Step>,
    armed: AtomicBool,
}

// SAFETY: The device inside keeps both promises.
unsafe impl DeviceMemory for Meddling {
    fn owner(&self) -> Owner {
        self.device.owner()
    }

    fn is_self_contained(&self) -> bool {
        true
    }

    fn alloc(
        &self,
        call: &MirrorCall,
        count: PageCount,
        size: PageSize,
    ) -> Result<PageNumber, DeviceError> {
        if self.armed.swap(false, Ordering::Relaxed) {
            (self.step.lock().expect("a step"))();
        }
        self.device.alloc(call, count, size)
    }

    fn free(&self, call: &MirrorCall, first: PageNumber, count: PageCount) {
        self.device.free(call, first, count);
    }

    fn copy_in(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        self.device.copy_in(call, first, bytes)
    }

    fn copy_out(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        bytes: &mut [u8],
    ) -> Result<(), DeviceError> {
        self.device.copy_out(call, first, bytes)
    }

    fn zero(
        &self,
        call: &MirrorCall,
        first: PageNumber,
        count: PageCount,
    ) -> Result<(), DeviceError> {
        self.device.zero(call, first, count)
    }
}

/// Memory that was mapped after the migration had begun is not watched yet. Pages taken from there
/// could not be put back, and threads that touch them would find zeroes.
#[test]
fn memory_mapped_during_a_migration_keeps_its_content() {
    const PAGES: usize = 16;
    let Some(rig) = Rig::migrating(0) else { return };
    let buffer = Arc::new(Buffer::anon(PAGES));
    let inside = Arc::clone(&buffer);
    let step: Step = Box::new(move || {
        let start = inside.range().start().as_mut_ptr::<std::ffi::c_void>();
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: The place is the buffer's, and no reference to it exists.
        let mapped = unsafe { rustix::mm::mmap_anonymous(start, PAGES * page(), RW, flags) };
        assert_eq!(mapped.expect("mmap"), start);
        inside.fill(0..PAGES);
    });
    let (device, armed) = (Copies::new(2 * PAGES), AtomicBool::new(true));
    let device = Arc::new(Meddling { device, step: Mutex::new(step), armed });
    let id = rig.mirror.attach(Arc::clone(&device) as _).expect("attach");
    let migration = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
    buffer.check(0..PAGES);
    rig.mirror.drain();
    assert_eq!((device.device.used(), rig.mirror.pages_away()), (0, PageCount::ZERO));
    assert_eq!(rig.mirror.stats().lost, 0, "{migration:?}");
}
