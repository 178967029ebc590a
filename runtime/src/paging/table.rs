//! The device's page table: flat per lend, a radix tree for addresses in no lend.
//!
//! The host keeps an image of it. [`Table::upload`] writes the changed words to the device and
//! returns a [`Frozen`]: while a round holds it, the borrow checker keeps the table constant. The
//! formats are those of [`control`](farptr_rewrite::control).

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
    tree: Option<Tree>,
}

/// Consecutive words of a table: the host's image, and their device address.
#[derive(Debug)]
struct Slab {
    address: u64,
    words: Vec<u64>,
    /// A bit per block that differs from the device's.
    changed: Vec<u64>,
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
        Self { address, words: vec![fill; words], changed: all_blocks(words) }
    }

    fn set(&mut self, index: usize, word: u64) {
        if self.words[index] == word {
            return;
        }
        self.words[index] = word;
        let block = index / BLOCK;
        self.changed[block / 64] |= 1 << (block % 64);
    }

    /// Hands out the stretches of words that changed, and forgets that they did.
    fn take_changes(&mut self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (index, bits) in self.changed.iter_mut().enumerate() {
            let mut rest = std::mem::take(bits);
            while rest != 0 {
                let block = index * 64 + rest.trailing_zeros() as usize;
                rest &= rest - 1;
                let end = ((block + 1) * BLOCK).min(self.words.len());
                match ranges.last_mut() {
                    Some(last) if last.end == block * BLOCK => last.end = end,
                    _ => ranges.push(block * BLOCK..end),
                }
            }
        }
        ranges
    }
}

/// A bit for each block of so many words.
fn all_blocks(words: usize) -> Vec<u64> {
    let blocks = words.div_ceil(BLOCK);
    let mut all = vec![u64::MAX; blocks.div_ceil(64)];
    if let (Some(last), spare @ 1..) = (all.last_mut(), blocks % 64) {
        *last = (1 << spare) - 1;
    }
    all
}

impl Table {
    /// Adds a table of absent pages, for which the device has room at an address.
    pub(crate) fn add_flat(&mut self, pages: usize, address: u64) -> Flat {
        self.slabs.push(Slab::new(address, pages, Entry::ABSENT.word()));
        Flat(self.slabs.len() - 1)
    }

    /// Enters a page of a flat table, by its place in it.
    pub(crate) fn set(&mut self, flat: Flat, index: usize, entry: Entry) {
        self.slabs[flat.0].set(index, entry.word());
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
        self.slabs.push(Slab::new(absent_leaf, fanout, Entry::ABSENT.word()));
        self.slabs.push(Slab::new(absent_node, fanout, absent_leaf));
        self.slabs.push(Slab::new(root, width.root_entries() as usize, absent_node));
        self.tree = Some(Tree {
            root: self.slabs.len() - 1,
            absent_leaf,
            nodes: BTreeMap::new(),
            leaves: BTreeMap::new(),
        });
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
        let Some(tree) = &mut self.tree else {
            return Ok(false);
        };
        let (top, middle) = (page >> (2 * FANOUT_BITS), page >> FANOUT_BITS);
        if top >= self.slabs[tree.root].words.len() as u64 {
            return Ok(false);
        }
        let at = (page % TREE_FANOUT) as usize;
        if let Some(&leaf) = tree.leaves.get(&middle) {
            self.slabs[leaf].set(at, entry.word());
            return Ok(true);
        }
        if entry == Entry::ABSENT {
            return Ok(true);
        }
        let leaf_address = allocate(NODE_BYTES)?;
        let node = match tree.nodes.get(&top) {
            Some(&node) => node,
            None => {
                let address = allocate(NODE_BYTES)?;
                self.slabs.push(Slab::new(address, TREE_FANOUT as usize, tree.absent_leaf));
                let node = self.slabs.len() - 1;
                tree.nodes.insert(top, node);
                self.slabs[tree.root].set(top as usize, address);
                node
            }
        };
        self.slabs.push(Slab::new(leaf_address, TREE_FANOUT as usize, Entry::ABSENT.word()));
        let leaf = self.slabs.len() - 1;
        tree.leaves.insert(middle, leaf);
        self.slabs[leaf].set(at, entry.word());
        self.slabs[node].set((middle % TREE_FANOUT) as usize, leaf_address);
        Ok(true)
    }

    /// Forgets what the device has: the next upload passes all words.
    pub(crate) fn doubt(&mut self) {
        for slab in &mut self.slabs {
            slab.changed = all_blocks(slab.words.len());
        }
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
        for slab in &mut self.slabs {
            for range in slab.take_changes() {
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
