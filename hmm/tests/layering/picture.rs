//! The picture of a crate's layers: a block of its `DESIGN.md`.
//!
//! ````text
//! ```layers PACKAGE
//! top     middle bottom
//! middle  bottom
//! bottom
//! ```
//! ````
//!
//! Each line is an entry of `src` and the entries that it uses. All of them are further down.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::arrows::Arrows;
use crate::circles::parts;

/// The entries of `src`, each with those that it uses.
type Entries = BTreeMap<String, BTreeSet<String>>;

/// Complaints about the picture.
pub(crate) fn complaints(arrows: &Arrows, package: &str, design: &str) -> Vec<String> {
    let Some(lines) = block(package, design) else {
        let block = of_code(arrows, package);
        return vec![format!("there is no block of layers; the code would have it so:\n{block}")];
    };
    let mut found = upward(&lines);
    let drawn: Entries = lines.iter().cloned().collect();
    if drawn != entries(arrows) {
        let block = of_code(arrows, package);
        found.push(format!("the block of layers is not that of the code, which is:\n{block}"));
    }
    found
}

/// The lines of the block: an entry, and what it uses.
fn block(package: &str, design: &str) -> Option<Vec<(String, BTreeSet<String>)>> {
    let (_, after) = design.split_once(&format!("```layers {package}\n"))?;
    let (block, _) = after.split_once("```")?;
    let line = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.collect()))
    };
    Some(block.lines().filter_map(line).collect())
}

/// The arrows of a block that do not point to a line further down.
fn upward(lines: &[(String, BTreeSet<String>)]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, (entry, uses)) in lines.iter().enumerate() {
        let below: BTreeSet<_> = lines[index + 1..].iter().map(|(entry, _)| entry).collect();
        let wrong = uses.iter().filter(|used| !below.contains(used));
        found.extend(wrong.map(|used| format!("{entry} uses {used}, which is no line below it")));
    }
    found
}

/// The entries of `src` and their arrows, from the code. Roots that only list modules are left out.
fn entries(arrows: &Arrows) -> Entries {
    let entry = |file: &str| parts(arrows, file)[0].trim_end_matches(".rs").to_owned();
    let mut found = Entries::new();
    for file in arrows.files.iter().filter(|file| file.as_str() != "lib.rs") {
        found.entry(entry(file)).or_default();
    }
    for (from, to) in arrows.all().keys() {
        let (from, to) = (entry(from), entry(to));
        if from != to {
            found.entry(to.clone()).or_default();
            found.entry(from).or_default().insert(to);
        }
    }
    found
}

/// Draws the block from the code.
pub(crate) fn of_code(arrows: &Arrows, package: &str) -> String {
    let mut rest = entries(arrows);
    let width = rest.keys().map(String::len).max().unwrap_or_default();
    let mut text = format!("```layers {package}\n");
    while !rest.is_empty() {
        let used: BTreeSet<_> = rest.values().flatten().cloned().collect();
        // In a circle nothing is on top; then any entry is taken.
        let top = rest.keys().find(|entry| !used.contains(*entry)).or(rest.keys().next()).cloned();
        let Some((entry, uses)) = top.and_then(|top| rest.remove_entry(&top)) else { break };
        let uses: Vec<_> = uses.into_iter().collect();
        let line = format!("{entry:width$}  {}", uses.join(" "));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text + "```"
}
