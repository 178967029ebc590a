#version 460
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
#extension GL_KHR_shader_subgroup_arithmetic : require

// Many kinds of accesses and declarations in one kernel: a start for mutations.
layout(local_size_x_id = 3) in;
layout(constant_id = 1) const uint LENGTH = 5;

struct Part { vec3 a; mat3 m; uint16_t c[4]; };
layout(buffer_reference, scalar, buffer_reference_align = 8) buffer Node;
layout(buffer_reference, scalar, buffer_reference_align = 8) buffer Node {
    Node next;
    Part parts[3];
    uint count;
    float numbers[LENGTH];
};
layout(push_constant) uniform Push { Node head; uint64_t raw; uint n; } push;
layout(set = 1, binding = 2) buffer Bound { uint bound[]; };
shared uint together[64];

Node follow(Node node, uint steps) {
    for (uint i = 0; i < steps; i++) {
        switch (node.count & 3) {
            case 0: node = node.next; break;
            case 1: node = Node(push.raw + 8ul * uint64_t(i)); break;
            default: return node;
        }
    }
    return node;
}

void main() {
    uint i = gl_GlobalInvocationID.x;
    if (i >= push.n) return;
    together[gl_LocalInvocationIndex % 64] = push.head.count;
    barrier();
    Node node = follow(push.head, bound[i]);
    Part part = node.parts[i % 3];
    part.a += together[i % 64];
    node.next.parts[1] = part;
    node.numbers[LENGTH - 1] = subgroupAdd(modf(part.a.x, part.a.y));
    atomicAdd(push.head.count, 1);
}
