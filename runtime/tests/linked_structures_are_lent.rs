//! Structures with pointers are lent as they are: kernels follow references, and build and change
//! lists of raw pointers, however the device reaches memory.
//!
//! # Safety
//!
//! Pointers that a kernel wrote are followed after each was found to be the address of a node.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
#![allow(unsafe_code, reason = "the argument is above")]

mod common;
#[path = "common/ways.rs"]
mod ways;

use farptr::{Error, Grid, LendError, Lendable, LendableMut, Runtime};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use ways::ways;

/// Nodes of a test: more than a page, and several workgroups.
const COUNT: usize = 1000;

/// A node of a tree of references.
#[derive(Lendable)]
#[repr(C)]
struct Tree<'a> {
    children: [Option<&'a Tree<'a>>; 2],
    key: u32,
    value: u32,
}

farptr::kernel! {
    /// Looks keys up in a tree.
    mod look_up,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 64) in;
        layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Tree {
            uvec2 children[2];
            uint key;
            uint value;
        };
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint at[]; };
        layout(push_constant) uniform Push { uvec2 root; uvec2 keys; uint n; };
        void main() {
            uint i = gl_GlobalInvocationID.x;
            if (i >= n) return;
            uint key = U32(keys).at[i];
            uvec2 node = root;
            for (uint depth = 0; depth < 64 && node != uvec2(0); depth++) {
                if (Tree(node).key == key) {
                    U32(keys).at[i] = Tree(node).value;
                    return;
                }
                node = Tree(node).children[key < Tree(node).key ? 0 : 1];
            }
            U32(keys).at[i] = 0;
        }
    "#,
    args: { root: Option<Tree<'_>> },
}

/// A tree of the keys from `low` on, all even, in the order of an arena.
fn grow<'a>(arena: &'a [std::cell::OnceCell<Tree<'a>>], low: u32) -> Option<&'a Tree<'a>> {
    if arena.is_empty() {
        return None;
    }
    let middle = arena.len() / 2;
    let key = low + 2 * u32::try_from(middle).unwrap();
    let children = [grow(&arena[..middle], low), grow(&arena[middle + 1..], key + 2)];
    Some(arena[middle].get_or_init(|| Tree { children, key, value: key.wrapping_mul(7) + 1 }))
}

fn find(mut node: Option<&Tree<'_>>, key: u32) -> u32 {
    while let Some(tree) = node {
        if tree.key == key {
            return tree.value;
        }
        node = tree.children[usize::from(key > tree.key)];
    }
    0
}

/// What a kernel finds for keys that are there, and for others.
fn look_up(runtime: &Runtime, nodes: &[&Tree<'_>], root: &Tree<'_>) -> Result<Vec<u32>, Error> {
    let kernel = runtime.kernel::<look_up::Kernel>()?;
    let mut keys: Vec<u32> = (0..2 * u32::try_from(COUNT).unwrap()).collect();
    let n = u32::try_from(keys.len()).unwrap();
    runtime.scope(|s| {
        for node in nodes {
            s.lend_value(*node)?;
        }
        let (root, keys) = (s.lend_value(root)?.ptr(), s.lend_mut(&mut keys)?.ptr());
        let args = look_up::Args { root: Some(root), keys, n };
        Ok(s.launch(&kernel, Grid::cover(n as usize), args)?)
    })?;
    Ok(keys)
}

#[test]
fn a_tree_of_references_is_searched() {
    let arena: Vec<_> = (0..COUNT / 8).map(|_| std::cell::OnceCell::new()).collect();
    let root = grow(&arena, 0).unwrap();
    let nodes: Vec<&Tree<'_>> = arena.iter().filter_map(std::cell::OnceCell::get).collect();
    assert_eq!(nodes.len(), COUNT / 8);
    let expected: Vec<u32> =
        (0..2 * u32::try_from(COUNT).unwrap()).map(|key| find(Some(root), key)).collect();
    assert_eq!(expected.iter().filter(|&&value| value != 0).count(), COUNT / 8);
    for (way, runtime) in ways() {
        let found = look_up(&runtime, &nodes, root).unwrap_or_else(|e| panic!("{way}: {e}"));
        assert!(found == expected, "{way}");
    }
}

/// A node of a list, which kernels link.
#[derive(Clone, Copy, Lendable, LendableMut)]
#[repr(C)]
struct Node {
    next: Option<NonNull<Node>>,
    previous: *const Node,
    value: u32,
    steps: u32,
}

const BLANK: Node = Node { next: None, previous: ptr::null(), value: 0, steps: 0 };

farptr::kernel! {
    /// Links node `i` to node `i * stride % n`, and back.
    mod link,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 64) in;
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node {
            uvec2 next;
            uvec2 previous;
            uint value;
            uint steps;
        };
        layout(push_constant) uniform Push { uvec2 nodes; uint n; uint stride; };
        uvec2 node(uint at) {
            uint carry;
            uint low = uaddCarry(nodes.x, 24 * at, carry);
            return uvec2(low, nodes.y + carry);
        }
        void main() {
            uint i = gl_GlobalInvocationID.x;
            if (i >= n) return;
            uvec2 here = node(i);
            uvec2 there = node(i * stride % n);
            Node(here).next = there;
            Node(there).previous = here;
            Node(here).value = i * i;
        }
    "#,
    args: { nodes: PtrMut<Node> },
}

farptr::kernel! {
    /// Adds up the values of some nodes from each node on, forwards and backwards.
    mod walk,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 64) in;
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node {
            uvec2 next;
            uvec2 previous;
            uint value;
            uint steps;
        };
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Heads { uvec2 at[]; };
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer Sums { uint at[]; };
        layout(push_constant) uniform Push { uvec2 heads; uvec2 sums; uint n; };
        void main() {
            uint i = gl_GlobalInvocationID.x;
            if (i >= n) return;
            uvec2 forwards = Heads(heads).at[i];
            uvec2 backwards = forwards;
            uint sum = 0;
            for (uint step = 0; step < 9; step++) {
                sum += Node(forwards).value + 3 * Node(backwards).value;
                forwards = Node(forwards).next;
                backwards = Node(backwards).previous;
            }
            Sums(sums).at[i] = sum;
        }
    "#,
    args: { heads: Ptr<NonNull<Node>> },
}

/// A number that has no divisor in common with [`COUNT`], so that the links are a permutation.
const STRIDE: u32 = 387;

/// What the links of node `i` lead to: the next one, and the previous one.
fn neighbours() -> (Vec<usize>, Vec<usize>) {
    let next: Vec<usize> = (0..COUNT).map(|i| i * STRIDE as usize % COUNT).collect();
    let mut previous = vec![usize::MAX; COUNT];
    next.iter().zip(0..).for_each(|(&next, i)| previous[next] = i);
    (next, previous)
}

fn link_nodes(runtime: &Runtime, nodes: &mut [Node]) -> Result<Vec<u32>, Error> {
    let (link, walk) = (runtime.kernel::<link::Kernel>()?, runtime.kernel::<walk::Kernel>()?);
    let n = u32::try_from(nodes.len()).unwrap();
    let there = NonNull::new(nodes.as_mut_ptr()).unwrap();
    // Addresses alone: nothing is reached through them here.
    let heads: Vec<NonNull<Node>> =
        (0..nodes.len()).map(|i| NonNull::new(there.as_ptr().wrapping_add(i)).unwrap()).collect();
    let mut sums = vec![0u32; nodes.len()];
    runtime.scope(|s| {
        let (nodes, heads, sums) = (s.lend_mut(nodes)?, s.lend(&heads)?, s.lend_mut(&mut sums)?);
        let args = link::Args { nodes: nodes.ptr(), n, stride: STRIDE };
        s.launch(&link, Grid::cover(n as usize), args)?;
        // The host changes a value and a pointer between launches, and takes the pointer back.
        let mut idle = s.wait()?;
        let all = idle.write(&nodes)?;
        all[0].value = 5;
        let next = all[1].next.take();
        assert!(next.is_some() && all[1].next.is_none());
        all[1].next = next;
        let args = walk::Args { heads: heads.ptr(), sums: sums.ptr(), n };
        Ok(s.launch(&walk, Grid::cover(n as usize), args)?)
    })?;
    Ok(sums)
}

fn walk_on_the_cpu() -> Vec<u32> {
    let (next, previous) = neighbours();
    let value = |i: usize| if i == 0 { 5 } else { u32::try_from(i * i).unwrap() };
    let walk = |from: usize| {
        let (mut forwards, mut backwards, mut sum) = (from, from, 0u32);
        for _ in 0..9 {
            sum = sum.wrapping_add(value(forwards) + 3 * value(backwards));
            (forwards, backwards) = (next[forwards], previous[backwards]);
        }
        sum
    };
    (0..COUNT).map(walk).collect()
}

#[test]
fn a_kernel_links_nodes_and_another_walks_along_them() {
    let expected = walk_on_the_cpu();
    let (next, previous) = neighbours();
    for (way, runtime) in ways() {
        let mut nodes = vec![BLANK; COUNT];
        let sums = link_nodes(&runtime, &mut nodes).unwrap_or_else(|e| panic!("{way}: {e}"));
        assert!(sums == expected, "{way}");
        let start = nodes.as_mut_ptr();
        start.expose_provenance();
        let address = |i: usize| start.wrapping_add(i).addr();
        for (i, node) in nodes.iter().enumerate() {
            let (to, back) = (node.next.unwrap(), node.previous);
            assert_eq!((to.addr().get(), back.addr()), (address(next[i]), address(previous[i])));
        }
        // Along the pointers themselves. Node 0 is a ring of its own.
        let mut at = start.wrapping_add(1).cast_const();
        let mut seen = Vec::new();
        for _ in 0..COUNT {
            // SAFETY: 1. the pointer is that of node 1, or one that was compared above, so the
            // address of a node, which the loop only reads; 2. the address of the nodes was
            // exposed.
            let node = unsafe { at.read() };
            seen.push(node.value);
            at = node.next.unwrap().as_ptr();
        }
        let values = std::iter::successors(Some(1), |&i: &usize| Some(next[i])).take(COUNT);
        let values = values.map(|i| u32::try_from(i * i).unwrap());
        assert!(values.eq(seen), "{way}");
    }
}

farptr::kernel! {
    /// Counts in words, and adds to numbers of 32 bits.
    mod count,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 64) in;
        layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint at[]; };
        layout(push_constant) uniform Push { uvec2 counters; uint n; };
        void main() {
            uint i = gl_GlobalInvocationID.x;
            if (i < n) atomicAdd(U32(counters).at[i % 3], 1);
        }
    "#,
    args: { counters: PtrMut<AtomicU32> },
}

#[test]
fn atomics_are_lent_for_writing_and_seen_between_launches() {
    for (way, runtime) in ways() {
        let kernel = runtime.kernel::<count::Kernel>().unwrap();
        let mut counters = [10, 20, 30].map(AtomicU32::new);
        let mut wide = [AtomicU64::new(7)];
        let ran: Result<(), Error> = runtime.scope(|s| {
            let counters = s.lend_mut(&mut counters)?;
            let wide = s.lend_mut(&mut wide)?;
            let args = count::Args { counters: counters.ptr(), n: 300 };
            s.launch(&kernel, Grid::cover(300), args)?;
            let mut idle = s.wait()?;
            let seen = idle.write(&counters)?.iter_mut().map(|counter| *counter.get_mut());
            assert_eq!(seen.collect::<Vec<_>>(), [110, 120, 130], "{way}");
            idle.write(&counters)?[1].store(0, Ordering::Relaxed);
            *idle.write(&wide)?[0].get_mut() += 1;
            Ok(s.launch(&kernel, Grid::cover(300), args)?)
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        assert_eq!(counters.map(AtomicU32::into_inner), [210, 100, 230], "{way}");
        assert_eq!(wide.map(AtomicU64::into_inner), [8], "{way}");
    }
}

#[test]
fn parts_of_a_lend_are_arguments_and_are_seen_by_the_host() {
    for (way, runtime) in ways() {
        let kernel = runtime.kernel::<count::Kernel>().unwrap();
        let mut counters: Vec<AtomicU32> = (0..2 * COUNT).map(|_| AtomicU32::new(0)).collect();
        let mut one = AtomicU32::new(1);
        let ran: Result<(), Error> = runtime.scope(|s| {
            let (all, one) = (s.lend_mut(&mut counters)?, s.lend_value_mut(&mut one)?);
            let (left, right) = all.split_at(COUNT)?;
            for (part, n) in [(left.slice(5..8)?, 30), (right.slice(1..)?, 60), (all.at(7)?, 3)] {
                let args = count::Args { counters: part.ptr(), n };
                s.launch(&kernel, Grid::cover(n as usize), args)?;
            }
            let mut idle = s.wait()?;
            // One at a time, though they overlap.
            idle.write(&all)?[COUNT + 1].fetch_add(100, Ordering::Relaxed);
            let seen = idle.write(&right.slice(..4)?)?.iter_mut().map(|counter| *counter.get_mut());
            assert_eq!(seen.collect::<Vec<_>>(), [0, 120, 20, 20], "{way}");
            assert_eq!(idle.write(&one)?.len(), 1);
            assert!(idle.write(&all.slice(2 * COUNT..)?)?.is_empty());
            let Err(error) = all.at(2 * COUNT) else { panic!("{way}: there is no such element") };
            assert!(matches!(error, LendError::OutOfRange { start: 2000, end: 2001, len: 2000 }));
            // A launch is compared with the lend: the part has one element, and all are touched.
            let args = count::Args { counters: all.at(0)?.ptr(), n: 3 };
            Ok(s.launch(&kernel, Grid::cover(3), args)?)
        });
        ran.unwrap_or_else(|error| panic!("{way}: {error}"));
        let counted: Vec<u32> = counters.into_iter().map(AtomicU32::into_inner).collect();
        assert_eq!(counted[..10], [1, 1, 1, 0, 0, 10, 10, 11, 1, 1], "{way}");
        assert_eq!(counted[COUNT..COUNT + 4], [0, 120, 20, 20], "{way}");
        assert_eq!(counted.iter().sum::<u32>(), 3 + 30 + 60 + 100 + 3, "{way}");
    }
}
