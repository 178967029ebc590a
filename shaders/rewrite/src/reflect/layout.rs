//! The arguments of a kernel with their names, types and places in memory.

pub use crate::reflect::number::Number;

use crate::reflect::declarations::Declarations;
use crate::reflect::error::ReflectError;
use crate::reflect::types::{DEPTH_LIMIT, Type, Types};

/// How a value lies in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A number.
    Number(Number),
    /// Numbers one behind the other.
    Vector {
        /// The numbers' type.
        of: Number,
        /// Their count.
        count: u32,
    },
    /// Vectors of a matrix: its columns, or its rows where it is stored by rows.
    Matrix {
        /// The numbers' type.
        of: Number,
        /// How many vectors there are.
        vectors: u32,
        /// How many numbers a vector has.
        count: u32,
        /// Bytes from one vector to the next.
        stride_bytes: u32,
        /// Whether the vectors are rows.
        by_rows: bool,
    },
    /// An array.
    Array {
        /// How an element lies in memory.
        element: Box<Layout>,
        /// The number of elements, unless the module leaves it open.
        length: Option<u32>,
        /// Bytes from one element to the next.
        stride_bytes: u32,
    },
    /// A structure.
    Struct(Structure),
    /// An address of eight bytes; [`Arguments::pointee`] says of what.
    Pointer {
        /// The pointer's type: its id in the kernel's words.
        pointer_type: u32,
    },
}

/// A structure in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Its name, or nothing where the module has no names.
    pub name: String,
    /// Its members, in the order of the declaration.
    pub members: Vec<Member>,
}

/// A member of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, or nothing where the module has no names.
    pub name: String,
    /// Bytes from the start of the structure.
    pub offset_bytes: u32,
    /// How it lies in memory.
    pub layout: Layout,
}

impl Layout {
    /// The bytes from its start to its end, without the elements of an array of open length.
    #[must_use]
    pub fn size_bytes(&self) -> u32 {
        match self {
            Self::Number(number) => number.size_bytes(),
            Self::Vector { of, count } => of.size_bytes().saturating_mul(*count),
            Self::Matrix { vectors, stride_bytes, .. } => stride_bytes.saturating_mul(*vectors),
            Self::Array { length, stride_bytes, .. } => {
                stride_bytes.saturating_mul(length.unwrap_or_default())
            }
            Self::Struct(structure) => structure.size_bytes(),
            Self::Pointer { .. } => 8,
        }
    }
}

impl Structure {
    /// The end of the member that ends last.
    #[must_use]
    pub fn size_bytes(&self) -> u32 {
        let end = |member: &Member| member.offset_bytes.saturating_add(member.layout.size_bytes());
        self.members.iter().map(end).max().unwrap_or_default()
    }
}

/// The arguments of an entry point: its push constants, and what their pointers point to.
///
/// # Examples
///
/// ```
/// use farptr_kernels::{KernelDesc, saxpy};
/// use farptr_rewrite::{Arguments, Layout, Number};
///
/// let arguments = Arguments::of(saxpy::Kernel::words(), None)?;
/// let factor = &arguments.members()[3];
/// assert_eq!((&*factor.name, factor.offset_bytes), ("a", 20));
/// assert_eq!(factor.layout, Layout::Number(Number::Float { bits: 32 }));
/// # Ok::<(), farptr_rewrite::ReflectError>(())
/// ```
pub struct Arguments {
    members: Vec<Member>,
    types: Types,
}

impl Arguments {
    /// Reads the arguments of the entry point of a name, or with `None` of the only one.
    ///
    /// # Errors
    ///
    /// As [`Reflection::of_entry`](crate::Reflection::of_entry); [`ReflectError::PushSize`] also
    /// where a part of the push constants has no layout.
    pub fn of(words: &[u32], entry: Option<&str>) -> Result<Self, ReflectError> {
        let module = Declarations::read(words)?;
        let pointer = module.push_pointer(words, entry)?;
        let members = match pointer.map(|pointer| module.types.pointee(pointer)) {
            None => Vec::new(),
            Some(Some(Layout::Struct(block))) => block.members,
            Some(_) => return Err(ReflectError::PushSize),
        };
        Ok(Self { members, types: module.types })
    }

    /// The members of the push constants, in the order of their declaration.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The value behind a pointer of a type, and the bytes from one such value to the next if the
    /// module says so. `None` if it has no layout.
    #[must_use]
    pub fn pointee(&self, pointer_type: u32) -> Option<(Layout, Option<u32>)> {
        let stride_bytes = self.types.array_strides.get(&pointer_type).copied();
        Some((self.types.pointee(pointer_type)?, stride_bytes))
    }
}

impl std::fmt::Debug for Arguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arguments").field("members", &self.members).finish_non_exhaustive()
    }
}

impl Types {
    /// The layout of what a pointer type points to.
    fn pointee(&self, pointer_type: u32) -> Option<Layout> {
        match self.types.get(&pointer_type)? {
            Type::Pointer { pointee } => self.layout(*pointee, None, &mut { LAYOUTS_LIMIT }, 0),
            _ => None,
        }
    }

    /// The layout of a type, as a member of a structure if `place` says of which. So many types are
    /// looked at, and so deep.
    fn layout(
        &self,
        id: u32,
        place: Option<(u32, u32)>,
        left: &mut u32,
        depth: u32,
    ) -> Option<Layout> {
        *left = left.checked_sub(1)?;
        let deeper = depth + 1;
        if depth > DEPTH_LIMIT {
            return None;
        }
        Some(match self.types.get(&id)? {
            Type::Scalar { number } => Layout::Number(*number),
            Type::Vector { element, count } => {
                Layout::Vector { of: self.number(*element)?, count: *count }
            }
            Type::Matrix { column, count } => self.matrix(*column, *count, place?)?,
            Type::Array { element, length } => Layout::Array {
                element: self.layout(*element, place, left, deeper)?.into(),
                length: Some(self.constant(*length)?),
                stride_bytes: *self.array_strides.get(&id)?,
            },
            Type::RuntimeArray { element } => Layout::Array {
                element: self.layout(*element, place, left, deeper)?.into(),
                length: None,
                stride_bytes: *self.array_strides.get(&id)?,
            },
            Type::Struct { members } => {
                let mut all = Vec::new();
                for (index, &member) in (0u32..).zip(members) {
                    let place = (id, index);
                    all.push(Member {
                        name: self.member_names.get(&place).cloned().unwrap_or_default(),
                        offset_bytes: *self.member_offsets.get(&place)?,
                        layout: self.layout(member, Some(place), left, deeper)?,
                    });
                }
                let name = self.names.get(&id).cloned().unwrap_or_default();
                Layout::Struct(Structure { name, members: all })
            }
            Type::Pointer { .. } => Layout::Pointer { pointer_type: id },
        })
    }

    fn matrix(&self, column: u32, columns: u32, place: (u32, u32)) -> Option<Layout> {
        let Some(&Type::Vector { element, count: rows }) = self.types.get(&column) else {
            return None;
        };
        let by_rows = self.row_major.contains(&place);
        let (vectors, count) = if by_rows { (rows, columns) } else { (columns, rows) };
        let stride_bytes = *self.matrix_strides.get(&place)?;
        Some(Layout::Matrix { of: self.number(element)?, vectors, count, stride_bytes, by_rows })
    }

    fn number(&self, id: u32) -> Option<Number> {
        match self.types.get(&id)? {
            Type::Scalar { number } => Some(*number),
            _ => None,
        }
    }
}

/// Types that are looked at for one layout. It ends type cycles in damaged modules.
const LAYOUTS_LIMIT: u32 = 4096;
