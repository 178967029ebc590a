//! Input files: whole texts, plain or compressed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::error::{Problem, SampleError};

/// Reads a text file, decompressing gzip and lz4 frames by their first bytes. Bytes that are not
/// UTF-8 (a comment in Latin-1, say) become replacement characters.
///
/// # Errors
/// - [`SampleError::Read`] when the file cannot be opened or read
/// - [`SampleError::Bad`] when it is empty, damaged, or compressed in another way
pub fn read_text(path: &Path) -> Result<String, SampleError> {
    let name = path.display();
    let raw = read_all(path).map_err(|source| SampleError::read(path, source))?;
    let bytes = decompress(raw).map_err(|problem| problem.in_input(name))?;
    if bytes.is_empty() {
        return Err(Problem::Empty.in_input(path.display()));
    }
    Ok(text_of(bytes))
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
        [0x1f, 0x8b, ..] => inflate("gzip", flate2::read::MultiGzDecoder::new(raw.as_slice())),
        [0x04, 0x22, 0x4d, 0x18, ..] => lz4_frames(&raw),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(Problem::Compression { kind: "xz" }),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(Problem::Compression { kind: "zstd" }),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err(Problem::Compression { kind: "bzip2" }),
        _ => Ok(raw),
    }
}

/// Reads one lz4 frame. The decoder takes an end between two blocks for the end of the frame, so
/// the end mark, four zero bytes before the optional checksum, is looked for here.
fn lz4_frames(raw: &[u8]) -> Result<Vec<u8>, Problem> {
    const CONTENT_CHECKSUM: u8 = 1 << 2;
    let tail = if raw.get(4).is_some_and(|flags| flags & CONTENT_CHECKSUM != 0) { 8 } else { 4 };
    let mark = raw.len().checked_sub(tail).and_then(|at| raw.get(at..at + 4));
    if mark != Some(&[0; 4]) {
        return Err(Problem::Damaged { kind: "lz4", detail: "no end mark".into() });
    }
    inflate("lz4", lz4_flex::frame::FrameDecoder::new(raw))
}

fn inflate(kind: &'static str, mut reader: impl Read) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    match reader.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Problem::Damaged { kind, detail: error.to_string() }),
    }
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
