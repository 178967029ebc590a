//! Scopes: what soundness rests on, and what a program does inside one.

mod again;
#[cfg(test)]
mod budget_tests;
#[cfg(test)]
#[path = "../../tests/common/checked.rs"]
mod checked;
#[cfg(test)]
#[path = "../../tests/common/mod.rs"]
mod common;
#[cfg(test)]
mod frames_tests;
#[cfg(test)]
mod growth_tests;
mod idle;
mod launch;
#[cfg(test)]
mod memory_tests;
mod request;
#[allow(clippy::module_inception, reason = "the type `Scope` and its argument have a file alone")]
mod scope;
#[cfg(test)]
mod tables_tests;

pub use idle::Idle;
pub use scope::Scope;
pub(crate) use scope::with_scope;
