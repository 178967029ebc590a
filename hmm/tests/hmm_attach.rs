//! Devices are attached and detached: an attached device is not attached again, and the number of a
//! detached device never means another one.

#![cfg(feature = "dmirror")]

mod hmm_copies;
mod hmm_rig;

use std::sync::Arc;

use farptr_hmm::{AttachError, DeviceMemory, HostDevice, MigrateError, Mirror, Owner, PageCount};
use hmm_copies::Copies;
use hmm_rig::{Buffer, Rig, fork, is_root, isolated, skip};

fn host_device() -> Arc<HostDevice> {
    Arc::new(HostDevice::new(Owner::new(), PageCount::new(64)).expect("a device"))
}

fn refused(mirror: &Mirror, device: Arc<dyn DeviceMemory>) {
    let error = mirror.attach(device).expect_err("it is attached already");
    assert!(matches!(error, AttachError::Attached), "{error:?}");
    assert!(error.to_string().contains("detach it first"), "{error}");
}

/// A device that hands everything on to another.
struct Wrapped(Arc<HostDevice>);

hmm_copies::forward::forward!(Wrapped, 0, as_host);

#[test]
fn a_device_is_attached_once() {
    let Some(rig) = Rig::migrating(0) else { return };
    let buffer = Buffer::anon(32);
    buffer.fill(0..32);
    let devices: [Arc<dyn DeviceMemory>; 2] = [host_device(), Arc::new(Copies::new(64))];
    for device in devices {
        let id = rig.mirror.attach(Arc::clone(&device)).expect("attach");
        let out = || rig.mirror.migrate_to_device(buffer.range(), id).expect("migrate").moved();
        assert_eq!(out(), PageCount::new(32));
        refused(&rig.mirror, Arc::clone(&device));
        assert_eq!(rig.mirror.pages_away(), PageCount::new(32), "nothing has changed");
        buffer.check(0..32);
        assert_eq!(out(), PageCount::new(32), "the frames are still watched");
        rig.mirror.detach(id);
        assert_eq!(rig.mirror.pages_away(), PageCount::ZERO);
        buffer.check(0..32);
        let again = rig.mirror.attach(Arc::clone(&device)).expect("attach after detach");
        assert_ne!(again, id);
        let moved = rig.mirror.migrate_to_device(buffer.range(), again).expect("migrate").moved();
        assert_eq!(moved, PageCount::new(32));
        buffer.check(0..32);
        rig.mirror.detach(again);
    }
    assert_eq!(rig.mirror.stats().lost, 0);
}

#[test]
fn frames_are_attached_once_whoever_offers_them() {
    let rig = Rig::any(0);
    let device = host_device();
    let id = rig.mirror.attach(Arc::clone(&device) as _).expect("attach");
    refused(&rig.mirror, Arc::new(Wrapped(Arc::clone(&device))));
    rig.mirror.detach(id);
    let id = rig.mirror.attach(Arc::new(Wrapped(Arc::clone(&device)))).expect("attach");
    refused(&rig.mirror, device);
    rig.mirror.detach(id);
}

#[test]
fn a_host_device_belongs_to_one_mirror() {
    let (first, second) = (Rig::any(0), Rig::any(0));
    let device = host_device();
    let id = first.mirror.attach(Arc::clone(&device) as _).expect("attach");
    refused(&second.mirror, Arc::clone(&device) as _);
    first.mirror.detach(id);
    let _ = second.mirror.attach(Arc::clone(&device) as _).expect("the first has let it go");
    refused(&first.mirror, Arc::clone(&device) as _);
    drop(second);
    let _ = first.mirror.attach(device).expect("the second is no more");
}

/// The frames of a device that copies are its own: two mirrors have different ones.
#[test]
fn a_device_that_copies_may_belong_to_two_mirrors() {
    let Some(first) = Rig::migrating(0) else { return };
    let second = Rig::any(0);
    let device = Arc::new(Copies::new(64));
    let ids = [&first, &second].map(|rig| {
        let id = rig.mirror.attach(Arc::clone(&device) as _).expect("attach");
        (rig, id, Buffer::anon(16))
    });
    for (rig, id, buffer) in &ids {
        buffer.fill(0..16);
        let moved = rig.mirror.migrate_to_device(buffer.range(), *id).expect("migrate").moved();
        assert_eq!(moved, PageCount::new(16));
    }
    assert_eq!(device.used(), 32);
    for (rig, id, buffer) in &ids {
        rig.mirror.detach(*id);
        buffer.check(0..16);
        assert_eq!(rig.mirror.stats().lost, 0);
    }
    assert_eq!(device.used(), 0);
}

#[test]
fn a_number_without_a_device_concerns_no_other() {
    let Some(rig) = Rig::migrating(0) else { return };
    let other = Rig::any(0);
    let buffer = Buffer::anon(32);
    buffer.fill(0..32);
    let (first, second) = (host_device(), host_device());
    let old = rig.mirror.attach(first).expect("attach");
    rig.mirror.detach(old);
    let new = rig.mirror.attach(Arc::clone(&second) as _).expect("attach in its place");
    let elsewhere = other.mirror.attach(host_device()).expect("attach");
    let moved = rig.mirror.migrate_to_device(buffer.range(), new).expect("migrate").moved();
    assert_eq!(moved, PageCount::new(32));
    for stale in [old, elsewhere] {
        rig.mirror.detach(stale);
        assert_eq!(rig.mirror.evict(stale).expect("evict"), PageCount::ZERO);
        let error = rig.mirror.migrate_to_device(buffer.range(), stale).expect_err("stale");
        assert!(matches!(error, MigrateError::NoDevice { .. }), "{error:?}");
        assert_eq!(rig.mirror.pages_away(), PageCount::new(32));
    }
    assert_eq!(second.used(), PageCount::new(32));
    rig.mirror.detach(new);
    rig.mirror.detach(new);
    buffer.check(0..32);
}

#[test]
fn a_child_attaches_what_it_inherited_to_a_mirror_of_its_own() {
    if !is_root() {
        return skip("a mirror in a child needs privilege", true);
    }
    isolated("a_child_attaches_what_it_inherited_to_a_mirror_of_its_own", || {
        let rig = Rig::any(0);
        let device = host_device();
        let id = rig.mirror.attach(Arc::clone(&device) as _).expect("attach");
        let child = fork(|| {
            let mirror = Mirror::build().expect("a mirror");
            let _ = mirror.attach(Arc::clone(&device) as _).expect("attach");
        });
        child.expect_success();
        rig.mirror.detach(id);
    });
}
