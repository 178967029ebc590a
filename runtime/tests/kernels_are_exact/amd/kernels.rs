//! The kernels of the suite, as words.

use farptr::rewrite::without_unused_capabilities;
use farptr_kernel_cases::{
    case::Case,
    catalogue::LISTS,
    nests::{self, NESTS},
    programs::{self, Features},
};

/// Random programs that are compiled.
const PROGRAMS: u64 = 200;

/// A kernel as words.
pub(super) struct Kernel {
    pub(super) name: String,
    pub(super) words: Vec<u32>,
}

/// Every kernel, made when it is asked for.
pub(super) fn all() -> impl Iterator<Item = Kernel> {
    let shipped = farptr::shaders::all().into_iter();
    let shipped =
        shipped.map(|(name, words)| Kernel { name: name.to_owned(), words: words.to_vec() });
    let all = shipped.chain(cases().flat_map(|(name, case)| of(&name, &case)));
    all.map(|kernel| Kernel {
        // As the runtime does with every kernel.
        words: without_unused_capabilities(&kernel.words).into_owned(),
        ..kernel
    })
}

fn cases() -> impl Iterator<Item = (String, Case)> {
    let listed = LISTS.iter().flat_map(|list| list.cases);
    let listed = listed.map(|case| (case.name.to_owned(), (case.make)()));
    let nests = (0..NESTS).map(|seed| (format!("nest {seed}"), nests::case(seed)));
    let programs =
        (1..=PROGRAMS).map(|seed| (format!("program {seed}"), programs::case(seed, Features::ALL)));
    listed.chain(nests).chain(programs)
}

/// A case's words, unoptimised and optimised where it is text.
fn of(name: &str, case: &Case) -> Vec<Kernel> {
    let modules = case.modules(name).into_iter();
    let named = modules.map(|module| Kernel {
        name: module.level.map_or(name.to_owned(), |level| format!("{name}, {level:?}")),
        words: module.words,
    });
    named.collect()
}
