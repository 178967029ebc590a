#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint at[]; };

layout(push_constant) uniform Push {
    uvec2 y;
    uint n;
    uint k;
} push;

void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i >= push.n) return;
    U32(push.y).at[i] = (i * 0x9e3779b9u) ^ push.k;
}
