//! A kernel as the runtime sees it: words, arguments and push constants.
//!
//! # Safety
//!
//! Declares an unsafe trait, and calls nothing.

use bytemuck::NoUninit;

/// A compute kernel as a type: its SPIR-V words and the type of its arguments.
///
/// The kernels of the crate `farptr-kernels` implement it, and the macro `farptr::kernel!` does so
/// for a kernel of yours. You can also implement it by hand; the words may come from any compiler
/// that produces SPIR-V for Vulkan 1.2. Memory is reached by address alone: a kernel has no
/// descriptors.
///
/// # Safety
///
/// The runtime compares sizes and capabilities with the words, and no more; a driver trusts what it
/// is given. The promise does not cover the kernel's use of memory: safe launches check it.
/// For each implementation:
///
/// 1. [`words`](Self::words) is a module that is valid by the SPIR-V specification and Vulkan's
///    environment for it (what `spirv-val --target-env vulkan1.2` accepts), the same at each call.
/// 2. [`Push`](Self::Push) is laid out as the push constants of the module, or of its entry point
///    [`ENTRY`](Self::ENTRY).
///
/// # Examples
///
/// ```
/// use farptr_rewrite::{KernelDesc, PtrMut};
///
/// struct Fill;
///
/// struct FillArgs<'s> {
///     out: PtrMut<'s, u32>,
///     n: u32,
/// }
///
/// // SAFETY: 1. glslc made the words; 2. the kernel declares a uvec2 and a uint.
/// unsafe impl KernelDesc for Fill {
///     const NAME: &'static str = "fill";
///     type Args<'s> = FillArgs<'s>;
///     type Push = [u32; 3];
///
///     fn words() -> &'static [u32] {
///         # &[]
///         # /*
///         &[/* the words of fill.spv */]
///         # */
///     }
///
///     fn push(args: FillArgs<'_>) -> [u32; 3] {
///         let [low, high] = args.out.into();
///         [low, high, args.n]
///     }
/// }
/// ```
///
/// A module with several entry points has a kernel for each; [`ENTRY`](Self::ENTRY) says which:
///
/// ```
/// use farptr_rewrite::{KernelDesc, Ptr, PtrMut};
///
/// /// The words of a module with the entry points `double` and `halve`.
/// fn words() -> &'static [u32] {
///     # &[]
///     # /*
///     &[/* the words of both.spv */]
///     # */
/// }
///
/// struct Double;
/// struct Halve;
///
/// // SAFETY: 1. slangc made the words; 2. `double` declares a uvec2 and a uint.
/// unsafe impl KernelDesc for Double {
///     const NAME: &'static str = "double";
///     const ENTRY: Option<&'static str> = Some("double");
///     type Args<'s> = (PtrMut<'s, u32>, u32);
///     type Push = [u32; 3];
///
///     fn words() -> &'static [u32] {
///         words()
///     }
///
///     fn push((numbers, n): Self::Args<'_>) -> [u32; 3] {
///         let [low, high] = numbers.into();
///         [low, high, n]
///     }
/// }
///
/// // SAFETY: 1. slangc made the words; 2. `halve` declares two uvec2.
/// unsafe impl KernelDesc for Halve {
///     const NAME: &'static str = "halve";
///     const ENTRY: Option<&'static str> = Some("halve");
///     type Args<'s> = (Ptr<'s, u32>, PtrMut<'s, u32>);
///     type Push = [[u32; 2]; 2];
///
///     fn words() -> &'static [u32] {
///         words()
///     }
///
///     fn push((from, to): Self::Args<'_>) -> [[u32; 2]; 2] {
///         [from.into(), to.into()]
///     }
/// }
/// ```
#[allow(unsafe_code, reason = "declares what drivers trust; nothing is done with it here")]
pub unsafe trait KernelDesc: 'static {
    /// The name in reports and error messages.
    const NAME: &'static str;

    /// The name of the `GLCompute` entry point in [`words`](Self::words), or `None` for the only
    /// one.
    ///
    /// Workgroup size, push constants and behaviour are this entry point's. The device must have
    /// the capabilities that the whole module declares.
    const ENTRY: Option<&'static str> = None;

    /// The arguments of one launch; `'s` is the scope that lent the memory behind the pointers.
    type Args<'s>;

    /// The push constants, byte for byte as the kernel declares them.
    type Push: NoUninit;

    /// The kernel's SPIR-V words, with one `GLCompute` entry point, or one named
    /// [`ENTRY`](Self::ENTRY).
    fn words() -> &'static [u32];

    /// Turns arguments into push constants.
    fn push(args: Self::Args<'_>) -> Self::Push;
}
