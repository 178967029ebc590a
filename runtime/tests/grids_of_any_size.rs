//! Grids of any size: whatever a device's limits are and however a kernel computes its index,
//! exactly one invocation has each index.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them, and compare their index with
//! the lengths of the lends, also in unchecked launches.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a test are small")]
#![allow(unsafe_code, reason = "raw kernels, and unchecked launches")]

#[path = "common/checked.rs"]
mod checked;
mod common;
#[path = "common/glsl.rs"]
mod glsl;

use common::{build, runtimes};
use farptr::{
    AccessMode, Backing, Error, Grid, LaunchOptions, ProvedAccess, RawKernel, Runtime,
    shaders::{affine, saxpy},
};
use glsl::{Level, glsl};

/// Workgroups of a dimension that every device allows, and that those of the tests do not exceed.
const LIMIT: usize = 65_535;

/// How a launch is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Launch {
    Checked,
    Unchecked,
}

/// The ways to launch: checked in each access mode, unchecked in direct access, where pointers are
/// host addresses, and checked on copies of pages.
fn ways() -> Vec<(Runtime, Vec<Launch>)> {
    let mut ways = Vec::new();
    for runtime in runtimes() {
        let direct = runtime.access() == ProvedAccess::Direct;
        let launches =
            if direct { vec![Launch::Checked, Launch::Unchecked] } else { vec![Launch::Checked] };
        ways.push((runtime, launches));
    }
    let copying = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    ways.extend(build(copying).map(|runtime| (runtime, vec![Launch::Checked])));
    ways
}

/// Calls `test` for each way to launch.
fn each_way(mut test: impl FnMut(&Runtime, Launch)) {
    for (runtime, launches) in ways() {
        for launch in launches {
            println!("{:?}, {:?}, {launch:?}", runtime.access(), runtime.explain().backing());
            test(&runtime, launch);
        }
    }
}

fn raw(runtime: &Runtime, name: &'static str, source: &str) -> RawKernel {
    // SAFETY: shaderc's output is a valid module.
    unsafe { runtime.raw_kernel(name, &glsl(name, source, Level::Performance)) }.unwrap()
}

/// Launches a kernel of one pointer to words and further words.
fn run(
    runtime: &Runtime,
    kernel: &RawKernel,
    (grid, launch): (Grid, Launch),
    memory: &mut [u32],
    numbers: &[u32],
) -> Result<(), Error> {
    runtime.scope(|s| {
        let mut push = s.lend_mut(memory)?.ptr().address().to_le_bytes().to_vec();
        push.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        match launch {
            Launch::Checked => s.launch_raw(kernel, grid, &push, &LaunchOptions::new())?,
            // SAFETY: the kernels of this file stay within the memory that they are given.
            Launch::Unchecked => unsafe { s.launch_raw_unchecked(kernel, grid, &push) }?,
        }
        Ok(())
    })
}

/// Expressions for the index in one dimension, as kernels write them.
const STYLES: [(&str, &str); 6] = [
    ("global", "gl_GlobalInvocationID.x"),
    ("groups", "gl_WorkGroupID.x * gl_WorkGroupSize.x + gl_LocalInvocationID.x"),
    (
        "macro",
        "gl_GlobalInvocationID.x
            + gl_GlobalInvocationID.y * (gl_NumWorkGroups.x * gl_WorkGroupSize.x)",
    ),
    (
        "workgroups",
        "(gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x) * gl_WorkGroupSize.x
            + gl_LocalInvocationIndex",
    ),
    // The last number is 0, and no compiler knows that.
    ("picked", "gl_GlobalInvocationID[push.zero]"),
    ("whole", "uvec3(gl_GlobalInvocationID * uvec3(1, push.zero, 0)).x"),
];

/// A kernel that counts each index of a line once, and all invocations in one word behind them.
fn counting(width: usize, index: &str) -> String {
    format!(
        "layout(local_size_x = {width}) in;
        REF(uint, Words, 4);
        layout(push_constant) uniform Push {{ uvec2 counts; uint n; uint zero; }} push;
        void main() {{
            uint i = {index};
            atomicAdd(Words(push.counts).at[push.n], 1);
            if (i < push.n) atomicAdd(Words(push.counts).at[i], 1);
        }}"
    )
}

/// Asserts that each of the first `n` counts is 1.
fn assert_counted_once(counts: &[u32], n: usize, what: &str) {
    if let Some(wrong) = counts[..n].iter().position(|&count| count != 1) {
        panic!("{what}: index {wrong} of {n} was there {} times", counts[wrong]);
    }
}

#[test]
fn every_index_of_a_line_is_there_once_however_it_is_computed() {
    each_way(|runtime, launch| {
        for (name, index) in STYLES {
            for width in [1, 8] {
                let kernel = raw(runtime, name, &counting(width, index));
                let fold = LIMIT * width;
                let sizes = [fold + 1, fold - 1, fold, fold + 3 * width];
                // Larger workgroups differ in their last one alone.
                for n in sizes.into_iter().take(if width == 1 { 4 } else { 1 }) {
                    let mut counts = vec![0; n + 1];
                    let grid = (Grid::cover(n), launch);
                    run(runtime, &kernel, grid, &mut counts, &[n as u32, 0]).unwrap();
                    let what = format!("{name}, workgroups of {width}, {launch:?}");
                    assert_counted_once(&counts, n, &what);
                    let all = n.next_multiple_of(width);
                    assert_eq!(counts[n] as usize, all, "{what}: {n} in whole workgroups");
                }
            }
        }
    });
}

#[test]
fn strides_over_the_whole_grid_meet_every_index_once() {
    let source = "layout(local_size_x = 4) in;
        REF(uint, Words, 4);
        layout(push_constant) uniform Push { uvec2 counts; uint n; } push;
        void main() {
            uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;
            for (uint i = gl_GlobalInvocationID.x; i < push.n; i += stride)
                atomicAdd(Words(push.counts).at[i], 1);
        }";
    each_way(|runtime, launch| {
        let kernel = raw(runtime, "stride", source);
        let covered = LIMIT * 4 + 1;
        let n = covered * 2 + 5;
        let mut counts = vec![0; n];
        run(runtime, &kernel, (Grid::cover(covered), launch), &mut counts, &[n as u32]).unwrap();
        assert_counted_once(&counts, n, "strides");
    });
}

#[test]
fn every_place_of_a_plane_and_of_a_space_is_there_once() {
    let cases: [([usize; 3], [usize; 3]); 6] = [
        ([LIMIT + 2, 2, 1], [1, 1, 1]),
        ([2, LIMIT + 2, 1], [1, 1, 1]),
        ([5, LIMIT * 2 + 1, 1], [4, 2, 1]),
        ([2, 1, LIMIT + 1], [1, 1, 1]),
        ([3, LIMIT + 1, 3], [2, 1, 2]),
        ([LIMIT * 2 + 1, 3, 2], [2, 2, 2]),
    ];
    each_way(|runtime, launch| {
        for (size @ [x, y, z], group @ [width, height, depth]) in cases {
            let source = format!(
                "layout(local_size_x = {width}, local_size_y = {height}, local_size_z = {depth}) in;
                REF(uint, Words, 4);
                layout(push_constant) uniform Push {{ uvec2 counts; uvec3 size; }} push;
                void main() {{
                    uvec3 at = gl_GlobalInvocationID;
                    uvec3 by_group = gl_WorkGroupID * gl_WorkGroupSize + gl_LocalInvocationID;
                    uvec3 groups = (push.size + gl_WorkGroupSize - 1) / gl_WorkGroupSize;
                    bool right = at == by_group && groups == gl_NumWorkGroups;
                    if (any(greaterThanEqual(at, push.size))) return;
                    uint i = at.x + push.size.x * (at.y + push.size.y * at.z);
                    atomicAdd(Words(push.counts).at[i], right ? 1 : 100);
                }}"
            );
            let kernel = raw(runtime, "space", &source);
            let n = x * y * z;
            let mut counts = vec![0; n];
            let grid = if z == 1 { Grid::cover_2d(x, y) } else { Grid::cover_3d(x, y, z) };
            let numbers = size.map(|part| part as u32);
            // The block of a uvec3 starts at a multiple of 16.
            let numbers = [0, 0, numbers[0], numbers[1], numbers[2]];
            run(runtime, &kernel, (grid, launch), &mut counts, &numbers).unwrap();
            assert_counted_once(&counts, n, &format!("{size:?} in {group:?}, {launch:?}"));
        }
    });
}

#[test]
fn workgroups_of_a_folded_launch_share_memory_and_meet_at_barriers() {
    const WIDTH: usize = 8;
    let source = format!(
        "layout(local_size_x = {WIDTH}) in;
        REF(uint, Words, 4);
        shared uint parts[{WIDTH}];
        layout(push_constant) uniform Push {{ uvec2 sums; uint groups; }} push;
        void main() {{
            uint at = gl_LocalInvocationID.x;
            parts[at] = gl_GlobalInvocationID.x;
            barrier();
            for (uint half_width = {WIDTH} / 2; half_width > 0; half_width /= 2) {{
                if (at < half_width) parts[at] += parts[at + half_width];
                barrier();
            }}
            if (at == 0 && gl_WorkGroupID.x < push.groups)
                Words(push.sums).at[gl_WorkGroupID.x] += parts[0];
        }}"
    );
    each_way(|runtime, launch| {
        let kernel = raw(runtime, "sums", &source);
        let groups = LIMIT + 3;
        let mut sums = vec![1; groups];
        let grid = (Grid::cover(groups * WIDTH), launch);
        run(runtime, &kernel, grid, &mut sums, &[groups as u32]).unwrap();
        let width = WIDTH as u32;
        for (group, &sum) in (0..).zip(&sums) {
            assert_eq!(sum, 1 + group * width * width + width * (width - 1) / 2, "group {group}");
        }
    });
}

/// The kernel of every tutorial, over more workgroups of an ordinary size than a dimension has.
#[test]
fn a_long_array_is_changed_once_everywhere() {
    let source = "layout(local_size_x = 64) in;
        REF(float, Floats, 4);
        layout(push_constant) uniform Push { uvec2 x; uint n; } push;
        void main() {
            uint i = gl_GlobalInvocationID.x;
            if (i >= push.n) return;
            Floats(push.x).at[i] += 1;
        }";
    each_way(|runtime, launch| {
        let kernel = raw(runtime, "inc", source);
        let n = 5_000_000;
        let mut x = vec![0.0f32; n];
        let memory = bytemuck::cast_slice_mut(&mut x);
        run(runtime, &kernel, (Grid::cover(n), launch), memory, &[n as u32]).unwrap();
        let wrong = x.iter().filter(|&&x| x != 1.0).count();
        assert_eq!(wrong, 0, "elements that are not 1");
    });
}

#[test]
fn farptrs_kernels_go_on_in_unchecked_folded_launches() {
    let Some(runtime) = common::direct() else { return };
    let kernel = runtime.kernel::<saxpy::Kernel>().unwrap();
    let n = LIMIT * 64 + 65;
    let (x, mut y) = (vec![1.0f32; n], vec![2.0f32; n]);
    runtime
        .scope(|s| {
            let (x, y) = (s.lend(&x)?, s.lend_mut(&mut y)?);
            let args = || saxpy::Args { x: x.ptr(), y: y.ptr(), n: n as u32, a: 3.0 };
            // More launches than a batch has, one of them with the grid as it is.
            for count in 0..70 {
                let grid = if count == 20 { Grid::groups(1, 1, 1) } else { Grid::cover(n) };
                let args = if count == 20 || count == 69 {
                    args()
                } else {
                    saxpy::Args { n: 0, ..args() }
                };
                // SAFETY: `n` elements behind both pointers, which are lent.
                unsafe { s.launch_unchecked(&kernel, grid, args) }?;
            }
            Ok(())
        })
        .unwrap();
    assert!(y[..64].iter().all(|&y| y == 8.0) && y[64..].iter().all(|&y| y == 5.0));
}

#[test]
fn a_fault_of_a_folded_launch_names_the_workgroup_that_the_kernel_sees() {
    for (runtime, _) in ways() {
        let kernel = runtime.kernel::<affine::Kernel>().unwrap();
        let n = (LIMIT + 10) * 64;
        let mut y = vec![1.0f32; n - 1];
        let fault = checked::fault(runtime.scope(|s| {
            let y = s.lend_mut(&mut y)?.ptr();
            Ok(checked::add_one(s, &kernel, y, n as u32)?)
        }));
        assert_eq!((fault.workgroup, fault.invocation), ([LIMIT as u32 + 9, 0, 0], 63));
        checked::assert_usable(&runtime);
    }
}
