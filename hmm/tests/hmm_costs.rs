//! The costs of migrations and faults, in counts of requests, messages and callbacks.

#![cfg(feature = "dmirror")]

mod hmm_copies;
mod hmm_rig;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farptr_hmm::{
    DeviceId, DeviceMemory, HostDevice, Invalidate, Invalidation, Mirror, Owner, PageCount, SeqSet,
    WouldBlock,
};
use hmm_copies::Copies;
use hmm_rig::{Buffer, Rig, huge};

/// Attaches a device of either kind.
fn attach(mirror: &Mirror, copies: bool, frames: usize) -> DeviceId {
    let device: Arc<dyn DeviceMemory> = if copies {
        Arc::new(Copies::new(frames))
    } else {
        let frames = PageCount::new(frames as u64);
        Arc::new(HostDevice::new(Owner::new(), frames).expect("a device"))
    };
    mirror.attach(device).expect("attach")
}

/// A device that counts how often it is told something.
#[derive(Debug, Default)]
struct Told(AtomicU64);

impl Invalidate for Told {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(invalidation.set_seq())
    }
}

#[test]
fn pages_that_are_there_cost_no_request_and_are_told_to_nobody() {
    for copies in [false, true] {
        let Some(rig) = Rig::migrating(0) else { return };
        let (mirror, pages) = (&rig.mirror, 3 * huge());
        let id = attach(mirror, copies, 2 * pages);
        let buffer = Buffer::anon(pages);
        buffer.fill(0..pages);
        let told = Arc::new(Told::default());
        let _notifier =
            mirror.notifiers().register(buffer.range(), None, Arc::clone(&told) as _).expect("one");
        let all = PageCount::new(pages as u64);
        assert_eq!(mirror.migrate_to_device(buffer.range(), id).expect("migrate").moved(), all);
        let before = (mirror.stats(), told.0.load(Ordering::Relaxed));
        let again = mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        assert_eq!((again.moved(), again.already_there()), (PageCount::ZERO, all), "{again:?}");
        assert_eq!(again.skipped(), [], "copies: {copies}");
        assert_eq!((mirror.stats(), told.0.load(Ordering::Relaxed)), before, "copies: {copies}");

        // One page is home: its block alone is migrated.
        let middle = buffer.part(pages / 2..pages / 2 + 1);
        assert_eq!(mirror.migrate_to_home(middle).expect("home"), PageCount::new(1));
        let before = mirror.stats();
        let again = mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        assert_eq!(again.moved(), PageCount::new(1), "{again:?}");
        let after = mirror.stats();
        assert_eq!(after.migrations - before.migrations, 1, "copies: {copies}");
        // The staging memory is watched anew after it was emptied.
        let registrations = after.registrations - before.registrations;
        assert!((1..=2).contains(&registrations), "{registrations}, copies: {copies}");
        buffer.check(0..pages);
    }
}

/// A block whose pages all stay is told to nobody either.
#[test]
fn pages_that_stay_are_told_to_nobody() {
    for copies in [false, true] {
        let Some(rig) = Rig::migrating(0) else { return };
        let id = attach(&rig.mirror, copies, 64);
        let buffer = Buffer::shared(16);
        buffer.fill(0..16);
        let before = rig.mirror.stats();
        let stayed = rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate");
        assert_eq!(stayed.moved(), PageCount::ZERO);
        let after = rig.mirror.stats();
        assert_eq!(
            (after.migrations, after.registrations),
            (before.migrations, before.registrations)
        );
        assert_eq!(after.skipped - before.skipped, 16);
        buffer.check(0..16);
    }
}
