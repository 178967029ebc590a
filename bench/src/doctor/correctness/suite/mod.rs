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
use farptr_kernel_cases::{
    arena::Arena,
    devices::{MAY_LACK, has_pointer_values},
    programs::Features,
    text::Level,
};
use original::ByHand;
use tally::{Judgement, Tally};

pub(super) use sets::names;

/// Runs the kernels of a probe of this name, if there is one.
pub(super) fn run(
    subject: &mut Subject,
    runtime: &Runtime,
    name: &str,
) -> Result<Option<Finding>, Failure> {
    let pointers = has_pointer_values(runtime.device_name());
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
    if case.pointer_values && !has_pointer_values(runtime.device_name()) {
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
            Err(error) => return not_right(&error),
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

/// What an error says of a kernel.
fn not_right(error: &Error) -> Judgement {
    match error {
        Error::Kernel(KernelError::Capability { capability, .. })
            if MAY_LACK.contains(capability) =>
        {
            Judgement::NotRun(format!("the device lacks {capability:?}"))
        }
        error => Judgement::Failed(failure::chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farptr::rewrite::Capability;

    #[test]
    fn a_capability_that_every_device_has_to_have_is_not_missed_in_silence() {
        let lacking = |capability| {
            let device = "a device".to_owned();
            not_right(&Error::Kernel(KernelError::Capability { kernel: "k", capability, device }))
        };
        for capability in MAY_LACK {
            let why = format!("the device lacks {capability:?}");
            assert_eq!(lacking(capability), Judgement::NotRun(why));
        }
        let failed = Judgement::Failed(
            "kernel `k` needs the SPIR-V capability PhysicalStorageBufferAddresses, device \
             `a device` lacks it"
                .to_owned(),
        );
        assert_eq!(lacking(Capability::PhysicalStorageBufferAddresses), failed);
    }
}
