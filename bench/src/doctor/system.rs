//! The machine around the device: what Linux says of itself.

use crate::machine::Machine;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use std::{fs, path::Path};

/// Modules of the kernel that drive GPUs.
const MODULES: [&str; 8] =
    ["nvidia", "amdgpu", "radeon", "i915", "xe", "nouveau", "virtio_gpu", "msm"];

/// The facts about the machine on which imports and faults depend.
#[derive(Clone, Debug, Serialize)]
pub(super) struct System {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    /// Modules that drive GPUs, each with its version if it has one.
    pub(super) gpu_modules: Vec<String>,
    pub(super) page_bytes: u64,
    /// Absent if nothing limits locked memory.
    pub(super) memlock_bytes: Option<u64>,
    pub(super) memory_bytes: u64,
    pub(super) memory_available_bytes: u64,
    /// `always`, `madvise` or `never`.
    pub(super) huge_pages: Option<String>,
    /// Free pages of the pool for `MAP_HUGETLB`.
    pub(super) hugetlb_free_pages: u64,
    /// The devices below /sys/class/iommu; empty if there is none, or if /sys does not say.
    pub(super) iommu: Vec<String>,
    /// Whether this process may serve the page faults of user code, and of system calls.
    pub(super) userfaultfd: Userfaultfd,
}

/// The faults that a process may serve.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Userfaultfd {
    pub(super) of_user_code: bool,
    pub(super) of_system_calls: bool,
}

impl System {
    /// Looks at this machine.
    pub(super) fn describe() -> Self {
        let machine = Machine::describe(None);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let huge = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
        Self {
            cpu: machine.cpu,
            cores: machine.cores,
            kernel: machine.kernel,
            gpu_modules: MODULES.iter().filter_map(|module| describe_module(module)).collect(),
            page_bytes: rustix::param::page_size() as u64,
            memlock_bytes: getrlimit(Resource::Memlock).current,
            memory_bytes: field(&memory, "MemTotal").unwrap_or(0) * 1024,
            memory_available_bytes: available_bytes(),
            huge_pages: huge.ok().and_then(|modes| chosen(&modes)),
            hugetlb_free_pages: hugetlb_free_pages(),
            iommu: names("/sys/class/iommu"),
            userfaultfd: userfaultfd(),
        }
    }
}

/// Bytes of memory that are available now.
pub(super) fn available_bytes() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    field(&memory, "MemAvailable").unwrap_or(0) * 1024
}

/// Free pages of the pool for `MAP_HUGETLB`.
pub(super) fn hugetlb_free_pages() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    field(&memory, "HugePages_Free").unwrap_or(0)
}

/// A number of /proc/meminfo.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let value = (key == name).then_some(value)?;
        value.split_whitespace().next()?.parse().ok()
    })
}

/// The word in brackets: the choice, in files that list what could be chosen.
fn chosen(modes: &str) -> Option<String> {
    let (_, from) = modes.split_once('[')?;
    from.split_once(']').map(|(word, _)| word.to_owned())
}

fn describe_module(module: &str) -> Option<String> {
    let folder = Path::new("/sys/module").join(module);
    if !folder.exists() {
        return None;
    }
    let version = fs::read_to_string(folder.join("version")).unwrap_or_default();
    Some(format!("{module} {}", version.trim()).trim_end().to_owned())
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn userfaultfd() -> Userfaultfd {
    let setting = fs::read_to_string("/proc/sys/vm/unprivileged_userfaultfd");
    let device = fs::File::options().read(true).write(true).open("/dev/userfaultfd").is_ok();
    let of_system_calls = rustix::process::geteuid().is_root()
        || device
        || setting.as_ref().is_ok_and(|setting| setting.trim() == "1");
    Userfaultfd { of_user_code: setting.is_ok(), of_system_calls }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_choices_are_read() {
        let memory = "MemTotal:       16 kB\nHugePages_Free:        3\n";
        assert_eq!(
            (field(memory, "MemTotal"), field(memory, "HugePages_Free")),
            (Some(16), Some(3))
        );
        assert_eq!(field(memory, "Mem"), None);
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
        assert_eq!(chosen("always"), None);
    }
}
