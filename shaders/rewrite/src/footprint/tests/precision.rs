//! How much is known of the kernels that farptr ships.
//!
//! `precision.txt` has a line for each, so that a loss shows. `FARPTR_BLESS=1` writes it again.

use crate::footprint::result::{RootBytes, SiteReach};
use crate::{Check, FootprintCache, Program};
use std::fmt::Write;

const TABLE: &str = include_str!("precision.txt");

/// Push constants all of whose words are 64, and three workgroups.
const PUSH: [u32; 32] = [64; 32];
const GROUPS: [u32; 3] = [3, 1, 1];

fn push() -> Vec<u8> {
    PUSH.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The table as it is now: of each kernel the known accesses, the known indices into its own
/// variables, the loops that are known to end, the touched arguments that are only bases, and the
/// units of work.
fn table() -> String {
    let mut table = String::from("kernel     accesses  own  loops  bases  work\n");
    for (name, words) in farptr_kernels::all() {
        let program = Program::parse(words, Some("main")).expect(name);
        let (footprint, work) = program.footprints().evaluated(&push(), GROUPS, false);
        assert_eq!(footprint.unknown, None, "{name}");
        let sites = program.analysis().sites.iter().zip(&footprint.sites);
        let (own, accesses): (Vec<_>, Vec<_>) =
            sites.partition(|(site, _)| site.check == Check::Own);
        let known = |sites: &[(_, &SiteReach)]| {
            let known = sites.iter().filter(|(_, reach)| reach.is_known()).count();
            format!("{known}/{}", sites.len())
        };
        let ending = footprint.loops.iter().flatten().count();
        let loops = format!("{ending}/{}", footprint.loops.len());
        let (accesses, own) = (known(&accesses), known(&own));
        let is_base = |of: &&RootBytes| program.analysis().is_only_base(of.root);
        let bases = footprint.roots.iter().filter(is_base).count();
        let bases = format!("{bases}/{}", footprint.roots.len());
        writeln!(table, "{name:10} {accesses:8}  {own:3}  {loops:5}  {bases:5}  {work}")
            .expect("it is text");
    }
    table
}

#[test]
fn as_much_is_known_as_the_table_says() {
    let found = table();
    if std::env::var_os("FARPTR_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/footprint/tests/precision.txt");
        std::fs::write(path, &found).expect("the table can be written");
        return;
    }
    assert_eq!(found, TABLE, "FARPTR_BLESS=1 writes the table again");
}

/// A launch like an earlier one gives the same footprint; another word that counts gives another,
/// and the address of an argument does not count.
#[test]
fn the_cache_knows_launches_by_what_they_depend_on() {
    let (_, words) = farptr_kernels::all().into_iter().find(|of| of.0 == "saxpy").expect("it is");
    let program = Program::parse(words, None).expect("it is a kernel");
    let mut cache = FootprintCache::default();
    let mut push = push();
    let first = cache.of_launch(program.footprints(), &push, GROUPS);
    push[..16].fill(7);
    let same = cache.of_launch(program.footprints(), &push, GROUPS);
    assert!(std::sync::Arc::ptr_eq(&first, &same), "addresses do not count");
    push[16] = 65;
    let longer = cache.of_launch(program.footprints(), &push, GROUPS);
    assert_eq!(longer.roots[0].reads, Some((0, 65 * 4)));
    let wider = cache.of_launch(program.footprints(), &push, [1, 1, 1]);
    assert_eq!(wider.roots[0].reads, Some((0, 64 * 4)));
    for groups in 1..20 {
        cache.of_launch(program.footprints(), &push, [groups, 1, 1]);
    }
    push[16] = 64;
    let again = cache.of_launch(program.footprints(), &push, GROUPS);
    assert_eq!(*again, *first, "it was forgotten and is found again");
    assert!(!std::sync::Arc::ptr_eq(&first, &again));
}

#[test]
fn the_cache_knows_kernels_apart() {
    let mut cache = FootprintCache::default();
    let push = push();
    for wanted in ["saxpy", "axpby", "saxpy"] {
        let all = farptr_kernels::all();
        let (_, words) = all.into_iter().find(|of| of.0 == wanted).expect("it is shipped");
        let program = Program::parse(words, None).expect("it is a kernel");
        let found = cache.of_launch(program.footprints(), &push, GROUPS);
        assert_eq!(*found, program.footprints().of_launch(&push, GROUPS), "{wanted}");
    }
}
