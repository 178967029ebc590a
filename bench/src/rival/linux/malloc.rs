//! The C library's allocator, which drivers use too.
//!
//! # Safety
//!
//! One call, which changes a number of the allocator's and is allowed at any time.

use std::fmt;

/// How the allocator treats small pieces that are freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SmallPieces {
    /// They are merged with their neighbours at once, by glibc's `M_MXFAST` of 0.
    Merged,
    /// As the C library does by itself.
    AsUsual,
}

impl SmallPieces {
    /// Has freed pieces merged at once, where the C library is glibc.
    pub(crate) fn merge() -> Self {
        if set_fast_bytes_max(0) { Self::Merged } else { Self::AsUsual }
    }
}

impl fmt::Display for SmallPieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Merged => "without fastbins",
            Self::AsUsual => "as usual",
        })
    }
}

/// Freed pieces up to this size stay apart for later; says whether that could be set.
#[cfg(target_env = "gnu")]
fn set_fast_bytes_max(bytes: libc::c_int) -> bool {
    // SAFETY: the call takes two numbers, and the allocator's own lock.
    unsafe { libc::mallopt(libc::M_MXFAST, bytes) == 1 }
}

#[cfg(not(target_env = "gnu"))]
fn set_fast_bytes_max(_bytes: i32) -> bool {
    false
}
