#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"

// Follows a chain of links through memory and reports how many it saw and what they held. The
// runtime runs it at start-up to prove that a host pointer means the same on the device.
layout(local_size_x = 8) in;

layout(buffer_reference, std430, buffer_reference_align = 8) buffer Link {
    uvec2 next;
    uint payload;
};

layout(push_constant) uniform Push {
    uvec2 head;
    uvec2 result; // two words: links seen, exclusive or of their payloads
    uint limit;   // the most links to follow
} push;

void main() {
    if (GLOBAL_INDEX != 0u) return;
    uvec2 link = push.head;
    uint seen = 0u;
    uint mix = 0u;
    while (link != uvec2(0u) && seen < push.limit) {
        mix ^= Link(link).payload;
        seen += 1u;
        link = Link(link).next;
    }
    U32(push.result).at[0] = seen;
    U32(push.result).at[1] = mix;
}
