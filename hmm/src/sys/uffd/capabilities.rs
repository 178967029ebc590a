//! A report of the features of userfaultfd that work here, found out by trying.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use super::open::{handshake, make};
use super::{Feature, Features, MirrorTier, OpenUffdError, Route};

/// Whether a feature works here, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Support {
    /// It works.
    Available,
    /// The kernel does not have it, being too old or built without it.
    UnknownToKernel,
    /// The kernel has it and refuses it to this process.
    Refused {
        /// The number of the error, for instance `EPERM`.
        os_error: i32,
    },
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => f.write_str("available"),
            Self::UnknownToKernel => f.write_str("missing: this kernel does not have it"),
            Self::Refused { os_error } => {
                write!(f, "missing: {}", io::Error::from_raw_os_error(*os_error))
            }
        }
    }
}

/// The features of userfaultfd that work in one [`MirrorTier`].
#[derive(Debug)]
pub struct TierReport {
    tier: MirrorTier,
    found: Result<Found, OpenUffdError>,
}

#[derive(Debug)]
struct Found {
    route: Route,
    support: Vec<(Feature, Support)>,
}

impl TierReport {
    fn probe(tier: MirrorTier) -> Self {
        Self { tier, found: Found::probe(tier) }
    }

    /// Returns the tier that the report is about.
    #[must_use]
    pub fn tier(&self) -> MirrorTier {
        self.tier
    }

    /// Returns how a userfaultfd is made in this tier, or `None` if none can be.
    #[must_use]
    pub fn route(&self) -> Option<Route> {
        self.found.as_ref().ok().map(|found| found.route)
    }

    /// Returns why no userfaultfd can be made in this tier, or `None` if one can.
    #[must_use]
    pub fn refusal(&self) -> Option<&OpenUffdError> {
        self.found.as_ref().err()
    }

    /// Returns whether a feature works in this tier, or `None` if the tier does not work at all.
    #[must_use]
    pub fn support(&self, feature: Feature) -> Option<Support> {
        let found = self.found.as_ref().ok()?;
        let entry = found.support.iter().find(|(listed, _)| *listed == feature);
        entry.map(|&(_, support)| support)
    }

    /// Returns the features that work in this tier.
    #[must_use]
    pub fn features(&self) -> Features {
        let works = |feature: &Feature| self.support(*feature) == Some(Support::Available);
        Feature::ALL.into_iter().filter(works).collect()
    }
}

impl Found {
    fn probe(tier: MirrorTier) -> Result<Self, OpenUffdError> {
        let (fd, route) = make(tier)?;
        let known = handshake(&fd, Features::NONE).map_err(|source| OpenUffdError::Features {
            required: Features::NONE,
            source: source.into(),
        })?;
        let support = |feature| Ok((feature, probe_feature(tier, feature, known)?));
        let support: Result<Vec<_>, OpenUffdError> =
            Feature::ALL.into_iter().map(support).collect();
        Ok(Self { route, support: support? })
    }
}

/// Tries one feature on a userfaultfd of its own, since a handshake cannot be taken back.
fn probe_feature(
    tier: MirrorTier,
    feature: Feature,
    known: Features,
) -> Result<Support, OpenUffdError> {
    if !known.contains(feature) {
        return Ok(Support::UnknownToKernel);
    }
    let (fd, _) = make(tier)?;
    Ok(match handshake(&fd, feature.into()) {
        Ok(_) => Support::Available,
        Err(errno) => Support::Refused { os_error: errno.raw_os_error() },
    })
}

/// The features of userfaultfd that work in this process, in each [`MirrorTier`], found out by
/// trying.
///
/// # Examples
///
/// ```
/// use farptr_hmm::Capabilities;
///
/// let capabilities = Capabilities::probe();
/// println!("{capabilities}");
/// match capabilities.best_tier() {
///     Some(tier) => println!("can serve {tier}"),
///     None => println!("no userfaultfd here"),
/// }
/// ```
#[derive(Debug)]
pub struct Capabilities {
    kernel_faults: TierReport,
    user_faults: TierReport,
}

impl Capabilities {
    /// Tries every tier and every feature.
    #[must_use]
    pub fn probe() -> Self {
        Self {
            kernel_faults: TierReport::probe(MirrorTier::KernelFaults),
            user_faults: TierReport::probe(MirrorTier::UserFaults),
        }
    }

    /// Returns the report about one tier.
    #[must_use]
    pub fn tier(&self, tier: MirrorTier) -> &TierReport {
        match tier {
            MirrorTier::KernelFaults => &self.kernel_faults,
            MirrorTier::UserFaults => &self.user_faults,
        }
    }

    /// Returns the tier that serves more faults, of those that work, or `None`.
    #[must_use]
    pub fn best_tier(&self) -> Option<MirrorTier> {
        let reports = [&self.kernel_faults, &self.user_faults];
        reports.into_iter().find(|report| report.found.is_ok()).map(TierReport::tier)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.kernel_faults, self.user_faults)
    }
}

impl fmt::Display for TierReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "userfaultfd for {}: ", self.tier)?;
        let found = match &self.found {
            Ok(found) => found,
            Err(OpenUffdError::KernelFaults { device, source }) => {
                return write!(f, "missing: /dev/userfaultfd: {device}, system call: {source}");
            }
            Err(error) => return write!(f, "missing: {error}"),
        };
        write!(f, "available, by {}", found.route)?;
        for (feature, support) in &found.support {
            write!(f, "\n  {feature}: {support}")?;
        }
        Ok(())
    }
}
