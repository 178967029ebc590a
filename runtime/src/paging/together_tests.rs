use super::*;
use farptr_hmm::{VaRange, VirtAddr};
use proptest::prelude::*;

const BASE: u64 = 1 << 32;
const PAGES: u64 = 6;

/// Two lends of whole pages, and the address of each.
fn lends() -> (Pages, [u64; 2]) {
    let mut pages = Pages::default();
    let starts = [BASE, BASE + (1 << 20)];
    for start in starts {
        let range = VaRange::from_len(VirtAddr::new(start), PAGES * PAGE_BYTES).unwrap();
        pages.add(range, true, Some(1 << 40), 1 << 41);
    }
    (pages, starts)
}

fn missing(lend: usize, page: usize) -> Missing {
    Missing { lend, page, write: false }
}

proptest! {
    /// The pages of exactly those elements come along that lie on the page that was missed, as a
    /// walk over all elements finds them.
    #[test]
    fn pages_of_the_same_elements_come_together(
        strides in prop::array::uniform2(prop::sample::select(vec![-12i128, -4, 1, 4, 8, 12, 16])),
        at in prop::array::uniform2(-3000i128..20_000),
        page in 0usize..6,
        writes in any::<bool>(),
        there in prop::collection::vec(0usize..6, 0..3),
    ) {
        let (mut pages, starts) = lends();
        let there: Vec<Missing> =
            there.into_iter().map(|page| Missing { write: writes, ..missing(1, page) }).collect();
        pages.serve(&there, || Err(())).unwrap();
        let access = |lend: usize| Access {
            lend,
            zero: i128::from(starts[lend]) + at[lend],
            stride: strides[lend],
            bytes: 4,
            writes: lend == 1 && writes,
        };
        let accesses = [0, 1].map(access);
        let found = with_others(&pages, &[missing(0, page)], &[accesses.to_vec()]);
        let on = |access: &Access, index: i128| {
            let first = access.zero + index * access.stride - i128::from(starts[access.lend]);
            [first, first + 3].map(|byte| byte.div_euclid(PAGE_BYTES.into()))
        };
        let mut expected = Vec::new();
        for index in -40_000..40_000 {
            if on(&accesses[0], index).contains(&(page as i128)) {
                let [first, last] = on(&accesses[1], index);
                expected.extend(first..=last);
            }
        }
        expected.sort_unstable();
        expected.dedup();
        let within = expected.iter().filter(|page| (0..PAGES.into()).contains(*page));
        let within: Vec<usize> = within.map(|&page| usize::try_from(page).unwrap()).collect();
        let mut wanted = vec![missing(0, page)];
        if within.len() as u64 <= MOST_PAGES {
            let new = within.into_iter().map(|page| Missing { write: writes, ..missing(1, page) });
            wanted.extend(new.filter(|of| !there.contains(of)));
        }
        // An access that skips pages brings those between as well.
        let is_dense = strides.iter().all(|stride| stride.abs() <= 16);
        prop_assert!(is_dense);
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn a_page_of_small_elements_does_not_bring_many_pages_of_large_ones() {
    let (pages, starts) = lends();
    let access = |lend: usize, stride| Access {
        lend,
        zero: starts[lend].into(),
        stride,
        bytes: 1,
        writes: false,
    };
    let accesses = [vec![access(0, 1), access(1, 2 * i128::from(PAGE_BYTES))]];
    assert_eq!(with_others(&pages, &[missing(0, 0)], &accesses), [missing(0, 0)]);
    // One element of the large ones is on two pages of small ones.
    let found = with_others(&pages, &[missing(1, 2)], &accesses);
    assert_eq!(found, [missing(0, 0), missing(1, 2)]);
}

/// Every other page of the one lend has bytes of an index.
#[test]
fn a_page_without_bytes_of_an_index_brings_nothing() {
    let (pages, starts) = lends();
    let access = |lend: usize, stride: u64| Access {
        lend,
        zero: starts[lend].into(),
        stride: stride.into(),
        bytes: 4,
        writes: false,
    };
    let accesses = [vec![access(0, 2 * PAGE_BYTES), access(1, PAGE_BYTES)]];
    assert_eq!(with_others(&pages, &[missing(0, 1)], &accesses), [missing(0, 1)]);
    let found = with_others(&pages, &[missing(0, 2)], &accesses);
    assert_eq!(found, [missing(0, 2), missing(1, 1)]);
}

#[test]
fn accesses_by_other_indices_bring_nothing() {
    let (pages, starts) = lends();
    let access = |lend: usize| Access {
        lend,
        zero: starts[lend].into(),
        stride: 4,
        bytes: 4,
        writes: false,
    };
    let apart = [vec![access(0)], vec![access(1)]];
    assert_eq!(with_others(&pages, &[missing(0, 3)], &apart), [missing(0, 3)]);
    let same = [vec![access(0), access(1)]];
    assert_eq!(with_others(&pages, &[missing(0, 3)], &same), [missing(0, 3), missing(1, 3)]);
}
