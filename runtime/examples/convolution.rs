//! Blurs an image with a Gaussian of 5 by 5 weights, and compares it with the blur of rows and then
//! columns.
//!
//! `cargo run --release --example convolution -p farptr -- [WIDTH]`

use farptr::{Error, Grid, Runtime};

farptr::kernel! {
    /// One pixel per invocation; what is beyond the edge is as the edge.
    mod convolve,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 16, local_size_y = 4) in;
        layout(buffer_reference, buffer_reference_align = 4) buffer Pixels { float at[]; };
        layout(push_constant) uniform Push {
            uvec2 image;
            uvec2 blurred;
            uint width;
            uint height;
            float weights[25];
        };
        void main() {
            ivec2 size = ivec2(width, height), here = ivec2(gl_GlobalInvocationID.xy);
            if (any(greaterThanEqual(here, size))) return;
            float sum = 0.0;
            for (int dy = -2; dy <= 2; dy++) {
                for (int dx = -2; dx <= 2; dx++) {
                    ivec2 at = clamp(here + ivec2(dx, dy), ivec2(0), size - 1);
                    float weight = weights[(dy + 2) * 5 + dx + 2];
                    sum += weight * Pixels(image).at[at.y * size.x + at.x];
                }
            }
            Pixels(blurred).at[here.y * size.x + here.x] = sum;
        }
    "#,
}

/// The weights of one dimension: their sum is 1.
const GAUSSIAN: [f32; 5] = [0.0625, 0.25, 0.375, 0.25, 0.0625];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let width = std::env::args().nth(1).map_or(Ok(1920), |width| width.parse())?;
    Ok(run(&Runtime::builder().build()?, width, width / 16 * 9)?)
}

fn run(runtime: &Runtime, width: u16, height: u16) -> Result<(), Error> {
    let kernel = runtime.kernel::<convolve::Kernel>()?;
    let image = image(width.into(), height.into());
    let mut blurred = vec![0.0f32; image.len()];
    let weights = std::array::from_fn(|at| GAUSSIAN[at / 5] * GAUSSIAN[at % 5]);
    runtime.scope(|s| {
        let args = convolve::Args {
            image: s.lend(&image)?.ptr(),
            blurred: s.lend_mut(&mut blurred)?.ptr(),
            width: width.into(),
            height: height.into(),
            weights,
        };
        Ok(s.launch(&kernel, Grid::cover_2d(width.into(), height.into()), args)?)
    })?;
    println!("blurred {width} x {height} pixels on {}", runtime.device_name());
    check(&image, &blurred, width.into())
}

/// Circles, with values from 0 to 1.
fn image(width: u32, height: u32) -> Vec<f32> {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let ring = |(x, y): (u32, u32)| x.pow(2).wrapping_add(y.pow(2)) % 4096;
    pixels.map(|pixel| ring(pixel) as f32 / 4095.0).collect()
}

/// Compares the result with a blur in double precision, dimension by dimension.
///
/// A sum of 25 products of numbers from 0 to 1, with weights whose sum is 1, is rounded 50 times,
/// by half an epsilon at most.
fn check(image: &[f32], blurred: &[f32], width: usize) -> Result<(), Error> {
    let image: Vec<f64> = image.iter().map(|&pixel| pixel.into()).collect();
    let expected = blur(&blur(&image, width, 1), width, width);
    let errors =
        blurred.iter().zip(&expected).map(|(&found, exact)| (f64::from(found) - exact).abs());
    let (worst, bound) =
        (errors.max_by(f64::total_cmp).unwrap_or_default(), 25.0 * f64::from(f32::EPSILON));
    println!("the largest error is {worst:.1e}, of at most {bound:.1e}");
    if worst <= bound { Ok(()) } else { Err(Error::other("the blur is wrong")) }
}

/// Blurs along x, where neighbours are 1 element apart, or along y, where they are a width apart.
fn blur(image: &[f64], width: usize, apart: usize) -> Vec<f64> {
    let end = if apart == 1 { width } else { image.len() / width };
    let sum = |at: usize| {
        let here = at / apart % end;
        let weighted = GAUSSIAN.iter().zip(0usize..).map(|(&weight, tap)| {
            let there = (here + tap).saturating_sub(2).min(end - 1);
            f64::from(weight) * image[at - here * apart + there * apart]
        });
        weighted.sum()
    };
    (0..image.len()).map(sum).collect()
}

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
#[path = "../tests/common/ways.rs"]
mod ways;

#[test]
fn results_are_right_however_the_device_reaches_memory() -> Result<(), Error> {
    ways::in_each(|runtime| run(runtime, 80, 45))
}
