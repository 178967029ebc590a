#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// Shared memory and barriers.
shared float part[64];

void main() {
    uint lane = gl_LocalInvocationIndex;
    part[lane] = INDEX < push.n ? F32(push.a).at[INDEX] : 0.0;
    for (uint step = 32u; step > 0u; step >>= 1u) {
        barrier();
        if (lane < step) part[lane] += part[lane + step];
    }
    barrier();
    if (lane == 0u) F32(push.z).at[gl_WorkGroupID.x] = part[0];
}
