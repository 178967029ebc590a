//! How much is known of kernels that farptr does not ship, before they run.
//!
//! `cases.txt` has a line for each kernel of the exactness suite, `producers.txt` one for each
//! kernel of `runtime/tests/producers` and each compiler of `.ci/producers`, so that a loss shows.
//! `FARPTR_BLESS=1` writes both again.

use farptr_kernel_cases::{catalogue::LISTS, layout::Layout, text::Level};
use farptr_rewrite::{Check, Footprint, Program, Site, SiteReach, specialize};
use std::fmt::{self, Write as _};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// An address for the memory of cases. Nothing is there.
const BASE: u64 = 1 << 36;

/// Push constants all of whose words are 64, and a grid, for kernels without memory of their own.
const PUSH: [u8; 128] = {
    let mut push = [0; 128];
    let mut at = 0;
    while at < push.len() {
        push[at] = 64;
        at += 4;
    }
    push
};
const GROUPS: [u32; 3] = [3, 2, 2];

/// How many of some things are known.
#[derive(Clone, Copy, Default)]
struct Known {
    known: usize,
    all: usize,
}

impl Known {
    fn of(things: impl Iterator<Item = bool>) -> Self {
        things.fold(Self::default(), |count, is_known| Self {
            known: count.known + usize::from(is_known),
            all: count.all + 1,
        })
    }

    fn add(&mut self, other: Self) {
        (self.known, self.all) = (self.known + other.known, self.all + other.all);
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.known, self.all))
    }
}

/// A table: how much is known of each kernel, and of all together.
struct Table {
    lines: String,
    kernels: Known,
    accesses: Known,
    own: Known,
    loops: Known,
}

impl Table {
    fn new() -> Self {
        let [kernels, accesses, own, loops] = [Known::default(); 4];
        Self { lines: String::new(), kernels, accesses, own, loops }
    }

    /// Adds the kernel of some words, launched with these push constants on so many workgroups.
    fn add(&mut self, name: &str, words: &[u32], push: &[u8], groups: [u32; 3]) {
        let words = specialize(words, None, &[]).unwrap_or_else(|why| panic!("{name}: {why}"));
        let program = Program::parse(&words, None).unwrap_or_else(|why| panic!("{name}: {why}"));
        let footprint = program.footprints().of_launch(push, groups);
        let sites = || program.analysis().sites.iter().zip(&footprint.sites);
        let of = |is_own: bool| {
            let some = sites().filter(move |(site, _)| (site.check == Check::Own) == is_own);
            Known::of(some.map(|(_, reach): (&Site, &SiteReach)| reach.is_known()))
        };
        let (accesses, own) = (of(false), of(true));
        let loops = Known::of(footprint.loops.iter().map(Option::is_some));
        self.line(name, [accesses, own, loops], &why(&footprint));
        let is_known = footprint.sites.iter().all(SiteReach::is_known);
        self.kernels.add(Known::of([is_known && footprint.loop_runs.is_some()].into_iter()));
        self.accesses.add(accesses);
        self.own.add(own);
        self.loops.add(loops);
    }

    fn line(&mut self, name: &str, [accesses, own, loops]: [Known; 3], why: &str) {
        let line = format!("{name:44} {accesses:9} {own:7} {loops:7} {why}");
        writeln!(self.lines, "{}", line.trim_end()).expect("it is text");
    }

    /// The text of the table, with the sums of all its lines first.
    fn text(mut self) -> String {
        let lines = std::mem::take(&mut self.lines);
        let all = format!("all, {} of them whole", self.kernels);
        self.line(&all, [self.accesses, self.own, self.loops], "");
        let head = format!("{:44} {:9} {:7} loops\n", "kernel", "accesses", "own");
        head + &self.lines + &lines
    }
}

/// Why nothing is known of a launch, if that is so.
fn why(footprint: &Footprint) -> String {
    footprint.unknown.map(|why| why.to_string()).unwrap_or_default()
}

/// Compares a table with the file that has it, or writes it there. The first line of both says what
/// the kernels were made of, where that can differ.
fn check(file: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/precision").join(file);
    if std::env::var_os("FARPTR_BLESS").is_some() {
        fs::write(&path, found).expect("the table can be written");
        return;
    }
    let expected = fs::read_to_string(&path).expect("the table is there");
    if expected.lines().next() != found.lines().next() {
        let why = "its kernels were made by other compilers or of other sources";
        return skip(&format!("{file}: {why}; FARPTR_BLESS=1 writes it again"));
    }
    let lines_of = |text: &str, other: &str, sign: &str| {
        let is_there = |line: &&str| !other.lines().any(|of| of == *line);
        text.lines().filter(is_there).map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    let differing = lines_of(&expected, found, "-") + &lines_of(found, &expected, "+");
    assert!(found == expected, "{file}; FARPTR_BLESS=1 writes it again:\n{differing}");
}

/// Says why a table is not compared; in CI it fails instead.
fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI this test must run, but: {why}");
    // Straight to the stream: what a passing test prints with macros is captured.
    let _ = writeln!(std::io::stderr(), "SKIP precision: {why}");
}

#[test]
fn as_much_is_known_of_the_cases_as_their_table_says() {
    let mut table = Table::new();
    for named in LISTS.iter().flat_map(|list| list.cases) {
        let case = (named.make)();
        let push = Layout::of(&case.buffers).push(BASE, &case.push);
        for module in case.modules(named.name) {
            let level = match module.level {
                None => "",
                Some(Level::Zero) => " -O0",
                Some(_) => " -O",
            };
            table.add(&format!("{}{level}", named.name), &module.words, &push, case.groups);
        }
    }
    check("cases.txt", &table.text());
}

/// The folder in which `.ci/producers` leaves its work, and what it says that this was made of.
fn producers() -> Option<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../producers");
    match fs::read_to_string(folder.join("ready")) {
        Ok(made_of) => Some((folder, made_of)),
        Err(_) => {
            skip("no kernels of other compilers; `./farptr test` makes them");
            None
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("it is a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort_unstable();
    paths
}

#[test]
fn as_much_is_known_of_kernels_of_other_compilers_as_their_table_says() {
    let Some((folder, made_of)) = producers() else { return };
    let mut table = Table::new();
    let modules = files(&folder.join("modules")).into_iter().flat_map(|of| files(&of));
    for path in modules {
        let bytes = fs::read(&path).expect("it can be read");
        let words = bytes.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]);
        let words: Vec<u32> = words.map(u32::from_le_bytes).collect();
        let name: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy()).collect();
        let name = format!("{}/{}", name[1], name[0].trim_end_matches(".spv"));
        table.add(&name, &words, &PUSH, GROUPS);
    }
    check("producers.txt", &format!("made of {}\n{}", made_of.trim_end(), table.text()));
}
