//! Words that are no valid module: no panic, no endless work.

use super::forms::variants;
use super::tools::{is_valid, torture, validate};
use crate::contract::proved::Proved;
use crate::contract::variant::{Fold, Integers, Search, Translation, Variant};
use crate::program::Program;
use farptr_kernels::{KernelDesc, saxpy};
use proptest::prelude::*;

/// Parses and rewrites, whatever comes of it.
fn try_all(words: &[u32]) {
    let Ok(program) = Program::parse(words, None) else { return };
    let _ = program.footprints().of_launch(&[3; 64], [2, 3, 1]);
    for variant in variants().into_iter().step_by(7) {
        let _ = program.rewrite(&variant);
    }
}

fn modules() -> Vec<Vec<u32>> {
    let shipped = farptr_kernels::all().into_iter().map(|(_, words)| words.to_vec());
    shipped.chain(torture()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn changed_words_are_refused_or_rewritten(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<u32>(), 0..4u8),
            1..8,
        ),
    ) {
        let modules = modules();
        let mut words = which.get(&modules).clone();
        for (position, value, kind) in changes {
            let other = words[position.index(words.len())];
            let at = position.index(words.len());
            match kind {
                0 => words[at] = value,
                // Ids and small numbers are the likeliest to get far.
                1 => words[at] = value % words[3].max(1),
                2 => words[at] ^= 1 << (value % 32),
                _ => {
                    let length = words.len();
                    words[value as usize % length] = other;
                }
            }
        }
        try_all(&words);
    }

    #[test]
    fn modules_cut_short_or_joined_are_refused_or_rewritten(
        which in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let modules = modules();
        let words = which.get(&modules);
        let (from, to) = (from.index(words.len()), to.index(words.len()));
        let joined = [&words[..from], &words[to..]].concat();
        try_all(&joined);
    }

    #[test]
    fn swapped_instructions_are_refused_or_rewritten(
        which in any::<prop::sample::Index>(),
        swaps in prop::collection::vec(any::<[prop::sample::Index; 2]>(), 1..4),
    ) {
        let modules = modules();
        let words = which.get(&modules);
        let mut list = instructions(words);
        for [one, other] in swaps {
            let (one, other) = (one.index(list.len()), other.index(list.len()));
            list.swap(one, other);
        }
        try_all(&[&words[..5], &list.concat()].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..Default::default()
    })]

    /// A changed module may still be valid, and is then rewritten to a valid one, or refused.
    #[test]
    fn what_stays_valid_is_rewritten_validly(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        form in any::<prop::sample::Index>(),
    ) {
        let modules = modules();
        let mut words = which.get(&modules).clone();
        // One operand becomes another of the same module: the likeliest change to be valid.
        let (at, from) = (at.index(words.len()), from.index(words.len()));
        words[at] = words[from];
        let rewritten = Program::parse(&words, None);
        let rewritten = rewritten.and_then(|program| program.rewrite(form.get(&variants())));
        if let Ok(rewritten) = rewritten && is_valid(&words) == Some(true) {
            validate(&rewritten, "a changed module");
        }
    }
}

fn instructions(words: &[u32]) -> Vec<Vec<u32>> {
    let mut list = Vec::new();
    let mut rest = &words[5..];
    while let Some(first) = rest.first() {
        let (one, others) = rest.split_at((first >> 16) as usize);
        list.push(one.to_vec());
        rest = others;
    }
    list
}

/// The validator lets it pass, since the kernel reads the vector's numbers one by one.
#[test]
fn builtin_variables_of_other_types_are_damaged() {
    const DECORATE: u32 = 71;
    const BUILT_IN: u32 = 11;
    const GLOBAL_INVOCATION_ID: u32 = 28;
    const LOCAL_INVOCATION_INDEX: u32 = 29;
    let mut list = instructions(saxpy::Kernel::words());
    let mut changed = 0;
    for i in &mut list {
        if i[0] & 0xffff == DECORATE && i[2..] == [BUILT_IN, GLOBAL_INVOCATION_ID] {
            i[3] = LOCAL_INVOCATION_INDEX;
            changed += 1;
        }
    }
    assert_eq!(changed, 1);
    let words = [&saxpy::Kernel::words()[..5], &list.concat()].concat();
    let error = Program::parse(&words, None).map(|_| ()).expect_err("its type is another");
    assert!(error.to_string().contains("built-in"), "{error}");
}

#[test]
fn words_that_are_no_module_are_damaged() {
    let variant = Variant {
        translation: Translation::None,
        search: Search::Unrolled(0),
        offset_roots: false,
        integers: Integers::Pairs,
        joint: false,
        loop_guard: false,
        subgroup_faults: false,
        fold: Fold::None,
        wide_offsets: false,
        proved: Proved::NOTHING,
    };
    for words in [&[][..], &[1, 2, 3], &[0x0723_0203], &[0x0723_0203, 0x0001_0500, 0, u32::MAX, 0]]
    {
        let rewritten = Program::parse(words, None).and_then(|program| program.rewrite(&variant));
        let error = rewritten.expect_err("it is no module").to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}
