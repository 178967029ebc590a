//! Pages of the process that were not lent one by one: copied in by address, written home by
//! comparison.
//!
//! Other threads may change the mapping at any time; `DESIGN.md` says under "The memory of the
//! process" how that is noticed. Nothing is kept between launches.

mod busy;
mod commit;
mod host;
mod identity;
mod open;
mod pages;

pub(crate) use commit::Change;
pub(crate) use host::{LentProcess, address_width};
pub(crate) use open::{Access, Limits};
pub(crate) use pages::ProcessPages;

#[cfg(test)]
mod tests;
