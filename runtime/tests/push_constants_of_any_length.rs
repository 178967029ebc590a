//! Push constants of any length: as many as declared, or as many as a type of the same members has.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;

use common::runtimes;
use farptr::{Error, Grid, KernelDesc, KernelError, LaunchError, LaunchOptions, PtrMut, Runtime};
use glsl::{Level, glsl};
use std::sync::OnceLock;

/// Two addresses and a number: 20 bytes, which a type of the CPU fills up to 24.
const STORE: &str = "
    layout(local_size_x = 1) in;
    REF(uint, U, 4);
    layout(push_constant) uniform Push { uvec2 x; uvec2 y; uint n; };
    void main() { U(y).at[ID] = n; }";

fn words() -> &'static [u32] {
    static WORDS: OnceLock<Vec<u32>> = OnceLock::new();
    WORDS.get_or_init(|| glsl("store", STORE, Level::Performance))
}

/// The kernel for a type of some words.
macro_rules! stores {
    ($name:ident, $words:literal) => {
        struct $name;
        // SAFETY: shaderc made the words; what is behind the last member is not read.
        #[allow(unsafe_code, reason = "the words come from a compiler")]
        unsafe impl KernelDesc for $name {
            const NAME: &'static str = stringify!($name);
            type Args<'s> = PtrMut<'s, u32>;
            type Push = [u32; $words];
            fn words() -> &'static [u32] {
                words()
            }
            fn push(y: PtrMut<'_, u32>) -> Self::Push {
                let mut push = [9; $words];
                push[2..4].copy_from_slice(&<[u32; 2]>::from(y));
                push[4..].fill(7);
                push
            }
        }
    };
}
stores!(Exact, 5);
stores!(Filled, 6);
stores!(Beyond, 7);

fn typed<K>(runtime: &Runtime) -> Result<u32, Error>
where
    K: for<'s> KernelDesc<Args<'s> = PtrMut<'s, u32>>,
{
    let kernel = runtime.kernel::<K>()?;
    let mut y = [0];
    runtime.scope(|s| {
        let y = s.lend_mut(&mut y)?.ptr();
        Ok(s.launch(&kernel, Grid::groups(1, 1, 1), y)?)
    })?;
    Ok(y[0])
}

#[test]
fn a_type_may_be_as_long_as_its_alignment_makes_it() {
    for runtime in runtimes() {
        assert_eq!(typed::<Exact>(&runtime).unwrap(), 7);
        assert_eq!(typed::<Filled>(&runtime).unwrap(), 7);
        let refused = typed::<Beyond>(&runtime);
        let Err(Error::Kernel(KernelError::PushSize { declared: 20, given: 28, .. })) = refused
        else {
            panic!("{refused:?}");
        };
    }
}

#[test]
fn bytes_may_be_as_many_as_declared_or_filled_up_and_no_others() {
    for runtime in runtimes() {
        // SAFETY: shaderc's output is a valid module.
        #[allow(unsafe_code, reason = "the words come from a compiler")]
        let kernel = unsafe { runtime.raw_kernel("store", words()) }.unwrap();
        assert_eq!(kernel.push_bytes(), 20);
        for given in 0..=40 {
            let mut y = [0];
            let ended = runtime.scope(|s| {
                let mut push = [0u8; 40];
                push[8..16].copy_from_slice(&s.lend_mut(&mut y)?.ptr().address().to_le_bytes());
                push[16..20].copy_from_slice(&3u32.to_le_bytes());
                let (grid, options) = (Grid::groups(1, 1, 1), LaunchOptions::new());
                Ok(s.launch_raw(&kernel, grid, &push[..given], &options)?)
            });
            match ended {
                Ok(()) => assert!((20..=24).contains(&given) && y == [3], "{given}: {y:?}"),
                Err(Error::Launch(LaunchError::PushSize { declared: 20, given: told, .. })) => {
                    assert!(!(20..=24).contains(&given) && told == given && y == [0]);
                }
                other => panic!("{given}: {other:?}"),
            }
        }
    }
}

#[test]
fn how_much_fills_up_goes_by_the_widest_member() {
    let cases =
        [("uint a; uint b; uint c;", 12, 12), ("uvec4 a; uint b;", 20, 32), ("vec3 a;", 12, 16)];
    for runtime in runtimes() {
        for (members, least, most) in cases {
            let source = format!(
                "layout(local_size_x = 1) in;
                layout(push_constant) uniform Push {{ {members} }} push;
                void main() {{}}"
            );
            let words = glsl("members", &source, Level::Zero);
            // SAFETY: shaderc's output is a valid module.
            #[allow(unsafe_code, reason = "the words come from a compiler")]
            let kernel = unsafe { runtime.raw_kernel("members", &words) }.unwrap();
            let takes = |given: usize| {
                let options = LaunchOptions::new();
                let push = vec![0; given];
                let ended = runtime.scope(|s| {
                    Ok(s.launch_raw(&kernel, Grid::groups(1, 1, 1), &push, &options)?)
                });
                ended.is_ok()
            };
            let taken: Vec<usize> = (0..=40).filter(|&given| takes(given)).collect();
            assert_eq!(taken, (least..=most).collect::<Vec<_>>(), "{members}");
        }
    }
}

#[test]
fn push_constants_that_end_within_a_word_are_filled_up() {
    for runtime in runtimes() {
        let source = "layout(local_size_x = 1) in;
            REF(uint, U, 4);
            layout(push_constant, scalar) uniform Push { uvec2 y; uint8_t n; };
            void main() { U(y).at[ID] = uint(n); }";
        let words = glsl("byte", &format!("{BYTES}{source}"), Level::Zero);
        // SAFETY: shaderc's output is a valid module.
        #[allow(unsafe_code, reason = "the words come from a compiler")]
        let kernel = match unsafe { runtime.raw_kernel("byte", &words) } {
            Err(KernelError::Capability { .. }) => continue,
            kernel => kernel.unwrap(),
        };
        assert_eq!(kernel.push_bytes(), 12);
        for given in 0..=20 {
            let mut y = [0];
            let ended = runtime.scope(|s| {
                let mut push = [0u8; 20];
                push[..8].copy_from_slice(&s.lend_mut(&mut y)?.ptr().address().to_le_bytes());
                push[8] = 200;
                let (grid, options) = (Grid::groups(1, 1, 1), LaunchOptions::new());
                Ok(s.launch_raw(&kernel, grid, &push[..given], &options)?)
            });
            // The alignment of the pair is that of its vector.
            assert_eq!(ended.is_ok(), (12..=16).contains(&given), "{given}");
            assert_eq!(y, [if ended.is_ok() { 200 } else { 0 }]);
        }
    }
}

/// Lets GLSL have numbers of 8 bits.
const BYTES: &str = "#extension GL_EXT_shader_8bit_storage : require\n";
