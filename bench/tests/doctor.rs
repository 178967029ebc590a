//! `farptr-doctor` as a user runs it. Times are never judged here.

use serde_json::Value;
use std::process::{Command, Output, Stdio};

/// Runs the program; an examination of few steps takes seconds.
fn doctor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_farptr-doctor"))
        .args(arguments)
        .env_remove("FARPTR_DEVICE")
        .output()
        .expect("the program was built for this test")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Says that a test does not run, straight to standard error, which the harness does not hold back.
fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "in CI {test} must run, but: {reason}");
    let line = format!("SKIP {test}: {reason}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

/// The document of an examination, with the exit code that it ended with; nothing where Vulkan
/// lists no device.
fn document(test: &str, steps: &[&str]) -> Option<(Value, i32)> {
    let steps: Vec<_> = steps.iter().flat_map(|step| ["--only", step]).collect();
    let output = doctor(&[&steps[..], &["--json"]].concat());
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    if document["device"].is_null() {
        assert_eq!(output.status.code(), Some(2), "{document}");
        skip(test, &document["verdict"]["reasons"][0].to_string());
        return None;
    }
    Some((document, output.status.code().expect("no signal")))
}

fn keys(object: &Value) -> Vec<&str> {
    let object = object.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

fn checks<'d>(document: &'d Value, step: &str) -> Vec<&'d Value> {
    let checks = document["checks"].as_array().expect("an array");
    checks.iter().filter(|check| check["step"] == step).collect()
}

fn check<'d>(document: &'d Value, step: &str, name: &str) -> &'d Value {
    let found = checks(document, step).into_iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {step}: {name} in {document}"))
}

#[test]
fn the_document_has_the_promised_fields_and_the_exit_code_of_its_verdict() {
    let Some((document, code)) = document("the_document", &["modes"]) else { return };
    let promised =
        ["checks", "commit", "device", "format", "modes", "system", "verdict", "version"];
    assert_eq!(keys(&document), promised);
    assert_eq!(document["format"], 1);
    let device = [
        "api_version",
        "bar_bytes",
        "conformance",
        "device_id",
        "driver_id",
        "driver_info",
        "driver_name",
        "driver_version",
        "extensions",
        "features",
        "heaps",
        "import_alignment",
        "index",
        "kind",
        "limits",
        "memory_types",
        "name",
        "queue_families",
        "vendor_id",
    ];
    assert_eq!(keys(&document["device"]), device);
    let modes = document["modes"].as_array().expect("an array");
    let names: Vec<_> = modes.iter().map(|mode| mode["name"].as_str()).collect();
    assert_eq!(names, [Some("direct"), Some("import"), Some("copy")]);
    for mode in modes {
        let promised = ["automatic", "cuts_loops", "name", "narrow_offsets", "proved", "words"];
        assert_eq!(keys(mode), promised);
        assert!(!mode["words"].as_array().expect("an array").is_empty(), "{mode}");
    }
    let verdict = &document["verdict"];
    assert_eq!(keys(verdict), ["exit_code", "grade", "modes", "reasons", "table_row"]);
    assert_eq!(verdict["exit_code"], code);
    let grades = ["certified", "degraded", "failed"];
    let grade = grades.iter().position(|grade| verdict["grade"] == *grade);
    assert_eq!(grade, usize::try_from(code).ok());
    assert_eq!(verdict["reasons"].as_array().map(Vec::is_empty), Some(code == 0));
}

#[test]
fn a_step_that_crashes_hangs_or_prints_is_a_line() {
    let Some((document, code)) = document("a_step_that_crashes", &["trial"]) else { return };
    let expected = [
        ("abort", "died", "signal 6 (SIGABRT), at: the last stage"),
        ("hang", "did_not_end", "killed after 1 s, at: the last stage"),
        ("exit", "died", "exit code 7, at: the last stage: the last words"),
        ("print", "right", "an answer"),
        ("skip", "not_tried", "there is no reason to"),
    ];
    for (name, outcome, detail) in expected {
        let check = check(&document, "trial", name);
        assert_eq!(check["outcome"], outcome, "{check}");
        assert_eq!(check["detail"], detail, "{check}");
        assert_eq!(
            keys(check),
            ["detail", "figures", "mode", "name", "outcome", "seconds", "step"]
        );
    }
    assert_eq!(check(&document, "trial", "print")["figures"]["number"], 3);
    assert_eq!(check(&document, "trial", "fail")["outcome"], "failed");
    // They belong to no mode, so what farptr can do is not judged by them.
    assert_ne!(code, 0);
    let reasons = document["verdict"]["reasons"].to_string();
    assert!(reasons.contains("trial: hang: did not end"), "{reasons}");
}

#[test]
fn a_wrong_result_and_a_crash_name_the_kernel() {
    let Some((document, code)) = document("a_wrong_result", &["trial"]) else { return };
    let outcome = |name: &str| {
        let check = check(&document, "trial", name);
        (check["outcome"].as_str().expect("a word"), check["detail"].as_str().expect("words"))
    };
    let (how, words) = outcome("a kernel against a wrong reference");
    let expected = "kernel gather on trial: like the original by hand, and unlike its reference, \
                    lend 2 differs in 20";
    assert_eq!(how, "wrong", "{words}");
    assert!(words.starts_with(expected), "{words}");
    let figures = &check(&document, "trial", "a kernel against a wrong reference")["figures"];
    assert_eq!((&figures["kernels"], &figures["differing"]), (&2.into(), &1.into()));
    // The right one twice, unoptimised and optimised, and the other one until it is wrong.
    assert_eq!(figures["launches"], 3);
    let crash = "signal 6 (SIGABRT), at: kernel gather on trial, unoptimised, comparing";
    assert_eq!(outcome("a kernel that crashes"), ("died", crash));
    let nonsense = "kernel gather on trial: the result makes no sense: there is no such number";
    assert_eq!(outcome("a kernel whose result makes no sense"), ("wrong", nonsense));
    assert_ne!(code, 0);
}

#[test]
fn kernels_of_the_suite_are_right_in_every_mode() {
    let test = "kernels_of_the_suite";
    let Some((document, _)) = document(test, &["modes"]) else { return };
    let modes = document["modes"].as_array().expect("an array").iter();
    for mode in modes.filter(|mode| mode["proved"] == true) {
        let device = document["device"]["index"].to_string();
        let mode = mode["name"].as_str().expect("a name");
        let finding = answer("correctness/kernels: lists", &device, mode);
        assert_eq!(finding["outcome"], "right", "{mode}: {finding}");
        let number = |name: &str| finding["figures"][name].as_u64().expect("a number");
        assert_eq!(number("kernels") + number("not_run"), 6, "{mode}: {finding}");
        assert_eq!((number("differing"), number("failed")), (0, 0), "{mode}: {finding}");
    }
}

#[test]
fn memory_of_each_type_has_its_rates() {
    let Some((document, _)) = document("memory_of_each_type", &["modes"]) else { return };
    let device = document["device"]["index"].to_string();
    let types = document["device"]["memory_types"].as_array().expect("an array").iter();
    // Those that farptr would use, and the doctor tries.
    let usable = types.filter(|kind| {
        let flags = kind["flags"].to_string();
        flags.contains("host_coherent") && !flags.contains("device_coherent")
    });
    for kind in usable {
        let finding = answer(&format!("costs/memory type {}", kind["index"]), &device, "copy");
        assert_eq!(finding["outcome"], "measured", "{finding}");
        let figures = [
            "copy_from_device_mb_s",
            "copy_to_device_mb_s",
            "host_read_mb_s",
            "host_write_mb_s",
            "kernel_mb_s",
        ];
        assert_eq!(keys(&finding["figures"]), figures);
        let is_rate = |name: &&str| finding["figures"][*name].as_f64().is_some_and(|mb| mb > 0.0);
        assert!(figures.iter().all(is_rate), "{finding}");
    }
}

/// The finding of one probe, asked as the program asks itself: the answer comes through a pipe that
/// is the standard input.
fn answer(probe: &str, device: &str, mode: &str) -> Value {
    let (lines, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(env!("CARGO_BIN_EXE_farptr-doctor"));
    command.args(["--probe", probe, "--device", device, "--mode", mode]);
    command.stdin(writer).stdout(Stdio::null());
    let mut child = command.spawn().expect("the program was built for this test");
    // The parent's end of the pipe.
    drop(command);
    let said = std::io::read_to_string(lines).expect("lines of JSON");
    assert!(child.wait().expect("it ends").success(), "{said}");
    let last: Value = serde_json::from_str(said.lines().last().expect("an answer")).expect("JSON");
    last["Answer"]["Finding"].clone()
}

#[test]
fn text_has_a_line_for_each_check_and_the_verdict_at_the_end() {
    let output = doctor(&["--only", "trial"]);
    let said = text(&output.stdout);
    if said.contains("verdict    failed: ") {
        return skip("text_has_a_line", &said);
    }
    for word in ["== device", "== modes", "== trial", "abort  ", "did not end", "README     | "] {
        assert!(said.contains(word), "{word} is missing: {said}");
    }
    assert!(!said.contains('\u{1b}'), "no control characters in a pipe: {said}");
}

#[test]
fn bad_usage_is_told_from_a_bad_device() {
    for arguments in [&["--fast"][..], &["--only", "nothing"], &["--device"]] {
        let output = doctor(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(doctor(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_device_that_does_not_exist_is_bad_usage_and_the_others_are_named() {
    let output = doctor(&["--device", "no such device", "--only", "modes"]);
    let said = text(&output.stderr);
    if output.status.code() == Some(2) {
        return skip("a_device_that_does_not_exist", &said);
    }
    assert_eq!(output.status.code(), Some(64), "{said}");
    let expected = "farptr doctor: no device is `no such device`; there are: 0 (";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn without_a_driver_the_verdict_is_failed() {
    let output = Command::new(env!("CARGO_BIN_EXE_farptr-doctor"))
        .arg("--json")
        .envs([("VK_DRIVER_FILES", "/no driver"), ("VK_ICD_FILENAMES", "/no driver")])
        .output()
        .expect("the program was built for this test");
    assert_eq!(output.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["device"], Value::Null);
    assert_eq!(document["verdict"]["grade"], "failed");
    assert_eq!(document["verdict"]["reasons"].as_array().map(Vec::len), Some(1));
}

#[test]
fn imports_and_behaviour_are_tried_one_by_one() {
    let steps = ["imports", "behaviour"];
    let Some((document, _)) = document("imports_and_behaviour", &steps) else { return };
    let outcome = |step, name: &str| {
        let outcome = &check(&document, step, name)["outcome"];
        outcome.as_str().unwrap_or_default().to_owned()
    };
    for access in ["read", "write"] {
        let name = format!("anonymous: {access}");
        let of_device = outcome("imports", name.as_str());
        let imports = !document["device"]["import_alignment"].is_null();
        assert_eq!(of_device == "not_tried", !imports, "{document}");
    }
    assert_eq!(outcome("imports", "anonymous, read-only: write"), "not_tried");
    assert_eq!(outcome("behaviour", "64 launches in a batch"), "right");
    let longest = &check(&document, "behaviour", "the longest loop")["figures"];
    let cuts = document["modes"].as_array().expect("an array").iter();
    // farptr found it out by itself, and so does this step.
    for mode in cuts.filter(|mode| mode["proved"] == true) {
        assert_eq!(mode["cuts_loops"], longest["cut"], "{document}");
    }
    let in_each_type = |what: &str| {
        let all = checks(&document, "behaviour").into_iter();
        all.filter(|check| check["name"].as_str().is_some_and(|name| name.starts_with(what)))
            .count()
    };
    let types = document["device"]["memory_types"].as_array().expect("an array").iter();
    let visible = types.filter(|kind| kind["flags"].to_string().contains("host_visible")).count();
    assert_eq!(in_each_type("atomics of the device, 32 bits, memory type"), visible);
    assert_eq!(in_each_type("a stop word is seen, memory type"), visible);
}
