//! Elements from slices, vectors and iterators.
//!
//! A clone or an iterator that panics leaves elements that are dropped with what they lie in: no
//! value is lost, and none is dropped twice.

use super::elements::Elements;
use crate::error::array::ArrayError;
use std::mem::size_of;

/// The bytes that the first memory of an iterator has which promises nothing.
const FIRST_BYTES: usize = 64 << 10;

pub(super) fn from_slice<T: Clone>(slice: &[T]) -> Result<Elements<T>, ArrayError> {
    let mut elements = Elements::with_room(slice.len())?;
    elements.push_clones(slice);
    Ok(elements)
}

pub(super) fn from_vec<T>(vec: &mut Vec<T>) -> Result<Elements<T>, ArrayError> {
    let mut elements = Elements::with_room(vec.len())?;
    elements.take_vec(vec);
    Ok(elements)
}

pub(super) fn from_iter<T>(values: impl Iterator<Item = T>) -> Result<Elements<T>, ArrayError> {
    let mut elements = Elements::with_room(values.size_hint().0)?;
    for value in values {
        if let Err(value) = elements.push(value) {
            elements = grown(elements)?;
            // There is room now.
            let _ = elements.push(value);
        }
    }
    fitted(elements)
}

/// Moves elements to memory with room for twice as many.
fn grown<T>(elements: Elements<T>) -> Result<Elements<T>, ArrayError> {
    let first = FIRST_BYTES / size_of::<T>().clamp(1, FIRST_BYTES);
    let room = elements.len().saturating_mul(2).max(first);
    moved(elements, room)
}

/// Moves elements to memory of their number, if they have more.
fn fitted<T>(elements: Elements<T>) -> Result<Elements<T>, ArrayError> {
    let len = elements.len();
    if size_of::<T>() == 0 || elements.room() == len {
        return Ok(elements);
    }
    moved(elements, len)
}

fn moved<T>(elements: Elements<T>, room: usize) -> Result<Elements<T>, ArrayError> {
    let mut larger = Elements::with_room(room)?;
    larger.take(elements);
    Ok(larger)
}
