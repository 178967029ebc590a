//! On copies, pages that a launch overwrites are not copied in, unless it may read them or may not
//! write all of them.
//!
//! # Safety
//!
//! A kernel made at run time is valid because a compiler made it; it is not launched unchecked.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;

use common::{batches_are_filled, copying_whole_lends, ramp, skip};
use farptr::shaders::hadamard;
use farptr::{Error, Grid, LaunchOptions, Ptr, Runtime, Unproved};
use farptr_kernel_cases::text;

/// Pages in part at both ends, and few enough that own words are known to end in time on a card.
const N: usize = 2_003;
const BYTES: u64 = N as u64 * 4;

/// Multiplies the first elements by a launch with these options: the result, which was 9 before,
/// and the bytes that were copied in.
fn multiplied(runtime: &Runtime, n: usize, options: &LaunchOptions) -> (Vec<f32>, u64) {
    let kernel = runtime.kernel::<hadamard::Kernel>().unwrap();
    let (x, y, mut z) = (ramp(n), vec![2.0f32; n], vec![9.0f32; n.max(N)]);
    let before = runtime.stats();
    runtime
        .scope(|s| {
            let (x, y, z) = (s.lend(&x)?.ptr(), s.lend(&y)?.ptr(), s.lend_mut(&mut z)?.ptr());
            let args = hadamard::Args { x, y, z, n: u32::try_from(n).unwrap() };
            Ok(s.launch_with(&kernel, Grid::cover(n), args, options)?)
        })
        .unwrap();
    for (index, z) in z.iter().enumerate() {
        assert_eq!(*z, if index < n { x[index] * 2.0 } else { 9.0 }, "element {index}");
    }
    (z, runtime.stats().since(&before).bytes_in)
}

#[test]
fn an_array_that_is_overwritten_is_not_copied() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let (_, bytes_in) = multiplied(&runtime, N, &LaunchOptions::new());
    assert_eq!(bytes_in, 2 * BYTES, "the other two");
}

#[test]
fn an_array_that_is_overwritten_in_part_is_copied() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let (_, bytes_in) = multiplied(&runtime, N - 1, &LaunchOptions::new());
    // The last page, or all pages that are touched where the launch needs rounds.
    assert!(bytes_in > 2 * (BYTES - 4), "{bytes_in}");
}

/// Nothing is known of what such a launch overwrites, or it may end without that.
#[test]
fn an_array_is_copied_for_a_launch_that_needs_checks() {
    if let Some(runtime) = copying_whole_lends(|builder| builder.proofs(false)) {
        assert_eq!(multiplied(&runtime, N, &LaunchOptions::new()).1, 3 * BYTES, "without proofs");
    }
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let options = LaunchOptions::new().proofs(false);
    assert_eq!(multiplied(&runtime, N, &options).1, 3 * BYTES, "without proofs");
    let options = LaunchOptions::new().transactional(true);
    assert_eq!(multiplied(&runtime, N, &options).1, 3 * BYTES, "as a transaction");
}

/// Each loop ends at once, which the elements of `x` say and nobody knows before.
const LOOPS: &str = "#version 460
    #extension GL_EXT_buffer_reference2 : require
    #extension GL_EXT_buffer_reference_uvec2 : require
    #extension GL_EXT_scalar_block_layout : require
    layout(local_size_x = 16) in;
    layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint at[]; };
    layout(push_constant) uniform Push { uvec2 x; uvec2 z; uint n; };
    void main() {
        uint i = gl_GlobalInvocationID.x;
        if (i >= n) return;
        uint k = 0;
        for (; k < 100; k++) if (U(x).at[i] < 1000000u) break;
        U(z).at[i] = k + 5u;
    }";

#[test]
#[allow(unsafe_code, reason = "the words come from a compiler")]
fn an_array_is_copied_for_a_launch_that_is_proved_but_for_its_loops() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let words = text::whole_glsl("loops.comp", LOOPS);
    // SAFETY: the words are the compiler's.
    let kernel = unsafe { runtime.raw_kernel("loops", &words) }.unwrap();
    let launch = |limit| {
        let (x, mut z) = (vec![0u32; N], vec![9u32; N]);
        let before = runtime.stats();
        runtime
            .scope(|s| {
                let (x, z) = (s.lend(&x)?.ptr().address(), s.lend_mut(&mut z)?.ptr().address());
                let n = u32::try_from(N).unwrap();
                let push = [&x.to_le_bytes()[..], &z.to_le_bytes(), &n.to_le_bytes()].concat();
                let options = LaunchOptions::new().loop_limit(limit);
                Ok(s.launch_raw(&kernel, Grid::cover(N), &push, &options)?)
            })
            .unwrap();
        assert_eq!(z, [5; N]);
        let since = runtime.stats().since(&before);
        (since.proved_launches, since.bytes_in)
    };
    assert_eq!(launch(50), (0, 2 * BYTES), "the loop could run 100 times");
    if batches_are_filled(&runtime) {
        assert_eq!(launch(200), (1, BYTES));
    } else {
        skip("a loop that could run 100 times is not known to end in time on a card");
    }
}

/// Writes the low word of the host's address of `z`, which own words do not know on copies.
const ADDRESSES: &str = "#version 460
    #extension GL_EXT_buffer_reference2 : require
    #extension GL_EXT_buffer_reference_uvec2 : require
    #extension GL_EXT_scalar_block_layout : require
    layout(local_size_x = 16) in;
    layout(buffer_reference, scalar, buffer_reference_align = 4) buffer U { uint at[]; };
    layout(push_constant) uniform Push { uvec2 z; uint n; };
    void main() {
        uint i = gl_GlobalInvocationID.x;
        if (i < n) U(z).at[i] = i + z.x;
    }";

#[test]
#[allow(unsafe_code, reason = "the words come from a compiler")]
fn an_array_is_copied_for_a_launch_that_takes_its_address_for_a_number() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let words = text::whole_glsl("addresses.comp", ADDRESSES);
    // SAFETY: the words are the compiler's.
    let kernel = unsafe { runtime.raw_kernel("addresses", &words) }.unwrap();
    let mut z = vec![9u32; N];
    let before = runtime.stats();
    let mut low = 0;
    runtime
        .scope(|s| {
            let z = s.lend_mut(&mut z)?.ptr().address();
            low = u32::try_from(z & u64::from(u32::MAX)).unwrap();
            let push = [&z.to_le_bytes()[..], &u32::try_from(N).unwrap().to_le_bytes()].concat();
            s.launch_raw(&kernel, Grid::cover(N), &push, &LaunchOptions::new())?;
            drop(s.wait()?);
            let explained = s.explain_launch_raw(&kernel, Grid::cover(N), &push)?;
            let elsewhere = Unproved::Elsewhere { offset_bytes: 0 };
            assert_eq!(explained.unproved(), Some(&elsewhere), "own words do not run");
            Ok(())
        })
        .unwrap();
    assert!((low..).zip(&z).all(|(expected, z)| *z == expected));
    assert_eq!(runtime.stats().since(&before).bytes_in, BYTES);
}

#[test]
fn an_array_that_is_read_too_is_copied() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let kernel = runtime.kernel::<hadamard::Kernel>().unwrap();
    let (y, mut z) = (vec![2.0f32; N], ramp(N));
    let before = runtime.stats();
    runtime
        .scope(|s| {
            let (y, z) = (s.lend(&y)?.ptr(), s.lend_mut(&mut z)?.ptr());
            let args = hadamard::Args {
                x: Ptr::from_address(z.address()),
                y,
                z,
                n: N.try_into().unwrap(),
            };
            Ok(s.launch(&kernel, Grid::cover(N), args)?)
        })
        .unwrap();
    assert!(z.iter().zip(ramp(N)).all(|(z, x)| *z == 2.0 * x));
    let since = runtime.stats().since(&before);
    assert_eq!((since.bytes_in, since.proved_launches), (2 * BYTES, 1));
}

/// What was launched is on its way, so its results come home although the scope fails.
#[test]
fn an_array_that_is_overwritten_comes_home_if_the_scope_fails() {
    let Some(runtime) = copying_whole_lends(|builder| builder) else { return };
    let kernel = runtime.kernel::<hadamard::Kernel>().unwrap();
    let (x, y, mut z) = (ramp(N), vec![2.0f32; N], vec![9.0f32; N]);
    let before = runtime.stats();
    let failed = runtime.scope(|s| {
        let (x, y, z) = (s.lend(&x)?.ptr(), s.lend(&y)?.ptr(), s.lend_mut(&mut z)?.ptr());
        let args = hadamard::Args { x, y, z, n: N.try_into().unwrap() };
        s.launch(&kernel, Grid::cover(N), args)?;
        s.launch(&kernel, Grid::cover(0), args)?;
        Ok(())
    });
    assert!(matches!(failed, Err(Error::Launch(_))), "{failed:?}");
    assert_eq!(runtime.stats().since(&before).bytes_in, 2 * BYTES);
    assert!(z.iter().zip(&x).all(|(z, x)| *z == 2.0 * x));
}
