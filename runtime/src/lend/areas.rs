//! Lent memory that is reached at one address alone.
//!
//! Two mappings of a file or of shared memory are the same bytes at two addresses, and so may be a
//! private mapping of a file that nobody has written. Memory that is private and anonymous is not.

use farptr_hmm::{Maps, MapsSource, VaRange, VirtAddr};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// The memory areas of the process, opened when they are first needed; nothing where the kernel
/// tells of them by a text alone, which takes longer to read than launches wait.
#[derive(Debug, Default)]
pub(crate) struct ProcessAreas(OnceLock<Option<Maps>>);

impl ProcessAreas {
    fn maps(&self) -> Option<&Maps> {
        self.0.get_or_init(|| Maps::open_with(MapsSource::Query).ok()).as_ref()
    }
}

/// The memory that a scope has lent, as far as it is known.
#[derive(Debug)]
pub(crate) struct Areas {
    process: Arc<ProcessAreas>,
    /// By their starts: lends, and whether they are at one address alone.
    known: BTreeMap<VirtAddr, (VaRange, bool)>,
}

impl Areas {
    /// Areas that a lend is looked for in; one in more counts as shared.
    const MOST: usize = 64;

    pub(crate) fn new(process: &Arc<ProcessAreas>) -> Self {
        Self { process: Arc::clone(process), known: BTreeMap::new() }
    }

    /// Whether it is known that no other address leads to the bytes of a lend. While it is lent,
    /// the process maps nothing else there.
    pub(crate) fn are_private(&mut self, lend: VaRange) -> bool {
        if let Some(&(_, is_private)) =
            self.known.get(&lend.start()).filter(|(known, _)| *known == lend)
        {
            return is_private;
        }
        let is_private = self.process.maps().is_some_and(|maps| is_private(maps, lend));
        self.known.insert(lend.start(), (lend, is_private));
        is_private
    }
}

/// Whether a range is private and anonymous memory from end to end.
fn is_private(maps: &Maps, range: VaRange) -> bool {
    let mut at = range.start();
    for _ in 0..Areas::MOST {
        if at >= range.end() {
            return true;
        }
        match maps.find_vma(at) {
            Ok(Some(area)) if area.range.contains(at) && area.is_private_anonymous() => {
                at = area.range.end();
            }
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_private(bytes: &[u8]) -> bool {
        Areas::new(&Arc::default()).are_private(VaRange::of_slice(bytes))
    }

    #[test]
    fn vectors_and_anonymous_maps_are_at_one_address() {
        if Maps::open_with(MapsSource::Query).is_err() {
            assert!(!are_private(&[0; 64]), "nothing is known");
            return;
        }
        let [small, large] = [100, 10 << 20].map(|len| vec![1; len]);
        assert!(are_private(&small) && are_private(&large));
        let on_the_stack = std::hint::black_box([0; 64]);
        assert!(are_private(&on_the_stack));
        assert!(are_private(&memmap2::MmapMut::map_anon(5 << 12).unwrap()));
    }

    #[test]
    fn maps_of_files_may_be_at_two_addresses() {
        assert!(!are_private(b"in the program's file"));
    }

    #[test]
    fn what_is_known_is_not_asked_for_again_unless_a_lend_has_grown() {
        let (process, bytes) = (Arc::default(), vec![0u8; 1 << 20]);
        let mut areas = Areas::new(&process);
        let whole = VaRange::of_slice(&bytes);
        let first = areas.are_private(whole);
        assert_eq!(areas.known.len(), 1);
        assert_eq!(areas.are_private(whole), first);
        let part = VaRange::of_slice(&bytes[..4096]);
        assert_eq!(areas.are_private(part), first);
        assert_eq!(areas.known[&whole.start()].0, part);
    }
}
