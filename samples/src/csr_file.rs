//! A binary CSR file that is mapped and used in place.
//!
//! A header of 64 bytes, then the arrays of [`Csr`](crate::csr::Csr) one after the other, all in
//! the byte order of the machine that wrote them:
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `farptrCS` |
//! | 8..12 | the number 0x01020304, which shows the byte order |
//! | 12..16 | format version, 1 |
//! | 16..40 | rows, columns, entries, 64 bits each |
//! | 40..64 | zero |
//! | 64.. | `row_ptr`, `col`, `val`, 32 bits an element, without gaps |
//!
//! # Safety
//! [`Mmap::map`] asks that no process truncates or changes the file while it is mapped: a truncated
//! file ends the process with SIGBUS, a changed one would break what [`CsrFile::map`] validated.
//! Two parties keep this up. [`save`] never writes into a file that is there, it writes another one
//! and renames it, so a mapping keeps the old content. A [`CsrFile`] also holds a shared lock on
//! its file for as long as it maps it; a program that changes such files in place has to take the
//! exclusive lock first. A program that does neither breaks the contract, and no reader of mapped
//! files can prevent that: map only files whose writers are known.
#![allow(unsafe_code, reason = "mapping a file is a promise about other processes")]

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;

use crate::csr::CsrView;
use crate::error::{Problem, SampleError};

pub(crate) const MAGIC: [u8; 8] = *b"farptrCS";
const VERSION: u32 = 1;
const BYTE_ORDER: u32 = 0x0102_0304;
const HEADER_BYTES: usize = size_of::<Header>();

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    byte_order: u32,
    version: u32,
    rows: u64,
    cols: u64,
    entries: u64,
    zero: [u64; 3],
}

const _: () = assert!(HEADER_BYTES == 64);

/// A matrix in a mapped file.
#[derive(Debug)]
pub struct CsrFile {
    /// Invariant: holds a valid matrix of the size in `header`, see [`CsrFile::map`].
    map: Mmap,
    header: Header,
    /// Holds the shared lock.
    _file: File,
}

/// Writes a matrix, replacing a file of that name in one step.
///
/// # Errors
/// [`SampleError::Write`] when the directory or the disk refuses.
pub fn save(path: &Path, matrix: CsrView<'_>) -> Result<(), SampleError> {
    let draft = draft_path(path);
    let written = write(&draft, matrix).and_then(|()| fs::rename(&draft, path));
    written.map_err(|source| {
        // The draft may not even exist; what went wrong first is the error to report.
        let _ = fs::remove_file(&draft);
        SampleError::write(path, source)
    })
}

impl CsrFile {
    /// Maps a file and checks that it holds a valid matrix.
    ///
    /// # Errors
    /// - [`SampleError::Read`] when the file cannot be opened or mapped
    /// - [`SampleError::Bad`] when it is locked, of another format, version or byte order, of the
    ///   wrong length, or its arrays are no valid matrix
    pub fn map(path: &Path) -> Result<Self, SampleError> {
        let unreadable = |source| SampleError::read(path, source);
        let bad = |problem: Problem| problem.in_input(path.display());
        let file = File::open(path).map_err(unreadable)?;
        lock(&file).map_err(unreadable)?.map_err(bad)?;
        let length = file.metadata().map_err(unreadable)?.len();
        if length == 0 {
            return Err(bad(Problem::Empty));
        }
        // SAFETY: the module's contract; the shared lock taken above is held in `_file` for as
        // long as the mapping lives.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let header = parse_header(&map).map_err(bad)?;
        let mapped = Self { map, header, _file: file };
        let valid = mapped.view().validate();
        valid.map_err(|problem| bad(Problem::Corrupt { detail: problem.to_string() }))?;
        Ok(mapped)
    }

    /// The matrix, in the mapping.
    #[must_use]
    pub fn view(&self) -> CsrView<'_> {
        view_of(&self.map, &self.header)
    }
}

fn draft_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.draft", std::process::id()));
    path.with_file_name(name)
}

fn write(path: &Path, matrix: CsrView<'_>) -> io::Result<()> {
    let header = Header {
        magic: MAGIC,
        byte_order: BYTE_ORDER,
        version: VERSION,
        rows: matrix.rows as u64,
        cols: matrix.cols as u64,
        entries: matrix.entries() as u64,
        zero: [0; 3],
    };
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(bytemuck::bytes_of(&header))?;
    out.write_all(bytemuck::cast_slice(matrix.row_ptr))?;
    out.write_all(bytemuck::cast_slice(matrix.col))?;
    out.write_all(bytemuck::cast_slice(matrix.val))?;
    out.into_inner()?.sync_all()
}

/// Takes the shared lock. A file on a file system without locks is accepted.
fn lock(file: &File) -> io::Result<Result<(), Problem>> {
    match file.try_lock_shared() {
        Ok(()) => Ok(Ok(())),
        Err(TryLockError::WouldBlock) => Ok(Err(Problem::Locked)),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Ok(())),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn parse_header(bytes: &[u8]) -> Result<Header, Problem> {
    if !bytes.starts_with(&MAGIC) {
        return Err(Problem::NotCsrFile);
    }
    let found = bytes.len() as u64;
    let expected = HEADER_BYTES as u64;
    let head = bytes.get(..HEADER_BYTES).ok_or(Problem::FileLength { found, expected })?;
    let header: Header = bytemuck::pod_read_unaligned(head);
    if header.byte_order == BYTE_ORDER.swap_bytes() {
        return Err(Problem::ByteOrder);
    }
    if header.byte_order != BYTE_ORDER {
        return Err(Problem::NotCsrFile);
    }
    if header.version != VERSION {
        return Err(Problem::Version { found: header.version, expected: VERSION });
    }
    check_sizes(&header)?;
    let expected = length_of(&header);
    if found == expected { Ok(header) } else { Err(Problem::FileLength { found, expected }) }
}

fn check_sizes(header: &Header) -> Result<(), Problem> {
    let limit = u64::from(u32::MAX);
    let Header { rows, cols, entries, .. } = *header;
    for (what, count) in [("rows", rows), ("columns", cols), ("entries", entries)] {
        if count > limit {
            return Err(Problem::TooLarge { what, count, limit });
        }
    }
    Ok(())
}

/// The length of the file; no sum overflows, since every count was checked against 32 bits.
fn length_of(header: &Header) -> u64 {
    HEADER_BYTES as u64 + 4 * (header.rows + 1 + 2 * header.entries)
}

fn view_of<'a>(bytes: &'a [u8], header: &Header) -> CsrView<'a> {
    let size = |count: u64| usize::try_from(count).expect("checked against 32 bits");
    let (rows, cols, entries) = (size(header.rows), size(header.cols), size(header.entries));
    // The mapping begins at a page and the header is a multiple of four bytes.
    let words: &[u32] = bytemuck::cast_slice(&bytes[HEADER_BYTES..]);
    let (row_ptr, rest) = words.split_at(rows + 1);
    let (col, val) = rest.split_at(entries);
    CsrView { rows, cols, row_ptr, col, val: bytemuck::cast_slice(val) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csr::Csr;
    use proptest::prelude::*;
    use tempfile::{TempDir, tempdir};

    fn sample() -> Csr {
        Csr::from_triplets(3, 4, vec![(0, 1, 1.5), (2, 3, -2.0), (2, 0, 0.5)]).unwrap()
    }

    fn saved() -> (TempDir, PathBuf) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("m.csr");
        save(&path, sample().view()).unwrap();
        (dir, path)
    }

    #[test]
    fn what_is_saved_is_mapped() {
        let (dir, path) = saved();
        let mapped = CsrFile::map(&path).unwrap();
        assert_eq!(mapped.view(), sample().view());
        assert_eq!(mapped.view().row_ptr.as_ptr().addr() % 8, 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_mapping_outlives_a_new_file_of_its_name() {
        let (_dir, path) = saved();
        let old = CsrFile::map(&path).unwrap();
        let other = Csr::from_triplets(1, 1, vec![(0, 0, 9.0)]).unwrap();
        save(&path, other.view()).unwrap();
        assert_eq!(old.view(), sample().view());
        assert_eq!(CsrFile::map(&path).unwrap().view(), other.view());
    }

    #[test]
    fn a_file_held_by_a_writer_is_refused() {
        let (_dir, path) = saved();
        let writer = File::options().write(true).open(&path).unwrap();
        writer.lock().unwrap();
        let error = CsrFile::map(&path).unwrap_err();
        assert!(error.one_line().contains("locked by another process"), "{error}");
        writer.unlock().unwrap();
        let _reader = CsrFile::map(&path).unwrap();
        assert!(matches!(writer.try_lock(), Err(TryLockError::WouldBlock)));
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(
            changes in prop::collection::vec((0usize..112, any::<u8>()), 0..4),
            length in 0usize..120
        ) {
            let (_dir, path) = saved();
            let mut bytes = fs::read(&path).unwrap();
            for (at, byte) in changes {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
            }
            bytes.resize(length, 0);
            fs::write(&path, bytes).unwrap();
            match CsrFile::map(&path) {
                Ok(mapped) => prop_assert!(mapped.view().validate().is_ok()),
                Err(error) => prop_assert!(error.one_line().contains("m.csr: ")),
            }
        }
    }
}
