//! Tests on devices that are made to look and to fail like others.
//!
//! The layer `farptr-mask` (`runtime/mask`) works for a whole process, so a test runs itself again
//! in a child, on the device that `FARPTR_MASK` describes: a row, and options
//! (`runtime/mask/DESIGN.md` lists them).
//!
//! ```ignore
//! #[test]
//! fn a_card_gets_copies() {
//!     let Some(ended) = masked::again("nvidia,fail=wait:3", "a_card_gets_copies") else {
//!         return body(); // this is the child
//!     };
//!     ended.assert_passed();
//!     assert_eq!(ended.total("imports"), 0); // one of the layer's counters, over all devices
//! }
//! ```
//!
//! A child that takes longer than [`LIMIT`] is killed, and counts as one that failed. Its runtimes
//! may have validation on. Put it in a test as `#[path = "common/masked.rs"] mod masked;`.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a child may take, which is much longer than any does.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Tells a child that it is one.
const CHILD: &str = "FARPTR_MASKED_CHILD";
const LIBRARY: &str = "libfarptr_mask.so";
/// Where the loader finds layers if it is told nothing.
const FOLDERS: &str = "/etc/vulkan/explicit_layer.d:/usr/local/share/vulkan/explicit_layer.d:\
                       /usr/share/vulkan/explicit_layer.d";

/// What became of a child.
#[derive(Debug)]
pub struct Ended {
    /// The mask that it had.
    pub mask: String,
    /// Absent if it was killed, since it took too long.
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
    /// A line for each device: names and numbers.
    pub report: String,
}

/// Runs a test of this binary again, alone, on a masked device. `None` in that child, which is to
/// do the test.
pub fn again(mask: &str, test: &str) -> Option<Ended> {
    again_with(mask, test, &[])
}

/// As [`again`], with variables in the child's environment.
pub fn again_with(mask: &str, test: &str, variables: &[(&str, String)]) -> Option<Ended> {
    let mut command = Command::new(std::env::current_exe().expect("this test is a program"));
    command.args(["--exact", test, "--nocapture", "--test-threads=1", "--include-ignored"]);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    (!is_child()).then(|| run(mask, command, LIMIT))
}

/// Whether this process was started by [`again`].
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// The mask of this process, if it has one.
pub fn mask() -> Option<String> {
    std::env::var("FARPTR_MASK").ok()
}

/// Runs a program on a masked device.
pub fn run(mask: &str, mut command: Command, limit: Duration) -> Ended {
    let folder = tempfile::tempdir().expect("a folder for the layer's manifest");
    let report = folder.path().join("report");
    std::fs::write(folder.path().join("farptr_mask.json"), manifest()).expect("the manifest");
    let others = std::env::var("VK_LAYER_PATH").unwrap_or_else(|_| FOLDERS.to_owned());
    command
        .env(CHILD, "")
        // Validation is nearer to the program, and sees what the program does: the first layer is
        // nearest, of the variable in new loaders, of the path in old ones (1.3.239).
        .env("VK_LAYER_PATH", format!("{others}:{}", folder.path().display()))
        .env("VK_INSTANCE_LAYERS", "VK_LAYER_KHRONOS_validation:VK_LAYER_FARPTR_mask")
        .env("FARPTR_MASK", format!("{mask},report={}", report.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let (stdout, stderr) = readers(&mut child);
    let in_time = |text: Receiver<String>| text.recv_timeout(limit);
    let (stdout, stderr) = match (in_time(stdout), in_time(stderr)) {
        (Ok(stdout), Ok(stderr)) => (stdout, stderr),
        (stdout, stderr) => {
            child.kill().expect("the child is ours");
            child.wait().expect("the child is ours");
            let report = String::new();
            let (stdout, stderr) = (stdout.unwrap_or_default(), stderr.unwrap_or_default());
            return Ended { mask: mask.to_owned(), status: None, stdout, stderr, report };
        }
    };
    let status = Some(child.wait().expect("the child is ours"));
    let report = std::fs::read_to_string(report).unwrap_or_default();
    Ended { mask: mask.to_owned(), status, stdout, stderr, report }
}

/// What a child writes, once it has ended.
fn readers(child: &mut Child) -> (Receiver<String>, Receiver<String>) {
    fn reader(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes);
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        receiver
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    (reader(stdout.expect("it is piped")), reader(stderr.expect("it is piped")))
}

/// The layer's manifest, with the path of its library.
fn manifest() -> String {
    include_str!("../../mask/manifest.json").replace("LIBRARY", &library().display().to_string())
}

/// The layer, which Cargo builds beside the tests that depend on it.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("this test is a program");
    let folder = program.parent().expect("it lies in a folder");
    let places = [folder.join(LIBRARY), folder.join("deps").join(LIBRARY)];
    let found = places.iter().find(|path| path.exists());
    found.unwrap_or_else(|| panic!("none of {places:?} is there")).clone()
}

impl Ended {
    /// Whether the child ended by itself, and well.
    pub fn passed(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Fails with what the child said, unless it ended well and did run a test.
    pub fn assert_passed(&self) {
        let what = match self.status {
            None => format!("did not end within {LIMIT:?}"),
            Some(status) => status.to_string(),
        };
        let ran = self.stdout.contains("running 1 test");
        assert!(
            self.passed() && ran,
            "on {}: {what}\n{}\n{}\n{}",
            self.mask,
            self.stdout,
            self.stderr,
            self.report
        );
    }

    /// A counter of each device.
    pub fn counts(&self, name: &str) -> Vec<u64> {
        let of_line = |line: &str| {
            let mut words = line.split(' ');
            let found = words.find(|word| *word == name).and_then(|_| words.next());
            let number = found.unwrap_or_else(|| panic!("no {name} in {line}"));
            number.parse().expect("a counter is a number")
        };
        self.report.lines().map(of_line).collect()
    }

    /// A counter, over all devices.
    pub fn total(&self, name: &str) -> u64 {
        self.counts(name).iter().sum()
    }

    /// The names of all objects that are left on any device, with their numbers.
    pub fn left(&self) -> Vec<(String, u64)> {
        self.report.lines().flat_map(left_of).collect()
    }

    /// For each device, whether it was lost, and what is left on it.
    pub fn left_by_loss(&self) -> Vec<(bool, Vec<(String, u64)>)> {
        let lost = self.counts("lost").into_iter().map(|lost| lost > 0);
        lost.zip(self.report.lines().map(left_of)).collect()
    }
}

/// The objects that are left on the device of a line, with their numbers.
fn left_of(line: &str) -> Vec<(String, u64)> {
    let words: Vec<&str> = line.split(' ').collect();
    let counters = words.chunks_exact(2).map(|pair| {
        let number: u64 = pair[1].parse().expect("a counter is a number");
        (pair[0].to_owned(), number)
    });
    counters.filter(|(name, number)| name.starts_with("live_") && *number > 0).collect()
}
