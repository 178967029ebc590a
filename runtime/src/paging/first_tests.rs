use super::*;
use crate::lend::lends::Segment;
use farptr_kernels::{KernelDesc, hadamard, saxpy};
use farptr_rewrite::Program;
use proptest::prelude::*;

const BASE: u64 = 1 << 32;
const BYTES: u64 = 5 * PAGE_BYTES;

fn lent(start: u64, len: u64, writable: bool) -> Segment {
    let range = VaRange::from_len(VirtAddr::new(start), len).unwrap();
    Segment { range, writable, delta: None, private: None }
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

proptest! {
    /// `hadamard` writes `z[i] = x[i] * y[i]`, `i < n`: all three in one lend, where they may
    /// overlap.
    #[test]
    fn pages_are_left_out_if_all_of_them_is_overwritten_and_nothing_is_read(
        start in 0u64..PAGE_BYTES / 4,
        at in prop::array::uniform3(-600i64..6 * 1024),
        n in 0u32..6000,
    ) {
        let start = BASE + start * 4;
        let segment = lent(start, BYTES, true);
        let (mut lends, mut pages) = (Lends::default(), Pages::default());
        lends.insert(segment);
        pages.add(segment.range, true, Some(1 << 40), 1 << 41);
        let [x, y, z] = at.map(|at| start.strict_add_signed(at * 4));
        let addresses = [x, y, z].map(u64::to_le_bytes).concat();
        let push = [&addresses[..], &n.to_le_bytes(), &[0; 4]].concat();
        let program = Program::parse(hadamard::Kernel::words(), None).unwrap();
        let footprint = program.footprints().of_launch_with_overwritten(&push, [1000, 1, 1]);
        let overwritten = Overwritten::of(&footprint, &push, &lends);
        let all: Vec<Missing> = (0..pages.lends()[0].pages())
            .map(|page| Missing { lend: 0, page, write: true })
            .collect();
        let (fetched, left) = parted(&pages, all.clone(), &overwritten);
        // An argument that leads into no lend is refused, so nothing is left out for it.
        let leads = |to: u64| (start..=start + BYTES).contains(&to);
        for missing in all {
            let bytes = pages.lends()[0].lent_bytes(missing.page);
            let is_read = |from: u64| {
                leads(from) && from.max(bytes.start) < (from + u64::from(n) * 4).min(bytes.end)
            };
            let all_written = leads(z) && z <= bytes.start && bytes.end <= z + u64::from(n) * 4;
            let expected = all_written && !is_read(x) && !is_read(y);
            prop_assert_eq!(left.contains(&missing), expected, "{:?}", missing);
            prop_assert_eq!(fetched.contains(&missing), !expected);
        }
    }
}
