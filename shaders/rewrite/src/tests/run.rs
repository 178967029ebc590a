//! Running the compilers, validators and optimisers that tests use, found on the path.
//!
//! The test targets in `tests/` use this file too.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a tool on some input. Returns its output or its complaint, or `None` if the tool does not
/// run, which is a failure where CI is set.
pub(crate) fn run(tool: &str, arguments: &[&str], input: &[u8]) -> Option<Result<Vec<u8>, String>> {
    let started = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{tool} does not run: {error}");
            // Straight to the stream: what a passing test prints with macros is captured.
            let line = format!("SKIP {tool} does not run: {error}; './farptr test' installs it\n");
            drop(std::io::stderr().write_all(line.as_bytes()));
            return None;
        }
    };
    // A tool that ends early says why.
    drop(child.stdin.take().expect("it is piped").write_all(input));
    let output = child.wait_with_output().expect("it was started");
    if output.status.success() {
        return Some(Ok(output.stdout));
    }
    let said = [output.stderr, output.stdout].concat();
    Some(Err(String::from_utf8_lossy(&said).into_owned()))
}

/// The words of a file.
pub(crate) fn to_words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// The file of words.
pub(crate) fn to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
