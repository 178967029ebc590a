//! What a number of a kernel is made of: the lattice of the search for other uses of roots.

use std::collections::BTreeSet;
use std::rc::Rc;

/// What a number is made of, in all invocations and at all times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nothing was seen that makes it.
    Unseen,
    /// A number that no root is part of.
    Number,
    /// The word of the push constants at a byte, as it is.
    Word(u32),
    /// The eight bytes of the push constants at a byte, as they are.
    Root(u32),
    /// The sum of a number and of one of these roots, or a number.
    Behind(Rc<[u32]>),
}

/// The bytes of the push constants that are used as something else than the base of accesses.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// First bytes and ends.
    ranges: BTreeSet<(u32, u32)>,
    /// Where eight bytes were taken together.
    roots: BTreeSet<u32>,
    /// Whether any byte may be used.
    all: bool,
}

impl Uses {
    /// Notes that a number is used in a way that is not known to keep a base a base.
    pub(super) fn note(&mut self, used: &Origin) {
        match used {
            Origin::Unseen | Origin::Number => {}
            Origin::Word(at) => self.note_bytes(*at, 4),
            Origin::Root(at) => self.note_bytes(*at, 8),
            Origin::Behind(roots) => roots.iter().for_each(|&at| self.note_bytes(at, 8)),
        }
    }

    pub(super) fn note_bytes(&mut self, at: u32, bytes: u32) {
        self.ranges.insert((at, at.saturating_add(bytes)));
    }

    /// Notes that anything may be used.
    pub(super) fn note_all(&mut self) {
        self.all = true;
    }

    pub(super) fn is_all(&self) -> bool {
        self.all
    }

    /// Eight bytes that are taken together.
    pub(super) fn root(&mut self, at: u32) -> Origin {
        self.roots.insert(at);
        Origin::Root(at)
    }

    /// The used bytes. `None` if that may be any.
    pub(super) fn finish(mut self) -> Option<Vec<(u32, u32)>> {
        // Of two roots that overlap each changes what the other is.
        let (one, other) = (self.roots.iter(), self.roots.iter().skip(1));
        for (&one, &other) in one.zip(other).filter(|(one, other)| *other - *one < 8) {
            self.ranges.insert((one, other.saturating_add(8)));
        }
        (!self.all).then(|| self.ranges.into_iter().collect())
    }

    /// What is one of two.
    pub(super) fn join(&mut self, one: &Origin, other: &Origin) -> Origin {
        match (one, other) {
            (Origin::Unseen, seen) | (seen, Origin::Unseen) => seen.clone(),
            _ if one == other => one.clone(),
            // Halves are put together only if it is known which they are.
            (Origin::Word(_), _) | (_, Origin::Word(_)) => {
                self.note(one);
                self.note(other);
                Origin::Number
            }
            _ => {
                let roots: BTreeSet<u32> = [one, other].into_iter().flat_map(roots).collect();
                Origin::Behind(roots.into_iter().collect())
            }
        }
    }

    /// A number is added to an address, or an address to a number.
    pub(super) fn sum(&mut self, one: &Origin, other: &Origin) -> Origin {
        match (one, other) {
            (Origin::Unseen, _) | (_, Origin::Unseen) => Origin::Unseen,
            (Origin::Number, Origin::Number) => Origin::Number,
            (Origin::Number, address @ (Origin::Root(_) | Origin::Behind(_)))
            | (address @ (Origin::Root(_) | Origin::Behind(_)), Origin::Number) => moved(address),
            _ => self.number(&[one, other]),
        }
    }

    /// A number is taken from an address.
    pub(super) fn difference(&mut self, one: &Origin, other: &Origin) -> Origin {
        match (one, other) {
            (Origin::Unseen, _) | (_, Origin::Unseen) => Origin::Unseen,
            (Origin::Number, Origin::Number) => Origin::Number,
            (Origin::Root(_) | Origin::Behind(_), Origin::Number) => moved(one),
            _ => self.number(&[one, other]),
        }
    }

    /// A half of eight bytes, if it is known which.
    pub(super) fn half(&mut self, of: &Origin, index: Option<u32>) -> Origin {
        match (of, index) {
            (Origin::Unseen | Origin::Number, _) => of.clone(),
            (Origin::Root(at), Some(index @ 0..=1)) => Origin::Word(at.saturating_add(4 * index)),
            _ => self.number(&[of]),
        }
    }

    /// Two words as eight bytes.
    pub(super) fn pair(&mut self, low: &Origin, high: &Origin) -> Origin {
        match (low, high) {
            (Origin::Unseen, _) | (_, Origin::Unseen) => Origin::Unseen,
            (Origin::Number, Origin::Number) => Origin::Number,
            (Origin::Word(low), Origin::Word(high)) if low.checked_add(4) == Some(*high) => {
                self.root(*low)
            }
            _ => self.number(&[low, high]),
        }
    }

    /// A number that was made of others.
    fn number(&mut self, of: &[&Origin]) -> Origin {
        of.iter().for_each(|of| self.note(of));
        Origin::Number
    }
}

/// An address that is some way behind another one.
pub(super) fn moved(from: &Origin) -> Origin {
    match from {
        Origin::Root(at) => Origin::Behind([*at].into()),
        other => other.clone(),
    }
}

fn roots(of: &Origin) -> Vec<u32> {
    match of {
        Origin::Root(at) => vec![*at],
        Origin::Behind(roots) => roots.to_vec(),
        Origin::Unseen | Origin::Number | Origin::Word(_) => Vec::new(),
    }
}
