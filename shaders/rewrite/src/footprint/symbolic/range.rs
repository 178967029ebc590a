//! The numbers that a value may be in a launch, as bounds that the launch decides.

use crate::footprint::symbolic::bound::Bound;
use crate::footprint::value::{Trust, least, most};
use std::cmp::max;

/// An interval of numbers with a sign; a truth value is 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::footprint) struct Range {
    pub(in crate::footprint) low: Option<Bound>,
    /// A number from below, where the launch decides the other bound: `n` is at least 1, too.
    pub(in crate::footprint) least: Option<i128>,
    pub(in crate::footprint) high: Option<Bound>,
    pub(in crate::footprint) trust: Trust,
    /// The argument, by its byte in the push constants, to whose address the number is added.
    pub(in crate::footprint) root: Option<u32>,
}

impl Range {
    /// Any number.
    pub(super) fn any(trust: Trust) -> Self {
        Self { low: None, least: None, high: None, trust, root: None }
    }

    pub(super) fn new(low: Option<Bound>, high: Option<Bound>) -> Self {
        Self { low, high, ..Self::any(Trust::Fixed) }
    }

    /// The same numbers, which are no less than one.
    pub(super) fn with_least(self, least: Option<i128>) -> Self {
        let known = self.low.as_ref().and_then(Bound::least_number);
        let least = least.max(self.least).filter(|least| known.is_none_or(|known| *least > known));
        match (least, &self.low) {
            (Some(number), None) => {
                Self { low: Some(Bound::constant(number)), least: None, ..self }
            }
            _ => Self { least, ..self },
        }
    }

    /// A number that all of it is shown to be at least.
    pub(super) fn least_number(&self) -> Option<i128> {
        self.least.max(self.low.as_ref().and_then(Bound::least_number))
    }

    pub(super) fn constants(low: i128, high: i128) -> Self {
        Self::new(Some(Bound::constant(low)), Some(Bound::constant(high)))
    }

    pub(super) fn one(of: Bound) -> Self {
        Self::new(Some(of.clone()), Some(of))
    }

    /// A truth value, if it is known.
    pub(super) fn truth_value(known: Option<bool>) -> Self {
        let known = known.map(i128::from);
        Self::constants(known.unwrap_or(0), known.unwrap_or(1))
    }

    /// The same numbers, relied on no further than `trust` says.
    pub(super) fn trusted(self, trust: Trust) -> Self {
        match max(self.trust, trust) {
            Trust::Void => Self::any(Trust::Void),
            trust => Self { trust, ..self },
        }
    }

    /// The same numbers, of which branches of this trust have chosen one. One alone is not chosen.
    pub(super) fn chosen(self, trust: Trust) -> Self {
        if self.single().is_some() || trust == Trust::Fixed {
            return self;
        }
        Self { trust: max(self.trust, Trust::Loose), ..self }
    }

    /// The number, if it is one in each launch.
    pub(super) fn single(&self) -> Option<&Bound> {
        self.low.as_ref().filter(|low| Some(*low) == self.high.as_ref())
    }

    /// The number, if it is the same in every launch.
    pub(super) fn constant(&self) -> Option<i128> {
        self.single().filter(|_| self.root.is_none())?.as_constant()
    }

    pub(super) fn truth(&self) -> Option<bool> {
        self.constant().map(|of| of != 0)
    }

    /// Whether it is shown not to be negative.
    pub(super) fn is_natural(&self) -> bool {
        self.root.is_none() && self.is_at_least(0)
    }

    pub(super) fn is_at_least(&self, number: i128) -> bool {
        self.least_number().is_some_and(|least| least >= number)
    }

    /// Whether it is shown to be a number with a sign of a width, in every launch.
    pub(super) fn fits(&self, width: u8) -> bool {
        let most_number = self.high.as_ref().and_then(Bound::most_number);
        let is_small = most_number.is_some_and(|number| number <= most(width).into());
        is_small && self.is_at_least(least(width).into())
    }

    /// Whether all of it is shown to be at least a bound.
    pub(super) fn begins_at(&self, bound: &Bound) -> bool {
        let least = self.least.map(Bound::constant);
        [&self.low, &least].into_iter().flatten().any(|low| bound.is_at_most(low))
    }

    pub(super) fn is_at_most(&self, number: i128) -> bool {
        self.high.as_ref().is_some_and(|high| high.is_at_most(&Bound::constant(number)))
    }

    /// The numbers that both are. `None` if there are none in any launch.
    pub(super) fn meet(&self, other: &Self) -> Option<Self> {
        if self.root != other.root {
            return Some(self.clone());
        }
        let is_number = |of: &Option<Bound>| of.as_ref().and_then(Bound::as_constant);
        let low = match (is_number(&self.low), is_number(&other.low)) {
            // A number is kept beside a bound that the launch decides.
            (Some(_), None) if other.low.is_some() => other.low.clone(),
            (None, Some(_)) if self.low.is_some() => self.low.clone(),
            _ => tighter(&self.low, &other.low, |one, other| other.is_at_most(one), Bound::max),
        };
        let high = tighter(&self.high, &other.high, Bound::is_at_most, Bound::min);
        let met = Self { low, least: None, high, trust: self.trust, root: self.root };
        let met = met.with_least(self.least_number().max(other.least_number()));
        let end = met.high.as_ref().and_then(|high| high.moved(1));
        let is_empty = end.is_some_and(|end| met.begins_at(&end));
        (!is_empty).then_some(met)
    }

    /// An interval around the numbers of both.
    pub(super) fn hull(&self, other: &Self) -> Self {
        let trust = max(self.trust, other.trust);
        if self.root != other.root {
            return Self::any(max(trust, Trust::Loose));
        }
        let both = |one: &Option<Bound>, other: &Option<Bound>| one.clone().zip(other.clone());
        let low = both(&self.low, &other.low).and_then(|(one, other)| one.min(other));
        let high = both(&self.high, &other.high).and_then(|(one, other)| one.max(other));
        let least = self.least_number().zip(other.least_number());
        let hull = Self { low, least: None, high, trust, root: self.root };
        hull.with_least(least.map(|(one, other)| one.min(other))).trusted(trust)
    }

    /// Whether every number of the other is shown to be one of this one's.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if self.trust < other.trust {
            return false;
        }
        let is_any = self.low.is_none() && self.high.is_none() && self.root.is_none();
        if is_any && self.trust > Trust::Fixed {
            return true;
        }
        self.root == other.root && self.has_low(other) && self.has_high(other)
    }

    /// Whether the other is shown to begin no earlier.
    pub(super) fn has_low(&self, other: &Self) -> bool {
        self.has_least(other) && self.low.as_ref().is_none_or(|low| other.begins_at(low))
    }

    /// The same, by a number alone.
    pub(super) fn has_least(&self, other: &Self) -> bool {
        self.least_number() <= other.least_number()
    }

    /// Whether the other is shown to end no later.
    pub(super) fn has_high(&self, other: &Self) -> bool {
        let Some(high) = &self.high else { return true };
        other.high.as_ref().is_some_and(|of| of.is_at_most(high))
    }
}

/// The better of two bounds. Where neither is shown to be, one without the grid says more to a
/// reader; else both count.
fn tighter(
    one: &Option<Bound>,
    other: &Option<Bound>,
    is_better: impl Fn(&Bound, &Bound) -> bool,
    both: impl Fn(Bound, Bound) -> Option<Bound>,
) -> Option<Bound> {
    let (Some(old), Some(new)) = (one, other) else { return one.clone().or(other.clone()) };
    if is_better(old, new) {
        return Some(old.clone());
    }
    if is_better(new, old) {
        return Some(new.clone());
    }
    match (old.has_grid(), new.has_grid()) {
        (true, false) => Some(new.clone()),
        (false, true) => Some(old.clone()),
        _ => both(old.clone(), new.clone()).or_else(|| Some(old.clone())),
    }
}
