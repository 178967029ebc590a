use std::sync::Mutex as StdMutex;
use std::sync::mpsc;

use super::*;
use crate::addr::VirtAddr;

/// A device that counts what it is told and may refuse.
#[derive(Default)]
struct Recorder {
    told: StdMutex<Vec<(Event, VaRange)>>,
    refuses: bool,
}

impl Recorder {
    fn told(&self) -> Vec<(Event, VaRange)> {
        self.told.lock().unwrap().clone()
    }
}

impl Invalidate for Recorder {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        if let Some(would_block) = invalidation.would_block().filter(|_| self.refuses) {
            return Err(would_block);
        }
        let mut told = self.told.lock().unwrap();
        let seq_set = invalidation.set_seq();
        told.push((invalidation.event(), invalidation.range()));
        Ok(seq_set)
    }
}

fn pages(first: u64, count: u64) -> VaRange {
    VaRange::from_len(VirtAddr::new(first << 12), count << 12).expect("a user range")
}

fn watch(notifiers: &Notifiers, range: VaRange) -> (Notifier, Arc<Recorder>) {
    watch_as(notifiers, range, None)
}

fn watch_as(
    notifiers: &Notifiers,
    range: VaRange,
    owner: Option<Owner>,
) -> (Notifier, Arc<Recorder>) {
    let device = Arc::new(Recorder::default());
    let notifier = notifiers.register(range, owner, device.clone()).expect("not empty");
    (notifier, device)
}

fn global_seq(notifiers: &Notifiers) -> u64 {
    lock(&notifiers.shared.state).seq
}

#[test]
fn an_attempt_without_an_invalidation_succeeds() {
    let notifiers = Notifiers::new();
    let (notifier, device) = watch(&notifiers, pages(1, 4));
    let seq = notifier.read_begin();
    assert!(!notifier.check_retry(seq) && !notifier.read_retry(seq));
    assert_eq!(device.told(), []);
}

#[test]
fn an_invalidation_fails_the_attempts_that_began_before_its_end() {
    let notifiers = Notifiers::new();
    let (notifier, device) = watch(&notifiers, pages(1, 4));
    let before = notifier.read_begin();
    let guard = notifiers.invalidate(Event::Clear, pages(3, 9));
    assert!(notifier.read_retry(before));
    assert_eq!(notifier.try_read_begin(), None, "it would wait");
    drop(guard);
    assert!(notifier.read_retry(before), "once stale, always stale");
    let after = notifier.read_begin();
    assert!(!notifier.read_retry(after));
    assert_eq!(device.told(), [(Event::Clear, pages(3, 2))]);
}

#[test]
fn an_invalidation_elsewhere_changes_nothing() {
    let notifiers = Notifiers::new();
    let (notifier, device) = watch(&notifiers, pages(1, 4));
    let seq = notifier.read_begin();
    let guard = notifiers.invalidate(Event::Unmap, pages(5, 1));
    assert!(!notifier.read_retry(seq));
    assert!(notifier.try_read_begin().is_some());
    drop(guard);
    assert_eq!(device.told(), []);
    assert_eq!(global_seq(&notifiers), 2);
}

#[test]
fn the_sequence_is_odd_while_a_watched_range_is_invalidated() {
    let notifiers = Notifiers::new();
    let (_low, _) = watch(&notifiers, pages(1, 1));
    let (high, _) = watch(&notifiers, pages(9, 1));
    let first = notifiers.invalidate(Event::Clear, pages(1, 1));
    assert_eq!(global_seq(&notifiers), 3);
    // Nested and overlapping invalidations only move the end.
    let second = notifiers.invalidate(Event::Unmap, pages(0, 20));
    drop(first);
    assert_eq!(global_seq(&notifiers), 3);
    assert_eq!(high.try_read_begin(), None);
    drop(second);
    assert_eq!(global_seq(&notifiers), 4);
    assert!(high.try_read_begin().is_some());
}

#[test]
fn another_devices_invalidation_does_not_make_a_reader_wait() {
    let notifiers = Notifiers::new();
    let (low, _) = watch(&notifiers, pages(1, 1));
    let (high, _) = watch(&notifiers, pages(9, 1));
    let guard = notifiers.invalidate(Event::Clear, pages(1, 1));
    let seq = high.try_read_begin().expect("not its range");
    assert_eq!(low.try_read_begin(), None);
    drop(guard);
    assert!(!high.read_retry(seq));
}

#[test]
fn an_owner_is_not_told_of_its_own_doing() {
    let (mine, theirs) = (Owner::new(), Owner::new());
    let notifiers = Notifiers::new();
    let (own, own_device) = watch_as(&notifiers, pages(1, 4), Some(mine));
    let (other, other_device) = watch_as(&notifiers, pages(1, 4), Some(theirs));
    let (own_seq, other_seq) = (own.read_begin(), other.read_begin());
    for event in [Event::Migrate { by: Some(mine) }, Event::Exclusive { by: Some(mine) }] {
        drop(notifiers.invalidate(event, pages(2, 1)));
    }
    assert!(!own.read_retry(own_seq) && other.read_retry(other_seq));
    assert_eq!((own_device.told().len(), other_device.told().len()), (0, 2));
    // Events without an owner reach all notifiers, those without owners too.
    drop(notifiers.invalidate(Event::Migrate { by: None }, pages(2, 1)));
    let (_plain, plain) = watch(&notifiers, pages(1, 4));
    drop(notifiers.invalidate(Event::Exclusive { by: None }, pages(2, 1)));
    assert_eq!((own_device.told().len(), plain.told().len()), (2, 1));
}

#[test]
fn a_newcomer_waits_for_what_it_was_not_told() {
    let notifiers = Notifiers::new();
    let (old, _) = watch(&notifiers, pages(1, 1));
    let guard = notifiers.invalidate(Event::Unmap, pages(1, 1));
    let (newcomer, device) = watch(&notifiers, pages(1, 1));
    assert_eq!(notifiers.count(), 1, "the insertion is deferred");
    assert_eq!(newcomer.try_read_begin(), None);
    drop(guard);
    assert_eq!(notifiers.count(), 2);
    assert!(newcomer.try_read_begin().is_some());
    drop(notifiers.invalidate(Event::Unmap, pages(1, 1)));
    assert_eq!(device.told().len(), 1, "told from now on");
    drop(old);
}

#[test]
fn a_newcomer_turns_a_quiet_invalidation_odd() {
    let notifiers = Notifiers::new();
    let guard = notifiers.invalidate(Event::Unmap, pages(1, 1));
    assert_eq!(global_seq(&notifiers), 2, "nobody watches");
    let (newcomer, _) = watch(&notifiers, pages(1, 1));
    assert_eq!((global_seq(&notifiers), notifiers.count()), (3, 1));
    assert_eq!(newcomer.try_read_begin(), None);
    drop(guard);
    assert_eq!(global_seq(&notifiers), 4);
    assert!(newcomer.try_read_begin().is_some());
}

#[test]
fn a_deferred_insertion_is_taken_back_without_waiting() {
    let notifiers = Notifiers::new();
    let (_old, _) = watch(&notifiers, pages(1, 1));
    let guard = notifiers.invalidate(Event::Unmap, pages(1, 1));
    let (newcomer, _) = watch(&notifiers, pages(1, 1));
    drop(newcomer);
    drop(guard);
    assert_eq!(notifiers.count(), 1);
}

#[test]
fn a_removal_waits_for_the_end_of_the_invalidation() {
    let notifiers = Notifiers::new();
    let (notifier, device) = watch(&notifiers, pages(1, 1));
    let guard = notifiers.invalidate(Event::Unmap, pages(1, 1));
    let (removed, done) = mpsc::channel();
    let remover = std::thread::spawn(move || {
        drop(notifier);
        removed.send(()).unwrap();
    });
    // The other thread has got there, and waits.
    while lock(&notifiers.shared.state).deferred.is_empty() {
        std::thread::yield_now();
    }
    assert!(done.try_recv().is_err());
    drop(guard);
    done.recv().expect("removed");
    remover.join().unwrap();
    assert_eq!(notifiers.count(), 0);
    drop(notifiers.invalidate(Event::Unmap, pages(1, 1)));
    assert_eq!(device.told().len(), 1);
}

#[test]
fn a_refusal_leaves_nothing_behind() {
    let notifiers = Notifiers::new();
    let (first, _) = watch(&notifiers, pages(1, 1));
    let device = Arc::new(Recorder { refuses: true, ..Recorder::default() });
    let second = notifiers.register(pages(2, 1), None, device.clone()).unwrap();
    let (first_seq, second_seq) = (first.read_begin(), second.read_begin());

    assert!(notifiers.try_invalidate(Event::Clear, pages(0, 9)).is_err());
    assert!(first.read_retry(first_seq), "told before the refusal, it retries in vain");
    assert!(!second.read_retry(second_seq));
    assert!(first.try_read_begin().is_some() && second.try_read_begin().is_some());

    drop(notifiers.invalidate(Event::Clear, pages(0, 9)));
    assert!(second.read_retry(second_seq), "an invalidation that may block is not refused");
    assert!(notifiers.try_invalidate(Event::Clear, pages(1, 1)).is_ok());
}

#[test]
fn release_reaches_everybody() {
    let notifiers = Notifiers::new();
    let (low, low_device) = watch(&notifiers, pages(1, 1));
    let (_high, high_device) = watch_as(&notifiers, pages(1 << 40, 1), Some(Owner::new()));
    let seq = low.read_begin();
    notifiers.release();
    assert!(low.read_retry(seq));
    assert_eq!(low_device.told(), [(Event::Release, pages(1, 1))]);
    assert_eq!(high_device.told(), [(Event::Release, pages(1 << 40, 1))]);
}

#[test]
fn a_callback_may_register() {
    struct Registers {
        notifiers: Notifiers,
        made: StdMutex<Vec<Notifier>>,
    }
    impl Invalidate for Registers {
        fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
            let (notifier, _) = watch(&self.notifiers, invalidation.range());
            self.made.lock().unwrap().push(notifier);
            Ok(invalidation.set_seq())
        }
    }
    let notifiers = Notifiers::new();
    let made = StdMutex::new(Vec::new());
    let device = Arc::new(Registers { notifiers: notifiers.clone(), made });
    let notifier = notifiers.register(pages(1, 1), None, device.clone()).unwrap();
    drop(notifiers.invalidate(Event::Clear, pages(1, 1)));
    assert_eq!(notifiers.count(), 2);
    device.made.lock().unwrap().clear();
    drop(notifier);
    assert_eq!(notifiers.count(), 0);
}

#[test]
fn a_panic_in_a_callback_ends_the_invalidation() {
    struct Panics;
    impl Invalidate for Panics {
        fn invalidate(&self, _: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
            panic!("a device that fails");
        }
    }
    let notifiers = Notifiers::new();
    let (notifier, _) = watch(&notifiers, pages(1, 1));
    let broken = notifiers.register(pages(2, 1), None, Arc::new(Panics)).unwrap();
    let unwound = std::panic::catch_unwind(|| notifiers.invalidate(Event::Clear, pages(0, 9)));
    assert!(unwound.is_err());
    assert!(notifier.try_read_begin().is_some());
    drop(broken);
}

#[test]
fn an_empty_range_cannot_be_watched() {
    let refused = Notifiers::new().register(pages(7, 0), None, Arc::new(Recorder::default()));
    assert!(matches!(refused, Err(RegisterError::EmptyRange { addr }) if addr.get() == 0x7000));
}

#[test]
fn numbers_may_wrap() {
    let notifiers = Notifiers::new();
    lock(&notifiers.shared.state).seq = u64::MAX - 1;
    let (notifier, _) = watch(&notifiers, pages(1, 1));
    let seq = notifier.read_begin();
    drop(notifiers.invalidate(Event::Clear, pages(1, 1)));
    assert_eq!(global_seq(&notifiers), 0);
    assert!(notifier.read_retry(seq));
    let (newcomer, _) = watch(&notifiers, pages(1, 1));
    for notifier in [notifier, newcomer] {
        let seq = notifier.try_read_begin().expect("nothing runs");
        drop(notifiers.invalidate(Event::Clear, pages(1, 1)));
        assert!(notifier.read_retry(seq));
    }
}
