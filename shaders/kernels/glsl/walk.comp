#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"
#include "node.glsl"

// Random walks over nodes linked by host addresses, one walker per invocation, `steps` steps per
// launch. A walker keeps its place and its generator's state in memory, so that a long walk
// continues with the next launch. A walker at a node without neighbours goes back to `start`.
layout(local_size_x = 64) in;

layout(buffer_reference, std430, buffer_reference_align = 8) buffer Walkers {
    uvec4 at[]; // node address (x, y), generator state (z), unused (w)
};

layout(push_constant) uniform Push {
    uvec2 walkers;
    uvec2 start;
    uint count;
    uint steps;
} push;

// PCG-RXS-M-XS-32: M. E. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good
// Algorithms for Random Number Generation", HMC-CS-2014-0905, section 6.
uint random(inout uint state) {
    uint old = state;
    state = old * 747796405u + 2891336453u;
    uint word = ((old >> ((old >> 28u) + 4u)) ^ old) * 277803737u;
    return (word >> 22u) ^ word;
}

void main() {
    uint i = GLOBAL_INDEX;
    if (i >= push.count) return;
    uvec4 walker = Walkers(push.walkers).at[i];
    uvec2 node = walker.xy;
    uint state = walker.z;
    for (uint step = 0u; step < push.steps; step++) {
        uint draw = random(state);
        uint degree = Node(node).degree;
        if (degree == 0u) {
            node = push.start;
        } else {
            uint choice, low;
            umulExtended(draw, degree, choice, low);
            node = Addresses(Node(node).neighbours).at[choice];
        }
        atomicAdd(Node(node).visits, 1u);
    }
    Walkers(push.walkers).at[i] = uvec4(node, state, walker.w);
}
