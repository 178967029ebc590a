//! Kernels whose specialisation constants are a type.

use crate::abi::KernelDesc;
use crate::reflect::spec::SpecValue;

/// A kernel with specialisation constants, as a type.
///
/// `farptr::kernel!` implements it for a kernel that has such constants. Nothing has to be
/// promised: the values are compared with the module, and those that would make it invalid are
/// refused ([`specialize`](crate::specialize)).
///
/// # Examples
///
/// ```
/// use farptr_rewrite::{KernelDesc, SpecValue, SpecializedDesc};
///
/// struct Blur;
/// # #[allow(unsafe_code)]
/// # // SAFETY: nothing runs it.
/// # unsafe impl KernelDesc for Blur {
/// #     const NAME: &'static str = "blur";
/// #     type Args<'s> = ();
/// #     type Push = [u32; 0];
/// #     fn words() -> &'static [u32] {
/// #         &[]
/// #     }
/// #     fn push((): ()) -> [u32; 0] {
/// #         []
/// #     }
/// # }
///
/// struct BlurConstants {
///     radius: u32,
///     is_fast: bool,
/// }
///
/// impl SpecializedDesc for Blur {
///     type Constants = BlurConstants;
///
///     fn constants(values: BlurConstants) -> Vec<(u32, SpecValue)> {
///         // layout(constant_id = 0) const uint RADIUS = 3;
///         // layout(constant_id = 1) const bool IS_FAST = false;
///         vec![(0, values.radius.into()), (1, values.is_fast.into())]
///     }
/// }
/// ```
pub trait SpecializedDesc: KernelDesc {
    /// The values of the constants.
    type Constants;

    /// The values, each with the number of its constant: `constant_id` in GLSL, `SpecId` in SPIR-V.
    /// A constant that is left out keeps the value that the module has for it.
    fn constants(values: Self::Constants) -> Vec<(u32, SpecValue)>;
}
