//! The failures of a device's memory.

#![forbid(unsafe_code)]

use std::error::Error;

use thiserror::Error;

use crate::addr::PageNumber;
use crate::error::debug_in_words;

/// A failure of a device's memory.
#[derive(Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no room, or not as much in one piece.
    #[error("the device has no memory left for this")]
    NoMemory,

    /// A frame that was never given out was named.
    #[error("the device has no frame {frame:?}")]
    OutOfRange {
        /// The frame.
        frame: PageNumber,
    },

    /// The device failed in a way of its own.
    #[error("the device failed")]
    Other {
        /// The failure.
        source: Box<dyn Error + Send + Sync>,
    },
}

debug_in_words!(DeviceError);
