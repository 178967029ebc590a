//! Compressed bytes: gzip and lz4, as their own tools read them.
//!
//! Both formats may hold several parts one after the other, members in gzip and frames in lz4, and
//! the content is that of all parts. Bytes behind the last part that begin no other part are
//! damage, and an error; only zeroes behind a gzip member are padding, as gzip itself takes them.

use std::io::Read;

use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder;

use crate::error::Problem;

/// Decompresses every member.
pub(super) fn gzip(raw: &[u8]) -> Result<Vec<u8>, Problem> {
    let damaged = |detail: String| Problem::Damaged { kind: "gzip", detail };
    let (mut bytes, mut rest) = (Vec::new(), raw);
    loop {
        let mut member = GzDecoder::new(rest);
        member.read_to_end(&mut bytes).map_err(|error| damaged(error.to_string()))?;
        rest = member.into_inner();
        let padding = rest.iter().take_while(|&&byte| byte == 0).count();
        rest = &rest[padding..];
        if rest.is_empty() {
            return Ok(bytes);
        }
        if !rest.starts_with(&[0x1f, 0x8b]) {
            return Err(damaged(behind(rest)));
        }
    }
}

fn behind(rest: &[u8]) -> String {
    format!("{} bytes of something else behind it", rest.len())
}

const FRAME: u32 = 0x184d_2204;
const LEGACY_FRAME: u32 = 0x184c_2102;
/// The first of the sixteen magic numbers of frames whose content is to be skipped.
const SKIPPABLE_FRAME: u32 = 0x184d_2a50;
const SKIPPABLE_KINDS: u32 = 0xf;

/// The most bytes of a block of a legacy frame: those of 8 MiB that cannot be compressed.
const LEGACY_BLOCK_LIMIT: usize = (8 << 20) + (8 << 20) / 255 + 16;

/// Whether bytes are lz4 frames. Frames to be skipped exist in zstd too, so the frame after them
/// decides.
pub(super) fn begins_lz4(bytes: &[u8]) -> bool {
    let rest = after_skippable(bytes);
    let skipped = rest.len() < bytes.len();
    matches!(number(rest, 0), Some(FRAME | LEGACY_FRAME)) || skipped && other_kind(rest).is_none()
}

/// The name of the compression with whose mark the bytes begin, if it is one that this program does
/// not read.
pub(super) fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    match after_skippable(bytes) {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("xz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some("bzip2"),
        [b'P', b'K', 3, 4, ..] => Some("zip"),
        [0x1f, 0x9d, ..] => Some("compress"),
        _ => None,
    }
}

fn is_skippable(magic: u32) -> bool {
    magic & !SKIPPABLE_KINDS == SKIPPABLE_FRAME
}

/// The bytes behind the frames that are skipped.
fn after_skippable(mut bytes: &[u8]) -> &[u8] {
    while number(bytes, 0).is_some_and(is_skippable) {
        bytes = bytes.get(skippable_length(bytes)..).unwrap_or_default();
    }
    bytes
}

/// Decompresses every frame.
///
/// `lz4_flex` stops at the end of a frame, at an empty block, and where the file ends between two
/// blocks, and does not distinguish the three. So this function computes the end of each frame from
/// the lengths that its parts declare, and the library has to read to that end.
pub(super) fn lz4(raw: &[u8]) -> Result<Vec<u8>, Problem> {
    let damaged = |detail: String| Problem::Damaged { kind: "lz4", detail };
    let cut = || damaged("no end mark".into());
    let (mut bytes, mut rest) = (Vec::new(), raw);
    while !rest.is_empty() {
        let magic = number(rest, 0);
        let length = match magic {
            Some(FRAME) => frame_length(rest),
            Some(LEGACY_FRAME) => legacy_length(rest),
            Some(magic) if is_skippable(magic) => Some(skippable_length(rest)),
            _ => return Err(damaged(behind(rest))),
        };
        let frame = length.and_then(|length| rest.get(..length)).ok_or_else(cut)?;
        rest = &rest[frame.len()..];
        if !magic.is_some_and(is_skippable) {
            decode(frame, &mut bytes).map_err(damaged)?;
        }
    }
    Ok(bytes)
}

/// Decodes one frame, to its last byte.
fn decode(frame: &[u8], bytes: &mut Vec<u8>) -> Result<(), String> {
    let mut decoder = FrameDecoder::new(frame);
    while !decoder.get_ref().is_empty() {
        let before = decoder.get_ref().len();
        decoder.read_to_end(bytes).map_err(|error| error.to_string())?;
        if decoder.get_ref().len() == before {
            return Err(format!("{before} bytes of a frame are not its content"));
        }
    }
    Ok(())
}

/// The 32-bit number at a position.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().ok().map(u32::from_le_bytes)
}

/// The length that a frame with skipped content declares, which may be more than the file has.
fn skippable_length(frame: &[u8]) -> usize {
    number(frame, 4).map_or(usize::MAX, |length| 8 + length as usize)
}

/// The length of a frame: a header, blocks with their lengths, the length zero, a checksum. `None`
/// where it is cut short.
fn frame_length(frame: &[u8]) -> Option<usize> {
    const BLOCK_CHECKSUMS: u8 = 1 << 4;
    const CONTENT_SIZE: u8 = 1 << 3;
    const CONTENT_CHECKSUM: u8 = 1 << 2;
    const DICTIONARY: u8 = 1;
    const NOT_COMPRESSED: u32 = 1 << 31;

    let flags = *frame.get(4)?;
    let with = |flag: u8, bytes: usize| if flags & flag == 0 { 0 } else { bytes };
    let mut at = 7 + with(CONTENT_SIZE, 8) + with(DICTIONARY, 4);
    loop {
        let block = number(frame, at)?;
        at += 4;
        if block == 0 {
            return Some(at + with(CONTENT_CHECKSUM, 4));
        }
        at += (block & !NOT_COMPRESSED) as usize + with(BLOCK_CHECKSUMS, 4);
    }
}

/// The length of a frame of the old kind, which has no end mark: blocks up to the end of the file,
/// or up to a length that is too large for a block: that number is the beginning of another frame.
fn legacy_length(frame: &[u8]) -> Option<usize> {
    let mut at = 4;
    while at < frame.len() {
        let block = number(frame, at)? as usize;
        if block > LEGACY_BLOCK_LIMIT {
            break;
        }
        at += 4 + block;
    }
    Some(at)
}
