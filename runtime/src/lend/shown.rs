//! Bytes that the host has slices of. Pure.

use std::collections::BTreeMap;

/// A set of bytes, by their addresses.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Disjoint ranges: the end of each, by its start.
    ranges: BTreeMap<u64, u64>,
}

impl Shown {
    /// Adds bytes.
    pub(crate) fn add(&mut self, start: u64, bytes: u64) {
        let (mut low, mut high) = (start, start + bytes);
        // Ranges that touch are joined, so that many small ones take little memory.
        while let Some((&below, &end)) = self.ranges.range(..=high).next_back()
            && end >= low
        {
            self.ranges.remove(&below);
            (low, high) = (low.min(below), high.max(end));
        }
        if low < high {
            self.ranges.insert(low, high);
        }
    }

    /// Whether any byte of a range is in the set.
    pub(crate) fn overlap(&self, start: u64, bytes: u64) -> bool {
        let below = self.ranges.range(..start + bytes).next_back();
        below.is_some_and(|(_, &end)| end > start)
    }

    /// Removes all bytes.
    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_has_the_bytes_that_were_added(
            added in prop::collection::vec((0u64..100, 0u64..20), 0..12),
            (start, length) in (0u64..130, 1u64..20),
        ) {
            let (mut shown, mut bytes) = (Shown::default(), BTreeSet::new());
            for &(start, length) in &added {
                shown.add(start, length);
                bytes.extend(start..start + length);
            }
            let any = bytes.range(start..start + length).next().is_some();
            prop_assert_eq!(shown.overlap(start, length), any);
            let begins = |&&at: &&u64| at == 0 || !bytes.contains(&(at - 1));
            prop_assert_eq!(shown.ranges.len(), bytes.iter().filter(begins).count());
            shown.clear();
            prop_assert!(!shown.overlap(start, length));
        }
    }
}
