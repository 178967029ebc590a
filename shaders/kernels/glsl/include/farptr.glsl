// The kernel's side of farptr's ABI. Rust's side is `farptr_kernels::abi`.
//
// * A host address travels as a uvec2, low word first: no kernel needs 64-bit integers, and a
//   value of pointer type is never loaded from memory or kept in a variable (some drivers fail to
//   compile that). Turn it into a reference where it is used: `F32(address).at[i]`.
// * A launch that covers n invocations is one line of workgroups to the kernel, whatever the device's
//   limits (65,535 workgroups per dimension are common). GLOBAL_INDEX is the index in that line, and
//   in one that was folded by hand; it may exceed n - 1 in the last workgroup, so every kernel
//   compares it with its n.
// * A kernel bounds its loops per dispatch: at most abi::LOOP_WINDOW iterations, because some
//   drivers end an invocation silently after 65,535.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require

#define GLOBAL_INDEX (gl_GlobalInvocationID.x \
    + gl_GlobalInvocationID.y * (gl_NumWorkGroups.x * gl_WorkGroupSize.x))
#define WORKGROUP_INDEX (gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x)

layout(buffer_reference, std430, buffer_reference_align = 4) buffer F32 { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer U32 { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Addresses { uvec2 at[]; };
