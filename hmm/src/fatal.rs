//! The end of the process, where going on would lose bytes.

#![forbid(unsafe_code)]

use std::fmt;

/// Ends the process: others would wait for ever, or find zeroes where their bytes were.
pub(crate) fn die(reason: &dyn fmt::Display) -> ! {
    eprintln!("farptr: the memory of this process cannot be kept true any more: {reason}");
    std::process::abort();
}

/// The value, without which bytes would be lost; the process ends if it is missing, which is never.
pub(crate) fn or_die<T>(value: Option<T>, what_is_wrong: &str) -> T {
    match value {
        Some(value) => value,
        None => die(&what_is_wrong),
    }
}
