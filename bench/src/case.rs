//! The trait of a case, and the devices that a case gets.

use crate::{failure::Failure, measure::Variant, vulkan};
use farptr::{AccessMode, Backing, Runtime};
use std::rc::Rc;

/// A question that is answered by measuring variants side by side.
pub(crate) trait Case {
    /// The name on the command line and in records.
    fn name(&self) -> &'static str;

    /// The quantity that is measured, in one line.
    fn about(&self) -> &'static str;

    /// The names of the variants. The first is the baseline, to which ratios refer.
    fn variants(&self) -> &'static [&'static str];

    /// The sizes at which it is measured, in bytes; a case without data has the one size 0.
    fn sizes_bytes(&self) -> &'static [u64] {
        &[0]
    }

    /// What a size is to a person.
    fn unit(&self) -> Unit {
        Unit::Bytes
    }

    /// Whether the question is how a cost grows with the size.
    fn grows(&self) -> bool {
        false
    }

    /// Whether it needs a Vulkan device. If it does not, no device is opened, so the case runs
    /// where there is none, and no driver's threads disturb it.
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

/// What the sizes of a case are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    /// Lends of so many bytes each.
    Lends {
        bytes: u64,
    },
}

/// The things that variants may borrow for an episode.
pub(crate) struct Context {
    /// None for a case that needs none.
    devices: Option<Devices>,
}

/// The device, opened by farptr and, a second time, by hand.
pub(crate) struct Devices {
    pub(crate) runtime: Runtime,
    pub(crate) rival: Rc<vulkan::Device>,
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
        let rival = || vulkan::Device::open(name).map(Rc::new);
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
pub(crate) fn open(access: AccessMode) -> Result<Runtime, Failure> {
    open_backed(access, Backing::Auto)
}

/// Opens farptr's device in one access mode, with one backing of pages.
pub(crate) fn open_backed(mode: AccessMode, backing: Backing) -> Result<Runtime, Failure> {
    let runtime = Runtime::builder().access(mode).backing(backing).build();
    runtime.map_err(|source| Failure::NoAccess { mode, source })
}
