//! The direction of dependencies between the crates of the workspace.
//!
//! `samples` and `bench` use `runtime`; `runtime` uses `hmm` and the crates in `shaders`; those two
//! use none of the others. `bench` measures `hmm` by itself too. The tests of `runtime` use
//! `runtime/mask`; they and `bench` use `runtime/radv` and `shaders/cases`, which tests of
//! `shaders/rewrite` use, too.

use std::collections::BTreeSet;
use std::fs;

use crate::workspace;

/// Every crate of the workspace: its folder, its package, and the packages it may depend on.
const CRATES: [(&str, &str, &[&str]); 12] = [
    ("hmm", "farptr-hmm", &[]),
    ("shaders/cases", "farptr-kernel-cases", &[]),
    // Its tests rewrite the kernels that farptr ships, and analyse those of the exactness suite.
    ("shaders/rewrite", "farptr-rewrite", &["farptr-kernel-cases", "farptr-kernels"]),
    ("shaders/kernels", "farptr-kernels", &["farptr-rewrite", "farptr-vulkano-shim"]),
    // Its tests declare kernels as users do.
    ("shaders/macros", "farptr-macros", &["farptr", "farptr-kernels", "farptr-rewrite"]),
    ("shaders/vulkano-shim", "farptr-vulkano-shim", &["farptr-vulkano-shim-derive"]),
    ("shaders/vulkano-shim/derive", "farptr-vulkano-shim-derive", &[]),
    // Its tests switch a feature of the crate on: it depends on itself.
    (
        "runtime",
        "farptr",
        &[
            "farptr",
            "farptr-hmm",
            "farptr-kernel-cases",
            "farptr-kernels",
            "farptr-macros",
            "farptr-mask",
            "farptr-radv",
            "farptr-rewrite",
        ],
    ),
    ("runtime/mask", "farptr-mask", &["farptr-hmm"]),
    ("runtime/radv", "farptr-radv", &["farptr-rewrite"]),
    ("samples", "farptr-samples", &["farptr"]),
    (
        "bench",
        "farptr-bench",
        &["farptr", "farptr-hmm", "farptr-kernel-cases", "farptr-radv", "farptr-samples"],
    ),
];

fn manifest(folder: &str) -> String {
    let path = workspace().join(folder).join("Cargo.toml");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The packages named in the dependency tables of a manifest, of every kind and target.
///
/// It reads as much of TOML as the manifests here use: one dependency a line, or a table each.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut in_table = false;
    for line in manifest.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            in_table = header.ends_with("dependencies");
            found.extend(header.split_once("dependencies.").map(|(_, name)| unquoted(name)));
        } else if let Some(package) = renamed(line) {
            found.insert(package);
        } else if in_table && let Some((key, _)) = line.split_once('=') {
            found.insert(unquoted(key.split('.').next().unwrap_or_default()));
        }
    }
    found
}

/// The value of `package = "..."` in a line that renames a dependency.
fn renamed(line: &str) -> Option<String> {
    let (before, after) = line.split_once("package")?;
    let value = after.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?;
    let is_key = before.is_empty() || before.trim_end().ends_with(['{', ',']);
    is_key.then(|| value.split('"').next().unwrap_or_default().to_owned())
}

fn unquoted(name: &str) -> String {
    name.trim().trim_matches('"').to_owned()
}

#[test]
fn dependencies_point_downwards_only() {
    for (folder, package, allowed) in CRATES {
        for dependency in dependencies(&manifest(folder)) {
            let ours = CRATES.iter().any(|(_, package, _)| *package == dependency);
            assert!(
                !ours || allowed.contains(&dependency.as_str()),
                "{folder}/Cargo.toml: {package} depends on {dependency}, but may depend only on \
                 {allowed:?}; use what that crate offers, or move the code down",
            );
        }
    }
}

#[test]
fn every_crate_is_listed_here() {
    for (folder, package, _) in CRATES {
        let name = format!("name = \"{package}\"");
        assert!(manifest(folder).contains(&name), "{folder}/Cargo.toml is not that of {package}");
    }
    let workspace = manifest("");
    let (_, after) = workspace.split_once("members = [").expect("a list of members");
    let (list, _) = after.split_once(']').expect("the end of the list");
    let members: BTreeSet<_> = list.split(',').map(unquoted).filter(|m| !m.is_empty()).collect();
    let listed: BTreeSet<_> = CRATES.iter().map(|(folder, ..)| (*folder).to_owned()).collect();
    assert_eq!(members, listed, "the table in this test must list the members of the workspace");
}

#[test]
fn the_reader_understands_the_forms_in_use() {
    let text = r#"
[package]
name = "farptr"
[dependencies]
ash.workspace = true
local = { package = "farptr-hmm", path = "hmm" }
spirv = "0.4"
# ghost = "1"
[target.'cfg(unix)'.dependencies]
rustix = { version = "1" }
[dev-dependencies.tempfile]
version = "3"
[lints]
workspace = true
"#;
    let expected = ["ash", "farptr-hmm", "rustix", "spirv", "tempfile"].map(String::from);
    assert_eq!(dependencies(text), BTreeSet::from(expected));
}
