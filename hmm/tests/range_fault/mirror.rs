//! A device that mirrors this process's memory page by page, after the kernel's test driver.
//!
//! # Safety
//!
//! Memory is read and written through raw pointers, and only while the mirror says that it may be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr;
use std::sync::{Arc, Mutex};

use farptr_hmm::{
    FaultError, HmmRange, Invalidate, Invalidation, Notifiers, PageSize, Pfn, Pfns, ProcessMm,
    Request, SeqSet, VaRange, VirtAddr, WouldBlock, range_fault,
};

use crate::common::page_bytes;

/// The device's page table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) entries: Mutex<BTreeMap<VirtAddr, Pfn>>,
}

impl Invalidate for Table {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        let mut entries = self.entries.lock().expect("no panic under the lock");
        let seq_set = invalidation.set_seq();
        entries.retain(|&addr, _| !invalidation.range().contains(addr));
        Ok(seq_set)
    }
}

/// The device, and what its last command counted.
pub(crate) struct Mirror {
    pub(crate) host: ProcessMm,
    pub(crate) notifiers: Notifiers,
    pub(crate) table: Arc<Table>,
    /// The pages copied.
    pub(crate) cpages: usize,
    /// The fault calls made, not the pages faulted in.
    pub(crate) faults: usize,
}

impl Mirror {
    pub(crate) fn open() -> Self {
        Self {
            host: ProcessMm::open().expect("the memory of this process"),
            notifiers: Notifiers::new(),
            table: Arc::default(),
            cpages: 0,
            faults: 0,
        }
    }

    /// Reads memory as the device does: through its table, with one fault call for all that is
    /// left whenever something is missing.
    pub(crate) fn read(&mut self, range: VaRange) -> Result<Vec<u8>, FaultError> {
        let mut read = Vec::new();
        self.command(range, false, |page| read.extend(bytes(page)))?;
        Ok(read)
    }

    /// Writes memory as the device does.
    pub(crate) fn write(&mut self, range: VaRange, data: &[u8]) -> Result<(), FaultError> {
        let mut chunks = data.chunks(page_bytes());
        self.command(range, true, |page| store(page, chunks.next().expect("enough data")))
    }

    fn command(
        &mut self,
        range: VaRange,
        writes: bool,
        mut copy: impl FnMut(VaRange),
    ) -> Result<(), FaultError> {
        (self.cpages, self.faults) = (0, 0);
        for page in range.pages(PageSize::host()) {
            if !self.mirrors(page.start(), writes) {
                let rest = VaRange::new(page.start(), range.end()).expect("ascending");
                self.fault(rest, writes)?;
            }
            copy(page);
            self.cpages += 1;
        }
        Ok(())
    }

    fn mirrors(&self, addr: VirtAddr, writes: bool) -> bool {
        let entries = self.table.entries.lock().expect("no panic under the lock");
        entries.get(&addr).is_some_and(|pfn| pfn.is_valid() && (!writes || pfn.is_writable()))
    }

    /// Faults a range in and enters it in the table.
    pub(crate) fn fault(&mut self, range: VaRange, writes: bool) -> Result<Pfns, FaultError> {
        self.faults += 1;
        let notifier = self.notifiers.register(VaRange::USER, None, self.table.clone());
        let notifier = notifier.expect("not empty");
        let mut range = HmmRange::new(range, &notifier)?;
        range.default_flags = if writes { Request::ALL } else { Request::FAULT };
        loop {
            match range_fault(&self.host, &mut range) {
                Err(FaultError::Busy { .. }) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    let mut entries = self.table.entries.lock().expect("no panic");
                    if !range.read_retry() {
                        entries.extend(range.pfns().pages());
                        return Ok(range.pfns().clone());
                    }
                }
            }
            range.read_begin();
        }
    }

    pub(crate) fn snapshot(&self, range: VaRange) -> Pfns {
        let notifier = self.notifiers.register(range, None, self.table.clone());
        let notifier = notifier.expect("not empty");
        let mut range = HmmRange::new(range, &notifier).expect("whole pages");
        farptr_hmm::snapshot(&self.host, &mut range).expect("snapshot");
        range.pfns().clone()
    }
}

/// The pages whose numbers are `pages`: each holds its number in every word.
pub(crate) fn numbered(pages: Range<usize>) -> Vec<u8> {
    pages.flat_map(|page| (page as u64).to_ne_bytes().repeat(page_bytes() / 8)).collect()
}

/// Numbers the pages of a writable range.
pub(crate) fn number_pages(range: VaRange, first: usize) {
    let count = usize::try_from(range.len_bytes()).expect("64 bits") / page_bytes();
    store(range, &numbered(first..first + count));
}

/// Copies memory that the caller may read.
pub(crate) fn bytes(range: VaRange) -> Vec<u8> {
    let len = usize::try_from(range.len_bytes()).expect("64 bits");
    let mut copy = vec![0u8; len];
    // SAFETY: The tests pass memory of their own that is mapped for reading and exposed; `copy` is
    // a new allocation of the same length.
    unsafe { ptr::copy_nonoverlapping(range.start().as_ptr::<u8>(), copy.as_mut_ptr(), len) };
    copy
}

fn store(range: VaRange, data: &[u8]) {
    let len = usize::try_from(range.len_bytes()).expect("64 bits").min(data.len());
    let target = range.start().as_mut_ptr::<u8>();
    // SAFETY: The tests pass memory of their own that is mapped for writing and exposed, to which
    // no reference exists; `data` lies elsewhere.
    unsafe { ptr::copy_nonoverlapping(data.as_ptr(), target, len) };
}
