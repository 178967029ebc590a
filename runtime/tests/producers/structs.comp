#version 460
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

// Structures by value, with arrays, vectors and addresses inside.
struct Part {
    uint payload;
    uint extra;
};
struct Item {
    uvec2 next;
    Part part;
};
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Items { Item at[]; };

Item changed(Item item) {
    item.part.payload += 1u;
    item.part.extra = item.part.payload ^ item.next.x;
    return item;
}

void main() {
    if (INDEX >= push.n) return;
    Item item = Items(push.links).at[INDEX];
    Items(push.z).at[INDEX] = changed(item);
}
