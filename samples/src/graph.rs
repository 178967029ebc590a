//! Directed graphs as adjacency lists in CSR form, with a name for each vertex.
//!
//! Vertices are numbered from 0 without gaps. A repeated edge counts once; a self loop stays, since
//! a walk may take it and a search does not mind it.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::csr::{Csr, CsrView};
use crate::error::{Problem, SampleError};

/// The names of the vertices. Names rise with the vertices' numbers, so that they are searched
/// by halves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Consecutive numbers; the first vertex has this one.
    Numbered {
        /// The name of vertex 0.
        first: u64,
    },
    /// Numbers in ascending order.
    Ids(Vec<u64>),
    /// Texts in ascending order.
    Texts(Vec<String>),
}

/// A graph with what was assumed about its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphInput {
    /// The graph.
    pub graph: Graph,
    /// The assumptions, each in a line of its own.
    pub notes: Vec<String>,
}

/// A directed graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Each vertex's first target. Invariants: one more element than there are vertices,
    /// not decreasing, from 0 to the length of `targets`.
    offsets: Vec<usize>,
    /// Invariants: ascending and distinct within a vertex, each below the number of vertices.
    targets: Vec<u32>,
    /// Invariant: as many names as vertices, ascending.
    names: Names,
}

impl Graph {
    /// Builds a graph from edges in any order; with `symmetric` each edge leads both ways.
    ///
    /// # Errors
    /// - [`Problem::EmptyGraph`] without an edge
    /// - [`Problem::TooLarge`] for more vertices than 32 bits number
    /// - [`Problem::OutOfRange`] for an edge to or from a vertex that is not there
    ///
    /// # Panics
    /// When the names are not as many as the vertices, or not in ascending order.
    pub fn from_edges(
        vertices: usize,
        mut edges: Vec<(u32, u32)>,
        symmetric: bool,
        names: Names,
    ) -> Result<Self, Problem> {
        check_edges(vertices, &edges)?;
        names.check(vertices);
        if symmetric {
            let reversed: Vec<_> = edges.iter().map(|&(from, to)| (to, from)).collect();
            edges.extend(reversed);
        }
        edges.par_sort_unstable();
        edges.dedup();
        let offsets = offsets_of(vertices, &edges);
        let targets = edges.into_iter().map(|(_, to)| to).collect();
        Ok(Self { offsets, targets, names })
    }

    /// Takes the pattern of a square matrix: an entry in row `i` and column `j` is an edge from
    /// `i` to `j`, and with `symmetric` from `j` to `i`. Vertices are named by their row, counted
    /// from 1 as in Matrix Market files.
    ///
    /// # Errors
    /// - [`Problem::NotSquare`] for a matrix that is not square
    /// - what [`from_edges`](Self::from_edges) refuses
    pub fn from_csr(matrix: CsrView<'_>, symmetric: bool) -> Result<Self, Problem> {
        let CsrView { rows, cols, .. } = matrix;
        if rows != cols {
            return Err(Problem::NotSquare { rows, cols });
        }
        let edges_of = |(row, from)| {
            let (columns, _) = matrix.row(row);
            columns.iter().map(move |&to| (from, to))
        };
        let edges = (0..rows).zip(0u32..).flat_map(edges_of).collect();
        Self::from_edges(rows, edges, symmetric, Names::Numbered { first: 1 })
    }

    /// Number of vertices.
    #[must_use]
    pub fn vertices(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of edges.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.targets.len()
    }

    /// Each vertex's first place in [`targets`](Self::targets); one more than vertices.
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The targets of all edges, vertex by vertex.
    #[must_use]
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// The targets of one vertex's edges, ascending.
    ///
    /// # Panics
    /// When there is no such vertex.
    #[must_use]
    pub fn neighbours(&self, vertex: u32) -> &[u32] {
        let vertex = vertex as usize;
        &self.targets[self.offsets[vertex]..self.offsets[vertex + 1]]
    }

    /// The number of edges that leave a vertex.
    ///
    /// # Panics
    /// When there is no such vertex.
    #[must_use]
    pub fn degree(&self, vertex: u32) -> usize {
        self.neighbours(vertex).len()
    }

    /// The vertex with the most outgoing edges, the first of several.
    #[must_use]
    pub fn busiest(&self) -> u32 {
        let degrees = self.offsets.windows(2).map(|pair| pair[1] - pair[0]);
        let (_, vertex) = degrees
            .zip(0u32..)
            .fold((0, 0), |best, next| if next.0 > best.0 { next } else { best });
        vertex
    }

    /// The name of a vertex.
    ///
    /// # Panics
    /// When there is no such vertex.
    #[must_use]
    pub fn name(&self, vertex: u32) -> Cow<'_, str> {
        assert!((vertex as usize) < self.vertices(), "no vertex {vertex}");
        match &self.names {
            Names::Numbered { first } => (first + u64::from(vertex)).to_string().into(),
            Names::Ids(ids) => ids[vertex as usize].to_string().into(),
            Names::Texts(texts) => texts[vertex as usize].as_str().into(),
        }
    }

    /// The vertex of a name, if there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<u32> {
        let place = match &self.names {
            Names::Numbered { first } => {
                let offset = name.parse::<u64>().ok()?.checked_sub(*first)?;
                usize::try_from(offset).ok().filter(|&at| at < self.vertices())
            }
            Names::Ids(ids) => ids.binary_search(&name.parse().ok()?).ok(),
            Names::Texts(texts) => texts.binary_search_by(|text| text.as_str().cmp(name)).ok(),
        };
        place.and_then(|at| u32::try_from(at).ok())
    }

    /// The vertex to start from: the one of that name, or without a name the
    /// [`busiest`](Self::busiest). `graph` stands for this graph in the message.
    ///
    /// # Errors
    /// [`SampleError::NoVertex`], which proposes the busiest vertex.
    pub fn start(&self, graph: &str, name: Option<&str>) -> Result<u32, SampleError> {
        let Some(name) = name else {
            return Ok(self.busiest());
        };
        self.find(name).ok_or_else(|| SampleError::NoVertex {
            graph: graph.to_owned(),
            name: name.to_owned(),
            busiest: self.name(self.busiest()).into_owned(),
        })
    }

    /// The matrix of a random surfer, for PageRank: an edge from `i` to `j` is an entry in row `j`
    /// and column `i` of value 1 / degree of `i`. A vertex without edges has an empty column.
    ///
    /// # Errors
    /// [`Problem::TooLarge`] beyond `u32::MAX` edges.
    pub fn link_matrix(&self) -> Result<Csr, Problem> {
        let mut triplets = Vec::with_capacity(self.edges());
        for (from, pair) in (0u32..).zip(self.offsets.windows(2)) {
            let targets = &self.targets[pair[0]..pair[1]];
            let share = reciprocal(targets.len());
            triplets.extend(targets.iter().map(|&to| (to, from, share)));
        }
        Csr::from_triplets(self.vertices(), self.vertices(), triplets)
    }
}

impl Names {
    fn check(&self, vertices: usize) {
        let (count, ascending) = match self {
            Self::Numbered { .. } => return,
            Self::Ids(ids) => (ids.len(), ids.is_sorted()),
            Self::Texts(texts) => (texts.len(), texts.is_sorted()),
        };
        assert_eq!(count, vertices, "one name for each vertex");
        assert!(ascending, "names rise with the vertices' numbers");
    }
}

fn check_edges(vertices: usize, edges: &[(u32, u32)]) -> Result<(), Problem> {
    let limit = u64::from(u32::MAX);
    if vertices as u64 > limit {
        return Err(Problem::TooLarge { what: "vertices", count: vertices as u64, limit });
    }
    if edges.is_empty() {
        return Err(Problem::EmptyGraph { vertices });
    }
    match edges.iter().map(|&(from, to)| from.max(to)).find(|&high| high as usize >= vertices) {
        None => Ok(()),
        Some(high) => {
            Err(Problem::OutOfRange { axis: "vertex", index: high.into(), limit: vertices })
        }
    }
}

fn offsets_of(vertices: usize, sorted: &[(u32, u32)]) -> Vec<usize> {
    let mut offsets = vec![0; vertices + 1];
    for &(from, _) in sorted {
        offsets[from as usize + 1] += 1;
    }
    for vertex in 0..vertices {
        offsets[vertex + 1] += offsets[vertex];
    }
    offsets
}

#[expect(clippy::cast_precision_loss, reason = "a degree beyond 2^24 loses less than the rounding")]
fn reciprocal(degree: usize) -> f32 {
    1.0 / degree as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(vertices: usize, edges: &[(u32, u32)], symmetric: bool) -> Result<Graph, Problem> {
        Graph::from_edges(vertices, edges.to_vec(), symmetric, Names::Numbered { first: 0 })
    }

    #[test]
    fn repeated_edges_count_once_and_self_loops_stay() {
        let graph = numbered(3, &[(2, 2), (0, 2), (0, 1), (0, 2)], false).unwrap();
        assert_eq!(graph.offsets(), [0, 2, 2, 3]);
        assert_eq!(graph.targets(), [1, 2, 2]);
        assert_eq!((graph.degree(0), graph.degree(1), graph.busiest()), (2, 0, 0));
    }

    #[test]
    fn a_self_loop_is_not_doubled_by_symmetry() {
        let graph = numbered(2, &[(0, 0), (0, 1), (1, 0)], true).unwrap();
        assert_eq!(graph.targets(), [0, 1, 0]);
    }

    #[test]
    fn broken_graphs_are_refused() {
        assert_eq!(numbered(3, &[], true), Err(Problem::EmptyGraph { vertices: 3 }));
        let outside = Problem::OutOfRange { axis: "vertex", index: 3, limit: 3 };
        assert_eq!(numbered(3, &[(0, 3)], false), Err(outside));
        let limit = u64::from(u32::MAX);
        let large = Problem::TooLarge { what: "vertices", count: 1 << 40, limit };
        assert_eq!(numbered(1 << 40, &[(0, 1)], false), Err(large));
    }

    #[test]
    fn vertices_are_found_by_name() {
        let texts = ["apt", "dpkg", "tar"].map(String::from).to_vec();
        let graph = Graph::from_edges(3, vec![(1, 2)], false, Names::Texts(texts)).unwrap();
        assert_eq!((graph.find("dpkg"), graph.find("perl")), (Some(1), None));
        assert_eq!(graph.start("debian", Some("tar")).unwrap(), 2);
        assert_eq!(graph.start("debian", None).unwrap(), 1);
        let error = graph.start("debian", Some("perl")).unwrap_err();
        assert_eq!(
            error.one_line(),
            "debian: no vertex \"perl\"; try \"dpkg\", the vertex with the most edges"
        );
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn numbered_vertices_stop_at_the_last() {
        let graph = numbered(3, &[(0, 1)], false).unwrap();
        assert_eq!((graph.find("2"), graph.find("3"), graph.find("-1")), (Some(2), None, None));
    }

    #[test]
    fn a_matrix_gives_its_pattern() {
        let matrix = Csr::from_triplets(2, 2, vec![(0, 1, 0.0), (1, 1, 4.0)]).unwrap();
        let graph = Graph::from_csr(matrix.view(), false).unwrap();
        assert_eq!((graph.targets(), graph.find("1")), (&[1, 1][..], Some(0)));
        let both = Graph::from_csr(matrix.view(), true).unwrap();
        assert_eq!((both.neighbours(0), both.neighbours(1)), (&[1][..], &[0, 1][..]));
        let wide = Csr::from_triplets(2, 3, vec![(0, 1, 1.0)]).unwrap();
        let problem = Graph::from_csr(wide.view(), true).unwrap_err();
        assert_eq!(problem, Problem::NotSquare { rows: 2, cols: 3 });
    }

    #[test]
    fn link_columns_sum_to_one_or_are_empty() {
        let graph = numbered(3, &[(0, 1), (0, 2), (1, 2)], false).unwrap();
        let links = graph.link_matrix().unwrap();
        assert_eq!(links.row_ptr, [0, 0, 1, 3]);
        assert_eq!((links.col, links.val), (vec![0, 0, 1], vec![0.5, 0.5, 1.0]));
    }
}
