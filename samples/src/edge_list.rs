//! Edge lists: two vertex ids a line, separated by white space, comments after `#` or `%`.
//!
//! Ids are any 64-bit numbers. They are renumbered from 0 in ascending order and kept as the
//! vertices' names. Further fields, weights for instance, are ignored.
//!
//! The format does not say whether edges are directed, but the comments of a file often do. Some
//! files look like edge lists and are none. The module `head` recognises both. Notes tell what was
//! assumed.

mod head;

use std::path::Path;

use rayon::prelude::*;

use crate::error::{Problem, SampleError, excerpt};
use crate::graph::{Graph, GraphInput, Names};
use crate::input::{plain, read_text};
use crate::matrix_market::is_banner;
use head::{First, Head, Kind, Look};

/// Reads an edge list, plain or compressed; for the rest see [`parse`].
///
/// # Errors
/// - [`SampleError::Read`] when the file cannot be read
/// - [`SampleError::Bad`] for everything [`parse`] refuses
pub fn read(path: &Path, undirected: bool) -> Result<GraphInput, SampleError> {
    parse(&path.display().to_string(), &read_text(path)?, undirected)
}

/// Parses the text of an edge list; `name` stands for it in messages. With `undirected`, and where
/// the comments before the first edge say so, each edge leads both ways.
///
/// # Errors
/// [`SampleError::Bad`] with the line, for a line that is not two ids, and for the banner or the
/// size line of a Matrix Market file; and for a graph without an edge, with more vertices than 32
/// bits number, or of two sets of vertices with the same ids.
pub fn parse(name: &str, text: &str, undirected: bool) -> Result<GraphInput, SampleError> {
    let parsed = parse_lines(name, &plain(text))?;
    let problem = |problem: Problem| problem.in_input(name);
    let (both_ways, notes) = parsed.judge(undirected).map_err(|fault| fault.in_file(name))?;
    let ids = ids_of(&parsed.edges);
    let edges = renumber(&parsed.edges, &ids).map_err(problem)?;
    let graph = Graph::from_edges(ids.len(), edges, both_ways, Names::Ids(ids)).map_err(problem)?;
    Ok(GraphInput { graph, notes })
}

/// The lines of a file, and what they say about it.
struct Parsed {
    head: Head,
    edges: Vec<(u64, u64)>,
    /// The first edge, with its line and its text.
    first: Option<(First, usize, String)>,
    /// Whether a line has more fields than two.
    more_fields: bool,
}

/// A problem with its line.
struct Fault(Problem, Option<usize>);

impl Fault {
    fn in_file(self, name: &str) -> SampleError {
        match self {
            Self(problem, Some(line)) => problem.in_line(name, line),
            Self(problem, None) => problem.in_input(name),
        }
    }
}

fn parse_lines(name: &str, text: &str) -> Result<Parsed, SampleError> {
    let mut parsed =
        Parsed { head: Head::default(), edges: Vec::new(), first: None, more_fields: false };
    for (index, line) in text.lines().enumerate() {
        let content = line.split(['#', '%']).next().unwrap_or_default();
        let mut fields = content.split_ascii_whitespace();
        let (from, to) = (fields.next(), fields.next());
        let bad = |problem: Problem| problem.in_line(name, index + 1);
        match (from.map(str::parse), to.map(str::parse)) {
            (None, _) if is_banner(line) => return Err(bad(Problem::BannerInside)),
            (None, _) if parsed.edges.is_empty() => parsed.head.hear(line),
            (None, _) => {}
            (Some(Ok(from)), Some(Ok(to))) => {
                let look = match (fields.next().map(str::parse), fields.next()) {
                    (None, _) => Look::Pair,
                    (Some(Ok(third)), None) => Look::Three(third),
                    _ => Look::Other,
                };
                parsed.add(from, to, look, (index + 1, line));
            }
            _ => return Err(bad(Problem::Edge { text: excerpt(line) })),
        }
    }
    Ok(parsed)
}

impl Parsed {
    fn add(&mut self, from: u64, to: u64, look: Look, (number, line): (usize, &str)) {
        match &mut self.first {
            Some((first, ..)) => first.compare(from, to, look),
            None => self.first = Some((First::new(from, to, look), number, excerpt(line))),
        }
        self.more_fields |= look != Look::Pair;
        self.edges.push((from, to));
    }

    /// Whether edges lead both ways, and what was assumed.
    fn judge(&self, undirected: bool) -> Result<(bool, Vec<String>), Fault> {
        let mut notes = Vec::new();
        if let Some((first, number, text)) = &self.first {
            if first.is_size_line() {
                return Err(Fault(Problem::NoBanner { text: text.clone() }, Some(*number)));
            }
            if first.may_be_header() {
                notes.push(format!(
                    "line {number}, \"{text}\", is read as an edge; \
                     if it is a header, remove it"
                ));
            }
        }
        let both_ways = match &self.head.kind {
            Some((Kind::Bipartite, text)) => {
                return Err(Fault(Problem::Bipartite { text: text.clone() }, None));
            }
            _ if undirected => true,
            Some((Kind::Undirected, text)) => {
                notes.push(format!("undirected, as \"{text}\" says: each edge leads both ways"));
                true
            }
            Some((Kind::Directed, _)) => false,
            None => {
                notes.push(
                    "taken for directed: each line is an edge from its first vertex to its second; \
                     --undirected takes it both ways"
                        .into(),
                );
                false
            }
        };
        let found = self.edges.len() as u64;
        if let Some(declared) = self.head.edges.filter(|&declared| declared != found) {
            notes.push(format!("{declared} edges are declared in a comment, {found} found"));
        }
        if self.more_fields {
            notes.push("fields after the second, weights for instance, are ignored".into());
        }
        Ok((both_ways, notes))
    }
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
        let graph = parse("g.txt", text, false).unwrap().graph;
        assert_eq!((graph.vertices(), graph.edges()), (3, 2));
        assert_eq!(graph.neighbours(1), [0]);
        assert_eq!(graph.neighbours(2), [1]);
        assert_eq!(graph.name(2), "18446744073709551615");
        assert_eq!(graph.find("900"), Some(1));
    }

    #[test]
    fn symmetric_lists_lead_both_ways() {
        let graph = parse("g.txt", "1 2\r\n2 3\r\n", true).unwrap().graph;
        assert_eq!(graph.neighbours(1), [0, 2]);
    }

    fn notes(text: &str, undirected: bool) -> Vec<String> {
        parse("g.txt", text, undirected).unwrap().notes
    }

    fn edges(text: &str, undirected: bool) -> usize {
        parse("g.txt", text, undirected).unwrap().graph.edges()
    }

    const ASSUMED: &str = "taken for directed: each line is an edge from its first vertex to its \
                           second; --undirected takes it both ways";

    #[test]
    fn comments_that_say_undirected_are_heeded() {
        for comment in ["# Undirected graph: ../a.txt", "% sym unweighted\n% 2 3 3", "% sym"] {
            let text = format!("{comment}\n1 2\n2 3\n");
            assert_eq!(edges(&text, false), 4, "{comment}");
            let first = comment.lines().next().unwrap();
            let said = format!("undirected, as \"{first}\" says: each edge leads both ways");
            assert_eq!(notes(&text, false), [said]);
            assert!(notes(&text, true).is_empty());
        }
        for comment in ["# Directed graph (each unordered pair of nodes is saved once)", "% asym"] {
            let text = format!("{comment}\n1 2\n2 3\n");
            assert_eq!((edges(&text, false), edges(&text, true)), (2, 4), "{comment}");
            assert!(notes(&text, false).is_empty());
        }
        // A comment behind the first edge does not describe the file.
        assert_eq!(edges("1 2\n# Undirected graph\n2 3\n", false), 2);
    }

    #[test]
    fn what_is_assumed_is_told() {
        assert_eq!(notes("1 2\n2 3\n", false), [ASSUMED]);
        assert!(notes("1 2\n2 3\n", true).is_empty());
        let ignored = "fields after the second, weights for instance, are ignored";
        assert_eq!(notes("1 2 5\n2 3 5\n", true), [ignored]);
        let counts = "line 2, \"3 2\", is read as an edge; if it is a header, remove it";
        assert_eq!(notes("# c\n3 2\n1 2\n2 3\n", true), [counts]);
        let missing = "28980 edges are declared in a comment, 2 found";
        assert_eq!(notes("# Nodes: 5242 Edges: 28980\n1 2\n2 3\n", true), [missing]);
        assert!(notes("# Nodes: 3 Edges: 2\n1 2\n2 3\n", true).is_empty());
    }

    #[test]
    fn edges_with_weights_are_no_size_lines() {
        for text in ["1 2 1\n2 3 5\n", "3 3 1\n", "3 3 2\n1 4 1\n1 2 1\n", "5 5 9\n1 2 3\n2 3 4\n"]
        {
            assert_eq!(edges(text, false), text.lines().count(), "{text}");
        }
    }

    #[test]
    fn marks_and_line_ends_of_other_systems_change_nothing() {
        for text in ["\u{feff}1 2\n2 3\n", "1 2\r2 3\r", "1 2\r\n2 3\r\n\u{1a}", "1 2\r2 3\n"] {
            assert_eq!(edges(text, false), 2, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_edge_is_there_under_its_ids(
            edges in prop::collection::vec((0u64..40, 0u64..40), 1..60)
        ) {
            let text: String = edges.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
            let graph = parse("g.txt", &text, false).unwrap().graph;
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
