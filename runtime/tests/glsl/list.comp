#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
// One invocation adds one to every item of a list.
layout(local_size_x = 8) in;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Item {
    uvec2 next;
    uint value;
    uint unused;
};
layout(push_constant) uniform Push {
    uvec2 head;
    uint limit;
} push;
void main() {
    if (gl_GlobalInvocationID.x != 0u) return;
    uvec2 item = push.head;
    for (uint i = 0u; i < push.limit && (item.x | item.y) != 0u; i++) {
        Item(item).value += 1u;
        item = Item(item).next;
    }
}
