//! The decision table: from the state of a page and the request for it to the answer.

use crate::device::Hold;
use crate::host::{PageAccess, PageEntry};
use crate::walk::pfn::{PfnFlags, Request};

/// The state of a page, the mirror's table and the host page table taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// At home.
    Host(PageEntry),
    /// Held by a device.
    Device {
        hold: Hold,
        /// Whether the walk is made for that device.
        own: bool,
    },
}

/// How a page that is not available is made available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    FaultIn,
    BringHome,
}

/// The verdict on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is reported with these flags.
    Report(PfnFlags),
    /// It is made available first, and looked at again.
    Need(Remedy, PageAccess),
    /// A write is wanted in an area that forbids it.
    Denied,
}

/// Judges a page of a readable area; `may_write` says whether the area is writable too.
pub(super) fn judge(entry: Entry, request: Request, may_write: bool) -> Verdict {
    let flags = available(entry, may_write);
    match missing(request, flags) {
        None => Verdict::Report(flags),
        Some(PageAccess::Write) if !may_write => Verdict::Denied,
        Some(access) => Verdict::Need(remedy(entry), access),
    }
}

/// The uses that the page as it is allows.
fn available(entry: Entry, may_write: bool) -> PfnFlags {
    let write = if may_write { PfnFlags::WRITE } else { PfnFlags::NONE };
    match entry {
        Entry::Host(PageEntry::Present { writable: true }) => PfnFlags::VALID | write,
        Entry::Host(PageEntry::Present { writable: false }) => PfnFlags::VALID,
        Entry::Device { hold: Hold::Private, own: true } => {
            PfnFlags::VALID | PfnFlags::DEVICE | write
        }
        Entry::Host(PageEntry::Empty | PageEntry::Swapped) | Entry::Device { .. } => PfnFlags::NONE,
    }
}

/// The access that is wanted and not available.
fn missing(request: Request, flags: PfnFlags) -> Option<PageAccess> {
    if !request.is_fault() {
        return None;
    }
    if request.is_write_fault() && !flags.contains(PfnFlags::WRITE) {
        return Some(PageAccess::Write);
    }
    (!flags.contains(PfnFlags::VALID)).then_some(PageAccess::Read)
}

fn remedy(entry: Entry) -> Remedy {
    match entry {
        Entry::Host(_) => Remedy::FaultIn,
        Entry::Device { .. } => Remedy::BringHome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: Entry = Entry::Host(PageEntry::Empty);
    const SWAPPED: Entry = Entry::Host(PageEntry::Swapped);
    const READ_ONLY: Entry = Entry::Host(PageEntry::Present { writable: false });
    const WRITABLE: Entry = Entry::Host(PageEntry::Present { writable: true });
    const OWN: Entry = Entry::Device { hold: Hold::Private, own: true };
    const OTHERS: Entry = Entry::Device { hold: Hold::Private, own: false };
    const EXCLUSIVE: Entry = Entry::Device { hold: Hold::Exclusive, own: true };
    const OTHERS_EXCLUSIVE: Entry = Entry::Device { hold: Hold::Exclusive, own: false };

    /// The four columns of the table: nothing wanted, read, write where the area forbids it, and
    /// write where it does not.
    fn row(entry: Entry) -> [Verdict; 4] {
        [
            judge(entry, Request::NONE, true),
            judge(entry, Request::FAULT, true),
            judge(entry, Request::ALL, false),
            judge(entry, Request::ALL, true),
        ]
    }

    fn needs(remedy: Remedy) -> [Verdict; 4] {
        [
            Verdict::Report(PfnFlags::NONE),
            Verdict::Need(remedy, PageAccess::Read),
            Verdict::Denied,
            Verdict::Need(remedy, PageAccess::Write),
        ]
    }

    #[test]
    fn what_is_not_there_is_faulted_in() {
        assert_eq!(row(EMPTY), needs(Remedy::FaultIn));
        assert_eq!(row(SWAPPED), needs(Remedy::FaultIn));
    }

    #[test]
    fn what_others_hold_is_brought_home() {
        for entry in [OTHERS, EXCLUSIVE, OTHERS_EXCLUSIVE] {
            assert_eq!(row(entry), needs(Remedy::BringHome), "{entry:?}");
        }
    }

    #[test]
    fn a_read_only_page_is_enough_for_reading() {
        let valid = Verdict::Report(PfnFlags::VALID);
        let write = Verdict::Need(Remedy::FaultIn, PageAccess::Write);
        assert_eq!(row(READ_ONLY), [valid, valid, Verdict::Denied, write]);
    }

    #[test]
    fn a_writable_page_is_enough() {
        let both = Verdict::Report(PfnFlags::VALID | PfnFlags::WRITE);
        assert_eq!(row(WRITABLE), [both, both, Verdict::Denied, both]);
        let read = judge(WRITABLE, Request::FAULT, false);
        assert_eq!(read, Verdict::Report(PfnFlags::VALID), "the area forbids writing");
    }

    #[test]
    fn an_own_page_stays_where_it_is() {
        let flags = PfnFlags::VALID | PfnFlags::DEVICE;
        let both = Verdict::Report(flags | PfnFlags::WRITE);
        assert_eq!(row(OWN), [both, both, Verdict::Denied, both]);
        assert_eq!(judge(OWN, Request::FAULT, false), Verdict::Report(flags));
    }

    #[test]
    fn wanting_to_write_alone_is_no_request() {
        for entry in [EMPTY, SWAPPED, READ_ONLY, WRITABLE, OWN, OTHERS, EXCLUSIVE] {
            for may_write in [false, true] {
                let nothing = judge(entry, Request::NONE, may_write);
                assert_eq!(judge(entry, Request::WRITE, may_write), nothing, "{entry:?}");
            }
        }
    }
}
