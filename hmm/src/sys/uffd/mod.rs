//! userfaultfd: a thread that touches a page that is not there waits until the page is filled.
//!
//! | file | the concept |
//! |---|---|
//! | `feature.rs` | what a userfaultfd can be asked for |
//! | `tier.rs` | which faults it serves, and how it was made |
//! | `handle.rs` | the file, and how children let go of it |
//! | `open.rs` | making one, with or without privilege |
//! | `capabilities.rs` | a report of what works here, and why the rest does not |
//! | `register.rs` | which ranges it watches, and for what |
//! | `resolve.rs` | filling holes: copy, zero, move, continue, poison |
//! | `protect.rs` | write protection, marks on holes, waking |
//! | `event.rs` | the messages, decoded |
//! | `wait.rs` | waiting for messages, and being told to stop |
//!
//! # Safety
//!
//! The requests that give content to pages or take it away are unsafe functions. Watching and
//! protecting change no content: at worst a thread waits, and a thread that waits for ever is not
//! undefined behaviour. Nothing here allocates memory once the userfaultfd is made, apart from
//! error values, and nothing touches memory that is watched.

mod capabilities;
mod error;
mod event;
mod feature;
mod handle;
mod open;
mod protect;
mod register;
mod request;
mod resolve;
mod tier;
mod wait;

// Miri has no userfaultfd, and neither has its C library some of the flags.
#[cfg(all(test, not(miri)))]
pub(in crate::sys) mod tests;

pub use capabilities::{Capabilities, Support, TierReport};
pub use error::OpenUffdError;
pub(crate) use error::UffdError;
pub(crate) use event::{Event, Events, Fault, FaultKind};
pub use feature::{Feature, Features};
pub(crate) use handle::Uffd;
pub(crate) use protect::MarkFinder;
pub(crate) use register::{Modes, Operation, Operations};
pub(crate) use resolve::{Fill, Outcome, Refusal, Resolution, Wakeup};
pub use tier::{MirrorTier, Route};
pub(crate) use wait::Signal;
