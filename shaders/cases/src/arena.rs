//! Host memory with the lends of a case.

use crate::case::{Arg, Buffer, Image};
use crate::layout::Layout;
use memmap2::MmapMut;

/// Memory that stays at its addresses for all runs of a case, so that runs whose results hold
/// addresses can be compared byte for byte.
#[derive(Debug)]
pub struct Arena {
    memory: MmapMut,
    layout: Layout,
    writable: Vec<bool>,
    initial: Vec<u8>,
}

/// A lend's memory, borrowed as the case lends it.
#[derive(Debug)]
pub enum Slice<'m> {
    /// For reading alone.
    Read(&'m [u8]),
    /// For writing, too.
    Write(&'m mut [u8]),
}

impl Arena {
    /// Memory for these lends, with their bytes.
    ///
    /// # Panics
    ///
    /// If there is no memory.
    #[must_use]
    pub fn new(buffers: &[Buffer]) -> Self {
        let layout = Layout::of(buffers);
        let memory = within_four_gib(layout.bytes());
        let initial = layout.content(memory.as_ptr().addr() as u64, buffers);
        let writable = buffers.iter().map(|buffer| buffer.writable).collect();
        let mut arena = Self { memory, layout, writable, initial };
        arena.reset();
        arena
    }

    fn base(&self) -> u64 {
        self.memory.as_ptr().addr() as u64
    }

    /// The push constants' bytes.
    #[must_use]
    pub fn push(&self, args: &[Arg]) -> Vec<u8> {
        self.layout.push(self.base(), args)
    }

    /// Puts all bytes back to what they were before the first run.
    pub fn reset(&mut self) {
        self.memory.copy_from_slice(&self.initial);
    }

    /// The lends, each to be lent on its own.
    pub fn slices(&mut self) -> Vec<Slice<'_>> {
        let mut slices = Vec::new();
        let mut rest: &mut [u8] = &mut self.memory;
        let mut taken = 0;
        for (lend, &writable) in self.layout.lends().iter().zip(&self.writable) {
            let (_, from) = rest.split_at_mut(lend.start - taken);
            let (slice, after) = from.split_at_mut(lend.len());
            (rest, taken) = (after, lend.end);
            slices.push(if writable { Slice::Write(slice) } else { Slice::Read(slice) });
        }
        slices
    }

    /// The lends' bytes now.
    #[must_use]
    pub fn image(&self) -> Image {
        self.layout.image(self.base(), &self.memory)
    }

    /// The lends' bytes before the first run.
    #[must_use]
    pub fn initial(&self) -> Image {
        self.layout.image(self.base(), &self.initial)
    }

    /// Whether every byte outside the lends is as it was.
    #[must_use]
    pub fn canaries_live(&self) -> bool {
        self.layout.canaries_live(&self.memory)
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
