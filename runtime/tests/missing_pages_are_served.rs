//! In direct access a kernel may touch lent memory that is not resident.
//!
//! # Safety
//!
//! Mapped files are the tests' own: no other process changes them or cuts them short.
#![allow(unsafe_code, reason = "mapped files; each says why it does not change")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/pager.rs"]
mod pager;

use common::{memory_is_shadowed, runtime, skip};
use farptr::shaders::saxpy;
use farptr::{Grid, Runtime, VaRange};
use farptr_hmm::{PageSize, PageState, Pagemap};
use memmap2::{Advice, MmapMut, MmapOptions};
use pager::Pager;
use std::io::{Seek, SeekFrom, Write};

const PAGES: usize = 64;

fn page_bytes() -> usize {
    usize::try_from(PageSize::host().bytes()).unwrap()
}

/// Elements of f32 in a page.
fn page_elements() -> usize {
    page_bytes() / size_of::<f32>()
}

/// Untouched anonymous memory in small pages.
fn untouched(pages: usize) -> MmapMut {
    let memory = MmapMut::map_anon(pages * page_bytes()).unwrap();
    match memory.advise(Advice::NoHugePage) {
        // A kernel without transparent huge pages does not know the advice.
        Ok(()) | Err(_) => memory,
    }
}

/// The present pages of a slice.
fn present(memory: &[u8]) -> u64 {
    residency(memory).present_pages().get()
}

fn residency(memory: &[u8]) -> farptr_hmm::Residency {
    Pagemap::open().unwrap().residency(VaRange::of_slice(memory)).unwrap()
}

/// y = a * x + y over whole slices, on memory that the host does not touch meanwhile.
fn saxpy(runtime: &Runtime, a: f32, x: &[u8], y: &mut [u8]) {
    let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
    let (x, y): (&[f32], &mut [f32]) = (bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
    let n = x.len();
    runtime
        .scope(|s| {
            let (x, y) = (s.lend(x)?, s.lend_mut(y)?);
            let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: u32::try_from(n).unwrap(), a };
            s.launch(&kernel, Grid::cover(n), args)?;
            Ok(())
        })
        .unwrap();
}

#[test]
fn untouched_anonymous_memory_is_faulted_in_where_the_kernel_touches_it() {
    if memory_is_shadowed() {
        return skip("the layer touches what is imported");
    }
    let Some(runtime) = runtime() else { return };
    let (x, mut y) = (untouched(PAGES), untouched(PAGES));
    let touched = 10 * page_bytes()..20 * page_bytes();
    runtime.scope(|s| Ok((s.lend(&x)?, s.lend_mut(&mut y)?).0.len())).unwrap();
    assert_eq!((present(&x), present(&y)), (0, 0), "lending touches nothing");
    let before = runtime.stats();
    saxpy(&runtime, 2.0, &x[touched.clone()], &mut y[touched.clone()]);
    let faults = runtime.stats().since(&before).host_faults;
    assert!(faults >= 20, "one fault for each of 10 + 10 pages, counted {faults}");
    assert_eq!((present(&x), present(&y)), (10, 10));
    assert_eq!((present(&x[touched.clone()]), present(&y[touched])), (10, 10));
    assert!(y.iter().all(|&byte| byte == 0), "2 * 0 + 0");
}

/// A file of `PAGES` pages of ones.
fn file_of_ones() -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    let ones = vec![1.0f32; PAGES * page_elements()];
    file.write_all(bytemuck::cast_slice(&ones)).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file
}

fn floats_of(file: &std::fs::File) -> Vec<f32> {
    let mut floats = vec![0.0f32; PAGES * page_elements()];
    let bytes = bytemuck::cast_slice_mut(&mut floats);
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, 0).unwrap();
    floats
}

#[test]
fn a_shared_file_mapping_is_read_and_written_in_place() {
    let Some(runtime) = runtime() else { return };
    let file = file_of_ones();
    // SAFETY: the temporary file has no name, so no other process can change or cut it.
    let mut mapped = unsafe { MmapMut::map_mut(&file) }.unwrap();
    let x = file_of_ones();
    // SAFETY: as for `mapped`.
    let x = unsafe { MmapOptions::new().map(&x) }.unwrap();
    assert_eq!((present(&x), present(&mapped)), (0, 0));
    let before = runtime.stats();
    saxpy(&runtime, 3.0, &x, &mut mapped);
    let faults = runtime.stats().since(&before).host_faults;
    let pages = PAGES as u64;
    assert_eq!((present(&x), present(&mapped)), (pages, pages));
    assert_eq!(residency(&mapped).pages_in(PageState::File).get(), pages);
    // The kernel maps up to 16 neighbours with a fault on a page that the page cache holds.
    assert!(faults >= 2 * pages / 16, "counted {faults}");
    assert_eq!(floats_of(&file), vec![4.0; PAGES * page_elements()], "the file itself changed");
}

#[test]
fn a_private_file_mapping_is_copied_page_by_page_as_it_is_written() {
    if memory_is_shadowed() {
        return skip("the layer touches what is imported");
    }
    let Some(runtime) = runtime() else { return };
    let file = file_of_ones();
    // SAFETY: the temporary file has no name, so no other process can change or cut it.
    let mut mapped = unsafe { MmapOptions::new().map_copy(&file) }.unwrap();
    let x = untouched(PAGES);
    let touched = 5 * page_bytes()..12 * page_bytes();
    let before = runtime.stats();
    saxpy(&runtime, 3.0, &x[touched.clone()], &mut mapped[touched.clone()]);
    let faults = runtime.stats().since(&before).host_faults;
    assert!(faults >= 7 + 7, "a copy for each page written, counted {faults}");
    let after = residency(&mapped);
    assert_eq!(after.pages_in(PageState::Anonymous).get(), 7, "exactly the pages written");
    let copied = residency(&mapped[touched]);
    assert_eq!(copied.pages_in(PageState::Anonymous).get(), 7);
    let floats: &[f32] = bytemuck::cast_slice(&mapped);
    assert!(floats.iter().all(|&y| y == 1.0), "3 * 0 + 1");
    assert_eq!(floats_of(&file), vec![1.0; PAGES * page_elements()], "the file did not change");
}

#[test]
fn the_applications_own_userfaultfd_serves_the_kernel() {
    let Some(runtime) = runtime() else { return };
    let (x, mut y) = (untouched(PAGES), untouched(PAGES));
    let range = VaRange::of_slice(&x);
    // Page i of x is made, when it is asked for, of the number i.
    let page = |index: usize| {
        let value = u16::try_from(index).map(f32::from).unwrap();
        bytemuck::cast_slice(&vec![value; page_elements()]).to_vec()
    };
    let pager = Pager::start(range.start().get()..range.end().get(), page_bytes(), page);
    let pager = match pager {
        Ok(pager) => pager,
        Err(error) => return common::skip(&format!("userfaultfd: {error}")),
    };
    let touched = 3 * page_bytes()..40 * page_bytes();
    saxpy(&runtime, 2.0, &x[touched.clone()], &mut y[touched.clone()]);
    let present = residency(&x).present_pages().get();
    let served = pager.stop();
    assert_eq!(served, 37, "one fault for each page that the kernel touched, none else");
    assert_eq!(present, 37);
    let floats: &[f32] = bytemuck::cast_slice(&y);
    for (index, page) in floats.chunks(page_elements()).enumerate() {
        let value = if (3..40).contains(&index) { 2 * index } else { 0 };
        let value = u16::try_from(value).map(f32::from).unwrap();
        assert!(page.iter().all(|&y| y == value), "page {index}");
    }
}
