//! The banner and the size line.

use crate::csr::{check_limits, check_plausible};
use crate::error::{Problem, SampleError, excerpt};

/// The value that an entry has besides its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Real,
    Integer,
    Pattern,
}

/// The entries that the file leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symmetry {
    General,
    Symmetric,
    Skew,
}

/// Everything before the entries.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) field: Field,
    pub(super) symmetry: Symmetry,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// The number of entries that the size line declares.
    pub(super) entries: usize,
    /// The place of the first entry in the text.
    pub(super) body: usize,
}

/// Whether a line is a banner, or a banner with one of two small mistakes: one percent sign is
/// missing, or a space follows them.
pub(crate) fn is_banner(line: &str) -> bool {
    let (signs, rest) = line.split_at(line.len() - line.trim_start_matches(SIGNS).len());
    let word = "matrixmarket";
    let named = rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let spelled =
        |kind: &str| rest.to_ascii_lowercase().split_whitespace().any(|word| word == kind);
    let close = !signs.is_empty() && signs.bytes().all(|sign| sign == b'%');
    named && (close || spelled("coordinate") || spelled("array"))
}

/// The bytes that may stand before the word of a banner.
const SIGNS: [char; 4] = ['%', '#', ' ', '\t'];

/// Whether a banner is among the blank lines and comments that a text begins with.
pub(super) fn begins_with_banner(text: &str) -> bool {
    let is_data = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with(SIGNS);
    // Without its signs a banner looks like data.
    let data = text.lines().find(is_data);
    let head = text.lines().take_while(|line| !is_data(line));
    head.chain(data).any(is_banner)
}

impl Header {
    pub(super) fn parse(name: &str, text: &str) -> Result<Self, SampleError> {
        let banner = text.lines().next().unwrap_or_default();
        let (field, symmetry) = parse_banner(banner).map_err(|p| p.in_line(name, 1))?;
        let size = find_size_line(text).ok_or_else(|| Problem::NoSizeLine.in_input(name))?;
        let at = |problem: Problem| problem.in_line(name, size.line);
        let [rows, cols, entries] = parse_sizes(size.text).map_err(at)?;
        if symmetry != Symmetry::General && rows != cols {
            return Err(at(Problem::NotSquare { rows, cols }));
        }
        Ok(Self { field, symmetry, rows, cols, entries, body: size.end })
    }
}

fn parse_banner(line: &str) -> Result<(Field, Symmetry), Problem> {
    let lower = line.to_ascii_lowercase();
    let words: Vec<&str> = lower.split_ascii_whitespace().collect();
    // With one sign, as other readers take it.
    let ["%%matrixmarket" | "%matrixmarket", "matrix", format, field, symmetry] = words[..] else {
        return Err(Problem::NotMatrixMarket);
    };
    let unsupported = |kind: &str| Err(Problem::Kind { kind: excerpt(kind) });
    if format != "coordinate" {
        return unsupported(format);
    }
    let field = match field {
        "real" => Field::Real,
        "integer" => Field::Integer,
        "pattern" => Field::Pattern,
        other => return unsupported(other),
    };
    match symmetry {
        "general" => Ok((field, Symmetry::General)),
        "symmetric" => Ok((field, Symmetry::Symmetric)),
        "skew-symmetric" if field != Field::Pattern => Ok((field, Symmetry::Skew)),
        "skew-symmetric" => unsupported("pattern skew-symmetric"),
        other => unsupported(other),
    }
}

struct SizeLine<'a> {
    text: &'a str,
    line: usize,
    end: usize,
}

/// The first line after the banner that is neither blank nor a comment.
fn find_size_line(text: &str) -> Option<SizeLine<'_>> {
    let mut end = 0;
    for (index, whole) in text.split_inclusive('\n').enumerate() {
        end += whole.len();
        let line = whole.trim();
        if index > 0 && !line.is_empty() && !line.starts_with('%') {
            return Some(SizeLine { text: line, line: index + 1, end });
        }
    }
    None
}

fn parse_sizes(line: &str) -> Result<[usize; 3], Problem> {
    let bad = || Problem::SizeLine { text: excerpt(line) };
    let counts: Result<Vec<usize>, _> = line.split_ascii_whitespace().map(str::parse).collect();
    let counts: [usize; 3] = counts.map_err(|_| bad())?.try_into().map_err(|_| bad())?;
    check_limits(counts[0], counts[1], counts[2])?;
    check_plausible(counts[0], counts[1], counts[2])?;
    Ok(counts)
}
