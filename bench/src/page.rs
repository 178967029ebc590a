//! The element of arrays that have pages of their own, so that they can be imported.

use bytemuck::{Pod, Zeroable};

/// Bytes of a small page, and aligned like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(4096))]
pub(crate) struct Page([u8; 4096]);

impl Page {
    /// Its size.
    pub(crate) const BYTES: usize = 4096;
    /// Nothing that a kernel computes here.
    const UNWRITTEN: Self = Self([u8::MAX; Self::BYTES]);
}

/// The elements in pages; what is left of the last page is filled up.
pub(crate) fn pages_of<T: Pod>(elements: &[T]) -> Vec<Page> {
    let bytes: &[u8] = bytemuck::cast_slice(elements);
    let mut pages = vec![Page::UNWRITTEN; bytes.len().div_ceil(Page::BYTES)];
    bytemuck::cast_slice_mut(&mut pages)[..bytes.len()].copy_from_slice(bytes);
    pages
}

/// The first elements in pages.
pub(crate) fn elements_of<T: Pod>(pages: &[Page], count: usize) -> &[T] {
    let bytes: &[u8] = bytemuck::cast_slice(pages);
    bytemuck::cast_slice(&bytes[..count * size_of::<T>()])
}

/// As [`elements_of`], to be written.
pub(crate) fn elements_mut_of<T: Pod>(pages: &mut [Page], count: usize) -> &mut [T] {
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(pages);
    bytemuck::cast_slice_mut(&mut bytes[..count * size_of::<T>()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_and_begin_at_a_page() {
        let pages = pages_of(&[1.5f32; 1025]);
        assert_eq!(pages.len(), 2);
        assert_eq!(pages.as_ptr().addr() % Page::BYTES, 0);
        assert_eq!(elements_of::<f32>(&pages, 1025), [1.5; 1025]);
        assert_eq!(elements_of::<u32>(&pages, 2048)[1025..], [u32::MAX; 1023]);
    }
}
