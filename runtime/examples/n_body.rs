//! Moves bodies that attract each other, step by step, and compares them with the same steps in
//! double precision.
//!
//! `cargo run --release --example n_body -p farptr -- [BODIES]`

use bytemuck::NoUninit;
use farptr::{Grid, Runtime};
use std::error::Error;

#[derive(Clone, Copy, NoUninit)]
#[repr(C)]
struct Rules {
    bodies: u32,
    seconds: f32,
    softening: f32,
}

farptr::kernel! {
    /// One body per invocation; a workgroup reads the others together, 64 at a time.
    mod step,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 64) in;
        layout(buffer_reference, buffer_reference_align = 4) buffer Vectors { vec4 at[]; };
        struct Rules { uint bodies; float seconds; float softening; };
        layout(push_constant) uniform Push { uvec2 from; uvec2 to; uvec2 velocities; Rules rules; };
        shared vec4 others[64];

        // A place, and in w a mass.
        vec4 body(uint i) { return i < rules.bodies ? Vectors(from).at[i] : vec4(0.0); }

        void main() {
            uint i = gl_GlobalInvocationID.x, lane = gl_LocalInvocationIndex;
            vec4 here = body(i);
            vec3 pull = vec3(0.0);
            for (uint first = 0; first < rules.bodies; first += 64) {
                others[lane] = body(first + lane);
                barrier();
                for (uint k = 0; k < 64; k++) {
                    vec3 way = others[k].xyz - here.xyz;
                    float square = dot(way, way) + rules.softening * rules.softening;
                    pull += others[k].w / (square * sqrt(square)) * way;
                }
                barrier();
            }
            if (i >= rules.bodies) return;
            vec3 velocity = Vectors(velocities).at[i].xyz + rules.seconds * pull;
            Vectors(velocities).at[i].xyz = velocity;
            Vectors(to).at[i] = vec4(here.xyz + rules.seconds * velocity, here.w);
        }
    "#,
}

const STEPS: u32 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let bodies = std::env::args().nth(1).map_or(Ok(2000), |bodies| bodies.parse())?;
    run(&Runtime::builder().build()?, bodies)
}

fn run(runtime: &Runtime, bodies: u16) -> Result<(), Box<dyn Error>> {
    let kernel = runtime.kernel::<step::Kernel>()?;
    let start = bodies_at_rest(bodies);
    let (mut places, mut others) = (start.clone(), start.clone());
    let mut velocities = vec![[0.0f32; 4]; start.len()];
    let rules = Rules { bodies: bodies.into(), seconds: 0.01, softening: 0.1 };
    let places = runtime.scope(|s| {
        let velocities = s.lend_mut(&mut velocities)?.ptr();
        let (mut from, mut to) = (s.lend_mut(&mut places)?, s.lend_mut(&mut others)?);
        for _ in 0..STEPS {
            let args = step::Args { from: from.ptr().into(), to: to.ptr(), velocities, rules };
            s.launch(&kernel, Grid::cover(start.len()), args)?;
            (from, to) = (to, from);
        }
        Ok(s.wait()?.read(&from)?.to_vec())
    })?;
    println!("moved {bodies} bodies {STEPS} times on {}", runtime.device_name());
    check(&start, &places, &rules)
}

/// Bodies in a cube, with a mass of 1 together.
fn bodies_at_rest(bodies: u16) -> Vec<[f32; 4]> {
    let random = |i: u32| i.wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32 * 2.0 - 1.0;
    let body = |i| [random(3 * i), random(3 * i + 1), random(3 * i + 2), 1.0 / f32::from(bodies)];
    (0..u32::from(bodies)).map(body).collect()
}

/// Compares places with those after the same steps in double precision.
///
/// The forces on a body of mass 1 are at most 0.4 / softening^2 together. Their sum is rounded for
/// each body, and so is each new place, which stays below 2: both by an epsilon at most.
fn check(start: &[[f32; 4]], places: &[[f32; 4]], rules: &Rules) -> Result<(), Box<dyn Error>> {
    let expected = moved(start, rules);
    let distances = |of: &[[f32; 4]]| {
        let pairs = of.iter().zip(&expected);
        let squares = pairs.map(|(a, b)| (0..3).map(|k| (f64::from(a[k]) - b[k]).powi(2)).sum());
        squares.map(f64::sqrt).map(f64::abs).max_by(f64::total_cmp).unwrap_or_default()
    };
    let (way, worst) = (distances(start), distances(places));
    let [seconds, softening] = [rules.seconds, rules.softening].map(f64::from);
    let forces = f64::from(rules.bodies) * 0.4 / softening.powi(2);
    let steps = f64::from(STEPS);
    let roundings = forces * (seconds * steps).powi(2) + 2.0 * steps;
    let bound = roundings * f64::from(f32::EPSILON);
    println!("the longest way is {way:.1e}, the largest error {worst:.1e} of at most {bound:.1e}");
    if worst <= bound { Ok(()) } else { Err("the bodies are in wrong places".into()) }
}

/// The places after all steps, body by body.
fn moved(start: &[[f32; 4]], rules: &Rules) -> Vec<[f64; 4]> {
    let mut bodies: Vec<_> = start.iter().map(|body| (body.map(f64::from), [0.0; 3])).collect();
    let [seconds, softening] = [rules.seconds, rules.softening].map(f64::from);
    for _ in 0..STEPS {
        let before = bodies.clone();
        for (place, velocity) in &mut bodies {
            let here = *place;
            for (other, _) in &before {
                let way: [f64; 3] = std::array::from_fn(|k| other[k] - here[k]);
                let square = way.iter().map(|way| way * way).sum::<f64>() + softening.powi(2);
                let pull = other[3] / (square * square.sqrt());
                (0..3).for_each(|k| velocity[k] += seconds * pull * way[k]);
            }
            (0..3).for_each(|k| place[k] += seconds * velocity[k]);
        }
    }
    bodies.into_iter().map(|(place, _)| place).collect()
}

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
#[path = "../tests/common/ways.rs"]
mod ways;

#[test]
fn results_are_right_however_the_device_reaches_memory() -> Result<(), Box<dyn Error>> {
    ways::in_each(|runtime| run(runtime, 100))
}
