//! Shared by tests of checked launches: launches that may fail, and their results.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use farptr::shaders::{abi::Link, affine, probe, saxpy};
use farptr::{
    Error, Fault, Grid, Kernel, LaunchError, LaunchOptions, Ptr, PtrMut, Runtime, Scope, VirtAddr,
};

/// The fault with which a scope ended.
pub fn fault<T: std::fmt::Debug>(ended: Result<T, Error>) -> Fault {
    match ended {
        Err(Error::Launch(LaunchError::Fault(fault))) => *fault,
        other => panic!("a fault was expected, not {other:?}"),
    }
}

pub fn launch_failure<T: std::fmt::Debug>(ended: Result<T, Error>) -> LaunchError {
    match ended {
        Err(Error::Launch(error)) => error,
        other => panic!("a failed launch was expected, not {other:?}"),
    }
}

/// `y = y + 1` over `n` elements from `y`, whatever is there.
pub fn add_one<'s>(
    s: &mut Scope<'s, '_>,
    kernel: &Kernel<affine::Kernel>,
    y: PtrMut<'s, f32>,
    n: u32,
) -> Result<(), LaunchError> {
    let args = affine::Args { y, n, a: 1.0, c: 1.0 };
    s.launch(kernel, Grid::cover(n as usize), args)
}

/// `y = y + x`, on memory that is lent for it.
pub fn add<'env>(
    s: &mut Scope<'_, 'env>,
    kernel: &Kernel<saxpy::Kernel>,
    x: &'env [f32],
    y: &'env mut [f32],
) -> Result<(), Error> {
    let n = u32::try_from(y.len()).unwrap();
    let (x, y) = (s.lend(x)?.ptr(), s.lend_mut(y)?.ptr());
    Ok(s.launch(kernel, Grid::cover(n as usize), saxpy::Args { x, y, n, a: 1.0 })?)
}

/// Asserts that the device still runs launches.
pub fn assert_usable(runtime: &Runtime) {
    let kernel = runtime.kernel::<affine::Kernel>().unwrap();
    let mut y = vec![4.0; 100];
    runtime
        .scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr();
            Ok(add_one(s, &kernel, y, 100)?)
        })
        .unwrap();
    assert_eq!(y, [5.0; 100]);
}

/// Follows a chain of links from `head`.
pub fn follow<'s>(
    s: &mut Scope<'s, '_>,
    kernel: &Kernel<probe::Kernel>,
    head: u64,
    result: PtrMut<'s, u32>,
    (limit, options): (u32, LaunchOptions),
) -> Result<(), LaunchError> {
    let args = probe::Args { head: Ptr::from_address(head), result, limit };
    s.launch_with(kernel, Grid::groups(1, 1, 1), args, &options)
}

/// Nodes linked in a ring of one, so that a chain never ends.
pub fn endless() -> Box<Link> {
    let mut link = Box::new(Link { next: 0, payload: 1, unused: 0 });
    link.next = VirtAddr::of(&*link).get();
    link
}
