//! Every interleaving of migrations, faults, changes of mappings and devices, explored by loom.
//!
//! The table, the migration lock and the notifiers are the crate's own. The kernel is a model, and
//! so are the steps between, because the real ones cannot run without a kernel: they follow
//! `DESIGN.md`. Each check is run with a flaw too, which it has to find.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p farptr-hmm --release --lib interleavings`.

#![forbid(unsafe_code)]

mod kernel;
mod mirror;
mod reader;

use std::sync::Arc;

use kernel::Entry::{Bytes, Hole, Unmapped};
use kernel::{Entry, PAGES};
use loom::thread;
use mirror::{Flaw, World};

use crate::mirror::table::Place;

/// The first content of the page.
const OLD: u64 = 7;

/// The bound that keeps three and four threads affordable. Every flaw shows within it.
const PREEMPTIONS: usize = 2;

/// Runs a test in a world of one page with content and one of the given kind, with a handler, and
/// checks what must be so in the end.
fn explore(
    other: Entry,
    flaw: Flaw,
    preemptions: usize,
    test: impl Fn(&Arc<World>) + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(move || {
        let world = Arc::new(World::new([Bytes(OLD), other], flaw));
        let handler = spawn(&world, World::handle);
        test(&world);
        for page in 0..PAGES {
            world.check_reader(page);
            world.migrate_home(page);
        }
        world.kernel.stop();
        handler.join().unwrap();
        Arc::into_inner(world).expect("all threads have ended").end();
    });
}

fn spawn<T: 'static>(
    world: &Arc<World>,
    run: impl FnOnce(&World) -> T + 'static,
) -> thread::JoinHandle<T> {
    let world = Arc::clone(world);
    thread::spawn(move || run(&world))
}

/// The program stores while the page goes out and comes home.
fn stores(flaw: Flaw) {
    explore(Unmapped, flaw, PREEMPTIONS, |world| {
        let program = spawn(world, |world| {
            for count in 0..2 {
                let old = world.kernel.touch(0, |old| old + 1);
                assert_eq!(old, Some(OLD + count), "a store was lost");
            }
        });
        world.migrate_out(0);
        world.migrate_home(0);
        world.migrate_out(0);
        program.join().unwrap();
        world.migrate_home(0);
        assert_eq!(world.kernel.entry(0), Bytes(OLD + 2));
    });
}

#[test]
fn no_store_is_lost() {
    stores(Flaw::None);
}

/// A fault and a migration want the page home at the same time.
#[test]
fn a_page_comes_home_once() {
    explore(Unmapped, Flaw::None, PREEMPTIONS, |world| {
        world.migrate_out(0);
        let program = spawn(world, |world| world.kernel.touch(0, |old| old));
        world.migrate_home(0);
        assert_eq!(program.join().unwrap(), Some(OLD));
        assert_eq!(world.home_migrations(), 1);
        assert_eq!(world.kernel.entry(0), Bytes(OLD));
    });
}

/// The mapping moves on while the page goes out and comes home: its content moves along.
fn remap(flaw: Flaw) {
    explore(Unmapped, flaw, PREEMPTIONS, |world| {
        let program = spawn(world, |world| {
            world.kernel.remap(0, 1);
            assert_eq!(world.kernel.touch(0, |old| old), None);
            assert_eq!(world.kernel.touch(1, |old| old + 1), Some(OLD), "zeroes, or worse");
        });
        world.migrate_out(0);
        world.migrate_home(0);
        program.join().unwrap();
        world.migrate_out(1);
        world.migrate_home(1);
        assert_eq!(world.kernel.entry(1), Bytes(OLD + 1));
        assert_eq!(world.place(0), Place::Home);
    });
}

#[test]
fn a_mapping_moves_with_its_content() {
    remap(Flaw::None);
}

#[test]
#[should_panic(expected = "cannot be marked")]
fn a_mapping_that_moves_must_find_pages_on_their_way() {
    remap(Flaw::TransitIsNotKept);
}

#[test]
#[should_panic(expected = "zeroes, or worse")]
fn a_mapping_that_moves_needs_requests_that_are_refused() {
    remap(Flaw::RequestsAreGranted);
}

/// The page is unmapped, and something else is mapped there, while it goes out and comes home.
fn reuse(flaw: Flaw) {
    explore(Unmapped, flaw, PREEMPTIONS, |world| {
        let program = spawn(world, |world| {
            world.kernel.unmap(0);
            assert_eq!(world.kernel.touch(0, |old| old), None, "the page is back");
            world.kernel.map(0);
            let fresh = world.kernel.touch(0, |_| OLD + 1);
            assert_eq!(fresh, Some(0), "the content of another mapping");
        });
        world.migrate_out(0);
        world.migrate_home(0);
        world.migrate_out(0);
        program.join().unwrap();
        assert_eq!(world.kernel.touch(0, |old| old), Some(OLD + 1));
    });
}

#[test]
fn an_address_that_is_mapped_anew_is_new() {
    reuse(Flaw::None);
}

/// The program drops the page while it goes out and comes home: it finds zeroes, and what it
/// stores from then on stays.
fn removal(flaw: Flaw) {
    explore(Unmapped, flaw, PREEMPTIONS, |world| {
        let mover = spawn(world, |world| {
            world.migrate_out(0);
            world.migrate_home(0);
            world.migrate_out(0);
        });
        world.kernel.remove(0);
        assert_eq!(world.kernel.touch(0, |_| OLD + 1), Some(0), "what was dropped is back");
        mover.join().unwrap();
        assert_eq!(world.kernel.touch(0, |old| old), Some(OLD + 1));
    });
}

#[test]
fn what_was_dropped_does_not_come_back() {
    removal(Flaw::None);
}

#[test]
#[should_panic(expected = "what was dropped is back")]
fn a_drop_that_is_yet_to_come_must_be_known() {
    removal(Flaw::RemovalsAreForgotten);
}

/// Once it was seen that the page was dropped, it goes to the device again.
#[test]
fn a_page_that_was_dropped_and_stored_to_moves() {
    explore(Unmapped, Flaw::None, PREEMPTIONS, |world| {
        let program = spawn(world, |world| {
            world.kernel.remove(0);
            world.kernel.touch(0, |_| OLD + 1);
        });
        world.migrate_out(0);
        program.join().unwrap();
        world.migrate_out(0);
        assert_eq!(world.pages_away(), 1);
        assert_eq!(world.kernel.touch(0, |old| old), Some(OLD + 1));
    });
}

/// While a page is away, the program unmaps, moves or drops it, and other threads bring it home.
fn migrate_home(flaw: Flaw, change: fn(&World), then: (usize, Option<u64>)) {
    explore(Unmapped, flaw, PREEMPTIONS, move |world| {
        world.migrate_out(0);
        let program = spawn(world, move |world| {
            change(world);
            let (page, expected) = then;
            let found = world.kernel.touch(page, |old| old);
            assert_eq!(found, expected, "the content of the page is gone, or back");
        });
        let other = spawn(world, |world| world.kernel.touch(0, |old| old));
        world.migrate_home(0);
        program.join().unwrap();
        let other = other.join().unwrap();
        assert!(matches!(other, None | Some(0 | OLD)), "{other:?}");
        assert!(world.home_migrations() <= 1, "the page came home more than once");
    });
}

#[test]
fn a_page_that_is_unmapped_does_not_come_home() {
    migrate_home(Flaw::None, |world| world.kernel.unmap(0), (0, None));
}

#[test]
fn a_page_that_moves_comes_home_where_it_belongs() {
    migrate_home(Flaw::None, |world| world.kernel.remap(0, 1), (1, Some(OLD)));
}

#[test]
fn a_page_that_is_dropped_does_not_come_home() {
    migrate_home(Flaw::None, |world| world.kernel.remove(0), (0, Some(0)));
}

#[test]
#[should_panic(expected = "the content of the page is gone")]
fn a_page_that_moves_needs_requests_that_are_refused() {
    migrate_home(Flaw::RequestsAreGranted, |world| world.kernel.remap(0, 1), (1, Some(OLD)));
}

/// The address is reused while the page is in transit home, for a page that must not be touched.
fn reuse_on_the_way_home(flaw: Flaw) {
    explore(Bytes(OLD + 10), flaw, PREEMPTIONS, |world| {
        world.migrate_out(0);
        world.migrate_out(1);
        let program = spawn(world, |world| {
            world.kernel.unmap(0);
            world.kernel.remap(1, 0);
            let moved = world.kernel.touch(0, |old| old);
            assert_eq!(moved, Some(OLD + 10), "the content of another page");
        });
        world.migrate_home(0);
        program.join().unwrap();
    });
}

#[test]
fn an_address_that_is_reused_gets_its_own_content() {
    reuse_on_the_way_home(Flaw::None);
}

#[test]
#[should_panic(expected = "the content of another page")]
fn an_address_that_is_reused_needs_requests_under_the_lock() {
    reuse_on_the_way_home(Flaw::RequestsOutsideTheLock);
}

/// A device mirrors the page while it goes out and comes home.
fn mirror(flaw: Flaw) {
    explore(Unmapped, flaw, PREEMPTIONS, |world| {
        let notifier = world.register(0);
        let device = spawn(world, move |world| {
            world.mirror_once(&notifier, 0);
            world.mirror_once(&notifier, 0);
            notifier
        });
        world.migrate_out(0);
        world.migrate_home(0);
        let notifier = device.join().unwrap();
        world.check_reader(0);
        world.mirror_once(&notifier, 0);
        world.check_reader(0);
    });
}

#[test]
fn a_device_never_uses_a_page_that_has_moved() {
    mirror(Flaw::None);
}

#[test]
#[should_panic(expected = "a device uses")]
fn a_device_must_be_told_of_a_home_migration() {
    mirror(Flaw::HomeMigrationsAreSilent);
}

/// A device mirrors a page that is away while the program changes the mapping.
fn mirror_and_change(change: fn(&World)) {
    explore(Unmapped, Flaw::None, PREEMPTIONS, move |world| {
        world.migrate_out(0);
        let notifier = world.register(0);
        let device = spawn(world, move |world| {
            world.mirror_once(&notifier, 0);
            notifier
        });
        let program = spawn(world, change);
        world.migrate_home(0);
        program.join().unwrap();
        drop(device.join().unwrap());
        world.check_reader(0);
    });
}

#[test]
fn a_device_never_uses_a_page_that_was_unmapped() {
    mirror_and_change(|world| world.kernel.unmap(0));
}

#[test]
fn a_device_never_uses_a_page_that_was_dropped() {
    mirror_and_change(|world| world.kernel.remove(0));
}

#[test]
fn a_device_never_uses_a_page_that_has_another_address() {
    mirror_and_change(|world| world.kernel.remap(0, 1));
}

/// Two threads migrate the page to and fro: one migration goes on at a time.
#[test]
fn migrations_take_turns() {
    explore(Hole, Flaw::None, PREEMPTIONS, |world| {
        let other = spawn(world, |world| {
            world.migrate_out(0);
            world.migrate_out(1);
        });
        world.migrate_out(0);
        world.migrate_home(0);
        assert_eq!(world.kernel.touch(0, |old| old), Some(OLD));
        assert_eq!(world.kernel.touch(1, |old| old), Some(0));
        other.join().unwrap();
    });
}

/// A copy of a page follows the page by what is known of stores, while the page goes out and comes
/// home.
fn follow(flaw: Flaw) {
    explore(Unmapped, flaw, PREEMPTIONS, |world| {
        assert!(world.protect(0));
        let program = spawn(world, |world| world.kernel.touch(0, |old| old + 1));
        let mover = spawn(world, |world| {
            world.migrate_out(0);
            world.migrate_home(0);
            world.migrate_out(0);
        });
        let mut copy = Some(OLD);
        let mut look = || {
            let written = world.take_written(0);
            if written.is_none() {
                assert!(world.protect(0));
            }
            if written != Some(false) {
                copy = world.kernel.touch(0, |old| old);
            }
            copy
        };
        look();
        program.join().unwrap();
        mover.join().unwrap();
        assert_eq!(look(), Some(OLD + 1), "a store was not known");
    });
}

#[test]
fn a_store_is_known_though_its_page_migrates() {
    follow(Flaw::None);
}

#[test]
#[should_panic(expected = "a store was not known")]
fn a_page_that_is_away_must_count_as_written() {
    follow(Flaw::AwayIsUnwritten);
}

/// A page that was protected comes in the place of another, while it is asked whether that one was
/// written.
fn protect_and_replace(flaw: Flaw) {
    explore(Bytes(OLD + 10), flaw, PREEMPTIONS, |world| {
        assert!(world.protect(0) && world.protect(1));
        let program = spawn(world, |world| {
            world.kernel.unmap(0);
            world.kernel.remap(1, 0);
        });
        let _ = world.take_written(0);
        program.join().unwrap();
        let written = world.take_written(0);
        assert_ne!(written, Some(false), "another mapping counts as unchanged");
    });
}

#[test]
fn another_mapping_is_not_taken_for_one_that_was_not_written() {
    protect_and_replace(Flaw::None);
}

#[test]
#[should_panic(expected = "another mapping counts as unchanged")]
fn protection_must_end_with_its_mapping() {
    protect_and_replace(Flaw::ProtectionIsKept);
}

/// A page is mapped anew, watched and dropped, while it is asked whether it was written.
#[test]
fn a_page_that_is_mapped_anew_is_not_known_until_it_is_protected() {
    explore(Unmapped, Flaw::None, PREEMPTIONS, |world| {
        assert!(world.protect(0));
        let program = spawn(world, |world| {
            world.kernel.unmap(0);
            world.kernel.map(0);
            world.kernel.watch(0);
        });
        let _ = world.take_written(0);
        program.join().unwrap();
        assert_eq!(world.take_written(0), None);
        assert!(world.protect(0));
        assert_eq!(world.kernel.touch(0, |_| OLD + 1), Some(0));
        assert_eq!(world.take_written(0), Some(true));
    });
}
