#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"

// Reads an element behind an address that it finds in memory. The runtime runs it at start-up with an
// address where nothing is lent: the address of the fault tells how the driver computes offsets.
layout(local_size_x = 8) in;

layout(push_constant) uniform Push {
    uvec2 address; // where the address is
    uvec2 result;  // one word: the element
    uint index;    // the element's, in words
} push;

void main() {
    if (GLOBAL_INDEX != 0u) return;
    U32(push.result).at[0] = U32(Addresses(push.address).at[0]).at[push.index];
}
