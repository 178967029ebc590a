//! Tests of the pass on whole modules.

mod glsl;
mod mutations;
mod shipped;
mod tools;
