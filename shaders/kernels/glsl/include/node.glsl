// A graph's vertex, linked to its neighbours by host addresses; Rust's side is `abi::Node`.
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node {
    uvec2 neighbours; // the address of `degree` addresses of nodes
    uint degree;
    uint level;
    uint visits;
    uint id;
};
