// What all kernels of this folder take: the same arguments, so that one host program runs them all.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

layout(local_size_x = 64) in;

layout(buffer_reference, std430, buffer_reference_align = 4) buffer F32 { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Link {
    uvec2 next;
    uint payload;
    uint extra;
};

#ifndef OWN_PUSH
layout(push_constant) uniform Push {
    uvec2 a;    // n numbers, small and whole
    uvec2 links; // n links, each of which leads to one of them
    uvec2 z;    // 4 n numbers, which the kernel writes
    uint n;
    uint hops;
} push;
#endif

#define INDEX gl_GlobalInvocationID.x
