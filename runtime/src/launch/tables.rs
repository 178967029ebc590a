//! Tables of segments that kernels bisect, each kept as long as launches use it, or may use it
//! again.

use super::control_block::Row;
use crate::{
    VulkanError,
    kernel::code::Code,
    vk::{Device, buffer::SharedBuffer},
};
use farptr_rewrite::Search;
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// Tables at most; before one more, the launches in flight are waited for and all tables are given
/// back, so that a host that launches without waiting does not collect tables without end.
pub(crate) const TABLES: usize = 64;

/// The tables of the launches in flight, and those of the lends as they are.
#[derive(Default)]
pub(crate) struct Tables {
    /// Oldest first, so versions do not fall.
    tables: Vec<Table>,
}

struct Table {
    version: u64,
    code: Arc<Code>,
    search: Search,
    buffer: SharedBuffer,
}

/// The origin of a table: launches with equal keys use the same table.
#[derive(Clone, Copy)]
pub(crate) struct Key<'k> {
    /// The version of the lends.
    pub(crate) version: u64,
    /// The kernel; the records have a number for each of its kinds of access.
    pub(crate) code: &'k Arc<Code>,
    pub(crate) search: Search,
}

impl Tables {
    /// The address of the table that was made for this key.
    pub(crate) fn find(&self, key: Key<'_>) -> Option<u64> {
        let newest = self.tables.iter().rev().take_while(|table| table.version == key.version);
        let same =
            |table: &&Table| table.search == key.search && Arc::ptr_eq(&table.code, key.code);
        Some(newest.into_iter().find(same)?.buffer.address())
    }

    /// Whether a launch has to wait for earlier ones before another table is added.
    pub(crate) fn is_full(&self) -> bool {
        self.tables.len() >= TABLES
    }

    /// Adds a table of these rows, and gives its address.
    pub(crate) fn add(
        &mut self,
        device: &Device,
        key: Key<'_>,
        rows: &[Row],
    ) -> Result<u64, VulkanError> {
        let buffer = SharedBuffer::for_device(device, rows.len() as u64 * 16)?;
        for (word, &value) in buffer.words().iter().zip(rows.as_flattened()) {
            word.store(value, Relaxed);
        }
        let address = buffer.address();
        let Key { version, code, search } = key;
        self.tables.push(Table { version, code: Arc::clone(code), search, buffer });
        Ok(address)
    }

    /// Gives the tables back that no launch will find, as the lends have another version now. No
    /// launch is in flight.
    pub(crate) fn keep(&mut self, version: u64) {
        self.tables.retain(|table| table.version == version);
    }

    /// Gives all tables back. No launch is in flight.
    pub(crate) fn clear(&mut self) {
        self.tables.clear();
    }

    /// The number of tables.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.tables.len()
    }
}
