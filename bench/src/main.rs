//! Measures farptr against hand-written Vulkan and raw system calls, side by side in one run, and
//! prints ratios.
//!
//! `bench/README.md` has the method and the results, `bench/DESIGN.md` how a case is built.

fn main() -> std::process::ExitCode {
    farptr_bench::cli::main()
}
