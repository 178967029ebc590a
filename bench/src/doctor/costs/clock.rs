//! Times of operations.

use crate::{failure::Failure, stats};
use std::time::Instant;

/// The median time of a few runs behind a first one, in nanoseconds.
pub(super) fn median(
    runs: usize,
    mut run: impl FnMut() -> Result<(), Failure>,
) -> Result<f64, Failure> {
    run()?;
    let mut times = Vec::new();
    for _ in 0..runs {
        let began = Instant::now();
        run()?;
        times.push(1e9 * began.elapsed().as_secs_f64());
    }
    Ok(stats::estimate(&times).median)
}

/// With three digits.
pub(super) fn short(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let unit = 10f64.powf(value.log10().floor() - 2.0);
    (value / unit).round() * unit
}
