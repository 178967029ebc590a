//! Checked launches: what they let through, what they stop, and what is left afterwards.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::{ramp, runtimes};
use farptr::Grid;
use farptr::shaders::saxpy;

#[test]
fn what_is_allowed_is_done() {
    for runtime in runtimes() {
        println!("{}", runtime.explain());
        let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
        let n = 100_003;
        let x = ramp(n);
        let mut y = vec![1.0; n];
        runtime
            .scope(|s| {
                let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
                let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: 100_003, a: 3.0 };
                s.launch(&kernel, Grid::cover(n), args)?;
                Ok(())
            })
            .unwrap();
        assert!(x.iter().zip(&y).all(|(&x, &y)| y == 3.0f32.mul_add(x, 1.0)));
    }
}
