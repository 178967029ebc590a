//! The values of constants.

use crate::reflect::number::Number;
use std::sync::Arc;

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Number(Number),
}

/// The value of a constant.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Its bits, without those beyond its width.
    Scalar { of: Scalar, bits: u64 },
    /// The parts are shared, because a module may nest composites that double their size each time.
    /// [`Value::composite`] makes it.
    Composite { parts: Arc<[Value]>, depth: u8 },
    /// It is not computed here: floating-point conversions, and what they lead to.
    Unknown,
}

impl Value {
    /// A composite of parts. It is unknown if it nests deeper than a type does (255, SPIR-V
    /// specification, section 2.17): damaged modules have chains of any length, and to drop a value
    /// takes a call for each composite in it.
    pub(crate) fn composite(parts: impl Into<Arc<[Self]>>) -> Self {
        let parts = parts.into();
        let depths = parts.iter().map(|part| match part {
            Self::Composite { depth, .. } => *depth,
            Self::Scalar { .. } | Self::Unknown => 0,
        });
        match depths.max().unwrap_or(0).checked_add(1) {
            Some(depth) => Self::Composite { parts, depth },
            None => Self::Unknown,
        }
    }
}

/// More components than a vector has.
pub(super) const MOST_COMPONENTS: u32 = 16;

/// The bits that a number has.
pub(super) fn mask(number: Number) -> u64 {
    let (Number::Int { bits, .. } | Number::Float { bits }) = number;
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// A number's bits as a signed integer.
pub(super) fn sign_extended(number: Number, bits: u64) -> i64 {
    let (Number::Int { bits: width, .. } | Number::Float { bits: width }) = number;
    let unused = 64u32.saturating_sub(width).min(63);
    (bits << unused).cast_signed() >> unused
}
