//! Reflection of the shipped kernels and of damaged words.

use super::module::HEADER_WORDS;
use super::*;
use farptr_kernels::{KernelDesc, dot, empty, saxpy, spmv, walk};
use proptest::prelude::*;

#[test]
fn shipped_kernels_declare_what_their_sources_say() {
    let cases: [(&'static [u32], [u32; 3], u32); 5] = [
        (empty::Kernel::words(), [8, 1, 1], 0),
        (saxpy::Kernel::words(), [64, 1, 1], 24),
        (dot::Kernel::words(), [64, 1, 1], 28),
        (spmv::Kernel::words(), [64, 1, 1], 52),
        (walk::Kernel::words(), [64, 1, 1], 24),
    ];
    for (words, local_size, push_bytes) in cases {
        let reflection = Reflection::of(words).unwrap();
        assert_eq!(reflection.entry, "main");
        assert_eq!(reflection.local_size, local_size);
        assert_eq!(reflection.push_bytes, push_bytes);
        assert_eq!(reflection.descriptors, 0);
    }
}

#[test]
fn values_of_the_push_constants_have_names() {
    let names = Reflection::of(saxpy::Kernel::words()).unwrap().push_names;
    let expected = [(0, "x"), (8, "y"), (16, "n"), (20, "a")];
    assert_eq!(names, expected.map(|(at, name)| (at, name.to_owned())));
}

#[test]
fn shipped_kernels_need_no_64_bit_integers() {
    for words in [saxpy::Kernel::words(), spmv::Kernel::words(), walk::Kernel::words()] {
        let capabilities = Reflection::of(words).unwrap().capabilities;
        assert!(capabilities.contains(&Capability::PhysicalStorageBufferAddresses));
        assert!(!capabilities.contains(&Capability::Int64));
    }
}

#[test]
fn words_that_are_no_module_are_refused() {
    assert_eq!(Reflection::of(&[]), Err(ReflectError::NotSpirv));
    assert_eq!(Reflection::of(&[1, 2, 3]), Err(ReflectError::NotSpirv));
    let header = &saxpy::Kernel::words()[..HEADER_WORDS];
    assert_eq!(Reflection::of(header), Err(ReflectError::NoComputeEntry));
}

#[test]
fn a_cut_module_is_damaged() {
    let words = saxpy::Kernel::words();
    let cut = Reflection::of(&words[..HEADER_WORDS + 1]);
    assert!(matches!(cut, Err(ReflectError::Damaged { .. })), "{cut:?}");
}

proptest! {
    #[test]
    fn mutated_modules_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 1..8),
    ) {
        let mut words = spmv::Kernel::words().to_vec();
        for (index, word) in changes {
            let index = index.index(words.len());
            words[index] = word;
        }
        let _ = Reflection::of(&words);
    }

    #[test]
    fn arbitrary_words_never_panic(mut words in prop::collection::vec(any::<u32>(), 0..64)) {
        if let Some(first) = words.first_mut() {
            *first = spirv::MAGIC_NUMBER;
        }
        let _ = Reflection::of(&words);
    }
}
