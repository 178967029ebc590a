use super::{
    commit::{Refused, Written},
    host::Host,
    *,
};
use crate::{
    paging::{
        PAGE_BYTES,
        pages::Pages,
        plan::{Costs, Ended, Plan, Replay},
        report::Denial,
        rounds,
        soft::{Home, Launch, Op, Soft, access_of},
        table::Width,
    },
    residency::memory::Memory,
    test_hooks::ServeFaults,
};
use farptr_hmm::{VaRange, VirtAddr, Vma, VmaFlags};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

const START: u64 = 0x7000_0000_0000;

/// A process of a few areas, one page each, that a test changes during a launch.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Process>>);

#[derive(Default)]
struct Process {
    areas: BTreeMap<u64, (VmaFlags, Vec<u8>)>,
    /// Files that areas are of.
    inodes: BTreeMap<u64, u64>,
    writes: Vec<(u64, usize)>,
    /// The calls so far, in order.
    calls: Vec<Call>,
    /// Another thread's doing, right before the call of this number.
    disturbance: Option<(usize, Disturb)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Area(u64),
    Read(u64),
    Write(u64),
}

type Disturb = fn(&mut Process);

impl Process {
    fn called(&mut self, call: Call) {
        if let Some((_, disturb)) = self.disturbance.take_if(|(when, _)| *when == self.calls.len())
        {
            disturb(self);
        }
        self.calls.push(call);
    }
}

impl Fake {
    fn lock(&self) -> MutexGuard<'_, Process> {
        self.0.lock().unwrap()
    }

    fn map(&self, page: u64, write: bool) {
        let flags = VmaFlags { read: true, write, ..VmaFlags::default() };
        self.lock().areas.insert(START + page * PAGE_BYTES, (flags, vec![0; 4096]));
    }

    fn word(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        assert!(self.clone().read(address, &mut bytes));
        u64::from_le_bytes(bytes)
    }

    fn put(&self, address: u64, word: u64) {
        assert!(self.clone().write(address, &word.to_le_bytes()));
    }

    fn open(&self) -> ProcessPages {
        ProcessPages::new(Box::new(self.clone()))
    }
}

impl Host for Fake {
    fn refresh_areas(&mut self) {}

    fn area(&mut self, address: u64) -> Result<Option<Vma>, Denial> {
        let mut process = self.lock();
        let start = address & !0xfff;
        process.called(Call::Area(start));
        let area = |&(flags, _): &(VmaFlags, Vec<u8>)| Vma {
            range: VaRange::from_len(VirtAddr::new(start), PAGE_BYTES).unwrap(),
            flags,
            offset_bytes: 0,
            device: farptr_hmm::Device::default(),
            inode: process.inodes.get(&start).copied().unwrap_or(0),
            name: None,
        };
        Ok(process.areas.get(&start).map(area))
    }

    fn diagnose(&mut self, _: u64) -> Denial {
        Denial::Unreachable
    }

    fn read(&mut self, from: u64, bytes: &mut [u8]) -> bool {
        let mut process = self.lock();
        process.called(Call::Read(from & !0xfff));
        let Some((flags, content)) = process.areas.get(&(from & !0xfff)) else { return false };
        let start = (from % PAGE_BYTES) as usize;
        bytes.copy_from_slice(&content[start..start + bytes.len()]);
        flags.read
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> bool {
        let mut process = self.lock();
        process.called(Call::Write(to & !0xfff));
        let Some((flags, content)) = process.areas.get_mut(&(to & !0xfff)) else { return false };
        if !flags.write {
            return false;
        }
        let start = (to % PAGE_BYTES) as usize;
        content[start..start + bytes.len()].copy_from_slice(bytes);
        process.writes.push((to, bytes.len()));
        true
    }
}

/// A list with one node in each page, and a kernel that adds one to each.
fn list(pages: u64) -> (Fake, Launch, Pages) {
    let fake = Fake::default();
    for page in 0..pages {
        fake.map(page, true);
        let next = if page + 1 < pages { START + (page + 1) * PAGE_BYTES + 32 } else { 0 };
        fake.put(START + page * PAGE_BYTES + 32, next);
    }
    fake.lock().writes.clear();
    let walk = vec![
        Op::Set { to: 0, value: START + 32 },
        Op::Bump { register: 0, offset: 8 },
        Op::Follow { register: 0, offset: 0 },
        Op::Again { register: 0 },
    ];
    let mut device = Soft::new(Home { start: 0, bytes: Vec::new() }, vec![walk]);
    let mut pages = Pages::default();
    let width = Width::Bits47;
    pages.table.add_tree(width, |bytes| device.allocate(bytes)).unwrap();
    (fake, Launch::new(device, &pages), pages)
}

type Answer = Result<(), Ended<std::convert::Infallible>>;

fn go(launch: &mut Launch, pages: &mut Pages, process: &mut ProcessPages) -> (Answer, Costs) {
    go_with(launch, pages, process, None)
}

fn go_with(
    launch: &mut Launch,
    pages: &mut Pages,
    process: &mut ProcessPages,
    serve_faults: Option<ServeFaults>,
) -> (Answer, Costs) {
    launch_as(Plan { serve_faults, ..plan() }, launch, pages, process)
}

fn go_within(
    max_rounds: u32,
    launch: &mut Launch,
    pages: &mut Pages,
    process: &mut ProcessPages,
) -> (Answer, Costs) {
    launch_as(Plan { max_rounds, ..plan() }, launch, pages, process)
}

fn plan() -> Plan {
    Plan { max_rounds: 1000, ..Plan::unlimited(Replay::Undo) }
}

fn launch_as(
    plan: Plan,
    launch: &mut Launch,
    pages: &mut Pages,
    process: &mut ProcessPages,
) -> (Answer, Costs) {
    rounds::launch(launch, pages, Some(process), plan)
}

fn sums(fake: &Fake, pages: u64) -> Vec<u64> {
    (0..pages).map(|page| fake.word(START + page * PAGE_BYTES + 40)).collect()
}

#[test]
fn a_list_in_undeclared_memory_is_walked_and_only_changed_bytes_go_home() {
    let (fake, mut launch, mut pages) = list(50);
    let mut process = fake.open();
    let (result, costs) = go(&mut launch, &mut pages, &mut process);
    assert_eq!(result, Ok(()));
    assert_eq!(sums(&fake, 50), [1; 50]);
    assert!(costs.rounds <= 6, "pointers were followed, to write too: {costs:?}");
    let writes = std::mem::take(&mut fake.lock().writes);
    assert_eq!(writes.len(), 50);
    assert!(writes.iter().all(|&(address, bytes)| address % PAGE_BYTES == 40 && bytes == 1));
    // Nothing is kept: what the host changes in between is seen.
    fake.put(START + 40, 7);
    let one_by_one = ServeFaults { seed: 3, most_per_round: 1 };
    let (result, costs) = go_with(&mut launch, &mut pages, &mut process, Some(one_by_one));
    assert_eq!(
        (result, costs.rounds),
        (Ok(()), 52),
        "to read, to write, 49 others, and one that counts"
    );
    assert_eq!(sums(&fake, 50), [vec![8], vec![2; 49]].concat());
}

#[test]
fn bad_pointers_are_errors_and_nothing_is_written() {
    let hole = START + 1000 * PAGE_BYTES;
    let past = 1 << 47;
    for (bad, denial) in [(hole, Some(Denial::Unmapped)), (past, Some(Denial::Unmapped))] {
        let (fake, mut launch, mut pages) = list(3);
        fake.put(START + 2 * PAGE_BYTES + 32, bad);
        let (result, _) = go(&mut launch, &mut pages, &mut fake.open());
        let Err(Ended::Fault(fault, why)) = result else { panic!("{result:?}") };
        assert_eq!((access_of(&fault), why), ((bad + 8, false), denial));
        assert_eq!(sums(&fake, 3), [0; 3]);
    }
}

#[test]
fn pages_that_the_process_may_not_use_so_may_not_the_device() {
    let (fake, mut launch, mut pages) = list(3);
    fake.lock().areas.get_mut(&(START + PAGE_BYTES)).unwrap().0.write = false;
    let (result, _) = go(&mut launch, &mut pages, &mut fake.open());
    let Err(Ended::Fault(fault, Some(Denial::Protected))) = result else { panic!("{result:?}") };
    assert_eq!(access_of(&fault), (START + PAGE_BYTES + 40, true));
    let (fake, mut launch, mut pages) = list(3);
    fake.lock().areas.get_mut(&(START + PAGE_BYTES)).unwrap().0.read = false;
    let (result, _) = go(&mut launch, &mut pages, &mut fake.open());
    let Err(Ended::Fault(fault, Some(Denial::Protected))) = result else { panic!("{result:?}") };
    assert!(!access_of(&fault).1);
    assert_eq!(fake.lock().writes, []);
}

/// Runs a list of four pages with a change in the middle, before round `when`.
fn disturbed(when: u32, change: impl Fn(&Fake) + 'static) -> (Answer, Costs, Fake) {
    let (fake, mut launch, mut pages) = list(4);
    let (mut rounds, inner) = (0, fake.clone());
    launch.device.before_round = Box::new(move || {
        rounds += 1;
        if rounds == when {
            change(&inner);
        }
    });
    let (result, costs) = go(&mut launch, &mut pages, &mut fake.open());
    (result, costs, fake)
}

#[test]
fn memory_that_changes_under_a_launch_is_noticed_whenever_it_happens() {
    let (_, calm, _) = disturbed(0, |_| ());
    for when in 1..=u32::try_from(calm.rounds).unwrap() {
        // Emptied, as by MADV_DONTNEED: the list ends at the second node now.
        let empty = |fake: &Fake| {
            fake.lock().areas.get_mut(&(START + PAGE_BYTES)).unwrap().1.fill(0);
        };
        let (result, _, fake) = disturbed(when, empty);
        assert_eq!(result, Ok(()), "round {when}");
        assert_eq!(sums(&fake, 4), [1, 1, 0, 0], "round {when}");
        // Unmapped: an error, and nothing is written.
        let unmap = |fake: &Fake| {
            fake.lock().areas.remove(&(START + PAGE_BYTES));
        };
        let (result, _, fake) = disturbed(when, unmap);
        let Err(Ended::Fault(fault, Some(Denial::Unmapped))) = result else { panic!("{result:?}") };
        assert_eq!(access_of(&fault).0 & !0xfff, START + PAGE_BYTES);
        assert_eq!(fake.lock().writes, []);
        // Made read-only.
        let protect = |fake: &Fake| {
            fake.lock().areas.get_mut(&(START + PAGE_BYTES)).unwrap().0.write = false;
        };
        let (result, _, fake) = disturbed(when, protect);
        assert!(matches!(result, Err(Ended::Fault(_, Some(Denial::Protected)))), "{result:?}");
        assert_eq!(fake.lock().writes, []);
        // Written by another thread: the new value counts.
        let (result, _, fake) = disturbed(when, |fake| fake.put(START + 2 * PAGE_BYTES + 40, 10));
        assert_eq!((result, sums(&fake, 4)), (Ok(()), vec![1, 1, 11, 1]), "round {when}");
    }
}

#[test]
fn a_page_that_cannot_be_written_at_the_last_moment_takes_the_others_back() {
    let (fake, mut launch, mut pages) = list(3);
    let mut process = fake.open();
    let access = |page| Access { address: START + page * PAGE_BYTES, write: true };
    let limits = Limits { pages: usize::MAX, followed: 0 };
    let accesses = [access(0), access(1)];
    let served = process.serve(&accesses, limits, &mut launch.device, &mut pages).unwrap();
    assert_eq!((served.pages, served.denied), (2, None));
    let first = START / PAGE_BYTES;
    let written = |page| Written { page, offset: 8, bytes: vec![1] };
    let changes = [written(first), written(first + 1)];
    fake.lock().areas.get_mut(&(START + PAGE_BYTES)).unwrap().0.write = false;
    let refused = process.write_home(&changes);
    assert!(matches!(refused, Err(Refused::Page(page)) if page == first + 1));
    assert_eq!(fake.word(START + 8), 0);
}

/// The page in the middle of a list of three, to which another thread does something.
const MIDDLE: u64 = START + PAGE_BYTES;

/// Runs a kernel on a list of three pages, with a disturbance right before a call. Returns the
/// result, the calls, and the process with the words that the kernel changes.
fn interleaved(when: usize, disturb: Disturb) -> (Answer, Vec<Call>, Fake) {
    let (fake, mut launch, mut pages) = list(3);
    let mut process = fake.lock();
    process.calls.clear();
    process.disturbance = Some((when, disturb));
    drop(process);
    let (result, _) = go(&mut launch, &mut pages, &mut fake.open());
    let calls = std::mem::take(&mut fake.lock().calls);
    (result, calls, fake)
}

/// Runs it with the disturbance before every call in turn. `other` is the content of the new
/// mapping in the word that the kernel changes, or `None` if nothing is mapped any more. Returns
/// the calls before which the disturbance let the kernel's bytes into the new mapping without an
/// error.
fn stale_writes(disturb: Disturb, other: Option<u64>) -> Vec<Call> {
    let (_, calm, _) = interleaved(usize::MAX, disturb);
    let mut stale = Vec::new();
    for when in 0..calm.len() {
        let (result, calls, fake) = interleaved(when, disturb);
        let process = fake.lock();
        let word = |page: u64| {
            let bytes = &process.areas.get(&(START + page * PAGE_BYTES))?.1[40..48];
            Some(u64::from_le_bytes(*bytes.first_chunk().unwrap()))
        };
        let words = [word(0), word(1), word(2)];
        match result {
            // Some of it may be home; nothing that was not there before is overwritten.
            Err(Ended::Raced(address)) => assert_eq!(address & !0xfff, MIDDLE),
            Err(Ended::Fault(..)) => assert_eq!(words, [Some(0), other, Some(0)], "call {when}"),
            Ok(()) if words[1] == other => assert_eq!(words[0], Some(1), "call {when}"),
            // It was written before it changed.
            Ok(()) if !calls[when..].contains(&Call::Write(MIDDLE)) => {}
            Ok(()) => stale.push(calls[when]),
            other => panic!("call {when}: {other:?}"),
        }
    }
    stale
}

#[test]
fn between_any_two_calls_others_may_change_the_mapping() {
    let unmap: Disturb = |process| drop(process.areas.remove(&MIDDLE));
    assert_eq!(stale_writes(unmap, None), []);
    let protect: Disturb = |process| {
        if let Some(area) = process.areas.get_mut(&MIDDLE) {
            area.0.write = false;
        }
    };
    assert_eq!(stale_writes(protect, Some(0)), []);
    // Another mapping, full of something else. Its word for the next item leads nowhere.
    let replace: Disturb = |process| {
        if let Some(area) = process.areas.get_mut(&MIDDLE) {
            area.1.fill(0xc8);
        }
    };
    let canary = Some(0xc8c8_c8c8_c8c8_c8c8);
    let moment = [Call::Write(MIDDLE)];
    assert_eq!(stale_writes(replace, canary), moment, "no call can close this moment");
    // One of another kind is reported then, too.
    let file: Disturb = |process| {
        process.inodes.insert(MIDDLE, 7);
        if let Some(area) = process.areas.get_mut(&MIDDLE) {
            area.1.fill(0xc8);
        }
    };
    assert_eq!(stale_writes(file, canary), []);
}

#[test]
fn each_page_is_looked_at_right_before_it_is_written_and_afterwards() {
    let (result, calls, fake) = interleaved(usize::MAX, |_| ());
    assert_eq!((result, sums(&fake, 3)), (Ok(()), vec![1; 3]));
    let pages = [START, MIDDLE, MIDDLE + PAGE_BYTES];
    let writes = pages.map(|page| [Call::Read(page), Call::Write(page)]).concat();
    let looks = pages.map(Call::Read).to_vec();
    let areas = pages.map(Call::Area).to_vec();
    let last = pages.map(|page| [Call::Area(page), Call::Read(page)]).concat();
    let commit = [looks, areas, writes, last].concat();
    assert!(calls.ends_with(&commit), "{calls:?}");
}

#[test]
fn a_page_that_others_write_all_the_time_may_go_on_to_change_there_but_nowhere_else() {
    // In other bytes: fine. In the kernel's: never. In different bytes each time: a page like that
    // may be another mapping.
    type Offset = fn(u64) -> u64;
    let cases: [(Offset, Answer); 3] = [
        (|_| 800, Ok(())),
        (|_| 40, Err(Ended::TooManyRounds)),
        (|round| 64 + round * 8 % 4000, Err(Ended::TooManyRounds)),
    ];
    for (offset, expected) in cases {
        let (fake, mut launch, mut pages) = list(2);
        let (mut rounds, inner) = (0, fake.clone());
        launch.device.before_round = Box::new(move || {
            rounds += 1;
            inner.put(START + offset(rounds), rounds);
        });
        let (result, costs) = go_within(400, &mut launch, &mut pages, &mut fake.open());
        assert_eq!(result, expected);
        if result.is_ok() {
            assert_eq!(sums(&fake, 2), [1, 1]);
            assert_eq!(fake.word(START + 800), costs.rounds, "what others wrote stays");
        }
    }
}
