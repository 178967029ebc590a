use super::*;
use farptr_hmm::VaRange;
use farptr_kernels::{KernelDesc, dot, saxpy};
use farptr_rewrite::Program;
use proptest::prelude::*;

/// Where lends begin.
const BASE: u64 = 1 << 32;

fn program(words: &[u32]) -> Program {
    Program::parse(words, None).unwrap()
}

fn lend(lends: &mut Lends, start: u64, len: u64, writable: bool, delta: Option<u64>) {
    let range = VaRange::from_len(VirtAddr::new(start), len).unwrap();
    lends.insert(Segment { range, writable, delta, private: None });
}

/// The push constants of `saxpy`: `y[i] += a * x[i]` for `i < n`.
fn push(x: u64, y: u64, n: u32) -> Vec<u8> {
    [&x.to_le_bytes()[..], &y.to_le_bytes(), &n.to_le_bytes(), &1.0f32.to_le_bytes()].concat()
}

/// Invocations of a workgroup, as the words of `saxpy` declare them.
fn local_size() -> u32 {
    farptr_rewrite::Reflection::of(saxpy::Kernel::words()).unwrap().local_size[0]
}

fn footprint(push: &[u8], groups: u32) -> Footprint {
    program(saxpy::Kernel::words()).footprints().of_launch(push, [groups, 1, 1])
}

/// The proof of a launch of `saxpy`.
fn proof_of(push: &[u8], groups: u32, lends: &Lends) -> Result<Proof, Unproved> {
    let program = program(saxpy::Kernel::words());
    let analysis = program.analysis();
    let roots = &control_block::roots(analysis, push, lends, false);
    Proof::new(&footprint(push, groups), Memory { analysis, roots, push, lends })
}

proptest! {
    #[test]
    fn what_is_proved_touches_lent_bytes_byte_for_byte(
        n in 0u32..300,
        groups in 1u32..5,
        lens in prop::array::uniform2(1u64..1200),
        at in prop::array::uniform2(-8i64..1300),
        writable in any::<bool>(),
    ) {
        let mut lends = Lends::default();
        let starts = [BASE, BASE + 4096];
        lend(&mut lends, starts[0], lens[0], false, Some(0));
        lend(&mut lends, starts[1], lens[1], writable, Some(0));
        let [x, y] = [0, 1].map(|which: usize| starts[which].wrapping_add_signed(at[which]));
        let push = push(x, y, n);
        let proved = proof_of(&push, groups, &lends);
        // The elements that invocations touch, by the source of the kernel.
        let touched = u64::from(n.min(groups * local_size())) * 4;
        let within = |which: usize, address: u64| {
            let bytes = address..address + touched;
            let lent = starts[which]..starts[which] + lens[which];
            address.is_multiple_of(4) && lent.start <= bytes.start && bytes.end <= lent.end
        };
        let right = touched == 0 || (within(0, x) && within(1, y) && writable);
        prop_assert_eq!(proved.is_ok(), right, "{:?}", proved);
    }
}

#[test]
fn the_reason_names_the_argument() {
    let mut lends = Lends::default();
    lend(&mut lends, BASE, 400, false, Some(0));
    lend(&mut lends, BASE + 4096, 400, true, Some(0));
    let why = |x: u64, y: u64, n: u32| {
        let push = push(x, y, n);
        match proof_of(&push, 2, &lends) {
            Err(Unproved::Argument { offset_bytes, why }) => (offset_bytes, why),
            other => panic!("{other:?}"),
        }
    };
    let y = BASE + 4096;
    assert_eq!(why(0, y, 100), (0, NotLent::Nowhere));
    assert_eq!(why(BASE + 2, y, 10), (0, NotLent::Misaligned));
    assert_eq!(why(BASE, y, 101), (0, NotLent::Outside));
    assert_eq!(why(BASE - 4 + 4, y + 4, 100), (8, NotLent::Outside));
    assert_eq!(why(BASE, BASE, 100), (8, NotLent::ReadOnly));
}

#[test]
fn the_devices_addresses_stand_for_those_of_the_host() {
    let own = push(BASE, BASE + 4096, 100);
    let pushed = |delta| {
        let mut lends = Lends::default();
        lend(&mut lends, BASE, 400, false, Some(0));
        lend(&mut lends, BASE + 4096, 400, true, delta);
        proof_of(&own, 2, &lends).unwrap().push(&own).map(|push| push.to_vec())
    };
    assert_eq!(pushed(Some(0)), Ok(own.clone()));
    let y = (BASE + 4096).wrapping_add_signed(-(1 << 20));
    assert_eq!(pushed(Some((1u64 << 20).wrapping_neg())), Ok(push(BASE, y, 100)));
    assert_eq!(pushed(Some(2)), Err(Unproved::Elsewhere { offset_bytes: 8 }), "not aligned");
    assert_eq!(pushed(None), Err(Unproved::Absent { offset_bytes: 8 }));
    let touched = footprint(&push(BASE, BASE + 4096, 100), 2);
    assert_eq!(pages(&touched), 4, "two each, where they lie on an edge");
}

#[test]
fn bytes_on_either_side_of_an_argument_are_compared_with_its_lend() {
    let mut lends = Lends::default();
    lend(&mut lends, BASE, 16, true, Some(0));
    let analysis = &Analysis::default();
    let root = Root::Push { offset_bytes: 0 };
    let spans = (-20i64..20).flat_map(|start| (1..20).map(move |len| (start, start + len)));
    for (start, stop) in spans {
        for address in BASE..=BASE + 16 {
            let push = &address.to_le_bytes();
            let memory = Memory { analysis, roots: &[], push, lends: &lends };
            let behind = Behind { root, reads: None, writes: Some((start, stop)), align_bytes: 1 };
            let at = |to: i64| address.wrapping_add_signed(to);
            let within = BASE <= at(start) && at(stop) <= BASE + 16;
            assert_eq!(lent(&behind, memory).is_ok(), within, "{start}..{stop} at {address:x}");
        }
    }
}

#[test]
fn memory_is_at_one_address_if_that_is_known_of_all_lends() {
    let all = [None, Some(false), Some(true)];
    for (x, y) in all.into_iter().flat_map(|x| all.map(|y| (x, y))) {
        let mut lends = Lends::default();
        for (start, private) in [(BASE, x), (BASE + 4096, y)] {
            lend(&mut lends, start, 400, true, Some(0));
            private.into_iter().for_each(|known| lends.note_private(VirtAddr::new(start), known));
        }
        let proof = proof_of(&push(BASE, BASE + 4096, 100), 2, &lends).unwrap();
        assert_eq!(proof.is_private(), (x, y) == (Some(true), Some(true)), "{x:?} {y:?}");
    }
}

const LIMITS: Limits = Limits {
    loop_limit: u32::MAX,
    cut_after: None,
    passes_per_second: 1_000_000,
    is_processor: true,
    allowed: Duration::from_secs(60),
};

const SIZE: Size = Size { groups: [10, 1, 1], local_size: [64, 1, 1], operations: 50, pages: 0 };

/// What is known of a launch, but for how often its loops run.
fn runs(loop_runs: Option<u64>) -> Footprint {
    let kernel = program(dot::Kernel::words());
    let mut known = kernel.footprints().of_launch(&[0; 64], [10, 1, 1]);
    known.loop_runs = loop_runs;
    known.lockstep_runs = loop_runs;
    known
}

#[test]
fn loops_that_the_driver_or_the_launch_would_end_are_not_proved_to_end() {
    let proved = |loop_runs, limits: &Limits| ends(&runs(Some(loop_runs)), &SIZE, limits).map(drop);
    assert_eq!(ends(&runs(None), &SIZE, &LIMITS), Err(Unproved::Loops));
    assert_eq!(proved(0, &LIMITS), Ok(()));
    let cut = Limits { cut_after: Some(65_535), ..LIMITS };
    let limit = |runs, limit| Err(Unproved::LoopLimit { runs, limit });
    let small = Size { groups: [1, 1, 1], local_size: [16, 1, 1], operations: 1, pages: 0 };
    let alone = |loop_runs, limits: &Limits| ends(&runs(Some(loop_runs)), &small, limits).map(drop);
    assert_eq!(alone(65_533, &cut), Ok(()));
    assert_eq!(alone(65_534, &cut), limit(65_534, 65_534));
    let uneven = Size { local_size: [24, 1, 1], ..small };
    assert_eq!(ends(&runs(Some(2)), &uneven, &cut), Err(Unproved::IdleLanes));
    assert!(ends(&runs(Some(2)), &uneven, &LIMITS).is_ok());
    assert_eq!(alone(99, &Limits { loop_limit: 100, ..cut }), Ok(()));
    assert_eq!(alone(100, &Limits { loop_limit: 100, ..cut }), limit(100, 100));
}

#[test]
fn launches_that_could_take_longer_than_they_may_are_not_proved_to_end() {
    let proved =
        |loop_runs, size: &Size, limits: &Limits| ends(&runs(Some(loop_runs)), size, limits);
    // 640 invocations, 50 instructions for each of 1000 runs, and 50 more.
    let most = Duration::from_nanos(640 * 50 * 1001 * 1000);
    let short = Limits { allowed: most, ..LIMITS };
    assert_eq!(proved(1000, &SIZE, &short), Ok(most));
    let allowed = most.saturating_sub(Duration::from_nanos(1));
    let refused = Err(Unproved::Time { most, allowed });
    assert_eq!(proved(1000, &SIZE, &Limits { allowed, ..LIMITS }), refused);
    let huge =
        Size { groups: [u32::MAX; 3], local_size: [1024; 3], operations: u64::MAX, pages: 1 };
    assert!(matches!(proved(0, &huge, &LIMITS), Err(Unproved::Time { .. })));
    // A page of a file may have to come from a disk; a card reads memory of the host slowly.
    let pages = Size { pages: 6001, ..SIZE };
    assert!(matches!(proved(0, &pages, &LIMITS), Err(Unproved::Time { .. })));
    let fast = Limits { passes_per_second: 1_000_000_000, allowed: short.allowed, ..LIMITS };
    assert_eq!(proved(1000, &SIZE, &fast), Ok(most / 1000));
    let card = Limits { is_processor: false, ..fast };
    assert!(matches!(proved(1000, &SIZE, &card), Err(Unproved::Time { .. })));
    let unmeasured = Limits { passes_per_second: 0, ..LIMITS };
    assert!(matches!(proved(1, &SIZE, &unmeasured), Err(Unproved::Time { .. })));
}
