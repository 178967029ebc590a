//! The properties of HMM, P1 to P10, on generated cases: a real mirror with two devices against a
//! model that was written from the kernel's decision tables, and against a log of what each page
//! has been.

#![cfg(feature = "dmirror")]
#![allow(unsafe_code)]

mod cases;
mod concurrent;
mod effect;
mod history;
#[path = "../hmm_rig/mod.rs"]
mod hmm_rig;
mod model;
#[path = "../processors/mod.rs"]
mod processors;
mod region;
mod scene;
mod sequential;
mod step;
mod tables;
mod walks;
mod world;
