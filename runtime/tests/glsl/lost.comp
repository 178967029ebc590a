// Its first invocations leave what is lent; all then run through a loop that none may leave by itself.
#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_KHR_shader_subgroup_arithmetic : require
layout(local_size_x = 32) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U { uint at[]; };
layout(push_constant) uniform Push { uvec2 z, y; uint far; uint passes; uint writes; uint lost; };
void main() {
    uint lane = gl_LocalInvocationIndex;
    uint s = U(y).at[writes == 0u && lane < lost ? far : lane];
    for (uint i = 0u; i < passes; i++) {
        s = s * 3u + i;
        if (writes != 0u && i == 50u && lane < lost) U(z).at[far] = s;
        barrier();
    }
    U(z).at[lane] = subgroupAdd(s);
}
