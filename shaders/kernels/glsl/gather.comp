#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"

// z = x[index], one element per invocation.
layout(local_size_x = 64) in;

layout(push_constant) uniform Push {
    uvec2 x;
    uvec2 index;
    uvec2 z;
    uint n;
} push;

void main() {
    uint i = GLOBAL_INDEX;
    if (i >= push.n) return;
    F32(push.z).at[i] = F32(push.x).at[U32(push.index).at[i]];
}
