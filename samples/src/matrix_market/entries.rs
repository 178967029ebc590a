//! The entry lines: counted, parsed in blocks, and explained where they are wrong.

use nalgebra_sparse::CooMatrix;
use nalgebra_sparse::io::{MatrixMarketError, load_coo_from_matrix_market_str as load};
use rayon::prelude::*;

use super::header::{Field, Header, Symmetry};
use crate::csr::Triplet;
use crate::error::{Problem, SampleError, excerpt};

/// About how much text the library gets at once; it needs some 18 bytes for each of these.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

/// No index below 2^32 has more digits, and longer ones make the library panic.
const INDEX_DIGITS: usize = 10;

/// A part of the text that ends at a line end.
struct Block<'a> {
    /// Its first byte in the text.
    begin: usize,
    text: &'a str,
}

/// Parses every entry after the header, in the order of the file.
pub(super) fn parse(name: &str, text: &str, header: &Header) -> Result<Vec<Triplet>, SampleError> {
    let blocks = split(text, header.body);
    let counts: Vec<usize> = blocks.par_iter().map(|block| count(block.text)).collect();
    check_count(name, text, header, counts.iter().sum())?;
    let parsed = blocks.par_iter().zip(&counts).map(|(block, &count)| {
        parse_block(header, block.text, count)
            .map_err(|detail| explain(name, text, header, block.begin, detail))
    });
    // Collected whole, then searched in order: the first error of the file is the one to show.
    let parsed: Vec<Result<Vec<Triplet>, SampleError>> = parsed.collect();
    let mut triplets = Vec::with_capacity(header.entries);
    for block in parsed {
        triplets.extend(block?);
    }
    Ok(triplets)
}

/// Cuts the text from `begin` on at line ends.
fn split(text: &str, mut begin: usize) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    while begin < text.len() {
        let mut rest = text.as_bytes().iter().skip(begin + BLOCK_BYTES);
        let line_end = rest.position(|&byte| byte == b'\n');
        let end = line_end.map_or(text.len(), |at| begin + BLOCK_BYTES + at + 1);
        blocks.push(Block { begin, text: &text[begin..end] });
        begin = end;
    }
    blocks
}

fn is_blank(line: &str) -> bool {
    line.trim_ascii().is_empty()
}

fn count(block: &str) -> usize {
    block.lines().filter(|line| !is_blank(line)).count()
}

/// Compares the lines with the declared count. A line that is no entry (a comment, say) is not
/// counted, but shown. If the last line is incomplete, the file was cut.
fn check_count(name: &str, text: &str, header: &Header, found: usize) -> Result<(), SampleError> {
    let declared = header.entries;
    if found == declared {
        return Ok(());
    }
    let lines = || numbered(text, header.body).filter(|(_, line)| !is_blank(line));
    let last_is_part = || lines().last().is_some_and(|(_, line)| is_part(header, line));
    let broken_off = found < declared && !text.ends_with('\n') && last_is_part();
    let found = found - usize::from(broken_off);
    let mut whole = lines().take(found);
    if let Some((number, problem)) =
        whole.find_map(|(number, line)| shape(header, line).err().map(|problem| (number, problem)))
    {
        return Err(problem.in_line(name, number));
    }
    if found < declared {
        return Err(Problem::TooFewEntries { declared, found }.in_input(name));
    }
    let problem = Problem::TooManyEntries { declared, found };
    match lines().nth(declared) {
        Some((number, _)) => Err(problem.in_line(name, number)),
        None => Err(problem.in_input(name)),
    }
}

/// The entries of one block, or why there are none.
fn parse_block(header: &Header, block: &str, count: usize) -> Result<Vec<Triplet>, String> {
    if let Some(line) = block.lines().find(|line| !is_blank(line) && !has_shape(header, line)) {
        return Err(format!("\"{}\" is no entry", excerpt(line)));
    }
    let triplets = library(header, block, count).map_err(|error| error.to_string())?;
    match triplets.iter().find(|entry| !is_admissible(header, entry)) {
        None => Ok(triplets),
        Some(entry) => Err(format!("entry {entry:?} is not admissible")),
    }
}

/// Looks at what would make the library panic or read digits of one field as two.
fn has_shape(header: &Header, line: &str) -> bool {
    let mut fields = line.split_ascii_whitespace();
    let is_index = |field: Option<&str>| field.is_some_and(|text| text.len() <= INDEX_DIGITS);
    let places = is_index(fields.next()) && is_index(fields.next());
    let values = usize::from(header.field != Field::Pattern);
    places && fields.count() == values
}

fn library(header: &Header, block: &str, count: usize) -> Result<Vec<Triplet>, MatrixMarketError> {
    let Header { rows, cols, .. } = header;
    let text = |field: &str| {
        format!("%%MatrixMarket matrix coordinate {field} general\n{rows} {cols} {count}\n{block}")
    };
    // Whole numbers beyond 2^24 are rounded, as every value of a 32-bit matrix is.
    #[expect(clippy::cast_precision_loss, reason = "rounding is what a 32-bit matrix asks for")]
    let rounded = |value: &i64| *value as f32;
    match header.field {
        Field::Real => Ok(triplets(&load::<f32>(&text("real"))?, |value| *value)),
        Field::Integer => Ok(triplets(&load::<i64>(&text("integer"))?, rounded)),
        Field::Pattern => Ok(triplets(&load::<()>(&text("pattern"))?, |()| 1.0)),
    }
}

fn triplets<T>(coo: &CooMatrix<T>, value: impl Fn(&T) -> f32) -> Vec<Triplet> {
    let index = |i: usize| u32::try_from(i).expect("the size line was checked against 32 bits");
    coo.triplet_iter().map(|(row, col, v)| (index(row), index(col), value(v))).collect()
}

fn is_admissible(header: &Header, &(row, col, value): &Triplet) -> bool {
    let placed = match header.symmetry {
        Symmetry::General => true,
        Symmetry::Symmetric => row >= col,
        Symmetry::Skew => row > col,
    };
    placed && value.is_finite()
}

/// The lines from `begin` on, with their numbers.
fn numbered(text: &str, begin: usize) -> impl Iterator<Item = (usize, &str)> {
    let (before, rest) = text.split_at(begin);
    let ends = before.bytes().filter(|&byte| byte == b'\n').count();
    (ends + 1..).zip(rest.lines())
}

/// Finds the first line of a refused block that is wrong, and says how.
fn explain(name: &str, text: &str, header: &Header, begin: usize, detail: String) -> SampleError {
    for (number, line) in numbered(text, begin) {
        if let Some(problem) = wrong(header, line) {
            return problem.in_line(name, number);
        }
    }
    Problem::Syntax { detail }.in_input(name)
}

/// The row, the column and the value of a line that is not blank.
type Fields<'a> = (&'a str, &'a str, Option<&'a str>);

fn shape<'a>(header: &Header, line: &'a str) -> Result<Fields<'a>, Problem> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    match (fields.as_slice(), header.field) {
        (&[row, col], Field::Pattern) => Ok((row, col, None)),
        (&[row, col, value], Field::Real | Field::Integer) => Ok((row, col, Some(value))),
        (_, field) => {
            let form = if field == Field::Pattern { "row column" } else { "row column value" };
            Err(Problem::Entry { text: excerpt(line), form })
        }
    }
}

/// Whether a line is the beginning of an entry: numbers, and too few.
fn is_part(header: &Header, line: &str) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let whole = if header.field == Field::Pattern { 2 } else { 3 };
    fields.len() < whole && fields.iter().all(|field| field.parse::<u64>().is_ok())
}

fn wrong(header: &Header, line: &str) -> Option<Problem> {
    if is_blank(line) {
        return None;
    }
    let (row, col, value) = match shape(header, line) {
        Ok(fields) => fields,
        Err(problem) => return Some(problem),
    };
    let place = index("row", row, header.rows).and_then(|row| {
        let col = index("column", col, header.cols)?;
        placed(header.symmetry, row, col)
    });
    place.err().or_else(|| value.and_then(|text| wrong_value(header.field, text)))
}

fn index(axis: &'static str, text: &str, limit: usize) -> Result<u64, Problem> {
    match text.parse() {
        Ok(0) => Err(Problem::ZeroIndex { axis }),
        Ok(index) if index > limit as u64 => Err(Problem::OutOfRange { axis, index, limit }),
        Ok(index) if text.len() <= INDEX_DIGITS => Ok(index),
        _ => Err(Problem::NotWhole { text: excerpt(text) }),
    }
}

fn placed(symmetry: Symmetry, row: u64, column: u64) -> Result<(), Problem> {
    match symmetry {
        Symmetry::Symmetric | Symmetry::Skew if row < column => {
            Err(Problem::AboveDiagonal { row, column })
        }
        Symmetry::Skew if row == column => Err(Problem::OnDiagonal { row }),
        _ => Ok(()),
    }
}

fn wrong_value(field: Field, text: &str) -> Option<Problem> {
    let text_of = || excerpt(text);
    if field == Field::Integer {
        return text.parse::<i64>().is_err().then(|| Problem::NotWhole { text: text_of() });
    }
    match text.parse::<f32>() {
        Err(_) => Some(Problem::NotNumber { text: text_of() }),
        Ok(value) if !value.is_finite() => Some(Problem::NotFinite { text: text_of() }),
        Ok(_) => None,
    }
}
