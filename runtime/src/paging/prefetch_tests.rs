use super::*;
use crate::{
    paging::{
        lend_pages::pages_of,
        plan::{Costs, Plan, Replay},
        reach::Reach,
        rounds,
        soft::{Home, Launch, Op, Soft, Words},
    },
    residency::memory::Memory,
};
use farptr_hmm::{VaRange, VirtAddr};

const HOME: u64 = 0x4000_0000;

/// Numbers from 0 to below `count`, each once, in an order without pattern.
fn scattered(count: u64) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..count).collect();
    let mut random = 1u64;
    for last in (1..numbers.len()).rev() {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        numbers.swap(last, (random >> 33) as usize % (last + 1));
    }
    numbers
}

fn device(pages: u64, programs: Vec<Vec<Op>>) -> (Launch, Pages) {
    let bytes = usize::try_from(pages * PAGE_BYTES).unwrap();
    let mut device = Soft::new(Home { start: HOME, bytes: vec![0; bytes] }, programs);
    let mut lends = Pages::default();
    let range = VaRange::from_len(VirtAddr::new(HOME), pages * PAGE_BYTES).unwrap();
    assert_eq!(pages_of(range) as u64, pages);
    let table = device.allocate(pages * 8).unwrap();
    lends.add(range, true, None, table);
    (Launch::new(device, &lends), lends)
}

fn run(launch: &mut Launch, pages: &mut Pages, replay: Replay, follows: bool) -> Costs {
    let plan = Plan { follows, max_rounds: 100_000, ..Plan::unlimited(replay) };
    let (result, costs) = rounds::launch(launch, pages, None, plan);
    assert_eq!(result, Ok(()));
    costs
}

/// A list through all pages in a scattered order, one node per page, and a kernel that adds one to
/// each node. With `visible`, the nodes hold addresses; else the kernel computes them.
fn chain(count: u64, visible: bool) -> (Launch, Pages, Vec<u64>) {
    let order = scattered(count);
    let node = |page: u64| HOME + page * PAGE_BYTES + page % 100 * 16;
    let hidden = 0x4000_0000_0000;
    let offset = if visible { 0 } else { hidden };
    let walk = vec![
        Op::Set { to: 0, value: node(order[0]) + offset },
        Op::Bump { register: 0, offset: 8u64.wrapping_sub(offset) },
        Op::Follow { register: 0, offset: 0u64.wrapping_sub(offset) },
        Op::Again { register: 0 },
    ];
    let (mut launch, pages) = device(count, vec![walk]);
    for pair in order.windows(2) {
        launch.device.home.store(node(pair[0]), node(pair[1]) + offset);
    }
    (launch, pages, order.into_iter().map(node).collect())
}

#[test]
fn a_chain_through_scattered_pages_takes_few_rounds() {
    let count = 10_000;
    for (visible, follows) in [(true, true), (false, true), (false, false)] {
        let (mut launch, mut pages, nodes) = chain(count, visible);
        let costs = run(&mut launch, &mut pages, Replay::Undo, follows);
        assert!(costs.rounds <= count / 64, "{costs:?} for {visible}");
        let dirty = pages.dirty(&Reach::All);
        rounds::write_back(&mut launch.device, &mut pages, &dirty).unwrap();
        assert!(nodes.iter().all(|&node| launch.device.home.load(node + 8, false) == 1));
    }
}

#[test]
fn scattered_pages_bring_nothing_extra() {
    // 1 % of 1 GiB.
    let count = 1 << 18;
    let touched: Vec<u64> = scattered(count).into_iter().take(2621).collect();
    let gather = |&page: &u64| {
        vec![
            Op::Set { to: 0, value: page },
            Op::Mix { to: 1, from: 0 },
            Op::Load { to: 1, base: HOME + page * PAGE_BYTES, index: 7, count: 1 },
        ]
    };
    let (mut launch, mut pages) = device(count, touched.iter().map(gather).collect());
    let costs = run(&mut launch, &mut pages, Replay::ReadOnly, true);
    assert_eq!((costs.rounds, costs.served), (2, 2621));
    assert_eq!(costs.bytes_in, 2621 * PAGE_BYTES);
}

#[test]
fn one_invocation_that_streams_is_ahead_of_its_faults() {
    let stream = vec![
        Op::Set { to: 0, value: HOME },
        Op::Follow { register: 0, offset: 0 },
        Op::Again { register: 0 },
    ];
    // A word of each page says where the next page is, in a form that cannot be followed at home.
    let (mut launch, mut pages) = device(4096, vec![stream]);
    for page in 0..4095 {
        let next = HOME + (page + 1) * PAGE_BYTES;
        launch.device.home.store(HOME + page * PAGE_BYTES, next);
    }
    let costs = run(&mut launch, &mut pages, Replay::ReadOnly, false);
    assert!(costs.rounds <= 4096 / 64, "{costs:?}");
}

#[test]
fn blocks_are_completed_where_many_of_their_pages_are_missed() {
    let (_, pages) = device(200, Vec::new());
    let missing = |page| Missing { lend: 0, page, write: false };
    let few: Vec<Missing> = (64..64 + DENSE - 1).map(missing).collect();
    assert_eq!(widen(&pages, &few, 0, None), few);
    let many: Vec<Missing> = (64..64 + DENSE).map(missing).collect();
    let block: Vec<Missing> = (64..128).map(missing).collect();
    assert_eq!(widen(&pages, &many, 0, None), block);
    // The last block is short.
    let tail: Vec<Missing> = (192..200).map(missing).collect();
    assert_eq!(widen(&pages, &tail, PATIENCE, None), tail);
}

#[test]
fn pages_of_a_lend_that_is_written_come_for_writing() {
    let (_, mut pages) = device(8, Vec::new());
    let read = Missing { lend: 0, page: 1, write: false };
    assert_eq!(widen(&pages, &[read], 0, None), [read]);
    pages.note_missed(&[Missing { lend: 0, page: 0, write: true }]);
    assert_eq!(widen(&pages, &[read], 0, None), [Missing { write: true, ..read }]);
}
