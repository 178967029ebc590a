//! Kernels that are judged wrong on purpose, by which tests see what becomes of those that are.

use super::{check, sets::Kernel};
use crate::{
    doctor::{finding::Finding, probe::Subject},
    failure::Failure,
};
use farptr::Runtime;
use farptr_kernel_cases::{case::Image, catalogue};

/// A kernel whose result is right, and the same against a wrong reference.
pub(in crate::doctor) const WRONG: &str = "a kernel against a wrong reference";
/// A kernel whose result crashes the process.
pub(in crate::doctor) const CRASH: &str = "a kernel that crashes";
/// A kernel whose result is no result.
pub(in crate::doctor) const NONSENSE: &str = "a kernel whose result makes no sense";

/// The kernel that is tried.
const KERNEL: &str = "gather";

/// Runs the kernel against a reference of its own.
pub(in crate::doctor) fn run(subject: &mut Subject, name: &str) -> Result<Finding, Failure> {
    let oracle: fn(&mut Image) = match name {
        WRONG => |image| image.buffers[2].fill(0x5a),
        CRASH => |_| std::process::abort(),
        _ => |_| panic!("there is no such number"),
    };
    let runtime = Runtime::builder().device(subject.device.to_string()).no_pipeline_cache();
    let runtime = runtime.build()?;
    let make =
        catalogue::find(KERNEL).ok_or(Failure::NoSuchProbe { name: KERNEL.to_owned() })?.make;
    let right = Kernel { name: KERNEL.to_owned(), case: make() };
    let misjudged = Kernel { name: format!("{KERNEL} on trial"), case: make().oracle(oracle) };
    check(subject, &runtime, &[right, misjudged])
}
