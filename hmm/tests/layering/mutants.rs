//! Made-up crates that break one rule each: the reader finds what is wrong with them.

use crate::arrows::Arrows;
use crate::circles::{between_files, between_folders};
use crate::modules::Sources;
use crate::picture;

/// Reads a crate from the texts of its files.
fn arrows(files: &[(&str, &str)]) -> Arrows {
    let files = files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect();
    Arrows::of(&Sources { package: "made_up".to_owned(), files })
}

/// The arrows of a crate, without their reasons.
fn pairs(files: &[(&str, &str)]) -> Vec<(String, String)> {
    arrows(files).all().keys().cloned().collect()
}

fn pair(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

#[test]
fn a_crate_without_circles_has_none() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B;"),
    ]);
    assert_eq!(found.all().len(), 1);
    assert!(between_files(&found).is_empty() && between_folders(&found).is_empty());
}

#[test]
fn a_circle_of_files_is_found() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::{self, B}; pub struct A(B);"),
        ("b.rs", "use super::c; pub struct B(c::C);"),
        ("c.rs", "pub struct C(Option<Box<crate::a::A>>);"),
    ]);
    let circles = between_files(&found);
    assert_eq!(circles.len(), 1, "{circles:?}");
    assert!(
        ["a.rs -> b.rs", "b.rs -> c.rs", "c.rs -> a.rs"].iter().all(|a| circles[0].contains(a))
    );
}

#[test]
fn a_circle_through_a_re_export_is_found() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b; pub use a::A as Renamed;"),
        ("a/mod.rs", "mod deep; pub(crate) use deep::*;"),
        ("a/deep.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use crate::Renamed; pub struct B(Option<Box<Renamed>>);"),
    ]);
    assert_eq!(between_files(&found).len(), 1);
    assert_eq!(between_folders(&found).len(), 1);
}

#[test]
fn a_re_export_alone_is_no_arrow_but_its_use_is() {
    let child = ("a/child.rs", "use super::Other; pub struct Child(Other);");
    let listed = [
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod child; pub use child::Child; pub struct Other;"),
        child,
    ];
    assert_eq!(pairs(&listed), [pair("a/child.rs", "a/mod.rs")]);
    let used = [
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod child; pub use child::Child; pub struct Other; fn f(_: Child) {}"),
        child,
    ];
    assert_eq!(between_files(&arrows(&used)).len(), 1);
}

#[test]
fn a_circle_of_folders_without_a_circle_of_files_is_found() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "pub mod one; pub mod two;"),
        ("a/one.rs", "pub struct One(crate::b::B);"),
        ("a/two.rs", "pub struct Two;"),
        ("b.rs", "pub struct B(crate::a::two::Two);"),
    ]);
    assert!(between_files(&found).is_empty());
    assert_eq!(between_folders(&found).len(), 1);
}

#[test]
fn a_circle_through_methods_in_another_file_is_found() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod more;"),
        ("a.rs", "pub struct A; impl A { fn f(&self) { self.g(); } }"),
        ("more.rs", "use crate::a::A; impl A { pub fn g(&self) {} pub fn h(&self) {} }"),
    ]);
    assert_eq!(between_files(&found).len(), 1);
}

#[test]
fn paths_in_macros_functions_and_binaries_count() {
    let files = [
        ("lib.rs", "pub mod a; pub mod b;"),
        ("a.rs", "fn f() { assert!(matches!(1, crate::b::B)); }"),
        ("b.rs", "pub const B: u8 = 1; pub fn g() {}"),
        ("bin/tool.rs", "fn main() { use made_up::b::g; g(); }"),
    ];
    assert_eq!(pairs(&files), [pair("a.rs", "b.rs"), pair("bin/tool.rs", "b.rs")]);
}

#[test]
fn tests_do_not_count() {
    let files = [
        ("lib.rs", "mod a; mod b; #[cfg(all(test, not(miri)))] mod c;"),
        ("a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
        ("b.rs", "pub struct B(crate::a::A);"),
        ("c.rs", "use crate::a::A;"),
    ];
    assert_eq!(pairs(&files), [pair("b.rs", "a.rs")]);
}

#[test]
fn a_picture_that_is_not_the_code_s_is_found() {
    let found = arrows(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub struct A(crate::b::B);"),
        ("b.rs", "pub struct B;"),
    ]);
    let complaints = |block: &str| picture::complaints(&found, "made-up", block);
    assert!(complaints("```layers made-up\na  b\nb\n```\n").is_empty());
    assert_eq!(complaints("```layers made-up\nb\na  b\n```\n").len(), 1, "an upward arrow");
    assert_eq!(complaints("```layers made-up\na\nb\n```\n").len(), 1, "an arrow that is not drawn");
    assert_eq!(
        complaints("```layers made-up\na  b\nb  a\n```\n").len(),
        2,
        "one that is not there"
    );
    assert_eq!(complaints("nothing").len(), 1);
    assert_eq!(picture::of_code(&found, "made-up"), "```layers made-up\na  b\nb\n```");
}
