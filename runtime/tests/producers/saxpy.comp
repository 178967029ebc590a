#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// Arrays from the push constants, an index with a bound.
void main() {
    if (INDEX >= push.n) return;
    F32(push.z).at[INDEX] += 2.0 * F32(push.a).at[INDEX];
}
