//! The library of the sample programs: inputs, kernels behind checks, references, and reports. The
//! programs themselves are in `src/bin`.
//!
//! | module | what lives there |
//! |---|---|
//! | [`csr`], [`csr_file`] | sparse matrices in vectors and in mapped files |
//! | [`graph`] | adjacency lists with named vertices |
//! | [`matrix_market`], [`edge_list`], [`debian`] | readers |
//! | [`input`] | texts, plain or compressed |
//! | [`matrix_input`], [`graph_input`] | what a run works on, whatever it comes from |
//! | [`generate`] | generated matrices and graphs |
//! | [`solve`], [`mod@rank`] | conjugate gradients and PageRank on lent memory |
//! | [`linalg`], [`linked`] | kernels behind checks: vectors, matrices, linked nodes |
//! | [`mod@reference`] | the results to compare with |
//! | [`args`], [`run`], [`progress`], [`report`], [`error`] | what the programs take and show |

pub mod args;
pub mod csr;
pub mod csr_file;
pub mod debian;
pub mod edge_list;
pub mod error;
pub mod generate;
pub mod graph;
pub mod graph_input;
pub mod input;
pub mod linalg;
pub mod linked;
pub mod matrix_input;
pub mod matrix_market;
pub mod progress;
pub mod rank;
pub mod reference;
pub mod report;
pub mod run;
pub mod solve;

pub use csr::{Csr, CsrView};
pub use error::{Problem, SampleError};
pub use graph::Graph;
pub use report::Report;
