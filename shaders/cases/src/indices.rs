//! Places of accesses: constant and dynamic indices, offsets, ends of lends and of pages.

use crate::case::{Buffer, Case};

cases! {
    ($) each_of_indices:
    constant_index, negative_index, from_the_middle, last_element, stride_loop, gather, scatter,
    pointer_arithmetic, address_arithmetic, address_with_carry, reversed, two_dimensions,
    ends_at_a_page, one_element, same_memory_twice, wide_push,
}

const N: usize = 2048;

fn constant_index() -> Case {
    let source = "
        layout(local_size_x = 8) in;
        struct Head { uint a; uint b[3]; uvec2 c; };
        REF(Head, H, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            if (ID != 0u) return;
            H(y).at[0].b[2] = H(x).at[0].a;
            H(y).at[0].c.y = H(x).at[1].b[1];
            H(y).at[300].a = H(x).at[299].c.x + 1u;
        }";
    Case::glsl(source).lend(Buffer::random(40, N)).lend(Buffer::zeroes(N).writable()).oracle(
        |image| {
            let (x, mut y) = (image.words(0), image.words(1));
            y[3] = x[0];
            y[5] = x[6 + 2];
            y[300 * 6] = x[299 * 6 + 4].wrapping_add(1);
            image.set_words(1, &y);
        },
    )
}

/// The argument points to the middle of a lend, and indices go both ways.
fn negative_index() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(int, I, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            int k = int(ID) - 1024;
            I(y).at[k] = I(x).at[-1 - k] + k;
        }";
    Case::glsl(source)
        .lend_silently(Buffer::random(41, N))
        .lend_silently(Buffer::zeroes(N).writable())
        .at(0, 4096)
        .at(1, 4096)
        .groups(32)
        .oracle(|image| {
            let x = image.words(0);
            let of = |id: usize| x[2047 - id].wrapping_add((id as u32).wrapping_sub(1024));
            let y: Vec<u32> = (0..N).map(of).collect();
            image.set_words(1, &y);
        })
}

/// An argument somewhere in a lend: not its start, not a multiple of much.
fn from_the_middle() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec2, V, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { V(y).at[ID] = V(x).at[ID] ^ ID; }";
    Case::glsl(source)
        .lend_silently(Buffer::random(42, N))
        .lend_silently(Buffer::zeroes(N).writable())
        .at(0, 4 * 611)
        .at(1, 4 * 997)
        .groups(8)
}

/// The last bytes of lends that end nowhere in particular.
fn last_element() -> Case {
    let source = "
        layout(local_size_x = 8) in;
        REF(uint, U, 4);
        REF(uvec3, V, 4);
        layout(push_constant) uniform Push { uvec2 x, y; uint n; };
        void main() {
            if (ID != 3u) return;
            U(y).at[n - 1u] = U(x).at[n - 1u];
            V(y).at[n / 3u - 2u] = V(x).at[n / 3u - 1u];
        }";
    Case::glsl(source)
        .lend(Buffer::random(43, 1035))
        .lend(Buffer::zeroes(1035).writable())
        .word(1035)
        .oracle(|image| {
            let (x, mut y) = (image.words(0), image.words(1));
            y[1034] = x[1034];
            y[1029..1032].copy_from_slice(&x[1032..1035]);
            image.set_words(1, &y);
        })
}

fn stride_loop() -> Case {
    let source = "
        layout(local_size_x = 32) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; uint n; };
        void main() {
            uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
            for (uint k = ID; k < n; k += stride) U(y).at[k] = U(x).at[k] * 7u;
        }";
    Case::glsl(source)
        .lend(Buffer::random(44, 5000))
        .lend(Buffer::zeroes(5000).writable())
        .word(4999)
        .groups(3)
}

fn gather() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 index, x, y; };
        void main() { U(y).at[ID] = U(x).at[U(index).at[ID] % 9000u]; }";
    Case::glsl(source)
        .lend(Buffer::random(45, 512))
        .lend(Buffer::random(46, 9000))
        .lend(Buffer::zeroes(512).writable())
        .groups(8)
        .oracle(|image| {
            let x = image.words(1);
            let y: Vec<u32> =
                image.words(0).iter().map(|&index| x[index as usize % 9000]).collect();
            image.set_words(2, &y);
        })
}

/// Each invocation writes one element, anywhere.
fn scatter() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { U(y).at[(ID * 2003u + 17u) & 8191u] = U(x).at[ID] + ID; }";
    Case::glsl(source).lend(Buffer::random(47, 512)).lend(Buffer::zeroes(8192).writable()).groups(8)
}

/// `pointer + n` and `pointer[n]` of GL_EXT_buffer_reference2.
fn pointer_arithmetic() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer P { uint a, b, c; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            P to = P(y) + ID;
            to.b = (P(x) + int(ID)).c;
            P(y)[ID].a = P(x)[511u - ID].b;
        }";
    Case::glsl(source)
        .lend(Buffer::random(48, 1536))
        .lend(Buffer::zeroes(1536).writable())
        .groups(8)
        .pointer_values()
        .oracle(|image| {
            let (x, mut y) = (image.words(0), image.words(1));
            for id in 0..512 {
                y[id * 3 + 1] = x[id * 3 + 2];
                y[id * 3] = x[(511 - id) * 3 + 1];
            }
            image.set_words(1, &y);
        })
}

/// Addresses computed as 64-bit numbers.
fn address_arithmetic() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint v; };
        layout(push_constant) uniform Push { uint64_t x, y; };
        void main() {
            uint64_t from = x + 4UL * uint64_t((ID * 37u) & 2047u);
            uint64_t to = y + 8188UL - uint64_t(ID) * 4UL;
            U(to).v = U(from).v + uint(to - y);
        }";
    Case::glsl(source).lend(Buffer::random(49, N)).lend(Buffer::zeroes(N).writable()).groups(32)
}

/// Addresses computed as pairs of words.
fn address_with_carry() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint v; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        uvec2 add(uvec2 a, uint b) {
            uint carry;
            uint low = uaddCarry(a.x, b, carry);
            return uvec2(low, a.y + carry);
        }
        void main() { U(add(y, 4u * ID)).v = ~U(add(x, 4u * ((ID * 129u) & 2047u))).v; }";
    Case::glsl(source)
        .lend(Buffer::random(50, N))
        .lend(Buffer::zeroes(N).writable())
        .groups(32)
        .oracle(|image| {
            let x = image.words(0);
            let y: Vec<u32> = (0..N).map(|id| !x[(id * 129) & 2047]).collect();
            image.set_words(1, &y);
        })
}

/// In place, each invocation both ends of a pair.
fn reversed() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 y; uint n; };
        void main() {
            if (ID >= n / 2u) return;
            uint low = U(y).at[ID], high = U(y).at[n - 1u - ID];
            U(y).at[ID] = high;
            U(y).at[n - 1u - ID] = low;
        }";
    Case::glsl(source).lend(Buffer::random(51, 4001).writable()).word(4001).groups(32).oracle(
        |image| {
            let mut y = image.words(0);
            y.reverse();
            image.set_words(0, &y);
        },
    )
}

fn two_dimensions() -> Case {
    let source = "
        layout(local_size_x = 8, local_size_y = 4, local_size_z = 2) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uvec3 at = gl_GlobalInvocationID;
            uint k = (at.z * 16u + at.y) * 32u + at.x;
            U(y).at[k] = U(x).at[(at.z * 32u + at.x) * 16u + at.y];
        }";
    let mut case =
        Case::glsl(source).lend(Buffer::random(52, N)).lend(Buffer::zeroes(N).writable());
    case.groups = [4, 4, 2];
    case
}

/// A lend whose last byte is a page's last byte. The arena puts the first lend 32 bytes before a
/// page's end.
fn ends_at_a_page() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec4, V, 16);
        layout(push_constant) uniform Push { uvec2 y; uint n; };
        void main() { if (ID < n) V(y).at[n - 1u - ID] += ID; }";
    Case::glsl(source).lend(Buffer::random(53, 8 + 2048).writable()).word(514).groups(9)
}

/// Lends of a word, many to a page.
fn one_element() -> Case {
    let source = "
        layout(local_size_x = 8) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 a, b, c, d; };
        void main() {
            if (ID != 0u) return;
            U(b).at[0] = U(a).at[0] + 1u;
            U(d).at[0] = U(c).at[0] * U(b).at[0];
        }";
    Case::glsl(source)
        .lend(Buffer::words(&[7]))
        .lend(Buffer::zeroes(1).writable())
        .lend(Buffer::words(&[11]))
        .lend(Buffer::zeroes(1).writable())
        .oracle(|image| {
            image.set_words(1, &[8]);
            image.set_words(3, &[88]);
        })
}

/// Two arguments for one lend, of different types.
fn same_memory_twice() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        REF(uvec4, V, 16);
        layout(push_constant) uniform Push { uvec2 y, again; };
        void main() {
            U(y).at[4u * ID + 1u] = U(y).at[4u * ID] * 5u;
            V(again).at[ID].w = V(again).at[ID].y + 1u;
        }";
    let case = Case::glsl(source).lend(Buffer::random(54, N).writable()).at(0, 0).groups(8);
    case.oracle(|image| {
        let mut y = image.words(0);
        for y in y.chunks_mut(4) {
            y[1] = y[0].wrapping_mul(5);
            y[3] = y[1].wrapping_add(1);
        }
        image.set_words(0, &y);
    })
}

/// Pointers at many offsets of the push constants, in structures and arrays.
fn wide_push() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        struct Side { uvec2 p[2]; uint n; };
        layout(push_constant, scalar) uniform Push { uint k, z; Side s; uvec2 a, y; };
        void main() {
            if (ID >= s.n) return;
            U(y).at[ID] = U(a).at[ID] + U(s.p[0]).at[ID] * k + U(s.p[1]).at[ID];
            U(y).at[ID] ^= U(s.p[ID & 1u]).at[z];
        }";
    Case::glsl(source)
        .word(3)
        .word(0)
        .lend(Buffer::random(55, 640))
        .lend(Buffer::random(56, 640))
        .word(600)
        .lend(Buffer::random(57, 640))
        .lend(Buffer::zeroes(640).writable())
        .groups(10)
}
