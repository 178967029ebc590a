#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// An address that a branch, a selection or a loop chooses.
void main() {
    if (INDEX >= push.n) return;
    uvec2 base = (INDEX & 1u) == 0u ? push.a : push.links;
    uint value = U32(base).at[INDEX];
    uvec2 link = push.links;
    for (uint hop = 0u; hop < push.hops; hop++) {
        uint payload = Link(link).payload;
        if ((payload & 3u) == 3u) break;
        if ((payload & 1u) == 0u) {
            link = Link(link).next;
        } else {
            link = push.links;
            value += 5u;
            continue;
        }
        value = 7u * value + payload;
    }
    U32(push.z).at[INDEX] = value;
}
