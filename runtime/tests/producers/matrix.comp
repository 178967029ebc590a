#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// A matrix and vectors.
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Matrix { mat4 m; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer Vectors { vec4 at[]; };

void main() {
    if (INDEX >= push.n / 4u) return;
    vec4 v = Vectors(push.a).at[INDEX];
    Vectors(push.z).at[INDEX] = Matrix(push.a).m * v;
    Vectors(push.z).at[INDEX].w = Matrix(push.a).m[2].y + v[INDEX & 3u];
}
