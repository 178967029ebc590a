#version 460
#extension GL_GOOGLE_include_directive : require
#include "farptr.glsl"
#include "node.glsl"

// One level of a breadth-first search over nodes linked by host addresses, one frontier node per
// invocation. A launch handles the neighbours [first, first + window) of every frontier node; the
// host repeats it until the node of highest degree is done, then makes `next` the frontier.
layout(local_size_x = 64) in;

const uint UNREACHED = 0xFFFFFFFFu; // abi::UNREACHED

layout(push_constant) uniform Push {
    uvec2 frontier;
    uvec2 next;
    uvec2 next_count;
    uint count;
    uint level; // the level that newly reached nodes get
    uint first;
    uint window;
} push;

void main() {
    uint i = GLOBAL_INDEX;
    if (i >= push.count) return;
    uvec2 node = Addresses(push.frontier).at[i];
    uvec2 neighbours = Node(node).neighbours;
    uint end = min(Node(node).degree, push.first + push.window);
    for (uint k = push.first; k < end; k++) {
        uvec2 other = Addresses(neighbours).at[k];
        if (atomicCompSwap(Node(other).level, UNREACHED, push.level) == UNREACHED) {
            uint slot = atomicAdd(U32(push.next_count).at[0], 1u);
            Addresses(push.next).at[slot] = other;
        }
    }
}
