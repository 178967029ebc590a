//! The programs themselves: results, reports, exit statuses.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use farptr::{AccessMode, Runtime};
use farptr_samples::csr_file::CsrFile;
use farptr_samples::report::Report;

/// The access modes that the device has, the one that farptr takes by itself first.
fn accesses() -> &'static [&'static str] {
    static ACCESSES: OnceLock<Vec<&str>> = OnceLock::new();
    ACCESSES.get_or_init(|| {
        let has = |access| Runtime::builder().access(access).no_pipeline_cache().build().is_ok();
        let modes = [("direct", AccessMode::Direct), ("mirrored", AccessMode::Mirrored)];
        modes.into_iter().filter(|&(_, access)| has(access)).map(|(name, _)| name).collect()
    })
}

/// Whether a device can be used; without one the test is skipped, or fails in CI.
fn device() -> bool {
    let Err(error) = Runtime::builder().no_pipeline_cache().build() else { return true };
    assert!(std::env::var_os("CI").is_none(), "in CI this test must run, but: {error}");
    // Straight to the stream: what a passing test prints with macros is captured.
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIP {name}: {error}");
    false
}

fn run(program: &str, args: &[&str]) -> Output {
    command(program, args).output().unwrap()
}

fn command(program: &str, args: &[&str]) -> Command {
    let path = match program {
        "spmv" => env!("CARGO_BIN_EXE_spmv"),
        "demo" => env!("CARGO_BIN_EXE_demo"),
        _ => env!("CARGO_BIN_EXE_graph-walk"),
    };
    let mut command = Command::new(path);
    command.args(args).env("FARPTR_VALIDATION", "1");
    command
}

/// The report of a run that must be verified, in direct access where the device has it.
fn report(program: &str, args: &[&str]) -> Report {
    let access = accesses()[0];
    let report = report_in(access, program, args);
    if access == "direct" {
        assert_eq!((report.rounds, report.faults.device), (report.launches, 0));
    }
    assert_moved(&report);
    report
}

/// Checks that memory was imported; or that a kernel missed pages, which were then copied.
fn assert_moved(report: &Report) {
    let copied = report.bytes.to_device > 0 && report.bytes.to_host > 0;
    let missed = report.faults.device > 0 && report.rounds > report.launches;
    assert!(report.pages.imported > 0 || copied && missed, "{}", report.sample);
}

/// The report of a run in this access mode that must be verified.
fn report_in(access: &str, program: &str, args: &[&str]) -> Report {
    let output = run(program, &[args, &["--json", "--quiet", "--access", access]].concat());
    assert!(output.status.success(), "{output:?}");
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report.verified && report.launches > 0 && report.rounds >= report.launches);
    assert_eq!((report.access.as_str(), report.tier.as_str()), (access, "none"));
    report
}

#[test]
fn times_of_kernels_are_reported_if_asked_for() {
    for (program, args) in
        [("spmv", ["--grid", "8", "--seed", "1"]), ("graph-walk", ["--scale", "4", "--seed", "1"])]
    {
        for &access in accesses() {
            assert_eq!(report_in(access, program, &args).kernel_times, None);
            let asked = [&args[..], &["--times"]].concat();
            let report = report_in(access, program, &asked);
            let Some(times) = report.kernel_times else {
                let said = run(program, &asked).stderr;
                assert!(String::from_utf8_lossy(&said).contains("the device has no timestamps"));
                continue;
            };
            let launches: u64 = times.iter().map(|time| time.launches).sum();
            assert_eq!(launches, report.launches, "{times:?}");
            assert!(times.len() > 1, "{times:?}");
        }
    }
}

/// The exit status and the one line on standard error of a run that must fail.
fn failure(program: &str, args: &[&str]) -> (i32, String) {
    let output = run(program, &[args, &["--quiet"]].concat());
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(!line.contains("panicked"), "{line}");
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), line.trim_end().to_owned())
}

const TINY: &str = "%%MatrixMarket matrix coordinate real symmetric
3 3 5
1 1 4.0
2 2 4.0
3 3 4.0
2 1 -1.0
3 2 -1.0
";

fn tiny(folder: &Path) -> String {
    let path = folder.join("tiny.mtx");
    fs::write(&path, TINY).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_poisson_problem_is_solved() {
    if !device() {
        return;
    }
    let report = report("spmv", &["--grid", "24"]);
    assert_eq!((report.input.rows, report.input.entries), (576, 5 * 576 - 4 * 24));
    assert!(report.max_rel_error <= 1e-5, "{}", report.max_rel_error);
}

#[test]
fn a_matrix_is_read_saved_and_mapped() {
    if !device() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (text, binary) = (tiny(folder.path()), folder.path().join("tiny.csr"));
    let binary = binary.to_str().unwrap();
    let read = report("spmv", &["--matrix", &text, "--save", binary]);
    assert_eq!((read.input.rows, read.input.cols, read.input.entries), (3, 3, 7));
    let mapped = report("spmv", &["--matrix", binary]);
    assert_eq!(mapped.input.name, binary);
    assert_eq!(mapped.max_rel_error, read.max_rel_error);
    assert_eq!(CsrFile::map(Path::new(binary)).unwrap().view().entries(), 7);
}

#[test]
fn a_matrix_that_cannot_be_solved_is_still_multiplied() {
    if !device() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.mtx");
    fs::write(&path, "%%MatrixMarket matrix coordinate pattern general\n2 3 2\n1 1\n2 3\n")
        .unwrap();
    let output = run("spmv", &["--matrix", path.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("solve    not tried: not symmetric with a positive diagonal"), "{text}");
    assert!(text.contains("  yes\n"), "{text}");
}

#[test]
fn a_kronecker_graph_is_searched_and_walked() {
    if !device() {
        return;
    }
    let args = ["--scale", "8", "--walkers", "33", "--steps", "70000"];
    let report = report("graph-walk", &args);
    assert_eq!((report.input.rows, report.max_rel_error), (256, 0.0));
    assert!(report.launches >= 3 + 2, "70,000 steps take three launches");
}

#[test]
fn all_access_modes_come_to_the_same() {
    if !device() {
        return;
    }
    let grid = ["--grid", "20"];
    let graph = ["--scale", "7", "--walkers", "65", "--steps", "500"];
    for (program, args) in [("spmv", &grid[..]), ("graph-walk", &graph)] {
        let first = report(program, args);
        for &access in accesses() {
            let other = report_in(access, program, args);
            assert_eq!(other.max_rel_error.to_bits(), first.max_rel_error.to_bits(), "{program}");
            assert_eq!((&other.input, other.launches), (&first.input, first.launches));
            assert_moved(&other);
        }
    }
}

#[test]
fn the_choice_of_the_device_is_explained() {
    if !device() {
        return;
    }
    let output = run("graph-walk", &["--scale", "4", "--explain", "--quiet"]);
    let text = String::from_utf8(output.stderr).unwrap();
    let access = format!("access      {}: ", accesses()[0]);
    assert!(text.contains("taken\n") && text.contains(&access), "{text}");
}

#[test]
fn an_edge_list_is_searched_from_a_vertex_by_name() {
    if !device() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("path.txt");
    fs::write(&path, "# a path\n10 20\n20 30\n30 40\n").unwrap();
    let graph = path.to_str().unwrap();
    let output = run("graph-walk", &["--graph", graph, "--start", "20", "--quiet"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("search  from 20: 3 vertices reached in 3 levels"), "{text}");
}

/// A graph of SNAP's, of 3 edges.
fn snap(folder: &Path, comment: &str) -> String {
    let path = folder.join("snap.txt");
    fs::write(&path, format!("{comment}\n10 20\n20 30\n30 40\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn edges_lead_both_ways_where_that_is_asked_for_or_said() {
    if !device() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (comment, undirected, reached, said) in [
        (
            "# Undirected graph: a.txt",
            false,
            4,
            ": undirected, as \"# Undirected graph: a.txt\" says",
        ),
        ("# a graph", true, 4, ""),
        ("# a graph", false, 2, ": taken for directed: "),
        ("# Directed graph", false, 2, ""),
        ("% sym unweighted", false, 4, ": undirected, as \"% sym unweighted\" says"),
    ] {
        let graph = snap(folder.path(), comment);
        let args = ["--graph", &graph, "--start", "30", "--quiet", "--undirected"];
        let output = run("graph-walk", &args[..if undirected { 6 } else { 5 }]);
        let (text, notes) = (text_of(&output.stdout), text_of(&output.stderr));
        assert!(text.contains(&format!("search  from 30: {reached} vertices")), "{text}");
        let begin = format!("graph-walk: {graph}{said}");
        assert!(
            if said.is_empty() { notes.is_empty() } else { notes.starts_with(&begin) },
            "{notes}"
        );
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The end of a pipe that no process reads.
fn closed_pipe() -> std::io::PipeWriter {
    std::io::pipe().unwrap().1
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    if !device() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let graph = snap(folder.path(), "# a graph");
    let walk = ["--graph", &graph, "--undirected"];
    let walk_json = ["--graph", &graph, "--undirected", "--json"];
    for (program, args) in [
        ("spmv", &["--grid", "8"][..]),
        ("spmv", &["--grid", "8", "--json"]),
        ("graph-walk", &walk),
        ("graph-walk", &walk_json),
    ] {
        let quiet = [args, &["--quiet"]].concat();
        let output = command(program, &quiet).stdout(closed_pipe()).output().unwrap();
        assert_eq!((output.status.code(), text_of(&output.stderr)), (Some(0), String::new()));
        // Nor does it matter that no process reads the progress and the notes.
        let output = command(program, args).stderr(closed_pipe()).output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
    }
    let both = command("graph-walk", &["--graph", "/no/such/file"])
        .stdout(closed_pipe())
        .stderr(closed_pipe())
        .status();
    assert_eq!(both.unwrap().code(), Some(1));
    let help = command("graph-walk", &["--help"]).stdout(closed_pipe()).output().unwrap();
    assert_eq!((help.status.code(), text_of(&help.stderr)), (Some(0), String::new()));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    if !device() {
        return;
    }
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for args in [&["--grid", "8", "--quiet"][..], &["--grid", "8", "--quiet", "--json"]] {
        let output = command("spmv", args).stdout(full()).output().unwrap();
        let line = text_of(&output.stderr);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            line.starts_with("spmv: standard output: cannot be written: No space left"),
            "{line}"
        );
    }
}

#[test]
fn the_packages_of_this_machine_are_ranked_and_walked() {
    let packages = fs::metadata("/var/lib/dpkg/status").is_ok_and(|file| file.len() > 0);
    if !device() {
        return;
    }
    if !packages {
        assert!(std::env::var_os("CI").is_none(), "in CI there is a package graph");
        let _ = writeln!(std::io::stderr(), "SKIP the package graph: this is not a Debian machine");
        return;
    }
    let output = run("demo", &["--quiet"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let verified = text.lines().filter(|line| line.contains("debian") && line.ends_with("  yes"));
    assert_eq!(verified.count(), 2, "{text}");
    let unread = command("demo", &["--quiet"]).stdout(closed_pipe()).output().unwrap();
    let said = text_of(&unread.stderr);
    assert!(unread.status.success() && !said.contains("Broken pipe"), "{said}");
}

#[test]
fn bad_usage_exits_with_2() {
    for (program, args) in [
        ("spmv", &["--grid", "0"][..]),
        ("spmv", &["--grid", "many"]),
        ("spmv", &["--matrix", "x", "--debian"]),
        ("spmv", &["--access", "psychic"]),
        ("graph-walk", &["--scale", "99"]),
        ("graph-walk", &["--walkers", "0"]),
        ("graph-walk", &["--graph", "x", "--scale", "3"]),
        ("graph-walk", &["--undirected"]),
        ("graph-walk", &["--nonsense"]),
    ] {
        let (status, text) = failure(program, args);
        assert_eq!(status, 2, "{program} {args:?}: {text}");
        assert!(text.starts_with("error: "), "{text}");
    }
    let (status, line) = failure("graph-walk", &["--scale", "3", "--start", "nobody"]);
    assert_eq!(status, 2);
    assert!(line.starts_with("graph-walk: kronecker 3: no vertex \"nobody\"; try \""), "{line}");
}

#[test]
fn a_missing_file_exits_with_1_and_one_line() {
    for (program, option) in [("spmv", "--matrix"), ("graph-walk", "--graph")] {
        let (status, line) = failure(program, &[option, "/no/such/file"]);
        assert_eq!(status, 1);
        let start = format!("{program}: /no/such/file: cannot be read: No such file");
        assert!(line.starts_with(&start) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn what_the_device_cannot_do_exits_with_1_and_one_line() {
    if !device() {
        return;
    }
    let (status, line) = failure("graph-walk", &["--scale", "4", "--device", "no such device"]);
    assert_eq!(status, 1);
    assert!(line.starts_with("graph-walk: farptr: there is no device named like"), "{line}");
}
