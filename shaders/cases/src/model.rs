//! Memory models, and the qualifiers of accesses.

use crate::case::{Buffer, Case};

cases! {
    ($) each_of_model:
    volatile_members, coherent_members, restricted_pointers, read_only_write_only,
    vulkan_memory_model, vulkan_non_private, acquire_and_release, coherent_structure,
    volatile_vectors,
}

const N: usize = 2048;

fn pair(source: &'static str) -> Case {
    Case::glsl(source)
        .lend(Buffer::random(180, N))
        .lend(Buffer::random(181, N).writable())
        .groups(32)
}

fn volatile_members() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            volatile buffer U { uint at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { U(y).at[ID] = U(x).at[ID] + U(x).at[ID]; U(y).at[ID] += U(y).at[ID]; }";
    pair(source).oracle(|image| {
        let y: Vec<u32> = image.words(0).iter().map(|x| x.wrapping_mul(4)).collect();
        image.set_words(1, &y);
    })
}

fn coherent_members() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) coherent buffer U {
            uint head; uint at[];
        };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            if (ID >= 2047u) return;
            U(y).at[ID] = U(x).at[ID] ^ U(x).head;
            memoryBarrierBuffer();
            if (ID == 0u) U(y).head = 17u;
        }";
    pair(source)
}

fn restricted_pointers() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { U x, y; };
        uint take(restrict U from) { return from.at[ID] >> 1; }
        void main() { restrict U to = y; to.at[ID] = take(x); }";
    pair(source).pointer_values().oracle(|image| {
        let y: Vec<u32> = image.words(0).iter().map(|x| x >> 1).collect();
        image.set_words(1, &y);
    })
}

fn read_only_write_only() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 8)
            readonly buffer R { uvec2 at[]; };
        layout(buffer_reference, scalar, buffer_reference_align = 8)
            writeonly buffer W { uvec2 at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() { if (ID < 1024u) W(y).at[1023u - ID] = R(x).at[ID].yx; }";
    pair(source).oracle(|image| {
        let mut y = image.words(0);
        y.reverse();
        image.set_words(1, &y);
    })
}

fn vulkan_memory_model() -> Case {
    let source = "
        #pragma use_vulkan_memory_model
        #extension GL_KHR_memory_scope_semantics : require
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            U(y).at[ID] = U(x).at[ID] * 9u;
            atomicAdd(U(y).at[0], 0u, gl_ScopeDevice, 0, 0);
        }";
    pair(source)
}

/// Accesses that others may see: NonPrivate, made available and visible.
fn vulkan_non_private() -> Case {
    let source = "
        #pragma use_vulkan_memory_model
        #extension GL_KHR_memory_scope_semantics : require
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            workgroupcoherent buffer U { uint at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint k = gl_LocalInvocationIndex, first = ID - k;
            U(y).at[ID] = U(x).at[ID];
            controlBarrier(gl_ScopeWorkgroup, gl_ScopeWorkgroup, gl_StorageSemanticsBuffer,
                gl_SemanticsAcquireRelease);
            uint other = U(y).at[first + (k ^ 63u)];
            controlBarrier(gl_ScopeWorkgroup, gl_ScopeWorkgroup, gl_StorageSemanticsBuffer,
                gl_SemanticsAcquireRelease);
            U(y).at[ID] = other + 1u;
        }";
    pair(source).oracle(|image| {
        let mut y: Vec<u32> = image.words(0).iter().map(|x| x.wrapping_add(1)).collect();
        y.chunks_mut(64).for_each(<[u32]>::reverse);
        image.set_words(1, &y);
    })
}

/// A flag that is released and acquired within a workgroup, where no invocation waits for it.
fn acquire_and_release() -> Case {
    let source = "
        #pragma use_vulkan_memory_model
        #extension GL_KHR_memory_scope_semantics : require
        layout(local_size_x = 64) in;
        REF(uint, U, 4);
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            devicecoherent buffer C { uint at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            uint k = gl_LocalInvocationIndex, first = ID - k;
            if (k == 0u) {
                C(y).at[first + 1u] = U(x).at[ID];
                atomicStore(C(y).at[first], 1u, gl_ScopeDevice, gl_StorageSemanticsBuffer,
                    gl_SemanticsRelease);
            }
            controlBarrier(gl_ScopeWorkgroup, gl_ScopeDevice, gl_StorageSemanticsBuffer,
                gl_SemanticsAcquireRelease);
            uint flag = atomicLoad(C(y).at[first], gl_ScopeDevice, gl_StorageSemanticsBuffer,
                gl_SemanticsAcquire);
            if (k > 1u && flag == 1u) C(y).at[ID] = C(y).at[first + 1u] + k;
        }";
    pair(source).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for (x, y) in x.chunks(64).zip(y.chunks_mut(64)) {
            y[0] = 1;
            y[1] = x[0];
            (2u32..).zip(&mut y[2..]).for_each(|(k, y)| *y = x[0].wrapping_add(k));
        }
        image.set_words(1, &y);
    })
}

/// Coherent members of a structure beside others that are not.
fn coherent_structure() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer P {
            uint plain; coherent uint seen; volatile uvec2 both;
        };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            if (ID >= 512u) return;
            uvec2 from = uvec2(x.x + 16u * ID, x.y), to = uvec2(y.x + 16u * ID, y.y);
            P(to).plain = P(from).seen;
            P(to).seen = P(from).plain;
            P(to).both = P(from).both + P(to).both.yx;
        }";
    pair(source)
}

fn volatile_vectors() -> Case {
    let source = "
        layout(local_size_x = 64) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4)
            volatile buffer V { uvec3 at[]; };
        layout(push_constant) uniform Push { uvec2 x, y; };
        void main() {
            if (ID >= 680u) return;
            V(y).at[ID] = V(x).at[ID].yzx;
            V(y).at[ID].z += V(x).at[679u - ID].x;
        }";
    pair(source).oracle(|image| {
        let (x, mut y) = (image.words(0), image.words(1));
        for id in 0..680 {
            let v = [x[3 * id + 1], x[3 * id + 2], x[3 * id].wrapping_add(x[3 * (679 - id)])];
            y[3 * id..3 * id + 3].copy_from_slice(&v);
        }
        image.set_words(1, &y);
    })
}
