#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
// The tests choose workgroups, and turn each around by way of shared memory.
layout(local_size_x = 16, local_size_x_id = 0) in;
layout(constant_id = 1) const uint ROUNDS = 2;
layout(constant_id = 2) const float FACTOR = 1.0;
layout(constant_id = 3) const bool TURNS = false;
layout(constant_id = 4) const int SHIFT = 0;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer F32 { float at[]; };
layout(push_constant) uniform Push { uvec2 x; uvec2 y; uint n; };
shared float tile[gl_WorkGroupSize.x];

void main() {
    uint local = gl_LocalInvocationID.x;
    uint i = gl_GlobalInvocationID.x;
    tile[local] = i < n ? F32(x).at[i] : 0.0;
    barrier();
    float from = tile[TURNS ? gl_WorkGroupSize.x - 1 - local : local];
    float terms[ROUNDS];
    for (uint round = 0; round < ROUNDS; round++) terms[round] = from * FACTOR + float(round);
    float sum = 0.0;
    for (uint round = 0; round < ROUNDS; round++) sum += terms[round];
    if (i < n) F32(y).at[i] = sum + float(SHIFT) + float(gl_NumWorkGroups.x);
}
