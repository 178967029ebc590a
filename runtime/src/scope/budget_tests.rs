//! The device memory that the scopes of a runtime take together.

use super::common;
use crate::{AccessMode, Backing, Error, Grid, Runtime, RuntimeBuilder, vk::budget::Budget};
use farptr_kernels::affine;
use std::sync::Arc;

const PAGE_BYTES: u64 = 4096;
/// Elements of 8 pages.
const COUNT: usize = 8 * 1024;

fn copying() -> RuntimeBuilder {
    Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy)
}

fn budget_of(runtime: &Runtime) -> Arc<Budget> {
    runtime.scope(|s| Ok(Arc::clone(s.device().budget()))).unwrap()
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
        Ok(s.device().budget().left())
    })
}

#[test]
fn scopes_share_the_budget_that_was_asked_for() {
    for pages in [0, 1, 3, 7, 20] {
        let asked = pages * PAGE_BYTES;
        let Some(runtime) = common::build(copying().device_budget(asked)) else { return };
        assert_eq!(runtime.explain().device_budget(), asked);
        let budget = budget_of(&runtime);
        let left = || budget.left();
        assert_eq!(left(), asked);
        let (mut outer, mut inner) = (vec![1.0f32; COUNT], vec![2.0f32; COUNT]);
        let during = add_one(&runtime, &mut outer, || {
            let after_outer = left();
            let during = add_one(&runtime, &mut inner, || Ok(()))?;
            assert!(during <= after_outer, "{pages}: the outer scope still has its frames");
            Ok(())
        });
        // The first single page takes a block of all that is left.
        assert_eq!(during.unwrap(), 0, "{pages}");
        assert_eq!(left(), asked, "{pages}: all was given back");
        assert!(outer.iter().all(|&y| y == 2.0) && inner.iter().all(|&y| y == 3.0));
    }
}

#[test]
fn other_buffers_count_against_the_devices_memory() {
    let Some(runtime) = common::build(copying()) else { return };
    let budget = budget_of(&runtime);
    let (limit, left) = (runtime.explain().device_budget(), budget.left());
    println!("{}", runtime.explain());
    assert!(0 < limit && left < limit, "the block that refused accesses use is there");
    let mut y = vec![1.0f32; COUNT];
    let during = add_one(&runtime, &mut y, || Ok(())).unwrap();
    assert!(during + 8 * PAGE_BYTES <= left, "the pages are there");
    // Channels and stop words are kept for the next launch.
    let after = budget.left();
    assert!(during < after && after <= left);
    add_one(&runtime, &mut y, || Ok(())).unwrap();
    assert_eq!(budget.left(), after, "all else was given back");
}
