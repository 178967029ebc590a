//! The faults that data can have.

/// The faults that data can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A file without a byte in it.
    #[error("the file is empty")]
    Empty,
    /// A compression that the samples do not read.
    #[error("compressed with {kind}, which is not read here")]
    Compression {
        /// The compression's name.
        kind: &'static str,
    },
    /// Compressed data that cannot be decompressed.
    #[error("the {kind} data is damaged or cut short ({detail})")]
    Damaged {
        /// The compression's name.
        kind: &'static str,
        /// The decompressor's message.
        detail: String,
    },

    /// The first line is not a Matrix Market banner.
    #[error("not a Matrix Market file: the first line is no \"%%MatrixMarket matrix\" banner")]
    NotMatrixMarket,
    /// A Matrix Market kind other than real, integer or pattern coordinates.
    #[error("Matrix Market kind \"{kind}\" is not supported")]
    Kind {
        /// The word of the banner that is not supported.
        kind: String,
    },
    /// The file ends before its size line.
    #[error("the size line is missing")]
    NoSizeLine,
    /// A size line that is not three counts.
    #[error("\"{text}\" is not a size line")]
    SizeLine {
        /// The line, shortened.
        text: String,
    },
    /// Fewer entries than the size line declares.
    #[error("cut short: {declared} entries declared, {found} found")]
    TooFewEntries {
        /// The count on the size line.
        declared: usize,
        /// The count in the file.
        found: usize,
    },
    /// More entries than the size line declares.
    #[error("{declared} entries declared, {found} found")]
    TooManyEntries {
        /// The count on the size line.
        declared: usize,
        /// The count in the file.
        found: usize,
    },
    /// An entry line with the wrong number of fields.
    #[error("\"{text}\" is not an entry of the form \"{form}\"")]
    Entry {
        /// The line, shortened.
        text: String,
        /// The form that the banner asks for.
        form: &'static str,
    },
    /// A field that is not a whole number.
    #[error("\"{text}\" is not a whole number")]
    NotWhole {
        /// The field, shortened.
        text: String,
    },
    /// A field that is not a number.
    #[error("\"{text}\" is not a number")]
    NotNumber {
        /// The field, shortened.
        text: String,
    },
    /// A value that is NaN, infinite or too large for 32 bits.
    #[error("value {text} is not a finite 32-bit number")]
    NotFinite {
        /// The value.
        text: String,
    },
    /// An index of zero in a format that counts from 1.
    #[error("{axis} index 0, but indices begin at 1")]
    ZeroIndex {
        /// "row" or "column".
        axis: &'static str,
    },
    /// An index beyond the declared size.
    #[error("{axis} index {index} is out of range, the size is {limit}")]
    OutOfRange {
        /// "row", "column" or "vertex".
        axis: &'static str,
        /// The index as the input gives it.
        index: u64,
        /// The number of rows, columns or vertices.
        limit: usize,
    },
    /// An entry above the diagonal of a file that declares symmetry.
    #[error("entry ({row}, {column}) lies above the diagonal of a symmetric file")]
    AboveDiagonal {
        /// The row as the file gives it.
        row: u64,
        /// The column as the file gives it.
        column: u64,
    },
    /// An entry on the diagonal of a skew-symmetric file.
    #[error("entry ({row}, {row}) lies on the diagonal of a skew-symmetric file")]
    OnDiagonal {
        /// The row as the file gives it.
        row: u64,
    },
    /// A line that the parser refuses for a reason that no other variant names.
    #[error("cannot be parsed: {detail}")]
    Syntax {
        /// The parser's message.
        detail: String,
    },

    /// A matrix that has to be square and is not.
    #[error("{rows} rows and {cols} columns, but a square matrix is needed")]
    NotSquare {
        /// Number of rows.
        rows: usize,
        /// Number of columns.
        cols: usize,
    },
    /// A matrix without a row, a column or an entry.
    #[error("the matrix has {rows} rows, {cols} columns and {entries} entries")]
    NoEntries {
        /// Number of rows.
        rows: usize,
        /// Number of columns.
        cols: usize,
        /// Number of entries.
        entries: usize,
    },
    /// A count beyond what a 32-bit index holds.
    #[error("{count} {what} are more than {limit}")]
    TooLarge {
        /// The thing counted.
        what: &'static str,
        /// How many there are.
        count: u64,
        /// How many there may be.
        limit: u64,
    },
    /// A declared size that so few entries cannot justify.
    #[error("{rows} rows and {cols} columns declared for {entries} entries")]
    Implausible {
        /// Number of rows.
        rows: usize,
        /// Number of columns.
        cols: usize,
        /// Number of entries.
        entries: usize,
    },
    /// Row pointers that do not begin at 0, decrease, or do not end at the number of entries.
    #[error("row pointer {row} is {value}, expected {expected}")]
    RowPointer {
        /// The pointer's position.
        row: usize,
        /// Its value.
        value: u64,
        /// The value that was expected.
        expected: String,
    },
    /// Arrays whose lengths do not fit each other.
    #[error("array {array} has {found} elements, expected {expected}")]
    ArrayLength {
        /// The array's name.
        array: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },

    /// The first bytes are not those of a binary CSR file.
    #[error("not a farptr CSR file: the first eight bytes are not \"farptrCS\"")]
    NotCsrFile,
    /// A binary CSR file of another format version.
    #[error("CSR file version {found}, this program reads version {expected}")]
    Version {
        /// The file's version.
        found: u32,
        /// The version read here.
        expected: u32,
    },
    /// A binary CSR file from a machine of the other byte order.
    #[error("written on a machine of the other byte order")]
    ByteOrder,
    /// A binary CSR file of another length than its header implies.
    #[error("{found} bytes long, but the header implies {expected}")]
    FileLength {
        /// The length in bytes.
        found: u64,
        /// The length in bytes that the header implies.
        expected: u64,
    },
    /// A binary CSR file whose arrays are no valid matrix.
    #[error("{detail}")]
    Corrupt {
        /// The fault.
        detail: String,
    },
    /// Another process holds the file for writing.
    #[error("locked by another process")]
    Locked,

    /// A graph without an edge.
    #[error("the graph is empty: {vertices} vertices and no edges")]
    EmptyGraph {
        /// Number of vertices.
        vertices: usize,
    },
    /// A line of an edge list that is not two vertex ids.
    #[error("\"{text}\" is not an edge of the form \"from to\"")]
    Edge {
        /// The line, shortened.
        text: String,
    },
    /// A Matrix Market banner after the first edge of an edge list.
    #[error("a Matrix Market banner inside an edge list")]
    BannerInside,
    /// An edge list that begins with what looks like the size line of a Matrix Market file.
    #[error("\"{text}\" reads like the size line of a Matrix Market file without its banner")]
    NoBanner {
        /// The line, shortened.
        text: String,
    },
    /// An edge list whose edges join two sets of vertices, which are numbered alike.
    #[error("bipartite, as \"{text}\" says: the same id names a vertex of either side")]
    Bipartite {
        /// The comment, shortened.
        text: String,
    },
    /// A stanza of a package list that does not parse.
    #[error("not a package list: {detail}")]
    Stanza {
        /// The parser's message.
        detail: String,
    },
    /// A package list without a package.
    #[error("no package in it")]
    NoPackage,
}

impl Problem {
    /// Says what to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Empty | Self::NoSizeLine | Self::TooFewEntries { .. } | Self::Damaged { .. } => {
                "fetch or write the file again"
            }
            Self::Compression { .. } => "decompress it first (plain, gzip and lz4 are read)",
            Self::NotMatrixMarket => "give a .mtx file in Matrix Market coordinate format",
            Self::Kind { .. } => {
                "convert it to coordinate format, real, integer or pattern, \
                 general, symmetric or skew-symmetric"
            }
            Self::SizeLine { .. } => "write it as \"rows columns entries\"",
            Self::TooManyEntries { .. } => "correct the count on the size line",
            Self::Entry { .. } | Self::NotWhole { .. } | Self::NotNumber { .. } => {
                "correct the line"
            }
            Self::Syntax { .. } => "correct the line",
            Self::NotFinite { .. } => "replace or remove the value",
            Self::ZeroIndex { .. } => "add 1 to every index",
            Self::OutOfRange { .. } => "correct the index or the size line",
            Self::AboveDiagonal { .. } => "list only the lower triangle, or declare it general",
            Self::OnDiagonal { .. } => "remove the entry, or declare the file general",
            Self::NotSquare { .. } => "give a square matrix",
            Self::NoEntries { .. } => "give a matrix with at least one entry",
            Self::TooLarge { .. } => "give a smaller input",
            Self::Implausible { .. } => "correct the size line",
            Self::RowPointer { .. } | Self::ArrayLength { .. } => "build the arrays again",
            Self::Corrupt { .. } | Self::FileLength { .. } => "the file is damaged, write it again",
            Self::NotCsrFile => "give a file that a farptr sample saved",
            Self::Version { .. } | Self::ByteOrder => "write it again with this program, here",
            Self::Locked => "wait until the other process has finished",
            Self::EmptyGraph { .. } => "give a graph with at least one edge",
            Self::Edge { .. } => "write two whole numbers a line, comments after # or %",
            Self::BannerInside => "give one file a graph, with the banner in its first line",
            Self::NoBanner { .. } => {
                "write \"%%MatrixMarket matrix coordinate pattern general\", or what it is, before \
                 it; if it is an edge, move it behind another"
            }
            Self::Bipartite { .. } => {
                "add a number to the ids of one column, and remove the comment"
            }
            Self::Stanza { .. } | Self::NoPackage => "run \"apt-get update\" to fetch it again",
        }
    }
}
