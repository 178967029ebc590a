//! The kernels of the exactness suite, each compared with its original and with the same
//! computation in Rust.

mod checked;
mod compare;
mod image;
mod original;
mod sets;
mod tally;
pub(in crate::doctor) mod trial;

use super::counts::counted;
use crate::{
    doctor::{finding::Finding, inventory::Inventory, probe::Subject},
    failure::{self, Failure},
};
use farptr::{Error, KernelError, Runtime};
use farptr_kernel_cases::{arena::Arena, programs::Features, text::Level};
use original::ByHand;
use tally::{Judgement, Tally};

pub(super) use sets::names;

/// The compiler of this device crashes on values of pointer type.
const CRASHES_ON_POINTERS: &str = "SwiftShader";

/// Runs the kernels of a probe of this name, if there is one.
pub(super) fn run(
    subject: &mut Subject,
    runtime: &Runtime,
    name: &str,
) -> Result<Option<Finding>, Failure> {
    let pointers = !runtime.device_name().contains(CRASHES_ON_POINTERS);
    let long = Inventory::of(subject.device)?.has("shader_int64");
    let features = Features { long, pointers };
    match sets::find(name, features) {
        Some(kernels) => Ok(Some(check(subject, runtime, &kernels)?)),
        None => Ok(None),
    }
}

/// Runs kernels one after the other.
fn check(
    subject: &mut Subject,
    runtime: &Runtime,
    kernels: &[sets::Kernel],
) -> Result<Finding, Failure> {
    let mut by_hand = ByHand::open(subject.device)?;
    let mut tally = Tally::default();
    for kernel in kernels {
        tally.add(&kernel.name, judge(subject, runtime, &mut by_hand, kernel));
    }
    Ok(counted(tally.finding(), runtime))
}

/// Runs a kernel unoptimised and optimised, where there are two forms. The first that is not right
/// decides.
fn judge(
    subject: &mut Subject,
    runtime: &Runtime,
    by_hand: &mut ByHand,
    kernel: &sets::Kernel,
) -> Judgement {
    let case = &kernel.case;
    if case.pointer_values && runtime.device_name().contains(CRASHES_ON_POINTERS) {
        let why = "the driver's compiler crashes on values of pointer type";
        return Judgement::NotRun(why.to_owned());
    }
    for module in case.modules(&kernel.name) {
        let form = match module.level {
            None => "",
            Some(Level::Zero) => ", unoptimised",
            Some(_) => ", optimised",
        };
        let what = format!("kernel {}{form}", kernel.name);
        subject.at(&what);
        let mut arena = Arena::new(&case.buffers);
        match checked::run(runtime, case, &module.words, &mut arena) {
            Ok(()) => {}
            Err(Error::Kernel(KernelError::Capability { capability, .. })) => {
                return Judgement::NotRun(format!("the device lacks {capability:?}"));
            }
            Err(error) => return Judgement::Failed(failure::chain(&error)),
        }
        subject.at(&format!("{what}, the original by hand"));
        let left = match by_hand.run(case, &module.words) {
            Ok(left) => left,
            Err(error) => {
                let why = failure::chain(&error);
                return Judgement::Failed(format!("the original by hand: {why}"));
            }
        };
        subject.at(&format!("{what}, comparing"));
        let judgement = compare::judge(case, &arena, left);
        if judgement != Judgement::Right {
            return judgement;
        }
    }
    Judgement::Right
}
