//! Page fault counters: `getrusage`.
//!
//! # Safety
//!
//! One C function is called, `getrusage`. It writes one structure, which the caller owns.

use std::io;
use std::mem::MaybeUninit;

use crate::error::FaultCountsError;

/// How many page faults the CPU took on behalf of this process, since it began or in between two
/// readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FaultCounts {
    /// Faults that were served without reading from a disk.
    pub minor: u64,
    /// Faults that had to wait for a disk.
    pub major: u64,
}

impl FaultCounts {
    /// Returns the faults taken since an earlier reading.
    ///
    /// Readings passed in the wrong order give zero.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            minor: self.minor.saturating_sub(earlier.minor),
            major: self.major.saturating_sub(earlier.major),
        }
    }

    /// Returns the faults of both kinds.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.minor.saturating_add(self.major)
    }
}

/// Reads the page fault counters of the whole process, all threads included.
///
/// Faults that other threads take between two readings count too, so a difference is an upper
/// bound on what the code in between did.
///
/// # Examples
///
/// ```
/// use farptr_hmm::fault_counts;
///
/// let before = fault_counts()?;
/// let mut buffer = memmap2::MmapMut::map_anon(1 << 20)?;
/// buffer.fill(1);
/// assert!(fault_counts()?.since(before).total() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// - [`FaultCountsError`] if a sandbox forbids the call; Linux itself never refuses it.
pub fn fault_counts() -> Result<FaultCounts, FaultCountsError> {
    let usage = usage_of_process()?;
    Ok(FaultCounts {
        minor: usage.ru_minflt.try_into().unwrap_or(0),
        major: usage.ru_majflt.try_into().unwrap_or(0),
    })
}

fn usage_of_process() -> io::Result<libc::rusage> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: The pointer is to a local variable of the structure's own type, so the write is in
    // bounds and unshared.
    let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: Every byte was initialised by `zeroed`, and all fields are integers, for which every
    // bit pattern is a value.
    Ok(unsafe { usage.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_never_wraps() {
        let earlier = FaultCounts { minor: 3, major: 1 };
        let later = FaultCounts { minor: 10, major: 1 };
        assert_eq!(later.since(earlier), FaultCounts { minor: 7, major: 0 });
        assert_eq!(earlier.since(later), FaultCounts::default());
        assert_eq!(later.total(), 11);
    }
}
