//! Tests of the pass on whole modules.

mod glsl;
mod machine;
mod mutations;
mod oracle;
mod shipped;
mod tools;
