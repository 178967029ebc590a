use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;

use super::*;
use crate::addr::{PageSize, VaRange};
use crate::device::{Hold, Owner};
use crate::host::PageAccess;
use crate::notifier::{Invalidate, Invalidation, Notifier, SeqSet, WouldBlock};
use crate::testing::model::{Area, Change, Injection, Model, Page, Place};
use crate::walk::pfn::{Pfn, Request};
use crate::walk::range::RequestRun;

const PAGES: usize = 24;

struct NoDevice;

impl Invalidate for NoDevice {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        Ok(invalidation.set_seq())
    }
}

fn watch(model: &Model, owner: Owner) -> Notifier {
    let whole = model.whole();
    model.notifiers.register(whole, Some(owner), Arc::new(NoDevice)).expect("not empty")
}

fn model(changes: &[Change]) -> Model {
    let model = Model::new(PAGES);
    changes.iter().for_each(|change| model.change(change));
    model
}

/// Walks `pages` with one request for all, and returns the answers page by page.
fn fault(model: &Model, pages: Range<usize>, request: Request) -> Result<Vec<Pfn>, FaultError> {
    let notifier = watch(model, Owner::new());
    let mut range = HmmRange::new(model.range(pages), &notifier)?;
    range.default_flags = request;
    range_fault(model, &mut range)?;
    Ok(listed(&range))
}

fn listed(range: &HmmRange<'_>) -> Vec<Pfn> {
    range.pfns().pages().map(|(_, pfn)| pfn).collect()
}

const READ: Request = Request::FAULT;
const WRITE: Request = Request::ALL;

#[test]
fn one_call_faults_in_a_whole_run() {
    let model = model(&[Change::Map(0..8, Area::RW)]);
    let pfns = fault(&model, 0..8, WRITE).unwrap();
    assert!(pfns.iter().all(|pfn| pfn.is_writable()));
    assert_eq!(model.faults(), 1);
}

#[test]
fn exactly_the_wanted_pages_are_faulted_in() {
    let model = model(&[Change::Map(0..8, Area::RW)]);
    let notifier = watch(&model, Owner::new());
    let mut range = HmmRange::new(model.range(0..8), &notifier).unwrap();
    range.pfn_flags_mask = Request::ALL;
    let wanted = [(1, WRITE), (2, READ), (5, READ), (6, Request::WRITE)];
    let wanted =
        wanted.map(|(page, request)| RequestRun { range: model.range(page..page + 1), request });
    range.set_requests(wanted).unwrap();
    range_fault(&model, &mut range).unwrap();
    let present = |page: &Page| matches!(page.place, Place::Present { .. });
    let places: Vec<bool> = model.all().iter().take(8).map(present).collect();
    assert_eq!(places, [false, true, true, false, false, true, false, false]);
    assert_eq!(model.faults(), 3, "one for each run of one kind");
}

#[test]
fn permission_is_judged_before_anything_is_faulted_in() {
    let model = model(&[Change::Map(0..4, Area::RW), Change::Map(4..8, Area::RO)]);
    let before = model.all();
    let error = fault(&model, 0..8, WRITE).unwrap_err();
    let at = model.range(4..5).start();
    assert!(matches!(error, FaultError::Permission { addr } if addr == at), "{error:?}");
    assert_eq!(model.all(), before);
    assert_eq!(fault(&model, 0..8, READ).unwrap().len(), 8);
}

#[test]
fn what_cannot_be_read_is_a_fault_or_an_error_entry() {
    for area in [None, Some(Area::NONE), Some(Area::WRITE_ONLY), Some(Area::SPECIAL)] {
        let model = model(&[Change::Map(0..8, Area::RW)]);
        model.change(&area.map_or(Change::Unmap(2..4), |area| Change::Protect(2..4, area)));
        for request in [READ, WRITE] {
            let error = fault(&model, 0..8, request).unwrap_err();
            let at = model.range(2..3).start();
            assert!(matches!(error, FaultError::Fault { addr } if addr == at), "{error:?}");
        }
        let pfns = fault(&model, 0..8, Request::NONE).unwrap();
        assert!(pfns[2..4].iter().all(|&pfn| pfn == Pfn::ERROR), "{area:?}");
    }
}

#[test]
fn poison_names_its_page() {
    let model = model(&[Change::Map(0..8, Area::RW), Change::Poison(5)]);
    let error = fault(&model, 0..8, READ).unwrap_err();
    assert!(matches!(error, FaultError::Fault { addr } if addr == model.range(5..6).start()));
    assert_eq!(fault(&model, 0..8, Request::NONE).unwrap()[5], Pfn::NONE);
}

#[test]
fn want_of_memory_names_its_page() {
    let model = model(&[Change::Map(0..8, Area::RW), Change::Touch(0..3, PageAccess::Read)]);
    // Areas, pages, table: the fourth step is the fault, and then three to find out why it failed.
    // Twice an area may have gone and come back.
    let no_memory = |steps: &[usize]| steps.iter().map(|&at| (at, Injection::NoMemory)).collect();
    let twin = model.twin();
    twin.inject(no_memory(&[3, 10]));
    assert!(fault(&twin, 0..8, READ).unwrap().iter().all(|pfn| pfn.is_valid()));
    assert_eq!(twin.faults(), 3);
    model.inject(no_memory(&[3, 10, 17]));
    let error = fault(&model, 0..8, READ).unwrap_err();
    assert!(matches!(error, FaultError::NoMemory { addr } if addr == model.range(3..4).start()));
}

#[test]
fn an_area_that_goes_is_no_want_of_memory() {
    let model = model(&[Change::Map(0..8, Area::RW)]);
    model.inject(vec![(3, Injection::Quietly(Change::Unmap(6..8)))]);
    let error = fault(&model, 0..8, READ).unwrap_err();
    assert!(matches!(error, FaultError::Fault { addr } if addr == model.range(6..7).start()));
}

#[test]
fn an_interrupted_fault_is_tried_again() {
    let model = model(&[Change::Map(0..8, Area::RW)]);
    model.inject(vec![(3, Injection::Interrupt), (7, Injection::Interrupt)]);
    assert!(fault(&model, 0..8, WRITE).unwrap().iter().all(|pfn| pfn.is_writable()));
    assert_eq!(model.faults(), 3);
}

#[test]
fn a_page_that_is_reclaimed_in_between_is_faulted_in_again() {
    let model = model(&[Change::Map(0..4, Area::RW)]);
    model.inject(vec![(4, Injection::Quietly(Change::SwapOut(1..3)))]);
    assert!(fault(&model, 0..4, READ).unwrap().iter().all(|pfn| pfn.is_valid()));
    assert_eq!(model.faults(), 2);
}

#[test]
fn pages_that_never_stay_do_not_hold_the_walk_for_ever() {
    let model = model(&[Change::Map(0..4, Area::RW)]);
    let thief = |step| (step, Injection::Quietly(Change::SwapOut(0..4)));
    model.inject((0..1000).map(thief).collect());
    assert!(matches!(fault(&model, 0..4, READ), Err(FaultError::Busy { .. })));
}

#[test]
fn an_invalidation_ends_the_walk_at_once() {
    let model = model(&[Change::Map(0..8, Area::RW)]);
    model.inject(vec![(2, Injection::Change(Change::Drop(7..8)))]);
    let error = fault(&model, 0..8, READ).unwrap_err();
    assert!(matches!(error, FaultError::Busy { .. }));
    assert_eq!(model.faults(), 0, "noticed before the fault");
}

#[test]
fn pages_of_others_come_home_only_if_wanted() {
    let (mine, theirs) = (Owner::new(), Owner::new());
    let model = model(&[
        Change::Map(0..6, Area::RW),
        Change::MoveOut(0..2, mine, Hold::Private),
        Change::MoveOut(2..4, theirs, Hold::Private),
        Change::MoveOut(4..6, mine, Hold::Exclusive),
    ]);
    let notifier = watch(&model, mine);
    let mut range = HmmRange::new(model.range(0..6), &notifier).unwrap();
    snapshot(&model, &mut range).unwrap();
    let pfns = listed(&range);
    assert!(pfns[..2].iter().all(|pfn| pfn.is_device() && pfn.is_writable()));
    assert_eq!(pfns[1].number().map(|frame| frame.get()), Some(1001));
    assert_eq!(pfns[2..], [Pfn::NONE; 4]);
    assert_eq!(model.faults(), 0);

    range.default_flags = READ;
    range_fault(&model, &mut range).unwrap();
    let pfns = listed(&range);
    assert!(pfns[..2].iter().all(|pfn| pfn.is_device()));
    assert!(pfns[2..].iter().all(|pfn| pfn.is_valid() && !pfn.is_device()));
}

#[test]
fn a_range_is_made_of_whole_pages_that_are_watched() {
    let model = model(&[]);
    let notifier = watch(&model, Owner::new());
    let whole = model.whole();
    let half = VaRange::from_len(whole.start(), PageSize::host().bytes() / 2).unwrap();
    let empty = VaRange::from_len(whole.start(), 0).unwrap();
    let outside = VaRange::from_len(whole.end(), PageSize::host().bytes()).unwrap();
    for range in [half, empty, outside] {
        let error = HmmRange::new(range, &notifier).unwrap_err();
        assert!(matches!(error, FaultError::Invalid { range: named } if named == range));
    }
    let mut range = HmmRange::new(whole, &notifier).unwrap();
    let run = |pages: Range<usize>| RequestRun { range: model.range(pages), request: READ };
    assert!(range.set_requests([run(0..2), run(2..3)]).is_ok());
    assert!(range.set_requests([run(0..2), run(1..3)]).is_err());
    assert!(range.set_requests([run(4..5), run(1..3)]).is_err());
}

fn pages() -> impl Strategy<Value = Range<usize>> {
    (0..PAGES, 1usize..8).prop_map(|(start, len)| start..(start + len).min(PAGES))
}

fn area() -> impl Strategy<Value = Area> {
    select(vec![Area::RW, Area::RW, Area::RO, Area::NONE, Area::WRITE_ONLY, Area::SPECIAL])
}

fn owners() -> [Owner; 2] {
    use std::sync::OnceLock;
    static OWNERS: OnceLock<[Owner; 2]> = OnceLock::new();
    *OWNERS.get_or_init(|| [Owner::new(), Owner::new()])
}

/// The owner that walks in the properties.
fn me() -> Owner {
    owners()[0]
}

fn change() -> impl Strategy<Value = Change> {
    let access = || select(vec![PageAccess::Read, PageAccess::Write]);
    let hold = select(vec![Hold::Private, Hold::Exclusive]);
    prop_oneof![
        4 => (pages(), area()).prop_map(|(pages, area)| Change::Map(pages, area)),
        1 => pages().prop_map(Change::Unmap),
        2 => (pages(), area()).prop_map(|(pages, area)| Change::Protect(pages, area)),
        1 => pages().prop_map(Change::Drop),
        4 => (pages(), access()).prop_map(|(pages, access)| Change::Touch(pages, access)),
        1 => pages().prop_map(Change::SwapOut),
        1 => pages().prop_map(Change::Share),
        1 => (0..PAGES).prop_map(Change::Poison),
        2 => (pages(), select(owners().to_vec()), hold)
            .prop_map(|(pages, owner, hold)| Change::MoveOut(pages, owner, hold)),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 0..30)
}

fn request() -> impl Strategy<Value = Request> {
    select(vec![Request::NONE, Request::FAULT, Request::WRITE, Request::ALL])
}

/// The input of a caller: a request for each page, the mask and the default.
#[derive(Clone, Debug)]
struct Wanted {
    own: Vec<Request>,
    mask: Request,
    default: Request,
}

impl Wanted {
    fn effective(&self, page: usize) -> Request {
        self.own[page] & self.mask | self.default
    }

    /// The same wishes, put in another form.
    fn page_by_page(&self) -> Self {
        let own = (0..PAGES).map(|page| self.effective(page)).collect();
        Self { own, mask: Request::ALL, default: Request::NONE }
    }

    fn walk(&self, model: &Model, notifier: &Notifier, pages: Range<usize>) -> Answer {
        let mut range = HmmRange::new(model.range(pages.clone()), notifier).expect("valid");
        self.put(model, &mut range, pages);
        let result = range_fault(model, &mut range).map_err(|error| format!("{error:?}"));
        Answer { result, pfns: listed(&range) }
    }

    fn put(&self, model: &Model, range: &mut HmmRange<'_>, pages: Range<usize>) {
        range.default_flags = self.default;
        range.pfn_flags_mask = self.mask;
        let run = |page: usize| RequestRun {
            range: model.range(page..page + 1),
            request: self.own[page],
        };
        range.set_requests(pages.map(run)).expect("ascending");
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    result: Result<(), String>,
    pfns: Vec<Pfn>,
}

/// Mostly the usual kinds of wish, so that many walks succeed.
fn wanted() -> impl Strategy<Value = Wanted> {
    let own = prop::collection::vec(request(), PAGES);
    let mild = prop::collection::vec(select(vec![Request::NONE, Request::FAULT]), PAGES);
    prop_oneof![
        (own, request(), request()).prop_map(|(own, mask, default)| Wanted { own, mask, default }),
        mild.prop_map(|own| Wanted { own, mask: Request::ALL, default: Request::NONE }),
    ]
}

/// Tells whether a walk of this model for these wishes must fail, page by page.
fn must_fail(model: &Model, wanted: &Wanted) -> bool {
    model.all().into_iter().enumerate().any(|(page, Page { area, place })| {
        let request = wanted.effective(page);
        let readable = area.is_some_and(|area| area.read && !area.special);
        let writable = area.is_some_and(|area| area.write);
        let forbidden = !readable || request.is_write_fault() && !writable;
        request.is_fault() && (forbidden || place == Place::Poisoned)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 1000 }))]

    #[test]
    fn a_snapshot_is_the_oracle_and_has_no_effect(changes in changes()) {
        let model = model(&changes);
        let before = model.all();
        let notifier = watch(&model, me());
        let mut range = HmmRange::new(model.whole(), &notifier).unwrap();
        range.default_flags = Request::ALL;
        snapshot(&model, &mut range).unwrap();
        prop_assert_eq!(listed(&range), model.oracle(me()));
        prop_assert_eq!(model.all(), before);
        prop_assert_eq!(model.faults(), 0);
        for run in range.pfns().runs() {
            let pfn = run.first;
            prop_assert!(pfn.is_valid() || !pfn.is_writable() && !pfn.is_device());
            prop_assert!(!pfn.is_valid() || !pfn.is_error());
        }
    }

    #[test]
    fn a_walk_gives_what_was_asked_for_and_touches_nothing_else(
        changes in changes(), wanted in wanted(),
    ) {
        let model = model(&changes);
        let before = model.all();
        let fails = must_fail(&model, &wanted);
        let notifier = watch(&model, me());
        let answer = wanted.walk(&model, &notifier, 0..PAGES);
        prop_assert_eq!(answer.result.is_err(), fails, "{:?}", answer);
        // Every answer is true, also one before an error.
        let oracle = model.oracle(me());
        prop_assert_eq!(&answer.pfns[..], &oracle[..answer.pfns.len()]);
        for (page, (before, after)) in before.iter().zip(&model.all()).enumerate() {
            let request = wanted.effective(page);
            prop_assert!(before == after || request.is_fault(), "page {} was touched", page);
            if !fails {
                prop_assert!(!request.is_fault() || oracle[page].is_valid());
                prop_assert!(!request.is_write_fault() || oracle[page].is_writable());
            }
        }
    }

    #[test]
    fn only_the_effective_request_counts(changes in changes(), wanted in wanted()) {
        let (one, other) = (model(&changes), model(&changes));
        let notifiers = [watch(&one, me()), watch(&other, me())];
        let answer = wanted.walk(&one, &notifiers[0], 0..PAGES);
        let same = wanted.page_by_page().walk(&other, &notifiers[1], 0..PAGES);
        prop_assert_eq!(answer, same);
        prop_assert_eq!(one.all(), other.all());
        prop_assert_eq!(one.faults(), other.faults());
    }

    #[test]
    fn a_walk_in_two_parts_says_the_same(
        changes in changes(), wanted in wanted(), split in 1..PAGES,
    ) {
        let (one, two) = (model(&changes), model(&changes));
        let notifiers = [watch(&one, me()), watch(&two, me())];
        let whole = wanted.walk(&one, &notifiers[0], 0..PAGES);
        let mut first = wanted.walk(&two, &notifiers[1], 0..split);
        let second = wanted.walk(&two, &notifiers[1], split..PAGES);
        let both = first.result.is_ok() && second.result.is_ok();
        prop_assert_eq!(whole.result.is_ok(), both);
        if both {
            first.pfns.extend(second.pfns);
            prop_assert_eq!(whole.pfns, first.pfns);
            prop_assert_eq!(one.all(), two.all());
        }
    }

    #[test]
    fn what_is_committed_is_never_stale(
        changes in changes(),
        wanted in wanted(),
        injected in prop::collection::vec((0usize..40, injection()), 0..12),
    ) {
        let model = model(&changes);
        let notifier = watch(&model, me());
        let mut range = HmmRange::new(model.whole(), &notifier).unwrap();
        wanted.put(&model, &mut range, 0..PAGES);
        model.inject(injected);
        let result = loop {
            let result = range_fault(&model, &mut range);
            if !range.read_retry() {
                break result;
            }
            range.read_begin();
        };
        match result {
            Ok(()) => prop_assert_eq!(listed(&range), model.oracle(me())),
            Err(FaultError::Busy { .. }) => prop_assert!(false, "busy, and nothing changed"),
            Err(FaultError::NoMemory { .. }) => {}
            Err(_) => prop_assert!(must_fail(&model, &wanted)),
        }
    }
}

/// Changes by others while the walk is under way. The walker's own device is not told of changes
/// that it makes itself.
fn injection() -> impl Strategy<Value = Injection> {
    let others =
        |change: &Change| !matches!(change, Change::MoveOut(_, owner, _) if *owner == me());
    prop_oneof![
        8 => change().prop_filter("the walker's own doing", others).prop_map(Injection::Change),
        1 => Just(Injection::Interrupt),
        1 => Just(Injection::NoMemory),
    ]
}

#[test]
#[cfg_attr(miri, ignore = "draws thousands of samples")]
fn the_strategies_reach_every_place() {
    let mut seen = BTreeSet::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..200 {
        let changes = changes().new_tree(&mut runner).unwrap().current();
        let places = model(&changes).all().into_iter().map(|page| match page.place {
            Place::Held { owner, hold, .. } => format!("{} {hold:?}", owner == me()),
            place => format!("{place:?}"),
        });
        seen.extend(places);
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
}
