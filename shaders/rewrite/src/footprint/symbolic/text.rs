//! Bounds as text.

use crate::footprint::symbolic::bound::Bound;
use crate::footprint::symbolic::sum::{Given, Sum};
use std::cmp::Reverse;

/// What the numbers of a launch are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'n> {
    /// The push constants, by their offsets.
    pub(super) push: &'n [(u32, String)],
    pub(super) local_size: [u32; 3],
}

impl Names<'_> {
    fn known(&self, at: u32) -> Option<&str> {
        let name = self.push.iter().find(|(of, _)| *of == at).map(|(_, name)| name.as_str());
        name.filter(|name| !name.is_empty())
    }

    /// An argument that is a pointer.
    pub(super) fn argument(&self, at: u32) -> String {
        self.known(at).map_or_else(|| format!("(argument at byte {at})"), str::to_owned)
    }

    fn given(&self, of: &Given) -> String {
        match of {
            Given::Push(at, _) => {
                let name = self.known(*at).map(str::to_owned);
                name.unwrap_or_else(|| format!("(push constant at byte {at})"))
            }
            Given::Groups(axis) => format!("groups.{}", axis_name(*axis)),
            Given::Quotient(of, by) => {
                format!("({} / {})", self.part(of), self.part(by))
            }
        }
    }

    /// A sum that is a part of something: in parentheses if it has several parts.
    fn part(&self, of: &Sum) -> String {
        let text = self.sum(of);
        if of.terms().count() > 1 || text.contains('*') { format!("({text})") } else { text }
    }

    /// A product, times a number.
    fn product(&self, factors: &[Given], times: i128) -> String {
        let (mut times, mut parts) = (times, Vec::new());
        let mut factors = factors.to_vec();
        for (axis, size) in (0u8..).zip(self.local_size) {
            let at = factors.iter().position(|of| *of == Given::Groups(axis));
            // Whole workgroups are so many invocations.
            if let (Some(at), true) = (at, size > 0 && times % i128::from(size.max(1)) == 0) {
                factors.remove(at);
                times /= i128::from(size);
                parts.push(format!("invocations.{}", axis_name(axis)));
            }
        }
        let rest: Vec<String> = factors.iter().map(|of| self.given(of)).collect();
        let number =
            (times != 1 || (rest.is_empty() && parts.is_empty())).then(|| times.to_string());
        let mut all: Vec<String> = number.into_iter().chain(rest).chain(parts).collect();
        // Alone, a quotient needs no parentheses.
        if let ([only], [Given::Quotient(of, by)]) = (&mut all[..], &factors[..]) {
            *only = format!("{} / {}", self.part(of), self.part(by));
        }
        all.join(" * ")
    }

    pub(super) fn sum(&self, of: &Sum) -> String {
        let mut terms: Vec<(&[Given], i128)> = of.terms().collect();
        // What is added comes before what is taken away, and a number at the end.
        terms.sort_by_key(|(of, times)| (of.is_empty(), *times < 0, Reverse(of.len())));
        let mut text = String::new();
        for (factors, times) in terms {
            let sign = match (text.is_empty(), times < 0) {
                (true, false) => "",
                (true, true) => "-",
                (false, false) => " + ",
                (false, true) => " - ",
            };
            text += sign;
            text += &self.product(factors, times.abs());
        }
        if text.is_empty() { "0".to_owned() } else { text }
    }

    pub(super) fn bound(&self, of: &Bound) -> String {
        let parts = |all: &[Bound]| {
            let mut all: Vec<&Bound> = all.iter().collect();
            all.sort_by_key(|of| of.as_constant().is_some());
            let parts: Vec<String> = all.iter().map(|of| self.bound(of)).collect();
            parts.join(", ")
        };
        match of {
            Bound::Sum(sum) => self.sum(sum),
            Bound::Min(all) => format!("min({})", parts(all)),
            Bound::Max(all) => format!("max({})", parts(all)),
        }
    }

    /// The numbers from one bound up to another, without it.
    pub(super) fn range(&self, start: &Bound, end: &Bound) -> String {
        if start.moved(1).as_ref() == Some(end) {
            return self.bound(start);
        }
        format!("{}..{}", self.bound(start), self.bound(end))
    }
}

fn axis_name(axis: u8) -> char {
    match axis {
        0 => 'x',
        1 => 'y',
        _ => 'z',
    }
}
