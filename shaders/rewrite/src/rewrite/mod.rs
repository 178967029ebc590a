//! The rewriting pass: from a kernel's words to words that check and translate every access.
//!
//! A [`Program`] is a kernel that was parsed and analysed once. [`Program::rewrite`] makes the form
//! of it that a launch needs. The pass knows no device and no host memory; what host and kernel
//! tell each other is in [`control`].

mod accesses;
mod address;
mod analysis;
pub mod control;
mod dead;
mod edit;
mod effects;
mod entry;
mod error;
mod fault;
mod flow;
#[cfg(test)]
mod flow_tests;
mod grid;
mod hoist;
mod joint;
mod keep;
mod layouts;
mod loop_guard;
mod loop_shape;
mod loops;
mod memory;
mod narrow;
mod offsets;
mod opaque;
mod order;
mod own_arrays;
mod page;
mod physical;
mod places;
mod plan;
mod pointers;
mod program;
mod report;
mod segments;
mod shared;
mod sieve;
mod sites;
mod size;
mod split;
mod table;
mod translate;
mod variant;

pub use analysis::{Access, Analysis, Bounds, Check, Effects, Joint, Line, Reach, Root, Site};
pub use error::RewriteError;
pub use program::{Program, unchecked};
use shared::Shared;
pub use size::most_words;
pub use variant::{Fold, Integers, Search, Translation, Variant};

#[cfg(test)]
mod tests;
