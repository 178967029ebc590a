//! A report as text for a person.

use super::{
    finding::{Check, Mode},
    inventory::Inventory,
    system::System,
    verdict::Verdict,
};

const MIB: u64 = 1 << 20;

/// The device, in a few lines.
pub(super) fn device(device: &Inventory, system: &System) -> Vec<String> {
    let mut lines = vec![
        format!("device {}   {}", device.index, device.title()),
        format!(
            "           {}, vendor {:#06x}, Vulkan {}, driver {} (id {})",
            device.kind,
            device.vendor_id,
            device.api_version,
            device.driver_version,
            device.driver_id
        ),
    ];
    for heap in &device.heaps {
        let budget =
            heap.budget_bytes.map_or_else(String::new, |b| format!(", budget {}", size(b)));
        let local = if heap.device_local { ", device_local" } else { "" };
        lines.push(format!("heap {}     {}{budget}{local}", heap.index, size(heap.size_bytes)));
    }
    for kind in &device.memory_types {
        let flags = kind.flags.join(", ");
        lines.push(format!("type {:<2}    heap {}: {flags}", kind.index, kind.heap));
    }
    for family in &device.queue_families {
        let flags = family.flags.join(", ");
        lines.push(format!("queues {}   {} of {flags}", family.index, family.queues));
    }
    let absent = |all: &mut dyn Iterator<Item = (&String, &bool)>| {
        let names: Vec<_> = all.filter(|(_, has)| !**has).map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    lines.push(format!("bar        {}", device.bar_bytes.map_or_else(|| "none".into(), size)));
    lines.push(match device.import_alignment {
        Some(alignment) => format!("imports    aligned to {alignment} bytes"),
        None => "imports    not offered".to_owned(),
    });
    lines.push(format!("lacks      {}", absent(&mut device.features.iter())));
    lines.push(format!("           {}", absent(&mut device.extensions.iter())));
    lines.extend(machine(system));
    lines
}

fn machine(system: &System) -> [String; 2] {
    let memlock = system.memlock_bytes.map_or_else(|| "unlimited".to_owned(), size);
    let iommu = if system.iommu.is_empty() { "none seen".into() } else { system.iommu.join(" ") };
    [
        format!(
            "machine    Linux {}, {} cores ({}), {} of memory, {} GPU modules",
            system.kernel,
            system.cores,
            system.cpu,
            size(system.memory_bytes),
            if system.gpu_modules.is_empty() { "no".into() } else { system.gpu_modules.join(", ") },
        ),
        format!(
            "           pages of {} bytes, huge pages {}, locked memory {memlock}, iommu {iommu}",
            system.page_bytes,
            system.huge_pages.as_deref().unwrap_or("unknown"),
        ),
    ]
}

/// A mode, in farptr's words.
pub(super) fn mode(mode: &Mode) -> Vec<String> {
    let taken = if mode.automatic { ", which farptr takes by itself" } else { "" };
    let proved = if mode.proved { format!("proved{taken}") } else { "not proved".to_owned() };
    let mut lines = vec![format!("{:<10} {proved}", mode.name)];
    lines.extend(mode.words.iter().map(|line| format!("           {line}")));
    lines
}

/// A check, in one line.
pub(super) fn check(check: &Check) -> String {
    let mode = check.mode.as_ref().map_or_else(String::new, |mode| format!(" [{mode}]"));
    let name = format!("{}{mode}", check.name);
    let line = format!("{name:<44} {:<11} {}", check.finding.outcome, check.finding.detail);
    line.trim_end().to_owned()
}

/// The verdict: a line for each mode, and one for all.
pub(super) fn verdict(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    for mode in &verdict.modes {
        let taken = if mode.automatic { " (taken by itself)" } else { "" };
        let grade = mode.grade.map_or_else(|| "not offered".to_owned(), |grade| grade.to_string());
        let said = mode.reasons.iter().chain(&mode.explained).map(String::as_str);
        let said = said.collect::<Vec<_>>().join("; ");
        let why = if said.is_empty() { "" } else { ": " };
        lines.push(format!("{:<10} {grade}{taken}{why}{said}", mode.mode));
    }
    let why = if verdict.reasons.is_empty() { String::new() } else { ": ".to_owned() };
    lines.push(format!("verdict    {}{why}{}", verdict.grade, verdict.reasons.join("; ")));
    if !verdict.table_row.is_empty() {
        lines.push(format!("README     {}", verdict.table_row));
    }
    lines
}

/// Bytes in the largest unit that leaves a whole number of at least 1 MiB, else in bytes.
fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 10 * 1024 * MIB => format!("{} GiB", bytes / (1024 * MIB)),
        bytes if bytes >= MIB => format!("{} MiB", bytes / MIB),
        bytes => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        finding::{Finding, Outcome},
        verdict,
    };

    #[test]
    fn a_check_is_one_line() {
        let finding = Finding::new(Outcome::Refused, "vkAllocateMemory: no");
        let check = Check {
            step: "imports".into(),
            name: "memfd, read".into(),
            mode: Some("copy".into()),
            seconds: 1.0,
            finding,
        };
        let line = super::check(&check);
        assert!(line.starts_with("memfd, read [copy] "), "{line}");
        assert!(line.ends_with(" refused     vkAllocateMemory: no"), "{line}");
    }

    #[test]
    fn a_verdict_names_each_mode_and_its_reasons() {
        let lines = super::verdict(&verdict::judge("card (driver)", &[], &[]));
        assert_eq!(lines[0], "verdict    failed: farptr cannot use the device in any mode");
        assert_eq!(lines[1], "README     | card (driver) | failed |  |");
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(size(4096), "4096 bytes");
        assert_eq!(size(256 << 20), "256 MiB");
        assert_eq!(size(140 << 30), "140 GiB");
    }
}
