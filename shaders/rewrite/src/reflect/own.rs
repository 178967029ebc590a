//! The constants and the variables of a kernel's own.

use crate::reflect::constants::{Constants, Declared};
use crate::reflect::declarations::{self, Declarations};
use crate::reflect::spec::{SpecConstant, SpecValue};
use crate::reflect::types::{DEPTH_LIMIT, Type, Types};
use crate::reflect::value::Scalar;
use spirv::StorageClass;
use std::collections::{HashMap, hash_map::Entry};

impl Declarations {
    /// The specialisation constants, by their ids.
    pub(crate) fn spec_constants(&self, entry: &declarations::Entry) -> Vec<SpecConstant> {
        let sizes = self.size_constants(entry).unwrap_or_default();
        let mut constants: Vec<SpecConstant> = Vec::new();
        let mut positions = HashMap::new();
        for declared in &self.types.constants.declared {
            let Some(constant) = self.spec_constant(declared, sizes) else { continue };
            let SpecConstant { id, default, .. } = constant;
            match positions.entry((id, default.type_name(), default.bits())) {
                Entry::Vacant(entry) => {
                    entry.insert(constants.len());
                    constants.push(constant);
                }
                Entry::Occupied(entry) => {
                    let other = &mut constants[*entry.get()];
                    if other.name.is_empty() {
                        other.name = constant.name;
                    }
                }
            }
        }
        constants.sort_by_key(|constant| constant.id);
        constants
    }

    /// A scalar that can be specialised, in an entry point whose workgroup has these constants.
    fn spec_constant(&self, declared: &Declared, sizes: [u32; 3]) -> Option<SpecConstant> {
        let result = declared.result;
        let named = self.types.names.get(&result).filter(|name| !name.is_empty()).cloned();
        let dimension = || {
            let at = sizes.iter().position(|&size| size == result)?;
            Some(["local_size_x", "local_size_y", "local_size_z"][at].to_owned())
        };
        Some(SpecConstant {
            id: self.types.constants.spec_id(result)?,
            name: named.or_else(dimension).unwrap_or_default(),
            default: self.types.constants.spec_value(declared)?,
        })
    }

    /// The memory that a workgroup shares, of the variables that are used.
    pub(crate) fn shared_bytes(&self, is_used: impl Fn(u32) -> bool) -> u64 {
        let shared = self
            .own
            .iter()
            .filter(|(class, variable, _)| *class == StorageClass::Workgroup && is_used(*variable));
        let sizes = shared.filter_map(|&(_, _, pointer)| self.types.own_bytes(pointer));
        sizes.fold(0, u64::saturating_add)
    }
}

impl Constants {
    /// The value of a scalar that can be specialised, if there is a type for it.
    pub(crate) fn spec_value(&self, declared: &Declared) -> Option<SpecValue> {
        let (_, bits) = self.scalar(declared.result)?;
        match declared.of {
            Scalar::Bool => Some(SpecValue::Bool(bits != 0)),
            Scalar::Number(number) => SpecValue::of_number(number, bits),
        }
    }
}

impl Types {
    /// The bytes of the numbers in a variable of the kernel's own, by its pointer type. Such
    /// variables have no layout.
    pub(crate) fn own_bytes(&self, pointer: u32) -> Option<u64> {
        match self.types.get(&pointer)? {
            Type::Pointer { pointee } => self.bytes_of_parts(*pointee, &mut { TYPES_LIMIT }, 0),
            _ => None,
        }
    }

    fn bytes_of_parts(&self, id: u32, left: &mut u32, depth: u32) -> Option<u64> {
        *left = left.checked_sub(1).filter(|_| depth <= DEPTH_LIMIT)?;
        let mut part = |id| self.bytes_of_parts(id, left, depth + 1);
        let times = |one: u64, count: u64| Some(one.saturating_mul(count));
        // Booleans have no entry.
        let Some(of) = self.types.get(&id) else { return Some(4) };
        match of {
            Type::Scalar { number } => Some(number.size_bytes().into()),
            Type::Pointer { .. } => Some(8),
            Type::Vector { element: one, count } | Type::Matrix { column: one, count } => {
                times(part(*one)?, (*count).into())
            }
            Type::Array { element, length } => {
                times(part(*element)?, self.constants.count(*length)?)
            }
            Type::RuntimeArray { .. } => None,
            Type::Struct { members } => members
                .iter()
                .try_fold(0u64, |all, &member| Some(all.saturating_add(part(member)?))),
        }
    }

    /// Whether an array whose length depends on a specialisation constant reaches into what lies
    /// behind it: offsets and strides are numbers in the words.
    pub(crate) fn specialised_arrays_overlap(&self) -> bool {
        self.types.iter().any(|(&id, of)| match of {
            Type::Struct { members } => self.members_overlap(id, members),
            Type::Array { element: one, .. }
            | Type::RuntimeArray { element: one }
            | Type::Pointer { pointee: one } => {
                self.array_strides.get(&id).is_some_and(|&stride| {
                    self.is_specialised(*one)
                        && self.size_bytes(*one, 0).is_none_or(|size| size > stride)
                })
            }
            Type::Scalar { .. } | Type::Vector { .. } | Type::Matrix { .. } => false,
        })
    }

    fn members_overlap(&self, id: u32, members: &[u32]) -> bool {
        let placed = (0u32..).zip(members).filter_map(|(index, &member)| {
            Some((*self.member_offsets.get(&(id, index))?, index, member))
        });
        let mut placed: Vec<(u32, u32, u32)> = placed.collect();
        placed.sort_unstable();
        placed.windows(2).any(|pair| {
            let [(at, index, member), (next, ..)] = *pair else { return false };
            let end = || at.checked_add(self.member_size_bytes((id, index), member, 0)?);
            self.is_specialised(member) && end().is_none_or(|end| end > next)
        })
    }

    /// Whether the size of a variable depends on a specialisation constant, by its pointer type.
    pub(crate) fn is_sized_by_constants(&self, pointer: u32) -> bool {
        match self.types.get(&pointer) {
            Some(Type::Pointer { pointee }) => self.is_specialised(*pointee),
            _ => false,
        }
    }

    /// Whether the size of a type depends on a specialisation constant, or it is not known.
    fn is_specialised(&self, id: u32) -> bool {
        self.has_specialised_length(id, &mut { TYPES_LIMIT }, 0)
    }

    fn has_specialised_length(&self, id: u32, left: &mut u32, depth: u32) -> bool {
        if *left == 0 || depth > DEPTH_LIMIT {
            return true;
        }
        *left -= 1;
        match self.types.get(&id) {
            Some(Type::Array { element, length }) => {
                self.constants.is_specialised(*length)
                    || self.has_specialised_length(*element, left, depth + 1)
            }
            Some(Type::Struct { members }) => {
                members.iter().any(|&member| self.has_specialised_length(member, left, depth + 1))
            }
            _ => false,
        }
    }

    /// The lengths of arrays that depend on specialisation constants, by their constants.
    pub(crate) fn specialised_lengths(&self) -> impl Iterator<Item = u32> {
        let lengths = self.types.values().filter_map(|of| match of {
            Type::Array { length, .. } => Some(*length),
            _ => None,
        });
        lengths.filter(|length| self.constants.is_specialised(*length))
    }
}

/// Types that are looked at for one variable. It ends type cycles in damaged modules.
const TYPES_LIMIT: u32 = 4096;
