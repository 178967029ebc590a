#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require
#extension GL_EXT_shader_atomic_int64 : require
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer U64 { uint64_t at[]; };

layout(push_constant) uniform Push {
    uvec2 word;
} push;

void main() {
    for (uint i = 0u; i < 64u; i++) atomicAdd(U64(push.word).at[0], uint64_t(1));
}
