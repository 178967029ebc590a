//! The log of a launch: how a kernel reports its failures, and how the host reads them. Pure.

use farptr_rewrite::control::{LOG_ENTRY_WORDS, LOG_HEADER_WORDS, LogWord};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The log of a launch that has completed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// Faults that were reported, those that the queue had no room for included.
    pub(crate) faults: u32,
    /// Whether the queue had too little room, or an invocation had no iterations left to fill its
    /// entry.
    pub(crate) overflowed: bool,
    /// Invocations that had a loop cut short by the driver.
    pub(crate) cut: u32,
    /// Invocations that reached the loop limit, or were stopped in a loop.
    pub(crate) exhausted: u32,
    /// The faults that the queue had room for.
    pub(crate) records: Vec<FaultRecord>,
}

/// A fault as the kernel wrote it to its log: an access that failed its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FaultRecord {
    pub(crate) place: Place,
    /// The position of the access among those of the kernel.
    pub(crate) site: usize,
    /// The workgroup.
    pub(crate) group: [u32; 3],
    /// The invocation's number in its workgroup.
    pub(crate) invocation: u32,
}

/// The number that failed its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Address(u64),
    Index(i32),
}

/// The memory of a log.
pub(crate) trait LogMemory {
    /// The value of a word that is in the memory.
    fn word(&self, at: usize) -> u32;
}

impl LogMemory for [AtomicU32] {
    fn word(&self, at: usize) -> u32 {
        self[at].load(Relaxed)
    }
}

/// Words of a log with room for this many faults.
pub(crate) const fn log_words(capacity: u32) -> u32 {
    LOG_HEADER_WORDS + capacity * LOG_ENTRY_WORDS
}

/// Starts a log that was used before, or is all zeroes. Kernels add to the words of a log, so all
/// words that they may have written are set to 0.
pub(crate) fn clear(log: &[AtomicU32], capacity: u32) {
    let word = |which: LogWord| log[which as usize].load(Relaxed);
    let used = word(LogWord::Queued).min(word(LogWord::Capacity));
    for word in log.iter().take(log_words(used) as usize) {
        word.store(0, Relaxed);
    }
    log[LogWord::Capacity as usize].store(capacity, Relaxed);
}

impl Log {
    /// Reads a log with room for so many faults: the numbers in its header, and the entries that
    /// were queued.
    pub(crate) fn read<W: LogMemory + ?Sized>(memory: &W, capacity: u32) -> Self {
        let word = |which: LogWord| memory.word(which as usize);
        let (faults, queued) = (word(LogWord::Faults), word(LogWord::Queued));
        let entries = queued.min(capacity);
        let at = |entry: u32| (LOG_HEADER_WORDS + entry * LOG_ENTRY_WORDS) as usize;
        let read = |entry| std::array::from_fn(|word| memory.word(at(entry) + word));
        let records: Vec<_> = (0..entries).filter_map(|at| FaultRecord::decode(read(at))).collect();
        Self {
            faults,
            overflowed: records.len() < queued.max(u32::from(faults > 0)) as usize,
            cut: word(LogWord::Cut),
            exhausted: word(LogWord::Exhausted),
            records,
        }
    }

    /// Takes note of how many invocations failed. An invocation that failed and wrote no report had
    /// no iterations left, because the driver had cut a loop short. The same holds for the
    /// invocations that counted a fault, if the log has no record at all.
    pub(crate) fn count_failures(&mut self, failures: u32) {
        let known = self.faults.saturating_add(self.cut).saturating_add(self.exhausted);
        self.cut = self.cut.saturating_add(failures.saturating_sub(known));
        if self.records.is_empty() {
            self.cut = self.cut.saturating_add(self.faults);
        }
    }

    /// Whether the launch did everything that it was to do.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults == 0 && self.cut == 0 && self.exhausted == 0
    }

    /// The fault of the first invocation, by workgroup, among those that had room.
    pub(crate) fn first(&self) -> Option<&FaultRecord> {
        self.records.iter().min_by_key(|record| record.order())
    }
}

impl FaultRecord {
    /// The order of faults: by workgroup, then by invocation.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        let [x, y, z] = self.group;
        (z, y, x, self.invocation)
    }

    /// Reads an entry, unless it was not finished.
    fn decode(words: [u32; LOG_ENTRY_WORDS as usize]) -> Option<Self> {
        let [low, high, x, y, z, invocation, fault] = words;
        let address = u64::from(low) | u64::from(high) << 32;
        let place = match fault & 1 {
            0 => Place::Address(address),
            _ => Place::Index(low.cast_signed()),
        };
        // Sites count from 1, so that 0 is no fault.
        let site = (fault as usize >> 1).checked_sub(1)?;
        Some(Self { place, site, group: [x, y, z], invocation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A log, and how many words of it were read.
    struct Counted {
        words: Vec<u32>,
        read: Cell<usize>,
    }

    impl LogMemory for Counted {
        fn word(&self, at: usize) -> u32 {
            self.read.set(self.read.get() + 1);
            self.words[at]
        }
    }

    fn read(words: Vec<u32>, capacity: u32) -> Log {
        Log::read(&Counted { words, read: Cell::new(0) }, capacity)
    }

    fn log(queued: u32, capacity: u32, entries: &[[u32; 7]]) -> Log {
        let mut words = vec![0; LOG_HEADER_WORDS as usize];
        words[LogWord::Queued as usize] = queued;
        words[LogWord::Faults as usize] = queued;
        words.extend(entries.iter().flatten());
        words.resize(log_words(capacity) as usize, 0);
        read(words, capacity)
    }

    #[test]
    fn a_clean_log_is_read_by_its_header_alone() {
        let mut log = Counted { words: vec![0; log_words(1023) as usize], read: Cell::new(0) };
        assert!(Log::read(&log, 1023).is_clean());
        assert_eq!(log.read.take(), 4, "of {} words", log.words.len());
        log.words[LogWord::Faults as usize] = 2;
        log.words[LogWord::Queued as usize] = 2;
        Log::read(&log, 1023);
        assert_eq!(log.read.get(), 4 + 2 * LOG_ENTRY_WORDS as usize);
    }

    #[test]
    fn a_new_log_is_clean() {
        let log = log(0, 4, &[]);
        assert!(log.is_clean() && log.records.is_empty() && !log.overflowed);
    }

    #[test]
    fn entries_are_addresses_or_indices() {
        let log = log(2, 2, &[[1, 2, 4, 5, 6, 7, 6], [u32::MAX, 0, 0, 0, 0, 9, 3]]);
        assert!(!log.is_clean() && !log.overflowed);
        assert_eq!(
            log.records[0],
            FaultRecord {
                place: Place::Address(0x2_0000_0001),
                site: 2,
                group: [4, 5, 6],
                invocation: 7
            }
        );
        assert_eq!(log.records[1].place, Place::Index(-1));
        assert_eq!(log.first(), Some(&log.records[1]), "workgroup 0 comes first");
    }

    #[test]
    fn more_faults_than_room_are_counted_and_not_read() {
        let log = log(500, 1, &[[2; 7]]);
        assert_eq!((log.faults, log.records.len(), log.overflowed), (500, 1, true));
    }

    #[test]
    fn entries_that_were_not_finished_are_not_read() {
        let log = log(2, 4, &[[1, 2, 3, 4, 5, 6, 0], [2; 7]]);
        assert_eq!((log.faults, log.records.len(), log.overflowed), (2, 1, true));
    }

    #[test]
    fn an_invocation_that_could_not_say_why_it_failed_was_cut_short() {
        let mut log = log(2, 4, &[[2; 7], [2; 7]]);
        log.count_failures(2);
        assert_eq!(log.cut, 0);
        log.count_failures(5);
        assert_eq!((log.faults, log.cut), (2, 3));
    }

    #[test]
    fn an_invocation_that_could_not_say_where_it_faulted_was_cut_short() {
        let mut words = vec![0; log_words(4) as usize];
        words[LogWord::Faults as usize] = 3;
        for queued in [0, 3] {
            // The invocations reserved entries of the queue, or not even that, and filled none.
            words[LogWord::Queued as usize] = queued;
            let mut log = read(words.clone(), 4);
            log.count_failures(0);
            assert_eq!((log.faults, log.cut), (3, 3));
        }
        let mut log = log(2, 4, &[[1, 2, 3, 4, 5, 6, 0], [2; 7]]);
        log.count_failures(0);
        assert_eq!((log.faults, log.cut), (2, 0), "one of them could");
    }

    #[test]
    fn a_used_log_is_empty_again() {
        let words: Vec<AtomicU32> = (0..log_words(3)).map(|_| AtomicU32::new(0)).collect();
        clear(&words, 3);
        words[LogWord::Queued as usize].store(9, Relaxed);
        for entry in &words[LOG_HEADER_WORDS as usize..] {
            entry.store(7, Relaxed);
        }
        clear(&words, 3);
        let values: Vec<u32> = words.iter().map(|word| word.load(Relaxed)).collect();
        assert_eq!(values.iter().sum::<u32>(), 3, "the capacity alone");
    }
}
