#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#define OWN_PUSH
#include "push.glsl"

// Addresses as 64-bit integers.
layout(push_constant) uniform Push {
    uint64_t a;
    uint64_t links;
    uint64_t z;
    uint n;
    uint hops;
} push;

void main() {
    if (INDEX >= push.n) return;
    uint64_t step = 4ul * uint64_t(INDEX);
    F32(push.z + step).at[0] += 2.0 * F32(push.a + step).at[0];
}
