//! The style rules that no lint sees, checked over the whole workspace: short lines and files, no
//! unfinished work, unsafe code where it belongs, links that lead somewhere.

use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of the workspace that hold sources.
const FOLDERS: [&str; 5] = ["hmm", "runtime", "shaders", "samples", "bench"];

const MAX_COLUMNS: usize = 100;
const MAX_LINES: usize = 600;

/// Folders whose business is unsafe code: the rules for it are in their `mod.rs`.
const UNSAFE_FOLDERS: [&str; 2] = ["hmm/src/sys/", "runtime/src/vk/"];

fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the crate lies in the workspace").to_path_buf()
}

/// A source file: its path below the workspace, and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn complaint(&self, line: usize, what: impl AsRef<str>) -> String {
        format!("{}:{line}: {}", self.path, what.as_ref())
    }
}

/// Reads every file of the workspace with the given extension.
fn sources(extension: &str) -> Vec<Source> {
    let root = workspace();
    let mut paths = Vec::new();
    for folder in FOLDERS {
        walk(&root.join(folder), &mut paths);
    }
    for entry in fs::read_dir(&root).expect("the workspace").flatten() {
        paths.extend(Some(entry.path()).filter(|path| path.is_file()));
    }
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    // A file that is saved while the test runs may be gone for a moment; the next run sees it.
    let read = |path: PathBuf| Some((fs::read_to_string(&path).ok()?, path));
    let sources = paths.into_iter().filter_map(read).map(|(text, path)| Source {
        path: path.strip_prefix(&root).expect("below the root").display().to_string(),
        text,
    });
    sources.collect()
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            walk(&path, paths);
        } else if path.is_file() {
            paths.push(path);
        }
    }
}

/// Fails with all complaints at once and the rule that they are about.
fn report(rule: &str, complaints: &[String]) {
    let mut message = String::new();
    for complaint in complaints {
        let _ = write!(message, "\n  {complaint}");
    }
    assert!(complaints.is_empty(), "{rule}{message}");
}

/// Checks every line of every Rust file; the check returns what is wrong.
fn check_lines(rule: &str, check: impl Fn(&Source, &str) -> Option<String>) {
    let mut complaints = Vec::new();
    for source in sources("rs") {
        for (index, line) in source.text.lines().enumerate() {
            complaints.extend(check(&source, line).map(|what| source.complaint(index + 1, what)));
        }
    }
    report(rule, &complaints);
}

#[test]
fn the_walk_finds_this_file() {
    let found = sources("rs");
    assert!(found.iter().any(|source| source.path == "hmm/tests/tidy.rs"));
    assert!(found.iter().any(|source| source.path == "hmm/src/lib.rs"));
}

#[test]
fn lines_fit_in_the_window() {
    check_lines("Lines have at most 100 columns; break the line:", |_, line| {
        let columns = line.chars().count();
        (columns > MAX_COLUMNS).then(|| format!("{columns} columns"))
    });
}

#[test]
fn files_are_short_enough_to_read() {
    let long = sources("rs").into_iter().filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > MAX_LINES).then(|| source.complaint(lines, format!("{lines} lines")))
    });
    let long: Vec<_> = long.collect();
    report("Files have at most 600 lines; split the module at a seam:", &long);
}

#[test]
fn nothing_is_left_for_later() {
    let words = [concat!("TO", "DO"), concat!("XX", "X")];
    let macros = [concat!("to", "do!("), concat!("unimpl", "emented!(")];
    check_lines("Unfinished work is not committed; finish it or open an issue:", |_, line| {
        let word = words.iter().find(|word| has_word(line, word));
        let call = macros.iter().find(|call| line.contains(**call));
        word.or(call).map(|found| format!("found `{found}`"))
    });
}

/// Tells whether `text` contains `word` between characters that cannot be part of a name.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[test]
fn unsafe_code_is_where_it_belongs() {
    let rule = "Unsafe code lives in hmm/src/sys and runtime/src/vk, or in a file whose module \
                documentation has a `# Safety` heading, tests included; move it or add one:";
    check_lines(rule, |source, line| {
        let unexpected = has_unsafe_code(line) && !may_be_unsafe(source);
        unexpected.then(|| line.trim().to_owned())
    });
}

fn has_unsafe_code(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let keyword = concat!("un", "safe");
    code.match_indices(keyword).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + keyword.len()..].trim_start();
        let opens = ["{", "impl", "extern", "("].iter().any(|start| after.starts_with(start));
        !before.is_some_and(is_name) && opens
    })
}

fn may_be_unsafe(source: &Source) -> bool {
    UNSAFE_FOLDERS.iter().any(|folder| source.path.starts_with(folder)) || says_why(source)
}

/// Tells whether a file's module documentation has a `# Safety` heading.
fn says_why(source: &Source) -> bool {
    source.text.lines().any(|line| line.trim_end() == "//! # Safety")
}

#[test]
fn folders_of_unsafe_code_state_their_rules() {
    let sources = sources("rs");
    for folder in UNSAFE_FOLDERS {
        let module = sources.iter().find(|source| source.path == format!("{folder}mod.rs"));
        assert!(module.is_some_and(says_why), "{folder}mod.rs lacks a `# Safety` heading");
    }
}

#[test]
fn the_unsafe_scanner_knows_code_from_prose() {
    let keyword = concat!("un", "safe");
    for code in ["{ x() }", "impl Send for X {}", "extern \"C\" {", "  {", "(no_mangle)"] {
        assert!(has_unsafe_code(&format!("let y = {keyword} {code}")), "{code}");
    }
    for prose in ["// unsafe { }", "/// unsafe impl", "un_safe {", "not_unsafe {", "unsafe_code)"] {
        assert!(!has_unsafe_code(prose), "{prose}");
    }
}

#[test]
fn links_lead_somewhere() {
    let mut complaints = Vec::new();
    for source in sources("md") {
        for (line, target) in links(&source.text) {
            if let Some(what) = broken(&source, &target) {
                complaints.push(source.complaint(line, format!("({target}) {what}")));
            }
        }
    }
    report("Links in Markdown files resolve; correct the link:", &complaints);
}

/// Lists the targets of Markdown links with their line numbers, leaving out code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose_lines(text) {
        // Every other piece between back quotes is code.
        let prose: String = line.split('`').step_by(2).collect();
        let after = prose.split("](").skip(1);
        let targets = after.filter_map(|rest| rest.split([')', ' ']).next());
        found.extend(targets.map(|target| (number, target.to_owned())));
    }
    found
}

/// The lines outside fenced blocks, numbered from one.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Tells what is wrong with a link, if anything. Addresses on the web are not visited.
fn broken(source: &Source, target: &str) -> Option<String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let here = workspace().join(&source.path);
    let path = if file.is_empty() { here } else { here.with_file_name(file) };
    if !path.exists() {
        return Some("does not exist".to_owned());
    }
    let checked = !anchor.is_empty() && path.extension().is_some_and(|found| found == "md");
    let text = if checked {
        fs::read_to_string(&path).ok()?
    } else {
        return None;
    };
    (!anchors(&text).contains(anchor)).then(|| "has no such heading".to_owned())
}

/// The anchors that headings get: lower case, spaces as hyphens, other signs dropped.
fn anchors(text: &str) -> HashSet<String> {
    let headings = prose_lines(text).filter(|(_, line)| line.starts_with('#'));
    let slug = |(_, line): (usize, &str)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|&c| is_name(c) || c == ' ' || c == '-');
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(slug).collect()
}

#[test]
fn the_link_scanner_reads_markdown() {
    let text = "# A B: c-d\n[x](one.md) `[y](code)` [z](two.md#a)\n```\n[w](block)\n```\n[v](#b)";
    let expected = [(2, "one.md"), (2, "two.md#a"), (6, "#b")].map(|(n, t)| (n, t.to_owned()));
    assert_eq!(links(text), expected);
    assert_eq!(anchors(text), HashSet::from(["a-b-c-d".to_owned()]));
}
