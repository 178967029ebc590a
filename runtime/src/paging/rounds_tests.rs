use super::*;
use crate::stats::steps;
use crate::{
    paging::{
        lend_pages::pages_of,
        reach::Reach,
        soft::{Home, Launch, Op, Soft, Words, access_of, interpret},
    },
    test_hooks::ServeFaults,
};
use farptr_hmm::{VaRange, VirtAddr};
use farptr_rewrite::Effects;
use proptest::prelude::*;
use std::convert::Infallible;

const HOME: u64 = 0x10_0000;

/// A lend of a test: where it starts in home, its length in words, how it is lent.
#[derive(Clone, Copy, Debug)]
struct Lent {
    start: u64,
    words: u64,
    writable: bool,
    run: bool,
}

impl Lent {
    fn range(self) -> VaRange {
        VaRange::from_len(VirtAddr::new(self.start), self.words * 8).unwrap()
    }
}

fn plan(replay: Replay) -> Plan {
    Plan { max_rounds: 100_000, ..Plan::unlimited(replay) }
}

/// Lends on a device, ready for launches.
fn device(home: Home, lends: &[Lent], programs: Vec<Vec<Op>>) -> (Launch, Pages) {
    let (mut device, mut pages) = (Soft::new(home, programs), Pages::default());
    for lent in lends {
        let count = pages_of(lent.range()) as u64;
        let frames = lent.run.then(|| device.allocate(count * PAGE_BYTES).unwrap());
        let table = device.allocate(count * 8).unwrap();
        pages.add(lent.range(), lent.writable, frames, table);
    }
    (Launch::new(device, &pages), pages)
}

fn home(bytes: usize) -> Home {
    let fill = |at: usize| (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7];
    Home { start: HOME, bytes: (0..bytes).map(fill).collect() }
}

/// One lend of whole pages, zeroed.
fn one_lend(pages: u64, programs: Vec<Vec<Op>>) -> (Launch, Pages, Lent) {
    let bytes = usize::try_from(pages * PAGE_BYTES).unwrap();
    let lent = Lent { start: HOME, words: pages * 512, writable: true, run: true };
    let home = Home { start: HOME, bytes: vec![0; bytes] };
    let (launch, pages) = device(home, &[lent], programs);
    (launch, pages, lent)
}

fn go(
    launch: &mut Launch,
    pages: &mut Pages,
    plan: Plan,
) -> (Result<(), Ended<Infallible>>, Costs) {
    super::launch(launch, pages, None, plan)
}

fn finish(launch: &mut Launch, pages: &mut Pages) {
    let dirty = pages.dirty(&Reach::All);
    write_back(&mut launch.device, pages, &dirty).unwrap();
}

/// Lends with gaps between them, some sharing a page with the next.
fn lends() -> impl Strategy<Value = Vec<Lent>> {
    let lend = (0..700u64, 1..1500u64, any::<bool>(), any::<bool>());
    let few = prop::collection::vec(lend.clone(), 1..6);
    let small =
        lend.prop_map(|(gap, words, writable, run)| (gap % 40, words % 90 + 1, writable, run));
    let many = prop::collection::vec(small, 20..60);
    prop_oneof![3 => few, 1 => many].prop_map(|parts| {
        let mut next = HOME;
        let place = |(gap, words, writable, run): (u64, u64, bool, bool)| {
            let lent = Lent { start: next + gap * 8, words, writable, run };
            next = lent.start + words * 8;
            lent
        };
        parts.into_iter().map(place).collect()
    })
}

fn op(lends: &[Lent]) -> BoxedStrategy<Op> {
    let any_lend = prop::sample::select(lends.to_vec());
    let registers = (0..8usize, 0..8usize, 0..8usize);
    let load = (any_lend, registers.clone()).prop_map(|(lend, (to, index, _))| Op::Load {
        to,
        base: lend.start,
        index,
        count: lend.words,
    });
    let set = (0..8usize, 0..5000u64).prop_map(|(to, value)| Op::Set { to, value });
    let mix = registers.clone().prop_map(|(to, from, _)| Op::Mix { to, from });
    let guard = (0..8usize).prop_map(|register| Op::Guard { register });
    let writable: Vec<Lent> = lends.iter().copied().filter(|lend| lend.writable).collect();
    if writable.is_empty() {
        return prop_oneof![4 => load, 3 => set, 2 => mix, 1 => guard].boxed();
    }
    let writable = prop::sample::select(writable);
    let write = (writable, registers, any::<bool>()).prop_map(|(lend, (a, b, index), atomic)| {
        let (base, count) = (lend.start, lend.words);
        match atomic {
            true => Op::Add { value: a, old: b, base, index, count },
            false => Op::Store { from: a, base, index, count },
        }
    });
    prop_oneof![4 => load, 4 => write, 3 => set, 2 => mix, 1 => guard].boxed()
}

/// The lends that programs without pointers write to.
fn written(lends: &[Lent], programs: &[Vec<Op>]) -> Reach {
    let base = |op: &Op| match *op {
        Op::Store { base, .. } | Op::Add { base, .. } => Some(base),
        _ => None,
    };
    let bases: Vec<u64> = programs.iter().flatten().filter_map(base).collect();
    Reach::these((0..lends.len()).filter(|&lend| bases.contains(&lends[lend].start)))
}

type Launches = Vec<Vec<Vec<Op>>>;

fn cases() -> impl Strategy<Value = (Vec<Lent>, Launches, Option<(u64, usize)>)> {
    lends().prop_flat_map(|lends| {
        let program = prop::collection::vec(op(&lends), 1..24);
        let launch = prop::collection::vec(program, 1..12);
        let launches = prop::collection::vec(launch, 1..4);
        (Just(lends), launches, prop::option::of((any::<u64>(), 1..4usize)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Random programs on random lends: every byte, lent or not, is what one plain run leaves.
    #[test]
    fn rounds_give_the_bytes_of_an_uninterrupted_run(
        (lends, launches, order) in cases(), capacity in 0..8usize, writes_back in any::<bool>(),
        knows_writes in any::<bool>()
    ) {
        let end = lends.last().map_or(HOME, |last| last.start + last.words * 8);
        let bytes = usize::try_from(end - HOME).unwrap().next_multiple_of(4096);
        let mut oracle = home(bytes);
        let (mut launch, mut pages) = device(home(bytes), &lends, Vec::new());
        launch.device.capacity = capacity;
        for programs in launches {
            for program in &programs {
                interpret(program, &mut oracle);
            }
            let writes = if knows_writes { written(&lends, &programs) } else { Reach::All };
            launch.device.programs = programs;
            let serve_faults =
                order.map(|(seed, most_per_round)| ServeFaults { seed, most_per_round });
            let plan = Plan { serve_faults, writes, ..plan(Replay::Undo) };
            let (result, costs) = go(&mut launch, &mut pages, plan);
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(costs.rounds, costs.undone + 1);
            prop_assert!(costs.served >= costs.undone, "a page for each round");
            if writes_back {
                finish(&mut launch, &mut pages);
                prop_assert!(launch.device.home.bytes == oracle.bytes);
            }
        }
        finish(&mut launch, &mut pages);
        prop_assert!(launch.device.home.bytes == oracle.bytes);
    }
}

#[test]
fn a_second_launch_on_the_same_pages_takes_one_round_and_one_pass_home() {
    let add = |word: u64| {
        vec![
            Op::Set { to: 0, value: word },
            Op::Set { to: 1, value: 1 },
            Op::Add { value: 1, old: 2, base: HOME, index: 0, count: 512 * 8 },
        ]
    };
    let (mut launch, mut pages, _) = one_lend(8, (0..8).map(|page| add(page * 512)).collect());
    let (result, costs) = go(&mut launch, &mut pages, plan(Replay::Undo));
    assert_eq!((result, costs.rounds, costs.bytes_home), (Ok(()), 2, 0));
    let (result, costs) = go(&mut launch, &mut pages, plan(Replay::Undo));
    assert_eq!((result, costs.rounds, costs.bytes_home), (Ok(()), 1, 8 * PAGE_BYTES));
    // Nothing has to be home first where nothing will be undone.
    let (result, costs) = go(&mut launch, &mut pages, plan(Replay::Overwrite));
    assert_eq!((result, costs.rounds, costs.bytes_home), (Ok(()), 1, 0));
    finish(&mut launch, &mut pages);
    assert!((0..8).all(|page| launch.device.home.load(HOME + page * PAGE_BYTES, false) == 3));
}

#[test]
fn a_launch_brings_home_what_it_may_write_alone() {
    let lends = [0, 4].map(|page| Lent {
        start: HOME + page * PAGE_BYTES,
        words: 4 * 512,
        writable: true,
        run: true,
    });
    let add = |lend: &Lent| {
        let Lent { start: base, words: count, .. } = *lend;
        vec![Op::Set { to: 1, value: 1 }, Op::Add { value: 1, old: 2, base, index: 0, count }]
    };
    let zeroes = Home { start: HOME, bytes: vec![0; 8 * PAGE_BYTES as usize] };
    let (mut launch, mut pages) = device(zeroes, &lends, Vec::new());
    let mut costs_of = |lend: usize| {
        launch.device.programs = vec![add(&lends[lend])];
        let plan = Plan { writes: Reach::these([lend]), ..plan(Replay::Undo) };
        let (result, costs) = go(&mut launch, &mut pages, plan);
        assert_eq!(result, Ok(()));
        (costs.rounds, costs.bytes_in, costs.bytes_home)
    };
    assert_eq!(costs_of(0), (2, PAGE_BYTES, 0));
    assert_eq!(costs_of(1), (2, PAGE_BYTES, 0), "the other page stays newer");
    assert_eq!(costs_of(1), (1, 0, PAGE_BYTES));
    assert_eq!(costs_of(0), (1, 0, PAGE_BYTES));
    finish(&mut launch, &mut pages);
    assert_eq!(lends.map(|lend| launch.device.home.load(lend.start, false)), [2, 2]);
}

#[test]
fn overwriting_kernels_are_exact_without_undo() {
    // y[i] = mix(x[i]), on lends that share a page.
    let x = Lent { start: HOME + 8, words: 1300, writable: false, run: true };
    let y = Lent { start: x.start + x.words * 8, words: 1300, writable: true, run: false };
    let program = |word: u64| {
        vec![
            Op::Set { to: 0, value: word },
            Op::Load { to: 1, base: x.start, index: 0, count: x.words },
            Op::Mix { to: 1, from: 0 },
            Op::Store { from: 1, base: y.start, index: 0, count: y.words },
        ]
    };
    let programs: Vec<_> = (0..1300).map(program).collect();
    let mut oracle = home(40_960);
    programs.iter().for_each(|program| interpret(program, &mut oracle));
    let (mut launch, mut pages) = device(home(40_960), &[x, y], programs);
    let (result, costs) = go(&mut launch, &mut pages, plan(Replay::Overwrite));
    assert_eq!(result, Ok(()));
    assert_eq!(costs.rounds, 3, "x, y, and one that counts");
    assert_eq!(costs.bytes_in, 2600 * 8, "each byte once");
    finish(&mut launch, &mut pages);
    assert!(launch.device.home.bytes == oracle.bytes);
}

#[test]
fn a_wild_address_ends_the_launch_and_leaves_memory_alone() {
    let wild = vec![
        Op::Set { to: 0, value: 0 },
        Op::Set { to: 1, value: 7 },
        Op::Store { from: 1, base: HOME, index: 0, count: 1 },
        Op::Store { from: 1, base: HOME + 4 * PAGE_BYTES, index: 0, count: 1 },
    ];
    let (mut launch, mut pages, _) = one_lend(4, vec![wild]);
    let (result, costs) = go(&mut launch, &mut pages, plan(Replay::Undo));
    let Err(Ended::Fault(fault, None)) = result else { panic!("{result:?}") };
    assert_eq!(access_of(&fault), (HOME + 4 * PAGE_BYTES, true));
    assert_eq!(costs.rounds, 2, "the page first, then the fault");
    finish(&mut launch, &mut pages);
    assert!(launch.device.home.bytes.iter().all(|&byte| byte == 0));
    // Without undo the launch leaves what it wrote, unless it is a transaction.
    for transactional in [true, false] {
        let plan = Plan { transactional, ..plan(Replay::Overwrite) };
        let (result, _) = go(&mut launch, &mut pages, plan);
        assert!(matches!(result, Err(Ended::Fault(..))));
        finish(&mut launch, &mut pages);
        assert_eq!(launch.device.home.load(HOME, false), if transactional { 0 } else { 7 });
    }
}

#[test]
fn writing_what_is_lent_for_reading_is_no_missing_page() {
    let lent = Lent { start: HOME, words: 512, writable: false, run: true };
    let store = vec![Op::Store { from: 0, base: HOME, index: 0, count: 1 }];
    let (mut launch, mut pages) = device(home(4096), &[lent], vec![store]);
    let (result, costs) = go(&mut launch, &mut pages, plan(Replay::Undo));
    let Err(Ended::Fault(fault, None)) = result else { panic!("{result:?}") };
    assert!(access_of(&fault).1, "{fault:?}");
    assert_eq!((costs.rounds, costs.served), (1, 0));
}

#[test]
fn garbage_after_a_miss_is_not_believed() {
    // The first invocation stores what it loaded; the second follows it. In the first round that
    // is a zero plus an offset: a wild address that no real run ever sees.
    let node = HOME + 2 * PAGE_BYTES;
    let first = vec![
        Op::Load { to: 0, base: HOME, index: 7, count: 1 },
        Op::Set { to: 1, value: 24 },
        Op::Store { from: 0, base: HOME + PAGE_BYTES, index: 7, count: 1 },
        Op::Guard { register: 0 },
    ];
    let second = vec![
        Op::Load { to: 0, base: HOME + PAGE_BYTES, index: 7, count: 1 },
        Op::Follow { register: 0, offset: 0 },
        Op::Bump { register: 0, offset: 0 },
    ];
    let (mut launch, mut pages, _) = one_lend(4, vec![first, second]);
    launch.device.home.store(HOME, node);
    launch.device.home.store(HOME + PAGE_BYTES, 0x40);
    launch.device.home.store(node, node + 64);
    let (result, _) = go(&mut launch, &mut pages, plan(Replay::Undo));
    assert_eq!(result, Ok(()));
    finish(&mut launch, &mut pages);
    assert_eq!(launch.device.home.load(node + 64, false), 1);
}

#[test]
fn limits_end_a_launch() {
    let step = |word: u64| {
        vec![
            Op::Set { to: 0, value: word * 512 },
            Op::Set { to: 1, value: 1 },
            Op::Add { value: 1, old: 2, base: HOME, index: 0, count: 512 * 64 },
        ]
    };
    let fresh = || one_lend(64, (0..64).map(step).collect());
    let few = ServeFaults { seed: 1, most_per_round: 1 };
    let base = Plan { serve_faults: Some(few), ..plan(Replay::Undo) };
    let limits: [(Plan, Option<u32>, Ended<Infallible>, u64); 3] = [
        (Plan { max_rounds: 5, ..base.clone() }, None, Ended::TooManyRounds, 5),
        (Plan { max_faults: 64 + 63, ..base.clone() }, None, Ended::TooManyFaults, 3),
        (base.clone(), Some(4), Ended::Deadline, 4),
    ];
    for (plan, patience, expected, rounds) in limits {
        let (mut launch, mut pages, _) = fresh();
        launch.patience = patience;
        let (result, costs) = go(&mut launch, &mut pages, plan);
        assert_eq!((result, costs.rounds), (Err(expected), rounds));
        finish(&mut launch, &mut pages);
        assert!(launch.device.home.bytes.iter().all(|&byte| byte == 0));
    }
    let (mut launch, mut pages, _) = fresh();
    launch.patience = Some(1000);
    let (result, costs) = go(&mut launch, &mut pages, base);
    assert_eq!((result, costs.rounds), (Ok(()), 65), "one page per round, and one that counts");
}

#[test]
fn loops_cut_short_end_a_launch_only_when_nothing_was_missing() {
    let load = vec![Op::Load { to: 0, base: HOME, index: 0, count: 1 }];
    for (cut, exhausted, expected) in [(1, 1, Ended::Cut), (0, 2, Ended::Exhausted)] {
        let (mut launch, mut pages, _) = one_lend(1, vec![load.clone()]);
        (launch.device.cut, launch.device.exhausted) = (cut, exhausted);
        let (result, costs) = go(&mut launch, &mut pages, plan(Replay::ReadOnly));
        assert_eq!((result, costs.rounds), (Err(expected), 2));
    }
}

#[test]
fn strategies_follow_from_effects() {
    let mut effects = Effects::default();
    assert_eq!(Replay::of(&effects), Replay::ReadOnly);
    effects.atomics = true;
    assert_eq!(Replay::of(&effects), Replay::Undo);
    effects.writes = true;
    assert_eq!(Replay::of(&effects), Replay::Undo);
    (effects.atomics, effects.overwrites) = (false, true);
    assert_eq!(Replay::of(&effects), Replay::Overwrite);
    assert_eq!(Replay::Undo.to_string(), "a round with faults is undone from host memory");
}

/// The steps of the host for a launch on a page that it has written before, and for bringing the
/// page home, beside so many other lends, in a lend of so many pages.
fn steps_beside(others: usize, pages: u64) -> (usize, usize) {
    let far = HOME + pages * PAGE_BYTES;
    let other = |number: usize| Lent {
        start: far + number as u64 * 64,
        words: 4,
        writable: true,
        run: false,
    };
    let mut lends = vec![Lent { start: HOME, words: pages * 512, writable: true, run: false }];
    lends.extend((0..others).map(other));
    let add = |lend: &Lent| {
        let Lent { start: base, words: count, .. } = *lend;
        vec![Op::Set { to: 1, value: 1 }, Op::Add { value: 1, old: 2, base, index: 0, count }]
    };
    let bytes = usize::try_from(pages * PAGE_BYTES).unwrap() + others * 64;
    let zeroes = Home { start: HOME, bytes: vec![0; bytes] };
    let (mut launch, mut pages) = device(zeroes, &lends, Vec::new());
    // All lends have pages that are newer than home, as in the middle of a scope.
    launch.device.programs = lends.iter().map(add).collect();
    let (result, _) = go(&mut launch, &mut pages, plan(Replay::Undo));
    assert_eq!(result, Ok(()));
    launch.device.programs = vec![add(&lends[0])];
    steps::take();
    let plan = Plan { writes: Reach::these([0]), written: vec![0], ..plan(Replay::Undo) };
    let (result, costs) = go(&mut launch, &mut pages, plan);
    assert_eq!((result, costs.rounds, costs.bytes_home), (Ok(()), 1, PAGE_BYTES));
    let launched = steps::take();
    let dirty = pages.dirty_among(0, 0..lends[0].words as usize / 512);
    assert_eq!(write_back(&mut launch.device, &mut pages, &dirty), Ok(PAGE_BYTES));
    let brought = steps::take();
    finish(&mut launch, &mut pages);
    assert!(lends[1..].iter().all(|lend| launch.device.home.load(lend.start, false) == 1));
    assert_eq!(launch.device.home.load(HOME, false), 2);
    (launched, brought)
}

#[test]
fn a_launch_takes_no_steps_for_lends_and_pages_that_it_does_not_reach() {
    let (launched, brought) = steps_beside(2, 2);
    assert!(0 < launched && launched < 50 && brought < 20, "{launched}, {brought}");
    assert_eq!(steps_beside(2000, 2), (launched, brought));
    // A level of bits more for each 64 times as many pages.
    let (large_launched, large_brought) = steps_beside(2, 4096);
    assert!(large_launched < 2 * launched && large_brought < 2 * brought + 2);
}
