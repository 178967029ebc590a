//! Raw system calls: what a careful programmer would write on Linux without farptr.
//!
//! # Safety
//!
//! Each call below rests on these rules; the proofs name them by number.
//!
//! 1. *Memory has one owner.* [`Memory`] lets the kernel choose the place, keeps it in private
//!    fields and unmaps it in `Drop` and nowhere else. No reference to it is ever made, so pages
//!    that come and go are nobody's loss.
//! 2. *The kernel writes what is borrowed.* Where a call takes an address to write to, it is that
//!    of a variable or a vector that the function holds by `&mut` until the call returns.

mod memory;
mod scan;

pub(crate) use memory::{HugePages, Memory};
pub(crate) use scan::{Pages, Scanner};
