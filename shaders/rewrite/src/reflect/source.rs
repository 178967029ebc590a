//! Leaves the source language of a module unsaid where older tools do not know its number.
//!
//! A module may say which language it was written in (`OpSource`). That changes nothing, but
//! `spirv-val` and the Khronos validation layer refuse a number that is younger than they are:
//! those of 2023, which Debian 12 has, refuse every module that Slang makes.

use crate::reflect::module::instructions;
use spirv::{Op, SourceLanguage};
use std::borrow::Cow;

/// The last language of SPIR-V 1.5, which every tool for Vulkan 1.2 knows.
const NEWEST: u32 = SourceLanguage::CPP_for_OpenCL as u32;

/// The words of a module, with `Unknown` in place of a source language that is younger than SPIR-V
/// 1.5.
///
/// Words that are no module are given back as they are.
#[must_use]
pub fn without_young_languages(words: &[u32]) -> Cow<'_, [u32]> {
    let Some(places) = places(words).filter(|places| !places.is_empty()) else {
        return words.into();
    };
    let mut words = words.to_vec();
    for at in places {
        words[at] = SourceLanguage::Unknown as u32;
    }
    words.into()
}

/// The positions of young languages.
fn places(words: &[u32]) -> Option<Vec<usize>> {
    let mut places = Vec::new();
    for instruction in instructions(words).ok()? {
        let instruction = instruction.ok()?;
        if instruction.op == Some(Op::Source) && instruction.operand(0).ok()? > NEWEST {
            places.push(instruction.word + 1);
        }
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLANG: u32 = 11;

    /// A header, and an `OpSource` of three words.
    fn module(language: u32) -> Vec<u32> {
        let source = 3 << 16 | Op::Source as u32;
        vec![spirv::MAGIC_NUMBER, 0x1_0500, 0, 1, 0, source, language, 1]
    }

    #[test]
    fn young_languages_become_unknown_and_others_stay() {
        assert_eq!(without_young_languages(&module(SLANG)), module(0));
        for language in 0..=NEWEST {
            let words = module(language);
            assert!(matches!(without_young_languages(&words), Cow::Borrowed(_)), "{language}");
        }
    }

    #[test]
    fn words_that_are_no_module_stay() {
        let cut = &module(SLANG)[..6];
        for words in [cut, &[], &[1, 2, 3]] {
            assert!(matches!(without_young_languages(words), Cow::Borrowed(_)));
        }
    }
}
