//! The memory of the process, through system calls that fail instead of crashing.

use crate::paging::report::Denial;
use farptr_hmm::Vma;

/// The memory of the process, through system calls that fail instead of crashing.
pub(crate) trait Host: Send {
    /// Forgets the areas that were looked up: later look-ups find them as they are then.
    fn refresh_areas(&mut self);

    /// The area that has an address, if any has.
    ///
    /// # Errors
    ///
    /// [`Denial::NoMaps`] if the kernel does not say.
    fn area(&mut self, address: u64) -> Result<Option<Vma>, Denial>;

    /// Reads memory and returns whether all of it could be read.
    fn read(&mut self, from: u64, bytes: &mut [u8]) -> bool;

    /// Writes memory and returns whether all of it could be written.
    fn write(&mut self, to: u64, bytes: &[u8]) -> bool;

    /// Why memory of an area that may be accessed cannot be read, or not be written. Slow.
    fn diagnose(&mut self, address: u64) -> Denial;
}
