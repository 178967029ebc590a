//! The bytes of the push constants that are more than the base of accesses.

/// The bytes of the push constants that are used as anything but the base of accesses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OtherUses {
    /// First bytes and ends. `None` if it may be any.
    pub(crate) ranges: Option<Vec<(u32, u32)>>,
}

impl OtherUses {
    /// Whether none of eight bytes is used otherwise.
    pub(crate) fn leave(&self, offset_bytes: u32) -> bool {
        let end = offset_bytes.saturating_add(8);
        self.ranges.as_ref().is_some_and(|ranges| {
            ranges.iter().all(|&(first, last)| last <= offset_bytes || end <= first)
        })
    }
}
