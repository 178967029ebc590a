#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
// Counts, and hands out places: the address of a store is the result of an atomic.
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint at[]; };
layout(push_constant) uniform Push {
    uvec2 x;
    uvec2 bins;
    uvec2 queue;
    uint n;
    uint bin_count;
} push;
void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i >= push.n) return;
    uint x = U32(push.x).at[i];
    atomicAdd(U32(push.bins).at[x % push.bin_count], 1u);
    if (x % 3u == 0u) {
        uint place = atomicAdd(U32(push.queue).at[0], 1u);
        U32(push.queue).at[1u + place] = x;
    }
}
