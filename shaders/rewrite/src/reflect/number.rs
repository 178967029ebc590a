//! The numbers that values are made of.

/// A number of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Number {
    /// An integer. A boolean in memory is one, too.
    Int {
        /// Its width.
        bits: u32,
        /// Whether it has a sign.
        signed: bool,
    },
    /// A floating-point number.
    Float {
        /// Its width.
        bits: u32,
    },
}

impl Number {
    /// Its size in bytes.
    #[must_use]
    pub fn size_bytes(self) -> u32 {
        let (Self::Int { bits, .. } | Self::Float { bits }) = self;
        bits / 8
    }
}
