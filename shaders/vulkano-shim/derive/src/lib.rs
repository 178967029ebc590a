//! `#[derive(BufferContents)]` that adds nothing.
//!
//! The code that `vulkano_shaders::shader!` generates derives `::vulkano::buffer::BufferContents`
//! on every struct. vulkano uses that trait to check buffer layouts; farptr gets the same
//! guarantee from `bytemuck::Pod`, which each kernel asks for through `custom_derives`.

use proc_macro::TokenStream;

/// Accepts the derive and expands to nothing.
#[proc_macro_derive(BufferContents)]
pub fn derive_buffer_contents(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}
