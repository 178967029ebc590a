//! The identity of a page. A mapping that replaced another one differs in it or in its bytes, or is
//! harmless.

use crate::paging::PAGE_BYTES;
use farptr_hmm::{Device, Vma, VmaFlags};

/// The properties of a page's area in which another mapping would differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) flags: VmaFlags,
    /// The file and the page's offset in it. Areas without file split and merge freely.
    file: Option<(Device, u64, u64)>,
}

impl Identity {
    pub(super) fn of(area: &Vma, page: u64) -> Self {
        let ahead = (page * PAGE_BYTES).wrapping_sub(area.range.start().get());
        let offset = area.offset_bytes.wrapping_add(ahead);
        let file = area.is_file_backed().then_some((area.device, area.inode, offset));
        Self { flags: area.flags, file }
    }
}
