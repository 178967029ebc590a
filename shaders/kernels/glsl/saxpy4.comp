#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"

// y = a * x + y, one vector of four elements per invocation.
layout(local_size_x = 64) in;

layout(buffer_reference, std430, buffer_reference_align = 16) buffer F32x4 { vec4 at[]; };

layout(push_constant) uniform Push {
    uvec2 x;
    uvec2 y;
    uint n; // vectors
    float a;
} push;

void main() {
    uint i = GLOBAL_INDEX;
    if (i >= push.n) return;
    F32x4(push.y).at[i] += push.a * F32x4(push.x).at[i];
}
