//! The entry of the table for one page, one word long.

use bytemuck::{Pod, Zeroable};

use crate::addr::PageNumber;
use crate::device::Hold;

/// The place of a device in the mirror, which another may have later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DeviceIndex(pub(crate) u8);

/// The threads that have pages in transit. Each has one [`Transit`](super::Transit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mover {
    /// The one thread that migrates.
    Migrator,
    /// The thread that serves faults.
    Handler,
}

/// How a device holds a page, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) device: DeviceIndex,
    pub(crate) frame: PageNumber,
    pub(crate) hold: Hold,
    /// Whether the frame was given out as a part of a huge page.
    pub(crate) huge: bool,
}

impl Held {
    /// The same, `pages` further on.
    pub(crate) fn advance(self, pages: u64) -> Self {
        Self { frame: PageNumber::new(self.frame.get() + pages), ..self }
    }
}

/// The place of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At home: where the host page table says, if anywhere.
    Home,
    /// In transit, under this number in the mover's list.
    Transit(Mover, usize),
    /// On a device.
    Device(Held),
}

/// A [`Place`] in one word; zero is home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Entry(u64);

const KIND: u64 = 0b11;
const TRANSIT: u64 = 1;
const DEVICE: u64 = 2;
/// In transit: the handler has it. On a device: exclusively.
const FLAG: u64 = 1 << 2;
const HUGE: u64 = 1 << 3;
const INDEX_SHIFT: u32 = 16;
const DEVICE_SHIFT: u32 = 8;

impl Entry {
    pub(super) const HOME: Self = Self(0);

    pub(super) fn new(place: Place) -> Self {
        Self(match place {
            Place::Home => 0,
            Place::Transit(mover, index) => {
                TRANSIT | flag(mover == Mover::Handler, FLAG) | (index as u64) << INDEX_SHIFT
            }
            Place::Device(Held { device, frame, hold, huge }) => {
                let flags = flag(hold == Hold::Exclusive, FLAG) | flag(huge, HUGE);
                DEVICE | flags | u64::from(device.0) << DEVICE_SHIFT | frame.get() << INDEX_SHIFT
            }
        })
    }

    pub(super) fn place(self) -> Place {
        let (high, is) = (self.0 >> INDEX_SHIFT, |bit| self.0 & bit != 0);
        match self.0 & KIND {
            TRANSIT => {
                let mover = if is(FLAG) { Mover::Handler } else { Mover::Migrator };
                Place::Transit(mover, usize::try_from(high).unwrap_or(usize::MAX))
            }
            DEVICE => Place::Device(Held {
                device: DeviceIndex(self.0.to_le_bytes()[1]),
                frame: PageNumber::new(high),
                hold: if is(FLAG) { Hold::Exclusive } else { Hold::Private },
                huge: is(HUGE),
            }),
            _ => Place::Home,
        }
    }
}

fn flag(set: bool, bit: u64) -> u64 {
    if set { bit } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_it_was_made_of() {
        let held = Held {
            device: DeviceIndex(200),
            frame: PageNumber::new(1 << 40),
            hold: Hold::Exclusive,
            huge: true,
        };
        let places = [
            Place::Home,
            Place::Transit(Mover::Handler, 511),
            Place::Transit(Mover::Migrator, 0),
            Place::Device(held),
            Place::Device(Held { hold: Hold::Private, huge: false, ..held }),
        ];
        for place in places {
            assert_eq!(Entry::new(place).place(), place);
        }
        assert_eq!(Entry::new(Place::Home), Entry::HOME);
    }
}
