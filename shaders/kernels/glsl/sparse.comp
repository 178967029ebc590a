#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"

// Adds up pages of 1024 words out of many: 64 invocations per page, 16 words each.
layout(local_size_x = 64) in;

layout(push_constant) uniform Push {
    uvec2 words;
    uvec2 pages; // the numbers of pages
    uvec2 sums;  // 64 for each page
    uint n;      // 64 for each page
} push;

void main() {
    uint i = GLOBAL_INDEX;
    if (i >= push.n) return;
    uint word = U32(push.pages).at[i >> 6u] * 1024u + (i & 63u);
    uint sum = 0u;
    for (uint k = 0u; k < 16u; k++) {
        sum += U32(push.words).at[word + 64u * k];
    }
    U32(push.sums).at[i] = sum;
}
