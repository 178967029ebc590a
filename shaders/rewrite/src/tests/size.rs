//! Forms do not outgrow their bound.

use super::forms::variants;
use super::glsl::HEAD;
use super::tools::{compile, torture};
use crate::contract::error::RewriteError;
use crate::contract::proved::Proved;
use crate::contract::variant::{Fold, Integers, Search, Translation, Variant};
use crate::emit::size::most_words;
use crate::program::Program;

/// The form with the most words: its lookups go through every step there is.
const LARGEST: Variant = Variant {
    translation: Translation::Table { tree: true },
    search: Search::Bisected { steps: 16 },
    offset_roots: true,
    joint: false,
    integers: Integers::Pairs,
    loop_guard: true,
    subgroup_faults: true,
    fold: Fold::Space,
    wide_offsets: true,
    proved: Proved::NOTHING,
};

/// A kernel that copies a structure of as many numbers as may be accessed at once, so many times.
fn copies(times: usize) -> Option<Vec<u32>> {
    let copies: String = (0..times).map(|at| format!("b.at[i + {at}] = a.at[i + {at}];")).collect();
    let body = format!(
        "struct Big {{ uvec4 part[200]; }};
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer B {{ Big at[]; }};
        layout(push_constant) uniform Push {{ B a; B b; }};
        void main() {{ uint i = gl_GlobalInvocationID.x; {copies} }}"
    );
    compile(&format!("{HEAD}{body}"), "vulkan1.3", &[])
}

#[test]
fn every_form_keeps_its_bound() {
    let shipped = farptr_kernels::all().into_iter().map(|(_, words)| words.to_vec());
    let mut most = 0.0_f64;
    for words in shipped.chain(torture()).chain(copies(1)) {
        let program = Program::parse(&words, None).expect("it can be rewritten");
        for variant in variants().into_iter().chain([LARGEST]) {
            let rewritten = program.rewrite(&variant).expect("it is small enough").len();
            assert!(rewritten <= most_words(words.len()));
            #[expect(clippy::cast_precision_loss, reason = "a ratio to be looked at")]
            let growth = rewritten as f64 / words.len() as f64;
            most = most.max(growth);
        }
    }
    println!("words grow to {most:.1} times");
}

#[test]
fn a_form_that_outgrows_its_bound_is_refused() {
    let Some(words) = copies(40) else { return };
    let program = Program::parse(&words, None).expect("each access is small enough");
    let most = most_words(words.len());
    assert_eq!(program.rewrite(&LARGEST), Err(RewriteError::TooLarge { most }));
    // Other forms of the same kernel may be small enough.
    let resident = Variant { translation: Translation::Segments, ..LARGEST };
    let rewritten = program.rewrite(&resident).expect("nothing is taken apart");
    assert!(rewritten.len() <= most);
}
