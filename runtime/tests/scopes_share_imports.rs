//! Scopes that lend the same pages at the same time: each page is imported once, and its import
//! goes when the memory of a scope may.
//!
//! # Safety
//!
//! Parts of a mapping that are used at the same time do not overlap. Memory is unmapped after the
//! scope that lent it has ended, and is used by nobody then.
#![allow(unsafe_code, reason = "it makes slices of mappings, and unmaps parts")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "common/checked.rs"]
mod checked;
mod common;
#[path = "common/ways.rs"]
mod ways;

use checked::add;
use common::{build, direct};
use farptr::shaders::{affine, saxpy};
use farptr::{AccessMode, Backing, Error, Grid, Kernel, LentMut, Runtime, Scope};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::{ops::Range, sync::Barrier};
use ways::ways;

const PAGE: usize = 4096;
/// Pages of the largest pieces in which devices import memory.
const GRANULE: usize = 16;
/// Elements of a page.
const ONES: usize = PAGE / 4;

/// Pages of the test's own, which nothing else shares.
struct Pages {
    start: usize,
    bytes: usize,
}

impl Pages {
    /// Maps pages, the first of which begins a [`GRANULE`].
    fn new(pages: usize) -> Self {
        let (bytes, align) = (pages * PAGE, GRANULE * PAGE);
        let (protection, null) = (ProtFlags::READ | ProtFlags::WRITE, std::ptr::null_mut());
        // SAFETY: the kernel chooses the place.
        let mapped =
            unsafe { mmap_anonymous(null, bytes + align, protection, MapFlags::PRIVATE) }.unwrap();
        let mapped = mapped.expose_provenance();
        let start = mapped.next_multiple_of(align);
        if start > mapped {
            unmap(mapped, start - mapped);
        }
        unmap(start + bytes, mapped + align - start);
        Self { start, bytes }
    }

    /// All elements, which are zeroes at first.
    fn floats(&mut self) -> &mut [f32] {
        self.part(0..self.bytes / 4)
    }

    /// Some of the elements, for one user at a time.
    #[allow(clippy::mut_from_ref, reason = "two threads have parts of one mapping")]
    fn part(&self, elements: Range<usize>) -> &mut [f32] {
        let start = self.start + elements.start * 4;
        let start = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: the elements are mapped, and used by one user at a time (the module's argument).
        unsafe { std::slice::from_raw_parts_mut(start, elements.len()) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        unmap(self.start, self.bytes);
    }
}

fn unmap(start: usize, bytes: usize) {
    // SAFETY: the memory is not used any more (the module's argument).
    unsafe { munmap(std::ptr::with_exposed_provenance_mut(start), bytes) }.unwrap();
}

fn mirrored() -> Option<Runtime> {
    build(Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Import))
}

#[test]
fn threads_that_lend_one_slice_import_it_once() {
    const THREADS: usize = 4;
    for runtime in [direct(), mirrored()].into_iter().flatten() {
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let (mut x, mut out) = (Pages::new(GRANULE), Pages::new(GRANULE * THREADS));
        x.floats().fill(1.0);
        let (x, all_lent, all_done) = (&*x.floats(), Barrier::new(THREADS), Barrier::new(THREADS));
        let before = runtime.stats();
        std::thread::scope(|threads| {
            for y in out.floats().chunks_mut(GRANULE * ONES) {
                let (runtime, kernel, all_lent, all_done) =
                    (&runtime, &kernel, &all_lent, &all_done);
                threads.spawn(move || {
                    let added = runtime.scope(|s| {
                        let added = add(s, kernel, x, y);
                        all_lent.wait();
                        s.submit()?;
                        all_done.wait();
                        added
                    });
                    added.unwrap();
                });
            }
        });
        assert!(out.floats().iter().all(|&y| y == 1.0));
        let done = runtime.stats().since(&before);
        assert_eq!(done.pages_imported, (GRANULE + GRANULE * THREADS) as u64);
        assert_eq!(runtime.explain().pages_imported(), 0);
    }
}

#[test]
fn a_part_of_what_another_scope_lends_is_reached_in_every_way() {
    for (name, runtime) in ways() {
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let (mut x, mut y) = (Pages::new(8), Pages::new(16));
        x.floats().fill(1.0);
        let x = &*x.floats();
        let (outer, inner) = y.floats().split_at_mut(8 * ONES);
        let (low, high) = inner.split_at_mut(4 * ONES);
        runtime
            .scope(|s| {
                add(s, &kernel, x, outer)?;
                s.submit()?;
                // The outer scope is running, or has launches recorded, on all of `x`.
                runtime.scope(|s| {
                    add(s, &kernel, &x[2 * ONES + 5..4 * ONES], &mut low[..ONES])?;
                    add(s, &kernel, &x[..3 * ONES], &mut high[..3 * ONES])
                })?;
                let again = s.lend(&x[100..5000])?.ptr();
                assert_eq!(again.address(), x[100..].as_ptr() as u64);
                Ok(())
            })
            .unwrap();
        assert!(outer.iter().all(|&y| y == 1.0), "{name}");
        let expected = |i: usize| i < ONES || (4 * ONES..7 * ONES).contains(&i);
        assert!((0..).zip(&*inner).all(|(i, &y)| (y == 1.0) == expected(i)), "{name}");
        assert_eq!(runtime.explain().pages_imported(), 0, "{name}");
    }
}

/// Adds 1 to each element.
fn count_up<'scope>(
    s: &mut Scope<'scope, '_>,
    kernel: &Kernel<affine::Kernel>,
    y: LentMut<'scope, f32>,
) -> Result<(), Error> {
    let n = u32::try_from(y.len()).unwrap();
    let args = affine::Args { y: y.ptr(), n, a: 1.0, c: 1.0 };
    Ok(s.launch(kernel, Grid::cover(n as usize), args)?)
}

#[test]
fn memory_of_a_scope_that_ended_is_not_imported_although_another_scope_shares_a_page() {
    let Some(runtime) = direct() else { return };
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let mut pages = Pages::new(6);
    // Page 2 has elements of both.
    let (len, border) = (6 * ONES, 2 * ONES + 500);
    let imported = || runtime.explain().pages_imported();
    let turn = Barrier::new(2);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let first = pages.part(0..border);
            runtime
                .scope(|s| {
                    let y = s.lend_mut(first)?;
                    count_up(s, &kernel, y)?;
                    turn.wait(); // 1: lent
                    turn.wait(); // 2: lent by the other scope
                    Ok(())
                })
                .unwrap();
            assert!(pages.part(0..border).iter().all(|&y| y == 1.0));
            assert_eq!(imported(), 4, "pages 2 to 5");
            unmap(pages.start, 2 * PAGE);
            turn.wait(); // 3: unmapped
        });
        runtime
            .scope(|s| {
                turn.wait();
                assert_eq!(imported(), 3, "pages 0 to 2");
                let y = s.lend_mut(pages.part(border..len))?;
                assert_eq!(imported(), 6);
                count_up(s, &kernel, y)?;
                s.submit()?;
                turn.wait();
                turn.wait();
                count_up(s, &kernel, y)
            })
            .unwrap();
    });
    assert!(pages.part(border..len).iter().all(|&y| y == 2.0));
    assert_eq!(imported(), 0);
    // What is left.
    pages.start += 2 * PAGE;
    pages.bytes -= 2 * PAGE;
}

#[test]
fn arrays_on_one_page_are_imported_once_in_a_scope() {
    for (name, runtime) in ways() {
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let mut pages = Pages::new(12);
        pages.floats().fill(1.0);
        // Both arrays end in the middle of a page, and the second one begins on the page of the
        // first one's end.
        let (x, y) = pages.floats().split_at_mut(4 * ONES + 10);
        let before = runtime.stats();
        runtime.scope(|s| add(s, &kernel, x, &mut y[..4 * ONES])).unwrap();
        let done = runtime.stats().since(&before);
        assert!(y[..4 * ONES].iter().all(|&y| y == 2.0), "{name}");
        assert!(y[4 * ONES..].iter().all(|&y| y == 1.0), "{name}");
        let most = 9; // pages 0 to 8
        assert!(done.pages_imported <= most, "{name}: {done:?}");
        if name == "direct" {
            assert_eq!(done.pages_imported, most);
        }
    }
}
