//! The device's page table: flat per lend, a radix tree for addresses in no lend.
//!
//! The host keeps an image of it. [`Table::upload`] writes the changed words to the device and
//! returns a [`Frozen`]: while a round holds it, the borrow checker keeps the table constant. The
//! formats are those of [`control`](farptr_rewrite::control).

use super::bit_set::BitSet;
use crate::stats::step;
use farptr_rewrite::control::{ENTRY_READ, ENTRY_WRITE, PAGE_BYTES, TREE_FANOUT};
use std::{collections::BTreeMap, ops::Range};

/// Words per block: changes are remembered, and uploaded, by the block.
const BLOCK: usize = 64;
/// Bits of a page number that a node and a leaf take.
const FANOUT_BITS: u32 = TREE_FANOUT.trailing_zeros();
/// Bytes of a node and of a leaf of the tree.
pub(crate) const NODE_BYTES: u64 = TREE_FANOUT * 8;

/// An entry: the device address of a page's frame, and the device's permission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    /// A page without a frame.
    pub(crate) const ABSENT: Self = Self(0);

    /// A page with a frame, at a device address that is a multiple of the page size.
    pub(crate) fn new(frame: u64, write: bool) -> Self {
        debug_assert_eq!(frame % PAGE_BYTES, 0, "frames lie on page boundaries");
        Self(frame | ENTRY_READ | if write { ENTRY_WRITE } else { 0 })
    }

    /// The entry as the kernel reads it.
    pub(crate) fn word(self) -> u64 {
        self.0
    }
}

/// How many bits the addresses of a process have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// Linux gives no more unless a program asks for it.
    Bits47,
    /// Five levels of host page tables.
    Bits57,
}

impl Width {
    /// Entries of the tree's root: one for each 64 GiB.
    pub(crate) fn root_entries(self) -> u32 {
        match self {
            Self::Bits47 => 1 << 11,
            Self::Bits57 => 1 << 21,
        }
    }
}

/// The flat table of a lend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flat(usize);

/// The tables of one scope.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slabs: Vec<Slab>,
    /// The slabs that have changed blocks, each once.
    changed: Vec<usize>,
    tree: Option<Tree>,
}

/// Consecutive words of a table: the host's image, and their device address.
#[derive(Debug)]
struct Slab {
    address: u64,
    words: Vec<u64>,
    /// The blocks that differ from the device's.
    changed: BitSet,
}

/// The slabs of the radix tree.
#[derive(Debug)]
struct Tree {
    root: usize,
    /// The leaf of all addresses that have none of their own.
    absent_leaf: u64,
    /// By number of root entry: the node.
    nodes: BTreeMap<u64, usize>,
    /// By page number without the lowest bits: the leaf.
    leaves: BTreeMap<u64, usize>,
}

/// A table that the device has as it is, for the length of a round.
#[derive(Debug)]
pub(crate) struct Frozen<'t>(#[cfg_attr(not(test), expect(dead_code, reason = "held"))] &'t Table);

impl Slab {
    fn new(address: u64, words: usize, fill: u64) -> Self {
        // The device's memory holds anything at first.
        let changed = BitSet::all_below(words.div_ceil(BLOCK));
        Self { address, words: vec![fill; words], changed }
    }

    /// Sets a word, and says whether this is the first change since the last upload.
    fn set(&mut self, index: usize, word: u64) -> bool {
        if self.words[index] == word {
            return false;
        }
        self.words[index] = word;
        let is_first = self.changed.count() == 0;
        self.changed.insert(index / BLOCK);
        is_first
    }

    /// Hands out the stretches of words that changed, and forgets that they did.
    fn take_changes(&mut self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        while let Some(block) = self.changed.next(ranges.last().map_or(0, |last| last.end / BLOCK))
        {
            self.changed.remove(block);
            let end = ((block + 1) * BLOCK).min(self.words.len());
            match ranges.last_mut() {
                Some(last) if last.end == block * BLOCK => last.end = end,
                _ => ranges.push(block * BLOCK..end),
            }
        }
        ranges
    }
}

impl Table {
    /// Adds a table of absent pages, for which the device has room at an address.
    pub(crate) fn add_flat(&mut self, pages: usize, address: u64) -> Flat {
        Flat(self.add(address, pages, Entry::ABSENT.word()))
    }

    /// Adds a slab and returns its place.
    fn add(&mut self, address: u64, words: usize, fill: u64) -> usize {
        let place = self.slabs.len();
        self.slabs.push(Slab::new(address, words, fill));
        if words > 0 {
            self.changed.push(place);
        }
        place
    }

    fn set_word(&mut self, slab: usize, index: usize, word: u64) {
        if self.slabs[slab].set(index, word) {
            self.changed.push(slab);
        }
    }

    /// Enters a page of a flat table, by its place in it.
    pub(crate) fn set(&mut self, flat: Flat, index: usize, entry: Entry) {
        self.set_word(flat.0, index, entry.word());
    }

    /// The device address of a flat table.
    pub(crate) fn address(&self, flat: Flat) -> u64 {
        self.slabs[flat.0].address
    }

    /// Adds the radix tree, with all pages absent.
    ///
    /// `allocate` finds room on the device for a number of bytes.
    ///
    /// # Errors
    ///
    /// Those of `allocate`.
    pub(crate) fn add_tree<E>(
        &mut self,
        width: Width,
        mut allocate: impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<(), E> {
        let absent_leaf = allocate(NODE_BYTES)?;
        let absent_node = allocate(NODE_BYTES)?;
        let root = allocate(u64::from(width.root_entries()) * 8)?;
        let fanout = TREE_FANOUT as usize;
        self.add(absent_leaf, fanout, Entry::ABSENT.word());
        self.add(absent_node, fanout, absent_leaf);
        let root = self.add(root, width.root_entries() as usize, absent_node);
        self.tree =
            Some(Tree { root, absent_leaf, nodes: BTreeMap::new(), leaves: BTreeMap::new() });
        Ok(())
    }

    /// The device address of the tree's root, and its entries, for the control block.
    pub(crate) fn root(&self) -> Option<(u64, u32)> {
        let root = &self.slabs[self.tree.as_ref()?.root];
        Some((root.address, u32::try_from(root.words.len()).unwrap_or(u32::MAX)))
    }

    /// Enters a page of the tree by its number, and returns whether the tree reaches that far.
    ///
    /// # Errors
    ///
    /// Those of `allocate`; the table is then as it was, but for room that stays unused.
    pub(crate) fn set_page<E>(
        &mut self,
        page: u64,
        entry: Entry,
        mut allocate: impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<bool, E> {
        let Some(tree) = &self.tree else {
            return Ok(false);
        };
        let (root, absent_leaf) = (tree.root, tree.absent_leaf);
        let (top, middle) = (page >> (2 * FANOUT_BITS), page >> FANOUT_BITS);
        if top >= self.slabs[root].words.len() as u64 {
            return Ok(false);
        }
        let at = (page % TREE_FANOUT) as usize;
        if let Some(&leaf) = tree.leaves.get(&middle) {
            self.set_word(leaf, at, entry.word());
            return Ok(true);
        }
        if entry == Entry::ABSENT {
            return Ok(true);
        }
        let known = tree.nodes.get(&top).copied();
        let leaf_address = allocate(NODE_BYTES)?;
        let node = match known {
            Some(node) => node,
            None => {
                let address = allocate(NODE_BYTES)?;
                let node = self.add(address, TREE_FANOUT as usize, absent_leaf);
                if let Some(tree) = &mut self.tree {
                    tree.nodes.insert(top, node);
                }
                self.set_word(root, top as usize, address);
                node
            }
        };
        let leaf = self.add(leaf_address, TREE_FANOUT as usize, Entry::ABSENT.word());
        if let Some(tree) = &mut self.tree {
            tree.leaves.insert(middle, leaf);
        }
        self.set_word(leaf, at, entry.word());
        self.set_word(node, (middle % TREE_FANOUT) as usize, leaf_address);
        Ok(true)
    }

    /// Forgets what the device has: the next upload passes all words.
    pub(crate) fn doubt(&mut self) {
        for slab in &mut self.slabs {
            slab.changed = BitSet::all_below(slab.words.len().div_ceil(BLOCK));
        }
        self.changed = (0..self.slabs.len()).collect();
    }

    /// Passes changed words and their addresses to `write`, and freezes the table for a round.
    ///
    /// # Errors
    ///
    /// Those of `write`. The device's table is then of no use until [`doubt`](Self::doubt) and
    /// another upload.
    pub(crate) fn upload<E>(
        &mut self,
        mut write: impl FnMut(u64, &[u64]) -> Result<(), E>,
    ) -> Result<Frozen<'_>, E> {
        for slab in self.changed.drain(..) {
            let slab = &mut self.slabs[slab];
            for range in slab.take_changes() {
                step(range.len().div_ceil(BLOCK));
                write(slab.address + range.start as u64 * 8, &slab.words[range])?;
            }
        }
        Ok(Frozen(self))
    }
}

#[cfg(test)]
impl Frozen<'_> {
    /// The table as the device has it.
    pub(crate) fn table(&self) -> &Table {
        self.0
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
