//! The graph that a sample runs on, from a file in either format.

use std::path::Path;

use crate::error::SampleError;
use crate::graph::Graph;
use crate::{edge_list, input, matrix_market};

/// Reads a graph: a Matrix Market file where the first line says so, else an edge list.
///
/// # Errors
/// Whatever [`input::read_text`], [`matrix_market::parse`], [`edge_list::parse`] or the graph
/// refuses.
pub fn read(path: &Path) -> Result<Graph, SampleError> {
    let text = input::read_text(path)?;
    let name = path.display().to_string();
    if matrix_market::has_banner(&text) {
        let matrix = matrix_market::parse(&name, &text)?;
        Graph::from_csr(matrix.view()).map_err(|problem| problem.in_input(name))
    } else {
        edge_list::parse(&name, &text, false)
    }
}
