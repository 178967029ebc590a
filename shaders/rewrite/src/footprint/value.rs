//! The abstract values: what is known of a number in all invocations at once.

use crate::footprint::mutant::{self, Mutant};
use std::cmp::{max, min};

/// How far a value may be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// Every use sees the same number.
    Fixed,
    /// Every use sees a number of the range, but not necessarily the same: it came from memory, and
    /// a compiler may read memory again. A comparison says nothing about the next use.
    Loose,
    /// The module's behaviour is not defined if it counts. Its range is that of all numbers.
    Void,
}

/// The numbers that a value may be, of a width that the context knows: an interval of it without a
/// sign and one of it with a sign, both of which hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) least: i64,
    pub(super) most: i64,
    pub(super) trust: Trust,
    /// The pointer argument, by its byte in the push constants, to whose address the number is to
    /// be added. Its bytes count as signed then, and `low` and `high` mean nothing.
    pub(super) root: Option<u32>,
}

/// The largest number of a width without a sign.
pub(super) fn top(width: u8) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

/// The largest number of a width with a sign. A truth value has none.
pub(super) fn most(width: u8) -> i64 {
    match width {
        0 | 1 => 1,
        64.. => i64::MAX,
        _ => (1 << (width - 1)) - 1,
    }
}

/// The smallest number of a width with a sign.
pub(super) fn least(width: u8) -> i64 {
    if width <= 1 { 0 } else { -most(width) - 1 }
}

/// A number with a sign as its bits.
pub(super) fn to_bits(number: i64, width: u8) -> u64 {
    number.cast_unsigned() & top(width)
}

/// The bits of a number as a number with a sign.
pub(super) fn to_signed(bits: u64, width: u8) -> i64 {
    if width <= 1 {
        return i64::from(bits & 1 == 1);
    }
    let unused = 64 - u32::from(min(width, 64));
    (bits << unused).cast_signed() >> unused
}

impl Value {
    /// Any number.
    pub(super) fn any(width: u8, trust: Trust) -> Self {
        Self { low: 0, high: top(width), least: least(width), most: most(width), trust, root: None }
    }

    /// One number.
    pub(super) fn one(bits: u64, width: u8) -> Self {
        let bits = bits & top(width);
        let signed = to_signed(bits, width);
        Self { low: bits, high: bits, least: signed, most: signed, trust: Trust::Fixed, root: None }
    }

    /// The address of a pointer argument and so many bytes.
    pub(super) fn address(root: u32, least: i64, most: i64) -> Self {
        Self { least, most, root: Some(root), ..Self::any(64, Trust::Fixed) }
    }

    /// The numbers from `low` to `high` without a sign, or any number if that is no interval of the
    /// width.
    pub(super) fn unsigned(low: i128, high: i128, width: u8) -> Self {
        let any = Self::any(width, Trust::Fixed);
        match (u64::try_from(low), u64::try_from(high)) {
            (Ok(low), Ok(high)) if low <= high && high <= top(width) => {
                Self { low, high, ..any }.reduced(width).unwrap_or(any)
            }
            _ => any,
        }
    }

    /// The numbers from `least` to `most` with a sign, or any number if that is no interval of the
    /// width.
    pub(super) fn signed(low: i128, high: i128, width: u8) -> Self {
        let any = Self::any(width, Trust::Fixed);
        match (i64::try_from(low), i64::try_from(high)) {
            (Ok(low), Ok(high)) if low <= high && least(width) <= low && high <= most(width) => {
                Self { least: low, most: high, ..any }.reduced(width).unwrap_or(any)
            }
            _ => any,
        }
    }

    /// The same numbers, relied on no further than `trust` says.
    pub(super) fn trusted(self, trust: Trust, width: u8) -> Self {
        match max(self.trust, trust) {
            Trust::Void => Self::any(width, Trust::Void),
            trust => Self { trust, ..self },
        }
    }

    /// The same numbers, of which branches of this trust have chosen one. One alone is not chosen.
    pub(super) fn chosen(self, trust: Trust) -> Self {
        let is_one = self.least == self.most && (self.root.is_some() || self.low == self.high);
        if is_one || trust == Trust::Fixed {
            return self;
        }
        Self { trust: max(self.trust, Trust::Loose), ..self }
    }

    /// Narrows each of the two intervals by the other. `None` if no number is left.
    pub(super) fn reduced(mut self, width: u8) -> Option<Self> {
        if self.root.is_some() {
            return (self.least <= self.most).then_some(self);
        }
        for _ in 0..2 {
            if self.low > self.high || self.least > self.most {
                return None;
            }
            let half = to_bits(most(width), width);
            // All of it is on one side of the place where the sign changes.
            if self.high <= half || self.low > half {
                self.least = max(self.least, to_signed(self.low, width));
                self.most = min(self.most, to_signed(self.high, width));
            }
            if self.least > self.most {
                return None;
            }
            if self.least >= 0 || self.most < 0 {
                self.low = max(self.low, to_bits(self.least, width));
                self.high = min(self.high, to_bits(self.most, width));
            }
        }
        (self.low <= self.high && self.least <= self.most).then_some(self)
    }

    /// The numbers that both are. `None` if there are none.
    pub(super) fn meet(self, other: Self, width: u8) -> Option<Self> {
        if self.root != other.root {
            return Some(self);
        }
        let both = Self {
            low: max(self.low, other.low),
            high: min(self.high, other.high),
            least: max(self.least, other.least),
            most: min(self.most, other.most),
            ..self
        };
        both.reduced(width)
    }

    /// An interval around the numbers of both.
    pub(super) fn hull(self, other: Self, width: u8) -> Self {
        let trust = max(self.trust, other.trust);
        if self.root != other.root {
            return Self::any(width, max(trust, Trust::Loose));
        }
        let both = Self {
            low: min(self.low, other.low),
            high: max(self.high, other.high),
            least: min(self.least, other.least),
            most: max(self.most, other.most),
            trust,
            root: self.root,
        };
        both.trusted(trust, width)
    }

    /// Whether every number of the other is one of this one's, as far as they are relied on.
    pub(super) fn covers(self, other: Self) -> bool {
        if self.trust >= other.trust && self.trust > Trust::Fixed && self.is_any_address() {
            return true;
        }
        self.root == other.root
            && self.trust >= other.trust
            && (self.root.is_some() || (self.low <= other.low && other.high <= self.high))
            && self.least <= other.least
            && other.most <= self.most
    }

    /// Whether it is any number of 64 bits. Without a sign, numbers around 0 look like that too.
    fn is_any_address(self) -> bool {
        let is_any = Self { trust: self.trust, ..Self::any(64, Trust::Loose) } == self;
        is_any
            || (mutant::has(Mutant::AnySign)
                && self.root.is_none()
                && (self.low, self.high) == (0, u64::MAX))
    }

    /// The bits, if it is one number.
    pub(super) fn single(self, width: u8) -> Option<u64> {
        if self.root.is_some() {
            None
        } else if self.low == self.high {
            Some(self.low)
        } else {
            (self.least == self.most).then(|| to_bits(self.least, width))
        }
    }

    /// Whether a truth value is known.
    pub(super) fn truth(self) -> Option<bool> {
        self.single(1).map(|bits| bits != 0)
    }
}

/// A truth value, if it is known.
pub(super) fn truth(known: Option<bool>) -> Value {
    known.map_or(Value::any(1, Trust::Fixed), |known| Value::one(known.into(), 1))
}
