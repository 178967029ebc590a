use super::*;
use crate::lend::lends::Segment;
use farptr_kernels::{KernelDesc, saxpy};
use farptr_rewrite::Program;
use proptest::prelude::*;

const BASE: u64 = 1 << 32;
const BYTES: u64 = 5 * PAGE_BYTES;

fn lent(start: u64, len: u64, writable: bool) -> Segment {
    let range = VaRange::from_len(VirtAddr::new(start), len).unwrap();
    Segment { range, writable, delta: None }
}

/// The bytes of two lends that `saxpy` touches with these arguments: `y[i] += a * x[i]`, `i < n`.
fn of_saxpy(lends: &Lends, x: u64, y: u64, n: u32) -> Vec<Stretch> {
    let push = [&x.to_le_bytes()[..], &y.to_le_bytes(), &n.to_le_bytes(), &[0; 4]].concat();
    let program = Program::parse(saxpy::Kernel::words(), None).unwrap();
    stretches(&program.footprints().of_launch(&push, [1000, 1, 1]), &push, lends)
}

proptest! {
    #[test]
    fn exactly_the_pages_of_what_is_touched_are_missing(
        starts in prop::array::uniform2(0u64..PAGE_BYTES / 4),
        at in prop::array::uniform2(0u64..BYTES / 4),
        n in 0u32..6000,
        there in prop::collection::vec((0usize..2, 0usize..6), 0..6),
    ) {
        let places = [BASE + starts[0] * 4, BASE + (1 << 20) + starts[1] * 4];
        let (mut lends, mut pages) = (Lends::default(), Pages::default());
        for (start, writable) in places.into_iter().zip([false, true]) {
            let segment = lent(start, BYTES, writable);
            lends.insert(segment);
            pages.add(segment.range, writable, Some(1 << 40), 1 << 41);
        }
        let there: Vec<Missing> = there
            .into_iter()
            .filter(|&(lend, page)| page < pages.lends()[lend].pages())
            .map(|(lend, page)| Missing { lend, page, write: lend == 1 })
            .collect();
        pages.serve(&there, || Err(())).unwrap();
        let [x, y] = [0, 1].map(|which| places[which] + at[which] * 4);
        let found = missing(&pages, &of_saxpy(&lends, x, y, n));
        let mut expected = Vec::new();
        for (lend, address) in [x, y].into_iter().enumerate() {
            let end = (address + u64::from(n) * 4).min(places[lend] + BYTES);
            let first = places[lend] / PAGE_BYTES;
            for page in 0..pages.lends()[lend].pages() {
                let start = (first + page as u64) * PAGE_BYTES;
                let touched = address.max(start) < end.min(start + PAGE_BYTES);
                let new = Missing { lend, page, write: lend == 1 };
                if touched && !there.contains(&new) {
                    expected.push(new);
                }
            }
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn what_is_behind_no_lend_is_left_to_the_checks() {
    let mut lends = Lends::default();
    lends.insert(lent(BASE, BYTES, true));
    assert!(of_saxpy(&lends, 0, 1 << 50, 100).is_empty());
    let one = of_saxpy(&lends, BASE + BYTES, BASE + BYTES - 4, 100);
    let last = VaRange::from_len(VirtAddr::new(BASE + BYTES - 4), 4).unwrap();
    assert!(one.iter().all(|stretch| stretch.range == last) && !one.is_empty(), "{one:?}");
}
