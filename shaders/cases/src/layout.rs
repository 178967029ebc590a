//! The places of a case's lends: close to each other, so that they share pages, with canaries
//! around. The user chooses the address of the first byte.

use crate::case::{Arg, Buffer, Image};
use std::ops::Range;

/// Bytes between two lends, at least.
const GAP: usize = 48;
/// The value of every byte outside the lends.
const CANARY: u8 = 0xc5;
/// The length is a multiple of it, and the first byte lies at a multiple.
pub const PAGE: usize = 4096;

/// The places of lends, from the first byte of a memory on.
#[derive(Clone, Debug)]
pub struct Layout {
    lends: Vec<Range<usize>>,
    bytes: usize,
}

impl Layout {
    /// Places lends.
    #[must_use]
    pub fn of(buffers: &[Buffer]) -> Self {
        // The first lend begins shortly before a page does, the others shortly after another's end.
        let mut next = PAGE - 32;
        let mut lends = Vec::new();
        for buffer in buffers {
            let start = next.next_multiple_of(16) + buffer.skew;
            next = start + buffer.bytes.len() + GAP;
            lends.push(start..start + buffer.bytes.len());
        }
        Self { lends, bytes: next.next_multiple_of(PAGE) }
    }

    /// The length of the memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The lends' bytes, from the first of the memory on.
    #[must_use]
    pub fn lends(&self) -> &[Range<usize>] {
        &self.lends
    }

    /// The address of a byte of a lend, where the memory is at `base`.
    #[must_use]
    pub fn address(&self, base: u64, buffer: usize, offset: usize) -> u64 {
        base + (self.lends[buffer].start + offset) as u64
    }

    /// The push constants' bytes, where the memory is at `base`.
    #[must_use]
    pub fn push(&self, base: u64, args: &[Arg]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for arg in args {
            match *arg {
                Arg::At { buffer, offset } => {
                    bytes.extend(self.address(base, buffer, offset).to_le_bytes());
                }
                Arg::Word(word) => bytes.extend(word.to_le_bytes()),
            }
        }
        bytes
    }

    /// All bytes before the launch, where the memory is at `base`.
    #[must_use]
    pub fn content(&self, base: u64, buffers: &[Buffer]) -> Vec<u8> {
        let mut all = vec![CANARY; self.bytes];
        for (lend, buffer) in self.lends.iter().zip(buffers) {
            let content = &mut all[lend.clone()];
            content.copy_from_slice(&buffer.bytes);
            for &(offset, to, target) in &buffer.links {
                let address = self.address(base, to, target).to_le_bytes();
                content[offset..offset + 8].copy_from_slice(&address);
            }
        }
        all
    }

    /// The lends' bytes in a memory at `base`.
    #[must_use]
    pub fn image(&self, base: u64, memory: &[u8]) -> Image {
        let buffers = self.lends.iter().map(|lend| memory[lend.clone()].to_vec()).collect();
        let starts = (0..self.lends.len()).map(|lend| self.address(base, lend, 0)).collect();
        Image { buffers, starts }
    }

    /// Whether every byte outside the lends is as it was.
    #[must_use]
    pub fn canaries_live(&self, memory: &[u8]) -> bool {
        let mut next = 0;
        let mut live = true;
        for lend in &self.lends {
            live &= memory[next..lend.start].iter().all(|&byte| byte == CANARY);
            next = lend.end;
        }
        live && memory[next..].iter().all(|&byte| byte == CANARY)
    }
}
