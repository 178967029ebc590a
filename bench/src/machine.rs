//! The origin of numbers: the machine and the source.

use farptr::Runtime;
use serde::Serialize;
use std::{
    fs,
    process::{Command, Stdio},
};

const UNKNOWN: &str = "unknown";

/// The parts of a machine that a number depends on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Empty, as `driver` is, if no case needed a device.
    pub(crate) device: String,
    pub(crate) driver: String,
}

impl Machine {
    /// This machine, and the device that farptr chose, if a case needed one.
    pub(crate) fn describe(runtime: Option<&Runtime>) -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cpu: cpu_model(&cpus).unwrap_or(std::env::consts::ARCH).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: known(kernel.trim()),
            device: runtime.map(|r| known(r.device_name())).unwrap_or_default(),
            driver: runtime.map(|r| known(r.driver())).unwrap_or_default(),
        }
    }
}

/// The name of the first CPU that `/proc/cpuinfo` lists; not every architecture has one there.
fn cpu_model(cpuinfo: &str) -> Option<&str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim())
    })
}

/// How many processes wanted a CPU in the last minute, on average.
pub(crate) fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// The commit of the source tree that this program was built in, with `-dirty` when files differ
/// from it; `unknown` when that tree is gone or git cannot tell.
pub(crate) fn commit() -> String {
    let Some(head) = git(&["rev-parse", "HEAD"]) else {
        return UNKNOWN.to_owned();
    };
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => head,
        _ => format!("{head}-dirty"),
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR")])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn known(text: &str) -> String {
    if text.is_empty() { UNKNOWN } else { text }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_the_first_cpus() {
        let text = "processor\t: 0\nmodel\t\t: 7\nmodel name\t: Fast: One\nprocessor\t: 1\n";
        assert_eq!(cpu_model(text), Some("Fast: One"));
        assert_eq!(cpu_model("processor : 0\nBogoMIPS : 50\n"), None);
    }
}
