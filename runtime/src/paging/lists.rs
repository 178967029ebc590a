//! The lists of segments that kernels bisect in rounds.

use super::PAGE_BYTES;
use crate::{
    VulkanError,
    kernel::code::Code,
    launch::{control_block::Row, tables::Key},
    residency::frames::Frames,
};
use farptr_rewrite::Search;
use std::sync::Arc;

/// Lists at most: of as many kernels that are launched in turn.
const LISTS: usize = 8;

/// Lists of all segments, in device memory, which later launches use again: no launch runs beside
/// another.
#[derive(Default)]
pub(super) struct Lists {
    /// Oldest first.
    lists: Vec<List>,
}

struct List {
    address: u64,
    bytes: u64,
    /// The origin of the records, if later launches may use them: the version of the lends, the
    /// kernel, and its search.
    origin: Option<(u64, Arc<Code>, Search)>,
}

impl List {
    fn is_of(&self, key: Key<'_>) -> bool {
        self.origin.as_ref().is_some_and(|(version, code, search)| {
            (*version, *search) == (key.version, key.search) && Arc::ptr_eq(code, key.code)
        })
    }

    fn has_version(&self, version: u64) -> bool {
        self.origin.as_ref().is_some_and(|&(of, ..)| of == version)
    }
}

impl Lists {
    /// The address of the list that was stored for a key.
    pub(super) fn find(&self, key: Key<'_>) -> Option<u64> {
        self.lists.iter().find(|list| list.is_of(key)).map(|list| list.address)
    }

    /// Stores records in memory in which a kernel can bisect them, and returns their address. They
    /// are kept for the key if they are those of all segments. Records that no launch will use
    /// again are overwritten, or the oldest.
    pub(super) fn store(
        &mut self,
        frames: &mut Frames,
        key: Key<'_>,
        are_all: bool,
        records: &[Row],
    ) -> Result<u64, VulkanError> {
        let records: &[u8] = bytemuck::cast_slice(records);
        let needed = records.len() as u64;
        let old = self.lists.iter().position(|list| !list.has_version(key.version));
        let old = old.or_else(|| (self.lists.len() == LISTS).then_some(0));
        let room = old.map(|at| self.lists.remove(at)).filter(|list| list.bytes >= needed);
        let (address, bytes) = match room {
            Some(list) => (list.address, list.bytes),
            // Powers of two, so that all outgrown lists together are no longer than the others.
            None => {
                let bytes = needed.next_power_of_two().max(PAGE_BYTES);
                (frames.allocate(bytes)?, bytes)
            }
        };
        frames.write(address, records)?;
        let origin = are_all.then(|| (key.version, Arc::clone(key.code), key.search));
        self.lists.push(List { address, bytes, origin });
        Ok(address)
    }

    /// Has later launches store their records anew, since tables have moved, or records that were
    /// stored may not have come to the device.
    pub(super) fn doubt(&mut self) {
        self.lists.iter_mut().for_each(|list| list.origin = None);
    }
}
