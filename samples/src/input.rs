//! Input files: whole texts, plain or compressed.

mod compressed;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Problem, SampleError};

/// Reads a text file, decompressing gzip and lz4 by their first bytes. Bytes that are not UTF-8 (a
/// comment in Latin-1, say) become replacement characters; a byte order mark and a last Ctrl-Z are
/// left out, and every line ends in a line feed.
///
/// # Errors
/// - [`SampleError::Read`] when the file cannot be opened or read
/// - [`SampleError::Bad`] when it is empty, damaged, or compressed in another way
pub fn read_text(path: &Path) -> Result<String, SampleError> {
    let name = path.display();
    let raw = read_all(path).map_err(|source| SampleError::read(path, source))?;
    let bytes = decompress(raw).map_err(|problem| problem.in_input(name))?;
    let text = text_of(bytes);
    let plain = plain(&text);
    if plain.is_empty() {
        return Err(Problem::Empty.in_input(path.display()));
    }
    match plain {
        Cow::Borrowed(same) if same.len() == text.len() => Ok(text),
        changed => Ok(changed.into_owned()),
    }
}

/// Whether a file begins with these bytes; a shorter file does not.
///
/// # Errors
/// [`SampleError::Read`] when the file cannot be opened or read.
pub fn begins_with(path: &Path, bytes: &[u8]) -> Result<bool, SampleError> {
    let file = File::open(path).map_err(|source| SampleError::read(path, source))?;
    let mut first = Vec::new();
    let read = file.take(bytes.len() as u64).read_to_end(&mut first);
    read.map(|_| first == bytes).map_err(|source| SampleError::read(path, source))
}

fn read_all(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn decompress(raw: Vec<u8>) -> Result<Vec<u8>, Problem> {
    match raw.as_slice() {
        [0x1f, 0x8b, ..] => compressed::gzip(&raw),
        bytes if compressed::begins_lz4(bytes) => compressed::lz4(bytes),
        bytes => match compressed::other_kind(bytes) {
            Some(kind) => Err(Problem::Compression { kind }),
            None => Ok(raw),
        },
    }
}

/// The text that readers go through: without a byte order mark, and without the mark of its end
/// that some old systems write (Ctrl-Z), with lines that end in a line feed alone.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = without_tail(text, &['\u{1a}']);
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A text up to the first of the marks at its end. White space between and behind the marks is left
/// out too.
pub(crate) fn without_tail<'a>(text: &'a str, marks: &[char]) -> &'a str {
    let is_tail = |c: char| c.is_ascii_whitespace() || marks.contains(&c);
    let content = text.trim_end_matches(is_tail).len();
    text[content..].find(marks).map_or(text, |at| &text[..content + at])
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn lz4(text: &[u8]) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_and_plain_texts_read_alike() {
        let text = b"1 2\n2 3\n".repeat(10_000);
        for raw in [text.clone(), gzip(&text), lz4(&text)] {
            assert_eq!(decompress(raw).unwrap(), text);
        }
    }

    #[test]
    fn every_cut_of_a_compressed_text_is_noticed() {
        let text: Vec<u8> = (0..40_000u32).flat_map(|i| i.to_string().into_bytes()).collect();
        for whole in [gzip(&text), lz4(&text)] {
            for cut in (8..whole.len()).step_by(97) {
                assert!(decompress(whole[..cut].to_vec()).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn other_compressions_are_named() {
        let problem = decompress(b"\xfd7zXZ\0rest".to_vec()).unwrap_err();
        assert_eq!(problem, Problem::Compression { kind: "xz" });
    }

    #[test]
    fn marks_and_line_ends_of_other_systems_are_no_text() {
        assert_eq!(plain("\u{feff}1 2\r\n"), "1 2\n");
        assert_eq!(plain("1 2\n\u{1a}"), "1 2\n");
        assert_eq!(plain("1 2\r\n\u{1a}\r\n\u{1a}\n"), "1 2\n");
        assert_eq!(plain("1\u{1a} 2\n\n"), "1\u{1a} 2\n\n");
        assert_eq!(plain("é 1\r2 3\r\n4\r"), "é 1\n2 3\n4\n");
        assert!(matches!(plain("1 2\n"), Cow::Borrowed("1 2\n")));
    }

    #[test]
    fn latin_1_becomes_replacement_characters() {
        assert_eq!(text_of(b"caf\xe9".to_vec()), "caf\u{fffd}");
    }

    proptest! {
        #[test]
        fn damaged_compressed_texts_never_panic(
            changes in prop::collection::vec((0usize..4000, any::<u8>()), 1..4)
        ) {
            let text: Vec<u8> = (0..3000u32).flat_map(|i| i.to_string().into_bytes()).collect();
            for mut raw in [gzip(&text), lz4(&text)] {
                for &(at, byte) in &changes {
                    let at = at % raw.len();
                    raw[at] = byte;
                }
                let _ = decompress(raw);
            }
        }
    }
}
