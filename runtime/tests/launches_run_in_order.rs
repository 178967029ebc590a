//! Launches do what their kernels say, over every grid, in order, or are refused.
//!
//! # Safety
//!
//! Kernels that break their promise are refused before a driver sees them.
#![allow(unsafe_code, reason = "implementations of an unsafe trait, which the runtime refuses")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::{batches_are_filled, copies, ramp, runtime};
use farptr::shaders::{affine, axpby, dot, empty, hadamard, saxpy};
use farptr::{Error, Grid, KernelDesc, KernelError, LaunchError, PtrMut, Runtime};

/// y = a * x + y on the device.
fn saxpy(runtime: &Runtime, a: f32, x: &[f32], y: &mut [f32]) -> Result<(), Error> {
    let kernel = runtime.kernel::<saxpy::Kernel>()?;
    let n = x.len();
    runtime.scope(|s| {
        let (x, y) = (s.lend(x)?, s.lend_mut(y)?);
        let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: u32::try_from(n).unwrap(), a };
        s.launch(&kernel, Grid::cover(n), args)?;
        Ok(())
    })
}

#[test]
fn saxpy_is_exact_at_every_awkward_length_and_offset() {
    let Some(runtime) = runtime() else { return };
    for n in [1, 2, 63, 64, 65, 1000, 4096, 100_003] {
        for offset in [0, 1, 7] {
            let x = ramp(n + offset);
            let mut y = vec![1.0; n + offset + 1];
            saxpy(&runtime, 2.0, &x[offset..], &mut y[offset..offset + n]).unwrap();
            let touched = |i: usize| (offset..offset + n).contains(&i);
            let right = |(i, &y): (usize, &f32)| {
                y == if touched(i) { 2.0f32.mul_add(x[i], 1.0) } else { 1.0 }
            };
            assert!(y.iter().enumerate().all(right), "n {n}, offset {offset}");
        }
    }
}

#[test]
fn launches_beyond_65535_workgroups_are_folded() {
    let Some(runtime) = runtime() else { return };
    let n = 65_535 * 64 + 12_345;
    let x = ramp(n);
    let mut y = vec![1.0; n];
    saxpy(&runtime, 3.0, &x, &mut y).unwrap();
    assert!(x.iter().zip(&y).all(|(&x, &y)| y == 3.0f32.mul_add(x, 1.0)));
}

#[test]
fn the_vector_kernels_compute_what_they_say() {
    let Some(runtime) = runtime() else { return };
    let n = 10_000;
    let x = ramp(n);
    let (mut y, mut z) = (vec![2.0; n], vec![0.0; n]);
    let mut partial = vec![f32::NAN; n.div_ceil(4096)];
    let (k1, k2) = (runtime.kernel::<axpby::Kernel>(), runtime.kernel::<affine::Kernel>());
    let (k3, k4) = (runtime.kernel::<hadamard::Kernel>(), runtime.kernel::<dot::Kernel>());
    let (k1, k2, k3, k4) = (k1.unwrap(), k2.unwrap(), k3.unwrap(), k4.unwrap());
    let whole = Grid::cover(n);
    let count = u32::try_from(n).unwrap();
    runtime
        .scope(|s| {
            let (x, y, z) = (s.lend(&x)?, s.lend_mut(&mut y)?, s.lend_mut(&mut z)?);
            let partial = s.lend_mut(&mut partial)?;
            let args = axpby::Args { x: x.ptr(), y: y.ptr(), n: count, a: 2.0, b: -1.0 };
            s.launch(&k1, whole, args)?; // y = 2 x - 2
            let args = affine::Args { y: y.ptr(), n: count, a: 0.5, c: 1.0 };
            s.launch(&k2, whole, args)?; // y = x
            let args = hadamard::Args { x: x.ptr(), y: y.ptr().into(), z: z.ptr(), n: count };
            s.launch(&k3, whole, args)?; // z = x * x
            let args =
                dot::Args { x: x.ptr(), y: y.ptr().into(), partial: partial.ptr(), n: count };
            s.launch(&k4, Grid::cover(n.div_ceil(64)), args)?;
            Ok(())
        })
        .unwrap();
    assert_eq!(x, y);
    assert!(x.iter().zip(&z).all(|(&x, &z)| z == x * x));
    let exact: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let sum: f64 = partial.iter().copied().map(f64::from).sum();
    assert!((sum - exact).abs() <= 1e-6 * exact, "{sum} against {exact}");
}

#[test]
fn launches_of_a_scope_see_the_ones_before_them() {
    let Some(runtime) = runtime() else { return };
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let mut y = vec![0.0f32; 1000];
    let before = runtime.stats();
    let have_channels = runtime
        .scope(|s| {
            let y = s.lend_mut(&mut y)?;
            let args = affine::Args { y: y.ptr(), n: 1000, a: 1.0, c: 1.0 };
            for _ in 0..200 {
                s.launch(&kernel, Grid::cover(1000), args)?;
            }
            // Now that the device has the pages.
            Ok(!s.explain_launch(&kernel, Grid::cover(1000), args)?.is_proved())
        })
        .unwrap();
    assert_eq!(y, vec![200.0; 1000]);
    let done = runtime.stats().since(&before);
    // If pages are missing, the first launch takes two rounds, each submitted by itself.
    let undone = done.undone_rounds;
    assert!(undone <= u64::from(copies(&runtime)), "{done:?}");
    assert_eq!((done.launches, done.rounds, done.lends), (200, 200 + undone, 1));
    let batches = if have_channels { 4 } else { 2 };
    let submissions = batches + 2 * undone;
    if batches_are_filled(&runtime) {
        assert_eq!(
            done.submissions, submissions,
            "64 launches to a submission, or 128 without a channel"
        );
    } else {
        assert!((submissions..=done.rounds).contains(&done.submissions), "{done:?}");
    }
}

#[test]
fn the_host_reads_and_writes_between_launches() {
    let Some(runtime) = runtime() else { return };
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let (mut y, mut z) = (vec![1.0f32; 100], vec![7.0f32; 100]);
    runtime
        .scope(|s| {
            let (y, z) = (s.lend_mut(&mut y)?, s.lend_mut(&mut z)?);
            let args = |c| affine::Args { y: y.ptr(), n: 100, a: 1.0, c };
            s.launch(&kernel, Grid::cover(100), args(4.0))?;
            let mut idle = s.wait()?;
            assert_eq!(idle.read(&y)?, [5.0; 100]);
            assert_eq!(idle.read(&z)?, [7.0; 100]);
            idle.write(&y)?.fill(10.0);
            s.launch(&kernel, Grid::cover(100), args(1.0))?;
            Ok(())
        })
        .unwrap();
    assert_eq!(y, [11.0; 100]);
}

#[test]
fn empty_slices_can_be_lent() {
    let Some(runtime) = runtime() else { return };
    let (x, mut y) = ([0.0f32; 0], Vec::<u32>::new());
    let lens = runtime.scope(|s| Ok((s.lend(&x)?.len(), s.lend_mut(&mut y)?.is_empty())));
    assert_eq!(lens.unwrap(), (0, true));
}

#[test]
fn grids_that_do_not_fit_are_refused_and_run_nothing() {
    let Some(runtime) = runtime() else { return };
    let kernel = runtime.kernel::<empty::Kernel>().unwrap();
    let refused = |grid| {
        let launched = runtime.scope(|s| Ok(s.launch(&kernel, grid, ())));
        launched.unwrap().unwrap_err()
    };
    let before = runtime.stats();
    assert_eq!(refused(Grid::cover(0)), LaunchError::EmptyGrid { kernel: "empty" });
    assert_eq!(refused(Grid::groups(1, 1, 0)), LaunchError::EmptyGrid { kernel: "empty" });
    let error = refused(Grid::groups(u32::MAX, 1, 1)).to_string();
    assert!(error.starts_with("kernel `empty` was launched over [4294967295, 1, 1]"), "{error}");
    let error = refused(Grid::cover(usize::MAX));
    assert!(matches!(error, LaunchError::TooManyInvocations { .. }), "{error}");
    assert_eq!(runtime.stats().since(&before).launches, 0);
}

#[test]
fn a_kernel_of_another_runtime_is_refused() {
    let (Some(one), Some(other)) = (runtime(), runtime()) else {
        return;
    };
    let kernel = other.kernel::<empty::Kernel>().unwrap();
    let launched = one.scope(|s| Ok(s.launch(&kernel, Grid::cover(1), ())));
    assert_eq!(launched.unwrap(), Err(LaunchError::ForeignKernel { kernel: "empty" }));
}

/// A kernel whose Rust side is described wrongly by each test.
macro_rules! described {
    ($name:ident, $push:ty, $words:expr) => {
        struct $name;
        // SAFETY: none: the runtime refuses the kernel before a driver sees it.
        unsafe impl KernelDesc for $name {
            const NAME: &'static str = stringify!($name);
            type Args<'s> = PtrMut<'s, u32>;
            type Push = $push;
            fn words() -> &'static [u32] {
                $words
            }
            fn push(_: PtrMut<'_, u32>) -> $push {
                bytemuck::Zeroable::zeroed()
            }
        }
    };
}

described!(TooShort, [u32; 5], saxpy::Kernel::words());
described!(NotSpirv, [u32; 0], &[1, 2, 3]);

/// A module that declares `Linkage`, which no Vulkan device has.
fn linkage_words() -> &'static [u32] {
    let mut words = empty::Kernel::words().to_vec();
    words.splice(5..5, [2 << 16 | 17, 5]); // OpCapability Linkage
    words.leak()
}
described!(NeedsLinkage, [u32; 0], linkage_words());

/// A module with one more variable: a storage buffer.
fn bound_words() -> &'static [u32] {
    let mut words = empty::Kernel::words().to_vec();
    words.splice(5..5, [4 << 16 | 59, 1, 1, 12]); // OpVariable in StorageBuffer
    words.leak()
}
described!(BindsBuffers, [u32; 0], bound_words());

#[test]
fn kernels_that_do_not_fit_are_refused() {
    let Some(runtime) = runtime() else { return };
    let error = runtime.kernel::<TooShort>().unwrap_err();
    assert!(matches!(error, KernelError::PushSize { declared: 24, given: 20, .. }), "{error}");
    let error = runtime.kernel::<NotSpirv>().unwrap_err();
    assert!(matches!(error, KernelError::Words { .. }), "{error}");
    let error = runtime.kernel::<BindsBuffers>().unwrap_err();
    assert!(matches!(error, KernelError::Descriptors { descriptors: 1, .. }), "{error}");
    let error = runtime.kernel::<NeedsLinkage>().unwrap_err();
    assert!(error.to_string().contains("capability Linkage"), "{error}");
}
