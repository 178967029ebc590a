//! The parts of a value that never straddle a page.

use crate::ir::edit::Edit;
use crate::ir::instruction::Id;
use crate::ir::layouts::{Layouts, Place, scalar_bytes};
use rspirv::spirv::Op;

/// The most parts, composites included, that an access is taken apart into.
pub(crate) const MAX_PIECES: usize = 1024;

/// A part of a value that does not straddle a page: a number, a pointer, or an aligned vector. One
/// kind of piece may straddle a page and is accessed as two words ([`Piece::in_words`]).
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) of: Id,
    /// Bytes from the address of the value.
    pub(crate) offset: u32,
    pub(crate) align: u32,
    /// The indices that lead to it in the value.
    pub(crate) path: Vec<u32>,
}

impl Piece {
    /// Whether it is a number or pointer of 64 bits that is aligned to 32 bits only. It may
    /// straddle a page, so its two words are accessed one by one.
    pub(crate) fn in_words(&self, edit: &Edit) -> bool {
        self.align < 8 && scalar_bytes(edit, self.of) == Some(8)
    }
}

/// Takes a value apart into pieces, in order. Returns `None` if there are too many.
pub(crate) fn pieces(
    edit: &Edit,
    layouts: &Layouts,
    place: Place,
    align: u32,
) -> Option<Vec<Piece>> {
    let mut found = Vec::new();
    let mut visits = 0;
    let whole = Piece { of: place.of, offset: 0, align, path: Vec::new() };
    take_apart(edit, layouts, place, whole, &mut found, &mut visits)?;
    Some(found)
}

fn take_apart(
    edit: &Edit,
    layouts: &Layouts,
    place: Place,
    piece: Piece,
    found: &mut Vec<Piece>,
    visits: &mut usize,
) -> Option<()> {
    *visits += 1;
    if *visits > MAX_PIECES {
        return None;
    }
    let (size, _) = layouts.extent(edit, place)?;
    let op = edit.global(place.of)?.class.opcode;
    let is_number = matches!(op, Op::TypeInt | Op::TypeFloat | Op::TypePointer);
    if is_number || (op == Op::TypeVector && contiguous(edit, layouts, place, size, piece.align)) {
        found.push(piece);
        return Some(());
    }
    for index in 0..Layouts::parts(edit, place.of)? {
        let step = layouts.step(edit, place, Some(i64::from(index)))?;
        let times = if op == Op::TypeStruct { 1 } else { index };
        let offset = piece.offset.checked_add(step.bytes.checked_mul(times)?)?;
        let mut path = piece.path.clone();
        path.push(index);
        let part = Piece { of: step.place.of, offset, align: lowest(piece.align, offset), path };
        take_apart(edit, layouts, step.place, part, found, visits)?;
    }
    Some(())
}

/// Whether a vector's components have no gaps and the vector is no larger than its alignment.
fn contiguous(edit: &Edit, layouts: &Layouts, place: Place, size: u64, align: u32) -> bool {
    let step = layouts.step(edit, place, Some(0));
    let part = step.and_then(|step| Some((step.bytes, layouts.extent(edit, step.place)?.0)));
    part.is_some_and(|(stride, part)| u64::from(stride) == part) && size <= u64::from(align)
}

/// The alignment that is left after going on by some bytes.
fn lowest(align: u32, offset: u32) -> u32 {
    if offset == 0 { align } else { align.min(1 << offset.trailing_zeros()) }
}
