//! The macro that makes a typed kernel from GLSL or SPIR-V, and the derives for types that can be
//! lent; `farptr` re-exports them.
//!
//! The derives are in `lendable`. The steps of the macro, each a module: `input` parses what the
//! user wrote, `module` gets the words, `plan` compares arguments with the words, `emit` writes the
//! code.

mod checks;
mod constants;
mod emit;
#[cfg(feature = "glsl")]
mod glsl;
mod input;
mod lendable;
mod module;
mod names;
mod place;
mod plan;
#[cfg(test)]
mod tests;
mod value;

use proc_macro::TokenStream;

/// Makes a typed kernel from GLSL or SPIR-V, as a module with the types `Kernel` and `Args`,
/// and `Constants` where the kernel has specialisation constants.
///
/// ```
/// farptr::kernel! {
///     /// `y = x * x` over `n` elements.
///     mod square,
///     source: r#"
///         #version 460
///         #extension GL_EXT_buffer_reference_uvec2 : require
///         layout(local_size_x = 64) in;
///         layout(buffer_reference, buffer_reference_align = 4) buffer F32 { float at[]; };
///         layout(push_constant) uniform Push { uvec2 x; uvec2 y; uint n; };
///         void main() {
///             uint i = gl_GlobalInvocationID.x;
///             if (i < n) F32(y).at[i] = F32(x).at[i] * F32(x).at[i];
///         }
///     "#,
/// }
///
/// fn main() -> Result<(), farptr::Error> {
///     let runtime = farptr::Runtime::builder().build()?;
///     let kernel = runtime.kernel::<square::Kernel>()?;
///     let x = vec![3.0f32; 1000];
///     let mut y = vec![0.0f32; 1000];
///     runtime.scope(|s| {
///         let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
///         let args = square::Args { x: x.ptr(), y: y.ptr(), n: 1000 };
///         s.launch(&kernel, farptr::Grid::cover(1000), args)?;
///         Ok(())
///     })?;
///     assert!(y.iter().all(|&y| y == 9.0));
///     Ok(())
/// }
/// ```
///
/// # The kernel
///
/// One of these says where it is. Paths are relative to the folder of `Cargo.toml`; a change of a
/// file builds the crate again.
///
/// * `path: "square.comp"` or `source: "…"`: GLSL, for Vulkan 1.2. It needs the feature `glsl` of
///   farptr. Beside it, `include: ["folder"]` says where included files are, and
///   `define: [("NAME", "value")]` defines names. An error of the
///   compiler is one here, with the line in the GLSL.
/// * `unsafe spv: "square.spv"` or `unsafe words: [0x07230203, …]`: SPIR-V, which needs no
///   compiler. A driver trusts it, and this macro did not compile it, so `unsafe` promises that
///   `spirv-val --target-env vulkan1.2` accepts it. The names of the arguments must be in it.
///
/// `entry: "name"` selects an entry point where there are several.
///
/// # The arguments
///
/// `Args` has a field for each member of the push constants:
///
/// | in the kernel | in `Args` |
/// |---|---|
/// | a pointer that it only reads through | `Ptr<'s, T>` |
/// | any other pointer | `PtrMut<'s, T>` |
/// | `int`, `uint64_t`, `float`, ... | `i32`, `u64`, `f32`, ... |
/// | `float16_t` | `u16`, its bits |
/// | `bool` | `u32`, or `bool` if you say so |
/// | `vec3` | `[f32; 3]` |
/// | `mat4x3`, by columns or by rows | `[[f32; 3]; 4]`, or `[[f32; 4]; 3]` |
/// | `float weights[5]` | `[f32; 5]` |
/// | `struct Params` | `Params`, a type of yours |
///
/// A pointer is a buffer reference, or eight bytes that the kernel turns into one. `T` is what the
/// kernel finds there: a number, a vector, or a type of yours with the name of the structure. Pairs
/// of words that are aligned to 8 bytes are `u64`, since addresses are such.
///
/// `args: { x: f32, nodes: Node, next: Option<Node> }` gives types: of what a pointer points to, or
/// of a value, as `Node<'_>` if the type has a lifetime. `Option` makes a pointer that may be null.
/// `Ptr<T>` or `PtrMut<T>` makes a pointer out of eight bytes that the macro takes for a number;
/// `_` leaves a type to the macro.
///
/// # Specialisation constants
///
/// A kernel with `layout(constant_id = 1) const float FACTOR = 2.0;` has a type `Constants` with
/// the field `factor: f32`, and `Default` with the kernel's own values. `local_size_x_id` is the
/// field `local_size_x`. `Runtime::specialized` makes a kernel with such values, `Runtime::kernel`
/// one with the kernel's own. `bool` is `bool`, and `float16_t` is `u16`, its bits; a constant
/// without a name is called `constant_1` by its number.
///
/// # Types of yours
///
/// Types of yours are `#[repr(C)]`, and stand in the same module as the macro. A pointer among
/// their fields, such as `*const Node` or `Option<&Node>`, is a `uvec2`, a 64-bit integer or a
/// buffer reference in the kernel. Those that are passed by value are `bytemuck::NoUninit`. Their
/// sizes and alignments, and the offsets and sizes of their fields, are compared with the kernel
/// when the crate is compiled.
#[proc_macro]
pub fn kernel(input: TokenStream) -> TokenStream {
    expand(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// The code for what the user wrote.
fn expand(input: proc_macro2::TokenStream) -> syn::Result<proc_macro2::TokenStream> {
    let input: input::Input = syn::parse2(input)?;
    let module = module::Module::read(&input)?;
    let plan = plan::Plan::new(&input, &module)?;
    Ok(emit::code(&input, &module, &plan))
}

/// Implements the trait `farptr::Lendable` for a structure: kernels may read it.
///
/// The structure is `#[repr(C)]` or `#[repr(transparent)]`, each field is `Lendable`, and there is
/// no padding between fields or behind them; anything else is a compile error that says what to do.
/// It may have lifetimes, and no other parameters. A structure that is `bytemuck::NoUninit`, or
/// `Pod`, can be lent without the derive, and does not take it.
#[proc_macro_derive(Lendable)]
pub fn derive_lendable(input: TokenStream) -> TokenStream {
    derive(input, lendable::Trait::Lendable)
}

/// Implements the trait `farptr::LendableMut` for a structure: kernels may write it.
///
/// As the derive of `Lendable`, with fields that are `LendableMut`. A kernel
/// chooses what is in the fields. So a type whose unsafe code relies on them must not derive this.
#[proc_macro_derive(LendableMut)]
pub fn derive_lendable_mut(input: TokenStream) -> TokenStream {
    derive(input, lendable::Trait::LendableMut)
}

fn derive(input: TokenStream, derived: lendable::Trait) -> TokenStream {
    let code = syn::parse(input).and_then(|input| lendable::code(&input, derived));
    code.unwrap_or_else(syn::Error::into_compile_error).into()
}
