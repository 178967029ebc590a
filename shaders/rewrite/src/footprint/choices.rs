//! Which branches choose the way by which a block is reached, and which run of a loop is its last.
//!
//! A compiler may make a selection of a branch, and read what the branch depends on once more at
//! each use. So a value that came by one of several ways is no better known than the branches
//! that chose the way.

use crate::footprint::nest::Nest;

/// The blocks of a flow, with what is needed to find the branches that choose.
pub(super) struct Choices<'n> {
    nest: &'n Nest,
    dominators: Vec<usize>,
}

impl<'n> Choices<'n> {
    pub(super) fn of(nest: &'n Nest) -> Self {
        Self { nest, dominators: nest.dominators() }
    }

    /// The blocks that choose among the ways to a block from before it, or among those that go
    /// back to it.
    pub(super) fn to_block(&self, block: usize, is_back: bool) -> Vec<usize> {
        let edges = &self.nest.edges;
        let ways = self.nest.ins[block].iter().filter(|&&edge| edges[edge].is_back == is_back);
        let mut walk = Walk::new(self.nest, if is_back { block } else { self.dominators[block] });
        for &edge in ways {
            walk.go(&[edges[edge].from]);
        }
        walk.choosing()
    }

    /// The ways out of a loop, and the blocks that choose whether, and by which, it is left.
    pub(super) fn out_of_loop(&self, header: usize) -> (Vec<usize>, Vec<usize>) {
        let edges = &self.nest.edges;
        let back = self.nest.ins[header].iter().filter(|&&edge| edges[edge].is_back);
        let back: Vec<usize> = back.map(|&edge| edges[edge].from).collect();
        let inside = self.nest.natural_loop(header, back.clone());
        let leaves = |edge: &usize| inside[edges[*edge].from] && !inside[edges[*edge].to];
        let exits: Vec<usize> = (0..edges.len()).filter(leaves).collect();
        let mut walk = Walk::new(self.nest, header);
        walk.go(&back);
        for &edge in &exits {
            walk.go(&[edges[edge].from]);
        }
        (exits, walk.choosing())
    }
}

/// Walks against the ways from several ends, up to one block.
struct Walk<'n> {
    nest: &'n Nest,
    top: usize,
    /// The last walk that came to each block, and how many came: 0, 1, or more.
    last: Vec<usize>,
    came: Vec<u8>,
    walks: usize,
}

impl<'n> Walk<'n> {
    fn new(nest: &'n Nest, top: usize) -> Self {
        let count = nest.parts.len();
        Self { nest, top, last: vec![0; count], came: vec![0; count], walks: 0 }
    }

    /// One walk. From where two have been a third finds nothing new.
    fn go(&mut self, ends: &[usize]) {
        self.walks += 1;
        let mut open = ends.to_vec();
        while let Some(block) = open.pop() {
            if self.last[block] == self.walks || self.came[block] > 1 {
                continue;
            }
            self.last[block] = self.walks;
            self.came[block] += 1;
            if block != self.top {
                let ins = self.nest.ins[block].iter();
                open.extend(ins.map(|&edge| self.nest.edges[edge].from));
            }
        }
    }

    /// The blocks with a branch from which more than one end is reached.
    fn choosing(self) -> Vec<usize> {
        let branches = |block: &usize| self.came[*block] > 1 && self.nest.outs[*block].len() > 1;
        (0..self.came.len()).filter(branches).collect()
    }
}
