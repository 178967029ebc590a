//! The identity of a device.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// The identity of a device, or of a group of devices that reach each other's memory.
///
/// Device-private pages belong to an owner. A walk reports the pages of its own owner as they are
/// and leaves those of others alone. An invalidation that one owner causes does not reach that
/// owner's own notifiers.
///
/// # Examples
///
/// ```
/// use farptr_hmm::Owner;
///
/// let (first, second) = (Owner::new(), Owner::new());
/// assert_ne!(first, second);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(u64);

impl Owner {
    /// Makes an identity that no other call in this process returns.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "no two are alike, so there is no default one")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: the number is unique whatever the order.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
