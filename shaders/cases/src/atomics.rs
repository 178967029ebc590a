//! Atomic operations, also those whose result decides what is done next.

use crate::case::{Buffer, Case, Image, random};

cases! {
    ($) each_of_atomics:
    atomic_add, atomic_bits, atomic_extremes, atomic_signed, atomic_exchange, atomic_compare,
    atomic_64, atomic_own_results, atomic_load_and_store, histogram, lock_free_maximum,
    queue_alloc, stack_push, atomic_decides, atomic_through_pointer, atomic_add_loop,
}

const N: usize = 2048;

/// Values to read and counters to change.
fn counters(source: &'static str, counters: Buffer) -> Case {
    Case::glsl(source).lend(Buffer::random(120, N)).lend(counters.writable()).groups(32)
}

fn atomic_add() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { atomicAdd(U(y).at[ID % 700u], U(x).at[ID]); }";
    counters(source, Buffer::random(121, 1500)).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, x) in x.iter().enumerate() {
            y[id % 700] = y[id % 700].wrapping_add(*x);
        }
        image.set_words(1, &y);
    })
}

fn atomic_bits() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint v = U(x).at[ID];
            atomicAnd(U(y).at[ID & 15u], v | 0xff00ff00u);
            atomicOr(U(y).at[1030u + (ID & 15u)], v & 0x01010101u);
            atomicXor(U(y).at[2060u + (ID & 15u)], v);
        }";
    counters(source, Buffer::random(122, 2100)).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, x) in x.iter().enumerate() {
            y[id & 15] &= x | 0xff00_ff00;
            y[1030 + (id & 15)] |= x & 0x0101_0101;
            y[2060 + (id & 15)] ^= x;
        }
        image.set_words(1, &y);
    })
}

fn atomic_extremes() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            atomicMin(U(y).at[ID & 7u], U(x).at[ID]);
            atomicMax(U(y).at[1040u + (ID & 7u)], U(x).at[ID]);
        }";
    counters(source, Buffer::words(&vec![0x8000_0000; 1100])).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, &x) in x.iter().enumerate() {
            y[id & 7] = y[id & 7].min(x);
            y[1040 + (id & 7)] = y[1040 + (id & 7)].max(x);
        }
        image.set_words(1, &y);
    })
}

fn atomic_signed() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(int, I, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            int v = I(x).at[ID];
            atomicMin(I(y).at[ID & 7u], v);
            atomicMax(I(y).at[8u + (ID & 7u)], v);
            atomicAdd(I(y).at[16u + (ID & 7u)], -v);
        }";
    counters(source, Buffer::zeroes(24))
}

/// Each element is exchanged by one invocation, which keeps what was there.
fn atomic_exchange() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y, kept; };
        void main() {
            uint at = (ID * 5u) & 2047u;
            U(kept).at[ID] = atomicExchange(U(y).at[at], U(x).at[ID]);
        }";
    counters(source, Buffer::random(123, N)).lend(Buffer::zeroes(N).writable()).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        let exchange = |id: usize| std::mem::replace(&mut y[(id * 5) & 2047], x[id]);
        let kept: Vec<u32> = (0..N).map(exchange).collect();
        image.set_words(1, &y);
        image.set_words(2, &kept);
    })
}

/// Addition by compare-and-exchange, by many invocations at once.
fn atomic_compare() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint seen = 0u, add = U(x).at[ID] | 1u;
            for (uint k = 0u; k < 20000u; k++) {
                uint was = atomicCompSwap(U(y).at[ID & 31u], seen, seen + add);
                if (was == seen) return;
                seen = was;
            }
            atomicOr(U(y).at[1200], 1u);
        }";
    counters(source, Buffer::zeroes(1201)).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (id, x) in x.iter().enumerate() {
            y[id & 31] = y[id & 31].wrapping_add(x | 1);
        }
        image.set_words(1, &y);
    })
}

fn atomic_64() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        #extension GL_EXT_shader_atomic_int64 : require
        layout(local_size_x = 64) in;
        REF(uint64_t, L, 8);
        REF(int64_t, S, 8);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint64_t v = L(x).at[ID & 1023u];
            atomicAdd(L(y).at[ID & 3u], v);
            atomicXor(L(y).at[4u + (ID & 3u)], v);
            atomicMax(L(y).at[520u + (ID & 3u)], v);
            atomicMin(S(y).at[524u + (ID & 3u)], int64_t(v));
            atomicOr(L(y).at[528u + (ID & 3u)], v & 0x1111UL);
            if (ID < 256u) L(y).at[600u + ID] = atomicExchange(L(y).at[900u + ID], v);
        }";
    counters(source, Buffer::zeroes(2400)).oracle(|image| {
        let x: Vec<u64> = image.elements(0);
        let mut y: Vec<u64> = image.elements(1);
        for id in 0..N {
            let (v, k) = (x[id & 1023], id & 3);
            y[k] = y[k].wrapping_add(v);
            y[4 + k] ^= v;
            y[520 + k] = y[520 + k].max(v);
            y[524 + k] = y[524 + k].cast_signed().min(v.cast_signed()).cast_unsigned();
            y[528 + k] |= v & 0x1111;
            if id < 256 {
                y[900 + id] = v;
            }
        }
        image.buffers[1] = bytemuck::cast_slice(&y).to_vec();
    })
}

/// Results of atomics on memory that one invocation owns.
fn atomic_own_results() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint at = 2u * (ID & 1023u);
            if (ID > 1023u) return;
            uint sum = atomicAdd(U(y).at[at], 3u);
            sum = sum * 5u + atomicOr(U(y).at[at], 0x80u);
            sum = sum * 5u + atomicAnd(U(y).at[at], 0xf0f0f0f0u);
            sum = sum * 5u + atomicXor(U(y).at[at], U(x).at[ID]);
            sum = sum * 5u + atomicMin(U(y).at[at], 0x70000000u);
            sum = sum * 5u + atomicMax(U(y).at[at], 0x10000000u);
            sum = sum * 5u + atomicCompSwap(U(y).at[at], 0x70000000u, ID);
            U(y).at[at + 1u] = sum * 5u + atomicExchange(U(y).at[at], sum);
        }";
    counters(source, Buffer::random(124, N))
}

fn atomic_load_and_store() -> Case {
    let source = "
        #extension GL_KHR_memory_scope_semantics : require
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint v = atomicLoad(U(x).at[ID], gl_ScopeDevice, gl_StorageSemanticsBuffer,
                gl_SemanticsAcquire);
            atomicStore(U(y).at[2047u - ID], v + 9u, gl_ScopeDevice, gl_StorageSemanticsBuffer,
                gl_SemanticsRelease);
        }";
    // An atomic load needs memory that may be written.
    Case::glsl(source)
        .lend(Buffer::random(125, N).writable())
        .lend(Buffer::zeroes(N).writable())
        .groups(32)
        .oracle(|image| {
            let y: Vec<u32> = image.words(0).iter().rev().map(|x| x.wrapping_add(9)).collect();
            image.set_words(1, &y);
        })
}

fn histogram() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { atomicAdd(U(y).at[U(x).at[ID] >> 20], 1u); }";
    counters(source, Buffer::zeroes(4096)).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        x.iter().for_each(|x| y[(x >> 20) as usize] += 1);
        image.set_words(1, &y);
    })
}

/// The position of the largest value, by compare-and-exchange of a position.
fn lock_free_maximum() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint best = atomicAdd(U(y).at[0], 0u);
            while (U(x).at[ID] > U(x).at[best]) {
                uint was = atomicCompSwap(U(y).at[0], best, ID);
                if (was == best) break;
                best = was;
            }
        }";
    counters(source, Buffer::zeroes(1)).oracle(|image| {
        let x = image.words(0);
        let best = (0u32..).zip(&x).max_by_key(|(_, x)| **x).unwrap().0;
        image.set_words(1, &[best]);
    })
}

/// An atomic's result is the place of a store: invocations queue what they found.
fn queue_alloc() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        REF(uvec4, V, 16);
        layout(push_constant) uniform Push { uvec2 x, count, queue; };
        void main() {
            uint v = U(x).at[ID];
            if (v % 3u == 0u) return;
            uint slot = atomicAdd(U(count).at[0], 1u);
            V(queue).at[slot] = uvec4(ID, v, v ^ ID, 1u);
        }";
    counters(source, Buffer::zeroes(1))
        .lend(Buffer::zeroes(4 * N).writable())
        .normalise(sort_queue)
        .oracle(|image| {
            let found = (0u32..).zip(image.words(0)).filter(|(_, v)| v % 3 != 0);
            let mut queue: Vec<u32> = found.flat_map(|(id, v)| [id, v, v ^ id, 1]).collect();
            image.set_words(1, &[u32::try_from(queue.len() / 4).unwrap()]);
            queue.resize(4 * N, 0);
            image.set_words(2, &queue);
        })
}

/// Entries come in the order in which invocations happened to run: sorts them by their first word.
fn sort_queue(image: &mut Image) {
    let count = image.words(1)[0] as usize;
    let queue = image.words(2);
    let mut entries: Vec<[u32; 4]> =
        queue.chunks(4).map(|entry| entry.try_into().unwrap()).collect();
    entries[..count].sort_unstable();
    image.set_words(2, entries.as_flattened());
}

/// Invocations push nodes onto one list by exchanging its head: an atomic whose result is an
/// address that is stored.
fn stack_push() -> Case {
    let source = "
        #extension GL_EXT_shader_explicit_arithmetic_types : require
        #extension GL_EXT_shader_atomic_int64 : require
        layout(local_size_x = 64) in;
        struct Link { uint64_t next; uint value, spare; };
        REF(Link, L, 8);
        REF(uint64_t, H, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, head; uint64_t nodes; };
        void main() {
            uint64_t mine = nodes + 16UL * uint64_t(ID);
            L(mine).at[0].value = U(x).at[ID];
            L(mine).at[0].next = atomicExchange(H(head).at[0], mine);
        }";
    counters(source, Buffer::zeroes(2)).lend(Buffer::zeroes(4 * N).writable()).normalise(unlink)
}

/// Nodes are linked in the order in which invocations happened to run: checks that the list holds
/// every node once, and takes the links away.
fn unlink(image: &mut Image) {
    let (head, mut nodes) = (image.words(1), image.words(2));
    let mut here = [head[0], head[1]];
    let mut seen = 0;
    while let Some((_, at)) = image.find(here[0], here[1]) {
        here = [nodes[at / 4], nodes[at / 4 + 1]];
        nodes[at / 4..at / 4 + 2].fill(0);
        seen += 1;
        assert!(seen <= N, "the list goes round");
    }
    assert_eq!((seen, here), (N, [0, 0]), "every node is in the list, and the last has no next");
    image.set_words(1, &[0, 0]);
    image.set_words(2, &nodes);
}

/// An atomic's result decides who does the work: the first one of each group of sixteen.
fn atomic_decides() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint group = ID / 16u;
            if (atomicAdd(U(y).at[group], 1u) != 0u) return;
            uint sum = 0u;
            for (uint k = 0u; k < 16u; k++) sum += U(x).at[group * 16u + k];
            U(y).at[1024u + group] += sum;
        }";
    counters(source, Buffer::zeroes(1152)).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (group, x) in x.chunks(16).enumerate() {
            y[group] = 16;
            y[1024 + group] = x.iter().fold(0, |sum, x| sum.wrapping_add(*x));
        }
        image.set_words(1, &y);
    })
}

/// The counter is found through a table.
fn atomic_through_pointer() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uvec2, T, 8);
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 table; };
        void main() { atomicAdd(U(T(table).at[ID]).at[0], ID + 1u); }";
    let which = random(126, N);
    let links = which.iter().enumerate();
    let table = links.fold(Buffer::zeroes(2 * N), |table, (k, word)| {
        table.link(k * 8, 1, *word as usize % 3000 * 4)
    });
    Case::glsl(source).lend(table).lend_silently(Buffer::zeroes(3000).writable()).groups(32)
}

/// Many atomics by each invocation, in a loop.
fn atomic_add_loop() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            for (uint k = 0u; k < 10u; k++)
                atomicAdd(U(y).at[(U(x).at[ID] >> k) & 4095u], k + 1u);
        }";
    counters(source, Buffer::zeroes(4096)).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for x in x {
            for k in 0..10 {
                y[(x >> k & 4095) as usize] += k + 1;
            }
        }
        image.set_words(1, &y);
    })
}
