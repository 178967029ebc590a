//! The decision tables of the kernel's `hmm_range_fault`, as far as user space can follow them.
//!
//! Documented differences from the kernel: a page of the device's own in an area that cannot be
//! written is refused to a writer rather than reported as readable; and a page at home is reported
//! as writable by its area, though a first store may have to copy it.

use crate::model::Area;

/// The state of a page, from the view of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// There is no page, or none is mapped.
    Nothing,
    /// The page of zeroes.
    Zeroes,
    /// A page at home.
    Present,
    /// A page that the device holds.
    Mine,
    /// A page that another device holds, or any device exclusively.
    Away,
}

/// The access that a device wants to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Nothing,
    Read,
    Write,
}

/// The answer to a device about a page that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The page cannot be accessed.
    Error,
    /// Nothing is there.
    Nothing,
    Home {
        write: bool,
    },
    Mine {
        write: bool,
    },
}

/// Why a walk fails at a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `EFAULT`
    Fault,
    /// `EPERM`
    Permission,
}

/// The result for a page: the answer to the device once it has what it wants.
pub(crate) fn judge(area: Option<Area>, entry: Entry, want: Want) -> Result<Told, Refusal> {
    let Some(area) = area.filter(Area::can_read) else {
        return if want == Want::Nothing { Ok(Told::Error) } else { Err(Refusal::Fault) };
    };
    let write = area.can_write();
    if want == Want::Write && !write {
        return Err(Refusal::Permission);
    }
    Ok(match entry {
        Entry::Mine => Told::Mine { write },
        Entry::Zeroes | Entry::Present => Told::Home { write },
        Entry::Nothing | Entry::Away if want == Want::Nothing => Told::Nothing,
        Entry::Nothing | Entry::Away => Told::Home { write },
    })
}

/// Tells whether a page has to change before the device can have what it wants.
pub(crate) fn changes(entry: Entry, want: Want) -> bool {
    match want {
        Want::Nothing => false,
        Want::Read => matches!(entry, Entry::Nothing | Entry::Away),
        Want::Write => matches!(entry, Entry::Nothing | Entry::Away | Entry::Zeroes),
    }
}
