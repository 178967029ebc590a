//! The element of arrays that one program lays out for farptr and for rivals.

use bytemuck::{Pod, Zeroable};

/// Bytes of a cache line, and aligned like one, so that every array begins at the same alignment
/// wherever it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u32; 16]);

impl Line {
    /// Its size.
    pub(crate) const BYTES: usize = size_of::<Self>();
    /// Nothing that a kernel computes here.
    const UNWRITTEN: Self = Self([u32::MAX; 16]);
}

/// The elements in lines; what is left of the last line is filled up.
pub(crate) fn lines_of<T: Pod>(elements: &[T]) -> Vec<Line> {
    let mut lines = unwritten::<T>(elements.len());
    bytemuck::cast_slice_mut(&mut lines)[..elements.len()].copy_from_slice(elements);
    lines
}

/// Room for so many elements, none of them a result.
pub(crate) fn unwritten<T: Pod>(count: usize) -> Vec<Line> {
    vec![Line::UNWRITTEN; (count * size_of::<T>()).div_ceil(Line::BYTES)]
}

/// The first elements in lines.
pub(crate) fn elements_of<T: Pod>(lines: &[Line], count: usize) -> &[T] {
    &bytemuck::cast_slice(lines)[..count]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_and_the_rest_is_no_result() {
        let lines = lines_of(&[1.5f32; 17]);
        assert_eq!(lines.len(), 2);
        assert_eq!(elements_of::<f32>(&lines, 17), [1.5; 17]);
        assert_eq!(elements_of::<u32>(&lines, 32)[17..], [u32::MAX; 15]);
    }
}
