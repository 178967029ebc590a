//! Tests of footprints.

mod compute;
mod emit;
mod expressions;
mod machine;
mod oracle;
mod programs;
mod random;
mod types;
