//! Variants that have every value of every choice. The tests of the runtime use this file too.

use super::rewrite::{Fold, Integers, Proved, Search, Translation, Variant};

/// The variants.
pub(crate) fn variants() -> Vec<Variant> {
    let mut variants = Vec::new();
    let translations = [
        Translation::None,
        Translation::Segments,
        Translation::Table { tree: false },
        Translation::Table { tree: true },
    ];
    let searches = [
        Search::Unrolled(0),
        Search::Unrolled(1),
        Search::Unrolled(4),
        Search::Bisected { steps: 5 },
    ];
    for translation in translations {
        for search in searches {
            for integers in [Integers::Native, Integers::Pairs] {
                for flags in 0..2 {
                    variants.push(Variant {
                        translation,
                        search,
                        integers,
                        offset_roots: flags == 1,
                        joint: flags == 1,
                        loop_guard: flags == 1,
                        subgroup_faults: flags == 1,
                        wide_offsets: flags == 1,
                        proved: Proved::NOTHING,
                        fold: if flags == 1 { Fold::Space } else { Fold::None },
                    });
                }
            }
        }
    }
    variants
}
