//! The behaviour of device and driver where Vulkan's specification leaves it open.

mod addresses;
mod atomics;
mod loops;
mod stop;

use super::{
    child::Answer,
    inventory::MemoryType,
    probe::{Probe, Situation, Subject},
};
use crate::failure::Failure;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const BATCH: &str = "64 launches in a batch";
const LOOP: &str = "the longest loop";
/// Seconds that kernels are to run, where that was asked for.
const LONG: [u32; 6] = [2, 4, 8, 16, 32, 64];

/// The things that are tried in memory of each type.
const BY_TYPE: [&str; 5] = [
    "addresses",
    "a stop word is seen",
    "atomics of the device, 32 bits",
    "atomics of host and device, 32 bits",
    "atomics of host and device, 64 bits",
];

pub(super) fn probes(situation: &Situation<'_>) -> Vec<Probe> {
    let device = situation.device;
    let mut probes = vec![Probe::new(LOOP, LIMIT), Probe::new(BATCH, LIMIT)];
    for what in BY_TYPE {
        for kind in device.host_visible() {
            let not_coherent =
                (!kind.has("host_coherent")).then(|| "the type is not coherent".to_owned());
            let uncached = kind
                .has("device_coherent")
                .then(|| "the type needs VK_AMD_device_coherent_memory".to_owned());
            let no_atomics = (what.ends_with("64 bits")
                && !device.has("shader_buffer_int64_atomics"))
            .then(|| "the device has no atomics of 64 bits".to_owned());
            let skip = not_coherent.or(uncached).or(no_atomics);
            probes.push(Probe { skip, ..Probe::new(in_type(what, kind), LIMIT) });
        }
    }
    let no_import = || "the device has no VK_EXT_external_memory_host".to_owned();
    let skip = device.import_alignment.is_none().then(no_import);
    for what in [addresses::IMPORTED, stop::IMPORTED] {
        probes.push(Probe { skip: skip.clone(), ..Probe::new(what, LIMIT) });
    }
    if situation.long {
        probes.extend(LONG.map(|seconds| {
            let limit = LIMIT + Duration::from_secs(4 * u64::from(seconds));
            Probe::new(format!("{}{seconds} s", loops::KERNEL_OF), limit)
        }));
    }
    probes
}

fn in_type(what: &str, kind: &MemoryType) -> String {
    format!("{what}, memory type {}", kind.index)
}

pub(super) fn ask(subject: &mut Subject, name: &str) -> Result<Answer, Failure> {
    let found = match name {
        LOOP => loops::longest(subject),
        BATCH => loops::batch(subject),
        addresses::IMPORTED => addresses::imported(subject),
        stop::IMPORTED => stop::imported(subject),
        _ => match (loops::seconds(name), parse(name)) {
            (Some(seconds), _) => loops::kernel_of(subject, seconds),
            (None, Some((what, kind))) => match BY_TYPE.iter().position(|known| *known == what) {
                Some(0) => addresses::in_type(subject, kind),
                Some(1) => stop::in_type(subject, kind),
                Some(2) => atomics::device_alone(subject, kind),
                Some(3) => atomics::both(subject, kind),
                _ => atomics::both_long(subject, kind),
            },
            (None, None) => Err(Failure::NoSuchProbe { name: name.to_owned() }),
        },
    };
    Ok(Answer::Finding(found?))
}

/// The thing that is tried, and the index of the memory type.
fn parse(name: &str) -> Option<(&str, u32)> {
    let (what, kind) = name.split_once(", memory type ")?;
    Some((what, kind.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let kind = MemoryType { index: 7, heap: 0, flags: vec!["host_visible".into()] };
        for what in BY_TYPE {
            assert_eq!(parse(&in_type(what, &kind)), Some((what, 7)));
        }
        assert_eq!(parse(LOOP), None);
    }
}
