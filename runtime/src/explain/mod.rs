//! The choices of a runtime, with their reasons.

mod kernel;

pub use kernel::KernelExplanation;

use crate::{
    ChosenBacking, LaunchOptions, ProvedAccess, ResidencyTier,
    lend::kinds::imports_all,
    prove::judge::Refusal,
    times::Clock,
    vk::{
        budget::Limit,
        info::{DeviceInfo, SeenIn, Stopping},
    },
};
use farptr_hmm::PageSize;
use std::{fmt, time::Duration};

/// The choices of a runtime, with their reasons: printable, one fact per line.
///
/// [`Runtime::explain`](crate::Runtime::explain) gives one. The wording may change; use the methods
/// for anything that a program decides on.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub(crate) devices: Vec<Judged>,
    pub(crate) access: ProvedAccess,
    pub(crate) backing: ChosenBacking,
    pub(crate) imports: ImportRules,
    pub(crate) pages_imported: u64,
    pub(crate) tier: ResidencyTier,
    pub(crate) proof: String,
    pub(crate) loops: Loops,
    pub(crate) stopping: Stopping,
    pub(crate) narrow_offsets: bool,
    pub(crate) budget: Limit,
    pub(crate) validation: bool,
    pub(crate) times: Timing,
    pub(crate) cache: String,
}

/// A device, and why it was not taken: `None` for the device that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) info: DeviceInfo,
    pub(crate) refusal: Option<Refusal>,
}

/// The device's limit on loops, as far as it was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loops {
    /// The number of iterations after which the driver ended a loop without an error, if it did.
    pub(crate) cut_after: Option<u32>,
}

/// What the device can be given to import.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImportRules {
    /// Memory of every kind, also of files.
    all_kinds: bool,
    /// Bytes of the pieces that are imported, if they are larger than pages.
    granule_bytes: Option<u64>,
}

impl ImportRules {
    pub(crate) fn of(info: &DeviceInfo) -> Self {
        let granule = info.import_alignment;
        Self {
            all_kinds: imports_all(info.kind),
            granule_bytes: granule.filter(|&bytes| bytes > PageSize::host().bytes()),
        }
    }
}

impl fmt::Display for ImportRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bytes) = self.granule_bytes {
            write!(f, ", in whole pieces of {bytes} bytes")?;
        }
        if !self.all_kinds {
            f.write_str(
                ", but not memory of files, shared memory and memory without permission to write",
            )?;
        }
        Ok(())
    }
}

/// Whether kernels are timed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timing {
    Off,
    Taken(Clock),
    /// It was asked for, and the device has no timestamps.
    Unavailable,
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("not taken"),
            Self::Taken(clock) => write!(f, "of kernels, by timestamps of {clock}"),
            Self::Unavailable => f.write_str("not taken: the device has no timestamps"),
        }
    }
}

impl Explanation {
    /// The access mode that was proved.
    #[must_use]
    pub fn access(&self) -> ProvedAccess {
        self.access
    }

    /// The place of the bytes that kernels work on: host memory itself in direct access.
    #[must_use]
    pub fn backing(&self) -> ChosenBacking {
        self.backing
    }

    /// Pages of host memory that were imported when this was asked for. Each page is imported once,
    /// however many scopes lend it.
    #[must_use]
    pub fn pages_imported(&self) -> u64 {
        self.pages_imported
    }

    /// Whether the driver was seen to cut long loops short, so that launches guard against it.
    #[must_use]
    pub fn cuts_loops(&self) -> bool {
        self.loops.cut_after.is_some()
    }

    /// Whether a kernel that was running was seen to end when the host told it to, which is how
    /// deadlines end launches.
    ///
    /// If not, the loops of each invocation end after as many passes as it may make before the
    /// deadline: those that the driver allows ([`cuts_loops`](Self::cuts_loops)), or a number that
    /// follows from the deadline and the measured time of a pass.
    #[must_use]
    pub fn stops_kernels(&self) -> bool {
        matches!(self.stopping, Stopping::Seen(_))
    }

    /// The time of a submission whose launches have no deadline of their own, on a device whose
    /// driver may have a watchdog: [`LaunchOptions::deadline`](crate::LaunchOptions::deadline).
    #[must_use]
    pub fn submission_limit(&self) -> Option<Duration> {
        let taken = self.devices.iter().find(|judged| judged.refusal.is_none())?;
        LaunchOptions::new().submission_limit(taken.info.kind)
    }

    /// Whether the driver was seen to compute offsets in 32 bits, so that kernels compute them
    /// themselves.
    #[must_use]
    pub fn narrow_offsets(&self) -> bool {
        self.narrow_offsets
    }

    /// The most bytes of the device's memory that copied pages may take, in all scopes together.
    #[must_use]
    pub fn device_budget(&self) -> u64 {
        self.budget.bytes()
    }

    /// Whether kernels are timed: it was asked for, and the device has timestamps.
    #[must_use]
    pub fn times_kernels(&self) -> bool {
        matches!(self.times, Timing::Taken(_))
    }

    /// The place of lent data between launches.
    #[must_use]
    pub fn tier(&self) -> ResidencyTier {
        self.tier
    }

    /// Each device that was refused, by name, with the reason.
    pub fn refused(&self) -> impl Iterator<Item = (&str, String)> {
        self.devices.iter().filter_map(|judged| {
            Some((judged.info.name.as_str(), judged.refusal.as_ref()?.to_string()))
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Judged { info, refusal } in &self.devices {
            write!(f, "device {}    {} ({}): ", info.index, info.name, info.driver)?;
            match refusal {
                None => writeln!(f, "taken")?,
                Some(refusal) => writeln!(f, "refused: {refusal}")?,
            }
        }
        writeln!(f, "access      {}: {}", self.access, self.proof)?;
        write!(f, "backing     {}: ", self.backing)?;
        match self.backing {
            ChosenBacking::Copy => {
                writeln!(f, "pages are copied to the device when a kernel first touches them")?;
            }
            ChosenBacking::Import => {
                let Self { imports, pages_imported: pages, .. } = self;
                writeln!(
                    f,
                    "kernels work on host memory itself{imports}; {pages} pages are imported now"
                )?;
            }
        }
        writeln!(f, "budget      {}", self.budget)?;
        match self.loops.cut_after {
            None => writeln!(f, "loops       not cut")?,
            Some(count) => writeln!(
                f,
                "loops       cut by the driver after {count} iterations; launches notice it"
            )?,
        }
        writeln!(f, "stop        {}", Stop(self.stopping))?;
        write!(f, "deadlines   {} s for a launch", LaunchOptions::new().time().as_secs())?;
        match self.submission_limit() {
            None => writeln!(f)?,
            Some(limit) => {
                let limit = limit.as_secs();
                writeln!(f, ", {limit} s for a submission: drivers have watchdogs")?;
            }
        }
        let offsets = match self.narrow_offsets {
            false => "64 bits",
            true => "the driver has 32 bits; kernels compute them themselves, in 64",
        };
        writeln!(f, "offsets     {offsets}")?;
        let stays = match self.tier {
            ResidencyTier::None => "nothing stays on the device between scopes",
            ResidencyTier::Scoped => "copies of private memory stay on the device between scopes",
        };
        writeln!(f, "tier        {}: {stays}", self.tier)?;
        writeln!(
            f,
            "process     nothing watches mappings; lent processes are compared before writes"
        )?;
        writeln!(f, "times       {}", self.times)?;
        writeln!(f, "validation  {}", if self.validation { "on, errors abort" } else { "off" })?;
        write!(f, "pipelines   {}", self.cache)
    }
}

/// How kernels are ended, in words.
struct Stop(Stopping);

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Stopping::Seen(memory) => {
                let whose = match memory {
                    SeenIn::HostMemory => "host",
                    SeenIn::DeviceMemory => "device",
                };
                write!(f, "a running kernel sees a word that the host writes to {whose} memory")
            }
            Stopping::Cut => f.write_str("loops end by themselves, since the driver cuts them"),
            Stopping::Unseen { passes_per_second } => write!(
                f,
                "a running kernel sees nothing that the host writes; it makes {passes_per_second} \
                 passes through loops a second at most, by which deadlines limit them"
            ),
        }
    }
}

/// Each device with its reason, in one line.
pub(crate) fn reasons(devices: &[Judged]) -> String {
    let reason = |judged: &Judged| {
        let refusal = judged.refusal.as_ref().map_or_else(String::new, Refusal::to_string);
        format!("device {} ({}): {refusal}", judged.info.index, judged.info.name)
    };
    devices.iter().map(reason).collect::<Vec<_>>().join("; ")
}
