//! The choice of pages that are brought in beside those that a round missed.
//!
//! The aims are few rounds, and no copies of pages that the kernel does not read. So a round that
//! missed many scattered pages gets no extra ones, and the number of extra pages grows with the
//! number of rounds.

use super::{PAGE_BYTES, pages::Pages, report::Missing};
use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    ops::Range,
};

/// Pages of a block. If a round missed enough pages of a block, the rest are brought in too.
const BLOCK: usize = 64;
/// The number of pages that is enough. If 1 % of all pages are missed at random, the chance that so
/// many are in one block is below 10^-16.
const DENSE: usize = 16;
/// Rounds with faults before a range around each missed page is brought in.
const PATIENCE: u32 = 3;
/// Extra pages of such ranges in the first round that has them, and in any.
const AROUND: (usize, usize) = (64, 1024);
/// Pages of lends reached through pointers in the first round, and in any.
const FOLLOWED: (usize, usize) = (64, 4096);
/// The same for pages outside lends. They are fewer: each is compared before the commit.
const FOLLOWED_IN_PROCESS: (usize, usize) = (8, 1024);

/// Reads lent bytes at home, from an address on.
pub(super) type ReadHome<'h> = dyn FnMut(u64, &mut [u8]) + 'h;

/// The pages to bring in: by lend and page, whether for writing.
type Wanted = BTreeMap<(usize, usize), bool>;

/// Adds to the pages that were missed those that are likely to be missed next.
///
/// `round` is the number of rounds with faults that this launch had before. `read` is `None` if the
/// kernel follows no pointers from memory. All pages returned are lacking, and each is named once.
pub(super) fn widen(
    pages: &Pages,
    missed: &[Missing],
    round: u32,
    read: Option<&mut ReadHome<'_>>,
) -> Vec<Missing> {
    let mut wanted = Wanted::new();
    for &Missing { lend, page, write } in missed {
        want(&mut wanted, pages, lend, page, write);
    }
    let first: Vec<(usize, usize)> = wanted.keys().copied().collect();
    add_dense(&mut wanted, pages, &first);
    add_around(&mut wanted, pages, &first, round);
    if let Some(read) = read {
        let most = doubled(FOLLOWED, round);
        let objects =
            first.iter().take(most).map(|&(lend, page)| pages.lends()[lend].lent_bytes(page));
        let Ok(_) = follow(&mut InLends { wanted: &mut wanted, pages, read }, objects, most);
    }
    wanted.into_iter().map(|((lend, page), write)| Missing { lend, page, write }).collect()
}

/// The most pages outside lends that may be brought in because words point to them.
pub(super) fn followed_in_process(round: u32) -> usize {
    doubled(FOLLOWED_IN_PROCESS, round)
}

/// Wants a page, for writing too if the launch writes to its lend. Returns whether that is new.
fn want(wanted: &mut Wanted, pages: &Pages, lend: usize, page: usize, write: bool) -> bool {
    let of = &pages.lends()[lend];
    let write = write || (of.written() && of.writable());
    if !of.lacks(page, write) {
        return false;
    }
    let before = wanted.insert((lend, page), write);
    if before == Some(true) {
        wanted.insert((lend, page), true);
    }
    before.is_none()
}

/// A limit that doubles from round to round.
fn doubled((first, most): (usize, usize), round: u32) -> usize {
    first.checked_shl(round.min(32)).unwrap_or(most).min(most)
}

/// Completes blocks of which many pages were missed.
fn add_dense(wanted: &mut Wanted, pages: &Pages, missed: &[(usize, usize)]) {
    for block in missed.chunk_by(|a, b| a.0 == b.0 && a.1 / BLOCK == b.1 / BLOCK) {
        if block.len() < DENSE {
            continue;
        }
        let (lend, start) = (block[0].0, block[0].1 / BLOCK * BLOCK);
        for page in start..(start + BLOCK).min(pages.lends()[lend].pages()) {
            want(wanted, pages, lend, page, false);
        }
    }
}

/// When rounds go on, adds a range of pages around each page that was missed.
fn add_around(wanted: &mut Wanted, pages: &Pages, missed: &[(usize, usize)], round: u32) {
    let Some(grown) = round.checked_sub(PATIENCE) else {
        return;
    };
    let mut left = doubled(AROUND, grown);
    let share = left / missed.len().max(1);
    // The greatest power of two: such ranges tile the lend, so that each completes a tile.
    let Some(tile) = share.checked_ilog2().map(|log| 1usize << log) else {
        return;
    };
    for &(lend, page) in missed {
        let start = page / tile * tile;
        for page in start..(start + tile).min(pages.lends()[lend].pages()) {
            if left > 0 && want(wanted, pages, lend, page, false) {
                left -= 1;
            }
        }
    }
}

/// Memory whose words may point to pages that the device lacks.
pub(super) trait Pointers {
    /// Why following pointers had to stop.
    type Error;

    /// Reads an object, from an address on, and returns whether it could be read.
    fn read(&mut self, start: u64, bytes: &mut [u8]) -> bool;

    /// Follows a word of an object.
    fn follow(&mut self, word: u64) -> Result<Followed, Self::Error>;
}

/// The result of following a word as a pointer.
#[derive(Debug)]
pub(super) enum Followed {
    /// The word leads to no bytes that are to be searched.
    Nowhere,
    /// It leads to these bytes, which are to be searched, on a page that was brought in or not.
    Object { bytes: Range<u64>, brought: bool },
    /// No more words are to be followed.
    Enough,
}

/// Follows pointers breadth first, from objects of at most a page, until so many pages were brought
/// in. Returns how many were.
pub(super) fn follow<P: Pointers>(
    pointers: &mut P,
    objects: impl Iterator<Item = Range<u64>>,
    most: usize,
) -> Result<usize, P::Error> {
    let mut queue: VecDeque<Range<u64>> = objects.collect();
    let mut buffer = [0; PAGE_BYTES as usize];
    let mut count = 0;
    while let Some(object) = queue.pop_front() {
        let bytes = &mut buffer[..(object.end - object.start) as usize];
        if !pointers.read(object.start, bytes) {
            continue;
        }
        for word in words(object.start, bytes) {
            if count == most {
                return Ok(count);
            }
            match pointers.follow(word)? {
                Followed::Nowhere => {}
                Followed::Object { bytes, brought } => {
                    count += usize::from(brought);
                    queue.push_back(bytes);
                }
                Followed::Enough => return Ok(count),
            }
        }
    }
    Ok(count)
}

/// The words at multiples of eight, of bytes from an address on.
fn words(start: u64, bytes: &[u8]) -> impl Iterator<Item = u64> {
    let skipped = (start.next_multiple_of(8) - start) as usize;
    let words = bytes.get(skipped..).unwrap_or(&[]).as_chunks::<8>().0;
    words.iter().map(|&word| u64::from_le_bytes(word))
}

/// Lends, in which words lead to pages that are wanted besides.
struct InLends<'w, 'h> {
    wanted: &'w mut Wanted,
    pages: &'w Pages,
    read: &'w mut ReadHome<'h>,
}

impl Pointers for InLends<'_, '_> {
    type Error = Infallible;

    fn read(&mut self, start: u64, bytes: &mut [u8]) -> bool {
        (self.read)(start, bytes);
        true
    }

    fn follow(&mut self, word: u64) -> Result<Followed, Infallible> {
        let found = if word < PAGE_BYTES { None } else { self.pages.find(word) };
        let is_new = |&(lend, page): &(usize, usize)| {
            !self.wanted.contains_key(&(lend, page))
                && want(self.wanted, self.pages, lend, page, false)
        };
        Ok(match found.filter(is_new) {
            None => Followed::Nowhere,
            Some((lend, page)) => {
                Followed::Object { bytes: self.pages.lends()[lend].lent_bytes(page), brought: true }
            }
        })
    }
}

#[cfg(test)]
#[path = "prefetch_tests.rs"]
mod tests;
