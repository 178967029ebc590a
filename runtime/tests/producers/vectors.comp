#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// Vectors, whole and by component.
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Vectors { vec4 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Pairs { vec2 at[]; };

void main() {
    if (INDEX >= push.n / 4u) return;
    vec4 v = 2.0 * Vectors(push.a).at[INDEX];
    Vectors(push.z).at[INDEX] = v.wzyx;
    Vectors(push.z).at[INDEX][INDEX & 3u] = 1.0;
    Pairs(push.z).at[2u * push.n / 4u + INDEX].y = Pairs(push.a).at[INDEX].x;
}
