#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// Addresses as parameters and results of functions, in a private variable and in an array.
uvec2 chosen;

uvec2 later(uvec2 base, uint words) {
    uint carry;
    uint low = uaddCarry(base.x, 4u * words, carry);
    return uvec2(low, base.y + carry);
}

float load(uvec2 base, uint index) {
    return F32(base).at[index];
}

void main() {
    if (INDEX >= push.n) return;
    uvec2 bases[2] = uvec2[2](push.a, later(push.a, 1u));
    chosen = bases[INDEX & 1u];
    uint index = min(INDEX, push.n - 2u);
    F32(later(push.z, push.n)).at[INDEX] = load(chosen, index) + load(push.a, INDEX);
}
