#version 460
#extension GL_GOOGLE_include_directive : require
#define OWN_PUSH
#include "push.glsl"

// The same with values of pointer type: in memory, in a variable, in a phi.
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node {
    Node next;
    uint payload;
    uint extra;
};
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Nodes { uvec4 at[]; };

layout(push_constant) uniform Push {
    F32 a;
    Nodes links;
    U32 z;
    uint n;
    uint hops;
} push;

void main() {
    if (INDEX >= push.n) return;
    Node node = Node(push.links.at[INDEX].xy);
    uint sum = 0u;
    for (uint hop = 0u; hop < push.hops; hop++) {
        sum = 3u * sum + node.payload;
        node = node.next;
    }
    push.z.at[INDEX] = sum;
}
