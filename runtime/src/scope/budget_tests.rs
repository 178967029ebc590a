//! The device memory that the scopes of a runtime take together.

use super::common;
use crate::{AccessMode, Backing, Error, Grid, Runtime, RuntimeBuilder, vk::frames::FrameStore};
use farptr_kernels::affine;
use std::sync::Arc;

const PAGE_BYTES: u64 = 4096;
/// Elements of 8 pages.
const COUNT: usize = 8 * 1024;

fn copying() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy)
}

fn store_of(runtime: &Runtime) -> Arc<FrameStore> {
    runtime.scope(|s| Ok(Arc::clone(s.stream.launcher().frames()))).unwrap()
}

/// `y = y + 1` in a scope, and the bytes that copies may still take while its pages are on the
/// device and `inside` has run.
fn add_one(
    runtime: &Runtime,
    y: &mut [f32],
    inside: impl FnOnce() -> Result<(), Error>,
) -> Result<u64, Error> {
    let kernel = runtime.kernel::<affine::Kernel>()?;
    let n = u32::try_from(y.len())?;
    runtime.scope(|s| {
        let y = s.lend_mut(y)?;
        for _ in 0..2 {
            let args = affine::Args { y: y.ptr(), n, a: 1.0, c: 0.5 };
            s.launch(&kernel, Grid::cover(n as usize), args)?;
        }
        inside()?;
        s.wait()?;
        Ok(s.stream.launcher().frames().left_bytes())
    })
}

#[test]
fn scopes_share_the_budget_that_was_asked_for() {
    for pages in [0, 1, 3, 7, 20] {
        let asked = pages * PAGE_BYTES;
        let Some(runtime) = common::build(copying().device_budget(asked)) else { return };
        assert_eq!(runtime.explain().device_budget(), asked);
        let store = store_of(&runtime);
        assert_eq!(store.left_bytes(), asked);
        let (mut outer, mut inner) = (vec![1.0f32; COUNT], vec![2.0f32; COUNT]);
        let during = add_one(&runtime, &mut outer, || {
            let after_outer = store.left_bytes();
            let during = add_one(&runtime, &mut inner, || Ok(()))?;
            assert!(during <= after_outer, "{pages}: the outer scope still has its frames");
            Ok(())
        });
        // A table and eight frames are used to the last page.
        let rest = asked.saturating_sub(9 * PAGE_BYTES);
        assert!(during.unwrap() <= rest, "{pages}");
        assert_eq!(store.left_bytes(), asked, "{pages}: all was given back");
        assert!(outer.iter().all(|&y| y == 2.0) && inner.iter().all(|&y| y == 3.0));
    }
}

#[test]
fn other_buffers_count_against_the_devices_memory() {
    let Some(runtime) = common::build(copying()) else { return };
    let store = store_of(&runtime);
    let (limit, before) = (runtime.explain().device_budget(), store.left_bytes());
    println!("{}", runtime.explain());
    assert!(0 < limit && before < limit, "the block that refused accesses use is there");
    let mut y = vec![1.0f32; COUNT];
    let during = add_one(&runtime, &mut y, || Ok(())).unwrap();
    assert!(during + 8 * PAGE_BYTES <= before, "the pages are there");
    // Channels and stop words are kept for the next launch.
    let after = store.left_bytes();
    assert!(during < after && after <= before);
    add_one(&runtime, &mut y, || Ok(())).unwrap();
    assert_eq!(store.left_bytes(), after, "all else was given back");
}
