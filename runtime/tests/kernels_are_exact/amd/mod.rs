//! AMD's compiler takes every form of every kernel.
//!
//! The kernels are those of this suite, unoptimised and optimised, and those that farptr ships.
//! The null device of Mesa's driver compiles them, and runs nothing. This process makes the
//! modules, once for all families of GPUs, and gives them to one process for each family, which is
//! this program again: the driver learns the family from the environment.
//!
//! `FARPTR_AMD_EVERY` is the distance from one module that is compiled to the next. It is a prime
//! number, so that every form of some kernel is compiled, and every kernel in some forms; 1
//! compiles all. `./farptr test` has this test as a stage of its own, because the driver does not
//! differ from pass to pass.

mod form;
mod kernels;
mod target;

use crate::common::skip;
use farptr::rewrite::Program;
use farptr_radv::Target;
use form::Form;
use std::collections::HashSet;
use std::io::Write;
use target::{Compiling, Module};

/// The distance from one module that is compiled to the next, unless the environment says
/// otherwise.
const EVERY: usize = 101;

/// As [`EVERY`], where the validation layer looks on, which is slow.
const VALIDATED: usize = 997;

#[test]
#[ignore = "takes a minute of CPU time and no device: `./farptr test` has a stage for it"]
fn every_form_compiles() {
    if let Some(validation) = target::is_inside() {
        return target::compile_all(validation);
    }
    let mut targets = start();
    let mut count = 0;
    for kernel in kernels::all() {
        let program = Program::parse(&kernel.words, None).expect(&kernel.name);
        let mut made = HashSet::new();
        for form in Form::all(program.analysis().int64) {
            count += 1;
            let mut wanting: Vec<_> =
                targets.iter_mut().filter(|sampling| sampling.wants(count)).collect();
            if wanting.is_empty() {
                continue;
            }
            let words = form.words(&kernel.words, &program);
            let words =
                words.unwrap_or_else(|error| panic!("{} as {form:?}: {error}", kernel.name));
            // Many forms of a kernel are equal: one without loops has nothing to guard.
            if !made.insert(words.clone()) {
                continue;
            }
            let name = format!("{} as {form:?}", kernel.name);
            let module = Module { name, controlled: form.is_controlled(), words };
            for sampling in &mut wanting {
                sampling.target.give(&module);
            }
        }
    }
    for sampling in targets {
        let line = sampling.target.finish();
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// A target, and the modules that it gets: one in `every`, from the one with number `first`.
struct Sampling {
    first: usize,
    every: usize,
    target: Compiling,
}

impl Sampling {
    fn wants(&self, number: usize) -> bool {
        number % self.every == self.first % self.every
    }
}

/// Starts a process for each target that has a driver.
fn start() -> Vec<Sampling> {
    let every = crate::programs::number("FARPTR_AMD_EVERY").map_or(EVERY, |every| every as usize);
    let mut targets = Vec::new();
    for (first, target) in Target::ALL.into_iter().enumerate() {
        match Compiling::start(target, false) {
            Ok(target) => targets.push(Sampling { first, every, target }),
            Err(missing) => skip(&format!("{target}: {missing}")),
        }
    }
    // The layer of Debian 12 is as old as its driver, and knows no younger one.
    if let Ok(target) = Compiling::start(Target::system("navi21"), true) {
        targets.push(Sampling { first: 0, every: every.max(VALIDATED), target });
    }
    targets
}
