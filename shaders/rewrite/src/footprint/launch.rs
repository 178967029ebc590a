//! A launch as the host knows it before it runs, and what an evaluation has looked at.

/// The arguments and the grid of a launch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Launch<'l> {
    pub(super) push: &'l [u8],
    pub(super) groups: [u32; 3],
    pub(super) local_size: [u32; 3],
    /// The invocations that are looked at.
    pub(super) part: Part,
}

/// The first so many invocations along each axis of a grid.
pub(super) type Counts = [u64; 3];

/// A part of the invocations of a grid: along each axis the first place and the end, of workgroups
/// and of invocations in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) groups: [(u32, u32); 3],
    pub(super) locals: [(u32, u32); 3],
}

impl Part {
    /// All invocations.
    pub(super) fn of_grid(groups: [u32; 3], local_size: [u32; 3]) -> Self {
        let from_first = |end: u32| (0, end);
        Self { groups: groups.map(from_first), locals: local_size.map(from_first) }
    }
}

/// The words of the push constants that were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WordsRead(Vec<bool>);

impl WordsRead {
    /// Reads a number, and notes its words. `None` beyond the end.
    pub(super) fn read(&mut self, push: &[u8], at: u32, width: u8) -> Option<u64> {
        let (at, bytes) = (at as usize, usize::from(width.div_ceil(8)));
        let end = at.checked_add(bytes)?;
        let found = push.get(at..end)?;
        let words = end.div_ceil(4);
        if self.0.len() < words {
            self.0.resize(words, false);
        }
        self.0[at / 4..words].fill(true);
        let mut number = [0; 8];
        number.get_mut(..bytes)?.copy_from_slice(found);
        Some(u64::from_le_bytes(number))
    }

    /// The positions of the words.
    pub(super) fn words(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().filter(|(_, read)| **read).map(|(at, _)| at)
    }
}
