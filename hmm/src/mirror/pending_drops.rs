//! Drops that were announced and may not have happened yet.
//!
//! The kernel announces that it is about to drop the pages of a range (`MADV_DONTNEED`), waits
//! until the message is read, and drops them some time later; nothing says when. Were a page of the
//! range moved out and its hole marked in between, the drop could fall between the move and the
//! mark, hit the hole and leave no trace: bytes that the program dropped would come back. So a page
//! of such a range stays at home until it has once been seen absent. Then either the drop has
//! happened, or what the page gets from now on was written while the drop went on, and may survive
//! it.

#![forbid(unsafe_code)]

use crate::addr::VaRange;

/// How many ranges there is room for.
const ROOM: usize = 128;

/// Ranges whose pages may be about to be dropped. It allocates nothing.
#[derive(Debug)]
pub(crate) struct PendingDrops {
    /// The first `len` are in use.
    ranges: [VaRange; ROOM],
    len: usize,
}

impl Default for PendingDrops {
    fn default() -> Self {
        Self { ranges: [VaRange::default(); ROOM], len: 0 }
    }
}

impl PendingDrops {
    /// Notes that the pages of a range are about to be dropped.
    pub(crate) fn announce(&mut self, range: VaRange) {
        self.complete(range);
        self.push(range);
    }

    /// Notes that the pages of a range were seen absent, or have no place any more.
    pub(crate) fn complete(&mut self, range: VaRange) {
        let mut index = 0;
        while let Some(&pending) = self.in_use().get(index) {
            let below = VaRange::new(pending.start(), range.start());
            let above = VaRange::new(range.end(), pending.end());
            let rest = [below, above].map(|rest| rest.filter(|rest| !rest.is_empty()));
            let splits = rest.iter().all(Option::is_some);
            if !pending.overlaps(&range) || splits && self.len == ROOM {
                index += 1;
                continue;
            }
            self.take(index);
            rest.into_iter().flatten().for_each(|rest| self.push(rest));
        }
    }

    /// Tells whether a page of a range may be about to be dropped.
    pub(crate) fn overlaps(&self, range: &VaRange) -> bool {
        self.in_use().iter().any(|pending| pending.overlaps(range))
    }

    fn in_use(&self) -> &[VaRange] {
        self.ranges.get(..self.len).unwrap_or_default()
    }

    fn take(&mut self, index: usize) {
        self.len -= 1;
        self.ranges.swap(index, self.len);
    }

    /// Without room, the range is merged with another and with what lies between: pages then stay
    /// at home that could go, and none goes that must stay.
    fn push(&mut self, range: VaRange) {
        if let Some(free) = self.ranges.get_mut(self.len) {
            *free = range;
            self.len += 1;
            return;
        }
        if let Some(last) = self.ranges.last_mut() {
            let (start, end) = (last.start().min(range.start()), last.end().max(range.end()));
            *last = VaRange::new(start, end).unwrap_or(range);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::addr::VirtAddr;

    fn range(first: u64, count: u64) -> VaRange {
        VaRange::from_len(VirtAddr::new(first * 4096), count * 4096).expect("a user range")
    }

    #[test]
    fn without_room_too_much_is_pending_and_never_too_little() {
        let mut pending_drops = PendingDrops::default();
        for index in 0..2 * ROOM as u64 {
            pending_drops.announce(range(2 * index, 1));
        }
        assert!((0..2 * ROOM as u64).all(|index| pending_drops.overlaps(&range(2 * index, 1))));
        assert!(!pending_drops.overlaps(&range(1, 1)));
    }

    proptest! {
        #[test]
        fn pages_are_pending_from_their_announcement_until_they_are_complete(
            steps in prop::collection::vec((any::<bool>(), 0u64..60, 1u64..20), 0..40),
        ) {
            let mut pending_drops = PendingDrops::default();
            let mut model = [false; 80];
            for (announces, first, count) in steps {
                let pages = range(first, count);
                match announces {
                    true => pending_drops.announce(pages),
                    false => pending_drops.complete(pages),
                }
                let [first, end] = [first, first + count].map(|n| usize::try_from(n).unwrap());
                model[first..end].fill(announces);
                for (page, &pending) in (0u64..).zip(&model) {
                    prop_assert_eq!(pending_drops.overlaps(&range(page, 1)), pending);
                }
            }
        }
    }
}
