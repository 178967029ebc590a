#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"

// y = A * x for a matrix in compressed sparse rows, one row per invocation. A launch handles the
// entries [first, first + window) of every row; the host repeats it until the longest row is done.
// Entries are added in blocks of 256, so that rounding grows with the number of blocks rather
// than with the length of the row.
layout(local_size_x = 64) in;

layout(push_constant) uniform Push {
    uvec2 row_ptr;
    uvec2 col;
    uvec2 val;
    uvec2 x;
    uvec2 y;
    uint rows;
    uint first;
    uint window;
} push;

void main() {
    uint row = GLOBAL_INDEX;
    if (row >= push.rows) return;
    uint begin = U32(push.row_ptr).at[row];
    uint length = U32(push.row_ptr).at[row + 1u] - begin;
    if (push.first >= length && push.first > 0u) return;
    uint entry = begin + push.first;
    uint end = begin + min(length, push.first + push.window);
    float sum = push.first == 0u ? 0.0 : F32(push.y).at[row];
    while (entry < end) {
        uint block_end = min(end, entry + 256u);
        float block = 0.0;
        for (; entry < block_end; entry++) {
            block += F32(push.val).at[entry] * F32(push.x).at[U32(push.col).at[entry]];
        }
        sum += block;
    }
    F32(push.y).at[row] = sum;
}
