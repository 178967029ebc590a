#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"

// y = a * x + b * y, one element per invocation.
layout(local_size_x = 64) in;

layout(push_constant) uniform Push {
    uvec2 x;
    uvec2 y;
    uint n;
    float a;
    float b;
} push;

void main() {
    uint i = GLOBAL_INDEX;
    if (i >= push.n) return;
    F32(push.y).at[i] = push.a * F32(push.x).at[i] + push.b * F32(push.y).at[i];
}
