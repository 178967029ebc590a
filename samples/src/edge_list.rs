//! Edge lists: two vertex ids a line, separated by white space, comments after `#` or `%`.
//!
//! Ids are any 64-bit numbers. They are renumbered from 0 in ascending order and kept as the
//! vertices' names. Further fields, weights for instance, are ignored.

use std::path::Path;

use rayon::prelude::*;

use crate::error::{Problem, SampleError, excerpt};
use crate::graph::{Graph, Names};
use crate::input::read_text;

/// Reads an edge list, plain or compressed. With `symmetric` each edge leads both ways.
///
/// # Errors
/// - [`SampleError::Read`] when the file cannot be read
/// - [`SampleError::Bad`] for everything [`parse`] refuses
pub fn read(path: &Path, symmetric: bool) -> Result<Graph, SampleError> {
    parse(&path.display().to_string(), &read_text(path)?, symmetric)
}

/// Parses the text of an edge list; `name` stands for it in messages.
///
/// # Errors
/// [`SampleError::Bad`] with the line, for a line that is not two ids, and for a graph without an
/// edge or with more vertices than 32 bits number.
pub fn parse(name: &str, text: &str, symmetric: bool) -> Result<Graph, SampleError> {
    let edges = parse_edges(name, text)?;
    let ids = ids_of(&edges);
    let problem = |problem: Problem| problem.in_input(name);
    let edges = renumber(&edges, &ids).map_err(problem)?;
    Graph::from_edges(ids.len(), edges, symmetric, Names::Ids(ids)).map_err(problem)
}

fn parse_edges(name: &str, text: &str) -> Result<Vec<(u64, u64)>, SampleError> {
    let mut edges = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.split(['#', '%']).next().unwrap_or_default();
        let mut fields = content.split_ascii_whitespace();
        let (from, to) = (fields.next(), fields.next());
        let bad = || Problem::Edge { text: excerpt(line) }.in_line(name, index + 1);
        match (from.map(str::parse), to.map(str::parse)) {
            (None, _) => {}
            (Some(Ok(from)), Some(Ok(to))) => edges.push((from, to)),
            _ => return Err(bad()),
        }
    }
    Ok(edges)
}

fn ids_of(edges: &[(u64, u64)]) -> Vec<u64> {
    let mut ids: Vec<u64> = edges.iter().flat_map(|&(from, to)| [from, to]).collect();
    ids.par_sort_unstable();
    ids.dedup();
    ids
}

fn renumber(edges: &[(u64, u64)], ids: &[u64]) -> Result<Vec<(u32, u32)>, Problem> {
    let limit = u64::from(u32::MAX);
    let count = ids.len() as u64;
    let too_large = Problem::TooLarge { what: "vertices", count, limit };
    if count > limit {
        return Err(too_large);
    }
    let place = |id: &u64| ids.binary_search(id).ok().and_then(|at| u32::try_from(at).ok());
    let number = |(from, to): &(u64, u64)| place(from).zip(place(to));
    // Every id is in the list it was taken from.
    edges.par_iter().map(number).collect::<Option<Vec<_>>>().ok_or(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_are_renumbered_and_kept_as_names() {
        let text = "# from to weight\n% again\n\n900 7 0.5\n18446744073709551615\t900 # tail\n";
        let graph = parse("g.txt", text, false).unwrap();
        assert_eq!((graph.vertices(), graph.edges()), (3, 2));
        assert_eq!(graph.neighbours(1), [0]);
        assert_eq!(graph.neighbours(2), [1]);
        assert_eq!(graph.name(2), "18446744073709551615");
        assert_eq!(graph.find("900"), Some(1));
    }

    #[test]
    fn symmetric_lists_lead_both_ways() {
        let graph = parse("g.txt", "1 2\r\n2 3\r\n", true).unwrap();
        assert_eq!(graph.neighbours(1), [0, 2]);
    }

    proptest! {
        #[test]
        fn every_edge_is_there_under_its_ids(
            edges in prop::collection::vec((0u64..40, 0u64..40), 1..60)
        ) {
            let text: String = edges.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
            let graph = parse("g.txt", &text, false).unwrap();
            let mut distinct = edges.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(graph.edges(), distinct.len());
            for (from, to) in edges {
                let from = graph.find(&from.to_string()).unwrap();
                let to = graph.find(&to.to_string()).unwrap();
                prop_assert!(graph.neighbours(from).contains(&to));
            }
        }

        #[test]
        fn any_text_never_panics(text in "[-0-9#% a\t\r\n]{0,60}") {
            let _ = parse("g.txt", &text, true);
        }
    }
}
