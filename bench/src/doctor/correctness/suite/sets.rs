//! The kernels of each probe.

use farptr_kernel_cases::{
    case::Case,
    catalogue::LISTS,
    nests::{self, NESTS},
    programs::{self, Features},
};
use std::ops::RangeInclusive;

/// Random programs: those of the seeds from 1 on.
const PROGRAMS: u64 = 200;
/// Programs of a probe.
const PROGRAMS_EACH: u64 = 50;
const LIST: &str = "kernels: ";
const ALL_NESTS: &str = "kernels: nests";
const SOME_PROGRAMS: &str = "programs ";

/// A kernel with its memory and its result.
pub(super) struct Kernel {
    pub(super) name: String,
    pub(super) case: Case,
}

/// The names of the probes.
pub(in crate::doctor::correctness) fn names() -> Vec<String> {
    let lists = LISTS.iter().map(|list| format!("{LIST}{}", list.name));
    let programs = (1..=PROGRAMS).step_by(50).map(|first| {
        let last = first + PROGRAMS_EACH - 1;
        format!("{SOME_PROGRAMS}{first} to {last}")
    });
    lists.chain([ALL_NESTS.to_owned()]).chain(programs).collect()
}

/// The kernels of a probe, if there is one of this name. Programs use what the device has.
pub(super) fn find(name: &str, features: Features) -> Option<Vec<Kernel>> {
    if let Some(seeds) = seeds(name) {
        let program =
            |seed| Kernel { name: format!("program {seed}"), case: programs::case(seed, features) };
        return Some(seeds.map(program).collect());
    }
    if name == ALL_NESTS {
        let nest = |seed| Kernel { name: format!("nest {seed}"), case: nests::case(seed) };
        return Some((0..NESTS).map(nest).collect());
    }
    let list = LISTS.iter().find(|list| name.strip_prefix(LIST) == Some(list.name))?;
    let cases = list.cases.iter();
    Some(cases.map(|case| Kernel { name: case.name.to_owned(), case: (case.make)() }).collect())
}

fn seeds(name: &str) -> Option<RangeInclusive<u64>> {
    let (first, last) = name.strip_prefix(SOME_PROGRAMS)?.split_once(" to ")?;
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_probes_have_every_kernel_of_the_suite_once() {
        let kernels = names().into_iter().flat_map(|name| find(&name, Features::ALL).unwrap());
        let names: Vec<_> = kernels.map(|kernel| kernel.name).collect();
        let different: HashSet<_> = names.iter().cloned().collect();
        assert_eq!(different.len(), names.len());
        let listed: usize = LISTS.iter().map(|list| list.cases.len()).sum();
        assert_eq!(names.len(), listed + NESTS as usize + 200);
        let by_hand = LISTS.iter().flat_map(|list| list.cases).map(|case| case.name);
        for name in by_hand.chain(["program 1", "program 200", "nest 0", "nest 119"]) {
            assert!(different.contains(name), "{name}");
        }
    }

    #[test]
    fn other_names_have_no_kernels() {
        for name in ["", "kernels: ", "kernels: nothing", "programs", "programs 1 to x"] {
            assert!(find(name, Features::ALL).is_none(), "{name}");
        }
    }
}
