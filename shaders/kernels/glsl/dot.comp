#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"

// One partial sum of x . y per workgroup; the host adds the partial sums in double precision.
// A workgroup covers 64 * PER_INVOCATION neighbouring elements, an invocation every 64th of them.
layout(local_size_x = 64) in;

const uint PER_INVOCATION = 64u; // abi::DOT_ELEMENTS_PER_INVOCATION

layout(push_constant) uniform Push {
    uvec2 x;
    uvec2 y;
    uvec2 partial;
    uint n;
} push;

shared float lanes[64];

void main() {
    uint lane = gl_LocalInvocationIndex;
    uint group = WORKGROUP_INDEX;
    uint first = group * 64u * PER_INVOCATION + lane;
    float sum = 0.0;
    for (uint k = 0u; k < PER_INVOCATION; k++) {
        uint i = first + k * 64u;
        if (i < push.n) sum += F32(push.x).at[i] * F32(push.y).at[i];
    }
    lanes[lane] = sum;
    for (uint half_width = 32u; half_width > 0u; half_width >>= 1u) {
        barrier();
        if (lane < half_width) lanes[lane] += lanes[lane + half_width];
    }
    if (lane == 0u && group * 64u * PER_INVOCATION < push.n) {
        F32(push.partial).at[group] = lanes[0];
    }
}
