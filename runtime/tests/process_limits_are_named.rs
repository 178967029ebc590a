//! A runtime in a process with small resource limits: it runs without what it can do without, and
//! for everything else the error names the limit.
//!
//! Limits hold for a whole process, so each case runs in a child: this test binary again, with only
//! the test `child` selected.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::runtime;
use farptr::shaders::affine;
use farptr::{Error, Grid, Runtime};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Set in children: which resource is limited, how far, and where the cache is.
const LIMITED: &str = "FARPTR_TEST_LIMITED";
const CACHE: &str = "FARPTR_TEST_CACHE";
const MARK: &str = "child says: ";

/// Not a test of its own: what a child does under a limit.
#[test]
fn child() {
    let Ok(limited) = std::env::var(LIMITED) else {
        return;
    };
    let (resource, limit) = limited.rsplit_once(' ').unwrap();
    let builder = match std::env::var_os(CACHE) {
        Some(folder) => Runtime::builder().pipeline_cache(folder),
        None => Runtime::builder().no_pipeline_cache(),
    };
    restrict(resource, limit.parse().unwrap());
    let said = match builder.build() {
        Ok(runtime) => {
            compute(&runtime).unwrap();
            runtime.explain().to_string()
        }
        Err(error) => error_chain(&error),
    };
    println!("{MARK}{}", said.replace('\n', "|"));
}

/// Sets a limit; for files, of so many that can still be opened.
fn restrict(resource: &str, limit: u64) {
    let (which, limit) = match resource {
        "files" => {
            let lowest = fs::File::open("/").unwrap();
            let lowest = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&lowest)).unwrap();
            (Resource::Nofile, lowest + limit)
        }
        "file bytes" => (Resource::Fsize, limit),
        "address space" => (Resource::As, limit),
        "locked bytes" => (Resource::Memlock, limit),
        other => panic!("no such resource: {other}"),
    };
    let maximum = getrlimit(which).maximum;
    setrlimit(which, Rlimit { current: Some(limit), maximum }).unwrap();
}

fn error_chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |chain, source| format!("{chain}: {source}"))
}

fn compute(runtime: &Runtime) -> Result<(), Error> {
    let kernel = runtime.kernel::<affine::Kernel>()?;
    let mut y = vec![0.0f32; 1000];
    runtime.scope(|s| {
        let y = s.lend_mut(&mut y)?.ptr();
        let args = affine::Args { y, n: 1000, a: 1.0, c: 1.0 };
        Ok(s.launch(&kernel, Grid::cover(1000), args)?)
    })?;
    assert_eq!(y, vec![1.0; 1000]);
    Ok(())
}

/// The end of a child under a limit.
fn child_under(limited: &str, cache: Option<&Path>) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(LIMITED, limited);
    if let Some(cache) = cache {
        command.env(CACHE, cache);
    }
    command.output().unwrap()
}

/// The output of a child under a limit.
fn ask_child(limited: &str, cache: Option<&Path>) -> String {
    let output = child_under(limited, cache);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text.lines().find_map(|line| Some(line.split_once(MARK)?.1));
    said.unwrap_or_else(|| panic!("{limited}: the child said nothing: {output:?}")).to_owned()
}

#[test]
fn without_room_for_files_the_cache_is_not_kept_and_nothing_else_fails() {
    if runtime().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let said = ask_child("file bytes 1000000000", Some(&whole));
    assert!(said.contains("kept in"), "{said}");
    let bytes = fs::read_dir(&whole).unwrap().next().unwrap().unwrap().metadata().unwrap().len();
    fs::create_dir(&cut).unwrap();
    let mut tried = 0;
    for limit in [bytes - 1, bytes / 2, 1, 0] {
        if !driver_bears(limit) {
            continue;
        }
        tried += 1;
        let said = ask_child(&format!("file bytes {limit}"), Some(&cut));
        assert!(said.contains("not kept: cannot write"), "{limit}: {said}");
        assert!(said.contains("File too large"), "{limit}: {said}");
        // The list of fewer kernels may have had room before.
        let whole =
            |entry: fs::DirEntry| entry.path().extension().is_some_and(|e| e == "pipelines");
        let left = fs::read_dir(&cut).unwrap();
        assert!(left.map(Result::unwrap).all(whole), "{limit}: no cut file stays behind");
    }
    if tried == 0 {
        // Under this limit the driver gives no runtime, so there is no cache to test.
        println!("this driver needs files that are longer than a cache");
    }
}

/// Whether a runtime can be built under this limit without a cache: SwiftShader and later releases
/// of Mesa keep memory in files.
fn driver_bears(limit: u64) -> bool {
    let output = child_under(&format!("file bytes {limit}"), None);
    String::from_utf8_lossy(&output.stdout).contains("taken")
}

#[test]
fn a_driver_that_keeps_memory_in_files_is_refused_where_they_have_no_room() {
    if runtime().is_none() {
        return;
    }
    for limit in [64 << 10, 1 << 20, 4 << 20] {
        let said = ask_child(&format!("file bytes {limit}"), None);
        let named = said.contains(&format!("the limit is {limit} bytes (RLIMIT_FSIZE, ulimit -f)"));
        assert!(named || said.contains("taken"), "{said}");
    }
}

#[test]
fn too_few_files_are_named_as_the_cause() {
    if runtime().is_none() {
        return;
    }
    let said = ask_child("files 0", None);
    assert!(said.starts_with("the process can open 0 more files: the limit is "), "{said}");
    assert!(said.contains(" (RLIMIT_NOFILE, ulimit -n); raise it: "), "{said}");
    let said = ask_child("files 100", None);
    assert!(said.contains("taken"), "{said}");
}

#[test]
fn too_small_an_address_space_is_named_as_the_cause() {
    if runtime().is_none() {
        return;
    }
    // Less than the process has: nothing can be mapped any more.
    let said = ask_child("address space 10000000", None);
    let lack = "the process cannot map 256 MiB of memory: the limit is 10000000 bytes (RLIMIT_AS, ";
    assert!(said.starts_with(lack), "{said}");
}

#[test]
fn locked_memory_is_not_needed() {
    if runtime().is_none() {
        return;
    }
    assert!(ask_child("locked bytes 0", None).contains("taken"));
}
