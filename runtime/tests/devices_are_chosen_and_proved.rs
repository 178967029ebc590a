//! Building a runtime: what is chosen, what is refused, and what is said about it.
//!
//! The Vulkan loader reads the environment once per process, so each case runs in a child: this
//! test binary again, with only the test `child` selected.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::{direct, runtime, runtimes};
use farptr::{AccessMode, BuildError, Error, ProvedAccess, ResidencyTier, Runtime, RuntimeBuilder};
use std::{fs, process::Command};

/// Set in children: what the child is to do.
const CHILD: &str = "FARPTR_TEST_CHILD";
const MARK: &str = "child says: ";

/// Not a test of its own: what a child process does.
#[test]
fn child() {
    let Ok(access) = std::env::var(CHILD) else {
        return;
    };
    let builder = Runtime::builder().no_pipeline_cache();
    if access == "dropped" {
        return println!("{MARK}a driver is loaded: {}", has_driver_after_drop(builder));
    }
    let builder = match access.as_str() {
        "mirrored" => builder.access(AccessMode::Mirrored),
        "auto" => builder.access(AccessMode::Auto),
        _ => builder,
    };
    match builder.build() {
        Ok(runtime) => println!("{MARK}{}", runtime.explain().to_string().replace('\n', "|")),
        Err(error) => println!("{MARK}{error}"),
    }
}

/// The output of a child with these variables.
fn ask_child(access: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(CHILD, access);
    for name in ["FARPTR_DEVICE", "FARPTR_ACCESS", "FARPTR_BACKING"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text.lines().find_map(|line| Some(line.split_once(MARK)?.1));
    said.unwrap_or_else(|| panic!("the child said nothing: {output:?}")).to_owned()
}

#[test]
fn without_a_loader_the_packages_are_named() {
    let folder = tempfile::tempdir().unwrap();
    // The dynamic linker finds this file first and cannot load it.
    fs::write(folder.path().join("libvulkan.so.1"), b"not a library").unwrap();
    let said = ask_child("auto", &[("LD_LIBRARY_PATH", folder.path().to_str().unwrap())]);
    assert_eq!(
        said,
        "cannot load the Vulkan library; install a Vulkan loader and driver, on Debian or Ubuntu \
         the packages libvulkan1 and mesa-vulkan-drivers"
    );
}

#[test]
fn without_a_driver_the_package_is_named() {
    if runtime().is_none() {
        return;
    }
    let nowhere =
        [("VK_ICD_FILENAMES", "/nonexistent.json"), ("VK_DRIVER_FILES", "/nonexistent.json")];
    let said = ask_child("auto", &nowhere);
    assert_eq!(said, "Vulkan found no device; install a driver, for example mesa-vulkan-drivers");
}

#[test]
fn a_device_is_asked_for_by_index_or_name() {
    let Some(runtime) = runtime() else { return };
    let name = runtime.device_name().to_uppercase();
    for wanted in ["0", name.as_str(), &name[..4]] {
        let said = ask_child("auto", &[("FARPTR_DEVICE", wanted)]);
        assert!(said.contains("taken") && said.contains("followed 64 host pointers"), "{said}");
    }
    let said = ask_child("auto", &[("FARPTR_DEVICE", "no such device")]);
    let expected = "there is no device named like `no such device`; the devices are: 0 (";
    assert!(said.starts_with(expected), "{said}");
    let said = ask_child("auto", &[("FARPTR_DEVICE", "77")]);
    assert!(said.starts_with("there is no device 77; the devices are: 0 ("), "{said}");
}

#[test]
fn mirrored_access_is_asked_for_by_the_builder_or_the_environment() {
    if runtime().is_none() {
        return;
    }
    let said = ask_child("mirrored", &[("FARPTR_ACCESS", "direct")]);
    assert!(said.contains("access      mirrored: a rewritten kernel followed 64 host"), "{said}");
    let said = ask_child("unset", &[("FARPTR_ACCESS", "Mirrored")]);
    assert!(said.contains("access      mirrored: "), "{said}");
    let said = ask_child("unset", &[("FARPTR_ACCESS", "mirror")]);
    assert_eq!(
        said,
        "FARPTR_ACCESS is `mirror`; set it to auto, direct or mirrored, or not at all"
    );
}

#[test]
fn a_backing_is_asked_for_by_the_environment() {
    if runtime().is_none() {
        return;
    }
    let said = ask_child("mirrored", &[("FARPTR_BACKING", "copy")]);
    assert!(said.contains("backing     copy: "), "{said}");
    // Direct access works on no copies, so it is not taken.
    let said = ask_child("auto", &[("FARPTR_BACKING", "copy")]);
    assert!(
        said.contains("backing     copy: ") && said.contains("access      mirrored: "),
        "{said}"
    );
    // Not every device imports, and one that does not is refused for that reason.
    let said = ask_child("mirrored", &[("FARPTR_BACKING", "Import")]);
    let refused = said.contains("VK_EXT_external_memory_host");
    assert!(said.contains("backing     import: ") || refused, "{said}");
    let said = ask_child("mirrored", &[("FARPTR_BACKING", "imported")]);
    let expected = "FARPTR_BACKING is `imported`; set it to auto, import or copy, or not at all";
    assert_eq!(said, expected);
}

#[test]
fn drivers_stay_when_the_last_runtime_is_gone() {
    // A thread's end runs code of the drivers that it used, so it must still be there.
    if runtime().is_none() {
        return;
    }
    assert_eq!(ask_child("dropped", &[]), "a driver is loaded: true");
    let validated = [("FARPTR_VALIDATION", "1")];
    assert_eq!(ask_child("dropped", &validated), "a driver is loaded: true");
}

/// Whether a driver is loaded in this process, whose only runtime is gone.
fn has_driver_after_drop(builder: RuntimeBuilder) -> bool {
    let loads_driver = || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        ["libvulkan_", "libvk_swiftshader", "libGLX_nvidia"].iter().any(|name| maps.contains(name))
    };
    assert!(!loads_driver(), "Vulkan is loaded by the first runtime");
    let loaded = std::thread::spawn(move || builder.build().map(|_| loads_driver()));
    assert!(loaded.join().unwrap().unwrap(), "the driver has another name here");
    loads_driver()
}

#[test]
fn a_runtime_says_what_the_driver_does_with_long_loops() {
    let Some(runtime) = runtime() else { return };
    let text = runtime.explain().to_string();
    let cut = "loops       cut by the driver after 65535 iterations; launches notice it";
    assert!(text.contains(if runtime.explain().cuts_loops() { cut } else { "not cut" }), "{text}");
}

#[test]
fn a_runtime_explains_itself() {
    let Some(runtime) = direct() else { return };
    assert_eq!((runtime.access(), runtime.tier()), (ProvedAccess::Direct, ResidencyTier::None));
    let text = runtime.explain().to_string();
    assert!(text.contains(runtime.device_name()) && text.contains(runtime.driver()), "{text}");
    assert!(text.contains("validation  on, errors abort"), "{text}");
    assert!(text.contains("not kept on disk"), "{text}");
}

#[test]
fn the_builder_beats_the_environment_and_reports_what_is_missing() {
    if runtime().is_none() {
        return;
    }
    let built = Runtime::builder().device("no such device").no_pipeline_cache().build();
    let Err(Error::Build(BuildError::NoSuchDevice { devices, .. })) = built else {
        panic!("a device of that name? {built:?}");
    };
    assert!(devices.starts_with("0 ("), "{devices}");
}

#[test]
fn compiled_kernels_are_kept_on_disk_and_damage_is_survived() {
    if runtime().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let build = || Runtime::builder().pipeline_cache(folder.path()).build().unwrap();
    let kept = || fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    drop(build());
    let first = fs::read(kept()).unwrap();
    assert!(first.starts_with(b"farptr2\n"));
    let explained = build().explain().to_string();
    assert!(explained.contains(&format!("kept in {}", kept().display())), "{explained}");
    assert_eq!(fs::read(kept()).unwrap(), first, "nothing new, so nothing written");
    fs::write(kept(), &first[..first.len() / 2]).unwrap();
    drop(build());
    assert_eq!(fs::read(kept()).unwrap(), first, "the cut file was replaced");
}

#[test]
fn a_cache_folder_that_cannot_be_written_is_only_reported() {
    if runtime().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let blocker = folder.path().join("file");
    fs::write(&blocker, b"").unwrap();
    let runtime = Runtime::builder().pipeline_cache(&blocker).build().unwrap();
    let text = runtime.explain().to_string();
    assert!(text.contains("not kept: cannot write"), "{text}");
}

#[test]
fn a_new_runtime_has_done_nothing() {
    for runtime in runtimes() {
        let stats = runtime.stats();
        // The process's other faults since then are among these, but not those of the start.
        let process = farptr_hmm::fault_counts().unwrap().total();
        assert!(stats.host_faults < process, "{stats:?} of {process}");
        let done = [stats.launches, stats.rounds, stats.submissions, stats.lends, stats.faults];
        assert_eq!(done, [0; 5], "{stats:?}");
        let moved = [stats.pages_imported, stats.undone_rounds, stats.bytes_in, stats.bytes_home];
        assert_eq!(moved, [0; 4], "{stats:?}");
    }
}
