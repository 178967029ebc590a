//! The fields of a structure are in another order than in the kernel.

#[derive(Clone, Copy, bytemuck::NoUninit)]
#[repr(C)]
struct Params {
    factor: f32,
    count: u32,
    size: [u32; 2],
}

farptr::kernel! {
    mod kernel,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_scalar_block_layout : require
        layout(local_size_x = 1) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U32 { uint at[]; };
        struct Params { uint count; float factor; uvec2 size; };
        layout(push_constant, scalar) uniform Push { U32 to; Params params; };
        void main() { to.at[0] = params.count; }
    "#,
}

fn main() {}
