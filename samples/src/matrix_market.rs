//! Matrix Market coordinate files: real, integer or pattern; general, symmetric or skew-symmetric.
//!
//! The entries are parsed by `nalgebra-sparse`. Its reader trusts the sizes that a file declares,
//! takes NaN for a value, panics on an index beyond 64 bits, needs some 400 bytes an entry while
//! it works and does not say which line is wrong. So this module reads the header itself and hands
//! the entries over in blocks of a megabyte, in parallel, after a look at the shape of each line:
//!
//! 1. `header`: banner and size line, checked against what is supported and plausible.
//! 2. `entries`: blocks; lines counted against the header before anything is allocated for them;
//!    the library; what the library accepts and the format does not. The first block that fails is
//!    gone through line by line for the one line to show.

mod entries;
mod header;

use std::path::Path;

use crate::csr::{Csr, Triplet};
use crate::error::SampleError;
use crate::input::{plain, read_text, without_tail};
pub(crate) use header::is_banner;
use header::{Header, Symmetry};

/// Reads a Matrix Market file, plain or compressed.
///
/// # Errors
/// - [`SampleError::Read`] when the file cannot be read
/// - [`SampleError::Bad`] for everything [`parse`] refuses
pub fn read(path: &Path) -> Result<Csr, SampleError> {
    parse(&path.display().to_string(), &read_text(path)?)
}

/// Parses the text of a Matrix Market file; `name` stands for it in messages. A byte order mark and
/// what pads the end, zero bytes or Ctrl-Z, are no part of the text.
///
/// Entries at the same place are added up. A symmetric or skew-symmetric file lists the lower
/// triangle, the matrix has both. Pattern entries have the value 1.
///
/// # Errors
/// [`SampleError::Bad`] with the line, for a header or an entry that breaks the format, an index
/// outside the declared size, a value that is not finite, more or fewer entries than declared, and
/// kinds that are not read here (array, complex, hermitian).
pub fn parse(name: &str, text: &str) -> Result<Csr, SampleError> {
    let text = plain(text);
    // Padding of a file is no entry. The declared count shows that no entry is lost with it.
    let text = without_tail(&text, &['\0', '\u{1a}']);
    let header = Header::parse(name, text)?;
    let mut triplets = entries::parse(name, text, &header)?;
    mirror(&mut triplets, header.symmetry);
    Csr::from_triplets(header.rows, header.cols, triplets).map_err(|problem| problem.in_input(name))
}

/// Whether a text is meant to be a Matrix Market file: whether its first lines have a banner, or a
/// line that is a banner except for a small mistake.
#[must_use]
pub fn has_banner(text: &str) -> bool {
    header::begins_with_banner(&plain(text))
}

/// Adds the upper triangle that a symmetric file leaves out.
fn mirror(triplets: &mut Vec<Triplet>, symmetry: Symmetry) {
    let sign = match symmetry {
        Symmetry::General => return,
        Symmetry::Symmetric => 1.0,
        Symmetry::Skew => -1.0,
    };
    let upper = |&(row, col, value): &Triplet| (row != col).then_some((col, row, sign * value));
    let mirrored: Vec<Triplet> = triplets.iter().filter_map(upper).collect();
    triplets.extend(mirrored);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;

    const KARATE: &str = include_str!("../tests/data/karate.mtx");
    const WEST: &str = include_str!("../tests/data/west0067.mtx");

    fn matrix(text: &str) -> Csr {
        parse("m.mtx", text).unwrap()
    }

    #[test]
    fn real_symmetric_files_have_both_triangles() {
        let text = "%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 1 2.5\n2 1 -1e1\n";
        let m = matrix(text);
        assert_eq!((m.row_ptr, m.col), (vec![0, 2, 3], vec![0, 1, 0]));
        assert_eq!(m.val, [2.5, -10.0, -10.0]);
    }

    #[test]
    fn skew_symmetric_integers_change_sign() {
        let m = matrix("%%MatrixMarket matrix coordinate integer skew-symmetric\n2 2 1\n2 1 7\n");
        assert_eq!((m.col, m.val), (vec![1, 0], vec![-7.0, 7.0]));
    }

    #[test]
    fn patterns_become_ones_and_duplicates_add_up() {
        let m = matrix("%%MatrixMarket matrix coordinate pattern general\n1 2 3\n1 2\n1 1\n1 2\n");
        assert_eq!((m.col, m.val), (vec![0, 1], vec![1.0, 2.0]));
    }

    #[test]
    fn spacing_case_and_line_ends_do_not_matter() {
        let text = "%%matrixmarket  MATRIX Coordinate Real General\r\n% c\r\n\r\n \
                    1\t1 1 \r\n\r\n1  1 +.5E+01";
        assert_eq!(matrix(text).val, [5.0]);
    }

    #[test]
    fn marks_padding_and_a_missing_sign_change_nothing() {
        let text = "%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 1 2\n2 1 3\n";
        let expected = matrix(text);
        for other in [
            format!("\u{feff}{text}"),
            format!("{text}\u{1a}"),
            format!("{text}\0\0\0"),
            format!("{text}\u{1a}\0\0"),
            format!("{text}\0\0\n"),
            text.replace('\n', "\r"),
            text.replace("%%", "%"),
        ] {
            assert!(has_banner(&other), "{other:?}");
            assert_eq!(matrix(&other), expected, "{other:?}");
        }
    }

    #[test]
    fn comments_of_edge_lists_are_no_banners() {
        for text in ["# made from MatrixMarket files\n1 2\n", "% MatrixMarket\n1 2\n", "1 2\n", ""]
        {
            assert!(!has_banner(text), "{text}");
        }
    }

    #[test]
    fn karate_is_the_known_graph() {
        let m = matrix(KARATE);
        assert_eq!((m.rows, m.cols, m.col.len()), (34, 34, 2 * 78));
        assert!(m.view().is_symmetric());
        assert_eq!(m.view().longest_row(), 17);
    }

    #[test]
    fn west0067_is_the_known_matrix() {
        let m = matrix(WEST);
        assert_eq!((m.rows, m.cols, m.col.len()), (67, 67, 294));
        assert!(!m.view().is_symmetric());
    }

    #[test]
    fn files_of_several_blocks_equal_their_entries() {
        let rows = 150_000u32;
        let mut text = format!("%%MatrixMarket matrix coordinate real general\n{rows} 7 {rows}\n");
        for row in 1..=rows {
            writeln!(text, "{row} {} {}.25", row % 7 + 1, row % 100).unwrap();
        }
        assert!(text.len() > 2 * entries::BLOCK_BYTES);
        let m = matrix(&text);
        assert_eq!(m.col.len(), rows as usize);
        assert!((0..rows).all(|i| m.col[i as usize] == (i + 1) % 7));
        assert_eq!(m.val[123_456], 57.25);
    }

    #[test]
    fn the_line_is_right_in_a_later_block() {
        let rows = 150_000;
        let mut text =
            format!("%%MatrixMarket matrix coordinate pattern general\n{rows} 1 {rows}\n");
        for row in 1..=rows {
            let row = if row == 140_000 { 0 } else { row };
            writeln!(text, "{row} {:010}", 1).unwrap();
        }
        let line = parse("m.mtx", &text).unwrap_err().one_line();
        assert_eq!(line, "m.mtx:140002: row index 0, but indices begin at 1; add 1 to every index");
    }

    fn written(rows: u32, cols: u32, entries: &[Triplet]) -> String {
        let banner = "%%MatrixMarket matrix coordinate real general";
        let mut text = format!("{banner}\n% random\n{rows} {cols} {}\n", entries.len());
        for (row, col, value) in entries {
            writeln!(text, "{} {} {value:e}", row + 1, col + 1).unwrap();
        }
        text
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            entries in prop::collection::vec((0u32..9, 0u32..5, -1e30f32..1e30), 1..50)
        ) {
            let expected = Csr::from_triplets(9, 5, entries.clone()).unwrap();
            prop_assert_eq!(matrix(&written(9, 5, &entries)), expected);
        }

        #[test]
        fn damaged_texts_never_panic(
            at in 0..KARATE.len(), byte in any::<u8>(), cut in 0..KARATE.len()
        ) {
            let mut bytes = KARATE.as_bytes().to_vec();
            bytes[at] = byte;
            bytes.truncate(cut.max(at));
            if let Err(error) = parse("k.mtx", &String::from_utf8_lossy(&bytes)) {
                prop_assert!(error.one_line().starts_with("k.mtx"));
            }
        }

        #[test]
        fn any_text_never_panics(body in "[-+0-9.eEdinfNaA% \t\r\n]{0,60}") {
            let banner = "%%MatrixMarket matrix coordinate real general\n";
            let _ = parse("x.mtx", &format!("{banner}{body}"));
        }
    }
}
