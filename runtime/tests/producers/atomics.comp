#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// Atomics whose order does not matter.
void main() {
    if (INDEX >= push.n) return;
    uint value = floatBitsToUint(F32(push.a).at[INDEX]);
    atomicAdd(U32(push.z).at[INDEX & 15u], 1u);
    atomicMax(U32(push.z).at[16u + (INDEX & 7u)], value);
    atomicXor(U32(push.z).at[32u], value);
    atomicCompSwap(U32(push.z).at[33u + (INDEX & 1u)], 0u, 7u);
    atomicExchange(U32(push.z).at[35u + INDEX], value);
}
