//! The things that may happen to a region, one at a time.

use std::ops::Range;

use proptest::prelude::*;

use crate::model::Access;

/// How many devices there are.
pub(crate) const DEVICES: usize = 2;

/// One thing that happens. Ranges are of pages.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Store {
        pages: Range<usize>,
        tag: u32,
        syscall: bool,
    },
    Load {
        pages: Range<usize>,
        syscall: bool,
    },
    Protect {
        pages: Range<usize>,
        access: Access,
    },
    /// The devices are told of an `mprotect` that may have been.
    Announce {
        pages: Range<usize>,
    },
    Unmap {
        pages: Range<usize>,
    },
    Map {
        pages: Range<usize>,
        access: Access,
        shared: bool,
    },
    /// The ranges do not overlap.
    Remap {
        from: Range<usize>,
        to: usize,
        keep: bool,
    },
    Drop {
        pages: Range<usize>,
    },
    Populate {
        pages: Range<usize>,
        write: bool,
    },
    ToDevice {
        device: usize,
        pages: Range<usize>,
        leased: bool,
    },
    Exclusive {
        device: usize,
        pages: Range<usize>,
    },
    CheckExclusive {
        device: usize,
        pages: Range<usize>,
    },
    ToHome {
        pages: Range<usize>,
    },
    Read {
        device: usize,
        pages: Range<usize>,
    },
    Write {
        device: usize,
        pages: Range<usize>,
        tag: u32,
    },
    Evict {
        device: usize,
    },
    /// The child checks every page, and writes what it may.
    Fork,
}

fn part(all: usize, most: usize) -> impl Strategy<Value = Range<usize>> {
    (0..all, 1..=most).prop_map(move |(start, len)| start..(start + len).min(all))
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![1 => Just(Access::None), 2 => Just(Access::Read), 5 => Just(Access::Write)]
}

/// Two places of the same size that do not overlap.
fn places(all: usize) -> impl Strategy<Value = (Range<usize>, usize)> {
    (part(all, all / 4), 0..all).prop_map(move |(from, to)| {
        let free = [0..from.start, from.end..all].into_iter().max_by_key(Range::len);
        let free = free.expect("one of two");
        let to = free.start + to % (free.len() - from.len() + 1);
        (from, to)
    })
}

/// Steps on a region of `all` pages. Each stores a number of its own, if any.
pub(crate) fn steps(all: usize, count: Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(all), count).prop_map(|mut steps| {
        for (number, step) in (1..).zip(&mut steps) {
            if let Step::Store { tag, .. } | Step::Write { tag, .. } = step {
                *tag = number;
            }
        }
        steps
    })
}

fn step(all: usize) -> impl Strategy<Value = Step> {
    prop_oneof![3 => by_cpu(all), 3 => by_mapping(all), 5 => by_device(all)]
}

fn by_cpu(all: usize) -> impl Strategy<Value = Step> {
    let any = any::<bool>;
    prop_oneof![
        6 => (part(all, all / 2), any())
            .prop_map(|(pages, syscall)| Step::Store { pages, tag: 0, syscall }),
        3 => (part(all, all / 4), any()).prop_map(|(pages, syscall)| Step::Load { pages, syscall }),
        2 => (part(all, all / 4), any()).prop_map(|(pages, write)| Step::Populate { pages, write }),
        1 => Just(Step::Fork),
    ]
}

fn by_mapping(all: usize) -> impl Strategy<Value = Step> {
    let fresh = (part(all, all / 4), access(), prop::bool::weighted(0.25));
    prop_oneof![
        3 => (part(all, all / 4), access())
            .prop_map(|(pages, access)| Step::Protect { pages, access }),
        1 => part(all, all).prop_map(|pages| Step::Announce { pages }),
        1 => part(all, all / 6).prop_map(|pages| Step::Unmap { pages }),
        4 => fresh.prop_map(|(pages, access, shared)| Step::Map { pages, access, shared }),
        2 => (places(all), any::<bool>())
            .prop_map(|((from, to), keep)| Step::Remap { from, to, keep }),
        2 => part(all, all / 4).prop_map(|pages| Step::Drop { pages }),
    ]
}

fn by_device(all: usize) -> impl Strategy<Value = Step> {
    let on = |most| (0..DEVICES, part(all, most));
    prop_oneof![
        6 => (on(all), any::<bool>())
            .prop_map(|((device, pages), leased)| Step::ToDevice { device, pages, leased }),
        2 => on(all / 2).prop_map(|(device, pages)| Step::Exclusive { device, pages }),
        1 => on(all).prop_map(|(device, pages)| Step::CheckExclusive { device, pages }),
        2 => part(all, all).prop_map(|pages| Step::ToHome { pages }),
        6 => on(all / 2).prop_map(|(device, pages)| Step::Read { device, pages }),
        4 => on(all / 2).prop_map(|(device, pages)| Step::Write { device, pages, tag: 0 }),
        1 => (0..DEVICES).prop_map(|device| Step::Evict { device }),
    ]
}
