#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"

// Follows `hops` links from each head, one head per invocation, and adds up their payloads. The
// host gives closed chains, and at most abi::LOOP_WINDOW hops.
layout(local_size_x = 64) in;

layout(buffer_reference, std430, buffer_reference_align = 8) buffer Link {
    uvec2 next;
    uint payload;
};

layout(push_constant) uniform Push {
    uvec2 heads;
    uvec2 sums;
    uint count;
    uint hops;
} push;

void main() {
    uint i = GLOBAL_INDEX;
    if (i >= push.count) return;
    uvec2 link = Addresses(push.heads).at[i];
    uint sum = 0u;
    for (uint hop = 0u; hop < push.hops; hop++) {
        sum += Link(link).payload;
        link = Link(link).next;
    }
    U32(push.sums).at[i] = sum;
}
