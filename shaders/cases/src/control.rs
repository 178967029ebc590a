//! Control flow around accesses: loops, branches, functions, constants that may be specialised.

use crate::case::{Buffer, Case};

cases! {
    ($) each_of_control:
    in_place_update, loop_for, loop_while, loop_do_while, loop_nested, loop_break_continue,
    loop_bound_from_memory, loop_with_switch, switch_of_stores, deep_branches, several_returns,
    functions_of_functions, specialised_defaults, specialised_parts, store_then_branch,
    private_and_function_arrays,
    writes_before_it_reads, read_after_own_write, workgroup_of_one_size,
}

const N: usize = 2048;

fn pair(source: &'static str) -> Case {
    Case::glsl(source)
        .lend(Buffer::random(160, N))
        .lend(Buffer::random(161, N).writable())
        .groups(32)
}

/// A second run over a first run's results would show.
fn in_place_update() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { U(y).at[ID] += U(x).at[ID]; }";
    pair(source).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        y.iter_mut().zip(&x).for_each(|(y, x)| *y = y.wrapping_add(*x));
        image.set_words(1, &y);
    })
}

fn loop_for() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            for (int k = 15; k >= 0; k -= 3)
                U(y).at[ID] ^= U(x).at[(ID + uint(k) * 128u) & 2047u] << k;
        }";
    pair(source).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, y) in y.iter_mut().enumerate() {
            for k in [15, 12, 9, 6, 3, 0] {
                *y ^= x[(id + k * 128) & 2047] << k;
            }
        }
        image.set_words(1, &y);
    })
}

fn loop_while() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint at = ID, hops = 0u;
            while ((U(x).at[at] & 7u) != 0u && hops < 30u) { at = U(x).at[at] >> 21; hops++; }
            U(y).at[ID] = hops * 4096u + at;
        }";
    pair(source).oracle(|image| {
        let x = image.words(0);
        let of = |id: usize| {
            let (mut at, mut hops) = (id as u32, 0);
            while x[at as usize] & 7 != 0 && hops < 30 {
                at = x[at as usize] >> 21;
                hops += 1;
            }
            hops * 4096 + at
        };
        let y: Vec<u32> = (0..N).map(of).collect();
        image.set_words(1, &y);
    })
}

fn loop_do_while() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint v = ID;
            do { v = U(x).at[v & 2047u] + 1u; U(y).at[ID] += v; } while ((v & 3u) != 1u);
        }";
    pair(source)
}

fn loop_nested() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint sum = 0u;
            for (uint a = 0u; a < 5u; a++) {
                for (uint b = 0u; b < (U(x).at[(ID + a) & 2047u] & 3u); b++) {
                    for (uint c = a; c < 6u; c += 2u) sum += U(x).at[(ID * c + b) & 2047u];
                    U(y).at[ID] += sum;
                }
            }
        }";
    pair(source)
}

fn loop_break_continue() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint sum = 0u;
            for (uint k = 0u; k < 64u; k++) {
                uint v = U(x).at[(ID + k * 33u) & 2047u];
                if ((v & 1u) != 0u) continue;
                if (v > 0xe0000000u) break;
                sum += v;
                U(y).at[ID] = sum;
            }
        }";
    pair(source).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, y) in y.iter_mut().enumerate() {
            let seen = (0..64).map(|k| x[(id + k * 33) & 2047]).filter(|v| v & 1 == 0);
            let mut sum = 0u32;
            for v in seen.take_while(|v| *v <= 0xe000_0000) {
                sum = sum.wrapping_add(v);
                *y = sum;
            }
        }
        image.set_words(1, &y);
    })
}

fn loop_bound_from_memory() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            U(y).at[ID] = ID % 23u;
            uint sum = 0u;
            for (uint k = 0u; k < U(y).at[ID]; k++) sum += U(x).at[k];
            U(y).at[ID] = sum;
        }";
    pair(source).oracle(|image| {
        let x = image.words(0);
        let of = |id: usize| x[..id % 23].iter().fold(0u32, |sum, x| sum.wrapping_add(*x));
        let y: Vec<u32> = (0..N).map(of).collect();
        image.set_words(1, &y);
    })
}

fn loop_with_switch() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint state = ID;
            for (uint k = 0u; k < 16u; k++) {
                switch (state & 7u) {
                    case 0u: state += U(x).at[k]; break;
                    case 1u: state ^= U(x).at[state & 2047u]; continue;
                    case 2u: U(y).at[ID] += state; // and on
                    case 3u: state = state * 3u + 1u; break;
                    case 4u: if ((state & 64u) != 0u) return; state >>= 1; break;
                    default: state = state * 5u + U(x).at[(state >> 8) & 2047u];
                }
                U(y).at[ID] ^= state;
            }
        }";
    pair(source)
}

fn switch_of_stores() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        REF(uvec2, V, 8);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            if (ID >= 1024u) return;
            switch (U(x).at[ID] & 3u) {
                case 0u: U(y).at[2u * ID] = 1u; break;
                case 1u: V(y).at[ID] = uvec2(ID, 2u); break;
                case 3u: atomicAdd(U(y).at[2u * ID + 1u], 3u); break;
            }
        }";
    pair(source).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, y) in (0u32..1024).zip(y.chunks_mut(2)) {
            match x[id as usize] & 3 {
                0 => y[0] = 1,
                1 => y.copy_from_slice(&[id, 2]),
                3 => y[1] = y[1].wrapping_add(3),
                _ => {}
            }
        }
        image.set_words(1, &y);
    })
}

fn deep_branches() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint v = U(x).at[ID], r = 0u;
            if ((v & 1u) != 0u) {
                r = U(x).at[(ID + 1u) & 2047u];
                if ((v & 2u) != 0u) {
                    r += U(x).at[(ID + 2u) & 2047u];
                    if ((v & 4u) != 0u) { U(y).at[ID] = r; r = 0u; } else r ^= U(y).at[ID];
                } else if ((v & 8u) != 0u) {
                    r = U(y).at[ID] * 2u;
                }
            } else {
                r = (v & 16u) != 0u ? U(y).at[ID] + 1u : U(x).at[v & 2047u];
            }
            U(y).at[ID] += r;
        }";
    pair(source)
}

fn several_returns() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        uint find(uint want) {
            for (uint k = 0u; k < 40u; k++) {
                uint v = U(x).at[(want + k * 51u) & 2047u];
                if ((v & 15u) == (want & 15u)) return k;
                if (v < 0x01000000u) return 1000u + v;
            }
            return 77u;
        }
        void main() { U(y).at[ID] = find(ID) + (find(ID + 5u) << 8); }";
    pair(source).oracle(|image| {
        let x = image.words(0);
        let find = |want: u32| {
            for k in 0..40 {
                let v = x[((want + k * 51) & 2047) as usize];
                if v & 15 == want & 15 {
                    return k;
                }
                if v < 0x0100_0000 {
                    return 1000 + v;
                }
            }
            77
        };
        let y: Vec<u32> = (0..2048).map(|id| find(id).wrapping_add(find(id + 5) << 8)).collect();
        image.set_words(1, &y);
    })
}

fn functions_of_functions() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        uint one(uint k) { return U(x).at[k & 2047u]; }
        uint two(uint k) { return one(k) + one(one(k)); }
        void keep(uint k, inout uint sum) { sum += two(k); U(y).at[ID] = sum; }
        void main() {
            uint sum = 0u;
            keep(ID, sum);
            for (uint k = 0u; k < 3u; k++) keep(sum + k, sum);
        }";
    pair(source)
}

fn specialised_defaults() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(constant_id = 3) const uint FACTOR = 5u;
        layout(constant_id = 4) const bool REVERSE = true;
        layout(constant_id = 5) const int STEP = -2;
        const uint TWICE = FACTOR * 2u + 1u;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint from = REVERSE ? 2047u - ID : ID;
            U(y).at[ID] = U(x).at[from] * FACTOR
                + U(x).at[uint(int(ID) + STEP * int(ID / 2u))] + TWICE;
        }";
    pair(source).oracle(|image| {
        let x = image.words(0);
        let of = |id: usize| {
            let sum = x[2047 - id].wrapping_mul(5).wrapping_add(x[id - 2 * (id / 2)]);
            sum.wrapping_add(11)
        };
        let y: Vec<u32> = (0..N).map(of).collect();
        image.set_words(1, &y);
    })
}

/// The stored value decides where the next store goes.
/// Operations of specialisation constants that pick several components.
fn specialised_parts() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(constant_id = 3) const uint FIRST = 4u;
        const uvec3 ALL = uvec3(FIRST, 2u, 3u);
        const uvec2 PICKED = ALL.zx + 1u;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { U(y).at[ID] = U(x).at[ID] * PICKED.x + PICKED.y; }";
    pair(source).oracle(|image| {
        let y: Vec<u32> =
            image.words(0).iter().map(|x| x.wrapping_mul(4).wrapping_add(5)).collect();
        image.set_words(1, &y);
    })
}

fn store_then_branch() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint a = 2u * ID;
            if (ID >= 1024u) return;
            U(y).at[a] = U(x).at[a] & 0xffu;
            if (U(y).at[a] > 100u) U(y).at[a + 1u] = U(y).at[a] * 2u;
            else U(y).at[a] = U(y).at[a + (U(y).at[a] & 1u)];
        }";
    pair(source)
}

fn private_and_function_arrays() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        uint kept[8];
        const uint FIXED[4] = uint[4](3u, 1u, 4u, 1u);
        void main() {
            uint own[8];
            for (uint k = 0u; k < 8u; k++) {
                own[k] = U(x).at[(ID * 8u + k) & 2047u];
                kept[7u - k] = own[k] >> 3;
            }
            uint at = own[ID & 7u] & 7u;
            U(y).at[ID] = own[at] + kept[at] * FIXED[at & 3u];
        }";
    pair(source)
}

/// The first access to a page is a store.
fn writes_before_it_reads() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 y; };
        void main() {
            U(y).at[ID * 8u] = ID;
            U(y).at[ID * 8u + 1u] = U(y).at[ID * 8u] + U(y).at[ID * 8u + 2u];
        }";
    Case::glsl(source).lend(Buffer::random(162, 8 * N).writable()).groups(32)
}

fn read_after_own_write() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 y; };
        void main() {
            for (uint k = 1u; k < 16u; k++)
                U(y).at[ID * 16u + k] += U(y).at[ID * 16u + k - 1u] * 3u;
        }";
    Case::glsl(source).lend(Buffer::random(163, 16 * 512).writable()).groups(8).oracle(|image| {
        let mut y = image.words(0);
        for row in y.chunks_mut(16) {
            for k in 1..16 {
                row[k] = row[k].wrapping_add(row[k - 1].wrapping_mul(3));
            }
        }
        image.set_words(0, &y);
    })
}

/// A workgroup's size that is a constant which may be specialised.
fn workgroup_of_one_size() -> Case {
    let source = "
        layout(local_size_x = 64, local_size_x_id = 1) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { U(y).at[ID] = U(x).at[ID] / gl_WorkGroupSize.x; }";
    pair(source)
}
