//! System calls on pages that are not there.

use std::io::Write;
use std::sync::Arc;
use std::thread;

use rustix::mm::Advice;

use super::super::super::copy::{read_bytes, write_bytes};
use super::super::{FaultKind, Feature, MirrorTier, Modes, Resolution, Wakeup};
use super::rig::{Area, Rig, done, each_tier};

/// Writes the first bytes of a page to a pipe.
fn write_to_pipe(area: &Area) -> Result<usize, rustix::io::Errno> {
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    // SAFETY: The bytes are the area's, and are not written during the call.
    let bytes = unsafe { std::slice::from_raw_parts(area.at(0).as_ptr::<u8>(), 8) };
    rustix::io::write(&writer, bytes)
}

/// Makes a system call touch a hole in the tier that serves it, and answers.
fn served<T: Send + 'static>(
    rig: &Rig,
    area: &Arc<Area>,
    act: impl FnOnce(&Area) -> T + Send + 'static,
) -> T {
    let actor = super::rig::spawn(area, act);
    let fault = rig.expect_fault();
    assert_eq!((fault.addr, fault.kind), (area.at(0), FaultKind::Missing));
    // SAFETY: The area is the test's.
    assert_eq!(unsafe { rig.zero(area.page(0), Wakeup::Now) }, done(1));
    actor.join().expect("actor")
}

#[test]
fn system_calls_wait_for_a_page_in_one_tier_and_fail_in_the_other() {
    each_tier(&[], |rig| {
        let area = rig.area(1, Modes::MISSING);
        let fault = Some(libc::EFAULT);
        match rig.tier() {
            MirrorTier::KernelFaults => {
                let read = served(rig, &area, |area| read_bytes(area.at(0), &mut [1; 8]));
                read.expect("the page came");
                area.advise(0..1, Advice::LinuxDontNeed).expect("drop");
                // SAFETY: The bytes are the area's, and no other thread accesses them.
                let write = served(rig, &area, |area| unsafe { write_bytes(area.at(0), &[7; 8]) });
                write.expect("the page came");
                assert_eq!(area.read(0), 7);
                area.advise(0..1, Advice::LinuxDontNeed).expect("drop");
                assert_eq!(served(rig, &area, write_to_pipe), Ok(8));
            }
            MirrorTier::UserFaults => {
                let error = read_bytes(area.at(0), &mut [1; 8]).expect_err("nobody serves it");
                assert_eq!((error.at, error.source.raw_os_error()), (area.at(0), fault));
                // SAFETY: The bytes are the area's, and no other thread accesses them.
                let error = unsafe { write_bytes(area.at(0), &[7; 8]) }.expect_err("as above");
                assert_eq!(error.source.raw_os_error(), fault);
                assert_eq!(write_to_pipe(&area), Err(rustix::io::Errno::FAULT));
                let populate = area.advise(0..1, Advice::LinuxPopulateRead);
                assert_eq!(populate, Err(rustix::io::Errno::FAULT));
                rig.expect_silence();
                assert_eq!(area.present(0..1), 0);
            }
        }
    });
}

#[test]
fn poison_ends_a_wait_with_an_error() {
    each_tier(&[Feature::Poison], |rig| {
        if rig.tier() == MirrorTier::UserFaults {
            return;
        }
        let area = rig.area(1, Modes::MISSING);
        let reader = super::rig::spawn(&area, |area| read_bytes(area.at(0), &mut [0; 8]));
        assert_eq!(rig.expect_fault().addr, area.at(0));
        assert_eq!(rig.poison(area.range(), Wakeup::Now), done(1));
        let error = reader.join().expect("reader").expect_err("poisoned");
        assert_eq!(error.at, area.at(0));
    });
}

#[test]
fn populating_waits_where_system_calls_do() {
    each_tier(&[], |rig| {
        let area = rig.area(1, Modes::MISSING);
        if rig.tier() == MirrorTier::KernelFaults {
            let populate = |area: &Area| area.advise(0..1, Advice::LinuxPopulateWrite);
            assert_eq!(served(rig, &area, populate), Ok(()));
            assert_eq!(area.present(0..1), 1);
        }
    });
}

#[test]
fn a_system_call_that_stores_to_a_protected_page_is_like_a_store() {
    each_tier(&[Feature::WriteProtect], |rig| {
        let area = Area::new(1);
        area.number(0..1);
        rig.watch(&area, Modes::PROTECTED);
        assert_eq!(rig.write_protect(area.range()), Resolution::Done);
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(&[9]).expect("room");
        let in_kernel = {
            let area = Arc::clone(&area);
            thread::spawn(move || {
                // SAFETY: The byte is the area's, and no other thread accesses it during the call.
                let byte =
                    unsafe { std::slice::from_raw_parts_mut(area.at(0).as_mut_ptr::<u8>(), 1) };
                rustix::io::read(&reader, byte)
            })
        };
        if rig.tier() == MirrorTier::KernelFaults {
            assert_eq!(rig.expect_fault().kind, FaultKind::Protected);
            assert_eq!(rig.unprotect(area.range(), Wakeup::Now), Resolution::Done);
            assert_eq!(in_kernel.join().expect("thread"), Ok(1));
            assert_eq!(area.read(0), 9);
        } else {
            assert_eq!(in_kernel.join().expect("thread"), Err(rustix::io::Errno::FAULT));
            rig.expect_silence();
            assert_eq!(area.read(0), 1);
        }
    });
}

#[test]
fn reading_a_protected_page_is_nobodys_business() {
    each_tier(&[Feature::WriteProtect], |rig| {
        let area = Area::new(1);
        area.number(0..1);
        rig.watch(&area, Modes::PROTECTED);
        assert_eq!(rig.write_protect(area.range()), Resolution::Done);
        let mut byte = [0];
        read_bytes(area.at(0), &mut byte).expect("it is there");
        assert_eq!(byte, [1]);
        rig.expect_silence();
    });
}
