#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"

// Makes passes through a loop, and says now and then how many. The runtime runs it at start-up, with so
// many passes that the host can tell it to end, to find out whether it does.
layout(local_size_x = 8) in;

layout(push_constant) uniform Push {
    uvec2 result; // two words: passes so far, and not 0 once all were made
    uint passes;
} push;

void main() {
    if (GLOBAL_INDEX != 0u) return;
    uint mix = 1u;
    for (uint pass = 0u; pass < push.passes; pass++) {
        if ((pass & 4095u) == 0u) U32(push.result).at[0] = pass;
        mix = mix * 1664525u + 1013904223u; // a sum that no compiler has in closed form
    }
    U32(push.result).at[1] = mix | 1u;
}
