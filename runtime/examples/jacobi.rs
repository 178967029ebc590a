//! Solves for the heat of a plate after a step in time, by Jacobi's iteration, until the equations
//! hold; and compares it with the solution by sines, which is exact.
//!
//! `cargo run --release --example jacobi -p farptr -- [SIZE]`

use farptr::{Grid, Runtime};
use std::{error::Error, f64::consts::PI};

farptr::kernel! {
    /// One point of the plate per invocation. The edge of the plate is cold.
    mod sweep,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 16, local_size_y = 4) in;
        layout(buffer_reference, buffer_reference_align = 4) buffer F32 { float at[]; };
        layout(buffer_reference, buffer_reference_align = 4) buffer Bits { uint at[]; };
        layout(push_constant) uniform Push {
            uvec2 before;
            uvec2 from;
            uvec2 to;
            uvec2 residual;
            uint size;
            float conduction;
        };
        float heat(ivec2 at) {
            bool cold = any(lessThan(at, ivec2(0))) || any(greaterThanEqual(at, ivec2(size)));
            return cold ? 0.0 : F32(from).at[at.y * size + at.x];
        }
        void main() {
            ivec2 here = ivec2(gl_GlobalInvocationID.xy);
            if (any(greaterThanEqual(here, ivec2(size)))) return;
            float sum = heat(here + ivec2(1, 0)) + heat(here - ivec2(1, 0))
                + heat(here + ivec2(0, 1)) + heat(here - ivec2(0, 1));
            uint i = here.y * size + here.x;
            float right = F32(before).at[i] + conduction * sum, diagonal = 1.0 + 4.0 * conduction;
            // Numbers that are not negative have the order of their bits.
            if (residual != uvec2(0)) {
                float off = abs(right - diagonal * F32(from).at[i]);
                atomicMax(Bits(residual).at[0], floatBitsToUint(off));
            }
            F32(to).at[i] = right / diagonal;
        }
    "#,
    args: { residual: Option<u32> },
}

const CONDUCTION: f32 = 10.0;
const TOLERANCE: f32 = 1e-4;
const MOST_SWEEPS: u32 = 10_000;
/// Sweeps from one look at the residual to the next.
const SWEEPS: u32 = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let size = std::env::args().nth(1).map_or(Ok(256), |size| size.parse())?;
    run(&Runtime::builder().build()?, size)
}

fn run(runtime: &Runtime, size: u16) -> Result<(), Box<dyn Error>> {
    let kernel = runtime.kernel::<sweep::Kernel>()?;
    let before = plate(size.into(), |_| 1.0);
    let (mut heat, mut other, mut residual) = (before.clone(), before.clone(), 0u32);
    let (sweeps, heat) = runtime.scope(|s| {
        let before = s.lend(&before)?.ptr();
        let residual = s.lend_value_mut(&mut residual)?;
        let (mut from, mut to) = (s.lend_mut(&mut heat)?, s.lend_mut(&mut other)?);
        for sweep in 1..=MOST_SWEEPS {
            let looks = sweep % SWEEPS == 0;
            let args = sweep::Args {
                before,
                from: from.ptr().into(),
                to: to.ptr(),
                residual: looks.then(|| residual.ptr()),
                size: size.into(),
                conduction: CONDUCTION,
            };
            s.launch(&kernel, Grid::cover_2d(size.into(), size.into()), args)?;
            (from, to) = (to, from);
            if looks {
                let mut idle = s.wait()?;
                if f32::from_bits(idle.read(&residual)?[0]) <= TOLERANCE {
                    return Ok((sweep, idle.read(&from)?.to_vec()));
                }
                idle.write(&residual)?[0] = 0;
            }
        }
        Err(farptr::Error::other(format!("the residual stays above {TOLERANCE}")))
    })?;
    println!("solved {size} x {size} equations in {sweeps} sweeps on {}", runtime.device_name());
    check(&heat, size.into())
}

/// The sum of some products of sines, with a factor for each.
#[allow(clippy::cast_possible_truncation, reason = "rounded to single precision")]
fn plate(size: u32, factor: impl Fn([f64; 2]) -> f64) -> Vec<f32> {
    let modes = [([1.0, 1.0], 1.0), ([3.0, 2.0], 0.5), ([5.0, 7.0], 0.25)];
    let modes = modes.map(|([x, y], height)| ([x, y], height * factor([x, y])));
    let angle = |at: u32| PI * f64::from(at + 1) / f64::from(size + 1);
    let heat = |x: u32, y: u32| {
        let sines = |[a, b]: [f64; 2]| (a * angle(x)).sin() * (b * angle(y)).sin();
        modes.iter().map(|&(mode, height)| height * sines(mode)).sum::<f64>() as f32
    };
    (0..size).flat_map(|y| (0..size).map(move |x| (x, y))).map(|(x, y)| heat(x, y)).collect()
}

/// Compares the heat with the solution: a product of sines stays one, and is damped.
///
/// Heat is off by the residual at most, because the inverse of the matrix has a norm of 1. The
/// residual is a sum of numbers up to 2, times 1 + 8 conductions; it is rounded, by an epsilon.
fn check(heat: &[f32], size: u32) -> Result<(), Box<dyn Error>> {
    let curvature = |mode: f64| 2.0 - 2.0 * (PI * mode / f64::from(size + 1)).cos();
    let exact =
        plate(size, |[x, y]| 1.0 / (1.0 + f64::from(CONDUCTION) * (curvature(x) + curvature(y))));
    let worst = heat.iter().zip(&exact).map(|(heat, exact)| (heat - exact).abs());
    let (worst, bound) = (
        worst.max_by(f32::total_cmp).unwrap_or_default(),
        TOLERANCE + 2.0 * (1.0 + 8.0 * CONDUCTION) * f32::EPSILON,
    );
    println!("the largest error is {worst:.1e}, of at most {bound:.1e}");
    if worst <= bound { Ok(()) } else { Err("the solution is wrong".into()) }
}

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
#[path = "../tests/common/ways.rs"]
mod ways;

#[test]
fn results_are_right_however_the_device_reaches_memory() -> Result<(), Box<dyn Error>> {
    ways::in_each(|runtime| run(runtime, 32))
}
