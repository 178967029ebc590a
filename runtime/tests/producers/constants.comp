#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// Specialisation constants, in a bound and in an index.
layout(constant_id = 3) const uint FACTOR = 5u;
layout(constant_id = 4) const uint FIRST = 2u;
const uint BOUND = FACTOR * FIRST;

void main() {
    if (INDEX >= push.n) return;
    uint sum = 0u;
    for (uint i = FIRST; i < BOUND; i++) sum += uint(F32(push.a).at[i]) * FACTOR;
    U32(push.z).at[INDEX] = sum + INDEX;
}
