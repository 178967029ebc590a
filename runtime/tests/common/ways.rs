//! Every way in which a device reaches host memory.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use crate::common::build;
use farptr::test_hooks::TestHooks;
use farptr::{AccessMode, Backing, Runtime, RuntimeBuilder};

/// Host memory as it is, imported, copied in several ways, and some of each.
pub fn ways() -> Vec<(&'static str, Runtime)> {
    ways_of(|builder| builder)
}

/// Runs a program in each of the [`ways`], until it fails.
pub fn in_each<E>(run: impl Fn(&Runtime) -> Result<(), E>) -> Result<(), E> {
    for (way, runtime) in ways() {
        println!("{way}:");
        run(&runtime)?;
    }
    Ok(())
}

/// As [`ways`], with options.
pub fn ways_of(options: impl Fn(RuntimeBuilder) -> RuntimeBuilder) -> Vec<(&'static str, Runtime)> {
    let mirrored = |backing| Runtime::builder().access(AccessMode::Mirrored).backing(backing);
    let copying = || mirrored(Backing::Copy);
    let ways: [(&'static str, RuntimeBuilder); 7] = [
        ("direct", Runtime::builder().access(AccessMode::Direct)),
        ("imported", mirrored(Backing::Import)),
        ("some of each", mirrored(Backing::Import).refuse_imports_above(8 * 1024)),
        ("copied", copying()),
        ("copied to a few pages", copying().device_budget(3 * 4096)),
        ("copied by the device", copying().staged_copies(true)),
        ("copied out of order", copying().serve_faults(5, 3)),
    ];
    let built = |(name, builder)| Some((name, build(options(builder))?));
    ways.into_iter().filter_map(built).collect()
}
