//! Writes the SPIR-V words of a kernel to standard output.
//!
//! ```sh
//! cargo run -p farptr-kernels --example words saxpy | spirv-dis
//! ```

use std::{io::Write, process::ExitCode};

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let Some((_, words)) = farptr_kernels::all().into_iter().find(|(name, _)| *name == wanted)
    else {
        let names = farptr_kernels::all().map(|(name, _)| name).join(", ");
        eprintln!("usage: words KERNEL, one of {names}");
        return ExitCode::from(2);
    };
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    match std::io::stdout().write_all(&bytes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the words cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}
