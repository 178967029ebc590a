//! The words of a fault's error: the argument, null, the line.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them; none is launched unchecked.
#![allow(unsafe_code, reason = "kernels made at run time")]
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

#[path = "common/checked.rs"]
mod checked;
mod common;
#[path = "common/glsl.rs"]
mod glsl;

use checked::fault;
use common::{build, runtimes};
use farptr::{AccessMode, Backing, Grid, LaunchOptions, RawKernel, Runtime};
use glsl::{Level, glsl};

/// A kernel of which one argument is a null pointer, or leads out of its lend.
const SOURCE: &str = "
    layout(local_size_x = 1) in;
    REF(uint, U, 4);
    REF(uvec2, T, 8);
    struct Pair { uvec2 head; uint n; };
    layout(push_constant, scalar) uniform Push { uvec2 x; uvec2 y; uvec2 table[2]; Pair pair; };
    void main() {
        uint sum = U(x).at[pair.n] + U(table[1]).at[0] + U(pair.head).at[0];
        U(y).at[0] = sum + U(T(table[0]).at[0]).at[1];
    }";

#[test]
fn a_fault_names_the_argument_and_says_null_pointer() {
    let names = ["x", "y", "table[0]", "table[1]", "pair.head"];
    let copied = Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
    for runtime in runtimes().into_iter().chain(build(copied)) {
        let kernels = [(Level::Zero, true), (Level::Performance, false)].map(|(level, lines)| {
            let words = glsl("arguments.comp", SOURCE, level);
            // SAFETY: shaderc made the words, and the validation layer is on.
            let kernel = unsafe { runtime.raw_kernel("arguments", &words) }.unwrap();
            (kernel, lines)
        });
        for (kernel, lines) in &kernels {
            for (broken, name) in names.iter().enumerate() {
                for wrong in [0, 0x1_0000] {
                    let text = broken_argument(&runtime, kernel, broken, wrong);
                    let said =
                        format!("argument {name}, byte {} of the push constants", broken * 8);
                    let unnamed = format!("argument at byte {}", broken * 8);
                    assert!(text.contains(&said) || (!lines && text.contains(&unnamed)), "{text}");
                    let null = wrong == 0;
                    assert_eq!(text.contains("goes through a null pointer"), null, "{text}");
                    assert_eq!(text.contains("is out of bounds"), !null, "{text}");
                    assert_eq!(text.contains("with -g to see its line"), !lines, "{text}");
                    assert_eq!(text.contains("arguments.comp:"), *lines, "{text}");
                }
            }
            // A pointer from memory has no argument, and may be null as well.
            let text = broken_argument(&runtime, kernel, names.len(), 0);
            assert!(text.contains("at 0x4 goes through a null pointer"), "{text}");
            assert!(!text.contains("(argument"), "{text}");
        }
    }
}

/// Launches with one wrong pointer: argument number `broken`, or, if that is 5, the pointer in
/// memory.
fn broken_argument(runtime: &Runtime, kernel: &RawKernel, broken: usize, wrong: u64) -> String {
    let (mut words, mut inner) = (vec![0u32; 64], [0u64]);
    let address = words.as_ptr().addr() as u64;
    inner[0] = if broken == 5 { wrong } else { address };
    let table = inner.as_ptr().addr() as u64;
    let mut arguments = [address, address, table, address, address, 3];
    if broken < 5 {
        arguments[broken] = wrong;
    }
    let push: Vec<u8> = arguments.iter().flat_map(|word| word.to_le_bytes()).take(44).collect();
    let ended = runtime.scope(|s| {
        s.lend_mut(&mut words)?;
        s.lend(&inner)?;
        Ok(s.launch_raw(kernel, Grid::groups(1, 1, 1), &push, &LaunchOptions::new())?)
    });
    let fault = fault(ended);
    assert_eq!(fault.is_null(), wrong == 0, "{fault}");
    fault.to_string()
}
