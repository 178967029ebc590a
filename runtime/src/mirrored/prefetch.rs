//! What to bring in for a batch of faults beside the pages that were missed.
//!
//! Few rounds are wanted, and no copies of pages that nobody reads. So a batch of many scattered
//! pages gets nothing extra, and how much comes besides grows with the number of rounds.

use super::pages::{Missing, Pages};
use farptr_shaders::rewrite::control::PAGE_BYTES;
use std::collections::{BTreeMap, VecDeque};

/// Pages of a block: where enough of one are missed, the rest come too.
const BLOCK: usize = 64;
/// Enough of a block. Of random pages, 1 % of all, so many are never in one block: the chance is
/// below 10^-16.
const DENSE: usize = 16;
/// Rounds with faults before windows open.
const PATIENCE: u32 = 3;
/// Extra pages in the first round that has windows, and in any.
const WINDOW: (usize, usize) = (64, 1024);
/// Pages reached through pointers in the first round, and in any.
const CHASED: (usize, usize) = (64, 4096);

/// Reads lent bytes at home, from an address on.
pub(crate) type Look<'l> = dyn FnMut(u64, &mut [u8]) + 'l;

/// What is to be brought in: by lend and page, whether for writing.
type Wanted = BTreeMap<(usize, usize), bool>;

/// Adds to the pages that were missed what is likely to be missed next.
///
/// `round` is the number of rounds with faults that this launch had before. `look` reads lent bytes
/// at home, from an address on; it is `None` if the kernel follows no pointers from memory.
/// All pages returned are lacking, and each is named once.
pub(crate) fn widen(
    pages: &Pages,
    missed: &[Missing],
    round: u32,
    look: Option<&mut Look<'_>>,
) -> Vec<Missing> {
    let mut wanted = Wanted::new();
    for &Missing { lend, page, write } in missed {
        want(&mut wanted, pages, lend, page, write);
    }
    let first: Vec<(usize, usize)> = wanted.keys().copied().collect();
    add_dense(&mut wanted, pages, &first);
    add_windows(&mut wanted, pages, &first, round);
    if let Some(look) = look {
        follow(&mut wanted, pages, &first, doubled(CHASED, round), look);
    }
    wanted.into_iter().map(|((lend, page), write)| Missing { lend, page, write }).collect()
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

/// When rounds go on, opens a window around each page that was missed.
fn add_windows(wanted: &mut Wanted, pages: &Pages, missed: &[(usize, usize)], round: u32) {
    let Some(grown) = round.checked_sub(PATIENCE) else {
        return;
    };
    let mut left = doubled(WINDOW, grown);
    let share = left / missed.len().max(1);
    // The greatest power of two: windows tile the lend, so that each fills what is left of a tile.
    let Some(window) = share.checked_ilog2().map(|log| 1usize << log) else {
        return;
    };
    for &(lend, page) in missed {
        let start = page / window * window;
        for page in start..(start + window).min(pages.lends()[lend].pages()) {
            if left > 0 && want(wanted, pages, lend, page, false) {
                left -= 1;
            }
        }
    }
}

/// Follows words that are addresses in lacking pages, breadth first.
fn follow(
    wanted: &mut Wanted,
    pages: &Pages,
    missed: &[(usize, usize)],
    most: usize,
    look: &mut Look<'_>,
) {
    let mut queue: VecDeque<(usize, usize)> = missed.iter().copied().take(most).collect();
    let mut left = most;
    let mut bytes = [0; PAGE_BYTES as usize];
    while let Some((lend, page)) = queue.pop_front() {
        let lent = pages.lends()[lend].lent_bytes(page);
        let length = usize::try_from(lent.end - lent.start).expect("at most a page");
        let bytes = &mut bytes[..length];
        look(lent.start, bytes);
        let skipped = lent.start.next_multiple_of(8) - lent.start;
        let words = bytes.get(skipped as usize..).unwrap_or(&[]).as_chunks::<8>().0;
        for word in words {
            let address = u64::from_le_bytes(*word);
            if address < PAGE_BYTES {
                continue;
            }
            let Some((lend, page)) = pages.find(address) else {
                continue;
            };
            if wanted.contains_key(&(lend, page)) || !want(wanted, pages, lend, page, false) {
                continue;
            }
            queue.push_back((lend, page));
            left -= 1;
            if left == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "prefetch_tests.rs"]
mod tests;
