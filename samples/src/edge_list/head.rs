//! The head of an edge list: the comments of the two large collections, SNAP and KONECT, and
//! numbers before the first edge that count instead of naming an edge.
//!
//! | collection | says | for |
//! |---|---|---|
//! | SNAP | `# Undirected graph: ...`, `# Directed graph ...` | whether edges lead both ways |
//! | | `# Nodes: 4039 Edges: 88234` | how many lines there are |
//! | KONECT | `% sym unweighted`, `% asym`, `% bip` | whether edges lead both ways, or join sets |
//! | | `% 78 34 34`, in the next line | how many lines there are |

use crate::error::excerpt;

/// Whether edges lead one way or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directed,
    Undirected,
    /// Edges join two sets of vertices, each numbered from 1.
    Bipartite,
}

/// The facts that the comments state.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The kind, and the comment that says so.
    pub(super) kind: Option<(Kind, String)>,
    /// How many edges are declared.
    pub(super) edges: Option<u64>,
    konect: bool,
}

/// The words of KONECT for the kind of weights, one of which follows the kind of graph.
const WEIGHTS: [&str; 9] = [
    "unweighted",
    "positive",
    "posweighted",
    "signed",
    "multisigned",
    "weighted",
    "multiweighted",
    "multiposweighted",
    "dynamic",
];

impl Head {
    /// Notes the facts that a comment before the first edge states.
    pub(super) fn hear(&mut self, comment: &str) {
        let text = comment.trim_start_matches(['#', '%', ' ', '\t']).to_ascii_lowercase();
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let kind = match words[..] {
            [first, ..] if is_word(first, "undirected") => Some(Kind::Undirected),
            [first, ..] if is_word(first, "directed") => Some(Kind::Directed),
            [first] => konect(first),
            [first, weights, ..] if WEIGHTS.contains(&weights) => konect(first),
            _ => None,
        };
        if let Some(kind) = kind.filter(|_| self.kind.is_none()) {
            self.konect = words.first().copied().and_then(konect).is_some();
            self.kind = Some((kind, excerpt(comment)));
        }
        if self.edges.is_none() {
            self.edges = self.count(&words);
        }
    }

    fn count(&self, words: &[&str]) -> Option<u64> {
        let numbers: Option<Vec<u64>> = words.iter().map(|word| word.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[edges, _] | &[edges, _, _]) if self.konect => return Some(edges),
            _ => {}
        }
        let at = words.iter().position(|word| *word == "edges:")?;
        words.get(at + 1)?.parse().ok()
    }
}

/// Whether a field is a word, with punctuation behind it or not.
fn is_word(field: &str, word: &str) -> bool {
    field.trim_end_matches([':', ',', '.', ';']) == word
}

fn konect(word: &str) -> Option<Kind> {
    match word {
        "sym" => Some(Kind::Undirected),
        "asym" => Some(Kind::Directed),
        "bip" => Some(Kind::Bipartite),
        _ => None,
    }
}

/// The form of a line of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Pair,
    /// Three fields, the third a whole number.
    Three(u64),
    Other,
}

impl Look {
    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// Compares the first line of numbers with the others.
#[derive(Debug)]
pub(super) struct First {
    from: u64,
    to: u64,
    look: Look,
    others: u64,
    alike: u64,
    /// The largest ids of the others.
    largest: (u64, u64),
}

impl First {
    pub(super) fn new(from: u64, to: u64, look: Look) -> Self {
        Self { from, to, look, others: 0, alike: 0, largest: (0, 0) }
    }

    /// Counts another line.
    pub(super) fn compare(&mut self, from: u64, to: u64, look: Look) {
        self.others += 1;
        self.alike += u64::from(self.look.is_like(look));
        self.largest = (self.largest.0.max(from), self.largest.1.max(to));
    }

    /// Whether the line is the size line of a Matrix Market file: its first two numbers are no
    /// smaller than any id of the other lines, and its third is the number of these lines, or none
    /// of them has a third field of its kind.
    pub(super) fn is_size_line(&self) -> bool {
        let Look::Three(count) = self.look else { return false };
        let covers = self.largest.0 <= self.from && self.largest.1 <= self.to;
        self.others > 0 && covers && (count == self.others || self.alike == 0)
    }

    /// Whether the line may be a header: no id is above its first number, and it also has the
    /// number of the other lines, or a third field.
    pub(super) fn may_be_header(&self) -> bool {
        let covers = self.largest.0.max(self.largest.1) <= self.from;
        match self.look {
            Look::Pair => self.others > 0 && covers && self.to == self.others,
            Look::Three(_) => self.others > 0 && covers && self.largest.1 <= self.to,
            Look::Other => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(comments: &[&str]) -> Head {
        let mut head = Head::default();
        comments.iter().for_each(|comment| head.hear(comment));
        head
    }

    fn kind(comments: &[&str]) -> Option<Kind> {
        head(comments).kind.map(|(kind, _)| kind)
    }

    #[test]
    fn the_words_of_the_collections_are_known() {
        assert_eq!(kind(&["# Undirected graph: ../com-dblp.txt"]), Some(Kind::Undirected));
        let saved = "# Directed graph (each unordered pair of nodes is saved once): ca.txt";
        assert_eq!(kind(&[saved, "# undirected"]), Some(Kind::Directed));
        assert_eq!(kind(&["% sym unweighted"]), Some(Kind::Undirected));
        assert_eq!(kind(&["%asym posweighted"]), Some(Kind::Directed));
        assert_eq!(kind(&["% bip"]), Some(Kind::Bipartite));
        assert_eq!(kind(&["# a graph", "# UNDIRECTED, from 2011"]), Some(Kind::Undirected));
    }

    #[test]
    fn other_comments_say_nothing() {
        for comment in ["# not undirected", "% sym is a package", "# directedness", "#", "% sym 3"]
        {
            assert_eq!(kind(&[comment]), None, "{comment}");
        }
    }

    #[test]
    fn edges_are_counted() {
        assert_eq!(head(&["# Nodes: 4039 Edges: 88234"]).edges, Some(88234));
        assert_eq!(head(&["% sym unweighted", "% 78 34 34"]).edges, Some(78));
        assert_eq!(head(&["% 78 34 34"]).edges, None, "anybody's numbers");
        assert_eq!(head(&["# Edges: many"]).edges, None);
    }
}
