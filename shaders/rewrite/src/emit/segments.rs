//! The segment of an address: compared one by one, or bisected in memory.

use crate::contract::control;
use crate::contract::variant::{Search, Variant};
use crate::ir::address::Math;
use crate::ir::code::Code;
use crate::ir::instruction::Id;
use rspirv::spirv::{Op, StorageClass};

/// Numbers of a segment's record ([`control`]).
const START: u32 = 0;
const LENGTH: u32 = 1;
const SPANS: u32 = 4;

/// Finds segments of addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segments<'s> {
    /// The uniform buffer of control rows.
    pub(crate) control: Id,
    pub(crate) layout: &'s control::Layout,
    pub(crate) search: Search,
    pub(crate) math: Math,
}

/// The number of a segment's record with which a search compares the distance of an address from
/// the segment's start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Compared {
    /// The segment's length, whatever it allows.
    Extent,
    /// The span of an [`AddressCheck`](crate::AddressCheck): what the segment allows.
    Span(u32),
}

/// A number of a segment's record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    Target = 2,
    Bitmap = 3,
}

/// The result of a search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Whether there is a segment: a boolean.
    pub(crate) inside: Id,
    /// The requested number of the segment's record, which is an address. It has no meaning if no
    /// segment was found.
    pub(crate) field: Option<Id>,
}

impl<'s> Segments<'s> {
    pub(crate) fn new(control: Id, layout: &'s control::Layout, variant: &Variant) -> Self {
        let math = Math { integers: variant.integers };
        Self { control, layout, search: variant.search, math }
    }

    /// Finds the segment that holds an address, and a number of its record.
    pub(crate) fn find(
        &self,
        code: &mut Code<'_>,
        address: Id,
        compared: Compared,
        field: Option<Field>,
    ) -> Found {
        match self.search {
            Search::Unrolled(count) => {
                self.compare(code, address, compared, field, u32::from(count))
            }
            Search::Bisected { steps } => self.bisect(code, address, compared, field, steps),
        }
    }

    fn compare(
        &self,
        code: &mut Code<'_>,
        address: Id,
        compared: Compared,
        field: Option<Field>,
        count: u32,
    ) -> Found {
        let truth = code.edit.bool();
        let mut found: Option<Found> = None;
        for segment in 0..count {
            let start = self.number(code, segment, START);
            let distance = self.math.sub(code, address, start);
            let limit = self.number(code, segment, compared.number());
            let here = self.math.less(code, distance, limit);
            let value = field.map(|field| self.number(code, segment, field as u32));
            found = Some(match found {
                None => Found { inside: here, field: value },
                Some(before) => Found {
                    inside: code.ids(Op::LogicalOr, truth, &[before.inside, here]),
                    field: value
                        .zip(before.field)
                        .map(|(value, other)| self.math.select(code, here, value, other)),
                },
            });
        }
        found.unwrap_or_else(|| Found {
            inside: code.edit.constant_false(),
            field: field.map(|_| self.math.constant(code.edit, 0)),
        })
    }

    /// Number `number` of a segment's record in the control block.
    fn number(&self, code: &mut Code<'_>, segment: u32, number: u32) -> Id {
        let row = self.layout.segment_row(segment) + number / 2;
        let pair = code.control_pair(self.control, row, number % 2);
        self.math.address_of_pair(code, pair)
    }

    fn bisect(
        &self,
        code: &mut Code<'_>,
        address: Id,
        compared: Compared,
        field: Option<Field>,
        steps: u8,
    ) -> Found {
        let pair = code.control_pair(self.control, control::LOOKUP, 1);
        let mut record = self.math.address_of_pair(code, pair);
        let record_bytes = u64::from(self.layout.record_rows()) * 16;
        for step in (0..steps).rev() {
            let half = self.math.constant(code.edit, record_bytes << step);
            let middle = self.math.add(code, record, half);
            let start = self.number_at(code, middle, START);
            let below = self.math.less(code, address, start);
            record = self.math.select(code, below, record, middle);
        }
        let start = self.number_at(code, record, START);
        let distance = self.math.sub(code, address, start);
        let limit = self.number_at(code, record, compared.number());
        let inside = self.math.less(code, distance, limit);
        let field = field.map(|field| self.number_at(code, record, field as u32));
        Found { inside, field }
    }

    /// Number `number` of the record at an address.
    fn number_at(&self, code: &mut Code<'_>, record: Id, number: u32) -> Id {
        let offset = self.math.constant(code.edit, u64::from(number) * 8);
        let at = if number == 0 { record } else { self.math.add(code, record, offset) };
        load_number(self.math, code, at)
    }
}

impl Compared {
    fn number(self) -> u32 {
        match self {
            Self::Extent => LENGTH,
            Self::Span(check) => SPANS + check,
        }
    }
}

/// Loads a number of 64 bits from memory of the pass's own.
pub(crate) fn load_number(math: Math, code: &mut Code<'_>, address: Id) -> Id {
    let of = math.address(code.edit);
    let pointer = code.edit.pointer(StorageClass::PhysicalStorageBuffer, of);
    let pointer = math.to_pointer(code, pointer, address);
    code.load_physical(of, pointer, 8)
}
