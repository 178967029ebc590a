//! The barriers between launches: one writes what the other touches.
//! Pure.
//!
//! `DESIGN.md`, "Order", has the argument.

use smallvec::SmallVec;
use std::ops::Range;

/// Bytes that a launch may read, or write, by their addresses on the host; one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) bytes: Range<u64>,
    pub(crate) writes: bool,
}

/// The bytes that one launch touches.
pub(crate) type Touches = SmallVec<[Touch; 6]>;

impl Touch {
    /// Whether the two may come in any order.
    fn is_apart(&self, other: &Self) -> bool {
        let disjoint = self.bytes.end <= other.bytes.start || other.bytes.end <= self.bytes.start;
        disjoint || !(self.writes || other.writes)
    }
}

/// The bytes that the launches of a command buffer touch since its last barrier.
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    touched: Vec<Touch>,
    /// From the lowest to the highest of these bytes; arrays that are worked on one after the other
    /// are outside of it.
    hull: Range<u64>,
    /// Whether one of them may touch anything.
    anything: bool,
}

impl Order {
    /// How much is remembered: each launch is compared with all of it. A barrier stands between
    /// launches that touch more.
    const MOST_TOUCHES: usize = 64;

    /// Whether no barrier is needed before a launch that touches these bytes, and some launch is
    /// recorded that it would wait for otherwise.
    pub(crate) fn may_overlap(&self, touched: &[Touch]) -> bool {
        !self.touched.is_empty() && self.is_apart(touched)
    }

    fn is_apart(&self, touched: &[Touch]) -> bool {
        let is_outside =
            |one: &Touch| one.bytes.end <= self.hull.start || self.hull.end <= one.bytes.start;
        let is_apart =
            |one: &Touch| is_outside(one) || self.touched.iter().all(|other| one.is_apart(other));
        !self.anything
            && self.touched.len() + touched.len() <= Self::MOST_TOUCHES
            && touched.iter().all(is_apart)
    }

    /// Adds a launch, of which it may not be known what it touches, and says whether a barrier has
    /// to stand before it.
    pub(crate) fn add(&mut self, touched: Option<&[Touch]>) -> bool {
        let waits = !touched.is_some_and(|touched| self.is_apart(touched));
        if waits {
            self.touched.clear();
            self.anything = false;
        }
        self.anything |= touched.is_none();
        let touched = touched.unwrap_or_default();
        if self.touched.is_empty() {
            self.hull = Range { start: u64::MAX, end: 0 };
        }
        for Touch { bytes, .. } in touched {
            self.hull = self.hull.start.min(bytes.start)..self.hull.end.max(bytes.end);
        }
        self.touched.extend_from_slice(touched);
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn touch((start, len, writes): (u64, u64, bool)) -> Touch {
        Touch { bytes: start..start + len, writes }
    }

    /// Whether the order of two launches matters, looked at byte by byte.
    fn conflict(one: Option<&Vec<Touch>>, other: Option<&Vec<Touch>>) -> bool {
        let Some((one, other)) = one.zip(other) else { return true };
        let pairs = one.iter().flat_map(|one| other.iter().map(move |other| (one, other)));
        pairs.into_iter().any(|(one, other)| {
            (one.writes || other.writes)
                && one.bytes.clone().any(|byte| other.bytes.contains(&byte))
        })
    }

    proptest! {
        #[test]
        fn a_barrier_stands_between_two_launches_exactly_if_they_conflict(
            launches in prop::collection::vec(
                prop::option::weighted(0.9, prop::collection::vec(
                    (0u64..200, 1u64..6, any::<bool>()).prop_map(touch), 0..3)),
                0..20),
        ) {
            let mut order = Order::default();
            let mut since: Vec<Option<Vec<Touch>>> = Vec::new();
            for launch in launches {
                let waits = order.add(launch.as_deref());
                let conflicts =
                    since.iter().any(|before| conflict(before.as_ref(), launch.as_ref()));
                let unknown = launch.is_none();
                prop_assert_eq!(waits, conflicts || unknown, "{:?} {:?}", since, launch);
                if waits {
                    since.clear();
                }
                since.push(launch);
            }
        }
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let mut order = Order::default();
        let at = |number: u64| touch((8 * number, 8, true));
        let most = Order::MOST_TOUCHES as u64;
        for number in 0..most {
            assert!(!order.add(Some(&[at(number)])), "the first {most} are apart");
        }
        assert!(order.add(Some(&[at(most)])), "there is no room to know it");
        assert!(!order.add(Some(&[at(0)])), "the barrier stands between the two");
        assert!(order.add(Some(&[at(0)])));
    }

    #[test]
    fn the_first_launch_has_nothing_to_overlap_with() {
        let mut order = Order::default();
        let launch = [touch((0, 8, true))];
        assert!(!order.may_overlap(&launch) && !order.add(Some(&launch)));
        assert!(!order.may_overlap(&launch) && order.may_overlap(&[touch((8, 8, true))]));
        assert!(order.add(None) && !order.may_overlap(&[touch((8, 8, true))]));
    }
}
