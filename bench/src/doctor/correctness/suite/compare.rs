//! The judgement on a kernel's result.

use super::{
    image::{difference, moved},
    original::Left,
    tally::Judgement,
};
use farptr_kernel_cases::{
    arena::Arena,
    case::{Case, Image},
};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Compares the lends of an arena, behind a launch, with those of the original, and with what the
/// computation in Rust makes of them.
pub(super) fn judge(case: &Case, arena: &Arena, left: Left) -> Judgement {
    // Cases panic where a result makes no sense to them.
    let compared = catch_unwind(AssertUnwindSafe(|| compare(case, arena, left)));
    compared.unwrap_or_else(|panic| Judgement::Wrong(nonsense(&*panic)))
}

fn compare(case: &Case, arena: &Arena, left: Left) -> Judgement {
    if !arena.canaries_live() {
        return Judgement::Wrong("bytes beside the lends changed".to_owned());
    }
    if !left.kept_to_lends {
        return Judgement::Wrong("the original by hand changed bytes beside the lends".to_owned());
    }
    let initial = arena.initial();
    let found = normalised(case, arena.image());
    let (first, second) = (normalised(case, left.first), normalised(case, left.second));
    let of_original = match moved(&first, &second, &found.starts) {
        Ok(expected) => difference(&expected, &found),
        Err(misfit) => return Judgement::Wrong(misfit.to_string()),
    };
    let of_oracle = case.oracle.and_then(|oracle| {
        let mut expected = initial.clone();
        oracle(&mut expected);
        difference(&expected, &found)
    });
    match (of_original, of_oracle) {
        (None, None) if found == initial => Judgement::Wrong("nothing changed".to_owned()),
        (None, None) => Judgement::Right,
        (Some(how), None) => Judgement::Wrong(format!("unlike the original by hand, {how}")),
        (Some(_), Some(how)) => {
            Judgement::Wrong(format!("unlike the original by hand and its reference, {how}"))
        }
        (None, Some(how)) => {
            Judgement::Wrong(format!("like the original by hand, and unlike its reference, {how}"))
        }
    }
}

/// A result without the order in which invocations ran.
fn normalised(case: &Case, mut image: Image) -> Image {
    if let Some(normalise) = case.normalise {
        normalise(&mut image);
    }
    image
}

/// The words of a case that finds a result that makes no sense.
fn nonsense(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    format!("the result makes no sense: {said}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use farptr_kernel_cases::{arena::Slice, catalogue::find, layout::Layout};

    /// A case whose results hold addresses.
    fn case() -> Case {
        (find("stored_then_loaded").expect("it is in a list").make)()
    }

    /// An arena in which the computation in Rust stands for the kernel.
    fn arena(case: &Case) -> Arena {
        let mut arena = Arena::new(&case.buffers);
        let mut image = arena.initial();
        case.oracle.expect("the case has one")(&mut image);
        for (slice, bytes) in arena.slices().into_iter().zip(&image.buffers) {
            if let Slice::Write(slice) = slice {
                slice.copy_from_slice(bytes);
            }
        }
        arena
    }

    /// As it stands for the original, in two other places.
    fn left(case: &Case) -> Left {
        let layout = Layout::of(&case.buffers);
        let at = |base: u64| {
            let mut image = layout.image(base, &layout.content(base, &case.buffers));
            case.oracle.expect("the case has one")(&mut image);
            image
        };
        Left { first: at(0x68_0000), second: at(0x6a_0000), kept_to_lends: true }
    }

    fn words(judgement: Judgement) -> String {
        match judgement {
            Judgement::Wrong(words) => words,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn equal_results_in_different_places_are_right() {
        let case = case();
        assert_eq!(judge(&case, &arena(&case), left(&case)), Judgement::Right);
    }

    #[test]
    fn one_wrong_byte_is_named() {
        let case = case();
        let mut wrong = arena(&case);
        if let Some(Slice::Write(bytes)) = wrong.slices().into_iter().nth(1) {
            bytes[100] ^= 1;
        }
        let said = words(judge(&case, &wrong, left(&case)));
        let expected = "unlike the original by hand and its reference, lend 1 differs in 1 bytes, \
                        the first at offset 100: ";
        assert!(said.starts_with(expected), "{said}");
        let without = Case { oracle: None, ..case.clone() };
        let said = words(judge(&without, &wrong, left(&case)));
        assert!(said.starts_with("unlike the original by hand, lend 1 differs"), "{said}");
    }

    #[test]
    fn a_wrong_reference_and_a_wrong_original_are_told_apart() {
        let case = case();
        let other = case.clone().oracle(|image| image.buffers[1][8] = 0xee);
        let said = words(judge(&other, &arena(&case), left(&case)));
        let expected = "like the original by hand, and unlike its reference, lend 0 differs in ";
        assert!(said.starts_with(expected), "{said}");
        let mut wrong = left(&case);
        wrong.first.buffers[1][8] = 0xee;
        wrong.second.buffers[1][8] = 0xee;
        let said = words(judge(&case, &arena(&case), wrong));
        let expected = "unlike the original by hand, lend 1 differs in 1 bytes, the first at ";
        assert!(said.starts_with(expected), "{said}");
        let stray = Left { kept_to_lends: false, ..left(&case) };
        let said = words(judge(&case, &arena(&case), stray));
        assert_eq!(said, "the original by hand changed bytes beside the lends");
    }

    #[test]
    fn a_kernel_that_changes_nothing_shows_nothing() {
        let case = Case { oracle: None, ..case() };
        let layout = Layout::of(&case.buffers);
        let at = |base: u64| layout.image(base, &layout.content(base, &case.buffers));
        let left = Left { first: at(0), second: at(0x2000), kept_to_lends: true };
        let said = words(judge(&case, &Arena::new(&case.buffers), left));
        assert_eq!(said, "nothing changed");
    }
}
