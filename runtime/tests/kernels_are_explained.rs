//! A kernel's explanation: accesses by kind, loops, effects, and how rounds are undone.
//!
//! # Safety
//!
//! Kernels made at run time are valid because a compiler made them, or refused before a driver sees
//! them; none is launched.
#![allow(clippy::unwrap_used, reason = "functions that tests call")]

mod common;
#[path = "common/glsl.rs"]
mod glsl;

use common::runtime;
use farptr::shaders::{dot, probe, saxpy};
use farptr::{KernelError, RawKernel, Runtime};
use glsl::{Level, glsl};

#[allow(unsafe_code, reason = "the words come from a compiler")]
fn raw(runtime: &Runtime, name: &'static str, body: &str) -> RawKernel {
    let source = format!(
        "layout(local_size_x = 8) in;
        REF(uint, U, 4);
        layout(push_constant, scalar) uniform Push {{ uvec2 x; uvec2 y; }};
        void main() {{ {body} }}"
    );
    let words = glsl(name, &source, Level::Performance);
    // SAFETY: shaderc's output is a valid module.
    unsafe { runtime.raw_kernel(name, &words) }.unwrap()
}

#[test]
fn accesses_and_roots_are_counted_and_named() {
    let Some(runtime) = runtime() else { return };
    let saxpy = runtime.kernel::<saxpy::Kernel>().unwrap().explain();
    assert_eq!((saxpy.accesses_by_index(), saxpy.accesses_by_address()), (3, 0));
    let text = saxpy.to_string();
    assert!(text.contains("3 by index, 0 by address"), "{text}");
    assert!(text.contains("push-constant bytes: 0, 8"), "{text}");
    assert!(text.contains("loops       none"), "{text}");
    assert!(text.contains("both read and written"), "{text}");
    let probe = runtime.kernel::<probe::Kernel>().unwrap().explain();
    assert!(probe.accesses_by_address() > 0);
    let loops = probe.to_string().contains("1: iterations are limited");
    assert!(loops, "{probe}");
    let guarded = probe.to_string().contains("cuts by the driver");
    assert_eq!(guarded, runtime.explain().cuts_loops());
    let dot = runtime.kernel::<dot::Kernel>().unwrap().explain();
    assert!(dot.to_string().contains("barriers"), "{dot}");
    assert!(dot.refusal().is_none() && dot.analysis().is_some());
}

/// Typed and raw kernels say what every launch touches, and what keeps it from being known.
#[test]
fn touched_elements_are_named() {
    let Some(runtime) = runtime() else { return };
    let saxpy = runtime.kernel::<saxpy::Kernel>().unwrap().explain();
    let text = saxpy.to_string();
    let line = "touches     reads x[0..n], reads y[0..n], writes y[0..n]; every access is known\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("proofs      may run without checks"), "{text}");
    assert!(saxpy.footprint().unwrap().can_be_proved());
    let gathers = raw(&runtime, "gathers", "U(y).at[ID] = U(x).at[U(y).at[ID]];").explain();
    let footprint = gathers.footprint().unwrap();
    // The optimiser has left out the names.
    let bytes = "(argument at byte 8)[0..invocations.x]";
    let own = [format!("reads {bytes}"), format!("writes {bytes}")];
    assert_eq!(footprint.touches(), own, "{gathers}");
    assert!(!footprint.can_be_proved());
    let [doubt] = footprint.doubts() else { panic!("{gathers}") };
    assert!(doubt.starts_with("not known: the read of (argument at byte 0)"), "{doubt}");
    let text = gathers.to_string();
    assert!(text.contains(&format!("            {doubt}\n")), "{text}");
    assert!(text.contains("proofs      checks stay"), "{text}");
}

#[test]
fn the_way_to_undo_a_round_has_a_reason() {
    let Some(runtime) = runtime() else { return };
    let cases = [
        ("reads", "if (U(x).at[ID] == 3) return;", false, "nothing is written"),
        ("fills", "U(y).at[ID] = U(x).at[ID];", false, "nothing is undone"),
        ("adds", "atomicAdd(U(y).at[0], U(x).at[ID]);", true, "an atomic operation"),
        ("scatters", "U(y).at[U(x).at[ID]] = 1;", true, "depends on what is read"),
        ("in place", "U(y).at[ID] += 1;", true, "both read and written"),
    ];
    for (name, body, undoes, reason) in cases {
        let explained = raw(&runtime, name, body).explain();
        assert_eq!(explained.undoes_rounds(), undoes, "{explained}");
        // A compiler may drop what has no effect, and then nothing is written either.
        assert!(explained.to_string().contains(reason), "{explained}");
    }
}

#[test]
fn a_kernel_that_is_refused_says_why() {
    let Some(runtime) = runtime() else { return };
    let body = "U one = U(x); for (uint i = 0; i < 2; i++) { U(y).at[i] = one.at[i]; }";
    assert!(raw(&runtime, "fine", body).explain().refusal().is_none());
    let source = "layout(local_size_x = 8) in;
        layout(buffer_reference, scalar, buffer_reference_align = 4) buffer B { uint at[4000]; };
        layout(push_constant) uniform Push { B a; };
        void main() { uint copy[4000] = a.at; a.at[1] = copy[ID]; }";
    let words = glsl("large", source, Level::Zero);
    // SAFETY: shaderc's output is a valid module.
    #[allow(unsafe_code, reason = "the words come from a compiler")]
    let large = unsafe { runtime.raw_kernel("large", &words) }.unwrap();
    let explained = large.explain();
    assert!(explained.refusal().is_some() && explained.analysis().is_none());
    assert!(explained.footprint().is_none());
    assert_eq!(explained.accesses_by_index(), 0);
    assert!(explained.to_string().contains("too many numbers"), "{explained}");
}

#[test]
fn words_of_a_version_that_no_vulkan_takes_are_refused() {
    let Some(runtime) = runtime() else { return };
    let mut words = <saxpy::Kernel as farptr::KernelDesc>::words().to_vec();
    words[1] = 0x0001_0700;
    // SAFETY: the words are refused before a driver sees them.
    #[allow(unsafe_code, reason = "the unsafe operation that is tested")]
    let refused = unsafe { runtime.raw_kernel("future", &words) };
    let Err(error @ KernelError::Limit { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("needs SPIR-V 1.7"), "{error}");
}
