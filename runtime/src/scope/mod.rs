//! Scopes: what soundness rests on, and what a program does inside one.

mod launch;
#[allow(clippy::module_inception, reason = "the type `Scope` and its argument have a file alone")]
mod scope;
#[cfg(test)]
mod tables_tests;

pub(crate) use scope::with_scope;
pub use scope::{Idle, Scope};
