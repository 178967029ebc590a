//! Forks. Each test here keeps the others of this program away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::mm::Advice;

use super::super::super::atfork::{ForkHook, ForkMark, register_hook};
use super::super::{
    Event, Feature, Features, Fill, MarkFinder, MirrorTier, Modes, Outcome, Refusal, Resolution,
    Uffd, UffdError, Wakeup,
};
use super::rig::{Area, Rig, alone, done, ended, page_bytes, skip, skip_tier, spawn};
use crate::addr::VaRange;
use crate::sys::processors::pin;

/// Forks, runs `child` in the child and returns what it returns there. The child may not panic,
/// allocate or lock.
fn fork(child: impl FnOnce() -> u8) -> u8 {
    // SAFETY: The child calls nothing but `child` and `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let code = child();
        // SAFETY: The process ends.
        unsafe { libc::_exit(code.into()) };
    }
    wait(pid)
}

fn wait_status(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: The pointer is to a local variable.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

fn wait(pid: i32) -> u8 {
    let status = wait_status(pid);
    assert!(libc::WIFEXITED(status), "the child was killed: {status:#x}");
    u8::try_from(libc::WEXITSTATUS(status)).expect("a byte")
}

fn shift(uffd: &Uffd, dst: &Area, src: &Area) -> Outcome {
    // SAFETY: Both areas are the test's.
    unsafe { uffd.move_pages(dst.at(0), src.range(), Wakeup::Now) }
}

/// Runs a test in every tier, with no other test running.
fn each_tier_alone(features: &[Feature], test: impl Fn(&mut Rig)) {
    let alone = alone();
    for tier in [MirrorTier::KernelFaults, MirrorTier::UserFaults] {
        match Rig::open_alone(&alone, tier, features.iter().copied().collect::<Features>()) {
            Ok(mut rig) => test(&mut rig),
            Err(error) if features.contains(&Feature::EventFork) => {
                skip(tier, error, !rustix::process::geteuid().is_root());
            }
            Err(error) => skip_tier(tier, error),
        }
    }
}

#[test]
fn a_mark_of_the_process_is_wiped_in_its_child() {
    let _alone = alone();
    let mark = ForkMark::new().expect("a mark");
    assert!(!mark.is_inherited());
    assert_eq!(fork(|| u8::from(mark.is_inherited())), 1);
    assert!(!mark.is_inherited());
}

#[test]
fn a_child_is_refused_everything() {
    each_tier_alone(&[Feature::Move, Feature::WpUnpopulated], |rig| {
        let area = rig.area(1, Modes::MISSING | Modes::PROTECTED);
        let range = area.range();
        let inherited = Resolution::Refused(Refusal::Inherited);
        let refused = fork(|| {
            let uffd: &Uffd = rig;
            let mut events = super::super::Events::new();
            // SAFETY: The area is the test's.
            let zeroed = unsafe { uffd.zero(range, Wakeup::Now) };
            let checks = [
                zeroed.resolution == inherited,
                shift(uffd, &area, &area).resolution == inherited,
                uffd.poison(range, Wakeup::Now).resolution == inherited,
                uffd.write_protect(range) == inherited,
                matches!(uffd.register(range, Modes::MISSING), Err(UffdError::Inherited { .. })),
                matches!(uffd.unregister(range), Err(UffdError::Inherited { .. })),
                matches!(uffd.wake(range), Err(UffdError::Inherited { .. })),
                matches!(uffd.read_events(&mut events), Err(UffdError::Inherited { .. })),
            ];
            u8::try_from(checks.iter().filter(|&&check| check).count()).unwrap_or(255)
        });
        assert_eq!(refused, 8);
        // The parent is as it was.
        let reader = super::rig::spawn_read(&area, 0);
        assert_eq!(rig.expect_fault().addr, area.at(0));
        // SAFETY: The area is the test's.
        assert_eq!(unsafe { rig.zero(range, Wakeup::Now) }, done(1));
        assert_eq!(reader.join().expect("reader"), 0);
    });
}

#[test]
fn a_child_that_lives_on_does_not_keep_the_watch_alive() {
    let _alone = alone();
    let open = || Uffd::open(MirrorTier::UserFaults, Features::NONE, Features::NONE).expect("uffd");
    let (uffd, area) = (open(), Area::new(1));
    uffd.register(area.range(), Modes::MISSING).expect("register");
    let (ready, mut tell) = std::io::pipe().expect("a pipe");
    let (stay, end) = std::io::pipe().expect("a pipe");
    // SAFETY: The child calls nothing but `write`, `read` and `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(end);
        let _ = std::io::Write::write(&mut tell, &[1]);
        let _ = rustix::io::read(&stay, &mut [0u8]);
        // SAFETY: The process ends.
        unsafe { libc::_exit(0) };
    }
    rustix::io::read(&ready, &mut [0u8]).expect("the child is there");
    drop(uffd);
    open().register(area.range(), Modes::MISSING).expect("nobody watches the range");
    assert_eq!(area.read(0), 0);
    drop(end);
    assert_eq!(wait(pid), 0);
}

#[test]
fn without_a_report_the_child_finds_zeroes_where_pages_were_moved_out() {
    each_tier_alone(&[Feature::Move], |rig| {
        let (app, staging) = (Area::new(1), rig.area(1, Modes::MISSING));
        app.number(0..1);
        rig.watch(&app, Modes::MISSING);
        assert_eq!(shift(rig, &staging, &app), done(1));
        assert_eq!(fork(|| app.read(0) * 16 + staging.read(0)), 1);
    });
}

#[test]
fn marks_reach_the_child_only_if_forks_are_reported() {
    let marked_in_child = |range: VaRange| {
        // In the child, the page table is the child's.
        let found = MarkFinder::open().and_then(|finder| {
            let mut pages = 0;
            let counted = finder.for_each(range, |run| pages += run.len_bytes() / page_bytes());
            counted.map(|()| pages).map_err(std::io::Error::other)
        });
        found.ok().and_then(|pages| u8::try_from(pages).ok()).unwrap_or(255)
    };
    let both = Modes::MISSING | Modes::PROTECTED;
    each_tier_alone(&[Feature::WpUnpopulated], |rig| {
        let area = rig.area(3, both);
        assert_eq!(rig.place_marks(area.range()).expect("marks"), Resolution::Done);
        assert_eq!(fork(|| marked_in_child(area.range())), 0);
        assert_eq!(marked_in_child(area.range()), 3);
    });
    each_tier_alone(&[Feature::WpUnpopulated, Feature::EventFork], |rig| {
        let area = rig.area(3, both);
        assert_eq!(rig.place_marks(area.range()).expect("marks"), Resolution::Done);
        let forker = spawn(&area, move |area| fork(|| marked_in_child(area.range())));
        let Event::Fork(child) = rig.expect_event() else { panic!("expected a fork") };
        assert_eq!(forker.join().expect("the child"), 3);
        drop(child);
        assert_eq!(marked_in_child(area.range()), 3);
    });
}

#[test]
fn touching_poison_is_a_bus_error() {
    each_tier_alone(&[Feature::Poison], |rig| {
        let area = rig.area(1, Modes::MISSING);
        assert_eq!(rig.poison(area.range(), Wakeup::Now), done(1));
        // SAFETY: The child touches a page and calls nothing but `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let byte = area.read(0);
            // SAFETY: The process ends.
            unsafe { libc::_exit(byte.into()) };
        }
        let status = wait_status(pid);
        assert!(libc::WIFSIGNALED(status), "{status:#x}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGBUS);
    });
}

#[test]
fn a_shared_page_does_not_move_until_it_was_written() {
    each_tier_alone(&[Feature::Move], |rig| {
        let (app, staging) = (Area::new(2), rig.area(2, Modes::MISSING));
        app.number(0..2);
        let busy = ended(0, Resolution::Refused(Refusal::Busy));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        // SAFETY: The child calls nothing but `read` and `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(writer);
            let _ = rustix::io::read(&reader, &mut [0u8]);
            // SAFETY: The process ends.
            unsafe { libc::_exit(0) };
        }
        let outcome = shift(rig, &staging, &app);
        drop(writer);
        assert_eq!(wait(pid), 0);
        assert_eq!(outcome, busy, "while the child lives");
        assert_eq!(shift(rig, &staging, &app), busy, "after the child has gone");
        app.advise(0..2, Advice::LinuxPopulateWrite).expect("populate");
        assert_eq!(shift(rig, &staging, &app), done(2));
        staging.check(0..2);
    });
}

#[test]
fn a_reported_fork_lets_the_child_be_served() {
    let features = [Feature::EventFork, Feature::Move];
    each_tier_alone(&features, |rig| {
        let (app, staging) = (Area::new(2), rig.area(2, Modes::MISSING));
        app.number(0..2);
        rig.watch(&app, Modes::MISSING);
        // SAFETY: Both areas are the test's.
        let moved = unsafe { rig.move_pages(staging.at(0), app.page(0), Wakeup::Now) };
        assert_eq!(moved, done(1));
        let forker = spawn(&app, |app| fork(|| app.read(0) * 16 + app.read(1)));
        let Event::Fork(child) = rig.expect_event() else { panic!("expected a fork") };
        let child = rig.adopt(child).expect("adopt");
        let served = serve_child(&child, &staging);
        assert_eq!(served, app.at(0));
        assert_eq!(forker.join().expect("the child"), 0x12);
        // SAFETY: There is no such memory any more.
        let late = unsafe { child.zero(app.range(), Wakeup::Now) };
        assert_eq!(late, ended(0, Resolution::Vanished), "the child has ended");
        rig.expect_silence();
        staging.check(0..1);
    });
}

/// Answers the one fault of a child from the staging area, and returns its address.
fn serve_child(child: &Uffd, staging: &Area) -> crate::VirtAddr {
    let never = super::super::Signal::new().expect("a signal");
    let mut events = super::super::Events::new();
    loop {
        child.wait(&never, &never).expect("wait");
        child.read_events(&mut events).expect("events");
        if let Some(Event::Fault(fault)) = events.next() {
            // SAFETY: The memory of the child is the test's, and the source is not written.
            let copied =
                unsafe { child.copy(fault.addr, staging.page(0), Fill::Plain, Wakeup::Now) };
            assert_eq!(copied, done(1));
            return fault.addr;
        }
    }
}

/// A hook that notes what runs, in the order in which it runs.
struct Noting {
    name: char,
    notes: Arc<Mutex<String>>,
    in_child: Arc<AtomicUsize>,
}

impl Noting {
    fn note(&self, step: &str) {
        let mut notes = self.notes.lock().expect("notes");
        notes.push_str(step);
        notes.push(self.name);
    }
}

impl ForkHook for Noting {
    fn prepare(&self) {
        self.note("<");
    }

    fn parent(&self) {
        self.note(">");
    }

    fn child(&self) {
        self.in_child.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn hooks_run_around_a_fork_and_only_while_they_are_registered() {
    let _alone = alone();
    let (notes, in_child) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicUsize::new(0)));
    let register = |name| {
        let (notes, in_child) = (Arc::clone(&notes), Arc::clone(&in_child));
        register_hook(Arc::new(Noting { name, notes, in_child })).expect("register")
    };
    let (first, second) = (register('a'), register('b'));
    let count = || u8::try_from(in_child.load(Ordering::Relaxed)).unwrap_or(255);
    assert_eq!(fork(count), 2, "both ran in the child");
    assert_eq!(std::mem::take(&mut *notes.lock().expect("notes")), "<b<a>a>b");
    drop(first);
    assert_eq!(fork(count), 1);
    assert_eq!(std::mem::take(&mut *notes.lock().expect("notes")), "<b>b");
    drop(second);
    assert_eq!(fork(count), 0);
    assert_eq!(*notes.lock().expect("notes"), "");
}

/// A hook that forks in turn.
struct Forking;

impl ForkHook for Forking {
    fn prepare(&self) {
        assert_eq!(fork(|| 5), 5);
    }

    fn parent(&self) {}

    fn child(&self) {}
}

/// Tells whether the C library lets handlers of a fork make forks: glibc since 2.36 does.
fn nested_forks_work() -> bool {
    if !cfg!(target_env = "gnu") {
        return false;
    }
    // SAFETY: The function returns a string that lives for ever.
    let version = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: As above.
    let version = unsafe { std::ffi::CStr::from_ptr(version) }.to_string_lossy().into_owned();
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(2), Some(36))
}

#[test]
fn a_fork_in_a_hook_runs_no_hooks() {
    let _alone = alone();
    if !nested_forks_work() {
        return skip("forks in forks", "the C library does not allow them", true);
    }
    let registration = register_hook(Arc::new(Forking)).expect("register");
    assert_eq!(fork(|| 6), 6);
    drop(registration);
}

#[test]
fn hooks_come_and_go_while_others_fork() {
    let _alone = alone();
    let _pinned = pin(0);
    let busy = std::thread::spawn(|| {
        let _pinned = pin(1);
        for _ in 0..200 {
            drop(register_hook(Arc::new(Silent)).expect("register"));
        }
    });
    for code in 0..20 {
        // The child takes the lock of the registry, which must not have been left locked.
        assert_eq!(
            fork(|| {
                drop(register_hook(Arc::new(Silent)));
                code
            }),
            code
        );
    }
    busy.join().expect("registering");
}

struct Silent;

impl ForkHook for Silent {
    fn prepare(&self) {}

    fn parent(&self) {}

    fn child(&self) {}
}
