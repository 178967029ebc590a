//! Breadth-first search over nodes that hold each other's addresses: a launch and a look of the
//! host for each level.

use crate::{
    case::{Case, Context, Devices, open, open_backed},
    failure::Failure,
    measure::Variant,
    page::{Page, elements_mut_of, elements_of, pages_of},
    rival::{ImportedBfs, degree_max, lay_out, node_at},
};
use farptr::{
    AccessMode, Backing, Error, Grid, Kernel, Runtime, VirtAddr,
    shaders::{
        abi::{LOOP_WINDOW, Node, UNREACHED},
        bfs,
    },
};
use farptr_samples::{Graph, generate, reference::bfs_levels};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// The graph has 2^14 vertices.
const SCALE: u32 = 14;
const SEED: u64 = 1;

pub(super) struct Bfs;

impl Case for Bfs {
    fn name(&self) -> &'static str {
        "bfs"
    }

    fn about(&self) -> &'static str {
        "breadth-first search over linked nodes, Kronecker graph of 2^14 vertices"
    }

    fn variants(&self) -> &'static [&'static str] {
        &["ash-imported", "mirrored-import", "mirrored-copy", "checked-direct"]
    }

    fn prepare<'c>(
        &self,
        context: &'c Context,
        _size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure> {
        let Devices { rival, .. } = context.devices();
        let search = Rc::new(Search::new(SCALE)?);
        let mirrored = |backing| open_backed(AccessMode::Mirrored, backing);
        let (import, copy) = (mirrored(Backing::Import)?, mirrored(Backing::Copy)?);
        Ok(vec![
            Box::new(Imported {
                bfs: ImportedBfs::new(rival, &search.graph)?,
                search: Rc::clone(&search),
                right: true,
            }),
            Box::new(Farptr::new("mirrored-import", import, &search)?),
            Box::new(Farptr::new("mirrored-copy", copy, &search)?),
            Box::new(Farptr::new("checked-direct", open(AccessMode::Direct)?, &search)?),
        ])
    }
}

/// A graph, the vertex that a search begins with, and what it finds.
struct Search {
    graph: Graph,
    start: u32,
    levels: Vec<u32>,
}

impl Search {
    fn new(scale: u32) -> Result<Self, Failure> {
        let graph = generate::kronecker(scale, generate::EDGE_FACTOR, SEED);
        let graph = graph.map_err(|problem| problem.in_input("kronecker"))?;
        let start = graph.busiest();
        let levels = bfs_levels(&graph, start);
        Ok(Self { graph, start, levels })
    }

    fn is_right(&self, nodes: &[Node]) -> bool {
        nodes.iter().map(|node| node.level).eq(self.levels.iter().copied())
    }
}

/// Hand-written: all arrays imported once, before the clock.
struct Imported {
    bfs: ImportedBfs,
    search: Rc<Search>,
    right: bool,
}

impl Variant for Imported {
    fn name(&self) -> &'static str {
        "ash-imported"
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let mut elapsed = Duration::ZERO;
        for _ in 0..calls {
            self.bfs.reset(self.search.start);
            let start = Instant::now();
            self.bfs.search()?;
            elapsed += start.elapsed();
            self.right &= self.search.is_right(self.bfs.nodes());
        }
        Ok(elapsed)
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}

/// farptr: a scope that lends everything, searches and ends.
struct Farptr {
    name: &'static str,
    runtime: Runtime,
    kernel: Kernel<bfs::Kernel>,
    search: Rc<Search>,
    arrays: Arrays,
    degree_max: u32,
    right: bool,
}

/// Host memory as the rival has it, in pages.
struct Arrays {
    nodes: Vec<Page>,
    links: Vec<Page>,
    frontiers: [Vec<Page>; 2],
    next_count: Vec<Page>,
}

impl Farptr {
    fn new(name: &'static str, runtime: Runtime, search: &Rc<Search>) -> Result<Self, Failure> {
        Ok(Self {
            name,
            kernel: runtime.kernel::<bfs::Kernel>().map_err(Error::from)?,
            runtime,
            arrays: Arrays::new(&search.graph),
            degree_max: degree_max(&search.graph),
            search: Rc::clone(search),
            right: true,
        })
    }

    fn search(&mut self) -> Result<(), Error> {
        let Self { kernel, search, arrays, degree_max, .. } = self;
        let (vertices, edges) = (search.graph.vertices(), search.graph.edges());
        let Arrays { nodes, links, frontiers: [one, other], next_count } = arrays;
        self.runtime.scope(|s| {
            s.lend_mut(elements_mut_of::<Node>(nodes, vertices))?;
            s.lend(elements_of::<u64>(links, edges))?;
            let mut frontier = s.lend_mut(elements_mut_of::<u64>(one, vertices))?;
            let mut next = s.lend_mut(elements_mut_of::<u64>(other, vertices))?;
            let next_count = s.lend_mut(elements_mut_of::<u32>(next_count, 1))?;
            let (mut count, mut level) = (1, 0);
            while count > 0 {
                level += 1;
                for first in (0..*degree_max).step_by(LOOP_WINDOW as usize) {
                    let args = bfs::Args {
                        frontier: frontier.ptr().into(),
                        next: next.ptr(),
                        next_count: next_count.ptr(),
                        count,
                        level,
                        first,
                        window: LOOP_WINDOW,
                    };
                    s.launch(kernel, Grid::cover(count as usize), args)?;
                }
                count = std::mem::take(&mut s.wait()?.write(&next_count)?[0]);
                std::mem::swap(&mut frontier, &mut next);
            }
            Ok(())
        })
    }
}

impl Arrays {
    fn new(graph: &Graph) -> Self {
        let vertices = graph.vertices();
        let room = |words: usize| pages_of(&vec![0u64; words]);
        let mut nodes = room(vertices * size_of::<Node>() / size_of::<u64>());
        let mut links = room(graph.edges());
        let (first_node, first_link) = (address(&nodes), address(&links));
        let node_elements = elements_mut_of(&mut nodes, vertices);
        let link_elements = elements_mut_of(&mut links, graph.edges());
        lay_out(graph, (first_node, node_elements), (first_link, link_elements));
        Self { nodes, links, frontiers: [room(vertices), room(vertices)], next_count: room(1) }
    }

    /// Forgets a search, and puts a vertex into the first frontier.
    fn reset(&mut self, graph: &Graph, start: u32) {
        let first_node = node_at(address(&self.nodes), start);
        let nodes: &mut [Node] = elements_mut_of(&mut self.nodes, graph.vertices());
        nodes.iter_mut().for_each(|node| node.level = UNREACHED);
        nodes[start as usize].level = 0;
        elements_mut_of::<u64>(&mut self.frontiers[0], 1)[0] = first_node;
        elements_mut_of::<u32>(&mut self.next_count, 1)[0] = 0;
    }
}

fn address(pages: &[Page]) -> u64 {
    VirtAddr::of_slice(pages).get()
}

impl Variant for Farptr {
    fn name(&self) -> &'static str {
        self.name
    }

    fn sample(&mut self, calls: u32) -> Result<Duration, Failure> {
        let mut elapsed = Duration::ZERO;
        for _ in 0..calls {
            self.arrays.reset(&self.search.graph, self.search.start);
            let start = Instant::now();
            self.search()?;
            elapsed += start.elapsed();
            let nodes = elements_of(&self.arrays.nodes, self.search.graph.vertices());
            self.right &= self.search.is_right(nodes);
        }
        Ok(elapsed)
    }

    fn verify(&mut self) -> Result<bool, Failure> {
        Ok(self.right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_that_was_not_searched_is_not_right() {
        let search = Search::new(6).unwrap();
        let mut arrays = Arrays::new(&search.graph);
        arrays.reset(&search.graph, search.start);
        let nodes: &mut [Node] = elements_mut_of(&mut arrays.nodes, search.graph.vertices());
        assert!(!search.is_right(nodes));
        nodes.iter_mut().zip(&search.levels).for_each(|(node, &level)| node.level = level);
        assert!(search.is_right(nodes));
    }

    #[test]
    fn links_lead_to_the_neighbours() {
        let graph = generate::path(3).unwrap();
        let arrays = Arrays::new(&graph);
        let (first_node, first_link) = (address(&arrays.nodes), address(&arrays.links));
        let nodes: &[Node] = elements_of(&arrays.nodes, 3);
        assert_eq!(nodes.iter().map(|node| node.degree).collect::<Vec<_>>(), [1, 1, 0]);
        assert_eq!(nodes[1].neighbours, first_link + 8);
        assert_eq!(elements_of::<u64>(&arrays.links, 2), [1, 2].map(|at| node_at(first_node, at)));
    }
}
