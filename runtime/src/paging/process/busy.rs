//! Pages that other threads change while a launch runs.

/// After this many changes of a page, the launch is run again. After that another thread is taken
/// to write to it all the time, and the bytes that changed before may go on to change.
pub(super) const PATIENCE: u32 = 2;

/// The changes of a page by other threads while a launch runs.
#[derive(Default)]
pub(super) struct Busy {
    /// How often its bytes were found changed.
    changes: u32,
    /// The bytes that changed: one flag for each of the page, or none yet.
    bytes: Vec<bool>,
    /// How often it was as before and could not be written.
    unwritable: u32,
}

impl Busy {
    /// Notes which bytes have changed.
    pub(super) fn note(&mut self, before: &[u8], now: &[u8]) {
        self.changes += 1;
        self.bytes.resize(before.len(), false);
        for (changed, (before, now)) in self.bytes.iter_mut().zip(before.iter().zip(now)) {
            *changed |= before != now;
        }
    }

    /// Whether only such bytes have changed as did before, often enough.
    pub(super) fn expects(&self, before: &[u8], now: &[u8]) -> bool {
        let known = |(&changed, (before, now)): (&bool, (&u8, &u8))| changed || before == now;
        self.changes >= PATIENCE && self.bytes.iter().zip(before.iter().zip(now)).all(known)
    }

    /// Notes that the page is as before and could not be written, and returns whether that has
    /// happened so often that running the launch again is of no use.
    pub(super) fn note_unwritable(&mut self) -> bool {
        self.unwritable += 1;
        self.unwritable > PATIENCE
    }
}
