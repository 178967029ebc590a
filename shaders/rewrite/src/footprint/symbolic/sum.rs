//! Sums of products of the numbers that a launch is given.

use crate::footprint::value::most;
use std::collections::BTreeMap;

/// The most products of a sum, and the most factors of a product.
const MOST_TERMS: usize = 8;
const MOST_FACTORS: usize = 4;
/// Factors stay below this, so that computing with them never wraps.
const MOST: i128 = 1 << 66;

/// A number that a launch is given, which counts as not negative.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::footprint) enum Given {
    /// One of the push constants: its byte, and its width in bits.
    Push(u32, u8),
    /// The number of workgroups along an axis, at least 1.
    Groups(u8),
    /// The quotient of a sum that is not negative by one that is at least 1, rounded down.
    Quotient(Box<Sum>, Box<Sum>),
}

impl Given {
    fn most(&self) -> Option<i128> {
        match self {
            Self::Push(_, width) => Some(most(*width).into()),
            Self::Groups(_) => Some(u32::MAX.into()),
            Self::Quotient(of, by) => Some(of.most()? / by.least()?.max(1)),
        }
    }
}

/// A sum of products, each times a number. The product of nothing is 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::footprint) struct Sum(BTreeMap<Vec<Given>, i128>);

impl Sum {
    pub(super) fn constant(number: i128) -> Self {
        Self([(Vec::new(), number)].into_iter().filter(|(_, times)| *times != 0).collect())
    }

    pub(super) fn given(of: Given) -> Self {
        Self([(vec![of], 1)].into())
    }

    /// The number, if it is one alone.
    pub(super) fn as_constant(&self) -> Option<i128> {
        match self.0.len() {
            0 => Some(0),
            1 => self.0.get(&[][..]).copied(),
            _ => None,
        }
    }

    /// The products with their factors.
    pub(super) fn terms(&self) -> impl Iterator<Item = (&[Given], i128)> + Clone {
        self.0.iter().map(|(product, times)| (&product[..], *times))
    }

    /// The number that is added to products.
    pub(super) fn rest(&self) -> i128 {
        self.0.get(&[][..]).copied().unwrap_or_default()
    }

    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        let mut all = self.0.clone();
        for (product, times) in &other.0 {
            *all.entry(product.clone()).or_default() += times;
        }
        Self(all).small()
    }

    pub(super) fn minus(&self, other: &Self) -> Option<Self> {
        self.plus(&other.scaled(-1)?)
    }

    pub(super) fn moved(&self, by: i128) -> Option<Self> {
        self.plus(&Self::constant(by))
    }

    pub(super) fn scaled(&self, by: i128) -> Option<Self> {
        self.times(&Self::constant(by))
    }

    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let mut all: BTreeMap<Vec<Given>, i128> = BTreeMap::new();
        for (one, times) in &self.0 {
            for (two, more) in &other.0 {
                let mut product = [&one[..], &two[..]].concat();
                product.sort_unstable();
                *all.entry(product).or_default() += times.checked_mul(*more)?;
            }
        }
        Self(all).small()
    }

    fn small(mut self) -> Option<Self> {
        self.0.retain(|_, times| *times != 0);
        let is_small = |(product, times): (&Vec<Given>, &i128)| {
            product.len() <= MOST_FACTORS && times.abs() < MOST
        };
        (self.0.len() <= MOST_TERMS && self.0.iter().all(is_small)).then_some(self)
    }

    /// A number that it is at least in every launch.
    pub(super) fn least(&self) -> Option<i128> {
        // Of each axis there is at least one workgroup.
        let is_positive =
            |product: &[Given]| product.iter().all(|of| matches!(of, Given::Groups(_)));
        let mut least = 0;
        for (product, times) in self.terms() {
            if times < 0 && !product.is_empty() {
                return None;
            }
            if is_positive(product) {
                least += times;
            }
        }
        Some(least)
    }

    /// A number that it is at most in every launch.
    pub(super) fn most(&self) -> Option<i128> {
        self.terms().try_fold(0i128, |sum, (product, times)| {
            if times < 0 && !product.is_empty() {
                return Some(sum);
            }
            let term = product.iter().try_fold(times, |term, of| term.checked_mul(of.most()?))?;
            sum.checked_add(term)
        })
    }

    /// Whether it is 0 or more in every launch.
    pub(super) fn is_natural(&self) -> bool {
        self.least().is_some_and(|least| least >= 0)
    }

    /// Whether the grid counts.
    pub(super) fn has_grid(&self) -> bool {
        self.0.keys().flatten().any(|of| match of {
            Given::Push(..) => false,
            Given::Groups(_) => true,
            Given::Quotient(of, by) => of.has_grid() || by.has_grid(),
        })
    }

    /// Bounds of the quotient, rounded down, by a sum that is at least 1: from below and above.
    pub(super) fn divided(&self, by: &Self) -> (Option<Self>, Option<Self>) {
        let mut terms = by.terms();
        let (Some((factors, times)), None) = (terms.next(), terms.next()) else {
            return self.divided_as_one(by);
        };
        if times <= 0 {
            return (None, None);
        }
        let (mut whole, mut rest) = (BTreeMap::new(), BTreeMap::new());
        for (product, of) in self.terms() {
            match without(product, factors).filter(|_| of % times == 0) {
                Some(left) => whole.insert(left, of / times),
                None => rest.insert(product.to_vec(), of),
            };
        }
        let (low, high) = Self(rest).divided_as_one(by);
        let with = |part: Option<Self>| part.and_then(|part| Self(whole.clone()).plus(&part));
        (with(low), with(high))
    }

    /// The same, if no part can be divided by itself.
    fn divided_as_one(&self, by: &Self) -> (Option<Self>, Option<Self>) {
        let (rest, divisor) = (self.rest(), by.as_constant());
        match (self.as_constant(), divisor) {
            (Some(0), _) => return (Some(Self::default()), Some(Self::default())),
            (Some(of), Some(by)) if by > 0 => {
                let both = Some(Self::constant(of.div_euclid(by)));
                return (both.clone(), both);
            }
            (Some(of), None) if of < 0 => {
                return (Some(Self::constant(of)), Some(Self::constant(-1)));
            }
            _ => {}
        }
        // A number that is less than 0 is made more by whole divisors.
        let turns = match divisor {
            Some(by) if by > 0 && rest < 0 => (-rest).div_euclid(by) + i128::from(rest % by != 0),
            _ => 0,
        };
        let quotient = |of: Option<Self>| {
            let of = of.filter(Self::is_natural)?;
            if let Some((of, by)) = of.as_quotient().zip(divisor).and_then(|(of, by)| of.again(by))
            {
                return Self::given(Given::Quotient(Box::new(of), Box::new(by))).moved(-turns);
            }
            let quotient = Given::Quotient(Box::new(of), Box::new(by.clone()));
            Self::given(quotient).moved(-turns)
        };
        let raised = by.scaled(turns).and_then(|more| self.plus(&more));
        let exact = quotient(raised);
        let high = exact.clone().or_else(|| quotient(self.moved(-rest.min(0))));
        (exact, high)
    }

    /// A quotient of natural numbers by a number, and the number that is added to it.
    fn as_quotient(&self) -> Option<Quotient<'_>> {
        let mut terms = self.terms().filter(|(product, _)| !product.is_empty());
        match (terms.next(), terms.next()) {
            (Some(([Given::Quotient(of, by)], 1)), None) => {
                Some(Quotient { of, by: by.as_constant()?, rest: self.rest() })
            }
            _ => None,
        }
    }

    /// The number in a launch. `None` if it divides by 0, or has no such push constant.
    #[cfg(test)]
    pub(in crate::footprint) fn value(&self, push: &[u8], groups: [u32; 3]) -> Option<i128> {
        self.terms().try_fold(0i128, |sum, (product, times)| {
            let mut term = times;
            for of in product {
                let number = match of {
                    Given::Push(at, width) => {
                        let bytes = push.get(*at as usize..)?.get(..usize::from(width / 8))?;
                        bytes.iter().rev().fold(0, |all, byte| all << 8 | i128::from(*byte))
                    }
                    Given::Groups(axis) => groups[usize::from(*axis)].into(),
                    Given::Quotient(of, by) => {
                        let (of, by) = (of.value(push, groups)?, by.value(push, groups)?);
                        of.checked_div(by)?
                    }
                };
                term = term.checked_mul(number)?;
            }
            term.checked_add(sum)
        })
    }
}

/// A quotient of a sum by a number, and what is added to it.
struct Quotient<'s> {
    of: &'s Sum,
    by: i128,
    rest: i128,
}

impl Quotient<'_> {
    /// The sum and the number whose quotient, rounded down, is that by one more number.
    fn again(&self, by: i128) -> Option<(Sum, Sum)> {
        let all = self.by.checked_mul(by).filter(|_| self.by > 0 && by > 0)?;
        let of = self.of.moved(self.rest.checked_mul(self.by)?).filter(Sum::is_natural)?;
        Some((of, Sum::constant(all)))
    }
}

/// A product without some of its factors, if it has them all.
fn without(product: &[Given], factors: &[Given]) -> Option<Vec<Given>> {
    let mut left = product.to_vec();
    for factor in factors {
        left.remove(left.iter().position(|of| of == factor)?);
    }
    Some(left)
}
