//! The forms of a kernel whose cost is compared: those that launches ask for.

use farptr::rewrite::{
    self, Fold, Integers, Program, Proved, RewriteError, Search, Translation, Variant,
};

/// A form, with its name on the command line and in records.
pub(super) struct Form {
    pub(super) name: &'static str,
    kind: Kind,
}

enum Kind {
    Original,
    /// Without checks.
    Unchecked {
        fold: Fold,
        wide_offsets: bool,
    },
    /// What a safe launch runs in a scope with so many lends, but for one choice.
    Checked {
        translation: Translation,
        lends: usize,
        but: fn(Variant) -> Variant,
    },
}

/// Lends of a scope, unless a form is about their number.
const LENDS: usize = 4;
const MANY_LENDS: usize = 1024;

const COPY: Translation = Translation::Table { tree: false };
const TREE: Translation = Translation::Table { tree: true };

/// Every form. The first is the baseline.
pub(super) const FORMS: &[Form] = &[
    Form { name: ORIGINAL, kind: Kind::Original },
    unchecked("unchecked-line", Fold::Line, false),
    unchecked("unchecked-space", Fold::Space, false),
    unchecked("unchecked-wide", Fold::None, true),
    checked("direct", Translation::None),
    checked("import", Translation::Segments),
    with_lends("import-1024-lends", Translation::Segments, MANY_LENDS),
    but("import-unjoined", Translation::Segments, |it| Variant { joint: false, ..it }),
    checked("copy", COPY),
    with_lends("copy-1-lend", COPY, 1),
    with_lends("copy-8-lends", COPY, 8),
    with_lends("copy-1024-lends", COPY, MANY_LENDS),
    but("copy-inner-pointers", COPY, |it| Variant { offset_roots: true, ..it }),
    but("copy-loop-guard", COPY, |it| Variant { loop_guard: true, ..it }),
    but("copy-space", COPY, |it| Variant { fold: Fold::Space, ..it }),
    but("copy-wide", COPY, |it| Variant { wide_offsets: true, ..it }),
    but("copy-pairs", COPY, |it| Variant { integers: Integers::Pairs, ..it }),
    checked("tree", TREE),
];

/// The name of the baseline.
pub(super) const ORIGINAL: &str = "original";

const fn unchecked(name: &'static str, fold: Fold, wide_offsets: bool) -> Form {
    Form { name, kind: Kind::Unchecked { fold, wide_offsets } }
}

const fn checked(name: &'static str, translation: Translation) -> Form {
    with_lends(name, translation, LENDS)
}

const fn with_lends(name: &'static str, translation: Translation, lends: usize) -> Form {
    Form { name, kind: Kind::Checked { translation, lends, but: |it| it } }
}

const fn but(name: &'static str, translation: Translation, but: fn(Variant) -> Variant) -> Form {
    Form { name, kind: Kind::Checked { translation, lends: LENDS, but } }
}

impl Form {
    /// The words of a kernel in this form. `program` is what was parsed of them.
    pub(super) fn words(
        &self,
        original: &[u32],
        program: &Program,
    ) -> Result<Vec<u32>, RewriteError> {
        match self.kind {
            Kind::Original => Ok(original.to_vec()),
            Kind::Unchecked { fold, wide_offsets } => {
                let integers = wide_offsets.then_some(Integers::Native);
                rewrite::unchecked(original, None, fold, integers)
            }
            Kind::Checked { translation, lends, but } => {
                program.rewrite(&but(variant(program, translation, lends)))
            }
        }
    }

    /// Whether it has a control block.
    pub(super) fn is_controlled(&self) -> bool {
        match self.kind {
            Kind::Original => false,
            Kind::Unchecked { fold, .. } => fold != Fold::None,
            Kind::Checked { .. } => true,
        }
    }
}

/// The variant that the runtime chooses (`runtime/src/launch/variant.rs`) on a device that has
/// 64-bit integers, cuts no loops short and computes offsets in full, for lends that are apart.
fn variant(program: &Program, translation: Translation, lends: usize) -> Variant {
    let analysis = program.analysis();
    let faults = translation.faults();
    let searched = if analysis.is_roots_only() && !faults { 0 } else { lends };
    Variant {
        translation,
        search: Search::among(searched).expect("a search tells so few lends apart"),
        offset_roots: false,
        joint: analysis.joint_bytes() > 0 && !faults,
        integers: Integers::Native,
        loop_guard: false,
        subgroup_faults: false,
        fold: Fold::None,
        wide_offsets: false,
        proved: Proved::NOTHING,
    }
}
