//! Nests of loops, switches and jumps that look random and are the same for the same seed: the
//! program, what it computes, and its words.
//!
//! An invocation has a state, which each *note* changes and stores. So the last word in memory
//! shows which branches the invocation took. It also has fuel: each pass of a loop uses one unit,
//! and without fuel the invocation returns. Most loops are left in other ways, and some only in
//! that one.
//!
//! The tests of the rewriting pass and its fuzz target include this file.
#![allow(dead_code, unreachable_pub, reason = "each of its users has its part")]
#![allow(clippy::cast_possible_truncation, reason = "lengths of short lists")]
#![allow(clippy::must_use_candidate, reason = "words of a nest, looked at wherever they are made")]

mod tree;
mod words;

pub use tree::Nest;
