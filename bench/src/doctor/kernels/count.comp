#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint at[]; };

layout(push_constant) uniform Push {
    uvec2 word;
} push;

void main() {
    for (uint i = 0u; i < 64u; i++) atomicAdd(U32(push.word).at[0], 1u);
}
