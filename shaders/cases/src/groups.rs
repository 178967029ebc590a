//! Workgroups and subgroups: barriers, shared memory, what invocations tell each other.

use crate::case::{Buffer, Case};

cases! {
    ($) each_of_groups:
    reduce_in_shared_memory, scan_in_shared_memory, transpose_through_shared_memory,
    producer_consumer, neighbours_after_barrier, barrier_in_loop, shared_atomics, last_group_sums,
    subgroup_sum, subgroup_exchange, subgroup_vote, early_return, group_reads_after_other_writes,
}

const N: usize = 2048;

fn pair(source: &'static str) -> Case {
    Case::glsl(source)
        .lend(Buffer::random(140, N))
        .lend(Buffer::random(141, N).writable())
        .groups(32)
}

fn reduce_in_shared_memory() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        shared uint part[64];
        void main() {
            uint k = gl_LocalInvocationIndex;
            part[k] = U(x).at[ID];
            for (uint half_ = 32u; half_ > 0u; half_ /= 2u) {
                barrier();
                if (k < half_) part[k] += part[k + half_];
            }
            if (k == 0u) U(y).at[gl_WorkGroupID.x * 64u] += part[0];
        }";
    pair(source).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (x, y) in x.chunks(64).zip(y.chunks_mut(64)) {
            y[0] = x.iter().fold(y[0], |sum, x| sum.wrapping_add(*x));
        }
        image.set_words(1, &y);
    })
}

fn scan_in_shared_memory() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        shared uint part[64];
        void main() {
            uint k = gl_LocalInvocationIndex;
            part[k] = U(x).at[ID];
            barrier();
            for (uint step_ = 1u; step_ < 64u; step_ *= 2u) {
                uint add = k >= step_ ? part[k - step_] : 0u;
                barrier();
                part[k] += add;
                barrier();
            }
            U(y).at[ID] = part[k];
        }";
    pair(source).oracle(|image| {
        let mut y = image.words(0);
        for group in y.chunks_mut(64) {
            for k in 1..64 {
                group[k] = group[k].wrapping_add(group[k - 1]);
            }
        }
        image.set_words(1, &y);
    })
}

fn transpose_through_shared_memory() -> Case {
    let source = "
        layout(local_size_x = 8, local_size_y = 8) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        shared uint tile[8][9];
        void main() {
            uvec2 at = gl_LocalInvocationID.xy;
            uvec2 first = gl_WorkGroupID.xy * 8u;
            tile[at.y][at.x] = U(x).at[(first.y + at.y) * 64u + first.x + at.x];
            barrier();
            U(y).at[(first.x + at.y) * 32u + first.y + at.x] = tile[at.x][at.y];
        }";
    let mut case = pair(source).oracle(|image| {
        let x = image.words(0);
        let y: Vec<u32> = (0..N).map(|at| x[at % 32 * 64 + at / 32]).collect();
        image.set_words(1, &y);
    });
    case.groups = [8, 4, 1];
    case
}

/// One invocation of each workgroup writes to memory, the others read it after a barrier.
fn producer_consumer() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            coherent buffer U { uint at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint first = gl_WorkGroupID.x * 64u;
            for (uint round = 0u; round < 4u; round++) {
                if (gl_LocalInvocationIndex == round)
                    U(y).at[first] = U(x).at[first + round] ^ round;
                memoryBarrierBuffer();
                barrier();
                uint said = U(y).at[first];
                barrier();
                if (gl_LocalInvocationIndex > 0u) U(y).at[ID] += said;
            }
        }";
    pair(source).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (x, y) in x.chunks(64).zip(y.chunks_mut(64)) {
            for round in 0..4u32 {
                y[0] = x[round as usize] ^ round;
                let said = y[0];
                y[1..].iter_mut().for_each(|y| *y = y.wrapping_add(said));
            }
        }
        image.set_words(1, &y);
    })
}

fn neighbours_after_barrier() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            coherent buffer U { uint at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint first = gl_WorkGroupID.x * 64u, k = gl_LocalInvocationIndex;
            U(y).at[ID] = U(x).at[ID];
            memoryBarrierBuffer();
            barrier();
            uint sum = U(y).at[first + ((k + 1u) & 63u)] + U(y).at[first + ((k + 63u) & 63u)];
            memoryBarrierBuffer();
            barrier();
            U(y).at[ID] = sum;
        }";
    pair(source).oracle(|image| {
        let x = image.words(0);
        let of = |id: usize| {
            let first = id / 64 * 64;
            x[first + (id + 1) % 64].wrapping_add(x[first + (id + 63) % 64])
        };
        let y: Vec<u32> = (0..N).map(of).collect();
        image.set_words(1, &y);
    })
}

/// The number of passes, the same for a workgroup, is read from memory.
fn barrier_in_loop() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        shared uint kept[64];
        void main() {
            uint k = gl_LocalInvocationIndex;
            uint passes = U(x).at[gl_WorkGroupID.x] & 7u;
            kept[k] = U(x).at[ID];
            for (uint pass = 0u; pass < passes; pass++) {
                barrier();
                uint next = kept[(k + 1u) & 63u] * 3u;
                barrier();
                kept[k] = next + U(x).at[(ID + pass * 512u) & 2047u];
            }
            U(y).at[ID] = kept[k];
        }";
    pair(source)
}

fn shared_atomics() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        shared uint bin[16];
        void main() {
            uint k = gl_LocalInvocationIndex;
            if (k < 16u) bin[k] = 0u;
            barrier();
            atomicAdd(bin[U(x).at[ID] >> 28], 1u);
            barrier();
            if (k < 16u) atomicAdd(U(y).at[k * 100u], bin[k]);
        }";
    pair(source).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for x in x {
            let at = (x >> 28) as usize * 100;
            y[at] = y[at].wrapping_add(1);
        }
        image.set_words(1, &y);
    })
}

/// Workgroups leave partial sums; the last one to finish adds them up.
fn last_group_sums() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            coherent buffer U { uint at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        shared uint part[64];
        shared bool last;
        void main() {
            uint k = gl_LocalInvocationIndex;
            part[k] = U(x).at[ID];
            barrier();
            if (k == 0u) {
                uint sum = 0u;
                for (uint i = 0u; i < 64u; i++) sum += part[i];
                U(y).at[gl_WorkGroupID.x] = sum;
                memoryBarrierBuffer();
                last = atomicAdd(U(y).at[1040], 1u) == gl_NumWorkGroups.x - 1u;
            }
            barrier();
            if (!last) return;
            memoryBarrierBuffer();
            if (k == 0u) {
                uint sum = 0u;
                for (uint i = 0u; i < gl_NumWorkGroups.x; i++) sum += U(y).at[i];
                U(y).at[1041] = sum;
            }
        }";
    let y = Buffer::zeroes(1042).writable();
    Case::glsl(source).lend(Buffer::random(142, N)).lend(y).groups(32).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (x, y) in x.chunks(64).zip(&mut y) {
            *y = x.iter().fold(0, |sum, x| sum.wrapping_add(*x));
        }
        y[1040] = 32;
        y[1041] = x.iter().fold(0, |sum, x| sum.wrapping_add(*x));
        image.set_words(1, &y);
    })
}

fn subgroup_sum() -> Case {
    let source = "
        #extension GL_KHR_shader_subgroup_arithmetic : require
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint sum = subgroupAdd(U(x).at[ID]);
            uint below = subgroupExclusiveAdd(U(x).at[ID]);
            U(y).at[ID] = sum * 3u + below + subgroupMax(U(x).at[ID ^ 1u]);
        }";
    pair(source)
}

/// An address that comes from another invocation.
fn subgroup_exchange() -> Case {
    let source = "
        #extension GL_KHR_shader_subgroup_shuffle : require
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint place = subgroupShuffleXor(U(x).at[ID] & 2047u, 1u);
            U(y).at[ID] = subgroupShuffle(U(x).at[place], gl_SubgroupInvocationID ^ 2u);
        }";
    pair(source).oracle(|image| {
        let x = image.words(0);
        let of = |id: usize| x[x[id ^ 2 ^ 1] as usize & 2047];
        let y: Vec<u32> = (0..N).map(of).collect();
        image.set_words(1, &y);
    })
}

fn subgroup_vote() -> Case {
    let source = "
        #extension GL_KHR_shader_subgroup_ballot : require
        #extension GL_KHR_shader_subgroup_vote : require
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            bool high = U(x).at[ID] > 0x40000000u;
            uvec4 ballot = subgroupBallot(high);
            uint v = subgroupBallotBitCount(ballot) + uint(subgroupAll(high)) * 100u;
            if (subgroupElect()) U(y).at[ID] = v; else U(y).at[ID] += subgroupBroadcastFirst(v);
        }";
    pair(source)
}

/// Some invocations leave before the others load, store and count.
fn early_return() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint v = U(x).at[ID];
            if ((v & 1u) == 0u) return;
            if ((v & 2u) == 0u) { U(y).at[ID] = v; return; }
            for (uint k = 0u; k < 8u; k++) {
                if (U(x).at[(v + k) & 2047u] < 0x20000000u) return;
                U(y).at[ID] += k + 1u;
            }
            U(y).at[ID] ^= 0xffffu;
        }";
    pair(source).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (v, y) in x.iter().zip(&mut y).filter(|(v, _)| *v & 1 == 1) {
            if v & 2 == 0 {
                *y = *v;
                continue;
            }
            let low = |k: u32| x[(v.wrapping_add(k) & 2047) as usize] < 0x2000_0000;
            let passed = (0..8).take_while(|&k| !low(k)).count() as u32;
            *y = y.wrapping_add((1..=passed).sum());
            *y ^= if passed == 8 { 0xffff } else { 0 };
        }
        image.set_words(1, &y);
    })
}

/// Through one counter workgroups hand a number on, whichever comes first.
fn group_reads_after_other_writes() -> Case {
    let source = "
        layout(local_size_x = 8) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            coherent buffer U { uint at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            if (gl_LocalInvocationIndex != 0u) return;
            uint ticket = atomicAdd(U(y).at[0], 1u);
            atomicAdd(U(y).at[1], ticket * U(x).at[ticket * 60u]);
            U(y).at[64u + ticket] = ticket;
        }";
    let y = Buffer::zeroes(96).writable();
    Case::glsl(source).lend(Buffer::random(143, N)).lend(y).groups(32).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        y[0] = 32;
        for ticket in 0..32 {
            y[1] = y[1].wrapping_add((ticket as u32).wrapping_mul(x[ticket * 60]));
            y[64 + ticket] = ticket as u32;
        }
        image.set_words(1, &y);
    })
}
