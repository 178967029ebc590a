//! The memory of the process and its areas, as they are while a launch runs.

use crate::{
    LendError,
    lend::process::{ProcessMemory, Unreachable},
    paging::{areas::Areas, report::Denial, table::Width},
};
use farptr_hmm::{Maps, VirtAddr, Vma};

/// The memory of a process and its areas, which other threads may change at any time.
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

/// The memory of this process, and its areas.
pub(crate) struct LentProcess {
    memory: ProcessMemory,
    areas: Areas,
}

impl LentProcess {
    /// Opens the areas, then the memory.
    ///
    /// # Errors
    ///
    /// [`LendError::NoMaps`] if areas cannot be looked up, and those of `open`.
    pub(crate) fn new(
        open: impl FnOnce() -> Result<ProcessMemory, LendError>,
    ) -> Result<Self, LendError> {
        let areas = Areas::open().map_err(|source| LendError::NoMaps { source })?;
        Ok(Self { memory: open()?, areas })
    }
}

impl Host for LentProcess {
    fn refresh_areas(&mut self) {
        self.areas.refresh();
    }

    fn area(&mut self, address: u64) -> Result<Option<Vma>, Denial> {
        self.areas.at(address).map_err(|_| Denial::NoMaps)
    }

    fn read(&mut self, from: u64, bytes: &mut [u8]) -> bool {
        self.memory.read(from, bytes)
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> bool {
        self.memory.write(to, bytes)
    }

    fn diagnose(&mut self, address: u64) -> Denial {
        let unreachable = self.memory.diagnose(address);
        if unreachable == Unreachable::Anywhere {
            return Denial::Refused;
        }
        match self.areas.denial(address) {
            // It is there, and cannot be written.
            Denial::Unmapped if unreachable == Unreachable::ForWriting => Denial::Unreachable,
            known => known,
        }
    }
}

/// The number of bits in addresses of this process, by its mappings.
pub(crate) fn address_width() -> Width {
    let end = VirtAddr::new(1 << 47);
    let maps = Maps::open();
    // The vsyscall page lies in the upper half, beyond both.
    let above = maps.ok().and_then(|maps| maps.find_vma(end).ok()?);
    match above {
        Some(area) if area.range.start().get() < 1 << 56 => Width::Bits57,
        _ => Width::Bits47,
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
