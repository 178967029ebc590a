//! Lent memory that is reached at one address alone.
//!
//! Two mappings of a file or of shared memory are the same bytes at two addresses, and so may be a
//! private mapping of a file that nobody has written. Memory that is private and anonymous is not.

use farptr_hmm::{Maps, MapsSource, VaRange};
use std::sync::OnceLock;

/// The memory areas of the process, opened when they are first needed; nothing where the kernel
/// tells of them by a text alone, which takes longer to read than launches wait.
#[derive(Debug, Default)]
pub(crate) struct ProcessAreas(OnceLock<Option<Maps>>);

impl ProcessAreas {
    fn maps(&self) -> Option<&Maps> {
        self.0.get_or_init(|| Maps::open_with(MapsSource::Query).ok()).as_ref()
    }

    /// Whether it is known that no other address leads to the bytes of a lend. While it is lent,
    /// the process maps nothing else there.
    pub(crate) fn are_private(&self, lend: VaRange) -> bool {
        self.maps().is_some_and(|maps| is_private(maps, lend))
    }
}

/// Areas that a lend is looked for in; one in more counts as shared.
const MOST: usize = 64;

/// Whether a range is private and anonymous memory from end to end.
fn is_private(maps: &Maps, range: VaRange) -> bool {
    let mut at = range.start();
    for _ in 0..MOST {
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
        ProcessAreas::default().are_private(VaRange::of_slice(bytes))
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
}
