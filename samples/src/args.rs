//! The arguments that every sample takes.

use clap::{Args, ValueEnum};

/// How kernels are to reach host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Access {
    /// Whichever the device proves to support, direct first
    Auto,
    /// Host addresses are device addresses
    Direct,
    /// Addresses are translated through a device page table
    Mirrored,
}

/// Where the bytes are that kernels work on in mirrored access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backing {
    /// Imports on devices that share the host's memory, copies on others
    Auto,
    /// In host memory, which the device imports
    Import,
    /// In device memory, to which pages are copied
    Copy,
}

/// The arguments that every sample takes; flatten them into a program's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct CommonArgs {
    /// How kernels reach host memory [default: auto, or what FARPTR_ACCESS says]
    #[arg(long, value_enum)]
    pub access: Option<Access>,

    /// Where the bytes are that kernels work on in mirrored access [default: auto, or what
    /// FARPTR_BACKING says]
    #[arg(long, value_enum)]
    pub backing: Option<Backing>,

    /// Device to use, by part of its name or by its index
    #[arg(long, value_name = "NAME|INDEX")]
    pub device: Option<String>,

    /// Say on standard error which device was chosen and why, and why others were not
    #[arg(long)]
    pub explain: bool,

    /// Report how long each kernel ran on the device, where the device has timestamps
    #[arg(long)]
    pub times: bool,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub json: bool,

    /// Show no progress
    #[arg(long)]
    pub quiet: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        common: CommonArgs,
    }

    #[test]
    fn arguments_are_read() {
        let plain = Program::try_parse_from(["spmv"]).unwrap();
        assert_eq!(plain.common, CommonArgs::default());
        let line = ["spmv", "--access", "mirrored", "--device", "1", "--explain", "--json"];
        let line = line.into_iter().chain(["--quiet", "--times", "--backing", "copy"]);
        let full = Program::try_parse_from(line).unwrap().common;
        assert_eq!((full.access, full.device.as_deref()), (Some(Access::Mirrored), Some("1")));
        assert_eq!(full.backing, Some(Backing::Copy));
        assert!(full.explain && full.json && full.quiet && full.times);
    }

    #[test]
    fn a_wrong_access_is_bad_usage() {
        let error = Program::try_parse_from(["spmv", "--access", "psychic"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("[possible values: auto, direct, mirrored]"));
    }
}
