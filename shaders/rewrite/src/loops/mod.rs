//! Bounding loops, and removing the blocks that no branch leads to.

pub(crate) mod bound;
pub(crate) mod dead;
mod guard;
mod leave;
mod shape;
#[cfg(test)]
mod tests;
