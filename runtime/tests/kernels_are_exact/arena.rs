//! The memory of a case: lends close to each other, so that they share pages, with canaries around.

use crate::case::{Arg, Buffer, Image};
use memmap2::MmapMut;
use std::ops::Range;

/// Bytes between two lends, at least.
const GAP: usize = 48;
/// The value of every byte outside the lends.
const CANARY: u8 = 0xc5;
const PAGE: usize = 4096;

/// Memory that stays at its addresses for all runs of a case, so that runs whose results hold
/// addresses can be compared byte for byte.
pub(crate) struct Arena {
    memory: MmapMut,
    lends: Vec<Range<usize>>,
    writable: Vec<bool>,
    initial: Vec<u8>,
}

/// A lend's memory, borrowed as the case lends it.
pub(crate) enum Slice<'m> {
    Read(&'m [u8]),
    Write(&'m mut [u8]),
}

impl Arena {
    pub(crate) fn new(buffers: &[Buffer]) -> Self {
        // The first lend begins shortly before a page does, the others shortly after another's end.
        let mut next = PAGE - 32;
        let mut lends = Vec::new();
        for buffer in buffers {
            let start = next.next_multiple_of(16) + buffer.skew;
            next = start + buffer.bytes.len() + GAP;
            lends.push(start..start + buffer.bytes.len());
        }
        let bytes = next.next_multiple_of(PAGE);
        let memory = within_four_gib(bytes);
        let writable = buffers.iter().map(|buffer| buffer.writable).collect();
        let mut arena = Self { memory, lends, writable, initial: vec![CANARY; bytes] };
        for (index, buffer) in buffers.iter().enumerate() {
            let mut content = buffer.bytes.clone();
            for &(offset, to, target) in &buffer.links {
                let address = arena.address(to, target).to_le_bytes();
                content[offset..offset + 8].copy_from_slice(&address);
            }
            arena.initial[arena.lends[index].clone()].copy_from_slice(&content);
        }
        arena.reset();
        arena
    }

    pub(crate) fn address(&self, buffer: usize, offset: usize) -> u64 {
        let start = self.memory.as_ptr().addr() + self.lends[buffer].start;
        (start + offset) as u64
    }

    /// The push constants' bytes.
    pub(crate) fn push(&self, args: &[Arg]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for arg in args {
            match *arg {
                Arg::At { buffer, offset } => {
                    bytes.extend(self.address(buffer, offset).to_le_bytes());
                }
                Arg::Word(word) => bytes.extend(word.to_le_bytes()),
            }
        }
        bytes
    }

    /// Puts all bytes back to what they were before the first run.
    pub(crate) fn reset(&mut self) {
        self.memory.copy_from_slice(&self.initial);
    }

    /// The lends, each to be lent on its own.
    pub(crate) fn slices(&mut self) -> Vec<Slice<'_>> {
        let mut slices = Vec::new();
        let mut rest: &mut [u8] = &mut self.memory;
        let mut taken = 0;
        for (lend, &writable) in self.lends.iter().zip(&self.writable) {
            let (_, from) = rest.split_at_mut(lend.start - taken);
            let (slice, after) = from.split_at_mut(lend.len());
            (rest, taken) = (after, lend.end);
            slices.push(if writable { Slice::Write(slice) } else { Slice::Read(slice) });
        }
        slices
    }

    /// The lends' bytes now.
    pub(crate) fn image(&self) -> Image {
        let buffers = self.lends.iter().map(|lend| self.memory[lend.clone()].to_vec()).collect();
        let starts = (0..self.lends.len()).map(|lend| self.address(lend, 0)).collect();
        Image { buffers, starts }
    }

    /// The lends' bytes before the first run.
    pub(crate) fn initial(&self) -> Image {
        let buffers = self.lends.iter().map(|lend| self.initial[lend.clone()].to_vec()).collect();
        Image { buffers, ..self.image() }
    }

    /// Whether every byte outside the lends is as it was.
    pub(crate) fn canaries_live(&self) -> bool {
        let mut next = 0;
        let mut live = true;
        for lend in &self.lends {
            live &= self.memory[next..lend.start].iter().all(|&byte| byte == CANARY);
            next = lend.end;
        }
        live && self.memory[next..].iter().all(|&byte| byte == CANARY)
    }
}

/// Fresh memory whose addresses differ in the low word alone, so that a kernel can do without
/// carries.
fn within_four_gib(bytes: usize) -> MmapMut {
    let mut refused = Vec::new();
    loop {
        let memory = MmapMut::map_anon(bytes).expect("memory for a case");
        let first = memory.as_ptr().addr();
        if first >> 32 == (first + bytes) >> 32 {
            return memory;
        }
        refused.push(memory);
    }
}
