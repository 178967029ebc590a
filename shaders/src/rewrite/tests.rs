//! Tests of the pass on whole modules.

mod shipped;
mod tools;
