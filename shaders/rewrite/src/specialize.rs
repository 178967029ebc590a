//! Giving values to the specialisation constants of a module.

use crate::reflect::ReflectError;
use crate::reflect::declarations::Declarations;
use crate::reflect::number::Number;
use crate::reflect::operations::Undefined;
use crate::reflect::spec::{SpecConstant, SpecKey, SpecValue};
use crate::reflect::value::Scalar;
use spirv::{Op, StorageClass};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

/// Why specialisation constants cannot have the values that they were given.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecializeError {
    /// The words are not one compute kernel.
    #[error(transparent)]
    Words(#[from] ReflectError),
    /// The module has no such constant.
    #[error("the kernel has no specialisation constant with the {wanted}; it has {found}")]
    Missing {
        /// The id or the name that was asked for.
        wanted: String,
        /// The constants that the module has.
        found: String,
    },
    /// Several constants have the name.
    #[error("several specialisation constants have the {wanted}: {found}; give the number")]
    Ambiguous {
        /// The name that was asked for.
        wanted: String,
        /// The constants that have it.
        found: String,
    },
    /// The value has another type than the constant.
    #[error("{constant} is a specialisation constant of type {declared}, and its value is {given}")]
    Type {
        /// The constant.
        constant: String,
        /// Its type.
        declared: &'static str,
        /// The value, with its type.
        given: String,
    },
    /// A constant was given two values.
    #[error("{constant} is given twice; keep one of the values")]
    Twice {
        /// The constant.
        constant: String,
    },
    /// An operation on constants has no result for these values.
    #[error("with these values the constant at word {word} has no value: {reason}")]
    Undefined {
        /// The position of the operation, in words.
        word: usize,
        /// The reason.
        reason: Undefined,
    },
    /// An array has no elements, or its length is not known.
    #[error("with these values an array in the kernel has {length} elements; it needs at least 1")]
    Length {
        /// Its length, in words.
        length: String,
    },
    /// A variable of one invocation is larger than drivers can be trusted with.
    #[error(
        "with these values a variable of the kernel has {bytes} bytes for each invocation; 65536 \
         are allowed where the length is a specialisation constant"
    )]
    Variable {
        /// Its size in bytes.
        bytes: u64,
    },
    /// The place of everything in memory is fixed for the lengths that the words have.
    #[error(
        "with these values an array in memory reaches into what lies behind it: the kernel was \
         compiled for a length of it; compile it again for a greater one, or put the array last"
    )]
    Overlap,
    /// A subgroup cannot be divided into clusters of this size.
    #[error(
        "with these values the clusters of a subgroup have {size} invocations; use a power of 2"
    )]
    Cluster {
        /// The size.
        size: u64,
    },
    /// Values cannot be swapped in a quad in this direction.
    #[error("with these values a swap in a quad has the direction {direction}; use 0, 1 or 2")]
    Direction {
        /// The direction.
        direction: u64,
    },
}

/// Prints the message, because Rust prints this form of an error that `main` returns.
impl fmt::Debug for SpecializeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The most bytes of a variable of one invocation whose length is a specialisation constant.
const MOST_OWN_BYTES: u64 = 1 << 16;

/// Gives values to specialisation constants: the words of the module with these as its defaults.
///
/// Instructions keep their positions. The other constants keep the values that the module has for
/// them, and constants that are computed follow. `entry` is the entry point whose workgroup gives
/// names to constants without one ([`SpecConstant::name`]), or `None` for the only one. If two
/// constants have one id, both get the value.
///
/// A module that is valid stays valid, whatever the values are, within a device's limits on
/// workgroups and on the memory that they share: [`Reflection`](crate::Reflection) tells both.
///
/// # Examples
///
/// ```
/// use farptr_rewrite::{SpecKey, SpecializeError, specialize};
/// use farptr_kernels::{KernelDesc, saxpy};
///
/// let values = [(SpecKey::from("WIDTH"), 8u32.into())];
/// let error = specialize(saxpy::Kernel::words(), None, &values).unwrap_err();
/// assert!(matches!(error, SpecializeError::Missing { .. }));
/// ```
///
/// # Errors
///
/// * [`SpecializeError::Words`] when the words are not one compute kernel.
/// * [`SpecializeError::Missing`] or [`SpecializeError::Ambiguous`] when not one constant has the
///   id or the name.
/// * [`SpecializeError::Type`] when a value has another type than its constant.
/// * [`SpecializeError::Twice`] when a constant is given two values.
/// * [`SpecializeError::Undefined`], [`SpecializeError::Length`], [`SpecializeError::Variable`],
///   [`SpecializeError::Overlap`], [`SpecializeError::Cluster`] or [`SpecializeError::Direction`]
///   when the module would not be valid with these values.
pub fn specialize<'w>(
    words: &'w [u32],
    entry: Option<&str>,
    values: &[(SpecKey<'_>, SpecValue)],
) -> Result<Cow<'w, [u32]>, SpecializeError> {
    if values.is_empty() {
        return Ok(words.into());
    }
    let module = Declarations::read(words)?;
    let constants = module.spec_constants(module.entry(entry)?);
    let chosen = choose(&constants, values)?;
    let mut specialised = words.to_vec();
    for declared in &module.types.constants.declared {
        let id = module.types.constants.spec_id(declared.result);
        let Some(&value) = id.and_then(|id| chosen.get(&id)) else { continue };
        match (value, declared.of) {
            (SpecValue::Bool(value), Scalar::Bool) => {
                let op = if value { Op::SpecConstantTrue } else { Op::SpecConstantFalse };
                let first = &mut specialised[declared.word];
                *first = *first & 0xffff_0000 | op as u32;
            }
            (value, Scalar::Number(number)) => {
                // A damaged literal may have fewer words than its type says.
                let end = declared.word + (specialised[declared.word] >> 16) as usize;
                let literal = specialised.get_mut(declared.word + VALUE..end).unwrap_or_default();
                for (word, value) in literal.iter_mut().zip(words_of(value.bits(), number)) {
                    *word = value;
                }
            }
            _ => {}
        }
    }
    check(&Declarations::read(&specialised)?)?;
    Ok(specialised.into())
}

/// The place of the literal in `OpSpecConstant`, behind opcode, type and result.
const VALUE: usize = 3;

/// The words of a literal, low word first.
#[allow(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
fn words_of(bits: u64, number: Number) -> impl Iterator<Item = u32> {
    let count = if number.size_bytes() > 4 { 2 } else { 1 };
    [bits as u32, (bits >> 32) as u32].into_iter().take(count)
}

/// The value of each constant that is given one, by its id.
fn choose(
    constants: &[SpecConstant],
    values: &[(SpecKey<'_>, SpecValue)],
) -> Result<HashMap<u32, SpecValue>, SpecializeError> {
    let mut chosen = HashMap::new();
    for (key, value) in values {
        let id = find(constants, key)?;
        for constant in constants.iter().filter(|constant| constant.id == id) {
            let declared = constant.default.type_name();
            if value.type_name() != declared {
                return Err(SpecializeError::Type {
                    constant: constant.to_string(),
                    declared,
                    given: format!("{value}, of type {}", value.type_name()),
                });
            }
            if chosen.contains_key(&id) {
                return Err(SpecializeError::Twice { constant: constant.to_string() });
            }
        }
        chosen.insert(id, *value);
    }
    Ok(chosen)
}

/// The id of the constant that is meant.
fn find(constants: &[SpecConstant], key: &SpecKey<'_>) -> Result<u32, SpecializeError> {
    let is_meant = |constant: &&SpecConstant| match key {
        SpecKey::Id(id) => constant.id == *id,
        SpecKey::Name(name) => constant.name == **name && !name.is_empty(),
    };
    let mut meant = constants.iter().filter(is_meant);
    let Some(first) = meant.next() else {
        return Err(SpecializeError::Missing { wanted: key.to_string(), found: list(constants) });
    };
    if meant.any(|other| other.id != first.id) {
        let all: Vec<SpecConstant> = constants.iter().filter(is_meant).cloned().collect();
        return Err(SpecializeError::Ambiguous { wanted: key.to_string(), found: list(&all) });
    }
    Ok(first.id)
}

fn list(constants: &[SpecConstant]) -> String {
    let show = |constant: &SpecConstant| format!("{constant}: {}", constant.default.type_name());
    let all: Vec<String> = constants.iter().map(show).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Refuses values that would make a valid module invalid.
///
/// SPIR-V and Vulkan let specialisation constants be the length of an array, the size of a
/// workgroup or of a cluster, the direction of a swap, and operands of operations. Everything else
/// that they may be takes any value. The host compares the size of a workgroup with the device's
/// limits.
fn check(module: &Declarations) -> Result<(), SpecializeError> {
    let (types, constants) = (&module.types, &module.types.constants);
    if let Some((word, reason)) = constants.undefined {
        return Err(SpecializeError::Undefined { word, reason });
    }
    for length in types.specialised_lengths() {
        match constants.count(length) {
            Some(1..) => {}
            Some(_) => return Err(SpecializeError::Length { length: "0".to_owned() }),
            None => {
                let length = "an unknown or negative number of".to_owned();
                return Err(SpecializeError::Length { length });
            }
        }
    }
    for &(class, _, pointer) in &module.own {
        // The host compares what a workgroup shares with the device's limit, if its size is known.
        let is_shared = class == StorageClass::Workgroup;
        let most = if is_shared { u64::MAX - 1 } else { MOST_OWN_BYTES };
        let bytes = types.own_bytes(pointer).unwrap_or(u64::MAX);
        if bytes > most && types.is_sized_by_constants(pointer) {
            return Err(SpecializeError::Variable { bytes });
        }
    }
    if types.specialised_arrays_overlap() {
        return Err(SpecializeError::Overlap);
    }
    for &size in module.cluster_sizes.iter().filter(|&&size| constants.is_specialised(size)) {
        let size = constants.count(size).unwrap_or_default();
        if !size.is_power_of_two() {
            return Err(SpecializeError::Cluster { size });
        }
    }
    for &direction in module.quad_directions.iter().filter(|&&id| constants.is_specialised(id)) {
        let direction = constants.count(direction).unwrap_or(u64::MAX);
        if direction > 2 {
            return Err(SpecializeError::Direction { direction });
        }
    }
    Ok(())
}
