//! Sets of numbers below a bound, as bits. Pure.

use crate::stats::step;
use std::ops::Range;

/// A set of numbers below a bound.
///
/// The lowest level has a bit for each number. Each level above has a bit for each word below it
/// that is not 0, up to a level of one word. So finding the next number takes a step or two for
/// each level, and none for numbers that are not in the set.
#[derive(Clone, Debug)]
pub(super) struct BitSet {
    /// Lowest first.
    levels: Vec<Vec<u64>>,
    count: usize,
}

impl BitSet {
    /// No number, with room for those below a bound.
    pub(super) fn below(bound: usize) -> Self {
        let mut levels = Vec::new();
        let mut bits = bound;
        loop {
            let words = bits.div_ceil(64);
            levels.push(vec![0; words]);
            if words <= 1 {
                return Self { levels, count: 0 };
            }
            bits = words;
        }
    }

    /// All numbers below a bound.
    pub(super) fn all_below(bound: usize) -> Self {
        let mut all = Self::below(bound);
        for word in 0..bound.div_ceil(64) {
            let bits = (bound - word * 64).min(64);
            all.add(word, u64::MAX >> (64 - bits));
        }
        all
    }

    /// How many numbers there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        let word = self.levels[0].get(number / 64);
        word.is_some_and(|word| (word >> (number % 64)) & 1 == 1)
    }

    pub(super) fn insert(&mut self, number: usize) {
        self.add(number / 64, 1 << (number % 64));
    }

    pub(super) fn remove(&mut self, number: usize) {
        self.take(number / 64, 1 << (number % 64));
    }

    /// Moves all numbers of another set of the same bound here.
    pub(super) fn append(&mut self, other: &mut Self) {
        let mut from = 0;
        while let Some(number) = other.next(from) {
            let word = number / 64;
            let bits = other.take(word, u64::MAX);
            self.add(word, bits);
            from = (word + 1) * 64;
        }
    }

    /// The least number from one on.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let mut at = from;
        for (height, level) in self.levels.iter().enumerate() {
            step(1);
            let word = level.get(at / 64)?;
            let ahead = word >> (at % 64);
            if ahead != 0 {
                at += ahead.trailing_zeros() as usize;
                for below in self.levels[..height].iter().rev() {
                    at = at * 64 + below[at].trailing_zeros() as usize;
                }
                return Some(at);
            }
            at = at / 64 + 1;
        }
        None
    }

    /// The numbers of a range.
    #[cfg(test)]
    pub(super) fn among(&self, range: Range<usize>) -> impl Iterator<Item = usize> {
        union([self], range)
    }

    /// Adds bits to a word of the lowest level.
    fn add(&mut self, word: usize, bits: u64) {
        self.count += (bits & !self.levels[0][word]).count_ones() as usize;
        let (mut at, mut bits) = (word, bits);
        for level in &mut self.levels {
            let before = level[at];
            level[at] |= bits;
            if before != 0 {
                break;
            }
            (at, bits) = (at / 64, 1 << (at % 64));
        }
    }

    /// Takes bits out of a word of the lowest level, as far as they are there.
    fn take(&mut self, word: usize, bits: u64) -> u64 {
        let taken = self.levels[0][word] & bits;
        self.count -= taken.count_ones() as usize;
        let (mut at, mut bits) = (word, bits);
        for level in &mut self.levels {
            level[at] &= !bits;
            if level[at] != 0 {
                break;
            }
            (at, bits) = (at / 64, 1 << (at % 64));
        }
        taken
    }
}

/// The numbers of a range that are in one of some sets of the same bound, each once.
pub(super) fn union<'s, const N: usize>(
    sets: [&'s BitSet; N],
    range: Range<usize>,
) -> impl Iterator<Item = usize> + use<'s, N> {
    let mut from = range.start;
    // The rest of a word, and the number of its lowest bit.
    let (mut bits, mut base) = (0u64, 0);
    std::iter::from_fn(move || {
        if bits == 0 {
            let next = sets.iter().filter_map(|set| set.next(from)).min()?;
            base = next / 64 * 64;
            bits = sets.iter().fold(0, |bits, set| bits | set.levels[0][next / 64]);
            bits &= u64::MAX << (next % 64);
            from = base + 64;
        }
        let number = base + bits.trailing_zeros() as usize;
        bits &= bits - 1;
        step(1);
        (number < range.end).then_some(number)
    })
    .fuse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::steps;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(usize),
        Remove(usize),
        /// Moves the numbers of the other set here.
        Append,
    }

    fn step() -> impl Strategy<Value = (bool, Step)> {
        // Neighbours, and numbers of far words.
        let number = prop_oneof![0..200usize, 0..270_000usize];
        let step = prop_oneof![
            4 => number.clone().prop_map(Step::Insert),
            2 => number.prop_map(Step::Remove),
            1 => Just(Step::Append),
        ];
        (any::<bool>(), step)
    }

    proptest! {
        #[test]
        fn it_has_the_numbers_that_were_inserted(
            bound in prop_oneof![0..300usize, 260_000..270_000usize],
            steps in prop::collection::vec(step(), 0..60),
            (start, end) in (0..270_100usize, 0..270_100usize),
        ) {
            let mut sets = [BitSet::below(bound), BitSet::below(bound)];
            let mut models = [BTreeSet::new(), BTreeSet::new()];
            for (first, step) in steps {
                let (one, other) = if first { (0, 1) } else { (1, 0) };
                match step {
                    Step::Insert(number) | Step::Remove(number) if number >= bound => {}
                    Step::Insert(number) => {
                        sets[one].insert(number);
                        models[one].insert(number);
                    }
                    Step::Remove(number) => {
                        sets[one].remove(number);
                        models[one].remove(&number);
                    }
                    Step::Append => {
                        let mut moved = std::mem::replace(&mut sets[other], BitSet::below(0));
                        sets[one].append(&mut moved);
                        prop_assert_eq!(moved.next(0), None);
                        sets[other] = moved;
                        let moved = std::mem::take(&mut models[other]);
                        models[one].extend(moved);
                    }
                }
            }
            let range = start.min(end)..start.max(end);
            for (set, model) in sets.iter().zip(&models) {
                prop_assert_eq!(set.count(), model.len());
                prop_assert_eq!(set.next(start), model.range(start..).next().copied());
                prop_assert_eq!(set.contains(start), model.contains(&start));
                let listed: Vec<usize> = set.among(range.clone()).collect();
                prop_assert!(listed.iter().eq(model.range(range.clone())));
                prop_assert!(set.among(0..usize::MAX).eq(model.iter().copied()));
            }
            let both: BTreeSet<usize> = models[0].union(&models[1]).copied().collect();
            let [one, other] = &sets;
            let listed: Vec<usize> = union([one, other], range.clone()).collect();
            prop_assert!(listed.iter().eq(both.range(range)));
        }

        #[test]
        fn all_numbers_below_a_bound_are_there(bound in 0..9000usize) {
            let all = BitSet::all_below(bound);
            prop_assert_eq!(all.count(), bound);
            prop_assert!(all.among(0..usize::MAX).eq(0..bound));
        }
    }

    #[test]
    fn a_search_takes_no_steps_for_what_is_not_there() {
        let mut set = BitSet::below(1 << 30);
        for number in [3, 1 << 29] {
            set.insert(number);
        }
        steps::take();
        assert_eq!(set.among(0..usize::MAX).count(), 2);
        assert!(steps::take() < 20);
    }
}
