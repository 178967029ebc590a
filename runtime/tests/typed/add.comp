#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

// The source of add.spv: `to[i] += from[i] * factor` over `n` elements.
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint at[]; };
layout(push_constant) uniform Push {
    uvec2 from;
    uvec2 to;
    uint n;
    uint factor;
};

void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i < n) U32(to).at[i] += U32(from).at[i] * factor;
}
