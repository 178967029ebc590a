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

use farptr_hmm::{DeviceError, PageCount};
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

impl Meddling {
    fn meddle(&self, call: &str) -> Result<(), DeviceError> {
        if call == "alloc" && self.armed.swap(false, Ordering::Relaxed) {
            (self.step.lock().expect("a step"))();
        }
        Ok(())
    }
}

hmm_copies::forward::forward!(Meddling, device; meddle);

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
