//! How the cost of an invalidation grows with the number of notifiers that it does not concern.

use super::Device;
use crate::{
    case::{Case, Context},
    failure::Failure,
    measure::Variant,
};
use farptr_hmm::{
    Event, Invalidation, Notifier, Notifiers, PageNumber, PageSize, SeqSet, VaRange, WouldBlock,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

const FEW: u64 = 10;
const MANY: u64 = 100_000;
/// The first watched page; nothing has to be mapped there.
const FIRST_PAGE: u64 = 1 << 20;
/// The number of invalidations after which the order of pages repeats. It is the same for few
/// notifiers and for many, so that reading the order costs the same.
const VISITS: usize = 1 << 16;

pub(in crate::cases) struct Invalidate;

impl Case for Invalidate {
    fn name(&self) -> &'static str {
        "hmm-invalidate"
    }

    fn about(&self) -> &'static str {
        "one page invalidated, begin and end, among notifiers of one page each"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["farptr-10", "farptr-100k-same", "farptr-100k-next", "farptr-100k"]
    }

    fn needs_device(&self) -> bool {
        false
    }

    fn prepare<'c>(
        &self,
        _context: &'c Context,
        _size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        Ok(vec![
            Box::new(Among::new("farptr-10", FEW, scattered(FEW))),
            Box::new(Among::new("farptr-100k-same", MANY, in_turn(1))),
            Box::new(Among::new("farptr-100k-next", MANY, in_turn(MANY))),
            Box::new(Among::new("farptr-100k", MANY, scattered(MANY))),
        ])
    }
}

/// Any of the pages, each time another.
fn scattered(notifiers: u64) -> Vec<VaRange> {
    let mut random = StdRng::seed_from_u64(notifiers);
    (0..VISITS).map(|_| page(random.random_range(0..notifiers))).collect()
}

/// The first pages, one after the other.
fn in_turn(pages: u64) -> Vec<VaRange> {
    (0..pages).cycle().take(VISITS).map(page).collect()
}

/// The page that a notifier watches.
fn page(notifier: u64) -> VaRange {
    let number = PageNumber::new(FIRST_PAGE + notifier);
    let range = number.start(PageSize::host());
    let range = range.and_then(|start| VaRange::from_len(start, PageSize::host().bytes()));
    range.expect("a low address is user memory")
}

/// The pages that a device was told about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    calls: u64,
    /// The sum of the addresses, wrapped. With `calls` it shows whether the device was told the
    /// right pages.
    addresses: u64,
}

impl Tally {
    fn add(&mut self, page: VaRange) {
        self.calls += 1;
        self.addresses = self.addresses.wrapping_add(page.start().get());
    }
}

/// A device with a lock and no pages, which counts.
#[derive(Default)]
struct Counter(Mutex<Tally>);

impl Device for Counter {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tally.add(invalidation.range());
        Ok(invalidation.set_seq())
    }
}

/// Invalidates one page after the other.
struct Among {
    name: &'static str,
    notifiers: Notifiers,
    _watching: Vec<Notifier>,
    device: Arc<Counter>,
    visits: Vec<VaRange>,
    /// How many invalidations were made, and which.
    asked: Tally,
    made: usize,
}

impl Among {
    /// Registers `count` notifiers, in no order, for one device.
    fn new(name: &'static str, count: u64, visits: Vec<VaRange>) -> Self {
        let (notifiers, device) = (Notifiers::new(), Arc::<Counter>::default());
        let mut pages: Vec<VaRange> = (0..count).map(page).collect();
        pages.shuffle(&mut StdRng::seed_from_u64(count));
        let register = |page| notifiers.register(page, None, device.clone());
        let watching = pages.into_iter().map(register).collect::<Result<_, _>>();
        let _watching = watching.expect("a page is not an empty range");
        Self { name, notifiers, _watching, device, visits, asked: Tally::default(), made: 0 }
    }
}

impl Variant for Among {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let first = self.made % VISITS;
        self.made += calls as usize;
        let order = || self.visits.iter().cycle().skip(first).take(calls as usize);
        let start = Instant::now();
        for &page in order() {
            drop(self.notifiers.invalidate(Event::Clear, page));
        }
        let elapsed = start.elapsed();
        order().for_each(|&page| self.asked.add(page));
        Ok(elapsed)
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        let told = *self.device.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.asked.calls > 0 && told == self.asked)
    }
}
