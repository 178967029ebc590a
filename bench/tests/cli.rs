//! The program as a user runs it. Times are never judged here.

use serde_json::Value;
use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_farptr-bench"))
        .args(arguments)
        .output()
        .expect("the program was built for this test")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Says that a test does not run, straight to standard error, which the harness does not hold back.
fn skip(test: &str, reason: &dyn std::fmt::Display) {
    let line = format!("SKIP {test}: {reason}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// Whether there is a device; without one the test is skipped with the reason, or fails under CI.
fn has_device(test: &str) -> bool {
    match farptr::Runtime::builder().build() {
        Ok(_) => true,
        Err(error) if std::env::var_os("CI").is_some() => {
            panic!("{test} needs a device when CI is set: {error}")
        }
        Err(error) => {
            skip(test, &error);
            false
        }
    }
}

/// Runs a case for a moment and returns its record.
fn record(arguments: &[&str]) -> Value {
    let short = ["--quick", "--budget-ms", "50", "--json", "-"];
    checked(&bench(&[&["run"], arguments, &short].concat()))
}

/// Runs a case that needs no device for a moment, where Vulkan finds no driver.
fn record_without_vulkan(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_farptr-bench"))
        .arg("run")
        .args(arguments)
        .args(["--quick", "--budget-ms", "50", "--json", "-"])
        .envs([("VK_DRIVER_FILES", "/no driver"), ("VK_ICD_FILENAMES", "/no driver")])
        .output()
        .expect("the program was built for this test");
    let record = checked(&output);
    assert_eq!(record["machine"]["device"], "");
    assert_eq!(record["machine"]["driver"], "");
    record
}

/// The record of a run that succeeded.
fn checked(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON object");
    assert_eq!(keys(&record), ["commit", "machine", "malloc", "results"]);
    let machine = keys(&record["machine"]);
    assert_eq!(machine, ["cores", "cpu", "device", "driver", "kernel"]);
    record
}

fn keys(object: &Value) -> Vec<&str> {
    let object = object.as_object().expect("an object");
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn check_results(record: &Value, case: &str, variants: &[&str]) {
    let results = record["results"].as_array().expect("an array");
    let names: Vec<_> = results.iter().map(|row| row["variant"].as_str()).collect();
    let expected: Vec<_> = variants.iter().copied().map(Some).collect();
    assert_eq!(names, expected);
    for row in results {
        let promised = [
            "case",
            "mad_ns",
            "median_ns",
            "ratio",
            "ratio_to",
            "samples",
            "size_bytes",
            "variant",
            "verified",
        ];
        assert_eq!(keys(row), promised);
        assert_eq!(row["case"], case);
        assert_eq!(row["verified"], true, "{row}");
        assert_eq!(row["ratio_to"], variants[0]);
        assert!(row["samples"].as_u64() >= Some(1), "{row}");
        assert!(row["median_ns"].as_f64() > Some(0.0), "{row}");
        assert!(row["ratio"].as_f64() > Some(0.0), "{row}");
    }
    assert_eq!(results[0]["ratio"].as_f64(), Some(1.0));
}

#[test]
fn list_names_cases_and_variants() {
    let output = bench(&["list"]);
    let listed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    let words = [
        "launch",
        "saxpy",
        "raw-address",
        "ash-staged",
        "256 MiB",
        "hmm-snapshot-thp",
        "10000 lends",
    ];
    for word in words {
        assert!(listed.contains(word), "{word} is missing: {listed}");
    }
}

#[test]
fn forms_are_compiled_for_amd_without_a_gpu() {
    let output = bench(&["amd-compile", "--form", "copy", "--json", "-"]);
    if text(&output.stderr).contains("there is no manifest") && output.stdout.is_empty() {
        assert!(std::env::var_os("CI").is_none(), "in CI the driver has to be there");
        return skip("forms_are_compiled_for_amd_without_a_gpu", &"there is no driver for AMD");
    }
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let record: Value = serde_json::from_slice(&output.stdout).expect("stdout is one JSON object");
    let drivers = record["drivers"].as_array().expect("an array");
    assert!(!drivers.is_empty());
    let results = record["results"].as_array().expect("an array");
    let promised = [
        "code_bytes",
        "code_ratio",
        "form",
        "instructions",
        "instructions_ratio",
        "kernel",
        "ratio_to",
        "scratch_bytes",
        "sgprs",
        "sgprs_ratio",
        "spilled_sgprs",
        "spilled_vgprs",
        "subgroups_per_simd",
        "target",
        "vgprs",
        "vgprs_ratio",
    ];
    for row in results {
        assert_eq!(keys(row), promised);
        assert_eq!(row["ratio_to"], "original");
        let figures = ["vgprs", "sgprs", "code_bytes", "instructions", "subgroups_per_simd"];
        assert!(figures.iter().all(|figure| row[figure].as_u64() > Some(0)), "{row}");
    }
    let of = |form: &str| results.iter().filter(|row| row["form"] == form).collect::<Vec<_>>();
    assert!(of("original").iter().all(|row| row["code_ratio"] == 1.0));
    // Checks are code.
    for ((original, direct), copy) in of("original").iter().zip(of("direct")).zip(of("copy")) {
        let code = |row: &Value| row["code_bytes"].as_u64();
        assert!(code(original) < code(direct).min(code(copy)), "{copy}");
    }
    assert_eq!(of("copy").len(), 12 * drivers.len());
}

#[test]
fn an_unknown_form_is_bad_usage() {
    let output = bench(&["amd-compile", "--form", "copies"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("the forms are: original, "));
}

#[test]
fn an_unknown_case_is_bad_usage() {
    let output = bench(&["run", "saxpi"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let expected = "farptr-bench: there is no case `saxpi`; the cases are: launch, launch-batch, ";
    assert!(message.starts_with(expected), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn no_command_and_unknown_options_are_bad_usage() {
    assert_eq!(bench(&[]).status.code(), Some(2));
    assert_eq!(bench(&["run", "--fast"]).status.code(), Some(2));
}

#[test]
fn an_unknown_device_is_one_clear_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_farptr-bench"))
        .args(["run", "launch"])
        .env("FARPTR_DEVICE", "no such device")
        .output()
        .expect("the program was built for this test");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(message.starts_with("farptr-bench: "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let record = folder.path().join("record.json");
    let record = record.to_str().expect("temporary folders have plain names");
    let run = ["run", "hmm-snapshot-4k", "--max-size", "65536", "--quick", "--budget-ms", "50"];
    let to_file = [&run[..], &["--json", record]].concat();
    let to_output = [&run[..], &["--json", "-"]].concat();
    for arguments in [&["list"][..], &to_file, &to_output] {
        let (_, closed) = std::io::pipe().expect("a pipe");
        let output = Command::new(env!("CARGO_BIN_EXE_farptr-bench"))
            .args(arguments)
            .stdout(closed)
            .output()
            .expect("the program was built for this test");
        let said = text(&output.stderr);
        assert!(output.status.success() && !said.contains("Broken pipe"), "{arguments:?}: {said}");
    }
    let kept = std::fs::read(record).expect("the record is written all the same");
    serde_json::from_slice::<Value>(&kept).expect("one JSON object");
}

#[test]
fn a_record_that_cannot_be_written_is_a_clear_failure() {
    if !has_device("a_record_that_cannot_be_written_is_a_clear_failure") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_str().expect("temporary folders have plain names");
    let output = bench(&["run", "launch", "--quick", "--budget-ms", "20", "--json", path]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let last = message.lines().last().unwrap_or_default();
    assert!(last.starts_with("farptr-bench: cannot write "), "{message}");
}

#[test]
fn launch_variants_are_verified() {
    if has_device("launch_variants_are_verified") {
        let record = record(&["launch"]);
        check_results(&record, "launch", &["ash", "farptr", "farptr-scope100"]);
        assert_eq!(record["results"][0]["size_bytes"], 0);
    }
}

#[test]
fn saxpy_variants_are_verified() {
    if has_device("saxpy_variants_are_verified") {
        let record = record(&["saxpy", "--max-size", "65536"]);
        let variants = ["raw-address", "farptr", "farptr-scope", "ash-staged"];
        check_results(&record, "saxpy", &variants);
        assert_eq!(record["results"][0]["size_bytes"], 65536);
    }
}

/// Whether there is a device with both access modes, as for [`has_device`].
fn has_access(case: &str) -> bool {
    if !has_device(case) {
        return false;
    }
    let direct = farptr::Runtime::builder().access(farptr::AccessMode::Direct).build();
    if let Err(error) = &direct {
        assert!(std::env::var_os("CI").is_none(), "CI needs direct access: {error}");
        skip(case, error);
    }
    direct.is_ok()
}

/// Runs a case of checked launches, which needs a device with both access modes.
fn check_checked(case: &str, variants: &[&str]) {
    if has_access(case) {
        check_results(&record(&[case, "--max-size", "16777216"]), case, variants);
    }
}

#[test]
fn batches_are_verified() {
    for case in ["launch-batch", "launch-batch-chain"] {
        check_checked(case, &["ash", "mirrored", "checked-direct", "unchecked-direct"]);
    }
}

#[test]
fn warm_variants_are_verified() {
    for case in ["warm-saxpy", "warm-saxpy4", "warm-spmv", "warm-chase", "warm-gather"] {
        check_checked(case, &["raw-address", "mirrored", "checked-direct"]);
    }
}

#[test]
fn cold_variants_are_verified() {
    check_checked("cold-saxpy", &["ash-staged", "mirrored-import", "mirrored-copy"]);
    let variants = ["ash-staged", "ash-gathered", "mirrored-import", "mirrored-copy"];
    check_checked("cold-sparse", &variants);
}

#[test]
fn scopes_on_the_same_memory_are_verified() {
    check_checked("reuse-saxpy", &["one-scope", "scopes-kept", "scopes"]);
}

#[test]
fn programs_are_verified() {
    for case in ["cg", "bfs"] {
        let variants = ["ash-imported", "mirrored-import", "mirrored-copy", "checked-direct"];
        check_checked(case, &variants);
    }
}

#[test]
fn growth_is_verified_and_has_an_exponent() {
    for case in ["growth-lends", "growth-lend-size", "growth-pointers"] {
        if !has_access(case) {
            continue;
        }
        let variants = ["raw-address", "checked-direct", "mirrored-import", "mirrored-copy"];
        check_results(&record(&[case, "--max-size", "40960"]), case, &variants);
        let two_sizes = record(&[case, "--max-size", "1048576"]);
        let results = two_sizes["results"].as_array().expect("an array");
        assert_eq!(results.len(), 2 * variants.len(), "{results:?}");
        let exponents = |rows: &[Value]| rows.iter().filter(|row| row["exponent"].is_f64()).count();
        let (first, second) = results.split_at(variants.len());
        assert_eq!([exponents(first), exponents(second)], [0, variants.len() - 1]);
    }
}

#[test]
fn first_uses_are_verified() {
    check_checked("first-use", &["raw-address", "mirrored", "checked-direct"]);
}

#[test]
fn walks_are_verified_and_need_no_device() {
    let snapshot = record_without_vulkan(&["hmm-snapshot-4k", "--max-size", "2097152"]);
    check_results(&snapshot, "hmm-snapshot-4k", &["pagemap-scan", "farptr"]);
    let populate = record_without_vulkan(&["hmm-populate", "--max-size", "65536"]);
    check_results(&populate, "hmm-populate", &["madvise-populate", "farptr"]);
}

#[test]
fn invalidations_are_verified_and_need_no_device() {
    let variants = ["farptr-10", "farptr-100k-same", "farptr-100k-next", "farptr-100k"];
    check_results(&record_without_vulkan(&["hmm-invalidate"]), "hmm-invalidate", &variants);
}

#[test]
fn huge_pages_are_verified_where_there_are_any() {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    if !enabled.is_ok_and(|modes| modes.contains("[always]") || modes.contains("[madvise]")) {
        assert!(std::env::var_os("CI").is_none(), "CI needs transparent huge pages");
        return skip("huge_pages_are_verified_where_there_are_any", &"the system gives none");
    }
    let snapshot = record_without_vulkan(&["hmm-snapshot-thp", "--max-size", "2097152"]);
    check_results(&snapshot, "hmm-snapshot-thp", &["pagemap-scan", "farptr"]);
}

/// Runs a case that moves pages to a device. If that is not allowed, the program must say so, in
/// the record too.
fn check_away(case: &str, variants: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_farptr-bench"))
        .args(["run", case, "--max-size", "8388608"])
        .args(["--quick", "--budget-ms", "50", "--json", "-"])
        .output()
        .expect("the program was built for this test");
    if output.status.code() == Some(0) {
        return check_results(&checked(&output), case, variants);
    }
    let message = text(&output.stderr);
    skip(case, &message);
    if message.contains("in huge pages;") {
        assert!(std::env::var_os("CI").is_none(), "CI needs transparent huge pages");
        return;
    }
    assert!(message.contains("run as root"), "{message}");
    assert!(!rustix::process::geteuid().is_root(), "root may serve all faults");
    let record: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(record["not_run"][0]["case"], case);
}

#[test]
fn faults_that_bring_pages_home_are_verified() {
    let variants = ["uffdio-copy", "farptr-copy", "farptr-move"];
    check_away("hmm-fault-home", &variants);
    check_away("hmm-fault-home-far", &variants);
    check_away("hmm-touch-home-seq", &["memcpy", "farptr-move", "farptr-copy"]);
}

#[test]
fn migrations_are_verified() {
    check_away("hmm-migrate-move", &["memcpy", "farptr-out", "farptr-home"]);
    let variants = ["memcpy", "farptr-out", "farptr-home", "uffdio-copy"];
    check_away("hmm-migrate-copy", &variants);
}
