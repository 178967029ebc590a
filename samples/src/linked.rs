//! Graphs whose nodes hold the host addresses of their neighbours, searched and walked by kernels.
//!
//! Nodes and links are lent whole, so that every address which a kernel loads is that of a lent
//! node or link; one that is not would end the launch with an error.

use farptr::shaders::abi::{LOOP_WINDOW, Node, UNREACHED, Walker};
use farptr::shaders::{bfs, walk};
use farptr::{Error, Grid, Lent, LentMut, Runtime, VirtAddr};

use crate::graph::Graph;
use crate::progress::Stage;
use crate::reference::WalkRng;

/// A graph as a structure of host pointers.
#[derive(Debug)]
pub struct Linked {
    // Invariants: a node's neighbours are `degree` elements of `links`, each the address of an
    // element of `nodes`. Neither vector changes its length, so neither moves its elements.
    nodes: Vec<Node>,
    links: Vec<u64>,
}

impl Linked {
    /// Lays out one node per vertex and links them by address.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        let blank = Node { neighbours: 0, degree: 0, level: UNREACHED, visits: 0, id: 0 };
        let mut nodes = vec![blank; graph.vertices()];
        let addresses: Vec<u64> = nodes.iter().map(|node| VirtAddr::of(node).get()).collect();
        let links: Vec<u64> =
            graph.targets().iter().map(|&target| addresses[target as usize]).collect();
        let parts = graph.offsets().windows(2);
        for ((id, node), part) in (0u32..).zip(&mut nodes).zip(parts) {
            let neighbours = &links[part[0]..part[1]];
            node.id = id;
            node.neighbours = VirtAddr::of_slice(neighbours).get();
            node.degree = degree(neighbours.len());
        }
        Self { nodes, links }
    }

    /// Each vertex's level: its distance from the start of the last search.
    #[must_use]
    pub fn levels(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.level).collect()
    }

    /// How often the walks so far arrived at each vertex.
    #[must_use]
    pub fn visits(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.visits).collect()
    }

    fn address(&self, vertex: u32) -> u64 {
        VirtAddr::of(&self.nodes[vertex as usize]).get()
    }

    /// Searches breadth first from a vertex; returns the number of levels.
    ///
    /// # Errors
    /// [`Error::Kernel`], [`Error::Lend`] or [`Error::Launch`] when the device refuses.
    ///
    /// # Panics
    /// When there is no such vertex.
    pub fn search(
        &mut self,
        runtime: &Runtime,
        start: u32,
        stage: &mut Stage,
    ) -> Result<u32, Error> {
        let kernel = runtime.kernel::<bfs::Kernel>()?;
        let degree = self.nodes.iter().map(|node| node.degree).max().unwrap_or(0);
        self.nodes.iter_mut().for_each(|node| node.level = UNREACHED);
        self.nodes[start as usize].level = 0;
        let (mut one, mut other) = (vec![0; self.nodes.len()], vec![0; self.nodes.len()]);
        one[0] = self.address(start);
        let mut next_count = [0u32];
        let Self { nodes, links } = self;
        runtime.scope(|s| {
            s.lend_mut(nodes)?;
            s.lend(links)?;
            let (mut frontier, mut next) = (s.lend_mut(&mut one)?, s.lend_mut(&mut other)?);
            let next_count = s.lend_mut(&mut next_count)?;
            let (mut count, mut level) = (1, 0);
            while count > 0 {
                level += 1;
                stage.advance(u64::from(count));
                for first in (0..degree).step_by(LOOP_WINDOW as usize) {
                    let args = bfs::Args {
                        frontier: frontier.ptr().into(),
                        next: next.ptr(),
                        next_count: next_count.ptr(),
                        count,
                        level,
                        first,
                        window: LOOP_WINDOW,
                    };
                    s.launch(&kernel, Grid::cover(count as usize), args)?;
                }
                let mut idle = s.wait()?;
                count = std::mem::take(&mut idle.write(&next_count)?[0]);
                std::mem::swap(&mut frontier, &mut next);
            }
            Ok(level)
        })
    }

    /// Walks at random from a vertex, counting visits; returns where the walkers end.
    ///
    /// # Errors
    /// [`Error::Kernel`], [`Error::Lend`] or [`Error::Launch`] when the device refuses.
    ///
    /// # Panics
    /// When there is no such vertex.
    pub fn walk(
        &mut self,
        runtime: &Runtime,
        start: u32,
        Walkers { count, steps, seed }: Walkers,
        stage: &mut Stage,
    ) -> Result<Vec<u32>, Error> {
        let kernel = runtime.kernel::<walk::Kernel>()?;
        let node = self.address(start);
        let walker = |w| Walker { node, random: WalkRng::new(seed, w).state(), unused: 0 };
        let mut places: Vec<Walker> = (0..count).map(walker).collect();
        let base = self.address(0);
        let Self { nodes, links } = self;
        runtime.scope(|s| {
            let nodes: LentMut<'_, Node> = s.lend_mut(nodes)?;
            let _links: Lent<'_, u64> = s.lend(links)?;
            let places = s.lend_mut(&mut places)?;
            for first in (0..steps).step_by(LOOP_WINDOW as usize) {
                let args = walk::Args {
                    walkers: places.ptr(),
                    start: nodes.ptr().add(u64::from(start)),
                    count,
                    steps: LOOP_WINDOW.min(steps - first),
                };
                s.launch(&kernel, Grid::cover(count as usize), args)?;
                s.wait()?;
                stage.advance(u64::from(args.steps));
            }
            Ok(())
        })?;
        let vertex = |place: &Walker| (place.node - base) / size_of::<Node>() as u64;
        Ok(places.iter().map(|place| number(vertex(place))).collect())
    }
}

/// How many random walks, how long, and from which seed.
#[derive(Clone, Copy, Debug)]
pub struct Walkers {
    /// The number of walkers.
    pub count: u32,
    /// The steps of each.
    pub steps: u32,
    /// The seed; walker `w` starts from the hash of `seed + w`.
    pub seed: u32,
}

fn degree(len: usize) -> u32 {
    u32::try_from(len).expect("a vertex has at most 2^32 - 1 distinct neighbours")
}

fn number(vertex: u64) -> u32 {
    u32::try_from(vertex).expect("a walker stands on a node, and nodes have 32-bit numbers")
}
