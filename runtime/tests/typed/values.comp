#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"

// Writes the bits of each argument, one behind the other.
layout(local_size_x = 1) in;

struct Limits {
    float low;
    uvec2 place;
    Range range;
};

layout(push_constant, scalar) uniform Push {
    uvec2 to;
    bool is_on;
    int type;
    vec3 v;
    layout(row_major) mat2x3 rows;
    mat2 columns;
    Limits limits;
    uint list[3];
} push;

void main() {
    uint at = 0;
    Words(push.to).word[at++] = uint(push.is_on);
    Words(push.to).word[at++] = uint(push.type);
    for (int i = 0; i < 3; i++) Words(push.to).word[at++] = floatBitsToUint(push.v[i]);
    for (int c = 0; c < 2; c++) for (int r = 0; r < 3; r++)
        Words(push.to).word[at++] = floatBitsToUint(push.rows[c][r]);
    for (int c = 0; c < 2; c++) for (int r = 0; r < 2; r++)
        Words(push.to).word[at++] = floatBitsToUint(push.columns[c][r]);
    Words(push.to).word[at++] = floatBitsToUint(push.limits.low);
    Words(push.to).word[at++] = push.limits.place.x;
    Words(push.to).word[at++] = push.limits.place.y;
    Words(push.to).word[at++] = uint(push.limits.range.start);
    Words(push.to).word[at++] = push.limits.range.end;
    for (int i = 0; i < 3; i++) Words(push.to).word[at++] = push.list[i];
}
