//! Operations of a program and its devices, done one after another on a mirror, and a model of
//! every byte for comparison.

use std::ops::Range;
use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use farptr_hmm::{Code, DeviceId, MigrateError, Migration, Mirror, PageCount, PageSize};

use crate::device::Flaky;
use crate::hmm_rig::{Rig, page};
use crate::region::{Access, PAGES, Region};

/// The pages.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(crate) enum Span {
    One(u16),
    Few(u16, u8),
    /// The huge page.
    Huge,
    All,
}

impl Span {
    fn pages(self) -> Range<usize> {
        let bounded = |first: u16, count: usize| {
            let first = usize::from(first) % PAGES;
            first..(first + count).min(PAGES)
        };
        match self {
            Self::One(first) => bounded(first, 1),
            Self::Few(first, count) => bounded(first, 1 + usize::from(count) % 40),
            Self::Huge => 16..16 + 512,
            Self::All => 0..PAGES,
        }
    }
}

/// The device.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(crate) enum Target {
    /// The one whose memory is that of the host.
    Dmirror,
    /// The one that is copied to, and fails.
    Flaky,
}

/// The next operation.
#[derive(Clone, Debug, Arbitrary)]
pub(crate) enum Operation {
    Map(Span),
    Unmap(Span),
    Protect(Span, Access),
    Remove(Span),
    Relocate { from: u16, to: u16 },
    Load(Span),
    Store(Span, u16, u8),
    MigrateOut(Span, Target),
    MigrateLeased(Span, Target),
    MigrateHome(Span),
    Exclusive(Span, Target),
    Evict(Target),
    DeviceRead(Span),
    DeviceWrite(Span, u8),
    Snapshot(Span),
    FailNextHuge,
    FailAfter(u8),
    Drain,
}

/// Reads operations from bytes, as many as there are.
pub(crate) fn decode(bytes: &[u8]) -> Vec<Operation> {
    let mut source = Unstructured::new(bytes);
    let mut operations = Vec::new();
    while !source.is_empty() {
        operations.extend(Operation::arbitrary(&mut source));
    }
    operations
}

/// A mirror with two devices, the memory, and what it has to be.
pub(crate) struct Machine {
    // Before the mirror and its devices, as memory of a program that ends first.
    region: Region,
    flaky: Arc<Flaky>,
    id: DeviceId,
    rig: Rig,
}

impl Machine {
    /// `None`, and a word about it, where pages cannot be moved.
    pub(crate) fn new() -> Option<Self> {
        let rig = Rig::migrating(1)?;
        let flaky = Arc::new(Flaky::new(PageCount::new(1024)));
        let id = rig.mirror.attach(Arc::clone(&flaky) as _).expect("attach");
        Some(Self { region: Region::map(), flaky, id, rig })
    }

    fn mirror(&self) -> &Mirror {
        &self.rig.mirror
    }

    /// Does the operations, and checks every byte in the end.
    pub(crate) fn run(&mut self, operations: &[Operation]) {
        for operation in operations {
            self.apply(operation);
        }
        let all = 0..PAGES;
        self.region.protect(all.clone(), Access::Write);
        all.for_each(|index| self.region.check(index));
        for target in [Target::Dmirror, Target::Flaky] {
            self.evict(target);
        }
        self.mirror().drain();
        assert_eq!(self.mirror().pages_away(), PageCount::ZERO);
        assert_eq!(self.flaky.used(), PageCount::ZERO, "frames of the copying device leak");
        assert_eq!(self.rig.dev().used(), PageCount::ZERO, "frames of dmirror leak");
        assert_eq!(self.mirror().stats().lost, 0);
    }

    fn apply(&mut self, operation: &Operation) {
        let region = &mut self.region;
        match *operation {
            Operation::Map(span) => region.map_anew(span.pages()),
            Operation::Unmap(span) => region.unmap(span.pages()),
            Operation::Protect(span, access) => region.protect(span.pages(), access),
            Operation::Remove(span) => region.remove(span.pages()),
            Operation::Relocate { from, to } => {
                region.relocate(usize::from(from) % PAGES, usize::from(to) % PAGES);
            }
            Operation::Load(span) => span.pages().for_each(|index| region.check(index)),
            Operation::Store(span, offset, value) => {
                for index in region.run(span.pages(), Access::Write) {
                    region.store(index, offset.into(), value);
                }
            }
            Operation::MigrateOut(span, target) => self.migrate(span, target, false),
            Operation::MigrateLeased(span, target) => self.migrate(span, target, true),
            Operation::MigrateHome(span) => {
                let range = region.range(span.pages());
                self.mirror().migrate_to_home(range).expect("home");
            }
            Operation::Exclusive(span, target) => self.exclusive(span, target),
            Operation::Evict(target) => self.evict(target),
            Operation::DeviceRead(span) => self.read(span.pages()),
            Operation::DeviceWrite(span, value) => self.write(span.pages(), value),
            Operation::Snapshot(span) => self.snapshot(span.pages()),
            Operation::FailNextHuge => self.rig.dev().fail_next_huge(),
            Operation::FailAfter(calls) => self.flaky.fail_after(calls % 32),
            Operation::Drain => self.mirror().drain(),
        }
    }

    fn migrate(&self, span: Span, target: Target, leased: bool) {
        let pages = span.pages();
        let range = self.region.range(pages.clone());
        let lease = leased.then(|| self.region.lease(pages.clone()));
        if let Target::Dmirror = target {
            // The bytes that it finds there afterwards, unless a page stayed.
            if let Ok((read, _)) = self.rig.dev().migrate_to_dev(range, lease.as_ref()) {
                assert!(read == self.region.expected(pages), "wrong bytes on the device");
            }
            return;
        }
        let migrated = match &lease {
            Some(lease) => self.mirror().migrate_leased(range, self.id, lease),
            None => self.mirror().migrate_to_device(range, self.id),
        };
        self.check_migration(&pages, migrated);
    }

    fn exclusive(&self, span: Span, target: Target) {
        let pages = span.pages();
        let range = self.region.range(pages.clone());
        match target {
            Target::Flaky => {
                let migrated = self.mirror().make_exclusive(range, self.id);
                self.check_migration(&pages, migrated);
            }
            Target::Dmirror => {
                if let Ok((read, _)) = self.rig.dev().exclusive(range) {
                    assert!(read == self.region.expected(pages), "wrong bytes on the device");
                }
            }
        }
    }

    /// Every page went, was there, or stayed for a reason; or none of them could be looked at.
    fn check_migration(&self, pages: &Range<usize>, migrated: Result<Migration, MigrateError>) {
        let readable = self.region.run(pages.clone(), Access::Read) == *pages;
        match migrated {
            Ok(migration) => {
                assert!(readable, "a migration of what cannot be read");
                let stayed = migration.skipped().iter();
                let stayed = stayed.map(|run| run.range.page_count(PageSize::host()).get());
                let all = migration.moved().get() + migration.already_there().get();
                assert_eq!(all + stayed.sum::<u64>(), pages.len() as u64, "{migration:?}");
            }
            Err(MigrateError::NoMemory { .. }) => assert!(!readable),
            Err(error) => panic!("{error}"),
        }
    }

    fn evict(&self, target: Target) {
        match target {
            Target::Dmirror => {
                self.rig.dev().release().expect("release");
            }
            Target::Flaky => {
                self.mirror().evict(self.id).expect("evict");
            }
        }
    }

    /// Reads what can be read, and sees that the next page cannot.
    fn read(&self, pages: Range<usize>) {
        let run = self.region.run(pages.clone(), Access::Read);
        if !run.is_empty() {
            let (read, reply) = self.rig.dev().read(self.region.range(run.clone())).expect("read");
            assert_eq!(reply.cpages, run.len() as u64);
            assert!(read == self.region.expected(run.clone()), "the device read something else");
        }
        if run.end < pages.end {
            let next = self.region.range(run.end..run.end + 1);
            assert!(self.rig.dev().read(next).is_err(), "the device read page {}", run.end);
        }
    }

    fn write(&mut self, pages: Range<usize>, value: u8) {
        let run = self.region.run(pages.clone(), Access::Write);
        let bytes = vec![value; run.len() * page()];
        if !run.is_empty() {
            let lease = self.region.lease(run.clone());
            let reply = self.rig.dev().write(&lease, &bytes).expect("write");
            assert_eq!(reply.cpages, run.len() as u64);
            self.region.expect(run.clone(), &bytes);
        }
        if run.end < pages.end {
            let lease = self.region.lease(run.end..run.end + 1);
            let written = self.rig.dev().write(&lease, &vec![value; page()]);
            assert!(written.is_err(), "the device wrote page {}", run.end);
        }
    }

    fn snapshot(&self, pages: Range<usize>) {
        // The handler may still be bringing the neighbours of a page home.
        self.mirror().drain();
        let away = self.mirror().pages_away();
        let codes = self.rig.dev().snapshot(self.region.range(pages.clone())).expect("snapshot");
        assert_eq!(codes.len(), pages.len());
        for (index, code) in pages.zip(codes) {
            let readable = self.region.access(index) >= Some(Access::Read);
            assert_eq!(code == Code::ERROR, !readable, "page {index}: {code:#x}");
            let writable = code != Code::ERROR && code & Code::WRITE != 0;
            assert!(!writable || self.region.access(index) == Some(Access::Write), "page {index}");
        }
        assert_eq!(self.mirror().pages_away(), away, "a snapshot brings nothing home");
    }
}
