//! The registry against a device that notices every wrong import, in all short sequences of lends
//! and ends, in long random ones, and from several threads.

use super::*;
use proptest::prelude::*;
use std::{
    collections::BTreeSet,
    sync::{Arc, Barrier, Mutex},
};

const PAGE: u64 = 4096;

fn pages(first: u64, count: u64) -> VaRange {
    VaRange::from_len(VirtAddr::new((16 + first) * PAGE), count * PAGE).unwrap()
}

fn numbers(pages: VaRange) -> impl Iterator<Item = u64> {
    pages.start().get() / PAGE..pages.end().get() / PAGE
}

/// The pages that a device has imported.
type Imported = Arc<Mutex<BTreeSet<u64>>>;

/// An import, which gives its pages back when it is dropped.
#[derive(Debug)]
struct Fake {
    pages: VaRange,
    delta: u64,
    imported: Imported,
}

impl Drop for Fake {
    fn drop(&mut self) {
        let mut imported = self.imported.lock().unwrap();
        numbers(self.pages).for_each(|page| assert!(imported.remove(&page), "given back once"));
    }
}

#[derive(Debug)]
struct Device {
    imported: Imported,
    identity: bool,
    /// Pages of one import at most.
    limit: u64,
    /// How many imports succeed before one fails, once or for good.
    fails: Option<(u32, bool)>,
    busy: bool,
    idle: bool,
    lost: bool,
    imports: u64,
}

impl Device {
    fn new(identity: bool) -> Self {
        let imported = Imported::default();
        let (fails, limit) = (None, u64::MAX);
        Self { imported, identity, limit, fails, busy: false, idle: false, lost: false, imports: 0 }
    }

    fn refuses(&mut self) -> bool {
        let Some((left, for_good)) = &mut self.fails else { return false };
        match left.checked_sub(1) {
            Some(rest) => *left = rest,
            None if *for_good => return true,
            None => {
                self.fails = None;
                return true;
            }
        }
        false
    }
}

#[derive(Debug, PartialEq, Eq)]
enum No {
    Import,
    Busy,
}

impl Importer for Device {
    type Import = Fake;
    type Error = No;

    fn import(&mut self, all: VaRange) -> Result<Vec<(VaRange, Fake)>, No> {
        let mut done = Vec::new();
        let first = all.start().get() / PAGE - 16;
        let count = all.len_bytes() / PAGE;
        let mut at = 0;
        while at < count {
            if self.refuses() {
                return Err(No::Import);
            }
            let part = pages(first + at, self.limit.min(count - at));
            let mut imported = self.imported.lock().unwrap();
            numbers(part).for_each(|page| assert!(imported.insert(page), "imported twice"));
            drop(imported);
            self.imports += 1;
            let delta = if self.identity { 0 } else { self.imports * (1 << 32) };
            done.push((part, Fake { pages: part, delta, imported: Arc::clone(&self.imported) }));
            at += self.limit.min(count - at);
        }
        Ok(done)
    }

    fn delta(import: &Fake) -> u64 {
        import.delta
    }

    fn is_identity(&self) -> bool {
        self.identity
    }

    fn while_idle<R>(&mut self, act: impl FnOnce(&mut Self) -> R) -> Result<R, No> {
        if self.busy {
            return Err(No::Busy);
        }
        self.idle = true;
        let done = act(self);
        self.idle = false;
        Ok(done)
    }

    fn lose(&mut self) {
        assert!(self.idle);
        self.lost = true;
    }
}

/// Something that a scope does: scope, first page and count of a lend; or its end.
#[derive(Clone, Copy, Debug)]
enum Step {
    Lend(usize, u64, u64),
    End(usize),
}

/// A scope as the model has it: the pages of its lends, and of those that were imported.
#[derive(Debug, Default)]
struct Scope {
    held: Held,
    lent: BTreeSet<u64>,
    covered: BTreeSet<u64>,
}

struct Model {
    registry: Registry<Fake>,
    device: Device,
    scopes: Vec<Scope>,
}

impl Model {
    fn new(device: Device, scopes: usize) -> Self {
        let scopes = (0..scopes).map(|_| Scope::default()).collect();
        Self { registry: Registry::default(), device, scopes }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Lend(scope, first, count) => {
                let (lent, scope) = (pages(first, count), &mut self.scopes[scope]);
                scope.lent.extend(numbers(lent));
                let crosses = self.registry.reaching_out(&scope.held, lent);
                let covered = match scope.held.find(lent) {
                    Some(delta) => Ok(delta),
                    None => self.registry.cover(&mut scope.held, lent, &mut self.device),
                };
                match covered {
                    Ok(delta) => {
                        scope.covered.extend(numbers(lent));
                        for (_, live) in self.registry.among(lent) {
                            assert_eq!(live.import.delta, delta);
                        }
                    }
                    Err(Refused::Shared) => {
                        assert!(!self.device.identity && !crosses.is_empty());
                    }
                    Err(Refused::Apart) => assert!(!self.device.identity),
                    Err(Refused::Device(No::Busy)) => assert!(!crosses.is_empty()),
                    Err(Refused::Device(No::Import)) => {}
                }
            }
            Step::End(scope) => {
                self.registry.release(&mut self.scopes[scope].held);
                self.scopes[scope] = Scope::default();
            }
        }
        if !self.device.lost {
            self.check();
        }
    }

    fn check(&self) {
        let live: BTreeSet<u64> = self.registry.iter().flat_map(numbers).collect();
        assert_eq!(live, *self.device.imported.lock().unwrap(), "what the device has");
        for (start, import) in &self.registry.live {
            let holds = |scope: &&Scope| scope.held.holds(*start);
            assert_eq!(import.holders, self.scopes.iter().filter(holds).count());
            assert!(import.holders > 0);
            for scope in self.scopes.iter().filter(holds) {
                let whole = numbers(range(*start, import.end)).all(|p| scope.lent.contains(&p));
                assert!(whole, "an import lies within the lends of each holder");
            }
        }
        for scope in &self.scopes {
            let held: BTreeSet<u64> = scope.held.pages().flat_map(numbers).collect();
            assert_eq!(held, scope.covered);
            assert!(live.is_superset(&held), "what a scope was given is imported");
        }
    }

    fn end(mut self) {
        (0..self.scopes.len()).for_each(|scope| self.step(Step::End(scope)));
        assert!(self.device.lost || self.registry.live.is_empty());
        drop(self.registry);
        assert!(self.device.imported.lock().unwrap().is_empty());
    }
}

#[test]
fn every_short_sequence_keeps_the_invariants() {
    const PAGES: u64 = 4;
    let mut steps = vec![Step::End(0), Step::End(1)];
    for first in 0..PAGES {
        for count in 1..=PAGES - first {
            steps.extend([Step::Lend(0, first, count), Step::Lend(1, first, count)]);
        }
    }
    for identity in [false, true] {
        for number in 0..steps.len().pow(4) {
            let mut model = Model::new(Device::new(identity), 2);
            let mut rest = number;
            for _ in 0..4 {
                model.step(steps[rest % steps.len()]);
                rest /= steps.len();
            }
            model.end();
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let lend = (0..4usize, 0..24u64, 1..12u64);
    prop_oneof![
        3 => lend.prop_map(|(scope, first, count)| Step::Lend(scope, first, count)),
        1 => (0..4usize).prop_map(Step::End),
    ]
}

proptest! {
    #[test]
    fn random_sequences_keep_the_invariants(
        steps in prop::collection::vec(step(), 1..60),
        identity in any::<bool>(),
        limit in prop_oneof![Just(u64::MAX), 1..6u64],
        fails in prop::option::of((0..30u32, any::<bool>())),
        busy in prop::bool::weighted(0.2),
    ) {
        let mut model = Model::new(Device { limit, fails, busy, ..Device::new(identity) }, 4);
        steps.into_iter().for_each(|step| model.step(step));
        model.end();
    }
}

#[test]
fn what_a_scope_shares_with_another_is_split_where_addresses_stay() {
    let mut model = Model::new(Device::new(true), 2);
    model.step(Step::Lend(0, 0, 8));
    model.step(Step::Lend(1, 3, 2));
    let live: Vec<VaRange> = model.registry.iter().collect();
    assert_eq!(live, [pages(0, 3), pages(3, 2), pages(5, 3)]);
    model.step(Step::End(0));
    assert_eq!(model.registry.iter().collect::<Vec<_>>(), [pages(3, 2)]);
    model.end();
    // Where addresses change, the second one is refused, and nothing is imported for it.
    let mut model = Model::new(Device::new(false), 2);
    model.step(Step::Lend(0, 0, 8));
    model.step(Step::Lend(1, 3, 9));
    assert_eq!((model.device.imports, model.scopes[1].held.pages().count()), (1, 0));
    // All of another scope's import is shared.
    model.step(Step::Lend(1, 0, 8));
    assert_eq!((model.device.imports, model.registry.iter().count()), (1, 1));
    model.end();
}

#[test]
fn an_import_that_cannot_be_split_is_put_back() {
    for (succeed, for_good) in [(0, false), (1, false), (2, false), (0, true), (1, true)] {
        let mut model = Model::new(Device::new(true), 2);
        model.step(Step::Lend(0, 0, 8));
        model.device.fails = Some((succeed, for_good));
        model.step(Step::Lend(1, 3, 2));
        assert!(model.scopes[1].covered.is_empty(), "it was refused");
        assert_eq!(model.device.lost, for_good, "lost if its pages could not be put back");
        if !for_good {
            assert_eq!(model.registry.iter().collect::<Vec<_>>(), [pages(0, 8)]);
        }
        model.end();
    }
}

#[test]
fn threads_that_lend_the_same_pages_import_them_once() {
    const THREADS: usize = 4;
    let shared = Mutex::new((Registry::default(), Device::new(true)));
    let (all_hold, all_ended) = (Barrier::new(THREADS), Barrier::new(THREADS));
    std::thread::scope(|threads| {
        for thread in 0..THREADS as u64 {
            let (shared, all_hold, all_ended) = (&shared, &all_hold, &all_ended);
            threads.spawn(move || {
                for round in 0..200 {
                    let mut held = Held::default();
                    let own = pages((thread + round) % 3, 2 + thread);
                    let mut lent = shared.lock().unwrap();
                    let (registry, device) = &mut *lent;
                    assert_eq!(registry.cover(&mut held, own, device), Ok(0));
                    drop(lent);
                    all_hold.wait();
                    shared.lock().unwrap().0.release(&mut held);
                    all_ended.wait();
                }
            });
        }
    });
    let (registry, device) = shared.into_inner().unwrap();
    assert_eq!(registry.iter().count(), 0);
    assert!(device.imported.lock().unwrap().is_empty());
}
