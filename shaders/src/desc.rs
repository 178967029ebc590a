//! What a kernel is to the runtime: words, arguments and push constants.

use bytemuck::NoUninit;

/// A compute kernel as a type: its SPIR-V words and the type of its arguments.
///
/// farptr's own kernels implement it in [`crate::kernels`]. Bring your own kernel by implementing
/// it for a type of yours; the words may come from any compiler that produces SPIR-V for Vulkan
/// 1.2 or later.
///
/// # Examples
///
/// ```
/// use farptr_shaders::{KernelDesc, PtrMut};
///
/// struct Fill;
///
/// struct FillArgs<'s> {
///     out: PtrMut<'s, u32>,
///     n: u32,
/// }
///
/// impl KernelDesc for Fill {
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
pub trait KernelDesc: 'static {
    /// The name in reports and error messages.
    const NAME: &'static str;

    /// The arguments of one launch; `'s` is the scope that lent the memory behind the pointers.
    type Args<'s>;

    /// The push constants, byte for byte as the kernel declares them.
    type Push: NoUninit;

    /// The kernel's SPIR-V words, with one `GLCompute` entry point.
    fn words() -> &'static [u32];

    /// Turns arguments into push constants.
    fn push(args: Self::Args<'_>) -> Self::Push;
}
