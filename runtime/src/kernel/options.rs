//! What a kernel is made of, beside its words.

use farptr_rewrite::{SpecKey, SpecValue};

/// The entry point of a raw kernel, and values for its specialisation constants: what
/// [`Runtime::raw_kernel_with`](crate::Runtime::raw_kernel_with) takes.
///
/// # Examples
///
/// ```
/// use farptr::RawKernelOptions;
///
/// let options = RawKernelOptions::new()
///     .entry("blur")
///     .constant("RADIUS", 3u32) // by its name in the kernel,
///     .constant(1, true); // or by its number: layout(constant_id = 1)
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
pub struct RawKernelOptions<'o> {
    pub(crate) entry: Option<&'o str>,
    pub(crate) constants: Vec<(SpecKey<'o>, SpecValue)>,
}

impl<'o> RawKernelOptions<'o> {
    /// The only entry point, and the values that the words have for their constants.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects the entry point of a name.
    #[must_use]
    pub fn entry(mut self, name: &'o str) -> Self {
        self.entry = Some(name);
        self
    }

    /// Gives a specialisation constant a value, which has to be of its type: `8u32` for a `uint`,
    /// `8i32` for an `int`.
    ///
    /// A dimension of the workgroup without a name of its own (`local_size_x_id`) is called
    /// `local_size_x`, `local_size_y` or `local_size_z`. [`SpecValue::F16`] is a value for
    /// `float16_t`.
    #[must_use]
    pub fn constant(
        mut self,
        constant: impl Into<SpecKey<'o>>,
        value: impl Into<SpecValue>,
    ) -> Self {
        self.constants.push((constant.into(), value.into()));
        self
    }
}
