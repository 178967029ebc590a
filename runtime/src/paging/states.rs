//! The states of the pages of a lend on the device, and how many pages are in each. Pure.

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

/// The states of the pages of a lend, by place.
#[derive(Debug)]
pub(super) struct States {
    states: Vec<State>,
    /// The pages in each state, so that a launch looks at the pages of few lends.
    counts: [usize; 4],
}

impl States {
    /// So many absent pages.
    pub(super) fn absent(pages: usize) -> Self {
        Self { states: vec![State::Absent; pages], counts: [pages, 0, 0, 0] }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// The state of a page, if there is one at this place.
    pub(super) fn get(&self, page: usize) -> Option<State> {
        self.states.get(page).copied()
    }

    /// The state of a page that is there.
    pub(super) fn at(&self, page: usize) -> State {
        self.states[page]
    }

    pub(super) fn set(&mut self, page: usize, state: State) {
        let before = std::mem::replace(&mut self.states[page], state);
        self.counts[before as usize] -= 1;
        self.counts[state as usize] += 1;
    }

    /// How many pages are in a state.
    pub(super) fn count(&self, state: State) -> usize {
        self.counts[state as usize]
    }

    /// Whether all pages are in this state or a higher one.
    pub(super) fn all_at_least(&self, least: State) -> bool {
        self.counts[..least as usize].iter().all(|&count| count == 0)
    }

    /// The places of the pages in this state or a higher one.
    pub(super) fn at_least(&self, least: State) -> impl Iterator<Item = usize> {
        let any = self.counts[least as usize..].iter().any(|&count| count > 0);
        let states = if any { &self.states[..] } else { &[] };
        states.iter().enumerate().filter(move |&(_, &state)| state >= least).map(|(page, _)| page)
    }

    /// Moves all pages from one state to another.
    pub(super) fn replace(&mut self, from: State, to: State) {
        if self.count(from) > 0 {
            self.states.iter_mut().filter(|state| **state == from).for_each(|state| *state = to);
            self.counts[to as usize] += std::mem::take(&mut self.counts[from as usize]);
        }
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
            steps in prop::collection::vec((0usize..9, 0usize..4, any::<bool>()), 0..40),
        ) {
            let mut states = States::absent(9);
            let mut model = [State::Absent; 9];
            for (page, to, all) in steps {
                let (from, to) = (model[page], ALL[to]);
                if all && from != to {
                    states.replace(from, to);
                    model.iter_mut().filter(|state| **state == from).for_each(|s| *s = to);
                } else {
                    states.set(page, to);
                    model[page] = to;
                }
            }
            for state in ALL {
                prop_assert_eq!(states.count(state), model.iter().filter(|&&s| s == state).count());
                prop_assert_eq!(states.all_at_least(state), model.iter().all(|&s| s >= state));
                let pages: Vec<usize> = states.at_least(state).collect();
                let expected = model.iter().enumerate().filter(|&(_, &s)| s >= state);
                prop_assert_eq!(pages, expected.map(|(page, _)| page).collect::<Vec<_>>());
            }
        }
    }
}
