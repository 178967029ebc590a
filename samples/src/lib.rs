//! What the sample programs share: inputs, references, arguments and reports. Nothing here knows
//! Vulkan; the programs in `src/bin` bring these parts together with the runtime.
//!
//! | module | what lives there |
//! |---|---|
//! | [`csr`], [`csr_file`] | sparse matrices in vectors and in mapped files |
//! | [`graph`] | adjacency lists with named vertices |
//! | [`matrix_market`], [`edge_list`], [`debian`] | readers |
//! | [`input`] | texts, plain or compressed; graphs in either format |
//! | [`generate`] | generated matrices and graphs |
//! | [`mod@reference`] | the results to compare with |
//! | [`args`], [`progress`], [`report`], [`error`] | what the programs show |

pub mod args;
pub mod csr;
pub mod csr_file;
pub mod debian;
pub mod edge_list;
pub mod error;
pub mod generate;
pub mod graph;
pub mod input;
pub mod matrix_market;
pub mod progress;
pub mod reference;
pub mod report;

pub use csr::{Csr, CsrView};
pub use error::{Problem, SampleError};
pub use graph::Graph;
pub use report::Report;
