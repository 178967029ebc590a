//! A type behind a pointer is aligned to fewer bytes than the kernel promises.

#[repr(C)]
struct Node {
    next: [u32; 2],
    value: u32,
    level: u32,
}

farptr::kernel! {
    mod kernel,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_scalar_block_layout : require
        layout(local_size_x = 1) in;
        struct Node { uvec2 next; uint value; uint level; };
        layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Nodes { Node at[]; };
        layout(push_constant, scalar) uniform Push { Nodes nodes; };
        void main() { nodes.at[gl_LocalInvocationID.x].next = uvec2(0); }
    "#,
}

fn main() {}
