//! A module's words as instructions.

use crate::reflect::error::ReflectError;
use spirv::Op;

/// The number of words before the first instruction (SPIR-V specification, section 2.3).
pub(crate) const HEADER_WORDS: usize = 5;

/// One instruction of a module.
#[derive(Clone, Copy)]
pub(crate) struct Instruction<'w> {
    pub(crate) word: usize,
    pub(crate) op: Option<Op>,
    pub(crate) operands: &'w [u32],
}

impl Instruction<'_> {
    pub(crate) fn operand(&self, index: usize) -> Result<u32, ReflectError> {
        self.operands.get(index).copied().ok_or(ReflectError::Damaged { word: self.word })
    }

    /// The string that begins at an operand, and the operands behind it (section 2.2.1: UTF-8,
    /// little endian, zero ended).
    pub(crate) fn string(&self, from: usize) -> Result<(String, &[u32]), ReflectError> {
        let damaged = ReflectError::Damaged { word: self.word };
        let words = self.operands.get(from..).unwrap_or_default();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let end = bytes.iter().position(|&byte| byte == 0).ok_or(damaged.clone())?;
        let text = String::from_utf8(bytes[..end].to_vec()).map_err(|_| damaged)?;
        Ok((text, &words[end / size_of::<u32>() + 1..]))
    }
}

/// Splits a module into its instructions.
pub(crate) fn instructions(
    words: &[u32],
) -> Result<impl Iterator<Item = Result<Instruction<'_>, ReflectError>>, ReflectError> {
    if words.first() != Some(&spirv::MAGIC_NUMBER) {
        return Err(ReflectError::NotSpirv);
    }
    let mut word = HEADER_WORDS;
    Ok(std::iter::from_fn(move || {
        let &first = words.get(word)?;
        let here = word;
        let length = (first >> 16) as usize;
        match words.get(here + 1..here + length) {
            Some(operands) if length > 0 => {
                word += length;
                Some(Ok(Instruction { word: here, op: Op::from_u32(first & 0xffff), operands }))
            }
            _ => {
                word = words.len();
                Some(Err(ReflectError::Damaged { word: here }))
            }
        }
    }))
}

/// The version in a module's header (section 2.3: the second word, from the upper bytes down).
pub(crate) fn version(words: &[u32]) -> (u8, u8) {
    let [_, major, minor, _] = words.get(1).copied().unwrap_or_default().to_be_bytes();
    (major, minor)
}
