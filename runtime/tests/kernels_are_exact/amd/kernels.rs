//! The kernels of the suite, as words.

use crate::case::{Case, Source};
use crate::glsl::{self, Level};
use crate::{
    assembly, atomics, composites, control, groups, indices, lists, model, nests, pointers,
    programs, scalars,
};
use farptr::rewrite::without_unused_capabilities;

/// Random programs that are compiled.
const PROGRAMS: u64 = 200;

/// A kernel as words.
pub(super) struct Kernel {
    pub(super) name: String,
    pub(super) words: Vec<u32>,
}

/// Every kernel, made when it is asked for.
pub(super) fn all() -> impl Iterator<Item = Kernel> {
    let nests = (0..nests::NESTS)
        .map(|seed| Kernel { name: format!("nest {seed}"), words: nests::words(seed) });
    let programs = (1..=PROGRAMS)
        .map(|seed| Kernel { name: format!("program {seed}"), words: programs::full(seed) });
    let shipped = farptr::shaders::all().into_iter();
    let shipped =
        shipped.map(|(name, words)| Kernel { name: name.to_owned(), words: words.to_vec() });
    let all = shipped.chain(cases().flat_map(|(name, case)| of(name, &case)));
    all.chain(nests).chain(programs).map(|kernel| Kernel {
        // As the runtime does with every kernel.
        words: without_unused_capabilities(&kernel.words).into_owned(),
        ..kernel
    })
}

fn cases() -> impl Iterator<Item = (&'static str, Case)> {
    let files = [
        assembly::all(),
        atomics::all(),
        composites::all(),
        control::all(),
        groups::all(),
        indices::all(),
        lists::all(),
        model::all(),
        pointers::all(),
        scalars::all(),
    ];
    files.into_iter().flatten()
}

/// A case's words, unoptimised and optimised.
fn of(name: &'static str, case: &Case) -> Vec<Kernel> {
    let compiled = |level| Kernel {
        name: format!("{name}, {level:?}"),
        words: match case.source {
            Source::Glsl(text) => glsl::glsl(name, text, level),
            Source::Assembly(text) => glsl::assembly(name, text),
        },
    };
    match case.source {
        Source::Glsl(_) => vec![compiled(Level::Zero), compiled(Level::Performance)],
        Source::Assembly(_) => vec![compiled(Level::Zero)],
    }
}
