//! Specialisation constants as a program sees them: their names, types and values.

use crate::reflect::number::Number;
use std::borrow::Cow;
use std::fmt;

/// A specialisation constant of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecConstant {
    /// The number that selects it: `constant_id` in GLSL, `SpecId` in SPIR-V.
    pub id: u32,
    /// Its name in the kernel; `local_size_x`, `local_size_y` or `local_size_z` where it has none
    /// and is a dimension of the workgroup; otherwise empty.
    pub name: String,
    /// The value that the module has for it, and thereby its type.
    pub default: SpecValue,
}

impl SpecConstant {
    /// A constant as a module lists it.
    #[must_use]
    pub fn new(id: u32, name: &str, default: SpecValue) -> Self {
        Self { id, name: name.to_owned(), default }
    }
}

impl fmt::Display for SpecConstant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.name {
            "" => write!(f, "constant {}", self.id),
            name => write!(f, "constant {} (`{name}`)", self.id),
        }
    }
}

/// The value of a specialisation constant, with its type.
///
/// Values are equal if type and bits are.
///
/// # Examples
///
/// ```
/// use farptr_rewrite::SpecValue;
///
/// assert_eq!(SpecValue::from(8u32).type_name(), "u32");
/// assert_ne!(SpecValue::from(8u32), SpecValue::from(8i32));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum SpecValue {
    /// A boolean.
    Bool(bool),
    /// A signed integer of 8 bits.
    I8(i8),
    /// A signed integer of 16 bits.
    I16(i16),
    /// A signed integer of 32 bits.
    I32(i32),
    /// A signed integer of 64 bits.
    I64(i64),
    /// An unsigned integer of 8 bits.
    U8(u8),
    /// An unsigned integer of 16 bits.
    U16(u16),
    /// An unsigned integer of 32 bits.
    U32(u32),
    /// An unsigned integer of 64 bits.
    U64(u64),
    /// A floating-point number of 16 bits, by its bits: Rust has no stable type for it.
    F16(u16),
    /// A floating-point number of 32 bits.
    F32(f32),
    /// A floating-point number of 64 bits.
    F64(f64),
}

impl SpecValue {
    /// The name of its type: Rust's, or `f16`.
    #[must_use]
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::I8(_) => "i8",
            Self::I16(_) => "i16",
            Self::I32(_) => "i32",
            Self::I64(_) => "i64",
            Self::U8(_) => "u8",
            Self::U16(_) => "u16",
            Self::U32(_) => "u32",
            Self::U64(_) => "u64",
            Self::F16(_) => "f16",
            Self::F32(_) => "f32",
            Self::F64(_) => "f64",
        }
    }

    /// The bits of the literal in a module: short integers are extended to a word by their sign.
    #[allow(clippy::cast_sign_loss, reason = "the bits are what is wanted")]
    pub(crate) fn bits(self) -> u64 {
        let signed = |value: i32| u64::from(value.cast_unsigned());
        match self {
            Self::Bool(value) => value.into(),
            Self::I8(value) => signed(value.into()),
            Self::I16(value) => signed(value.into()),
            Self::I32(value) => signed(value),
            Self::I64(value) => value.cast_unsigned(),
            Self::U8(value) => value.into(),
            Self::U16(value) | Self::F16(value) => value.into(),
            Self::U32(value) => value.into(),
            Self::U64(value) => value,
            Self::F32(value) => value.to_bits().into(),
            Self::F64(value) => value.to_bits(),
        }
    }

    /// The value of a number by its bits, if there is a type for it.
    #[allow(clippy::cast_possible_truncation, reason = "a literal has as many bits as its type")]
    pub(crate) fn of_number(number: Number, bits: u64) -> Option<Self> {
        let word = bits as u32;
        Some(match number {
            Number::Int { bits: 8, signed: true } => Self::I8(word as i8),
            Number::Int { bits: 16, signed: true } => Self::I16(word as i16),
            Number::Int { bits: 32, signed: true } => Self::I32(word.cast_signed()),
            Number::Int { bits: 64, signed: true } => Self::I64(bits.cast_signed()),
            Number::Int { bits: 8, signed: false } => Self::U8(word as u8),
            Number::Int { bits: 16, signed: false } => Self::U16(word as u16),
            Number::Int { bits: 32, signed: false } => Self::U32(word),
            Number::Int { bits: 64, signed: false } => Self::U64(bits),
            Number::Float { bits: 16 } => Self::F16(word as u16),
            Number::Float { bits: 32 } => Self::F32(f32::from_bits(word)),
            Number::Float { bits: 64 } => Self::F64(f64::from_bits(bits)),
            _ => return None,
        })
    }
}

impl PartialEq for SpecValue {
    fn eq(&self, other: &Self) -> bool {
        (self.type_name(), self.bits()) == (other.type_name(), other.bits())
    }
}

impl Eq for SpecValue {}

impl fmt::Display for SpecValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::I8(value) => write!(f, "{value}"),
            Self::I16(value) => write!(f, "{value}"),
            Self::I32(value) => write!(f, "{value}"),
            Self::I64(value) => write!(f, "{value}"),
            Self::U8(value) => write!(f, "{value}"),
            Self::U16(value) => write!(f, "{value}"),
            Self::U32(value) => write!(f, "{value}"),
            Self::U64(value) => write!(f, "{value}"),
            Self::F16(bits) => write!(f, "{bits:#06x} as bits"),
            Self::F32(value) => write!(f, "{value}"),
            Self::F64(value) => write!(f, "{value}"),
        }
    }
}

/// Values from numbers of Rust.
macro_rules! from {
    ($($of:ty => $variant:ident),*) => {$(
        impl From<$of> for SpecValue {
            fn from(value: $of) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

from!(bool => Bool, i8 => I8, i16 => I16, i32 => I32, i64 => I64);
from!(u8 => U8, u16 => U16, u32 => U32, u64 => U64, f32 => F32, f64 => F64);

/// How a program names a specialisation constant: by its number, which every module has, or by its
/// name, which a module without debug information lacks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SpecKey<'k> {
    /// [`SpecConstant::id`].
    Id(u32),
    /// [`SpecConstant::name`].
    Name(Cow<'k, str>),
}

impl From<u32> for SpecKey<'_> {
    fn from(id: u32) -> Self {
        Self::Id(id)
    }
}

impl<'k> From<&'k str> for SpecKey<'k> {
    fn from(name: &'k str) -> Self {
        Self::Name(name.into())
    }
}

impl fmt::Display for SpecKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "number {id}"),
            Self::Name(name) => write!(f, "name `{name}`"),
        }
    }
}
