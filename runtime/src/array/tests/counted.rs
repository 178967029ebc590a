//! Values whose beginnings and ends are written down.

use std::{cell::Cell, cell::RefCell, rc::Rc};

/// How often each value was dropped, and when to panic.
#[derive(Default)]
struct Entries {
    drops: Vec<u32>,
    clones_left: Option<usize>,
    panics_at: Option<usize>,
}

/// Knows each value that it gave out, and each clone.
#[derive(Default)]
pub(super) struct Ledger(Rc<RefCell<Entries>>);

impl Ledger {
    pub(super) fn value(&self) -> Counted {
        let mut entries = self.0.borrow_mut();
        entries.drops.push(0);
        Counted { number: entries.drops.len() - 1, entries: Rc::clone(&self.0) }
    }

    pub(super) fn alive(&self) -> usize {
        self.0.borrow().drops.iter().filter(|&&drops| drops == 0).count()
    }

    pub(super) fn dropped_twice(&self) -> usize {
        self.0.borrow().drops.iter().filter(|&&drops| drops > 1).count()
    }

    /// So many clones are made before one panics.
    pub(super) fn clones_that_panic_after(&self, clones: Option<usize>) {
        self.0.borrow_mut().clones_left = clones;
    }

    /// The end of the value with this number panics.
    pub(super) fn panics_at_the_end_of(&self, number: usize) {
        self.0.borrow_mut().panics_at = Some(number);
    }
}

/// A value that its ledger knows.
pub(super) struct Counted {
    number: usize,
    entries: Rc<RefCell<Entries>>,
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        let mut entries = self.entries.borrow_mut();
        if let Some(left) = &mut entries.clones_left {
            *left = left.checked_sub(1).expect("a clone that panics on purpose");
        }
        drop(entries);
        Ledger(Rc::clone(&self.entries)).value()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut entries = self.entries.borrow_mut();
        entries.drops[self.number] += 1;
        let panics = entries.panics_at == Some(self.number);
        drop(entries);
        assert!(!panics, "on purpose");
    }
}

thread_local! {
    static SIZELESS: Cell<usize> = const { Cell::new(0) };
}

/// A value without a size, of which the thread counts those that live.
pub(super) struct Sizeless(());

impl Sizeless {
    pub(super) fn new() -> Self {
        SIZELESS.set(SIZELESS.get() + 1);
        Self(())
    }

    pub(super) fn alive() -> usize {
        SIZELESS.get()
    }
}

impl Drop for Sizeless {
    fn drop(&mut self) {
        SIZELESS.set(SIZELESS.get() - 1);
    }
}
