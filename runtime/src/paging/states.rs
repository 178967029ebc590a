//! The states of the pages of a lend on the device, and how many pages are in each. Pure.

use super::bit_set::{BitSet, union};
use std::ops::Range;

/// The state of a page on the device, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Nothing.
    Absent,
    /// A copy to read.
    Read,
    /// A copy that the device may write. Home has the same bytes, except those that the running
    /// launch has written.
    Write,
    /// A copy that is newer than home.
    Dirty,
}

/// The states of pages that the device has.
pub(super) const PRESENT: [State; 3] = [State::Read, State::Write, State::Dirty];

/// The states of the pages of a lend, by place.
#[derive(Debug)]
pub(super) struct States {
    pages: usize,
    /// For each state of [`PRESENT`], the pages in it, so that nobody looks at others to find them.
    sets: [BitSet; 3],
}

impl States {
    /// So many absent pages.
    pub(super) fn absent(pages: usize) -> Self {
        Self { pages, sets: PRESENT.map(|_| BitSet::below(pages)) }
    }

    pub(super) fn len(&self) -> usize {
        self.pages
    }

    /// The state of a page, if there is one at this place.
    pub(super) fn get(&self, page: usize) -> Option<State> {
        (page < self.pages).then(|| self.at(page))
    }

    /// The state of a page that is there.
    pub(super) fn at(&self, page: usize) -> State {
        let mut present = PRESENT.into_iter().zip(&self.sets);
        present.find(|(_, set)| set.contains(page)).map_or(State::Absent, |(state, _)| state)
    }

    pub(super) fn set(&mut self, page: usize, state: State) {
        debug_assert!(page < self.pages, "it is a page of the lend");
        for (of, set) in PRESENT.into_iter().zip(&mut self.sets) {
            if of == state { set.insert(page) } else { set.remove(page) }
        }
    }

    /// How many pages are in each state of [`PRESENT`].
    pub(super) fn counts(&self) -> [usize; 3] {
        self.sets.each_ref().map(BitSet::count)
    }

    /// How many pages are in a state.
    pub(super) fn count(&self, state: State) -> usize {
        match state {
            State::Absent => self.pages - self.counts().iter().sum::<usize>(),
            present => self.sets[present as usize - 1].count(),
        }
    }

    /// Whether all pages are in this state or a higher one.
    pub(super) fn all_at_least(&self, least: State) -> bool {
        let lower = [State::Absent, State::Read, State::Write].into_iter();
        lower.take_while(|&state| state < least).all(|state| self.count(state) == 0)
    }

    /// The places of the pages that are in this state or a higher one and not absent.
    pub(super) fn at_least(&self, least: State) -> impl Iterator<Item = usize> {
        self.within(0..self.pages, least)
    }

    /// As [`at_least`](Self::at_least), for a range of places.
    pub(super) fn within(&self, range: Range<usize>, least: State) -> impl Iterator<Item = usize> {
        // An empty set in place of a lower state would do; the highest one is in any case.
        let [read, write, dirty] = &self.sets;
        let sets = match least {
            State::Absent | State::Read => [read, write, dirty],
            State::Write => [dirty, write, dirty],
            State::Dirty => [dirty; 3],
        };
        union(sets, range)
    }

    /// Moves all pages from one state of [`PRESENT`] to another.
    pub(super) fn replace(&mut self, from: State, to: State) {
        debug_assert_ne!(from, to, "it would lose them");
        let empty = BitSet::below(0);
        let mut moved = std::mem::replace(&mut self.sets[from as usize - 1], empty);
        self.sets[to as usize - 1].append(&mut moved);
        self.sets[from as usize - 1] = moved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [State; 4] = [State::Absent, State::Read, State::Write, State::Dirty];

    proptest! {
        #[test]
        fn the_counts_are_those_of_the_pages(
            pages in prop_oneof![Just(9usize), Just(5000)],
            steps in prop::collection::vec((0usize..5000, 0usize..4, any::<bool>()), 0..40),
            range in (0usize..5000, 0usize..5000),
        ) {
            let mut states = States::absent(pages);
            let mut model = vec![State::Absent; pages];
            for (page, to, all) in steps {
                let page = page % pages;
                let (from, to) = (model[page], ALL[to]);
                if all && from != to && from != State::Absent && to != State::Absent {
                    states.replace(from, to);
                    model.iter_mut().filter(|state| **state == from).for_each(|s| *s = to);
                } else {
                    states.set(page, to);
                    model[page] = to;
                }
            }
            prop_assert!((0..pages).all(|page| states.get(page) == Some(model[page])));
            prop_assert_eq!(states.get(pages), None);
            for state in ALL {
                prop_assert_eq!(states.count(state), model.iter().filter(|&&s| s == state).count());
                prop_assert_eq!(states.all_at_least(state), model.iter().all(|&s| s >= state));
                let least = state.max(State::Read);
                let expected = model.iter().enumerate().filter(|&(_, &s)| s >= least);
                let expected: Vec<usize> = expected.map(|(page, _)| page).collect();
                prop_assert!(states.at_least(state).eq(expected.iter().copied()));
                let range = range.0.min(range.1)..range.0.max(range.1);
                let within = expected.iter().copied().filter(|page| range.contains(page));
                prop_assert!(states.within(range.clone(), state).eq(within));
            }
        }
    }
}
