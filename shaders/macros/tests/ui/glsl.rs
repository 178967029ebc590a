//! The GLSL does not compile; the error names the line in this file.

farptr::kernel! {
    mod kernel,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_scalar_block_layout : require
        layout(local_size_x = 1) in;
        void main() {
            undeclared = 1;
        }
    "#,
}

fn main() {}
