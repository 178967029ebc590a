//! The programs `farptr-bench`, which measures, and `farptr-doctor`, which examines a device.
//!
//! `bench/README.md` says how they are used, `bench/DESIGN.md` how they are built.

mod amd;
mod case;
mod cases;
pub mod cli;
pub mod doctor;
mod episode;
mod failure;
mod line;
mod machine;
mod measure;
mod output;
mod page;
mod progress;
mod record;
mod report;
mod rival;
mod stats;
mod suite;
mod table;
mod vulkan;
