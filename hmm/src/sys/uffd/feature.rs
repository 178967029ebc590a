//! The features that a userfaultfd can be made with.

#![forbid(unsafe_code)]

use std::fmt;
use std::ops::BitOr;

use linux_raw_sys::general as raw;

/// One ability of userfaultfd that a kernel may have and a process may be allowed to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// A store to a write-protected page is told apart. Linux 5.7.
    WriteProtect,
    /// A fork of the process is reported, and the child's memory can be served. Linux 4.11; needs
    /// the privilege to trace processes.
    EventFork,
    /// A range that `mremap` moves is reported and stays watched. Linux 4.11.
    EventRemap,
    /// Pages that `madvise` drops are reported. Linux 4.11.
    EventRemove,
    /// A range that is unmapped is reported. Linux 4.11.
    EventUnmap,
    /// Huge pages of hugetlbfs can be watched. Linux 4.11.
    MissingHugetlbfs,
    /// Shared memory can be watched. Linux 4.11.
    MissingShmem,
    /// A fault is a bus error in the thread that takes it, instead of a message. Linux 4.14.
    Sigbus,
    /// A fault names the thread that takes it. Linux 4.14.
    ThreadId,
    /// Faults on hugetlbfs pages that are there and not mapped are reported. Linux 5.13.
    MinorHugetlbfs,
    /// Faults on shared memory that is there and not mapped are reported. Linux 5.14.
    MinorShmem,
    /// A fault gives its address to the byte, not to the page. Linux 5.18.
    ExactAddress,
    /// Shared memory and hugetlbfs pages can be write-protected. Linux 5.19.
    WpHugetlbfsShmem,
    /// Pages that are not there can be write-protected, by markers. Linux 6.4.
    WpUnpopulated,
    /// Accesses can be answered with a bus error. Linux 6.6.
    Poison,
    /// A store to a write-protected page is let through and remembered, without a message.
    /// Linux 6.7.
    WpAsync,
    /// Pages can be moved from one place to another. Linux 6.8.
    Move,
}

impl Feature {
    /// Every feature that this crate knows, oldest bit first.
    pub const ALL: [Self; 17] = [
        Self::WriteProtect,
        Self::EventFork,
        Self::EventRemap,
        Self::EventRemove,
        Self::MissingHugetlbfs,
        Self::MissingShmem,
        Self::EventUnmap,
        Self::Sigbus,
        Self::ThreadId,
        Self::MinorHugetlbfs,
        Self::MinorShmem,
        Self::ExactAddress,
        Self::WpHugetlbfsShmem,
        Self::WpUnpopulated,
        Self::Poison,
        Self::WpAsync,
        Self::Move,
    ];

    /// The bit that stands for the feature in the kernel's interface.
    const fn bit(self) -> u64 {
        let bit = match self {
            Self::WriteProtect => raw::UFFD_FEATURE_PAGEFAULT_FLAG_WP,
            Self::EventFork => raw::UFFD_FEATURE_EVENT_FORK,
            Self::EventRemap => raw::UFFD_FEATURE_EVENT_REMAP,
            Self::EventRemove => raw::UFFD_FEATURE_EVENT_REMOVE,
            Self::EventUnmap => raw::UFFD_FEATURE_EVENT_UNMAP,
            Self::MissingHugetlbfs => raw::UFFD_FEATURE_MISSING_HUGETLBFS,
            Self::MissingShmem => raw::UFFD_FEATURE_MISSING_SHMEM,
            Self::Sigbus => raw::UFFD_FEATURE_SIGBUS,
            Self::ThreadId => raw::UFFD_FEATURE_THREAD_ID,
            Self::MinorHugetlbfs => raw::UFFD_FEATURE_MINOR_HUGETLBFS,
            Self::MinorShmem => raw::UFFD_FEATURE_MINOR_SHMEM,
            Self::ExactAddress => raw::UFFD_FEATURE_EXACT_ADDRESS,
            Self::WpHugetlbfsShmem => raw::UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
            Self::WpUnpopulated => raw::UFFD_FEATURE_WP_UNPOPULATED,
            Self::Poison => raw::UFFD_FEATURE_POISON,
            Self::WpAsync => raw::UFFD_FEATURE_WP_ASYNC,
            Self::Move => raw::UFFD_FEATURE_MOVE,
        };
        bit as u64
    }

    /// Returns the name that the kernel's documentation uses, without its prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WriteProtect => "PAGEFAULT_FLAG_WP",
            Self::EventFork => "EVENT_FORK",
            Self::EventRemap => "EVENT_REMAP",
            Self::EventRemove => "EVENT_REMOVE",
            Self::EventUnmap => "EVENT_UNMAP",
            Self::MissingHugetlbfs => "MISSING_HUGETLBFS",
            Self::MissingShmem => "MISSING_SHMEM",
            Self::Sigbus => "SIGBUS",
            Self::ThreadId => "THREAD_ID",
            Self::MinorHugetlbfs => "MINOR_HUGETLBFS",
            Self::MinorShmem => "MINOR_SHMEM",
            Self::ExactAddress => "EXACT_ADDRESS",
            Self::WpHugetlbfsShmem => "WP_HUGETLBFS_SHMEM",
            Self::WpUnpopulated => "WP_UNPOPULATED",
            Self::Poison => "POISON",
            Self::WpAsync => "WP_ASYNC",
            Self::Move => "MOVE",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of [`Feature`]s.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{Feature, Features};
///
/// let wanted: Features = [Feature::Move, Feature::EventUnmap].into_iter().collect();
/// assert!(wanted.contains(Feature::Move));
/// assert_eq!(wanted.to_string(), "EVENT_UNMAP, MOVE");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// Bits of the kernel's interface, among them some that no [`Feature`] stands for.
    bits: u64,
}

impl Features {
    /// No feature.
    pub const NONE: Self = Self { bits: 0 };

    /// Makes the set that the kernel writes as `bits`.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self { bits }
    }

    /// The set as the kernel writes it.
    pub(super) const fn bits(self) -> u64 {
        self.bits
    }

    /// Tells whether the feature is in the set.
    #[must_use]
    pub const fn contains(self, feature: Feature) -> bool {
        self.bits & feature.bit() != 0
    }

    /// Tells whether every feature of `other` is in the set.
    #[must_use]
    pub const fn contains_all(self, other: Self) -> bool {
        self.bits & other.bits == other.bits
    }

    /// Returns the set with one feature more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self { bits: self.bits | feature.bit() }
    }

    /// Returns the set without one feature.
    #[must_use]
    pub const fn without(self, feature: Feature) -> Self {
        Self { bits: self.bits & !feature.bit() }
    }

    /// Lists the features, oldest bit first.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |&feature| self.contains(feature))
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { bits: self.bits | other.bits }
    }
}

impl From<Feature> for Features {
    fn from(feature: Feature) -> Self {
        Self::NONE.with(feature)
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        features.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, feature) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{feature}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_a_bit_and_a_name_of_its_own() {
        let all: Features = Feature::ALL.into_iter().collect();
        assert_eq!(all.bits(), (1 << 17) - 1, "seventeen features, seventeen bits");
        assert_eq!(all.iter().collect::<Vec<_>>(), Feature::ALL);
        let names: std::collections::HashSet<_> = Feature::ALL.map(Feature::name).into();
        assert_eq!(names.len(), Feature::ALL.len());
        for (index, feature) in Feature::ALL.into_iter().enumerate() {
            assert_eq!(feature.bit(), 1 << index, "{feature}");
        }
    }

    #[test]
    fn sets_add_and_take_away() {
        let set = Features::from(Feature::Move) | Feature::Poison.into();
        assert!(set.contains_all(Feature::Move.into()) && set.contains_all(Features::NONE));
        assert!(!set.contains_all(set.with(Feature::WpAsync)));
        assert_eq!(set.without(Feature::Poison), Feature::Move.into());
        assert_eq!(
            format!("{set:?} / {set} / {}", Features::NONE),
            "{Poison, Move} / POISON, MOVE / "
        );
    }

    #[test]
    fn unknown_bits_are_kept_and_not_listed() {
        let future = Features::from_bits(1 << 40);
        assert_eq!(future.bits(), 1 << 40);
        assert_eq!(future.iter().count(), 0);
    }
}
