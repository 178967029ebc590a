//! The live imports of a device, and how many scopes hold each. Pure.
//!
//! `DESIGN.md` has the protocol. [`Registry`] decides which pages are imported, shared, split and
//! given back; an [`Importer`] does so on a device.

use farptr_hmm::{VaRange, VirtAddr};
use std::collections::BTreeMap;

/// A device that imports pages.
pub(crate) trait Importer {
    /// Pages that are imported until it is dropped.
    type Import;
    type Error;

    /// Imports pages that are not imported, in one piece or several that follow each other.
    fn import(&mut self, pages: VaRange) -> Result<Vec<(VaRange, Self::Import)>, Self::Error>;

    /// The distance from host address to device address, wrapping.
    fn delta(import: &Self::Import) -> u64;

    /// Whether device addresses are host addresses, so that pages that are imported anew stay where
    /// they were.
    fn is_identity(&self) -> bool;

    /// Runs `act` while the device has nothing to do and gets nothing.
    fn while_idle<R>(&mut self, act: impl FnOnce(&mut Self) -> R) -> Result<R, Self::Error>;

    /// Notes that pages that are held could not be imported again: nothing may run any more.
    fn lose(&mut self);
}

/// Why pages are not imported.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused<E> {
    /// The device refused.
    Device(E),
    /// Some of them are in the import of another scope, which has pages beyond these.
    Shared,
    /// They are in several imports, which the device does not see as one range.
    Apart,
}

impl<E> From<E> for Refused<E> {
    fn from(error: E) -> Self {
        Self::Device(error)
    }
}

/// The pages that a scope holds imports of: those that cover its lends.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Stretches of pages with one distance from host address to device address: from the start to
    /// the end and the distance. No stretch lies within another, so only the last stretch that
    /// starts at or before a page can contain it.
    stretches: BTreeMap<VirtAddr, (VirtAddr, u64)>,
}

impl Held {
    /// The distance from host address to device address, if all of these pages are held and have
    /// one.
    pub(crate) fn find(&self, pages: VaRange) -> Option<u64> {
        let (_, &(end, delta)) = self.stretches.range(..=pages.start()).next_back()?;
        (end >= pages.end()).then_some(delta)
    }

    /// Whether a page is held, and so the import that has it.
    fn holds(&self, page: VirtAddr) -> bool {
        self.stretches.range(..=page).next_back().is_some_and(|(_, &(end, _))| end > page)
    }

    fn add(&mut self, pages: VaRange, delta: u64) {
        let below = self.stretches.range(pages.start()..pages.end());
        let within = below.filter(|(_, (end, _))| *end <= pages.end());
        for start in within.map(|(&start, _)| start).collect::<Vec<_>>() {
            self.stretches.remove(&start);
        }
        self.stretches.insert(pages.start(), (pages.end(), delta));
    }

    /// The pages, each in one range.
    fn pages(&self) -> impl Iterator<Item = VaRange> {
        let mut done = VirtAddr::NULL;
        self.stretches.iter().filter_map(move |(&start, &(end, _))| {
            let pages = VaRange::new(start.max(done), end);
            done = end;
            pages
        })
    }
}

/// The live imports of a device. No page is in two of them, and each lies within the pages of every
/// scope that holds it.
#[derive(Debug)]
pub(crate) struct Registry<I> {
    /// By start.
    live: BTreeMap<VirtAddr, Live<I>>,
}

#[derive(Debug)]
struct Live<I> {
    end: VirtAddr,
    import: I,
    /// Scopes that hold it, one at least.
    holders: usize,
}

impl<I> Default for Registry<I> {
    fn default() -> Self {
        Self { live: BTreeMap::new() }
    }
}

impl<I> Registry<I> {
    /// Makes a scope hold imports of all of these pages, and gives the distance from host address
    /// to device address, which is one for all of them.
    ///
    /// Pages are not empty, are whole granules of the device, and each has lent bytes of the scope.
    ///
    /// # Errors
    ///
    /// The scope then holds what it held before.
    pub(crate) fn cover<D: Importer<Import = I>>(
        &mut self,
        held: &mut Held,
        pages: VaRange,
        device: &mut D,
    ) -> Result<u64, Refused<D::Error>> {
        // Disjoint imports are in the order of their ends, too.
        let below = self.live.range(..pages.end()).next_back();
        if below.is_some_and(|(_, below)| below.end > pages.start()) {
            return self.cover_rest(held, pages, device);
        }
        let new = device.import(pages)?;
        let delta = one(new.iter().map(|(_, import)| D::delta(import)))?;
        self.insert(new, 1);
        held.add(pages, delta);
        Ok(delta)
    }

    /// As [`cover`](Self::cover), where some of the pages are imported.
    fn cover_rest<D: Importer<Import = I>>(
        &mut self,
        held: &mut Held,
        pages: VaRange,
        device: &mut D,
    ) -> Result<u64, Refused<D::Error>> {
        for import in self.reaching_out(held, pages) {
            if !device.is_identity() {
                return Err(Refused::Shared);
            }
            self.split(import, pages, device)?;
        }
        let shared = one(self.among(pages).map(|(_, live)| D::delta(&live.import)))?;
        let mut new = Vec::new();
        for gap in self.gaps(pages) {
            new.extend(device.import(gap)?);
        }
        let made = new.iter().map(|(_, import)| D::delta(import));
        let delta = one(made.chain([shared]))?;
        self.take(held, pages, new);
        held.add(pages, delta);
        Ok(delta)
    }

    /// Ends the holds of a scope, and drops the imports that no scope holds any more.
    pub(crate) fn release(&mut self, held: &mut Held) {
        for pages in std::mem::take(held).pages() {
            let ended = |_: &VirtAddr, live: &mut Live<I>| {
                live.holders -= 1;
                live.holders == 0
            };
            self.live.extract_if(pages.start()..pages.end(), ended).for_each(drop);
        }
    }

    /// The pages of all live imports, one range each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = VaRange> {
        self.live.iter().map(|(&start, live)| range(start, live.end))
    }

    /// The live imports that have some of these pages.
    fn among(&self, pages: VaRange) -> impl Iterator<Item = (VirtAddr, &Live<I>)> {
        let below = self.live.range(..pages.start()).next_back();
        let below = below.filter(|(_, live)| live.end > pages.start());
        let others = self.live.range(pages.start()..pages.end());
        below.into_iter().chain(others).map(|(&start, live)| (start, live))
    }

    /// The live imports of other scopes that have some of these pages, and others.
    fn reaching_out(&self, held: &Held, pages: VaRange) -> Vec<VaRange> {
        let others = self.among(pages).filter(|(start, _)| !held.holds(*start));
        let whole = others.map(|(start, live)| range(start, live.end));
        whole.filter(|import| !pages.contains_range(import)).collect()
    }

    /// Those of these pages that no live import has.
    fn gaps(&self, pages: VaRange) -> Vec<VaRange> {
        let mut gaps = Vec::new();
        let mut next = pages.start();
        for (start, live) in self.among(pages) {
            gaps.extend(VaRange::new(next, start).filter(|gap| !gap.is_empty()));
            next = live.end;
        }
        gaps.extend(VaRange::new(next, pages.end()).filter(|gap| !gap.is_empty()));
        gaps
    }

    /// Adds new imports, and a holder to all of these pages that the scope does not hold yet.
    fn take(&mut self, held: &Held, pages: VaRange, new: Vec<(VaRange, I)>) {
        self.live
            .range_mut(pages.start()..pages.end())
            .filter(|(start, _)| !held.holds(**start))
            .for_each(|(_, live)| live.holders += 1);
        self.insert(new, 1);
    }

    fn insert(&mut self, imports: Vec<(VaRange, I)>, holders: usize) {
        for (pages, import) in imports {
            let end = pages.end();
            self.live.insert(pages.start(), Live { end, import, holders });
        }
    }

    /// Gives an import back and imports its pages anew in parts, so that none reaches beyond
    /// `pages`. Its holders hold all parts.
    fn split<D: Importer<Import = I>>(
        &mut self,
        import: VaRange,
        pages: VaRange,
        device: &mut D,
    ) -> Result<(), D::Error> {
        let below = VaRange::new(import.start(), pages.start());
        let above = VaRange::new(pages.end(), import.end());
        let parts = [below, import.intersection(&pages), above];
        device.while_idle(|device| {
            let Some(Live { import: old, holders, .. }) = self.live.remove(&import.start()) else {
                return Ok(());
            };
            drop(old);
            let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
            let made: Result<Vec<_>, _> = parts.map(|part| device.import(part)).collect();
            match made {
                Ok(parts) => {
                    self.insert(parts.into_iter().flatten().collect(), holders);
                    Ok(())
                }
                Err(error) => {
                    // Those that were made are dropped by now.
                    match device.import(import) {
                        Ok(whole) => self.insert(whole, holders),
                        Err(_) => device.lose(),
                    }
                    Err(error)
                }
            }
        })?
    }
}

/// The one distance that all pages have.
fn one<E>(mut deltas: impl Iterator<Item = u64>) -> Result<u64, Refused<E>> {
    let first = deltas.next().ok_or(Refused::Apart)?;
    if deltas.all(|other| other == first) { Ok(first) } else { Err(Refused::Apart) }
}

fn range(start: VirtAddr, end: VirtAddr) -> VaRange {
    VaRange::new(start, end).expect("an import has pages")
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
