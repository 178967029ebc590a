//! Pointers as values: loaded, stored, passed, selected, converted, compared.

use crate::case::{Buffer, Case, Image, random, shuffled};

cases! {
    ($) each_of_pointers:
    table_of_addresses, table_of_pointers, chain_of_three, pointer_variable, pointer_parameter,
    pointer_result, pointer_selected, pointer_joined, pointer_carried, pointer_array,
    converted_to_integers, stored_then_loaded, swapped_pointers, compared_pointers,
    null_is_not_followed, pointer_in_shared_memory, into_other_lends,
    array_of_references,
}

/// A table of addresses of every second word of another lend, in an order that looks random.
fn table(seed: u64, len: usize, buffer: usize) -> Buffer {
    let links = shuffled(seed, len).into_iter().enumerate();
    links.fold(Buffer::zeroes(len * 2), |table, (k, at)| table.link(k * 8, buffer, at * 8))
}

fn through_table(source: &'static str) -> Case {
    Case::glsl(source)
        .lend(table(60, 2048, 1))
        .lend_silently(Buffer::random(61, 4096))
        .lend(Buffer::zeroes(2048).writable())
        .groups(32)
        .oracle(follow_table)
}

/// `y[i]` is the word that address `i` of the table leads to.
fn follow_table(image: &mut Image) {
    let x = image.words(1);
    let of = |address: &[u32]| x[image.find(address[0], address[1]).unwrap().1 / 4];
    let y: Vec<u32> = image.words(0).chunks(2).map(of).collect();
    image.set_words(2, &y);
}

fn table_of_addresses() -> Case {
    through_table(
        "
        layout(local_size_x = 64) in;
        REF(uvec2, T, 8);
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint v; };
        REF(uint, Y, 4);
        layout(push_constant) uniform Push { uvec2 table, y; };
        void main() { Y(y).at[ID] = U(T(table).at[ID]).v; }",
    )
}

/// glslang gives a pointer in memory the alignment of the type that it points to. So these pointers
/// are aligned to 4 bytes, and are loaded as two words.
fn table_of_pointers() -> Case {
    through_table(
        "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint v; };
        struct Link { U to; };
        REF(Link, T, 8);
        REF(uint, Y, 4);
        layout(push_constant) uniform Push { T table; Y y; };
        void main() { y.at[ID] = table.at[ID].to.v; }",
    )
    .pointer_values()
}

/// A pointer to a pointer to a pointer to a word.
fn chain_of_three() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec2, T, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 first, y; };
        void main() { U(y).at[ID] = U(T(T(T(first).at[ID]).at[0]).at[0]).at[0]; }";
    let (first, second) = (shuffled(62, 512), shuffled(63, 512));
    let table = |order: &[usize], buffer: usize, size: usize| {
        let links = order.iter().enumerate();
        links.fold(Buffer::zeroes(1024), |table, (k, &at)| table.link(k * 8, buffer, at * size))
    };
    Case::glsl(source)
        .lend(table(&first, 1, 8))
        .lend_silently(table(&second, 2, 8))
        .lend_silently(table(&first, 3, 4))
        .lend_silently(Buffer::random(64, 512))
        .lend(Buffer::zeroes(512).writable())
        .groups(8)
        .oracle(|image| {
            let words: Vec<Vec<u32>> = (0..3).map(|lend| image.words(lend)).collect();
            let x = image.words(3);
            let step = |lend: usize, at: usize| {
                image.find(words[lend][at * 2], words[lend][at * 2 + 1]).unwrap().1
            };
            let of = |id| x[step(2, step(1, step(0, id) / 8) / 8) / 4];
            let y: Vec<u32> = (0..512).map(of).collect();
            image.set_words(4, &y);
        })
}

/// Two lends of 1,024 words for reading and one for writing.
fn three(source: &'static str) -> Case {
    Case::glsl(source)
        .lend(Buffer::random(65, 1024))
        .lend(Buffer::random(66, 1024))
        .lend(Buffer::zeroes(1024).writable())
        .groups(16)
        .pointer_values()
}

fn pointer_variable() -> Case {
    three(
        "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { U a, b, y; };
        void main() {
            U p = a;
            uint sum = p.at[ID];
            p = b;
            sum += p.at[1023u - ID];
            p = y;
            p.at[ID] = sum;
        }",
    )
    .oracle(|image| {
        let (a, b) = (image.words(0), image.words(1));
        let y: Vec<u32> = a.iter().zip(b.iter().rev()).map(|(a, b)| a.wrapping_add(*b)).collect();
        image.set_words(2, &y);
    })
}

fn pointer_parameter() -> Case {
    three(
        "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { U a, b, y; };
        uint take(U p, uint k) { return p.at[k] * 3u; }
        void put(U p, uint k, uint v) { p.at[k] = v; }
        void both(U from, U to) { put(to, ID, take(from, ID) + 1u); }
        void main() {
            if ((ID & 1u) == 0u) both(a, y); else both(b, y);
        }",
    )
}

fn pointer_result() -> Case {
    three(
        "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { U a, b, y; };
        U pick(uint k) {
            if (k % 3u == 0u) return a;
            for (uint i = 0u; i < 4u; i++) if (a.at[(k + i) & 1023u] > 0xc0000000u) return b;
            return y;
        }
        void main() { y.at[ID] = pick(ID).at[ID]; }",
    )
}

fn pointer_selected() -> Case {
    three(
        "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 a, b, y; };
        void main() {
            bool left = (U(a).at[ID] & 4u) != 0u;
            U(y).at[ID] = U(mix(a, b, bvec2(left))).at[ID];
        }",
    )
    .oracle(|image| {
        let (a, b) = (image.words(0), image.words(1));
        let of = |(a, b): (&u32, &u32)| if a & 4 == 0 { *a } else { *b };
        let y: Vec<u32> = a.iter().zip(&b).map(of).collect();
        image.set_words(2, &y);
    })
}

/// A pointer that comes from either branch.
fn pointer_joined() -> Case {
    three(
        "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { U a, b, y; };
        void main() {
            U p;
            uint k;
            if (a.at[ID] < b.at[ID]) { p = a; k = ID; } else { p = b; k = ID ^ 1u; }
            y.at[ID] = p.at[k] + 1u;
        }",
    )
}

/// A pointer that a loop moves on.
fn pointer_carried() -> Case {
    three(
        "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { U a, b, y; };
        void main() {
            U here = a, other = b;
            uint sum = 0u;
            for (uint k = 0u; k < 12u; k++) {
                sum += here.at[(ID + k * 80u) & 1023u];
                U next = (sum & 1u) != 0u ? other : here;
                other = (sum & 1u) != 0u ? here : other;
                here = next;
            }
            y.at[ID] = sum;
        }",
    )
    .oracle(|image| {
        let sides = [image.words(0), image.words(1)];
        let of = |id: usize| {
            let (mut side, mut sum) = (0, 0u32);
            for k in 0..12 {
                sum = sum.wrapping_add(sides[side][(id + k * 80) & 1023]);
                side ^= sum as usize & 1;
            }
            sum
        };
        let y: Vec<u32> = (0..1024).map(of).collect();
        image.set_words(2, &y);
    })
}

fn pointer_array() -> Case {
    three(
        "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { U a, b, y; };
        void main() {
            U p[3] = U[3](b, a, b);
            y.at[ID] = p[ID % 3u].at[ID] ^ p[a.at[ID] % 3u].at[1023u - ID];
        }",
    )
}

fn converted_to_integers() -> Case {
    three(
        "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { U a, b, y; };
        void main() {
            uint64_t mixed = uint64_t(a) ^ uint64_t(b);
            U p = U((ID & 1u) == 0u ? mixed ^ uint64_t(a) : mixed ^ uint64_t(b));
            uvec2 halves = uvec2(uint(uint64_t(y)), uint(uint64_t(y) >> 32));
            U(halves).at[ID] = p.at[ID];
        }",
    )
}

/// Pointers that the kernel itself writes to memory and reads again.
fn stored_then_loaded() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec2, T, 8);
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint v[16]; };
        layout(push_constant) uniform Push { uvec2 table, y; };
        void main() {
            uvec2 mine = uvec2(y.x + 64u * ID, y.y + uint(y.x + 64u * ID < y.x));
            T(table).at[ID] = mine;
            U(T(table).at[ID]).v[ID & 15u] = ID;
            U(T(table).at[ID]).v[(ID + 1u) & 15u] = T(table).at[ID].x - y.x;
        }";
    Case::glsl(source)
        .lend(Buffer::zeroes(512).writable())
        .lend(Buffer::zeroes(4096).writable())
        .groups(4)
        .oracle(|image| {
            let start = image.starts[1];
            let table: Vec<u64> = (0..256).map(|id| start + 64 * id).collect();
            let mut y = image.words(1);
            for id in 0..256u32 {
                let at = id as usize * 16;
                y[at + (id as usize & 15)] = id;
                y[at + ((id as usize + 1) & 15)] = 64 * id;
            }
            image.buffers[0] = bytemuck::cast_slice(&table).to_vec();
            image.set_words(1, &y);
        })
}

/// Two pointers in memory change places; what they lead to is changed through them.
fn swapped_pointers() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint v; };
        struct Two { U left, right; };
        REF(Two, T, 8);
        layout(push_constant) uniform Push { T table; };
        void main() {
            Two two = table.at[ID];
            table.at[ID].left = two.right;
            table.at[ID].right = two.left;
            table.at[ID].left.v += 1u;
            table.at[ID].right.v *= 3u;
        }";
    let table = table(67, 1024, 1).writable();
    Case::glsl(source)
        .lend(table)
        .lend_silently(Buffer::random(68, 2048).writable())
        .groups(8)
        .pointer_values()
        .oracle(|image| {
            let (mut table, mut x) = (image.words(0), image.words(1));
            for two in table.chunks_mut(4) {
                two.rotate_left(2);
                let at = |pair: &[u32]| image.find(pair[0], pair[1]).unwrap().1 / 4;
                x[at(&two[..2])] = x[at(&two[..2])].wrapping_add(1);
                x[at(&two[2..])] = x[at(&two[2..])].wrapping_mul(3);
            }
            image.set_words(0, &table);
            image.set_words(1, &x);
        })
}

fn compared_pointers() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec2, T, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 table, mark, y; };
        void main() {
            uvec2 p = T(table).at[ID];
            bool below = p.y < mark.y || (p.y == mark.y && p.x < mark.x);
            U(y).at[ID] = uint(below) | uint(p == mark) << 1 | U(p).at[0] << 2;
        }";
    Case::glsl(source)
        .lend(table(69, 1024, 1))
        .lend_silently(Buffer::random(70, 2048))
        .at(1, 4 * 300)
        .lend(Buffer::zeroes(1024).writable())
        .groups(16)
}

/// Null pointers in a table are seen and passed over.
fn null_is_not_followed() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec2, T, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 table, y; };
        void main() {
            uvec2 p = T(table).at[ID];
            uint v = 42u;
            if (p != uvec2(0u)) v = U(p).at[0];
            U(y).at[ID] = v;
        }";
    let some = shuffled(71, 1024);
    let links = some.iter().enumerate().filter(|(k, _)| k % 3 != 0);
    let table = links.fold(Buffer::zeroes(2048), |table, (k, &at)| table.link(k * 8, 1, at * 4));
    Case::glsl(source)
        .lend(table)
        .lend_silently(Buffer::random(72, 1024))
        .lend(Buffer::zeroes(1024).writable())
        .groups(16)
}

fn pointer_in_shared_memory() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec2, T, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 table, y; };
        shared uvec2 kept[64];
        void main() {
            uint k = gl_LocalInvocationIndex;
            kept[63u - k] = T(table).at[ID];
            barrier();
            U(y).at[ID] = U(kept[k]).at[0];
        }";
    Case::glsl(source)
        .lend(table(73, 1024, 1))
        .lend_silently(Buffer::random(74, 2048))
        .lend(Buffer::zeroes(1024).writable())
        .groups(16)
}

/// One table leads into twelve lends, more than are compared one after the other.
fn into_other_lends() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec2, T, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 table, y; };
        void main() {
            uvec2 p = T(table).at[ID];
            U(p).at[0] += 1u;
            U(y).at[ID] = U(p).at[0];
        }";
    let which = random(75, 1024);
    // A place of its own for each entry: lend 2 + k % 12, word k.
    let links = which.iter().enumerate();
    let table = links.fold(Buffer::zeroes(2048), |table, (k, word)| {
        table.link(k * 8, 2 + *word as usize % 12, k * 4)
    });
    let case = Case::glsl(source).lend(table).lend(Buffer::zeroes(1024).writable()).groups(16);
    (0..12).fold(case, |case, k| case.lend_silently(Buffer::random(80 + k, 1024).writable()))
}

/// glslang asks for arrays of descriptors without a length where references are in one.
fn array_of_references() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node {
            uint value; uint seen;
        };
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Heads { Node at[]; };
        layout(push_constant) uniform Push { Heads heads; };
        void main() { heads.at[ID].seen = heads.at[ID].value + 1u; }";
    Case::glsl(source)
        .lend(table(64, 2048, 1))
        .lend_silently(Buffer::random(65, 4096).writable())
        .groups(32)
        .pointer_values()
        .oracle(|image| {
            let mut nodes = image.words(1);
            nodes.chunks_exact_mut(2).for_each(|node| node[1] = node[0].wrapping_add(1));
            image.set_words(1, &nodes);
        })
}
