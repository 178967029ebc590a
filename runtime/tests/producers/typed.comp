#version 460
#extension GL_GOOGLE_include_directive : require
#define OWN_PUSH
#include "push.glsl"

// Push constants of pointer type.
layout(push_constant) uniform Push {
    F32 a;
    Link links;
    F32 z;
    uint n;
    uint hops;
} push;

void main() {
    if (INDEX >= push.n) return;
    push.z.at[INDEX] += 2.0 * push.a.at[INDEX];
    push.z.at[push.n + INDEX] = push.a.at[0] + float(push.links.payload);
}
