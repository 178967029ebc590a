//! P9: while threads change mappings and store, a thread that reads a page finds its content at
//! some moment of the read.
//!
//! Two threads change pages of their own, and a third reads them: through the devices, through
//! system calls, and by moving them to the devices and back. No thread waits for another.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use farptr_hmm::{DmirrorError, VirtAddr};

use crate::cases::{Dice, seed};
use crate::history::{Before, By, History, Was};
use crate::hmm_rig::{Watchdog, fork, isolated, page};
use crate::model::Access;
use crate::processors::pin;
use crate::world::{World, runs};

const PAGES: usize = 48;
const ACTORS: usize = 2;

/// How many pages an actor changes at a time, and a reader reads.
const MOST: usize = 6;

/// Changes its part of the region until it is told to stop.
struct Actor<'t> {
    test: &'t Test,
    own: Range<usize>,
    dice: Dice,
}

/// The state that all threads share.
struct Test {
    world: World,
    history: History,
    /// Whether pages are dropped too.
    drops: bool,
    /// Whether the process forks.
    forks: bool,
    stop: AtomicBool,
    /// The last number stored anywhere.
    last: AtomicU32,
}

/// Stops the actors, also when a check fails.
struct Stop<'t>(&'t AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Actor<'_> {
    fn run(mut self) {
        while !self.test.stop.load(Ordering::Relaxed) {
            let pages = self.dice.part(self.own.clone(), MOST);
            match self.dice.below(12) {
                0..5 => self.store(pages),
                5..7 => self.map(pages),
                7 => self.unmap(pages),
                8 => self.protect(pages),
                9..11 => self.remap(pages),
                _ if self.test.drops => self.drop_pages(pages),
                _ => self.store(pages),
            }
        }
    }

    fn access(&mut self) -> Access {
        [Access::None, Access::Read, Access::Write, Access::Write][self.dice.below(4)]
    }

    fn mapped(&self, pages: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let mapped: Vec<bool> = pages.clone().map(|page| self.is_mapped(page)).collect();
        runs(pages.clone(), move |page| mapped[page - pages.start])
    }

    fn is_mapped(&self, page: usize) -> bool {
        self.test.history.now(page).access.is_some()
    }

    fn store(&mut self, pages: Range<usize>) {
        let Test { world, history, last, .. } = self.test;
        for page in pages.filter(|&page| history.now(page).can_write()) {
            let tag = last.fetch_add(1, Ordering::Relaxed) + 1;
            let becomes = |was| Was { by: By::Store, tag, ..was };
            let syscall = self.dice.below(2) == 0;
            history.change(page..page + 1, becomes, || match syscall {
                true => assert!(world.region.put(page, tag), "page {page} can be written"),
                false => world.region.store(page, tag),
            });
        }
    }

    fn map(&mut self, pages: Range<usize>) {
        let access = self.access();
        let becomes = |_| Was { by: By::Map, access: Some(access), tag: 0 };
        let act = || self.test.world.region.map(pages.clone(), access, false);
        self.test.history.change(pages.clone(), becomes, act);
    }

    fn unmap(&self, pages: Range<usize>) {
        let becomes = |_| Was { by: By::Unmap, access: None, tag: 0 };
        let act = || self.test.world.region.unmap(pages.clone());
        self.test.history.change(pages.clone(), becomes, act);
    }

    fn protect(&mut self, pages: Range<usize>) {
        for run in self.mapped(pages) {
            let access = self.access();
            let becomes = |was| Was { by: By::Protect, access: Some(access), ..was };
            let act = || self.test.world.region.protect(run.clone(), access);
            self.test.history.change(run.clone(), becomes, act);
        }
    }

    fn drop_pages(&self, pages: Range<usize>) {
        for run in self.mapped(pages) {
            let becomes = |was| Was { by: By::Drop, tag: 0, ..was };
            let act = || self.test.world.region.drop_pages(run.clone());
            self.test.history.change(run.clone(), becomes, act);
        }
    }

    /// Moves pages to other places of the actor, one by one, because they may be of many areas.
    fn remap(&mut self, pages: Range<usize>) {
        let Test { world, history, .. } = self.test;
        let keep = self.dice.below(2) == 0;
        for from in pages {
            let to = self.own.start + self.dice.below(self.own.len());
            let was = history.now(from);
            if was.access.is_none() || to == from {
                continue;
            }
            let left = if keep { was.access } else { None };
            history.begin(from, Was { by: By::MoveFrom, access: left, tag: 0 });
            history.begin(to, Was { by: By::MoveTo, ..was });
            world.region.remap(from..from + 1, to, keep);
            history.end(from);
            history.end(to);
        }
    }
}

impl Test {
    fn page_of(&self, addr: VirtAddr) -> usize {
        self.world.region.index(addr)
    }

    fn check_all(&self, before: &Before, pages: Range<usize>, bytes: &[u8]) -> Result<(), String> {
        let mut read = pages.zip(bytes.chunks(page()));
        read.try_for_each(|(page, bytes)| self.history.since(before, page).check_read(bytes))
    }

    /// Checks what a command of a device answered.
    fn check_command(
        &self,
        before: &Before,
        pages: Range<usize>,
        result: Result<Vec<u8>, DmirrorError>,
    ) -> Result<(), String> {
        match result {
            Ok(bytes) => self.check_all(before, pages, &bytes),
            Err(DmirrorError::Fault { addr } | DmirrorError::Invalid { addr }) => {
                self.history.since(before, self.page_of(addr)).check_refused()
            }
            // Not a page had to move, and a thread that changes mappings all the time may win.
            Err(DmirrorError::NotFound { .. } | DmirrorError::Busy { .. }) => Ok(()),
            Err(error) => Err(format!("{error}: {error:?}")),
        }
    }

    /// Does something that reads, and checks what was read.
    fn look(&self, dice: &mut Dice) -> Result<(), String> {
        let World { region, devices, mirror, .. } = &self.world;
        if self.forks && dice.below(40) == 0 {
            fork(|| {}).expect_success();
        }
        let pages = dice.part(0..PAGES, MOST);
        let (device, range) = (&devices[dice.below(2)], region.range(pages.clone()));
        let before = self.history.before(pages.clone());
        let (what, result) = match dice.below(12) {
            0..3 => ("read", device.read(range)),
            3..7 => ("to device", device.migrate_to_dev(range, None)),
            7 => ("exclusive", device.exclusive(range)),
            8 => {
                mirror.migrate_to_home(range).expect("whole pages");
                return Ok(());
            }
            9 => {
                let codes = device.snapshot(range).map_err(|error| error.to_string())?;
                let mut said = pages.zip(codes);
                let since = |page| self.history.since(&before, page);
                return said.try_for_each(|(page, code)| since(page).check_code(code));
            }
            _ => return self.fetch(pages),
        };
        let checked = self.check_command(&before, pages, result.map(|(bytes, _)| bytes));
        checked.map_err(|wrong| format!("{what}: {wrong}"))
    }

    /// Has the kernel read pages.
    fn fetch(&self, mut pages: Range<usize>) -> Result<(), String> {
        pages.try_for_each(|page| {
            let before = self.history.before(page..page + 1);
            let bytes = self.world.region.fetch(page);
            let since = self.history.since(&before, page);
            bytes.map_or_else(|| since.check_refused(), |bytes| since.check_read(&bytes))
        })
    }

    /// Checks everything once no thread changes anything any more.
    fn settle(&self) -> Result<(), String> {
        let World { region, devices, .. } = &self.world;
        for device in devices {
            let readable = |page| self.history.now(page).can_read();
            for run in runs(0..PAGES, readable) {
                let before = self.history.before(run.clone());
                let read = device.read(region.range(run.clone()));
                let (bytes, _) = read.map_err(|error| error.to_string())?;
                self.check_all(&before, run, &bytes)?;
            }
        }
        self.fetch(0..PAGES)
    }
}

/// Lets actors change pages while this thread looks at them so many times.
fn run(drops: bool, forks: bool, around: usize, looks: usize) {
    let _watchdog = Watchdog::new();
    let seed = seed();
    println!("FARPTR_SEED={seed}");
    let Some(world) = World::new(PAGES, around) else { return };
    let (stop, last) = (AtomicBool::new(false), AtomicU32::new(0));
    let test = Test { world, history: History::new(PAGES), drops, forks, stop, last };
    thread::scope(|scope| {
        let _stop = Stop(&test.stop);
        for (number, seed) in (0..ACTORS).zip(seed..) {
            let own = PAGES / ACTORS * number..PAGES / ACTORS * (number + 1);
            let actor = Actor { test: &test, own, dice: Dice::new(seed) };
            scope.spawn(move || {
                let _pinned = pin(1 + number);
                actor.run();
            });
        }
        let _pinned = pin(0);
        let mut dice = Dice::new(!seed);
        for look in 0..looks {
            if let Err(wrong) = test.look(&mut dice) {
                panic!("FARPTR_SEED={seed}, look {look}: {wrong}");
            }
        }
    });
    if let Err(wrong) = test.settle() {
        panic!("FARPTR_SEED={seed}, at the end: {wrong}");
    }
    assert_eq!(test.world.mirror.stats().lost, 0, "FARPTR_SEED={seed}");
}

#[test]
fn a_read_finds_what_the_page_was_at_some_moment() {
    run(false, false, 1, 4000);
    run(false, false, 16, 4000);
}

#[test]
fn what_was_dropped_does_not_come_back() {
    run(true, false, 16, 4000);
}

/// In a process of its own, because before a fork the pages of all tests come home.
#[test]
fn a_fork_at_any_moment_disturbs_nobody() {
    isolated("concurrent::a_fork_at_any_moment_disturbs_nobody", || run(true, true, 16, 4000));
}
