//! The memory of the migrating thread, made once.

use super::pages::PageLists;
use crate::mirror::home::BringsHome;
use crate::mirror::shared::Shared;
use crate::mirror::table::Mover;
use crate::sync::backoff::Backoff;
use crate::sys::owned::Owned;
use crate::sys::transfer::Staging;

/// The memory that a thread needs while it migrates pages.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) staging: Staging,
    pub(crate) buffer: Owned<u8>,
    pub(crate) lists: PageLists,
}

impl BringsHome for Scratch {
    fn mover(&self) -> Mover {
        Mover::Migrator
    }

    /// The handler reads the message about the change by itself; this thread need not wake it.
    fn pause(&mut self, _: &Shared) {
        Backoff::default().pause();
    }

    fn buffer(&mut self) -> &mut Owned<u8> {
        &mut self.buffer
    }
}
