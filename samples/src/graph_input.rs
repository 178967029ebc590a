//! The graph that a sample runs on, from a file in either format.

use std::path::Path;

use crate::error::SampleError;
use crate::graph::Graph;
pub use crate::graph::GraphInput;
use crate::{edge_list, input, matrix_market};

/// Reads a graph: a Matrix Market file where its first lines say so, else an edge list. With
/// `undirected` each edge leads both ways.
///
/// # Errors
/// Whatever [`input::read_text`], [`matrix_market::parse`], [`edge_list::parse`] or the graph
/// refuses.
pub fn read(path: &Path, undirected: bool) -> Result<GraphInput, SampleError> {
    let text = input::read_text(path)?;
    let name = path.display().to_string();
    if matrix_market::has_banner(&text) {
        let matrix = matrix_market::parse(&name, &text)?;
        let graph = Graph::from_csr(matrix.view(), undirected);
        let graph = graph.map_err(|problem| problem.in_input(name))?;
        Ok(GraphInput { graph, notes: Vec::new() })
    } else {
        edge_list::parse(&name, &text, undirected)
    }
}
