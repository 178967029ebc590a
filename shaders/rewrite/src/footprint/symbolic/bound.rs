//! Bounds: sums, and the least or the largest of several.

use crate::footprint::symbolic::sum::Sum;

/// The most sums of a bound.
const MOST_SUMS: usize = 6;

/// A number that a launch decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::footprint) enum Bound {
    Sum(Sum),
    /// The least of two or more.
    Min(Vec<Bound>),
    /// The largest of two or more.
    Max(Vec<Bound>),
}

impl Bound {
    pub(super) fn constant(number: i128) -> Self {
        Self::Sum(Sum::constant(number))
    }

    /// The number, if it is the same in every launch.
    pub(super) fn as_constant(&self) -> Option<i128> {
        self.as_sum().and_then(Sum::as_constant)
    }

    pub(super) fn as_sum(&self) -> Option<&Sum> {
        match self {
            Self::Sum(sum) => Some(sum),
            Self::Min(_) | Self::Max(_) => None,
        }
    }

    /// The sums that it is made of.
    pub(super) fn sums(&self) -> Vec<&Sum> {
        match self {
            Self::Sum(sum) => vec![sum],
            Self::Min(all) | Self::Max(all) => all.iter().flat_map(Self::sums).collect(),
        }
    }

    pub(super) fn has_grid(&self) -> bool {
        self.sums().into_iter().any(Sum::has_grid)
    }

    /// The least of two. `None` if that has too many parts.
    pub(super) fn min(self, other: Self) -> Option<Self> {
        Self::least(vec![self, other])
    }

    /// The largest of two. `None` if that has too many parts.
    pub(super) fn max(self, other: Self) -> Option<Self> {
        Self::most(vec![self, other])
    }

    fn least(all: Vec<Self>) -> Option<Self> {
        let parts = all.into_iter().flat_map(|of| match of {
            Self::Min(parts) => parts,
            other => vec![other],
        });
        let mut kept = without_needless(parts.collect(), |one, other| one.is_at_most(other));
        if kept.len() > 1 { Self::Min(kept).small() } else { kept.pop() }
    }

    fn most(all: Vec<Self>) -> Option<Self> {
        let parts = all.into_iter().flat_map(|of| match of {
            Self::Max(parts) => parts,
            other => vec![other],
        });
        let mut kept = without_needless(parts.collect(), |one, other| other.is_at_most(one));
        if kept.len() > 1 { Self::Max(kept).small() } else { kept.pop() }
    }

    fn small(self) -> Option<Self> {
        (self.sums().len() <= MOST_SUMS).then_some(self)
    }

    /// Whether it is shown to be at most another in every launch.
    pub(super) fn is_at_most(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Max(all), _) => all.iter().all(|of| of.is_at_most(other)),
            (_, Self::Min(all)) => all.iter().all(|of| self.is_at_most(of)),
            (Self::Min(all), _) => all.iter().any(|of| of.is_at_most(other)),
            (_, Self::Max(all)) => all.iter().any(|of| self.is_at_most(of)),
            (Self::Sum(one), Self::Sum(two)) => two.minus(one).is_some_and(|of| of.is_natural()),
        }
    }

    /// A number that it is shown to be at least in every launch.
    pub(super) fn least_number(&self) -> Option<i128> {
        match self {
            Self::Sum(sum) => sum.least(),
            Self::Min(all) => {
                all.iter().map(Self::least_number).reduce(|one, other| Some(one?.min(other?)))?
            }
            Self::Max(all) => all.iter().filter_map(Self::least_number).max(),
        }
    }

    /// A number that it is shown to be at most in every launch.
    pub(super) fn most_number(&self) -> Option<i128> {
        match self {
            Self::Sum(sum) => sum.most(),
            Self::Min(all) => all.iter().filter_map(Self::most_number).min(),
            Self::Max(all) => {
                all.iter().map(Self::most_number).reduce(|one, other| Some(one?.max(other?)))?
            }
        }
    }

    /// Whether it is shown to be at least a number in every launch.
    pub(super) fn is_at_least(&self, number: i128) -> bool {
        self.least_number().is_some_and(|least| least >= number)
    }

    /// A function of each of its sums that does not fall where they rise.
    pub(super) fn map(&self, with: &dyn Fn(&Sum) -> Option<Sum>) -> Option<Self> {
        let parts = |all: &[Self]| all.iter().map(|of| of.map(with)).collect::<Option<Vec<_>>>();
        match self {
            Self::Sum(sum) => with(sum).map(Self::Sum),
            Self::Min(all) => Self::least(parts(all)?),
            Self::Max(all) => Self::most(parts(all)?),
        }
    }

    /// The same for two bounds.
    fn map_both(&self, other: &Self, with: &dyn Fn(&Sum, &Sum) -> Option<Sum>) -> Option<Self> {
        let parts = |all: &[Self]| {
            all.iter().map(|of| of.map_both(other, with)).collect::<Option<Vec<_>>>()
        };
        match self {
            Self::Sum(sum) => other.map(&|of| with(sum, of)),
            Self::Min(all) => Self::least(parts(all)?),
            Self::Max(all) => Self::most(parts(all)?),
        }
    }

    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        self.map_both(other, &Sum::plus)
    }

    pub(super) fn minus(&self, other: &Self) -> Option<Self> {
        self.plus(&other.negated()?)
    }

    pub(super) fn moved(&self, by: i128) -> Option<Self> {
        self.map(&|sum| sum.moved(by))
    }

    pub(super) fn negated(&self) -> Option<Self> {
        let parts = |all: &[Self]| all.iter().map(Self::negated).collect::<Option<Vec<_>>>();
        match self {
            Self::Sum(sum) => sum.scaled(-1).map(Self::Sum),
            Self::Min(all) => Self::most(parts(all)?),
            Self::Max(all) => Self::least(parts(all)?),
        }
    }

    pub(super) fn scaled(&self, by: i128) -> Option<Self> {
        if by < 0 { self.negated()?.scaled(-by) } else { self.map(&|sum| sum.scaled(by)) }
    }

    /// At least the product of two numbers that are not negative, of which these are at least one
    /// and the other.
    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        self.map_both(other, &Sum::times)
    }

    /// Whether it depends on the launch.
    #[cfg(test)]
    pub(in crate::footprint) fn has_given(&self) -> bool {
        self.as_constant().is_none()
    }

    /// Its number in a launch.
    #[cfg(test)]
    pub(in crate::footprint) fn value(&self, push: &[u8], groups: [u32; 3]) -> Option<i128> {
        let values =
            |all: &[Self]| all.iter().map(|of| of.value(push, groups)).collect::<Option<Vec<_>>>();
        match self {
            Self::Sum(sum) => sum.value(push, groups),
            Self::Min(all) => values(all)?.into_iter().min(),
            Self::Max(all) => values(all)?.into_iter().max(),
        }
    }
}

/// Parts without those that another one makes needless, by a relation between the two.
fn without_needless(parts: Vec<Bound>, makes: impl Fn(&Bound, &Bound) -> bool) -> Vec<Bound> {
    let mut kept: Vec<Bound> = Vec::new();
    for part in parts {
        if !kept.iter().any(|other| makes(other, &part)) {
            kept.retain(|other| !makes(&part, other));
            kept.push(part);
        }
    }
    kept.sort_unstable();
    kept
}
