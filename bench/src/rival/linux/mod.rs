//! Raw system calls: what a careful programmer would write on Linux without farptr.
//!
//! # Safety
//!
//! Each call below rests on these rules; the proofs name them by number.
//!
//! 1. *Memory has one owner.* [`Memory`] lets the kernel choose the place, keeps it in private
//!    fields and unmaps it in `Drop` and nowhere else. No reference to it is ever made, so pages
//!    that come and go are no loss.
//! 2. *The kernel writes what is borrowed.* An address that a call writes to is that of
//!    a variable or a vector that the function holds by `&mut` until the call returns.
//! 3. *Accesses are raw, and by one thread.* The bytes of [`Memory`] are read and written through
//!    pointers, within its length, and never by two threads at a time: the owner waits for the
//!    threads that work for it.

mod frames;
mod malloc;
mod memory;
mod scan;
mod userfault;

pub(crate) use frames::CopyingDevice;
pub(crate) use malloc::SmallPieces;
pub(crate) use memory::{HugePages, Memory};
pub(crate) use scan::{Pages, Scanner};
pub(crate) use userfault::Userfault;
