//! How the cost of farptr's calls grows with what is lent, for launches that do the same work: the
//! exponent `k` of `t ~ x^k` from each size to the next.

mod lend_size;
mod lends;
mod pointers;

pub(super) use self::{lend_size::LendSize, lends::Lends, pointers::Pointers};

use crate::{
    case::{open, open_backed},
    failure::Failure,
    page::{Page, pages_of},
};
use farptr::{AccessMode, Backing, Runtime};

/// The bytes of so many lends of a page each.
const LENDS: [u64; 4] = [lent(10), lent(100), lent(1_000), lent(10_000)];

const fn lent(pages: u64) -> u64 {
    pages * Page::BYTES as u64
}

/// The variants of all cases here; the first is written by hand and does not know of other memory.
const VARIANTS: [&str; 4] = ["raw-address", "checked-direct", "mirrored-import", "mirrored-copy"];

/// farptr's runtimes, in the order of the variants.
fn runtimes() -> Result<[(&'static str, Runtime); 3], Failure> {
    let mirrored = |backing| open_backed(AccessMode::Mirrored, backing);
    Ok([
        (VARIANTS[1], open(AccessMode::Direct)?),
        (VARIANTS[2], mirrored(Backing::Import)?),
        (VARIANTS[3], mirrored(Backing::Copy)?),
    ])
}

/// Pages to be lent one by one, with a page between each two, so that none touches the next.
struct Apart(Vec<Page>);

impl Apart {
    fn new(size_bytes: u64) -> Self {
        let count = usize::try_from(size_bytes).expect("the sizes fit") / Page::BYTES;
        Self(pages_of(&vec![0u8; 2 * count * Page::BYTES]))
    }

    fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut [Page]> {
        self.0.chunks_exact_mut(2).map(|pair| &mut pair[..1])
    }
}
