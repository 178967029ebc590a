//! A tree of intervals that may overlap, for finding those that meet a range.
//!
//! It is an AVL tree ordered by start, in which every node knows the highest end below it. Finding
//! one interval, inserting and removing take O(log n), at a hundred thousand intervals some twenty
//! steps. A search can go on after the last interval found, without a borrow in between; so the
//! notifiers can call devices with no lock held and without a list on the heap.

#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::mem;

use crate::addr::{VaRange, VirtAddr};

/// Identifies an interval in a tree: by its start, then by a number that the user keeps unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) start: VirtAddr,
    pub(crate) serial: u64,
}

/// A set of intervals with a value each.
#[derive(Debug)]
pub(crate) struct IntervalTree<T> {
    root: Link<T>,
    len: usize,
}

type Link<T> = Option<Box<Node<T>>>;

#[derive(Debug)]
struct Node<T> {
    /// Everything to the left has a smaller key, everything to the right a greater one.
    key: Key,
    end: VirtAddr,
    value: T,
    /// The highest `end` of this node and all below.
    max_end: VirtAddr,
    /// One more than the greater height of the children, which differ by at most one.
    height: u8,
    left: Link<T>,
    right: Link<T>,
}

impl<T> IntervalTree<T> {
    pub(crate) const fn new() -> Self {
        Self { root: None, len: 0 }
    }

    /// Counts the intervals.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds an interval. Intervals may overlap and may be equal, but no two have the same start
    /// and the same `serial`. An empty interval is kept and never found.
    pub(crate) fn insert(&mut self, range: VaRange, serial: u64, value: T) {
        let node = Node {
            key: Key { start: range.start(), serial },
            end: range.end(),
            value,
            max_end: range.end(),
            height: 1,
            left: None,
            right: None,
        };
        self.root = Some(insert(self.root.take(), Box::new(node)));
        self.len += 1;
    }

    /// Takes an interval out and returns its value, or `None` if there is none with this key.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let (rest, found) = remove(self.root.take(), key);
        self.root = rest;
        self.len -= usize::from(found.is_some());
        found.map(|node| node.value)
    }

    /// Finds the first interval, in the order of keys, that shares an address with `range` and
    /// whose key is above `after`.
    pub(crate) fn next_overlap(&self, range: &VaRange, after: Option<Key>) -> Option<(Key, &T)> {
        let found = next(self.root.as_deref()?, range, after)?;
        Some((found.key, &found.value))
    }
}

impl<T> Node<T> {
    fn update(&mut self) {
        let children = [&self.left, &self.right].into_iter().flatten();
        let tallest = children.clone().map(|child| child.height).max();
        let furthest = children.map(|child| child.max_end).max();
        self.height = tallest.unwrap_or(0) + 1;
        self.max_end = furthest.map_or(self.end, |end| end.max(self.end));
    }

    fn overlaps(&self, range: &VaRange) -> bool {
        let start = self.key.start.max(range.start());
        start < self.end.min(range.end())
    }
}

fn next<'a, T>(node: &'a Node<T>, range: &VaRange, after: Option<Key>) -> Option<&'a Node<T>> {
    if node.max_end <= range.start() {
        return None;
    }
    if after.is_none_or(|after| after < node.key) {
        let left = node.left.as_deref().and_then(|left| next(left, range, after));
        if left.is_some() {
            return left;
        }
        if node.overlaps(range) {
            return Some(node);
        }
    }
    if node.key.start >= range.end() {
        return None;
    }
    next(node.right.as_deref()?, range, after)
}

fn insert<T>(link: Link<T>, new: Box<Node<T>>) -> Box<Node<T>> {
    let Some(mut node) = link else {
        return new;
    };
    debug_assert!(new.key != node.key, "two intervals with the key {:?}", new.key);
    let side = if new.key < node.key { &mut node.left } else { &mut node.right };
    *side = Some(insert(side.take(), new));
    balance(node)
}

/// Returns the tree without the node, and the node.
fn remove<T>(link: Link<T>, key: Key) -> (Link<T>, Link<T>) {
    let Some(mut node) = link else {
        return (None, None);
    };
    let side = match key.cmp(&node.key) {
        Ordering::Less => &mut node.left,
        Ordering::Greater => &mut node.right,
        Ordering::Equal => return (join(node.left.take(), node.right.take()), Some(node)),
    };
    let (rest, found) = remove(side.take(), key);
    *side = rest;
    (Some(balance(node)), found)
}

/// Makes one tree of two that hung below the same node.
fn join<T>(left: Link<T>, right: Link<T>) -> Link<T> {
    let Some(right) = right else {
        return left;
    };
    let (rest, mut first) = take_first(right);
    first.left = left;
    first.right = rest;
    Some(balance(first))
}

/// Returns the tree without its first node, and that node.
fn take_first<T>(mut node: Box<Node<T>>) -> (Link<T>, Box<Node<T>>) {
    match node.left.take() {
        None => (node.right.take(), node),
        Some(left) => {
            let (rest, first) = take_first(left);
            node.left = rest;
            (Some(balance(node)), first)
        }
    }
}

/// Restores the heights at a node whose children are balanced and differ by at most two.
fn balance<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let (left, right) = (height(&node.left), height(&node.right));
    if left > right + 1 {
        node.left = node.left.map(|child| {
            if height(&child.left) < height(&child.right) { rotate_left(child) } else { child }
        });
        return rotate_right(node);
    }
    if right > left + 1 {
        node.right = node.right.map(|child| {
            if height(&child.right) < height(&child.left) { rotate_right(child) } else { child }
        });
        return rotate_left(node);
    }
    node.update();
    node
}

fn height<T>(link: &Link<T>) -> u8 {
    link.as_ref().map_or(0, |node| node.height)
}

fn rotate_left<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    if let Some(mut top) = node.right.take() {
        node.right = top.left.take();
        mem::swap(&mut node, &mut top);
        top.update();
        node.left = Some(top);
    }
    node.update();
    node
}

fn rotate_right<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    if let Some(mut top) = node.left.take() {
        node.left = top.right.take();
        mem::swap(&mut node, &mut top);
        top.update();
        node.right = Some(top);
    }
    node.update();
    node
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, len: u64) -> VaRange {
        VaRange::from_len(VirtAddr::new(start), len).expect("a user range")
    }

    /// Lists the serials of the intervals that meet `probe`, as a search that starts over finds
    /// them.
    fn overlaps(tree: &IntervalTree<u64>, probe: &VaRange) -> Vec<u64> {
        let mut found = Vec::new();
        let mut after = None;
        while let Some((key, &value)) = tree.next_overlap(probe, after) {
            found.push(value);
            after = Some(key);
        }
        found
    }

    /// Checks every invariant of the tree and returns its height.
    fn check(link: &Link<u64>) -> u8 {
        let Some(node) = link else {
            return 0;
        };
        let (left, right) = (check(&node.left), check(&node.right));
        assert!(left.abs_diff(right) <= 1, "unbalanced at {:?}", node.key);
        assert_eq!(node.height, left.max(right) + 1);
        assert!(node.left.as_ref().is_none_or(|child| child.key < node.key));
        assert!(node.right.as_ref().is_none_or(|child| child.key > node.key));
        let ends = [&node.left, &node.right].into_iter().flatten().map(|child| child.max_end);
        assert_eq!(Some(node.max_end), ends.chain([node.end]).max());
        node.height
    }

    #[test]
    fn equal_intervals_are_kept_apart() {
        let mut tree = IntervalTree::new();
        for serial in 0..10 {
            tree.insert(range(0x1000, 0x1000), serial, serial);
        }
        assert_eq!(overlaps(&tree, &range(0x1fff, 1)), (0..10).collect::<Vec<_>>());
        let key = Key { start: VirtAddr::new(0x1000), serial: 4 };
        assert_eq!(tree.remove(key), Some(4));
        assert_eq!(tree.remove(key), None);
        assert_eq!(overlaps(&tree, &range(0x1000, 1)), [0, 1, 2, 3, 5, 6, 7, 8, 9]);
        assert_eq!(tree.len(), 9);
    }

    #[test]
    fn an_empty_interval_is_never_found() {
        let mut tree = IntervalTree::new();
        tree.insert(range(0x1800, 0), 0, 0);
        assert_eq!(overlaps(&tree, &range(0x1000, 0x1000)), []);
        assert_eq!(overlaps(&tree, &range(0x1800, 0)), []);
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn a_hundred_thousand_overlapping_intervals_stay_balanced() {
        const COUNT: u64 = 100_000;
        let mut tree = IntervalTree::new();
        for serial in 0..COUNT {
            // All of them contain one address; ascending order is the worst for a plain tree.
            tree.insert(range(serial, COUNT), serial, serial);
        }
        assert!(check(&tree.root) <= 24, "1.44 log2 n");
        assert_eq!(overlaps(&tree, &range(0, 1)), [0]);
        assert_eq!(overlaps(&tree, &range(2 * COUNT - 2, 1)), [COUNT - 1]);
        assert_eq!(overlaps(&tree, &range(COUNT - 1, 1)).len() as u64, COUNT);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u64),
        Remove(usize),
        Find(u64, u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0u64..64, 0u64..16).prop_map(|(start, len)| Step::Insert(start, len)),
            2 => any::<prop::sample::Index>().prop_map(|index| Step::Remove(index.index(64))),
            2 => (0u64..64, 0u64..16).prop_map(|(start, len)| Step::Find(start, len)),
        ];
        prop::collection::vec(step, 0..if cfg!(miri) { 40 } else { 200 })
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_list_finds(steps in steps()) {
            let mut tree = IntervalTree::new();
            let mut list: Vec<(VaRange, u64)> = Vec::new();
            for (serial, step) in (0u64..).zip(steps) {
                match step {
                    Step::Insert(start, len) => {
                        tree.insert(range(start, len), serial, serial);
                        list.push((range(start, len), serial));
                    }
                    Step::Remove(index) if index < list.len() => {
                        let (range, serial) = list.swap_remove(index);
                        let key = Key { start: range.start(), serial };
                        prop_assert_eq!(tree.remove(key), Some(serial));
                    }
                    Step::Remove(_) => {}
                    Step::Find(start, len) => {
                        let probe = range(start, len);
                        let mut expected = list.clone();
                        expected.retain(|(range, _)| range.overlaps(&probe));
                        expected.sort_by_key(|(range, serial)| (range.start(), *serial));
                        let expected: Vec<_> = expected.iter().map(|(_, serial)| *serial).collect();
                        prop_assert_eq!(overlaps(&tree, &probe), expected);
                    }
                }
                check(&tree.root);
                prop_assert_eq!(tree.len(), list.len());
            }
        }
    }
}
