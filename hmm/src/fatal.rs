//! The end of the process, where going on would lose bytes.

#![forbid(unsafe_code)]

use std::fmt;

/// Ends the process: other threads would wait for ever, or find zeroes where their bytes were.
pub(crate) fn die(reason: &dyn fmt::Display) -> ! {
    eprintln!("farptr: the memory of this process cannot be kept true any more: {reason}");
    std::process::abort();
}

/// Unwraps a value that is always there. If it were missing, bytes would be lost, so the process
/// ends.
pub(crate) fn or_die<T>(value: Option<T>, what_is_wrong: &str) -> T {
    match value {
        Some(value) => value,
        None => die(&what_is_wrong),
    }
}
