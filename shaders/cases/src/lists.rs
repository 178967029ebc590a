//! Structures linked by pointers.

use crate::case::{Buffer, Case, random, shuffled};

cases! {
    ($) each_of_lists:
    list_sum, list_in_place, list_one_page_each, tree_walk, graph_walk, list_built_by_kernel,
}

/// Lists of nodes of 16 bytes (next, value, unused), laid out at random: `heads` lists of `length`.
fn lists(heads: usize, length: usize, nodes: usize, seed: u64) -> (Buffer, Buffer) {
    let places = shuffled(seed, heads * length);
    let values = random(seed + 1, heads * length);
    let mut memory = Buffer::zeroes(heads * length * 4);
    let mut starts = Buffer::zeroes(heads * 2);
    for (k, list) in places.chunks(length).enumerate() {
        starts = starts.link(k * 8, nodes, list[0] * 16);
        for (at, place) in list.iter().enumerate() {
            let value = values[*place].to_le_bytes();
            memory.bytes[place * 16 + 8..place * 16 + 12].copy_from_slice(&value);
            if let Some(next) = list.get(at + 1) {
                memory = memory.link(place * 16, nodes, next * 16);
            }
        }
    }
    (starts, memory)
}

fn list_sum() -> Case {
    let source = "
        layout(local_size_x = 8) in;
        struct Link { uvec2 next; uint value, spare; };
        REF(Link, L, 8);
        REF(uvec2, T, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 heads, y; };
        void main() {
            uint sum = 0u;
            for (uvec2 p = T(heads).at[ID]; p != uvec2(0u); p = L(p).at[0].next)
                sum = sum * 31u + L(p).at[0].value;
            U(y).at[ID] = sum;
        }";
    let (heads, nodes) = lists(32, 40, 1, 100);
    Case::glsl(source)
        .lend(heads)
        .lend_silently(nodes)
        .lend(Buffer::zeroes(32).writable())
        .groups(4)
        .oracle(|image| {
            let (heads, nodes) = (image.words(0), image.words(1));
            let of = |head: &[u32]| {
                let (mut sum, mut here) = (0u32, [head[0], head[1]]);
                while let Some((_, at)) = image.find(here[0], here[1]) {
                    sum = sum.wrapping_mul(31).wrapping_add(nodes[at / 4 + 2]);
                    here = [nodes[at / 4], nodes[at / 4 + 1]];
                }
                sum
            };
            let y: Vec<u32> = heads.chunks(2).map(of).collect();
            image.set_words(2, &y);
        })
}

/// Every node is read, then written, then left by its pointer.
fn list_in_place() -> Case {
    let source = "
        layout(local_size_x = 8) in;
        struct Link { uvec2 next; uint value, spare; };
        REF(Link, L, 8);
        REF(uvec2, T, 8);
        layout(push_constant) uniform Push { uvec2 heads; };
        void main() {
            uint before = ID;
            uvec2 p = T(heads).at[ID];
            while (p != uvec2(0u)) {
                L(p).at[0].value += before;
                before = L(p).at[0].value;
                p = L(p).at[0].next;
            }
        }";
    let (heads, nodes) = lists(16, 64, 1, 102);
    Case::glsl(source).lend(heads).lend_silently(nodes.writable()).groups(2).oracle(|image| {
        let (heads, mut nodes) = (image.words(0), image.words(1));
        for (id, head) in (0..).zip(heads.chunks(2)) {
            let (mut before, mut here) = (id, [head[0], head[1]]);
            while let Some((_, at)) = image.find(here[0], here[1]) {
                before = nodes[at / 4 + 2].wrapping_add(before);
                nodes[at / 4 + 2] = before;
                here = [nodes[at / 4], nodes[at / 4 + 1]];
            }
        }
        image.set_words(1, &nodes);
    })
}

/// One list whose nodes lie on pages of their own: nothing is found before what precedes it.
fn list_one_page_each() -> Case {
    let source = "
        layout(local_size_x = 8) in;
        struct Link { uvec2 next; uint value, spare; };
        REF(Link, L, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 head, y; };
        void main() {
            if (ID != 0u) return;
            uint sum = 0u;
            uvec2 p = head;
            do {
                sum += L(p).at[0].value;
                L(p).at[0].spare = sum;
                p = L(p).at[0].next;
            } while (p != uvec2(0u));
            U(y).at[0] = sum;
        }";
    let order = shuffled(104, 48);
    let place = |k: usize| order[k] * 4096 + 64 * k;
    let mut nodes = Buffer::zeroes(49 * 1024);
    for k in 0..48 {
        nodes.bytes[place(k) + 8] = u8::try_from(k).unwrap() + 1;
        if k < 47 {
            nodes = nodes.link(place(k), 0, place(k + 1));
        }
    }
    let first = place(0);
    Case::glsl(source)
        .lend_silently(nodes.writable())
        .at(0, first)
        .lend(Buffer::zeroes(1).writable())
        .oracle(|image| {
            let mut nodes = image.words(0);
            let mut sum = 0;
            // Values are 1 to 48 in the order of the list.
            for value in 1..=48 {
                sum += value;
                let at = (0..nodes.len()).step_by(4).find(|at| nodes[at + 2] == value);
                nodes[at.unwrap() + 3] = sum;
            }
            image.set_words(0, &nodes);
            image.set_words(1, &[sum]);
        })
}

/// Search in a binary tree.
fn tree_walk() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        struct Branch { uvec2 child[2]; uint key, depth; };
        REF(Branch, B, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 root, keys, y; };
        uint seek(uint key) {
            uvec2 p = root;
            while (p != uvec2(0u)) {
                uint here = B(p).at[0].key;
                if (here == key) return B(p).at[0].depth;
                p = B(p).at[0].child[uint(key > here)];
            }
            return 0xffffffffu;
        }
        void main() { U(y).at[ID] = seek(U(keys).at[ID]); }";
    // A heap-shaped tree over the odd numbers below 2048, its nodes laid out at random.
    let places = shuffled(105, 1024);
    let mut tree = Buffer::zeroes(1024 * 6);
    for (node, place) in places.iter().enumerate().skip(1) {
        let depth = node.ilog2();
        let key = ((2 * (node as u32 - (1 << depth)) + 1) << (9 - depth)) - 1;
        tree.bytes[place * 24 + 16..place * 24 + 20].copy_from_slice(&key.to_le_bytes());
        tree.bytes[place * 24 + 20..place * 24 + 24].copy_from_slice(&depth.to_le_bytes());
        for side in 0..2 {
            if let Some(child) = places.get(2 * node + side) {
                tree = tree.link(place * 24 + side * 8, 0, child * 24);
            }
        }
    }
    let keys: Vec<u32> = random(106, 512).iter().map(|key| key % 1024).collect();
    Case::glsl(source)
        .lend_silently(tree)
        .at(0, places[1] * 24)
        .lend(Buffer::words(&keys))
        .lend(Buffer::zeroes(512).writable())
        .groups(8)
        .oracle(|image| {
            // A key is at the depth that its trailing ones tell; 1023 is no key.
            let of = |key: &u32| match key.trailing_ones() {
                10.. => u32::MAX,
                ones => 9 - ones,
            };
            let y: Vec<u32> = image.words(1).iter().map(of).collect();
            image.set_words(2, &y);
        })
}

/// Each walker follows one of four links, chosen by what it sees.
fn graph_walk() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        struct Vertex { uvec2 to[4]; uint mark; };
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer V { Vertex v; };
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 start, y; uint steps; };
        void main() {
            uvec2 p = start;
            uint state = ID;
            for (uint k = 0u; k < steps; k++) {
                state = state * 1664525u + V(p).v.mark;
                p = V(p).v.to[state >> 30];
            }
            U(y).at[ID] = state;
        }";
    let marks = random(107, 512);
    let mut vertices = Buffer::zeroes(512 * 9);
    for (place, mark) in marks.iter().enumerate() {
        vertices.bytes[place * 36 + 32..place * 36 + 36].copy_from_slice(&mark.to_le_bytes());
        for side in 0..4 {
            let to = (mark.rotate_left(7 * side + 3) % 512) as usize;
            vertices = vertices.link(place * 36 + side as usize * 8, 0, to * 36);
        }
    }
    Case::glsl(source)
        .lend_silently(vertices)
        .at(0, 36 * 100)
        .lend(Buffer::zeroes(256).writable())
        .word(50)
        .groups(8)
}

/// The kernel links its own nodes and then follows them.
fn list_built_by_kernel() -> Case {
    let source = "
        layout(local_size_x = 8) in;
        struct Link { uvec2 next; uint value, spare; };
        REF(Link, L, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 nodes, y; };
        uvec2 place(uint k) {
            uint carry;
            uint low = uaddCarry(nodes.x, 16u * (ID * 64u + k), carry);
            return uvec2(low, nodes.y + carry);
        }
        void main() {
            uvec2 head = uvec2(0u);
            for (uint k = 0u; k < 64u; k++) {
                uvec2 p = place((k * 29u) & 63u);
                L(p).at[0] = Link(head, k, 0u);
                head = p;
            }
            uint sum = 0u;
            for (uvec2 p = head; p != uvec2(0u); p = L(p).at[0].next)
                sum = sum * 3u + L(p).at[0].value;
            U(y).at[ID] = sum;
        }";
    Case::glsl(source)
        .lend(Buffer::random(108, 16 * 64 * 4).writable())
        .lend(Buffer::zeroes(16).writable())
        .groups(2)
}
