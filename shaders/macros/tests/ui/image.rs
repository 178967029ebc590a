//! The kernel binds an image.

farptr::kernel! {
    mod kernel,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_scalar_block_layout : require
        layout(local_size_x = 1) in;
        layout(binding = 0, r32ui) uniform uimage2D image;
        void main() { imageStore(image, ivec2(0), uvec4(1)); }
    "#,
}

fn main() {}
