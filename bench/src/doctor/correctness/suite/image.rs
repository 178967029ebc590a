//! Comparison of results, also of those that hold addresses.
//!
//! Two runs of a kernel in device memory differ in where the memory lies, by a number of bytes. An
//! eight-byte place of the results that differs by the same number holds an address, and names the
//! same byte of the lends in both. So the result of a run in other memory is known: equal bytes are
//! as they are, and addresses are moved.
//!
//! *Rejected:* taking each number for an address that is one of the device's memory: on some
//! devices those are small, and other numbers are equal to them by chance.

use farptr_kernel_cases::case::Image;
use std::fmt;

/// The first difference between two results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    lend: usize,
    offset: usize,
    /// Bytes of this lend that differ.
    count: usize,
    expected: Vec<u8>,
    found: Vec<u8>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lend, offset, count, expected, found } = self;
        write!(
            f,
            "lend {lend} differs in {count} bytes, the first at offset {offset}: {found:02x?} in \
             place of {expected:02x?}"
        )
    }
}

/// The first difference, if there is one.
pub(super) fn difference(expected: &Image, found: &Image) -> Option<Difference> {
    expected.buffers.iter().zip(&found.buffers).enumerate().find_map(|(lend, (expected, found))| {
        let differing: Vec<usize> = (0..expected.len().max(found.len()))
            .filter(|&offset| expected.get(offset) != found.get(offset))
            .collect();
        let offset = *differing.first()?;
        let around = |bytes: &[u8]| bytes.iter().skip(offset / 4 * 4).take(8).copied().collect();
        let (expected, found) = (around(expected), around(found));
        Some(Difference { lend, offset, count: differing.len(), expected, found })
    })
}

/// A place of a result that depends on where memory lies, and is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) lend: usize,
    pub(super) offset: usize,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lend, offset } = self;
        write!(
            f,
            "two runs of the original by hand differ: lend {lend} at offset {offset}, where no \
             address is"
        )
    }
}

/// The result where the lends lie at `starts`, from those of two runs elsewhere.
pub(super) fn moved(first: &Image, second: &Image, starts: &[u64]) -> Result<Image, Misfit> {
    let mut moved = Image { buffers: first.buffers.clone(), starts: starts.to_vec() };
    let Some(&to) = starts.first() else { return Ok(moved) };
    let step = second.starts[0].wrapping_sub(first.starts[0]);
    let by = to.wrapping_sub(first.starts[0]);
    for (lend, bytes) in moved.buffers.iter_mut().enumerate() {
        let (one, other) = (&first.buffers[lend], &second.buffers[lend]);
        let mut next = 0;
        while let Some(offset) = (next..one.len()).find(|&at| one.get(at) != other.get(at)) {
            let start = address_around(one, other, offset, step);
            let start = start.ok_or(Misfit { lend, offset })?;
            let address = number(one, start).unwrap_or_default().wrapping_add(by);
            bytes[start..start + 8].copy_from_slice(&address.to_le_bytes());
            next = start + 8;
        }
    }
    Ok(moved)
}

/// The start of eight bytes that hold the one at `offset` and differ by `step`. There is one at
/// most: further on or back, the numbers differ by other powers of 256.
fn address_around(one: &[u8], other: &[u8], offset: usize, step: u64) -> Option<usize> {
    (offset.saturating_sub(7)..=offset).find(|&start| {
        let both = number(one, start).zip(number(other, start));
        both.is_some_and(|(one, other)| other.wrapping_sub(one) == step)
    })
}

fn number(bytes: &[u8], start: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(start..start + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(start: u64, words: &[u64]) -> Image {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Image { buffers: vec![bytes], starts: vec![start] }
    }

    #[test]
    fn addresses_move_and_numbers_that_look_like_them_do_not() {
        let first = image(0x10_0000, &[0x10_0008, 7, 0x10_0008, 0]);
        let second = image(0x10_3000, &[0x10_3008, 7, 0x10_0008, 0]);
        let moved = moved(&first, &second, &[0x7fff_1234_5000]).unwrap();
        let expected = image(0x7fff_1234_5000, &[0x7fff_1234_5008, 7, 0x10_0008, 0]);
        assert_eq!(moved, expected);
    }

    #[test]
    fn addresses_may_lie_at_any_byte() {
        let at = |start: u64| {
            let mut bytes = vec![1, 2, 3];
            bytes.extend((start + 16).to_le_bytes());
            bytes.extend((start + 0xff00).to_le_bytes());
            Image { buffers: vec![Vec::new(), bytes], starts: vec![start, start + 8] }
        };
        let moved = moved(&at(0x1_0000), &at(0x5_0000), &[0xffff_0000, 0xffff_0008]);
        assert_eq!(moved, Ok(at(0xffff_0000)));
    }

    #[test]
    fn a_result_that_depends_on_the_place_otherwise_is_named() {
        let (first, second) = (image(0x1000, &[5, 1]), image(0x3000, &[5, 2]));
        assert_eq!(moved(&first, &second, &[0]), Err(Misfit { lend: 0, offset: 8 }));
    }

    #[test]
    fn a_difference_names_lend_offset_and_bytes() {
        let mut found = image(0, &[1, 2, 3]);
        assert_eq!(difference(&found.clone(), &found), None);
        let expected = found.clone();
        found.buffers[0][9] = 1;
        found.buffers[0][17] = 1;
        let said = difference(&expected, &found).unwrap().to_string();
        let words = "lend 0 differs in 2 bytes, the first at offset 9: \
                     [02, 01, 00, 00, 00, 00, 00, 00] in place of [02, 00, 00, 00, 00, 00, 00, 00]";
        assert_eq!(said, words);
    }

    #[test]
    fn a_result_of_another_length_differs() {
        let (short, long) = (image(0, &[1]), image(0, &[1, 2]));
        assert_eq!(difference(&short, &long).map(|found| found.offset), Some(8));
        assert_eq!(moved(&short, &long, &[0]), Ok(short.clone()));
        assert!(moved(&long, &short, &[0]).is_err());
    }
}
