//! A type behind a pointer has another size than the elements in the kernel.

#[repr(C)]
struct Node {
    next: [u32; 2],
    value: u32,
    level: u32,
    more: u32,
}

farptr::kernel! {
    mod kernel,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_scalar_block_layout : require
        layout(local_size_x = 1) in;
        struct Node { uvec2 next; uint value; uint level; };
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Nodes { Node at[]; };
        layout(push_constant, scalar) uniform Push { Nodes nodes; };
        void main() { nodes.at[0].value = 1; }
    "#,
}

fn main() {}
