//! The direction of dependencies: between the crates of the workspace, read from their manifests,
//! and inside each crate, read from its sources.
//!
//! Inside a crate, three rules hold:
//!
//! 1. No circle between files.
//! 2. No circle between the entries of a folder (its files and its folders), in any folder.
//! 3. The arrows between the entries of `src` are those of the block of the kind
//!    `layers PACKAGE` in the `DESIGN.md` of the crate, and each points to a line further down.
//!
//! An arrow leads from the file that uses a name to the file that *defines* it: re-exports are
//! followed, and a `pub use` alone is no arrow. If methods of a type are defined in another file
//! than the type, and the file of the type calls them, that is an arrow too. Tests are left out.
//!
//! A new crate gets a line in [`CRATES`], and the block in its `DESIGN.md`.
//! The failing test lists the circles, and prints the block as the code would have it. A crate that
//! is split gets a line for each of its parts; their blocks may stand on one page.

mod arrows;
mod circles;
mod manifests;
mod modules;
mod mutants;
mod picture;

use std::fs;
use std::path::{Path, PathBuf};

use arrows::Arrows;
use modules::Sources;

/// A crate whose inside is read.
struct Crate {
    /// The folder of its manifest, below the workspace.
    folder: &'static str,
    /// The name of its package.
    package: &'static str,
    /// The page with its block of layers, below the workspace.
    design: &'static str,
}

const CRATES: &[Crate] = &[
    Crate { folder: "hmm", package: "farptr-hmm", design: "hmm/DESIGN.md" },
    Crate { folder: "shaders/cases", package: "farptr-kernel-cases", design: "shaders/DESIGN.md" },
    Crate { folder: "shaders/rewrite", package: "farptr-rewrite", design: "shaders/DESIGN.md" },
    Crate { folder: "shaders/kernels", package: "farptr-kernels", design: "shaders/DESIGN.md" },
    Crate { folder: "shaders/macros", package: "farptr-macros", design: "shaders/DESIGN.md" },
    Crate { folder: "runtime", package: "farptr", design: "runtime/DESIGN.md" },
    Crate { folder: "runtime/mask", package: "farptr-mask", design: "runtime/mask/DESIGN.md" },
    Crate { folder: "runtime/radv", package: "farptr-radv", design: "runtime/radv/DESIGN.md" },
    Crate { folder: "samples", package: "farptr-samples", design: "samples/DESIGN.md" },
    Crate { folder: "bench", package: "farptr-bench", design: "bench/DESIGN.md" },
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// Reads the sources of a crate, each with its path below `src`.
fn sources(of: &Crate) -> Sources {
    let src = workspace().join(of.folder).join("src");
    let mut files = Vec::new();
    list_files(&src, &mut files);
    let read = files.into_iter().map(|file| {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let path = file.strip_prefix(&src).expect("below src").display().to_string();
        (path, text)
    });
    Sources { package: of.package.replace('-', "_"), files: read.collect() }
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            list_files(&path, files);
        } else if path.extension().is_some_and(|found| found == "rs") {
            files.push(path);
        }
    }
}

/// Every complaint about a crate.
fn complaints(of: &Crate) -> Vec<String> {
    let arrows = Arrows::of(&sources(of));
    let mut found = circles::between_files(&arrows);
    found.extend(circles::between_folders(&arrows));
    let design = fs::read_to_string(workspace().join(of.design));
    let design = design.unwrap_or_else(|error| panic!("{}: {error}", of.design));
    let drawn = picture::complaints(&arrows, of.package, &design);
    found.extend(drawn.into_iter().map(|text| format!("{}: {text}", of.design)));
    found
}

#[test]
fn arrows_inside_each_crate_point_downwards() {
    for of in CRATES {
        let found = complaints(of);
        assert!(found.is_empty(), "{}:\n{}", of.package, found.join("\n"));
    }
}

#[test]
fn every_crate_is_read() {
    for of in CRATES {
        let arrows = Arrows::of(&sources(of));
        assert!(!arrows.all().is_empty(), "{}: no arrow was found", of.package);
        let (files, folders) = (circles::between_files(&arrows), circles::between_folders(&arrows));
        println!("{}: {} circles of files, {} of folders", of.package, files.len(), folders.len());
    }
}
