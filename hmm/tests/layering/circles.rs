//! Circles of arrows: between files, and between the entries of each folder.

use std::collections::{BTreeMap, BTreeSet};

use crate::arrows::Arrows;

/// Arrows between nodes with names, each with a reason.
pub(crate) type Graph = BTreeMap<(String, String), String>;

/// Describes the circles between files.
pub(crate) fn between_files(arrows: &Arrows) -> Vec<String> {
    describe("files", arrows.all())
}

/// Describes the circles between the entries of each folder.
pub(crate) fn between_folders(arrows: &Arrows) -> Vec<String> {
    let mut folders: BTreeMap<Vec<String>, Graph> = BTreeMap::new();
    for ((from, to), why) in arrows.all() {
        let (from_parts, to_parts) = (parts(arrows, from), parts(arrows, to));
        let shared = from_parts.iter().zip(&to_parts).take_while(|(a, b)| a == b).count();
        let node = |parts: &[String]| parts[..=shared].join("/");
        let arrow = (node(&from_parts), node(&to_parts));
        let reason = format!("{from} uses {why} of {to}");
        let graph = folders.entry(from_parts[..shared].to_vec()).or_default();
        graph.entry(arrow).or_insert(reason);
    }
    folders.values().flat_map(|graph| describe("entries of a folder", graph)).collect()
}

/// The folders above a file, and its name. A file beside a folder of its name belongs into it.
pub(crate) fn parts(arrows: &Arrows, file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let below = format!("{stem}/");
    let file = match arrows.files.iter().any(|other| other.starts_with(&below)) {
        true => format!("{stem}/mod.rs"),
        false => file.to_owned(),
    };
    file.split('/').map(str::to_owned).collect()
}

fn describe(what: &str, graph: &Graph) -> Vec<String> {
    let text = |circle: &BTreeSet<String>| {
        let inside =
            graph.iter().filter(|((from, to), _)| circle.contains(from) && circle.contains(to));
        let arrows: Vec<_> =
            inside.map(|((from, to), why)| format!("    {from} -> {to} ({why})")).collect();
        format!("  a circle of {what}:\n{}", arrows.join("\n"))
    };
    circles(graph).iter().map(text).collect()
}

/// The sets of nodes of which each leads to each.
fn circles(graph: &Graph) -> Vec<BTreeSet<String>> {
    let nodes: BTreeSet<_> = graph.keys().flat_map(|(from, to)| [from, to]).collect();
    let reach: BTreeMap<_, _> = nodes.iter().map(|&node| (node, reachable(graph, node))).collect();
    let mut found: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for &node in &nodes {
        let both = reach[node].iter().filter(|other| reach[*other].contains(node));
        let circle: BTreeSet<_> = both.cloned().collect();
        if !circle.is_empty() {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

/// The nodes that arrows lead to from `start`, by one step at least.
fn reachable(graph: &Graph, start: &String) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        for (from, to) in graph.keys().filter(|(from, _)| from == node) {
            debug_assert_eq!(from, node);
            if found.insert(to.clone()) {
                open.push(to);
            }
        }
    }
    found
}
