//! Looks up a million keys in a B-tree whose nodes hold each other's addresses.
//!
//! `cargo run --release --example b_tree -p farptr -- [ENTRIES]`

use farptr::{Grid, Lendable, Runtime};
use std::{collections::BTreeMap, error::Error, ptr::null};

/// The most entries of a node.
const MOST: usize = 15;
/// The value of a key that is not there.
const ABSENT: u32 = u32::MAX;

#[derive(Default, Lendable)]
#[repr(C)]
struct Node {
    /// The subtrees before, between and behind the entries; null in leaves.
    children: [*const Node; MOST + 1],
    keys: [u32; MOST],
    values: [u32; MOST],
    len: u32,
    unused: u32,
}

farptr::kernel! {
    /// One key per invocation.
    mod look_up,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 64) in;
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node {
            uvec2 children[16];
            uint keys[15];
            uint values[15];
            uint len;
        };
        layout(buffer_reference, buffer_reference_align = 4) buffer U32 { uint at[]; };
        layout(push_constant) uniform Push { uvec2 root; uvec2 keys; uvec2 values; uint count; };
        uint value_of(uint key) {
            uvec2 node = root;
            while (node != uvec2(0)) {
                uint i = 0, len = Node(node).len;
                while (i < len && Node(node).keys[i] < key) i++;
                if (i < len && Node(node).keys[i] == key) return Node(node).values[i];
                node = Node(node).children[i];
            }
            return 0xffffffff;
        }
        void main() {
            uint i = gl_GlobalInvocationID.x;
            if (i < count) U32(values).at[i] = value_of(U32(keys).at[i]);
        }
    "#,
    args: { root: Ptr<Node> },
}

fn main() -> Result<(), Box<dyn Error>> {
    let entries = std::env::args().nth(1).map_or(Ok(500_000), |entries| entries.parse())?;
    run(&Runtime::builder().build()?, entries, 1_000_000)
}

fn run(runtime: &Runtime, entries: u32, count: u32) -> Result<(), Box<dyn Error>> {
    let kernel = runtime.kernel::<look_up::Kernel>()?;
    let random = |i: u32| i.wrapping_mul(2_654_435_761);
    let map: BTreeMap<u32, u32> = (0..entries).map(|i| (random(i), i)).collect();
    let nodes = tree(&map.iter().map(|(&key, &value)| (key, value)).collect::<Vec<_>>());
    // About half of the keys are in the tree.
    let keys: Vec<u32> =
        (0..count).map(|i| random(random(i) % entries.saturating_mul(2).max(1))).collect();
    let mut values = vec![0u32; keys.len()];
    runtime.scope(|s| {
        let root = s.lend(&nodes)?.at(nodes.len() - 1)?.ptr();
        let (keys, values) = (s.lend(&keys)?.ptr(), s.lend_mut(&mut values)?.ptr());
        let args = look_up::Args { root, keys, values, count };
        Ok(s.launch(&kernel, Grid::cover(count as usize), args)?)
    })?;
    println!("looked {count} keys up in {} nodes on {}", nodes.len(), runtime.device_name());
    check(&map, &keys, &values)
}

/// The nodes of a B-tree with these entries, which are in order. The last one is the root.
fn tree(entries: &[(u32, u32)]) -> Vec<Node> {
    // Nodes do not move: each but an empty root has an entry, so the vector does not grow.
    let mut nodes = Vec::with_capacity(entries.len() + 1);
    let height = entries.len().checked_ilog(MOST + 1).map_or(1, |log| log + 1);
    add(&mut nodes, entries, height);
    nodes
}

/// Adds a subtree of some height, children first, and returns its root.
fn add(nodes: &mut Vec<Node>, entries: &[(u32, u32)], height: u32) -> *const Node {
    if height == 0 {
        return null();
    }
    // An entry between each two children.
    let places = entries.len() + 1;
    let count = places.div_ceil((MOST + 1).pow(height - 1));
    let mut node = Node::default();
    let mut start = 0;
    for child in 0..count {
        let end = (child + 1) * places / count - 1;
        node.children[child] = add(nodes, &entries[start..end], height - 1);
        if let Some(&(key, value)) = entries.get(end) {
            (node.keys[child], node.values[child]) = (key, value);
            node.len += 1;
        }
        start = end + 1;
    }
    nodes.push(node);
    &raw const nodes[nodes.len() - 1]
}

/// Compares the values with those of a map of Rust's.
fn check(map: &BTreeMap<u32, u32>, keys: &[u32], values: &[u32]) -> Result<(), Box<dyn Error>> {
    let expected: Vec<u32> = keys.iter().map(|key| *map.get(key).unwrap_or(&ABSENT)).collect();
    let found = expected.iter().filter(|&&value| value != ABSENT).count();
    println!("{found} of them are there; those and the others are told apart");
    if values == expected { Ok(()) } else { Err("the values are wrong".into()) }
}

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
#[path = "../tests/common/ways.rs"]
mod ways;

#[test]
fn results_are_right_however_the_device_reaches_memory() -> Result<(), Box<dyn Error>> {
    let entries = [0, 1, 15, 16, 255, 256, 3000];
    ways::in_each(|runtime| entries.into_iter().try_for_each(|entries| run(runtime, entries, 1000)))
}
