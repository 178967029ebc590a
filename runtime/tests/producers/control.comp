#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// Switches, nested loops, early returns.
void main() {
    if (INDEX >= push.n) return;
    uint total = 0u;
    for (uint i = 0u; i < 4u; i++) {
        uint j = INDEX;
        while (true) {
            if (j >= push.n || j > INDEX + i) break;
            switch (uint(F32(push.a).at[j]) & 3u) {
            case 0u: total += 1u; break;
            case 1u: total += U32(push.links).at[4u * j + 2u]; // falls through
            case 2u: total = total * 3u; break;
            default:
                if (total > 1000000u) {
                    U32(push.z).at[INDEX] = total;
                    return;
                }
                total += 11u;
            }
            j++;
        }
    }
    do {
        total = (total >> 1u) ^ 3u;
    } while ((total & 0x100u) != 0u);
    U32(push.z).at[INDEX] = total;
}
