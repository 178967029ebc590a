//! Tests of footprints.

mod bases;
mod common_index;
mod compute;
mod emit;
mod expressions;
mod faults;
mod fills;
mod kernel_words;
mod machine;
mod oracle;
mod overwritten;
mod precision;
mod programs;
mod random;
mod symbolic;
mod traps;
mod types;
mod uses;
mod words;
