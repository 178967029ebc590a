//! Loads and stores of every scalar width.

use crate::case::{Buffer, Case, random};

/// Elements of each lend: two pages and a bit of words.
const N: usize = 2112;
/// Workgroups of 64 that cover them.
const GROUPS: u32 = 33;

cases! {
    ($) each_of_scalars:
    unsigned_32, signed_32, float_32, unsigned_8, signed_16, float_16, unsigned_64, signed_64,
    float_64, words_of_64, composites_of_64, boolean_words, stored_only,
}

/// Two lends of `N` elements, the second written.
fn pair(case: Case, x: Buffer, y: Buffer) -> Case {
    case.lend(x).lend(y.writable()).groups(GROUPS)
}

fn unsigned_32() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { U(y).at[ID] = U(x).at[ID] * 3u + 1u; }";
    pair(Case::glsl(source), Buffer::random(1, N), Buffer::zeroes(N)).oracle(|image| {
        let y: Vec<u32> =
            image.words(0).iter().map(|x| x.wrapping_mul(3).wrapping_add(1)).collect();
        image.set_words(1, &y);
    })
}

fn signed_32() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(int, I, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            int a = I(x).at[ID];
            I(y).at[ID] = (a >> 3) - (a < 0 ? 7 : a % 100);
        }";
    let words: Vec<u32> = random(2, N).iter().map(|word| word ^ word << 7).collect();
    pair(Case::glsl(source), Buffer::words(&words), Buffer::zeroes(N)).oracle(|image| {
        let of = |a: i32| (a >> 3) - if a < 0 { 7 } else { a % 100 };
        let y: Vec<u32> =
            image.words(0).iter().map(|&a| of(a.cast_signed()).cast_unsigned()).collect();
        image.set_words(1, &y);
    })
}

fn float_32() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(float, F, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { F(y).at[ID] = F(x).at[ID] * 0.5 + F(y).at[ID]; }";
    pair(Case::glsl(source), Buffer::ramp(N), Buffer::ramp(N).skew(4)).oracle(|image| {
        let (x, y) = (image.floats(0), image.floats(1));
        let sums: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x * 0.5 + y).collect();
        image.set_floats(1, &sums);
    })
}

fn unsigned_8() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 64) in;
        REF(uint8_t, B, 1);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            for (uint k = ID * 4u; k < ID * 4u + 4u; k++)
                B(y).at[k] = uint8_t(uint(B(x).at[k]) + 1u);
        }";
    // Starts at no multiple of anything.
    let (x, y) = (Buffer::random(3, N).skew(3), Buffer::zeroes(N).skew(1));
    pair(Case::glsl(source), x, y).oracle(|image| {
        image.buffers[1] = image.buffers[0].iter().map(|x| x.wrapping_add(1)).collect();
    })
}

fn signed_16() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 64) in;
        REF(int16_t, S, 2);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            S(y).at[ID * 2u] = int16_t(int(S(x).at[ID * 2u]) / 2);
            S(y).at[ID * 2u + 1u] = S(x).at[ID * 2u];
        }";
    pair(Case::glsl(source), Buffer::random(4, N).skew(2), Buffer::zeroes(N).skew(6))
}

fn float_16() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 64) in;
        REF(float16_t, H, 2);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            H(y).at[ID] = float16_t(float(H(x).at[ID]) + 1.0);
            H(y).at[ID + 2112u] = H(x).at[ID];
        }";
    // Small normal numbers: exponents 12 to 15 of 5 bits.
    let words: Vec<u32> =
        random(5, N).iter().map(|word| word & 0x0fff_0fff | 0x3000_3000).collect();
    pair(Case::glsl(source), Buffer::words(&words), Buffer::zeroes(N).skew(2))
}

fn unsigned_64() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 64) in;
        REF(uint64_t, L, 8);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            if (ID < 1056u) L(y).at[ID] = L(x).at[ID] * 0x123456789abcdefUL + 5UL;
        }";
    let case = pair(Case::glsl(source), Buffer::random(6, N).skew(8), Buffer::zeroes(N));
    case.oracle(|image| {
        let of = |x: u64| x.wrapping_mul(0x0123_4567_89ab_cdef).wrapping_add(5);
        let y: Vec<u64> = image.elements::<u64>(0).into_iter().map(of).collect();
        image.buffers[1] = bytemuck::cast_slice(&y).to_vec();
    })
}

fn signed_64() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 64) in;
        REF(int64_t, L, 8);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            if (ID >= 1056u) return;
            int64_t a = L(x).at[1055u - ID];
            L(y).at[ID] = a < 0L ? -a >> 3 : a + L(y).at[ID];
        }";
    pair(Case::glsl(source), Buffer::random(7, N), Buffer::random(8, N))
}

fn float_64() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(double, D, 8);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            if (ID < 1056u) D(y).at[ID] = D(x).at[ID] * 0.25lf + D(y).at[ID];
        }";
    let doubles: Vec<f64> = (0u32..1056).map(|k| f64::from(k) + 0.125).collect();
    let buffer = || Buffer::bytes(bytemuck::cast_slice(&doubles).to_vec());
    pair(Case::glsl(source), buffer(), buffer())
}

/// Numbers of 64 bits at addresses that are multiples of 4 only, some of them on two pages.
fn words_of_64() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 64) in;
        REF(uint64_t, L, 4);
        REF(double, D, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            if (ID >= 1056u) return;
            L(y).at[ID] = L(x).at[ID] * 0x123456789abcdefUL + L(y).at[ID];
            // Through an address that no argument gives.
            L other = L(uint64_t(L(x)) + 8UL * (1055u - ID));
            if ((ID & 1u) == 0u) D(y).at[ID] = double(uint(other.at[0] >> 40));
        }";
    let (x, y) = (Buffer::random(10, N).skew(4), Buffer::random(11, N).skew(12));
    pair(Case::glsl(source), x, y).oracle(|image| {
        let (x, mut y): (Vec<u64>, Vec<u64>) = (image.elements(0), image.elements(1));
        for (id, y) in y.iter_mut().enumerate() {
            *y = match id % 2 {
                0 => f64::from((x[1055 - id] >> 40) as u32).to_bits(),
                _ => x[id].wrapping_mul(0x0123_4567_89ab_cdef).wrapping_add(*y),
            };
        }
        image.buffers[1] = bytemuck::cast_slice(&y).to_vec();
    })
}

/// As [`words_of_64`], in vectors and structures, which are copied whole.
fn composites_of_64() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        layout(local_size_x = 64) in;
        struct Mixed { u64vec2 pair; uint word, other; double number; };
        REF(Mixed, M, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            // 264 of 32 bytes each.
            if (ID >= 264u) return;
            M(y).at[ID] = M(x).at[263u - ID];
            M(y).at[ID].pair = M(x).at[ID].pair.yx + 1UL;
        }";
    let (x, y) = (Buffer::random(12, N).skew(12), Buffer::zeroes(N).skew(4));
    pair(Case::glsl(source), x, y).oracle(|image| {
        let x: Vec<u64> = image.elements(0);
        let of = |id: usize| {
            let (own, other) = (&x[id * 4..][..4], &x[(263 - id) * 4..][..4]);
            [own[1].wrapping_add(1), own[0].wrapping_add(1), other[2], other[3]]
        };
        let y: Vec<u64> = (0..264).flat_map(of).collect();
        image.buffers[1] = bytemuck::cast_slice(&y).to_vec();
    })
}

/// A boolean in memory is a word that is not 0.
fn boolean_words() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(bool, Q, 4);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { Q(y).at[ID] = U(x).at[ID] > 0x80000000u && !Q(y).at[ID]; }";
    pair(Case::glsl(source), Buffer::random(9, N), Buffer::zeroes(N)).oracle(|image| {
        let y: Vec<u32> = image.words(0).iter().map(|&x| u32::from(x > 0x8000_0000)).collect();
        image.set_words(1, &y);
    })
}

/// Numbers of 8 and 16 bits that are loaded and stored, and not computed with, at several indices.
fn stored_only() -> Case {
    const ELEMENTS: usize = 512;
    let source = "
        #extension GL_EXT_shader_16bit_storage : require
        #extension GL_EXT_shader_8bit_storage : require
        layout(local_size_x = 64) in;
        struct S { uint from; uint8_t bytes[4][6]; float16_t wide[2][3]; };
        REF(S, M, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint from = M(x).at[ID].from;
            uint i = from & 3u, k = from >> 2 & 3u;
            M(y).at[ID].bytes[i][k] = uint8_t(uint(M(x).at[ID].bytes[k][i]) + 1u);
            M(y).at[ID].wide[i & 1u][k % 3u] = M(x).at[ID].wide[k & 1u][i % 3u];
        }";
    let x = Buffer::random(31, ELEMENTS * 10);
    let y = Buffer::random(32, ELEMENTS * 10).writable();
    Case::glsl(source).lend(x).lend(y).groups(8).oracle(|image| {
        let (x, mut y) = (image.buffers[0].clone(), image.buffers[1].clone());
        for (x, y) in x.chunks_exact(40).zip(y.chunks_exact_mut(40)) {
            let (i, k) = (usize::from(x[0] & 3), usize::from(x[0] >> 2 & 3));
            y[4 + i * 6 + k] = x[4 + k * 6 + i].wrapping_add(1);
            let (to, from) = (28 + ((i & 1) * 3 + k % 3) * 2, 28 + ((k & 1) * 3 + i % 3) * 2);
            y[to..to + 2].copy_from_slice(&x[from..from + 2]);
        }
        image.buffers[1] = y;
    })
}
