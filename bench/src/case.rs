//! The cases: what each measures, its variants and its sizes.
//!
//! To add one, write a file under `case/` with a type that implements [`Case`], and name it in
//! [`CASES`].

mod cold_saxpy;
mod cold_sparse;
mod first_use;
mod hmm;
mod launch;
mod saxpy;
mod warm;

use crate::{failure::Failure, measure::Variant, rival};
use farptr::{AccessMode, Backing, Runtime};
use std::{fmt, rc::Rc};
use warm::Warm;

/// Every case, in the order in which they are listed and run.
const CASES: &[&dyn Case] = &[
    &launch::Launch,
    &saxpy::Saxpy,
    &Warm::<warm::Saxpy>::CASE,
    &Warm::<warm::Saxpy4>::CASE,
    &Warm::<warm::Spmv>::CASE,
    &Warm::<warm::Chase>::CASE,
    &Warm::<warm::Gather>::CASE,
    &cold_saxpy::ColdSaxpy,
    &cold_sparse::ColdSparse,
    &first_use::FirstUse,
    &hmm::Snapshot::SMALL,
    &hmm::Snapshot::HUGE,
    &hmm::Populate,
    &hmm::Invalidate,
    &hmm::FaultHome::SAME_CORE,
    &hmm::FaultHome::OTHER_CORE,
    &hmm::Touch,
    &hmm::Transfer::MOVE,
    &hmm::Transfer::COPY,
];

/// A question that is answered by measuring variants side by side.
pub(crate) trait Case {
    /// The name on the command line and in records.
    fn name(&self) -> &'static str;

    /// The quantity that is measured, in one line.
    fn about(&self) -> &'static str;

    /// The names of the variants, the baseline first: the one that ratios refer to.
    fn variants(&self) -> &'static [&'static str];

    /// The sizes at which it is measured, in bytes; a case without data has the one size 0.
    fn sizes_bytes(&self) -> &'static [u64] {
        &[0]
    }

    /// Whether it needs a Vulkan device. Without the need none is opened, so that it neither has
    /// to exist nor disturbs.
    fn needs_device(&self) -> bool {
        true
    }

    /// Makes the variants at one size, ready to be sampled, in the order of
    /// [`variants`](Self::variants).
    fn prepare<'c>(
        &self,
        context: &'c Context,
        size_bytes: u64,
    ) -> Result<Vec<Box<dyn Variant + 'c>>, Failure>;
}

/// The things that variants may borrow for an episode.
pub(crate) struct Context {
    /// None for a case that needs none.
    devices: Option<Devices>,
}

/// The device, opened by farptr and, a second time, by hand.
pub(crate) struct Devices {
    pub(crate) runtime: Runtime,
    pub(crate) rival: Rc<rival::Device>,
}

/// The side that opens the device first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    Farptr,
    Rival,
}

impl Context {
    /// Opens what a case needs. `device` is the name of the device that farptr chooses.
    pub(crate) fn open(case: &dyn Case, device: &str, first: First) -> Result<Self, Failure> {
        let devices = case.needs_device().then(|| Devices::open(device, first)).transpose()?;
        Ok(Self { devices })
    }

    /// The device, for a case that needs one.
    pub(crate) fn devices(&self) -> &Devices {
        self.devices.as_ref().expect("`Case::needs_device` says that none is used")
    }
}

impl Devices {
    /// Opens the device that farptr chooses, twice. `name` is what farptr calls it.
    fn open(name: &str, first: First) -> Result<Self, Failure> {
        let farptr = || Runtime::builder().build();
        let rival = || rival::Device::open(name).map(Rc::new);
        let (runtime, rival) = match first {
            First::Farptr => (farptr()?, rival()?),
            First::Rival => {
                let rival = rival()?;
                (farptr()?, rival)
            }
        };
        Ok(Self { runtime, rival })
    }
}

/// Opens farptr's device in one access mode.
fn open(access: AccessMode) -> Result<Runtime, Failure> {
    open_backed(access, Backing::Auto)
}

/// Opens farptr's device in one access mode, with one backing of pages.
fn open_backed(mode: AccessMode, backing: Backing) -> Result<Runtime, Failure> {
    let runtime = Runtime::builder().access(mode).backing(backing).build();
    runtime.map_err(|source| Failure::NoAccess { mode, source })
}

/// Every case.
pub(crate) fn all() -> &'static [&'static dyn Case] {
    CASES
}

/// The cases with these names, in the order given; all of them when there are no names.
pub(crate) fn select(names: &[String]) -> Result<Vec<&'static dyn Case>, UnknownCase> {
    if names.is_empty() {
        return Ok(CASES.to_vec());
    }
    names.iter().map(|name| find(name)).collect()
}

fn find(name: &str) -> Result<&'static dyn Case, UnknownCase> {
    let found = CASES.iter().find(|case| case.name() == name);
    found.copied().ok_or_else(|| UnknownCase(name.to_owned()))
}

/// A name that no case has.
#[derive(Debug)]
pub(crate) struct UnknownCase(String);

impl fmt::Display for UnknownCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = CASES.iter().map(|case| case.name()).collect();
        write!(f, "there is no case `{}`; the cases are: {}", self.0, names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_select_and_unknown_ones_are_refused() {
        assert_eq!(select(&[]).ok().unwrap().len(), CASES.len());
        let two = select(&["saxpy".to_owned(), "launch".to_owned()]).ok().unwrap();
        assert_eq!([two[0].name(), two[1].name()], ["saxpy", "launch"]);
        let error = select(&["saxpi".to_owned()]).err().unwrap().to_string();
        assert!(error.starts_with("there is no case `saxpi`; the cases are: launch, saxpy, "));
    }
}
