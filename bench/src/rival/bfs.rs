//! Breadth-first search by hand over nodes that hold each other's device addresses, in memory that
//! is imported once.
//!
//! # Safety
//!
//! Rules 1 and 3 of the parent module. The nodes are laid out at the addresses of their arrays, so
//! a kernel that follows them stays in the arrays; they belong to the value, which a run borrows
//! mutably, so that nothing looks at an element while the device may change it.

use super::ImportedPages;
use crate::{
    failure::Failure,
    page::pages_of,
    vulkan::{Device, HOST, KERNEL_WRITES, Kernel, Lane},
};
use farptr::{
    KernelDesc, Ptr, PtrMut,
    shaders::{
        abi::{LOOP_WINDOW, Node, UNREACHED},
        bfs,
    },
};
use farptr_samples::Graph;
use std::rc::Rc;

/// A graph in imported memory.
pub(crate) struct ImportedBfs {
    // Invariants: all belongs to one device. `nodes` are the graph's nodes, which hold addresses in
    // `links` and `nodes`; each frontier has room for all of them.
    lane: Lane,
    kernel: Kernel<bfs::Kernel>,
    nodes: ImportedPages,
    _links: ImportedPages,
    frontiers: [ImportedPages; 2],
    next_count: ImportedPages,
    vertices: usize,
    degree_max: u32,
}

impl ImportedBfs {
    /// Lays a graph out in imported memory.
    pub(crate) fn new(device: &Rc<Device>, graph: &Graph) -> Result<Self, Failure> {
        let vertices = graph.vertices();
        let import = |words: usize| ImportedPages::new(device, pages_of(&vec![0u64; words]));
        let mut nodes = import(vertices * size_of::<Node>() / size_of::<u64>())?;
        let mut links = import(graph.edges())?;
        let (first_node, first_link) = (nodes.address(), links.address());
        // SAFETY: no run was ever submitted.
        let node_elements = unsafe { nodes.elements_mut(vertices) };
        // SAFETY: as above.
        let link_elements = unsafe { links.elements_mut(graph.edges()) };
        lay_out(graph, (first_node, node_elements), (first_link, link_elements));
        Ok(Self {
            lane: Lane::new(device)?,
            kernel: Kernel::new(device)?,
            nodes,
            _links: links,
            frontiers: [import(vertices)?, import(vertices)?],
            next_count: import(1)?,
            vertices,
            degree_max: degree_max(graph),
        })
    }

    /// Forgets a search, and puts a vertex into the first frontier.
    pub(crate) fn reset(&mut self, start: u32) {
        let address = node_at(self.nodes.address(), start);
        let vertices = self.vertices;
        // SAFETY: runs begin and end within `search`.
        let nodes: &mut [Node] = unsafe { self.nodes.elements_mut(vertices) };
        nodes.iter_mut().for_each(|node| node.level = UNREACHED);
        nodes[start as usize].level = 0;
        // SAFETY: as above.
        let first = unsafe { self.frontiers[0].elements_mut(1) };
        first.copy_from_slice(&[address]);
        // SAFETY: as above.
        let count: &mut [u32] = unsafe { self.next_count.elements_mut(1) };
        count.fill(0);
    }

    /// Searches from the frontier that [`reset`](Self::reset) has left; returns the levels.
    pub(crate) fn search(&mut self) -> Result<u32, Failure> {
        let (mut count, mut level) = (1, 0);
        while count > 0 {
            level += 1;
            self.expand(count, level)?;
            // SAFETY: the run has ended.
            count = std::mem::take(&mut unsafe { self.next_count.elements_mut(1) }[0]);
            self.frontiers.swap(0, 1);
        }
        Ok(level)
    }

    /// The nodes, as the last search left them.
    pub(crate) fn nodes(&self) -> &[Node] {
        // SAFETY: runs begin and end within `search`.
        unsafe { self.nodes.elements(self.vertices) }
    }

    /// One level. Launches for parts of the neighbours need no barrier between them: what they
    /// share they change by atomic operations, in any order.
    fn expand(&mut self, count: u32, level: u32) -> Result<(), Failure> {
        let Self { lane, kernel, frontiers: [frontier, next], next_count, degree_max, .. } = self;
        let groups = lane.device().groups_for(count, kernel.width);
        let args = |first| bfs::Args {
            frontier: Ptr::from_address(frontier.address()),
            next: PtrMut::from_address(next.address()),
            next_count: PtrMut::from_address(next_count.address()),
            count,
            level,
            first,
            window: LOOP_WINDOW,
        };
        let firsts = (0..*degree_max).step_by(LOOP_WINDOW as usize);
        let pushes: Vec<_> = firsts.map(|first| bfs::Kernel::push(args(first))).collect();
        lane.run(|recorder| {
            // SAFETY: 1. all is of one device, within its limits; 2. the kernel touches the nodes
            // and their links (invariants), as many addresses of the frontier as there are, which
            // are those of nodes, and the next frontier, to which it adds each node at most once.
            unsafe { recorder.launch_all(kernel, &pushes, groups, None) };
            recorder.barrier(KERNEL_WRITES, HOST);
        })
    }
}

/// Writes a graph's nodes and links into arrays that begin at the addresses beside them.
pub(crate) fn lay_out(
    graph: &Graph,
    (first_node, nodes): (u64, &mut [Node]),
    (first_link, links): (u64, &mut [u64]),
) {
    for (link, &target) in links.iter_mut().zip(graph.targets()) {
        *link = node_at(first_node, target);
    }
    let parts = graph.offsets().windows(2);
    for ((id, node), part) in (0u32..).zip(nodes).zip(parts) {
        let neighbours = first_link + (part[0] * size_of::<u64>()) as u64;
        let degree = u32::try_from(part[1] - part[0]).expect("neighbours are 32-bit numbers");
        *node = Node { neighbours, degree, level: UNREACHED, visits: 0, id };
    }
}

/// The address of a node in an array that begins at an address.
pub(crate) fn node_at(first_node: u64, vertex: u32) -> u64 {
    first_node + u64::from(vertex) * size_of::<Node>() as u64
}

/// The most neighbours of a vertex.
pub(crate) fn degree_max(graph: &Graph) -> u32 {
    let degrees = graph.offsets().windows(2).map(|part| part[1] - part[0]);
    degrees.max().map_or(0, |most| u32::try_from(most).expect("neighbours are 32-bit numbers"))
}
