//! The choice of the form of a kernel that a launch runs. Pure.

use super::control_block::Window;
use crate::{kernel::code::integers, lend::lends::Lends, vk::info::Traits};
use farptr_rewrite::{Analysis, Fold, Proved, Search, Translation, Variant, control::Layout};

/// What is known of a launch when its form is chosen, besides its memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'w> {
    /// The indices that each check passes.
    pub(crate) windows: &'w [Window],
    pub(crate) fold: Fold,
    /// What is not checked.
    pub(crate) proved: Proved,
}

/// The cheapest variant of a kernel that checks all accesses of the launch, and the layout of its
/// control block.
///
/// `segments` are the segments that a pointer from memory may lead into; the kernel reaches
/// `reached` many. Returns `None` if the kernel has more kinds of access than a control block has
/// rows for, or reaches more lends than a search can tell apart.
pub(crate) fn choose(
    analysis: &Analysis,
    traits: Traits,
    translation: Translation,
    segments: &Lends,
    reached: usize,
    Known { windows, fold, proved }: Known<'_>,
) -> Option<(Variant, Layout)> {
    let joint = analysis.joint_bytes();
    let apart = joint > 0 && !translation.faults() && segments.are_apart(joint);
    // Each segment has a page table of its own, so an access that is checked by its index searches
    // for its segment too.
    let unsearched = analysis.is_roots_only() && !translation.faults();
    let searched = if unsearched { 0 } else { reached };
    let variant = Variant {
        translation,
        search: Search::among(searched)?,
        offset_roots: windows.iter().any(|window| window.first != 0),
        integers: integers(traits),
        joint: apart,
        loop_guard: traits.cuts_loops,
        subgroup_faults: false,
        fold,
        wide_offsets: traits.narrow_offsets,
        proved,
    }
    .normalised(analysis);
    if let Some(layout) = Layout::new(analysis, &variant) {
        return Some((variant, layout));
    }
    // If a kernel has very many kinds of access, the records of its segments are long, and are
    // stored in memory instead.
    let steps = searched.checked_next_power_of_two()?.trailing_zeros().max(1);
    let search = Search::Bisected { steps: u8::try_from(steps).ok()? };
    let variant = Variant { search, ..variant };
    Layout::new(analysis, &variant).map(|layout| (variant, layout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lend::lends::Segment;
    use farptr_hmm::{VaRange, VirtAddr};
    use farptr_kernels::{KernelDesc, chase, dot};
    use farptr_rewrite::{Integers, Program};

    /// So many lends of 16 bytes, with so many bytes between them.
    fn lends(count: u64, gap_bytes: u64) -> Lends {
        let mut lends = Lends::default();
        for number in 0..count {
            let start = VirtAddr::new(4096 + number * (16 + gap_bytes));
            let range = VaRange::from_len(start, 16).unwrap();
            lends.insert(Segment { range, writable: true, delta: Some(0), private: None });
        }
        lends
    }

    fn chosen(traits: Traits, windows: &[Window], segments: u64) -> Variant {
        let program = Program::parse(dot::Kernel::words(), None).unwrap();
        let analysis = program.analysis();
        let segments = lends(segments, 4096);
        let (translation, reached) = (Translation::None, segments.len());
        choose(analysis, traits, translation, &segments, reached, known(windows)).unwrap().0
    }

    /// No fold, and no proof.
    fn known(windows: &[Window]) -> Known<'_> {
        Known { windows, fold: Fold::None, proved: Proved::NOTHING }
    }

    #[test]
    fn the_device_decides_on_integers_and_the_loop_guard() {
        let poor = chosen(Traits::default(), &[], 0);
        assert_eq!((poor.integers, poor.loop_guard), (Integers::Pairs, false));
        let other = chosen(Traits { int64: true, cuts_loops: true, ..Traits::default() }, &[], 0);
        assert_eq!((other.integers, other.loop_guard), (Integers::Native, true));
    }

    #[test]
    fn accesses_are_checked_together_unless_they_could_be_in_two_segments() {
        let program = Program::parse(chase::Kernel::words(), None).unwrap();
        let analysis = program.analysis();
        assert_eq!(analysis.joint_bytes(), 12, "the next link and the payload behind it");
        let joint = |translation, gap_bytes| {
            let (segments, traits) = (lends(3, gap_bytes), Traits::default());
            let chosen = choose(analysis, traits, translation, &segments, 3, known(&[]));
            chosen.unwrap().0.joint
        };
        assert!(joint(Translation::None, 12) && joint(Translation::Segments, 4096));
        assert!(!joint(Translation::None, 11) && !joint(Translation::Segments, 0));
        assert!(!joint(Translation::Table { tree: false }, 4096), "pages may be missing");
    }

    #[test]
    fn pointers_into_a_lend_need_the_first_index() {
        let window = |first| Window { base: Some(0), first, count: 8 };
        assert!(!chosen(Traits::default(), &[window(0), window(0)], 1).offset_roots);
        assert!(chosen(Traits::default(), &[window(0), window(-3)], 1).offset_roots);
    }

    #[test]
    fn kernels_that_use_their_arguments_alone_search_nothing() {
        assert_eq!(chosen(Traits::default(), &[], 5000).search, Search::Unrolled(0));
    }
}
