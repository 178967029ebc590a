//! Every bad input ends in one line that names the file, the fault and the remedy. Nothing panics.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its input has failed")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use farptr_samples::csr_file::{self, CsrFile};
use farptr_samples::error::SampleError;
use farptr_samples::{Csr, debian, edge_list, graph_input, matrix_market};
use tempfile::{TempDir, tempdir};

const REAL: &str = "%%MatrixMarket matrix coordinate real general\n";

/// A directory with one file in it.
fn file(content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let dir = tempdir().unwrap();
    let path = dir.path().join("input");
    fs::write(&path, content).unwrap();
    (dir, path)
}

/// The one line, with the file's directory left out.
fn line_of<T>(result: Result<T, SampleError>, path: &Path) -> String {
    let Err(error) = result else { panic!("{} was accepted", path.display()) };
    assert_eq!(error.exit_code(), 1);
    let line = error.one_line();
    assert!(!line.contains('\n'));
    line.replace(&path.display().to_string(), "FILE")
}

fn matrix_line(content: impl AsRef<[u8]>) -> String {
    let (_dir, path) = file(content);
    line_of(matrix_market::read(&path), &path)
}

fn graph_line(content: impl AsRef<[u8]>) -> String {
    let (_dir, path) = file(content);
    line_of(graph_input::read(&path, false), &path)
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Tests of matrices: the part of the file after the real general banner, and the line.
macro_rules! matrix_cases {
    ($($name:ident: $body:expr => $line:expr;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(matrix_line(format!("{REAL}{}", $body)), $line);
        }
    )*};
}

matrix_cases! {
    no_size_line: "% only a comment\n"
        => "FILE: the size line is missing; fetch or write the file again";
    size_line_of_words: "2 two 1\n1 1 1\n"
        => "FILE:2: \"2 two 1\" is not a size line; write it as \"rows columns entries\"";
    size_line_of_a_dense_matrix: "2 2\n1\n1\n1\n1\n"
        => "FILE:2: \"2 2\" is not a size line; write it as \"rows columns entries\"";
    size_beyond_64_bits: "2 99999999999999999999999 1\n1 1 1\n"
        => "FILE:2: \"2 99999999999999999999999 1\" is not a size line; \
            write it as \"rows columns entries\"";
    size_beyond_32_bits: "5000000000 2 1\n1 1 1\n"
        => "FILE:2: 5000000000 rows are more than 4294967295; give a smaller input";
    entries_beyond_32_bits: "2 2 1152921504606846976\n1 1 1\n"
        => "FILE:2: 1152921504606846976 entries are more than 4294967295; give a smaller input";
    rows_beyond_reason: "4000000000 2 1\n1 1 1\n"
        => "FILE:2: 4000000000 rows and 2 columns declared for 1 entries; correct the size line";
    a_matrix_without_entries: "3 3 0\n"
        => "FILE:2: the matrix has 3 rows, 3 columns and 0 entries; \
            give a matrix with at least one entry";
    entries_that_are_missing: "2 2 4000000000\n1 1 1\n"
        => "FILE: cut short: 4000000000 entries declared, 1 found; fetch or write the file again";
    entries_that_are_too_many: "2 2 1\n1 1 1\n\n2 2 1\n"
        => "FILE:5: 1 entries declared, 2 found; correct the count on the size line";
    a_row_out_of_range: "2 2 2\n1 1 1\n3 1 1\n"
        => "FILE:4: row index 3 is out of range, the size is 2; \
            correct the index or the size line";
    a_column_out_of_range: "2 2 1\n1 3 1\n"
        => "FILE:3: column index 3 is out of range, the size is 2; \
            correct the index or the size line";
    indices_from_zero: "2 2 2\n1 1 1\n1 0 1\n"
        => "FILE:4: column index 0, but indices begin at 1; add 1 to every index";
    an_index_beyond_64_bits: "2 2 1\n1 99999999999999999999999 1\n"
        => "FILE:3: \"99999999999999999999999\" is not a whole number; correct the line";
    an_index_with_a_sign: "2 2 1\n1 -1 1\n"
        => "FILE:3: \"-1\" is not a whole number; correct the line";
    a_value_of_nan: "2 2 1\n1 1 NaN\n"
        => "FILE:3: value NaN is not a finite 32-bit number; replace or remove the value";
    a_value_of_infinity: "2 2 1\n1 1 -inf\n"
        => "FILE:3: value -inf is not a finite 32-bit number; replace or remove the value";
    a_value_beyond_32_bits: "2 2 1\n1 1 1e39\n"
        => "FILE:3: value 1e39 is not a finite 32-bit number; replace or remove the value";
    a_value_of_letters: "2 2 1\n1 1 one\n"
        => "FILE:3: \"one\" is not a number; correct the line";
    a_value_with_a_fortran_exponent: "2 2 1\n1 1 1.5D3\n"
        => "FILE:3: \"1.5D3\" is not a number; correct the line";
    a_value_that_is_missing: "2 2 1\n1 2\n"
        => "FILE:3: \"1 2\" is not an entry of the form \"row column value\"; correct the line";
    fields_that_run_together: "2 2 1\n1 2.5\n"
        => "FILE:3: \"1 2.5\" is not an entry of the form \"row column value\"; correct the line";
    a_comment_among_entries: "2 2 2\n1 1 1\n% two of them\n"
        => "FILE:4: \"% two of them\" is not an entry of the form \"row column value\"; \
            correct the line";
    a_comment_more_than_entries: "2 2 2\n1 1 1\n% why\n2 2 1\n"
        => "FILE:4: \"% why\" is not an entry of the form \"row column value\"; \
            correct the line";
    a_comment_and_too_few_entries: "2 2 4\n1 1 1\n% why\n2 2 1\n"
        => "FILE:4: \"% why\" is not an entry of the form \"row column value\"; \
            correct the line";
    zero_bytes_among_entries: "2 2 2\n1 1 1\n\0\0\n2 2 1\n"
        => "FILE:4: \"\\0\\0\" is not an entry of the form \"row column value\"; \
            correct the line";
    zero_bytes_in_place_of_an_entry: "2 2 2\n1 1 1\n\0\0\0\0\0\0"
        => "FILE: cut short: 2 entries declared, 1 found; fetch or write the file again";
    the_end_mark_of_dos_in_place_of_an_entry: "2 2 2\r\n1 1 1\r\n\u{1a}"
        => "FILE: cut short: 2 entries declared, 1 found; fetch or write the file again";
    an_entry_that_breaks_off: "3 3 3\n1 1 1\n2 1"
        => "FILE: cut short: 3 entries declared, 1 found; fetch or write the file again";
    a_second_file_behind:
        "1 1 1\n1 1 1\n%%MatrixMarket matrix coordinate real general\n1 1 1\n1 1 1\n"
        => "FILE:4: \"%%MatrixMarket matrix coordinate real ge...\" is not an entry of the form \
            \"row column value\"; correct the line";
    duplicates_that_overflow: "1 1 2\n1 1 3e38\n1 1 3e38\n"
        => "FILE: value inf is not a finite 32-bit number; replace or remove the value";
}

#[test]
fn a_file_that_is_not_there() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("none.mtx");
    assert_eq!(
        line_of(matrix_market::read(&path), &path),
        "FILE: cannot be read: No such file or directory (os error 2); \
         check the path and its permissions"
    );
}

#[test]
fn a_directory() {
    let dir = tempdir().unwrap();
    assert_eq!(
        line_of(graph_input::read(dir.path(), false), dir.path()),
        "FILE: cannot be read: Is a directory (os error 21); check the path and its permissions"
    );
}

#[test]
fn an_empty_file() {
    let expected = "FILE: the file is empty; fetch or write the file again";
    assert_eq!(matrix_line(""), expected);
    assert_eq!(graph_line(""), expected);
    assert_eq!(matrix_line(gzip("")), expected);
}

#[test]
fn other_files_than_matrix_market() {
    let expected = "FILE:1: not a Matrix Market file: the first line is no \
                    \"%%MatrixMarket matrix\" banner; \
                    give a .mtx file in Matrix Market coordinate format";
    assert_eq!(matrix_line("<html>not found</html>\n"), expected);
    assert_eq!(matrix_line("%%MatrixMarket vector coordinate real general\n"), expected);
    assert_eq!(matrix_line([0xffu8, 0xfe, 0, 0x80]), expected);
}

#[test]
fn kinds_that_are_not_read() {
    for (banner, kind) in [
        ("matrix array real general", "array"),
        ("matrix coordinate complex general", "complex"),
        ("matrix coordinate real hermitian", "hermitian"),
        ("matrix coordinate pattern skew-symmetric", "pattern skew-symmetric"),
    ] {
        assert_eq!(
            matrix_line(format!("%%MatrixMarket {banner}\n1 1 1\n1 1 1\n")),
            format!(
                "FILE:1: Matrix Market kind \"{kind}\" is not supported; \
                 convert it to coordinate format, real, integer or pattern, \
                 general, symmetric or skew-symmetric"
            )
        );
    }
}

#[test]
fn symmetric_files_that_are_not() {
    let symmetric = |body: &str| {
        matrix_line(format!("%%MatrixMarket matrix coordinate real skew-symmetric\n{body}"))
    };
    assert_eq!(
        symmetric("2 3 1\n2 1 1\n"),
        "FILE:2: 2 rows and 3 columns, but a square matrix is needed; give a square matrix"
    );
    assert_eq!(
        symmetric("2 2 1\n1 2 1\n"),
        "FILE:3: entry (1, 2) lies above the diagonal of a symmetric file; \
         list only the lower triangle, or declare it general"
    );
    assert_eq!(
        symmetric("2 2 1\n2 2 1\n"),
        "FILE:3: entry (2, 2) lies on the diagonal of a skew-symmetric file; \
         remove the entry, or declare the file general"
    );
}

#[test]
fn integers_that_are_not() {
    let text = "%%MatrixMarket matrix coordinate integer general\n1 1 1\n1 1 1.5\n";
    assert_eq!(matrix_line(text), "FILE:3: \"1.5\" is not a whole number; correct the line");
}

#[test]
fn a_pattern_with_values() {
    let text = "%%MatrixMarket matrix coordinate pattern general\n1 1 1\n1 1 1\n";
    assert_eq!(
        matrix_line(text),
        "FILE:3: \"1 1 1\" is not an entry of the form \"row column\"; correct the line"
    );
}

#[test]
fn compressed_files_that_are_damaged_or_not_read() {
    let mut cut = gzip(&format!("{REAL}1 1 1\n1 1 1\n"));
    cut.truncate(cut.len() - 9);
    let line = matrix_line(cut);
    assert!(line.starts_with("FILE: the gzip data is damaged or cut short ("), "{line}");
    assert!(line.ends_with("); fetch or write the file again"), "{line}");
    assert_eq!(
        matrix_line(b"\x28\xb5\x2f\xfdrest"),
        "FILE: compressed with zstd, which is not read here; \
         decompress it first (plain, gzip and lz4 are read)"
    );
}

#[test]
fn edges_that_are_not() {
    for text in ["1", "1 b", "-1 2", "1 18446744073709551616", "a b c"] {
        assert_eq!(
            graph_line(format!("# comment\n1 2\n{text}\n")),
            format!(
                "FILE:3: \"{text}\" is not an edge of the form \"from to\"; \
                 write two whole numbers a line, comments after # or %"
            )
        );
    }
}

/// A line that is nearly a Matrix Market banner must not be taken for a comment of an edge list:
/// its symmetry would be lost, and its size line would be an edge.
#[test]
fn banners_with_a_slip() {
    let body = "2 2 1\n2 1\n";
    for banner in [
        "%%%MatrixMarket matrix coordinate pattern symmetric",
        "%% MatrixMarket matrix coordinate pattern symmetric",
        "#%%MatrixMarket matrix coordinate pattern symmetric",
        "MatrixMarket matrix coordinate pattern symmetric",
        "% matrixmarket matrix coordinate pattern symmetric",
        "%MatrixMarket matrix",
        "% a comment first\n\n%%MatrixMarket matrix coordinate pattern symmetric",
        "\n%%MatrixMarket matrix coordinate pattern symmetric",
    ] {
        let line = graph_line(format!("{banner}\n{body}"));
        assert!(
            line.starts_with("FILE:1: not a Matrix Market file: the first line is no"),
            "{line}"
        );
    }
    assert_eq!(
        graph_line(format!("1 2\n%%MatrixMarket matrix coordinate pattern symmetric\n{body}")),
        "FILE:2: a Matrix Market banner inside an edge list; \
         give one file a graph, with the banner in its first line"
    );
}

#[test]
fn size_lines_without_a_banner() {
    for (text, line, shown) in [
        ("3 3 2\n1 2\n2 3\n", 1, "3 3 2"),
        ("% comment\n\n3 4 2\n1 4\n3 3\n", 3, "3 4 2"),
        ("3 3 2\n1 2 0.5\n2 3 7\n", 1, "3 3 2"),
        // Cut short, but no other line has such a field.
        ("3 3 99\n1 2\n2 3\n", 1, "3 3 99"),
        ("3 3 99\n1 2 0.5\n2 3 0.25\n", 1, "3 3 99"),
    ] {
        assert_eq!(
            graph_line(text),
            format!(
                "FILE:{line}: \"{shown}\" reads like the size line of a Matrix Market file without \
                 its banner; write \"%%MatrixMarket matrix coordinate pattern general\", or what \
                 it is, before it; if it is an edge, move it behind another"
            )
        );
    }
}

#[test]
fn bipartite_lists() {
    assert_eq!(
        graph_line("% bip unweighted\n% 2 2 2\n1 1\n2 2\n"),
        "FILE: bipartite, as \"% bip unweighted\" says: the same id names a vertex of either side; \
         add a number to the ids of one column, and remove the comment"
    );
}

#[test]
fn zero_bytes_in_an_edge_list() {
    assert_eq!(
        graph_line("1 2\n\0\0\0"),
        "FILE:2: \"\\0\\0\\0\" is not an edge of the form \"from to\"; \
         write two whole numbers a line, comments after # or %"
    );
}

#[test]
fn graphs_without_edges() {
    assert_eq!(
        graph_line("# nothing\n"),
        "FILE: the graph is empty: 0 vertices and no edges; give a graph with at least one edge"
    );
}

#[test]
fn a_graph_of_a_matrix_that_is_not_square() {
    assert_eq!(
        graph_line(format!("{REAL}2 3 1\n1 3 1\n")),
        "FILE: 2 rows and 3 columns, but a square matrix is needed; give a square matrix"
    );
}

#[test]
fn a_start_that_is_not_there() {
    let graph = edge_list::parse("g.txt", "10 20\n10 30\n", false).unwrap().graph;
    let error = graph.start("g.txt", Some("40")).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(
        error.one_line(),
        "g.txt: no vertex \"40\"; try \"10\", the vertex with the most edges"
    );
}

type Change = fn(&mut Vec<u8>);

/// The line for a saved matrix after a change of its bytes.
fn csr_line(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let (_dir, path) = file("");
    let matrix = Csr::from_triplets(2, 2, vec![(0, 1, 1.0), (1, 0, 2.0)]).unwrap();
    csr_file::save(&path, matrix.view()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    line_of(CsrFile::map(&path), &path)
}

#[test]
fn csr_files_that_are_not() {
    assert_eq!(csr_line(Vec::clear), "FILE: the file is empty; fetch or write the file again");
    let not_csr = "FILE: not a farptr CSR file: the first eight bytes are not \"farptrCS\"; \
                   give a file that a farptr sample saved";
    assert_eq!(csr_line(|bytes| bytes[0] = b'F'), not_csr);
    assert_eq!(csr_line(|bytes| bytes.truncate(5)), not_csr);
}

#[test]
fn csr_files_of_another_version_or_byte_order() {
    assert_eq!(
        csr_line(|bytes| bytes[12..16].copy_from_slice(&2u32.to_ne_bytes())),
        "FILE: CSR file version 2, this program reads version 1; \
         write it again with this program, here"
    );
    assert_eq!(
        csr_line(|bytes| bytes[8..12].reverse()),
        "FILE: written on a machine of the other byte order; \
         write it again with this program, here"
    );
}

#[test]
fn csr_files_that_are_damaged() {
    let cases: [(&str, Change); 7] = [
        ("20 bytes long, but the header implies 64", |b| {
            b.truncate(20);
        }),
        ("91 bytes long, but the header implies 92", |b| {
            b.truncate(91);
        }),
        ("93 bytes long, but the header implies 92", |b| b.push(0)),
        ("row pointer 2 is 0, expected 1 or more", |b| {
            b[72..76].fill(0);
        }),
        ("row pointer 0 is 1, expected 0", |b| {
            b[64..68].copy_from_slice(&1u32.to_ne_bytes());
        }),
        ("column index 9 is out of range, the size is 2", |b| {
            b[76..80].copy_from_slice(&9u32.to_ne_bytes());
        }),
        ("value NaN is not a finite 32-bit number", |b| {
            b[84..88].copy_from_slice(&f32::NAN.to_ne_bytes());
        }),
    ];
    for (problem, change) in cases {
        let expected = format!("FILE: {problem}; the file is damaged, write it again");
        assert_eq!(csr_line(change), expected);
    }
}

#[test]
fn csr_files_whose_header_is_too_large() {
    assert_eq!(
        csr_line(|bytes| bytes[16..24].fill(0xff)),
        "FILE: 18446744073709551615 rows are more than 4294967295; give a smaller input"
    );
}

#[test]
fn csr_files_that_cannot_be_written() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("none/m.csr");
    let matrix = Csr::from_triplets(1, 1, vec![(0, 0, 1.0)]).unwrap();
    assert_eq!(
        line_of(csr_file::save(&path, matrix.view()), &path),
        "FILE: cannot be written: No such file or directory (os error 2); \
         check the directory, its permissions and the free space"
    );
}

#[test]
fn a_machine_without_packages() {
    let dir = tempdir().unwrap();
    let root = dir.path();
    assert_eq!(
        line_of(debian::load(root, false), root),
        "FILE: no Debian packages are known here \
         (FILE/var/lib/apt/lists: cannot be read: No such file or directory (os error 2), \
         FILE/var/lib/dpkg/status: cannot be read: No such file or directory (os error 2)); \
         run \"apt-get update\", or give a file instead"
    );
}

#[test]
fn package_lists_without_packages() {
    let dir = tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
    fs::create_dir_all(root.join("var/lib/apt/lists")).unwrap();
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    fs::write(root.join("var/lib/apt/lists/a_Packages"), "Version: 1\n\nVersion: 2\n").unwrap();
    fs::write(root.join("var/lib/apt/lists/b_Packages"), "Package: x\nno colon\n").unwrap();
    assert_eq!(
        line_of(debian::load(root, false), root),
        "FILE: no Debian packages are known here \
         (FILE/var/lib/dpkg/status: the file is empty, \
         FILE/var/lib/apt/lists/a_Packages: no package in it, \
         FILE/var/lib/apt/lists/b_Packages: not a package list: \
         Unexpected token: no colon); \
         run \"apt-get update\", or give a file instead"
    );
}

#[test]
fn packages_without_dependencies() {
    let dir = tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("var/lib/dpkg")).unwrap();
    fs::write(root.join("var/lib/dpkg/status"), "Package: a\nDepends: b\n\nPackage: c\n").unwrap();
    assert_eq!(
        line_of(debian::load(root, false), root),
        "FILE: the graph is empty: 2 vertices and no edges; give a graph with at least one edge"
    );
}
