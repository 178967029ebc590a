#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// Pointers that are loaded from memory.
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Links { uvec4 at[]; };

void main() {
    if (INDEX >= push.n) return;
    uvec2 link = Links(push.links).at[INDEX].xy;
    uint sum = 0u;
    for (uint hop = 0u; hop < push.hops; hop++) {
        sum = 3u * sum + Link(link).payload;
        link = Link(link).next;
    }
    U32(push.z).at[INDEX] = sum;
}
