//! Arrays against vectors, values that are counted, and failures on the way.
#![allow(clippy::unwrap_used, reason = "tests")]

mod counted;
mod hinted;

use super::*;
use counted::{Ledger, Sizeless};
use hinted::Hinted;
use proptest::prelude::*;
use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind},
};

const PAGE: usize = 4096;

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Words that own memory of the heap.
fn words() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-c]{0,3}", 0..40)
}

proptest! {
    #[test]
    fn an_array_is_equal_to_the_vector_that_it_was_made_of(vec in words(), other in words()) {
        let array = Array::from(&vec[..]);
        prop_assert_eq!(&array, &vec);
        prop_assert_eq!(&vec, &array);
        prop_assert_eq!(&array, &array.clone());
        prop_assert_eq!(&Array::from(vec.clone()), &vec);
        prop_assert_eq!(&Array::from(vec.clone().into_boxed_slice()), &vec);
        prop_assert_eq!(&Vec::from(array.clone()), &vec);
        prop_assert_eq!(hash(&array), hash(&vec));
        prop_assert_eq!(format!("{array:?}"), format!("{vec:?}"));
        prop_assert_eq!(array.iter().collect::<Vec<_>>(), vec.iter().collect::<Vec<_>>());

        let second = Array::from(&other[..]);
        prop_assert_eq!(array == second, vec == other);
        prop_assert_eq!(array.cmp(&second), vec.cmp(&other));
        prop_assert_eq!(array.partial_cmp(&second), vec.partial_cmp(&other));

        let mut emptied = vec.clone();
        prop_assert_eq!(&Array::try_from_vec(&mut emptied).unwrap(), &vec);
        prop_assert!(emptied.is_empty() && emptied.capacity() >= vec.len());
    }

    #[test]
    fn an_iterator_is_collected_whatever_it_promises(
        vec in words(),
        least in 0..60usize,
        most in prop::option::of(0..60usize),
        long in 0..3usize,
    ) {
        // Some are longer than the first memory of an iterator that promises nothing.
        let repeats = if cfg!(miri) { 1 } else { [1, 100, 1000][long] };
        let values = vec.iter().cycle().take(vec.len() * repeats).cloned();
        let expected: Vec<_> = values.clone().collect();
        let array: Array<String> = Hinted { values, least, most }.collect();
        prop_assert_eq!(array, expected);
    }

    #[test]
    fn a_slice_is_changed_as_that_of_a_vector(
        mut vec in words(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut array = Array::from(vec.clone());
        array.reverse();
        vec.reverse();
        for word in &mut array {
            word.push('x');
        }
        for word in &mut vec {
            word.push('x');
        }
        if !vec.is_empty() {
            let at = at.index(vec.len());
            (array[at], vec[at]) = ("here".into(), "here".into());
        }
        prop_assert_eq!(array, vec);
    }

    /// No value is lost and none is dropped twice, wherever the way ends.
    #[test]
    fn every_value_is_dropped_once(
        len in 0..40usize,
        least in 0..50usize,
        fails_at in prop::option::of(0..50usize),
        clone_fails_at in prop::option::of(0..50usize),
    ) {
        let ledger = Ledger::default();
        let values = || (0..len).map(|number| {
            assert!(fails_at != Some(number), "on purpose");
            ledger.value()
        });
        let made = catch_unwind(AssertUnwindSafe(|| {
            Hinted { values: values(), least, most: None }.collect::<Array<_>>()
        }));
        prop_assert_eq!(made.is_ok(), fails_at.is_none_or(|at| at >= len));
        prop_assert_eq!(ledger.alive(), made.as_ref().map_or(0, |array| array.len()));

        if let Ok(array) = made {
            ledger.clones_that_panic_after(clone_fails_at);
            let cloned = catch_unwind(AssertUnwindSafe(|| array.clone()));
            prop_assert_eq!(cloned.is_ok(), clone_fails_at.is_none_or(|at| at >= len));
            prop_assert_eq!(ledger.alive(), len + cloned.as_ref().map_or(0, |array| array.len()));
            drop(cloned);
            let vec = Vec::from(array);
            prop_assert_eq!((vec.len(), ledger.alive()), (len, len));
            let array = Array::from(vec);
            prop_assert_eq!((array.len(), ledger.alive()), (len, len));
        }
        prop_assert_eq!(ledger.alive(), 0);
        prop_assert_eq!(ledger.dropped_twice(), 0);
    }

    #[test]
    fn a_value_whose_end_panics_keeps_no_other_from_ending(len in 1..20usize, at in 0..20usize) {
        let ledger = Ledger::default();
        let array: Array<_> = (0..len).map(|_| ledger.value()).collect();
        ledger.panics_at_the_end_of(at % len);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(array)));
        prop_assert!(dropped.is_err());
        prop_assert_eq!((ledger.alive(), ledger.dropped_twice()), (0, 0));
    }
}

#[test]
fn zeroes_are_zeroes_from_a_page_boundary_on() {
    for len in [0usize, 1, 1000, 100_000] {
        let array = Array::<u32>::zeroed(len).unwrap();
        assert!(array.len() == len && array.iter().all(|&word| word == 0));
        assert!(array.as_ptr().addr().is_multiple_of(PAGE));
    }
}

#[test]
fn elements_without_a_size_are_counted() {
    let array: Array<Sizeless> = (0..100).map(|_| Sizeless::new()).collect();
    assert_eq!((array.len(), Sizeless::alive()), (100, 100));
    let vec = Vec::from(array);
    assert_eq!((vec.len(), Sizeless::alive()), (100, 100));
    let array = Array::from(vec);
    assert_eq!((array.iter().count(), Sizeless::alive()), (100, 100));
    drop(array);
    assert_eq!(Sizeless::alive(), 0);
    assert_eq!(Array::<()>::zeroed(usize::MAX).unwrap().len(), usize::MAX);
    assert_eq!(Array::from(vec![(); usize::MAX]).len(), usize::MAX);
}

#[test]
fn nothing_is_mapped_for_no_bytes() {
    let arrays = (Array::<u64>::new(), Array::<[u64; 0]>::zeroed(7).unwrap(), Array::from([(); 9]));
    assert_eq!((arrays.0.len(), arrays.1.len(), arrays.2.len()), (0, 7, 9));
    let starts = [arrays.0.as_ptr().addr(), arrays.1.as_ptr().addr(), arrays.2.as_ptr().addr()];
    assert!(starts.iter().all(|&start| start == PAGE), "dangling: {starts:?}");
    assert_eq!(Array::<u64>::default(), [0u64; 0]);
}

#[test]
fn elements_may_be_aligned_to_a_page() {
    #[derive(Clone, Debug, PartialEq)]
    #[repr(align(4096))]
    struct Page(u8);

    let array = Array::from([Page(1), Page(2), Page(3)]);
    assert!(array.iter().all(|page| std::ptr::from_ref(page).addr().is_multiple_of(PAGE)));
    assert_eq!(array.clone(), [Page(1), Page(2), Page(3)]);
    assert!(Array::<Page>::new().as_ptr().addr().is_multiple_of(PAGE));
}

#[test]
fn too_many_elements_are_an_error_or_a_panic_as_of_a_vector() {
    for len in [usize::MAX, usize::MAX / 8 + 1, isize::MAX as usize / 8 + 1] {
        let error = Array::<u64>::zeroed(len).unwrap_err();
        assert!(matches!(error, ArrayError::TooLong { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains(&format!("{len} elements of 8 bytes")), "{said}");
    }
    let endless = || Hinted { values: 0..3u64, least: usize::MAX, most: None };
    let error = Array::try_from_iter(endless()).unwrap_err();
    assert!(matches!(error, ArrayError::TooLong { len: usize::MAX, element_bytes: 8 }));
    let collected = catch_unwind(|| endless().collect::<Array<u64>>());
    let said = *collected.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(said, "capacity overflow");
}

#[cfg(not(miri))]
#[test]
fn memory_that_the_system_refuses_is_an_error_with_the_limits() {
    use std::error::Error as _;

    let error = Array::<u64>::zeroed(1 << 59).unwrap_err();
    assert!(matches!(error, ArrayError::NoMemory { len, element_bytes: 8, .. } if len == 1 << 59));
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("vm.overcommit_memory"), "{cause}");
    let carried = crate::Error::from(error).to_string();
    assert!(carried.contains("576460752303423488 elements of 8 bytes"), "{carried}");
}

#[cfg(not(miri))]
#[test]
fn each_is_one_area_of_the_address_space() {
    use farptr_hmm::{Maps, PageSize, VaRange};

    let maps = Maps::open().unwrap();
    let is_one_area = |array: &Array<u32>| {
        let range = VaRange::of_slice(array).pages_covering(PageSize::host());
        let vma = maps.find_vma(range.start()).unwrap().unwrap();
        assert_eq!(vma.range, range);
        assert!(vma.is_private_anonymous() && vma.flags.write);
    };
    for len in [1usize, 1024, 1025, 3000, 1 << 20, (5 << 18) + 1] {
        let slice = vec![7; len];
        let mut arrays = Vec::new();
        for _ in 0..25 {
            arrays.push(Array::zeroed(len).unwrap());
            arrays.push(Array::from(&slice[..]));
            arrays.push(Array::from(slice.clone()));
            // Neither half is what the iterator promises.
            arrays.push(slice.iter().copied().filter(|&word| word == 7).collect());
        }
        arrays.iter().for_each(is_one_area);
    }
}

/// What holds of a vector's type holds of an array's.
#[test]
fn the_type_is_as_that_of_a_vector() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    fn may_be_caught<T: UnwindSafe + RefUnwindSafe + Unpin>() {}
    fn outlives<'short>(long: Array<&'static str>, short: &'short str) -> [&'short str; 2] {
        let shorter: Array<&'short str> = long;
        [shorter[0], short]
    }

    is_send::<Array<u32>>();
    is_sync::<Array<u32>>();
    is_send::<Array<std::cell::Cell<u32>>>();
    is_sync::<Array<std::sync::MutexGuard<'static, u32>>>();
    may_be_caught::<Array<String>>();
    assert_eq!(outlives(Array::from(["long"]), &String::from("short")), ["long", "short"]);
}
