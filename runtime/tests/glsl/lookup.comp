#version 460
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
// Finds keys in a table of pointers with open addressing, and counts at what they point to.
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Slots { uvec2 at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Entry { uint key; uint hits; };
layout(push_constant) uniform Push {
    uvec2 slots;
    uint slot_count;
    uint n;
} push;
void main() {
    uint key = gl_GlobalInvocationID.x;
    if (key >= push.n) return;
    for (uint probe = 0u; probe < push.slot_count; probe++) {
        uint slot = (key * 2654435761u + probe) % push.slot_count;
        uvec2 entry = Slots(push.slots).at[slot];
        if ((entry.x | entry.y) == 0u) return;
        if (Entry(entry).key == key) {
            atomicAdd(Entry(entry).hits, 1u);
            return;
        }
    }
}
