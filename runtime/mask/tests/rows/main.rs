//! Each row does what it says, seen by a program that speaks plain Vulkan.
//!
//! # Safety
//!
//! Mapped memory is read and written by one thread, word by word, and the driver's threads are done
//! with what they write when it is read.
#![allow(unsafe_code, reason = "memory of a device, and Vulkan by hand")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "../../../tests/common/masked.rs"]
mod masked;
#[path = "../../../tests/common/vulkan.rs"]
mod vulkan;

use ash::vk;
use memmap2::{Mmap, MmapMut};
use std::io::Write;
use vulkan::Machine;

type Flags = vk::MemoryPropertyFlags;
type Kind = vk::PhysicalDeviceType;
const LOCAL: Flags = Flags::DEVICE_LOCAL;
const HOST: Flags = Flags::from_raw(Flags::HOST_VISIBLE.as_raw() | Flags::HOST_COHERENT.as_raw());
const CACHED: Flags = Flags::HOST_CACHED;
const PAGE: usize = 4096;
const FOREVER: u64 = u64::MAX;

/// What a row says: type, memory types, heaps in MiB where they are fixed, and imports' alignment
/// (0: none).
fn said(row: &str) -> (Kind, Vec<Flags>, Vec<Option<u64>>, u64) {
    let all = LOCAL | HOST | CACHED;
    match row {
        "nvidia" => (
            Kind::DISCRETE_GPU,
            vec![LOCAL, HOST, HOST | CACHED, LOCAL | HOST],
            vec![Some(8192), None, Some(256)],
            4096,
        ),
        "nvidia-rebar" => (
            Kind::DISCRETE_GPU,
            vec![LOCAL, HOST, LOCAL | HOST, HOST | CACHED],
            vec![Some(8192), None],
            4096,
        ),
        "amd-igpu" => (
            Kind::INTEGRATED_GPU,
            vec![LOCAL, HOST, LOCAL | HOST, HOST | CACHED],
            vec![Some(512), None],
            4096,
        ),
        "intel-igpu" => (Kind::INTEGRATED_GPU, vec![all], vec![None], 4096),
        "nvk" => (
            Kind::DISCRETE_GPU,
            vec![LOCAL, HOST, HOST | CACHED, LOCAL | HOST],
            vec![Some(8192), None, Some(256)],
            0,
        ),
        "tiny" => {
            (Kind::DISCRETE_GPU, vec![LOCAL, HOST, HOST | CACHED], vec![Some(1), None], 65536)
        }
        _ => panic!("unknown row {row}"),
    }
}

/// Whether there is a device to mask; says why not.
fn has_device() -> bool {
    let missing = match vulkan::instance() {
        // The layer refuses the instance, so there is a loader.
        _ if masked::is_child() => return true,
        Err(error) => format!("no Vulkan instance: {error}"),
        // SAFETY: the instance is live.
        Ok((_, instance)) => match unsafe { instance.enumerate_physical_devices() } {
            Ok(devices) if !devices.is_empty() => return true,
            found => format!("no Vulkan device: {found:?}"),
        },
    };
    assert!(std::env::var_os("CI").is_none(), "in CI this test must run, but: {missing}");
    let _ = writeln!(std::io::stderr(), "SKIP: {missing}; install mesa-vulkan-drivers");
    false
}

fn row() -> String {
    let mask = masked::mask().unwrap();
    mask.split(',').next().unwrap().to_owned()
}

#[test]
fn rows_say_what_they_are() {
    if !has_device() {
        return;
    }
    for row in ["nvidia", "nvidia-rebar", "amd-igpu", "intel-igpu", "nvk", "tiny"] {
        let Some(ended) = masked::again(row, "rows_say_what_they_are") else {
            return compare_with_row();
        };
        ended.assert_passed();
    }
}

fn compare_with_row() {
    let (row, machine) = (row(), Machine::new());
    let (kind, types, heaps, alignment) = said(&row);
    let (properties, found) = machine.properties();
    assert_eq!((properties.device_type, found), (kind, alignment));
    let memory = machine.memory();
    let flags: Vec<Flags> =
        memory.memory_types_as_slice().iter().map(|kind| kind.property_flags).collect();
    assert_eq!(flags, types);
    assert_eq!(memory.memory_heap_count as usize, heaps.len());
    for (heap, mib) in memory.memory_heaps_as_slice().iter().zip(heaps) {
        assert!(mib.is_none_or(|mib| heap.size == mib << 20), "{} bytes", heap.size);
    }
    // SAFETY: instance and device are live.
    let features = unsafe { machine.instance.get_physical_device_features(machine.physical) };
    assert_eq!(features.shader_int64 != 0, row != "tiny");
    if row == "tiny" {
        let limits = properties.limits;
        assert_eq!(limits.max_push_constants_size, 128);
        assert_eq!(limits.max_memory_allocation_count, 4096);
        let refused = machine.allocate(0, 2 << 20);
        assert_eq!(refused, Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY));
        let held: Vec<_> = (0..4096).map(|_| machine.allocate(1, 64).unwrap()).collect();
        assert_eq!(machine.allocate(1, 64), Err(vk::Result::ERROR_TOO_MANY_OBJECTS));
        held.into_iter().for_each(|memory| machine.free(memory));
        let memory = MmapMut::map_anon(48 * PAGE).unwrap();
        let place = memory.as_ptr().align_offset(65536);
        let refused = machine.import(&memory[place + PAGE..][..65536]);
        assert_eq!(refused, Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE));
        machine.free(machine.import(&memory[place..][..65536]).unwrap());
    }
    machine.destroy();
}

#[test]
fn only_host_memory_is_mapped_and_validation_is_above() {
    if !has_device() {
        return;
    }
    let name = "only_host_memory_is_mapped_and_validation_is_above";
    let Some(ended) = masked::again("nvidia", name) else {
        let machine = Machine::new();
        let memory = machine.allocate(machine.memory_type(LOCAL, HOST), 4096).unwrap();
        // Validation lets a wrong call through, after its message.
        assert!(machine.map(memory).is_err());
        machine.free(memory);
        return machine.destroy();
    };
    ended.assert_passed();
    let seen = ended.stdout.contains("VUID-vkMapMemory-memory-00682");
    assert!(seen || !has_validation(), "validation saw nothing: {}", ended.stdout);
    assert!(ended.left().is_empty(), "{:?}", ended.left());
}

fn has_validation() -> bool {
    // SAFETY: the system's loader is trusted.
    let entry = unsafe { ash::Entry::load() }.unwrap();
    // SAFETY: the entry is live.
    let layers = unsafe { entry.enumerate_instance_layer_properties() }.unwrap();
    let wanted = Ok(c"VK_LAYER_KHRONOS_validation");
    layers.iter().any(|layer| layer.layer_name_as_c_str() == wanted)
}

#[test]
fn copies_are_carried_at_submissions_and_waits_alone() {
    if !has_device() {
        return;
    }
    let name = "copies_are_carried_at_submissions_and_waits_alone";
    for mask in ["shadow", "nvidia", "amd-igpu"] {
        let Some(ended) = masked::again(mask, name) else { return watch_a_copy() };
        ended.assert_passed();
        let counted = ["imports", "allocations", "submissions", "copy_calls", "copy_bytes"];
        assert_eq!(counted.map(|name| ended.total(name)), [1, 1, 3, 3, 24]);
    }
}

fn watch_a_copy() {
    let mut machine = Machine::new();
    let bytes = PAGE as u64;
    let staging = machine.allocate(machine.host_type(), bytes).unwrap();
    let from = machine.buffer(staging, bytes, false);
    let mut host = MmapMut::map_anon(PAGE).unwrap();
    let import = machine.import(&host).unwrap();
    let to = machine.buffer(import, bytes, true);
    assert_ne!(machine.address(to), host.as_ptr().addr() as u64, "addresses differ");
    let mapped = machine.map(staging).unwrap();
    let imported: *mut u32 = host.as_mut_ptr().cast();
    // SAFETY: for these two: both are live and aligned, and each has a page of words.
    let write = |at: *mut u32, value| unsafe { at.write_volatile(value) };
    // SAFETY: as above.
    let read = |at: *mut u32| unsafe { at.read_volatile() };
    write(mapped, 17);
    let first = machine.copy(from, to, 8, None).unwrap();
    assert_eq!(read(imported), 0, "nobody has waited");
    // Beside what the device writes, while it may be writing.
    write(imported.wrapping_add(5), 99);
    machine.wait(first, FOREVER).unwrap();
    assert_eq!([read(imported), read(imported.wrapping_add(5))], [17, 99]);
    // The device waits for the host, which writes to memory that was submitted.
    let second = machine.copy(from, to, 8, Some(10)).unwrap();
    write(mapped, 18);
    machine.signal(10);
    machine.wait(second, FOREVER).unwrap();
    assert_eq!(read(imported), 17, "what was written after the submission is not seen");
    let third = machine.copy(from, to, 8, None).unwrap();
    while machine.query().unwrap() < third {}
    assert_eq!(read(imported), 18, "a query that sees progress is as good as a wait");
}

#[test]
fn a_queue_that_copies_alone_hands_over_when_somebody_waits() {
    if !has_device() {
        return;
    }
    let name = "a_queue_that_copies_alone_hands_over_when_somebody_waits";
    let Some(ended) = masked::again("lavapipe,transfer-queue=yes", name) else {
        return watch_two_queues();
    };
    ended.assert_passed();
    let counted = ["transfer_submissions", "late", "submissions", "copy_calls"];
    assert_eq!(counted.map(|name| ended.total(name)), [2, 1, 4, 4]);
}

fn watch_two_queues() {
    let mut machine = Machine::new();
    // SAFETY: the device is live.
    let families =
        unsafe { machine.instance.get_physical_device_queue_family_properties(machine.physical) };
    assert_eq!(families.last().unwrap().queue_flags, vk::QueueFlags::TRANSFER);
    let bytes = PAGE as u64;
    let memory = [(); 3].map(|()| machine.allocate(machine.host_type(), bytes).unwrap());
    let buffers = memory.map(|memory| machine.buffer(memory, bytes, false));
    let mapped = memory.map(|memory| machine.map(memory).unwrap());
    let [from, between, to] = [0, 1, 2];
    // SAFETY: for these two: each is live and aligned, and has a page of words.
    let write = |at: usize, value| unsafe { mapped[at].write_volatile(value) };
    // SAFETY: as above.
    let read = |at: usize| unsafe { mapped[at].read_volatile() };
    [(from, 3), (between, 2), (to, 1)].into_iter().for_each(|(at, value)| write(at, value));
    machine.copy_in_last(buffers[from], buffers[between], 4, 5).unwrap();
    let alone = machine.copy(buffers[between], buffers[to], 4, None).unwrap();
    machine.wait(alone, FOREVER).unwrap();
    assert_eq!([read(between), read(to)], [2, 2], "it did not wait, and came first");
    let behind = machine.copy(buffers[between], buffers[to], 4, Some(5)).unwrap();
    machine.wait(behind, FOREVER).unwrap();
    assert_eq!([read(between), read(to)], [3, 3], "it waited");
    write(from, 4);
    machine.copy_in_last(buffers[from], buffers[between], 4, behind + 1).unwrap();
    machine.wait(behind + 1, FOREVER).unwrap();
    assert_eq!(read(between), 4, "the host waited");
}

#[test]
fn overlapping_imports_are_refused() {
    if !has_device() {
        return;
    }
    let Some(ended) = masked::again("shadow", "overlapping_imports_are_refused") else {
        let (machine, memory) = (Machine::new(), MmapMut::map_anon(3 * PAGE).unwrap());
        let first = machine.import(&memory[..2 * PAGE]).unwrap();
        let refused = machine.import(&memory[PAGE..]);
        assert_eq!(refused, Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE));
        let beside = machine.import(&memory[2 * PAGE..]).unwrap();
        machine.free(first);
        machine.free(beside);
        machine.free(machine.import(&memory[PAGE..]).unwrap());
        return machine.destroy();
    };
    ended.assert_passed();
    assert!(ended.stderr.contains("it overlaps the live import of"), "{}", ended.stderr);
}

/// A page of a file, mapped for reading.
fn file() -> Mmap {
    let file = tempfile::tempfile().unwrap();
    file.set_len(PAGE as u64).unwrap();
    // SAFETY: no other process has the file.
    unsafe { Mmap::map(&file) }.unwrap()
}

#[test]
fn amd_refuses_files() {
    if !has_device() {
        return;
    }
    let Some(ended) = masked::again("amd-igpu", "amd_refuses_files") else {
        let machine = Machine::new();
        assert_eq!(machine.import(&file()), Err(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE));
        let memory = MmapMut::map_anon(PAGE).unwrap();
        machine.free(machine.import(&memory).unwrap());
        return machine.destroy();
    };
    ended.assert_passed();
    assert!(ended.stderr.contains("is a file's, or may not be written"), "{}", ended.stderr);
}

#[test]
fn intel_is_lost_by_a_submission_after_a_read_only_import() {
    if !has_device() {
        return;
    }
    let name = "intel_is_lost_by_a_submission_after_a_read_only_import";
    let Some(ended) = masked::again("intel-igpu", name) else {
        let mut machine = Machine::new();
        let memory = machine.allocate(machine.host_type(), 4096).unwrap();
        let buffer = machine.buffer(memory, 4096, false);
        let file = file();
        let import = machine.import(&file).unwrap();
        machine.free(import);
        let done = machine.copy(buffer, buffer, 0, None);
        assert!(done.is_ok(), "it was given back before");
        machine.wait(1, FOREVER).unwrap();
        machine.import(&file).unwrap();
        let lost = Err(vk::Result::ERROR_DEVICE_LOST);
        for _ in 0..2 {
            assert_eq!(machine.all_calls(buffer), [lost; 5]);
        }
        return;
    };
    ended.assert_passed();
    assert_eq!(ended.total("lost"), 1);
}

#[test]
fn the_watchdog_ends_a_submission() {
    if !has_device() {
        return;
    }
    for mask in ["watchdog", "lavapipe,watchdog=50"] {
        let Some(ended) = masked::again(mask, "the_watchdog_ends_a_submission") else {
            let mut machine = Machine::new();
            let memory = machine.allocate(machine.host_type(), 4096).unwrap();
            let buffer = machine.buffer(memory, 4096, false);
            // Nobody signals what it waits for.
            let value = machine.copy(buffer, buffer, 0, Some(10)).unwrap();
            let lost = Err(vk::Result::ERROR_DEVICE_LOST);
            assert_eq!(machine.wait(value, FOREVER), lost);
            assert_eq!(machine.all_calls(buffer), [lost; 5]);
            // It goes on in reality, so the layer has to wait for its end.
            machine.signal(10);
            return machine.destroy();
        };
        ended.assert_passed();
        assert!(ended.stderr.contains("a submission took more than"), "{}", ended.stderr);
    }
}

/// The kinds of failures, with the number of the call in the body below that fails.
const FAILURES: [(&str, vk::Result); 8] = [
    ("allocation:2", vk::Result::ERROR_OUT_OF_DEVICE_MEMORY),
    ("import:2", vk::Result::ERROR_INVALID_EXTERNAL_HANDLE),
    ("submit:2", vk::Result::ERROR_OUT_OF_HOST_MEMORY),
    ("submit-lost:2", vk::Result::ERROR_DEVICE_LOST),
    ("wait:2", vk::Result::ERROR_OUT_OF_HOST_MEMORY),
    ("wait-lost:2+", vk::Result::ERROR_DEVICE_LOST),
    ("query:2+", vk::Result::ERROR_OUT_OF_HOST_MEMORY),
    ("query-lost:2", vk::Result::ERROR_DEVICE_LOST),
];

#[test]
fn the_nth_call_fails() {
    if !has_device() {
        return;
    }
    for (failure, _) in FAILURES {
        let mask = format!("shadow,fail={failure}");
        let Some(ended) = masked::again(&mask, "the_nth_call_fails") else {
            return fail_once();
        };
        ended.assert_passed();
        let (lost, onwards) = (failure.contains("-lost"), failure.ends_with('+'));
        assert_eq!(ended.total("lost"), u64::from(lost), "{failure}");
        assert!(!lost || ended.total("failures") == 1, "{failure}");
        assert!(lost || ended.total("failures") == if onwards { 2 } else { 1 }, "{failure}");
    }
}

/// Each call is made three times, and the second fails; after a loss the third does, too.
fn fail_once() {
    let mask = masked::mask().unwrap();
    let failure = mask.split(',').find_map(|word| word.strip_prefix("fail=")).unwrap();
    let &(_, result) = FAILURES.iter().find(|(name, _)| *name == failure).unwrap();
    let mut machine = Machine::new();
    let mut results: Vec<Result<(), vk::Result>> = Vec::new();
    let kind = failure.split([':', '-']).next().unwrap();
    let host_type = machine.host_type();
    if kind == "allocation" {
        results.extend((0..3).map(|_| machine.allocate(host_type, 64).map(drop)));
    }
    let memory = MmapMut::map_anon(3 * PAGE).unwrap();
    if kind == "import" {
        let pages = memory.chunks_exact(PAGE);
        results.extend(pages.map(|page| machine.import(page).map(drop)));
    }
    if results.is_empty() {
        let memory = machine.allocate(host_type, 64).unwrap();
        let buffer = machine.buffer(memory, 64, false);
        for _ in 0..3 {
            results.push(match kind {
                "submit" => machine.copy(buffer, buffer, 0, None).map(drop),
                "wait" => machine.wait(0, 0),
                "query" => machine.query().map(drop),
                other => panic!("unknown kind {other}"),
            });
        }
    }
    let stays = result == vk::Result::ERROR_DEVICE_LOST || failure.ends_with('+');
    assert_eq!(results, [Ok(()), Err(result), if stays { Err(result) } else { Ok(()) }]);
}

#[test]
fn bad_words_are_an_error() {
    if !has_device() {
        return;
    }
    let Some(ended) = masked::again("nvidia,shadow=perhaps", "bad_words_are_an_error") else {
        let refused = vulkan::instance().map(drop);
        return assert_eq!(refused, Err(vk::Result::ERROR_INITIALIZATION_FAILED));
    };
    ended.assert_passed();
    let says = "'shadow=perhaps': its value is yes or no";
    assert!(ended.stderr.contains(says), "{}", ended.stderr);
}

#[test]
fn what_is_left_is_reported_at_exit() {
    if !has_device() {
        return;
    }
    let Some(ended) = masked::again("nvk", "what_is_left_is_reported_at_exit") else {
        let machine = Machine::new();
        machine.allocate(0, 64).unwrap();
        let memory = machine.allocate(1, 4096).unwrap();
        machine.buffer(memory, 4096, false);
        return;
    };
    ended.assert_passed();
    let left = ended.left();
    let left: Vec<(&str, u64)> = left.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    let expected = [
        ("live_memory", 2),
        ("live_buffers", 1),
        ("live_semaphores", 1),
        ("live_command_pools", 1),
    ];
    assert_eq!(left, expected);
}
