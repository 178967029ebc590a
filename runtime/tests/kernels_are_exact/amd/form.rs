//! The forms of a kernel that a launch may ask for.

#[path = "../../../../shaders/rewrite/src/tests/forms.rs"]
mod forms;

use farptr::rewrite::{self, Fold, Integers, Program, RewriteError, Variant};

/// A form of a kernel: those of `runtime/src/kernel/code.rs`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Original,
    /// Without checks: for folded grids, and with offsets that the kernel computes itself.
    Plain {
        fold: Fold,
        offsets: Option<Integers>,
    },
    Checked(Variant),
}

impl Form {
    /// The forms of a kernel. One that declares `Int64` runs on devices that have it, so it has no
    /// form with pairs of words.
    pub(super) fn all(int64: bool) -> Vec<Self> {
        let mut all = vec![Self::Original];
        for fold in [Fold::None, Fold::Line, Fold::Space] {
            for offsets in [None, Some(Integers::Native), Some(Integers::Pairs)] {
                all.push(Self::Plain { fold, offsets });
            }
        }
        all.extend(forms::variants().into_iter().map(Self::Checked));
        all.retain(|form| !(int64 && form.has_pairs()));
        all
    }

    fn has_pairs(self) -> bool {
        match self {
            Self::Original => false,
            Self::Plain { offsets, .. } => offsets == Some(Integers::Pairs),
            Self::Checked(variant) => variant.integers == Integers::Pairs,
        }
    }

    /// The words of this form. `program` is what was parsed of `original`.
    pub(super) fn words(
        self,
        original: &[u32],
        program: &Program,
    ) -> Result<Vec<u32>, RewriteError> {
        match self {
            Self::Original => Ok(original.to_vec()),
            Self::Plain { fold, offsets } => rewrite::unchecked(original, None, fold, offsets),
            Self::Checked(variant) => program.rewrite(&variant),
        }
    }

    /// Whether it has a control block.
    pub(super) fn is_controlled(self) -> bool {
        match self {
            Self::Original => false,
            Self::Plain { fold, .. } => fold != Fold::None,
            Self::Checked(_) => true,
        }
    }
}
