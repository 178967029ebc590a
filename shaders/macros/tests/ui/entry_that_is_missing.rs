//! The module has no entry point of the name.

farptr::kernel! {
    mod kernel,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_scalar_block_layout : require
        layout(local_size_x = 1) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer F32 { float at[]; };
        layout(push_constant, scalar) uniform Push { F32 x; float a; };
        void main() { x.at[0] = a; }
    "#,
    entry: "start",
}

fn main() {}
