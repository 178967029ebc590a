//! The dependency graph of the packages that a Debian machine knows.
//!
//! Packages come from dpkg's status file and from the package lists that apt has fetched, both
//! below a root directory. A package of several versions is one vertex with the edges of them all.
//! Its edges are its dependencies: every alternative of `a | b` that is known counts, version and
//! architecture qualifiers do not. A name that no package has but some provide leads to all of
//! those. A name that nothing has is dropped and counted.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use deb822_fast::borrowed::{BorrowedParagraph, iter_paragraphs_borrowed};
use rayon::prelude::*;

use crate::error::{Problem, SampleError};
use crate::graph::{Graph, Names};
use crate::input::read_text;

const STATUS: &str = "var/lib/dpkg/status";
const LISTS: &str = "var/lib/apt/lists";

/// The packages of a machine and how they depend on each other.
#[derive(Debug)]
pub struct Debian {
    /// One vertex for each package, named and ordered by package name.
    pub graph: Graph,
    /// The files that packages were read from.
    pub files: Vec<PathBuf>,
    /// The reasons why other files, or all apt lists, contributed nothing.
    pub skipped: Vec<SampleError>,
    /// How many package versions were read.
    pub versions: usize,
    /// How many dependencies name a package that is not known.
    pub dropped: usize,
}

impl Debian {
    /// Why files contributed nothing, each in a line.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.skipped.iter().map(|error| format!("left out: {}", error.one_line())).collect()
    }
}

/// Loads the package graph of the machine below `root` (`/` for this one). With `recommends` a
/// recommended package counts as a dependency.
///
/// # Errors
/// - [`SampleError::NoPackages`] when neither source gave a package; it tells why for each
/// - [`SampleError::Bad`] when no package depends on another
pub fn load(root: &Path, recommends: bool) -> Result<Debian, SampleError> {
    let (texts, mut skipped) = read_sources(root);
    let parsed: Vec<_> = texts
        .par_iter()
        .map(|(path, text)| parse(path, text, recommends).map(|stanzas| (path.clone(), stanzas)))
        .collect();
    let mut files = Vec::new();
    let mut stanzas = Vec::new();
    for result in parsed {
        match result {
            Ok((path, found)) => {
                files.push(path);
                stanzas.extend(found);
            }
            Err(error) => skipped.push(error),
        }
    }
    if stanzas.is_empty() {
        return Err(no_packages(root, &skipped));
    }
    let (graph, dropped) = link(&stanzas).map_err(|problem| problem.in_input(root.display()))?;
    Ok(Debian { graph, files, skipped, versions: stanzas.len(), dropped })
}

type Texts = Vec<(PathBuf, String)>;

/// Reads every source. Files that cannot be read are listed with the reason.
fn read_sources(root: &Path) -> (Texts, Vec<SampleError>) {
    let (mut paths, mut skipped) = match list_files(&root.join(LISTS)) {
        Ok(paths) => (paths, Vec::new()),
        Err(error) => (Vec::new(), vec![error]),
    };
    paths.insert(0, root.join(STATUS));
    let read = |path: &PathBuf| read_text(path).map(|text| (path.clone(), text));
    let mut texts = Vec::new();
    for result in paths.par_iter().map(read).collect::<Vec<_>>() {
        match result {
            Ok(text) => texts.push(text),
            Err(error) => skipped.push(error),
        }
    }
    (texts, skipped)
}

/// The package lists in a directory, in the order of their names.
fn list_files(directory: &Path) -> Result<Vec<PathBuf>, SampleError> {
    let unreadable = |source| SampleError::read(directory, source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_package_list(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() { Err(Problem::NoPackage.in_input(directory.display())) } else { Ok(paths) }
}

fn is_package_list(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = [".lz4", ".gz", ".xz", ".zst", ".bz2"].iter().find_map(|end| name.strip_suffix(end));
    stem.unwrap_or(&name).ends_with("_Packages")
}

fn no_packages(root: &Path, skipped: &[SampleError]) -> SampleError {
    let reason = |error: &SampleError| match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let detail = skipped.iter().map(reason).collect::<Vec<_>>().join(", ");
    SampleError::NoPackages { root: root.to_owned(), detail }
}

/// One version of a package, as far as it matters here.
#[derive(Debug)]
struct Stanza<'a> {
    package: &'a str,
    depends: Vec<&'a str>,
    provides: Vec<&'a str>,
}

fn parse<'a>(path: &Path, text: &'a str, recommends: bool) -> Result<Vec<Stanza<'a>>, SampleError> {
    let stanzas = iter_paragraphs_borrowed(text).filter_map(|paragraph| match paragraph {
        Ok(paragraph) => stanza(&paragraph, recommends).map(Ok),
        Err(error) => Some(Err(Problem::Stanza { detail: error.to_string() })),
    });
    let stanzas: Result<Vec<_>, _> = stanzas.collect();
    match stanzas {
        Ok(stanzas) if stanzas.is_empty() => Err(Problem::NoPackage.in_input(path.display())),
        Ok(stanzas) => Ok(stanzas),
        Err(problem) => Err(problem.in_input(path.display())),
    }
}

fn stanza<'a>(paragraph: &BorrowedParagraph<'a>, recommends: bool) -> Option<Stanza<'a>> {
    let package = paragraph.get_single("Package").filter(|name| !name.is_empty())?;
    let mut depends = relations(paragraph, "Pre-Depends");
    depends.extend(relations(paragraph, "Depends"));
    if recommends {
        depends.extend(relations(paragraph, "Recommends"));
    }
    Some(Stanza { package, depends, provides: relations(paragraph, "Provides") })
}

/// The bare package names of a field.
fn relations<'a>(paragraph: &BorrowedParagraph<'a>, field: &str) -> Vec<&'a str> {
    let lines = paragraph.get(field).unwrap_or_default();
    lines.iter().flat_map(|line| line.split([',', '|'])).filter_map(bare_name).collect()
}

/// `python3:any (>= 3.11) [amd64]` without its qualifiers.
fn bare_name(relation: &str) -> Option<&str> {
    let relation = relation.trim();
    let end = relation.find(|c: char| c.is_whitespace() || matches!(c, '(' | ':' | '[' | '<'));
    Some(&relation[..end.unwrap_or(relation.len())]).filter(|name| !name.is_empty())
}

type Vertices<'a> = HashMap<&'a str, u32>;
type Providers<'a> = HashMap<&'a str, Vec<u32>>;

/// The graph, and how many dependencies lead nowhere.
fn link(stanzas: &[Stanza<'_>]) -> Result<(Graph, usize), Problem> {
    let mut names: Vec<&str> = stanzas.iter().map(|stanza| stanza.package).collect();
    names.par_sort_unstable();
    names.dedup();
    let vertices: Vertices<'_> = names.iter().copied().zip(0..).collect();
    let providers = providers(stanzas, &vertices);
    let linked: Vec<_> =
        stanzas.par_iter().map(|stanza| edges_of(stanza, &vertices, &providers)).collect();
    let dropped = linked.iter().map(|(_, dropped)| dropped).sum();
    let edges = linked.into_iter().flat_map(|(edges, _)| edges).collect();
    let texts = names.iter().map(|&name| name.to_owned()).collect();
    let graph = Graph::from_edges(names.len(), edges, false, Names::Texts(texts))?;
    Ok((graph, dropped))
}

fn providers<'a>(stanzas: &[Stanza<'a>], vertices: &Vertices<'a>) -> Providers<'a> {
    let mut providers = Providers::new();
    for stanza in stanzas {
        for &name in &stanza.provides {
            providers.entry(name).or_default().push(vertices[stanza.package]);
        }
    }
    providers
}

/// The edges of one package version. A package's own provision of a name is no edge.
fn edges_of(
    stanza: &Stanza<'_>,
    vertices: &Vertices<'_>,
    providers: &Providers<'_>,
) -> (Vec<(u32, u32)>, usize) {
    let from = vertices[stanza.package];
    let (mut edges, mut dropped) = (Vec::new(), 0);
    for name in &stanza.depends {
        match (vertices.get(name), providers.get(name)) {
            (Some(&to), _) => edges.push((from, to)),
            (None, Some(several)) => edges.extend(several.iter().map(|&to| (from, to))),
            (None, None) => dropped += 1,
        }
    }
    edges.retain(|&(from, to)| from != to);
    (edges, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tempfile::{TempDir, tempdir};

    const INSTALLED: &str = "\
Package: app
Status: install ok installed
Pre-Depends: libc (>= 2.36)
Depends: python3:any, mta | mail-agent,
 tool [amd64] <!nocheck>, nowhere
Recommends: extra
Description: uses everything
 Depends: this is text

Package: libc
Provides: libc-abi (= 1), libc-dev
";
    const LISTED: &str = "\
Package: exim
Provides: mail-agent

Package: postfix
Provides: mail-agent, exim-likeness
Depends: mail-agent, libc-abi

Package: python3

Package: tool
Depends: exim

Package: extra

Package: app
Depends: exim-likeness
";

    fn machine(files: &[(&str, &[u8])]) -> TempDir {
        let root = tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn lz4(text: &str) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn targets(debian: &Debian, name: &str) -> Vec<String> {
        let graph = &debian.graph;
        let vertex = graph.find(name).unwrap();
        graph.neighbours(vertex).iter().map(|&to| graph.name(to).into_owned()).collect()
    }

    #[test]
    fn both_sources_make_one_graph() {
        let list = lz4(LISTED);
        let files =
            [(STATUS, INSTALLED.as_bytes()), ("var/lib/apt/lists/deb_main_Packages.lz4", &list)];
        let root = machine(&files);
        let debian = load(root.path(), false).unwrap();
        assert_eq!((debian.graph.vertices(), debian.versions, debian.files.len()), (7, 8, 2));
        assert_eq!(targets(&debian, "app"), ["exim", "libc", "postfix", "python3", "tool"]);
        assert_eq!(targets(&debian, "postfix"), ["exim", "libc"]);
        assert_eq!(targets(&debian, "tool"), ["exim"]);
        assert_eq!(debian.dropped, 2, "mta and nowhere");
        assert!(debian.skipped.is_empty());
        let more = load(root.path(), true).unwrap();
        assert!(targets(&more, "app").contains(&"extra".to_owned()));
    }

    #[test]
    fn one_source_suffices() {
        let root = machine(&[(STATUS, b"Package: a\nDepends: b\n\nPackage: b\n")]);
        let debian = load(root.path(), false).unwrap();
        assert_eq!((debian.graph.edges(), debian.skipped.len()), (1, 1));
        let root = machine(&[
            (STATUS, b""),
            ("var/lib/apt/lists/x_Packages", b"Package: a\nDepends: b\n\nPackage: b\n"),
            ("var/lib/apt/lists/y_Packages", b"no list at all\n"),
            ("var/lib/apt/lists/x_InRelease", b"not a package list"),
        ]);
        let debian = load(root.path(), false).unwrap();
        assert_eq!((debian.graph.edges(), debian.skipped.len()), (1, 2));
        let list = root.path().join("var/lib/apt/lists/y_Packages");
        let told = format!("left out: {}: not a package list", list.display());
        assert!(debian.notes()[1].starts_with(&told), "{:?}", debian.notes());
    }

    #[test]
    fn marks_and_line_ends_of_other_systems_change_nothing() {
        let text = "Package: a\nDepends: b, c\n\nPackage: b\nDepends:\n c\n\nPackage: c\n";
        let plain = load(machine(&[(STATUS, text.as_bytes())]).path(), false).unwrap();
        assert_eq!(plain.graph.edges(), 3);
        for other in [format!("\u{feff}{text}"), text.replace('\n', "\r\n")] {
            let debian = load(machine(&[(STATUS, other.as_bytes())]).path(), false).unwrap();
            assert_eq!(debian.graph, plain.graph, "{other:?}");
        }
    }

    #[test]
    fn a_list_of_several_frames_is_read_whole() {
        let both = [lz4("Package: a\nDepends: b\n\n"), lz4("Package: b\n")].concat();
        let root = machine(&[("var/lib/apt/lists/x_Packages.lz4", &both)]);
        assert_eq!(load(root.path(), false).unwrap().graph.edges(), 1);
    }

    #[test]
    fn names_lose_their_qualifiers() {
        let bare = |text| bare_name(text).unwrap_or("-");
        assert_eq!(bare(" python3:any (>= 3)"), "python3");
        assert_eq!(bare("libc6(>= 2)"), "libc6");
        assert_eq!(bare("x [amd64]"), "x");
        assert_eq!(bare("  "), "-");
    }

    #[test]
    fn package_lists_are_known_by_name() {
        let is = |name| is_package_list(Path::new(name));
        assert!(is("a/deb_main_Packages") && is("deb_Packages.lz4") && is("deb_Packages.xz"));
        assert!(!is("deb_Sources.lz4") && !is("deb_InRelease") && !is("deb_Packages.diff"));
    }
}
