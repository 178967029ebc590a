//! Imports on devices that the layer `farptr-mask` makes of a software device. It refuses, and says
//! so, what no driver has to stand: a second import of a page, memory that is not mapped, a part of
//! the pieces that the device imports. It loses the device where i915 would.
//!
//! # Safety
//!
//! Mappings are of files that no other process has.
#![allow(unsafe_code, reason = "mapping a file is unsafe")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "common/checked.rs"]
mod checked;
mod common;
#[path = "common/masked.rs"]
mod masked;

use checked::add;
use common::build;
use farptr::shaders::saxpy;
use farptr::{AccessMode, Backing, ChosenBacking, Error, Grid, LaunchError, ProvedAccess, Runtime};
use memmap2::{Mmap, MmapMut};
use std::{collections::BTreeSet, io::Write, sync::Barrier};

const PAGE: usize = 4096;
/// Elements of a page.
const ONES: usize = PAGE / 4;
const GRANULE: usize = 64 << 10;

/// Runs a test in a child on each of these devices, and looks at what the layer said. True in such
/// a child, which is to do the test.
fn is_masked(masks: &[&str], test: &str) -> bool {
    if masked::is_child() {
        return true;
    }
    // A machine without a device skips the test.
    if common::runtime().is_none() {
        return false;
    }
    for mask in masks {
        let ended = masked::again(mask, test).expect("this is no child");
        ended.assert_passed();
        let seen = &ended.stderr;
        assert!(!seen.contains("refused"), "on {mask}: {seen}");
        assert_eq!(ended.total("lost"), 0, "on {mask}");
        assert_eq!(ended.left(), [], "on {mask}");
    }
    false
}

fn mirrored() -> Runtime {
    build(Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Import)).unwrap()
}

/// Imports, in mirrored access and, where it holds, in direct access.
fn runtimes() -> Vec<Runtime> {
    let auto = build(Runtime::builder().access(AccessMode::Auto)).unwrap();
    let is_direct = auto.access() == ProvedAccess::Direct;
    let direct = is_direct.then_some(auto);
    direct.into_iter().chain([mirrored()]).collect()
}

fn floats(memory: &mut MmapMut) -> &mut [f32] {
    bytemuck::cast_slice_mut(memory)
}

fn pages(count: usize) -> MmapMut {
    MmapMut::map_anon(count * PAGE).unwrap()
}

#[test]
fn scopes_of_several_threads_share_what_they_import() {
    const THREADS: usize = 3;
    let masks = ["lavapipe", "shadow", "intel-igpu", "amd-igpu"];
    if !is_masked(&masks, "scopes_of_several_threads_share_what_they_import") {
        return;
    }
    for runtime in runtimes() {
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let (mut x, mut y) = (pages(8), pages(THREADS * 4 + 1));
        floats(&mut x).fill(1.0);
        let (x, all_lent) = (&*floats(&mut x), Barrier::new(THREADS));
        std::thread::scope(|threads| {
            // Neighbours share a page of `y`, and lend all of `x` or the same part of it.
            for (thread, y) in
                floats(&mut y)[100..][..THREADS * 4 * ONES].chunks_mut(4 * ONES).enumerate()
            {
                let (runtime, kernel, all_lent) = (&runtime, &kernel, &all_lent);
                let x = if thread == 0 { x } else { &x[ONES + 7..6 * ONES] };
                threads.spawn(move || {
                    // Unwrapped at the end, so that nobody waits for a thread that is gone.
                    let mut ended = Ok(());
                    for _ in 0..5 {
                        let added = runtime.scope(|s| {
                            let added = add(s, kernel, x, y);
                            all_lent.wait();
                            added
                        });
                        ended = ended.and(added);
                    }
                    ended.unwrap();
                });
            }
        });
        let y = floats(&mut y);
        assert!(y[100..][..THREADS * 4 * ONES].iter().all(|&y| y == 5.0));
        assert!(y[..100].iter().chain(&y[100 + THREADS * 4 * ONES..]).all(|&y| y == 0.0));
        assert_eq!(runtime.explain().pages_imported(), 0);
    }
}

#[test]
fn arrays_on_one_page_work_in_one_scope_and_in_nested_ones() {
    let masks = ["lavapipe", "shadow", "intel-igpu", "amd-igpu"];
    if !is_masked(&masks, "arrays_on_one_page_work_in_one_scope_and_in_nested_ones") {
        return;
    }
    for runtime in runtimes() {
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let mut memory = pages(13);
        floats(&mut memory).fill(1.0);
        // As the arrays of a sparse matrix lie on a heap.
        let (a, rest) = floats(&mut memory).split_at_mut(3 * ONES + 10);
        let (b, rest) = rest.split_at_mut(3 * ONES);
        let (c, d) = rest.split_at_mut(3 * ONES);
        runtime
            .scope(|s| {
                add(s, &kernel, a, b)?;
                s.submit()?;
                runtime
                    .scope(|inner| add(inner, &kernel, &a[ONES / 2..2 * ONES], &mut d[..ONES]))?;
                add(s, &kernel, a, c)
            })
            .unwrap();
        assert!(b.iter().chain(&*c).chain(&d[..ONES]).all(|&y| y == 2.0));
        assert!(a.iter().chain(&d[ONES..]).all(|&x| x == 1.0));
    }
}

#[test]
fn an_array_in_a_part_of_what_the_device_imports_is_copied() {
    let masks =
        ["tiny,vram=64", "intel-igpu,import-alignment=65536", "lavapipe,import-alignment=65536"];
    if !is_masked(&masks, "an_array_in_a_part_of_what_the_device_imports_is_copied") {
        return;
    }
    let direct = Runtime::builder().access(AccessMode::Direct).no_pipeline_cache().build();
    let refused = format!("{:?}", direct.unwrap_err());
    // Elsewhere addresses differ, which is found first if the pages of the proof fill pieces.
    let differs = !masked::mask().unwrap().starts_with("lavapipe");
    assert!(differs || refused.contains("65536 bytes"), "{refused}");
    let auto = build(Runtime::builder().access(AccessMode::Mirrored)).unwrap();
    assert_eq!(auto.explain().backing(), ChosenBacking::Copy);

    let runtime = mirrored();
    let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
    let mut memory = MmapMut::map_anon(4 * GRANULE).unwrap();
    let start = memory.as_ptr().addr().next_multiple_of(GRANULE) - memory.as_ptr().addr();
    let (x, y): (&mut [f32], &mut [f32]) = {
        let (x, y) = memory[start..][..3 * GRANULE].split_at_mut(GRANULE);
        (bytemuck::cast_slice_mut(x), bytemuck::cast_slice_mut(y))
    };
    x.fill(1.0);
    let before = runtime.stats();
    runtime.scope(|s| add(s, &kernel, &x[..ONES], &mut y[5 * ONES..6 * ONES])).unwrap();
    assert_eq!(runtime.stats().since(&before).pages_imported, 0);
    assert!((0..).zip(&*y).all(|(i, &y)| (y == 1.0) == (5 * ONES..6 * ONES).contains(&i)));
    // Whole pieces are imported, beside a lend that is copied.
    y.fill(0.0);
    let before = runtime.stats();
    runtime
        .scope(|s| {
            let (x, y) = (s.lend(&x[ONES..2 * ONES])?.ptr(), s.lend_mut(y)?.ptr());
            let args = saxpy::Args { x, y, n: u32::try_from(ONES).unwrap(), a: 2.0 };
            Ok(s.launch(&kernel, Grid::cover(ONES), args)?)
        })
        .unwrap();
    assert!((0..).zip(&*y).all(|(i, &y)| (y == 2.0) == (i < ONES)));
    let imported = runtime.stats().since(&before).pages_imported;
    assert_eq!(imported, 2 * GRANULE as u64 / PAGE as u64);
}

#[test]
fn the_driver_is_asked_what_buffers_can_have() {
    let name = "the_driver_is_asked_what_buffers_can_have";
    let masks = [
        "intel-igpu,import-promise=dedicated",
        "lavapipe,import-promise=dedicated",
        "intel-igpu,import-promise=no",
        "lavapipe,import-promise=no",
    ];
    if !is_masked(&masks, name) {
        return;
    }
    let mask = masked::mask().unwrap();
    // A driver that runs on the CPU need not promise.
    if mask.contains("promise=no") && mask.starts_with("intel") {
        let import = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Import);
        let refused = import.no_pipeline_cache().build().unwrap_err();
        assert!(format!("{refused:?}").contains("VK_EXT_external_memory_host"), "{refused:?}");
        let auto = build(Runtime::builder().access(AccessMode::Mirrored)).unwrap();
        assert_eq!(auto.explain().backing(), ChosenBacking::Copy);
        return;
    }
    for runtime in runtimes() {
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let (mut x, mut y) = (pages(2), pages(2));
        floats(&mut x).fill(1.0);
        let before = runtime.stats();
        runtime.scope(|s| add(s, &kernel, floats(&mut x), floats(&mut y))).unwrap();
        assert!(floats(&mut y).iter().all(|&y| y == 1.0));
        assert_eq!(runtime.stats().since(&before).pages_imported, 4);
    }
}

#[test]
fn no_buffer_is_longer_than_the_device_allows() {
    let name = "no_buffer_is_longer_than_the_device_allows";
    if !is_masked(
        &["lavapipe,max-buffer=8", "intel-igpu,max-buffer=8", "nvidia,max-buffer=8"],
        name,
    ) {
        return;
    }
    // 20 MiB, in pieces.
    let (mut x, mut y) = (pages(5 << 10), pages(5 << 10));
    let copied = build(Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy));
    for runtime in runtimes().into_iter().chain(copied) {
        floats(&mut x).fill(1.0);
        floats(&mut y).fill(2.0);
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        runtime.scope(|s| add(s, &kernel, floats(&mut x), floats(&mut y))).unwrap();
        assert!(floats(&mut y).iter().all(|&y| y == 3.0));
    }
}

#[test]
fn a_file_that_is_mapped_for_reading_is_copied_on_devices_with_hardware() {
    let name = "a_file_that_is_mapped_for_reading_is_copied_on_devices_with_hardware";
    if !is_masked(&["intel-igpu", "amd-igpu", "lavapipe"], name) {
        return;
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytemuck::cast_slice(&vec![3.0f32; 5 * ONES])).unwrap();
    // SAFETY: no other process has the file, and nobody changes it.
    let map = unsafe { Mmap::map(&file) }.unwrap();
    let x: &[f32] = bytemuck::cast_slice(&map);
    let mut y = pages(5);
    let cpu = masked::mask().unwrap().starts_with("lavapipe");
    for runtime in runtimes() {
        floats(&mut y).fill(1.0);
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let before = runtime.stats();
        runtime.scope(|s| add(s, &kernel, x, floats(&mut y))).unwrap();
        assert!(floats(&mut y).iter().all(|&y| y == 4.0));
        let imported = runtime.stats().since(&before).pages_imported;
        assert_eq!(imported, if cpu { 10 } else { 5 });
        let said = runtime.explain().to_string();
        assert_eq!(said.contains("not memory of files"), !cpu, "{said}");
    }
}

#[test]
fn an_import_that_fails_is_a_copy_or_an_error() {
    let masks: Vec<String> = (1..16)
        .flat_map(|n| ["lavapipe", "shadow"].map(|row| format!("{row},fail=import:{n}")))
        .collect();
    let masks: Vec<&str> = masks.iter().map(String::as_str).collect();
    if !is_masked(&masks, "an_import_that_fails_is_a_copy_or_an_error") {
        return;
    }
    let access = if masked::mask().unwrap().starts_with("lavapipe") {
        AccessMode::Auto
    } else {
        AccessMode::Mirrored
    };
    let builder = Runtime::builder().access(access).backing(Backing::Import);
    // Imports of the proofs fail, too.
    let Ok(runtime) = builder.validation(true).no_pipeline_cache().build() else { return };
    let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
    let mut memory = pages(9);
    floats(&mut memory).fill(1.0);
    let (x, rest) = floats(&mut memory).split_at_mut(4 * ONES + 10);
    let (y, z) = rest.split_at_mut(3 * ONES);
    let mut added = [false; 2];
    let ended = runtime.scope(|s| {
        added[0] = add(s, &kernel, x, y).is_ok();
        s.submit()?;
        // A part of what the outer scope has imported.
        added[1] = runtime.scope(|s| add(s, &kernel, &x[ONES..2 * ONES], &mut z[..ONES])).is_ok();
        Ok(())
    });
    ended.unwrap();
    for (added, y) in added.into_iter().zip([&*y, &z[..ONES]]) {
        let expected = if added { 2.0 } else { 1.0 };
        assert!(y.iter().all(|&y| y == expected));
        assert!(added || runtime.access() == ProvedAccess::Direct, "what is refused is copied");
    }
    assert!(x.iter().all(|&x| x == 1.0));
}

/// A lend of an inner scope splits the import of the outer one. The n-th import fails, or all from
/// it on, so the import is split, put back or gone. The outer scope's launch is right then, or an
/// error.
#[test]
fn an_import_that_cannot_be_put_back_loses_the_device() {
    let test = "an_import_that_cannot_be_put_back_loses_the_device";
    if masked::is_child() {
        return println!("outcome: {}", launch_around_a_split());
    }
    if common::runtime().is_none() {
        return;
    }
    let mut outcomes = BTreeSet::new();
    for mask in (1..=14).flat_map(|n| [format!("import:{n}"), format!("import:{n}+")]) {
        let ended = masked::again(&format!("lavapipe,fail={mask}"), test).unwrap();
        ended.assert_passed();
        assert_eq!(ended.left(), [], "{mask}");
        let outcome = ended.stdout.lines().find_map(|line| Some(line.split_once("outcome: ")?.1));
        outcomes.insert(outcome.unwrap_or_else(|| panic!("{ended:?}")).to_owned());
    }
    let expected = ["no direct access", "not lent", "put back", "split", "the device is lost"];
    assert_eq!(outcomes.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

fn launch_around_a_split() -> &'static str {
    let runtime = match Runtime::builder().access(AccessMode::Direct).no_pipeline_cache().build() {
        Ok(runtime) => runtime,
        Err(_) => return "no direct access",
    };
    let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
    let (mut x, mut y) = (pages(8), pages(8));
    floats(&mut x).fill(1.0);
    let x = &*floats(&mut x);
    let mut inner = None;
    let outer = runtime.scope(|s| {
        let n = u32::try_from(8 * ONES).unwrap();
        let (lent_x, lent_y) = (s.lend(x)?.ptr(), s.lend_mut(floats(&mut y))?.ptr());
        inner = Some(runtime.scope(|s| Ok(s.lend(&x[2 * ONES..5 * ONES]).map(drop)?)));
        let args = saxpy::Args { x: lent_x, y: lent_y, n, a: 1.0 };
        Ok(s.launch(&kernel, Grid::cover(n as usize), args)?)
    });
    match (outer, inner) {
        (Err(_), None) => "not lent",
        (Err(Error::Launch(LaunchError::DeviceLost { .. })), Some(Err(_))) => "the device is lost",
        (Ok(()), Some(inner)) => {
            assert_eq!(floats(&mut y), vec![1.0; 8 * ONES]);
            if inner.is_ok() { "split" } else { "put back" }
        }
        other => panic!("{other:?}"),
    }
}
