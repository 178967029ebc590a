//! Moving pages to a device, one block at a time, in six steps: [`Setup`], [`Allocated`],
//! [`InTransit`], [`Collected`], [`Copied`], [`Finalized`].
//!
//! Each step is a value that the next one consumes, with a type of its own for pages (`pages.rs`).
//! At any step a page may be left out, for a reason that the result names. It then stays at home
//! with its content. `DESIGN.md` has the protocol.

#![forbid(unsafe_code)]

mod allocate;
mod area;
mod block;
mod claim;
mod collect;
mod copy;
mod error;
mod finalize;
mod needed;
mod outcome;
mod pages;
mod scratch;
mod setup;

use crate::addr::VaRange;
use crate::host::PageAccess;
use crate::sys::populate::populate;

use allocate::Allocated;
pub(crate) use area::{Area, routes};
use block::Block;
pub(crate) use block::{BlockOrder, Order};
use claim::InTransit;
use collect::Collected;
use copy::Copied;
pub use error::MigrateError;
use finalize::Finalized;
pub(crate) use needed::Needed;
pub use outcome::{Migration, Skip, Skipped};
pub(crate) use pages::PageLists;
pub(crate) use scratch::Scratch;
use setup::{Setup, at_rest, plan};

/// Migrates one block.
pub(crate) fn migrate_block(block: BlockOrder<'_>, scratch: &mut Scratch) -> Migration {
    let (first, shared_pages) = try_block(block, scratch);
    if shared_pages.is_empty() {
        return first;
    }
    for page in shared_pages {
        // A store ends the sharing. A page that then stays is pinned.
        let _ = populate(page, PageAccess::Write);
    }
    first.repeated(try_block(block, scratch).0)
}

/// Returns also the pages that stayed because another process shares them.
fn try_block(block: BlockOrder<'_>, scratch: &mut Scratch) -> (Migration, Vec<VaRange>) {
    let Scratch { staging, buffer, lists } = scratch;
    plan(&block, &mut lists.planned);
    if let Some(result) = at_rest(&block, &lists.planned) {
        return (result, Vec::new());
    }
    let BlockOrder { shared, device, order, range, areas } = block;
    let block = Block::new(shared, device, order, range, (staging, buffer));
    let setup = Setup { block, pages: &lists.planned };
    let allocated = Allocated::after(setup, &mut lists.placed);
    let in_transit = InTransit::after(allocated, areas, &mut lists.claimed);
    let collected = Collected::after(in_transit, &mut lists.taken);
    let copied = Copied::after(collected);
    let finalized = Finalized::after(copied, &mut lists.leaving, &mut lists.ended);
    (finalized.report(), finalized.shared_pages().collect())
}
