//! P10: the mirror does what the model does, step by step.

use std::ops::Range;

use crate::cases::check;
use crate::hmm_rig::{Watchdog, isolated};
use crate::model::{Access, Model};
use crate::step::{Step, steps};
use crate::world::World;

const PAGES: usize = 48;
const STEPS: Range<usize> = 1..80;

/// Takes all steps and compares after each.
fn run(around: usize, steps: &[Step]) {
    let world = World::new(PAGES, around).expect("it could be made before");
    let mut model = Model::new(PAGES, around);
    for (number, step) in steps.iter().enumerate() {
        let context = || format!("step {number}, {step:?}");
        let answer = world.apply(step, &model);
        assert_eq!(answer, model.apply(step), "{}", context());
        if let Err(difference) = model.compare(&world.snapshots()) {
            panic!("{}: {difference}", context());
        }
        for (device, opened) in world.devices.iter().enumerate() {
            let used = opened.used().get();
            assert_eq!(used, model.held_by(device) as u64, "{}: device {device}", context());
        }
        assert_eq!(world.mirror.stats().lost, 0, "{}", context());
    }
    check_content(&world, &mut model);
}

/// Reads every page, and once more after the mirror is gone.
fn check_content(world: &World, model: &mut Model) {
    let load = Step::Load { pages: 0..PAGES, syscall: true };
    assert_eq!(world.apply(&load, model), model.apply(&load), "at the end");
}

fn run_all(name: &str, around: usize, cases: u32) {
    isolated(name, || {
        let _watchdog = Watchdog::new();
        if World::new(PAGES, around).is_some() {
            check(cases, steps(PAGES, STEPS), |steps| run(around, &steps));
        }
    });
}

#[test]
fn the_mirror_does_what_the_model_does() {
    run_all("sequential::the_mirror_does_what_the_model_does", 1, 300);
}

/// The neighbours of a page that is touched come home with it.
#[test]
fn the_mirror_does_what_the_model_does_with_neighbours() {
    run_all("sequential::the_mirror_does_what_the_model_does_with_neighbours", 16, 150);
}

/// A page of zeroes is memory that is taken if the memory is shared, so no neighbour there gets
/// one.
#[test]
fn neighbours_in_shared_memory_are_not_filled() {
    isolated("sequential::neighbours_in_shared_memory_are_not_filled", || {
        let hidden = Step::Map { pages: 3..4, access: Access::None, shared: false };
        let shared = Step::Map { pages: 5..16, access: Access::Write, shared: true };
        // The read watches its range, fails at its first page, and touches none.
        let watch = Step::Read { device: 0, pages: 3..16 };
        let store = Step::Store { pages: 4..5, tag: 1, syscall: false };
        if World::new(PAGES, 16).is_some() {
            run(16, &[hidden, shared, watch, store]);
        }
    });
}
