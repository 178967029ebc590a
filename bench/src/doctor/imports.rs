//! Imports host memory of each kind, and has kernels read and write its bytes.
//!
//! # Safety
//!
//! Memory is imported by values that go before the memory. The host looks at it between runs, and
//! kernels are given addresses and lengths of the imported range and of buffers that live.
#![allow(unsafe_code, reason = "imports and launches by hand, see above")]

use super::{
    child::Answer,
    finding::Finding,
    kernels::{stamp, stamped, triple, tripled},
    memory::{HUGE_BYTES, HostMemory, Kind},
    probe::{Probe, Situation, Subject},
    system,
};
use crate::{
    failure::{self, Failure},
    vulkan::{Device, HOST, HostBuffer, Imported, KERNEL, KERNEL_WRITES, Kernel, Lane},
};
use farptr::{KernelDesc, Ptr, PtrMut};
use std::{rc::Rc, time::Duration};

const TWICE: &str = "the same page twice";
const OVERLAP: &str = "ranges that share a page";
const MANY: &str = "5,000 ranges at a time";
const LARGE: &str = "more than 4 GiB at a time";
/// Ranges of [`MANY`].
const RANGES: usize = 5000;
const GIB: u64 = 1 << 30;
/// Bytes of [`LARGE`], but for one page more.
const LARGE_BYTES: u64 = 4 * GIB;
/// Words that a kernel touches of a long range, at each end.
const EDGE_WORDS: u32 = 4096;

pub(super) fn probes(situation: &Situation<'_>) -> Vec<Probe> {
    let no_import = || "the device has no VK_EXT_external_memory_host".to_owned();
    let skip = situation.device.import_alignment.is_none().then(no_import);
    let probe = |name: String, why: Option<String>| Probe {
        skip: skip.clone().or(why),
        ..Probe::new(name, Duration::from_secs(60))
    };
    let mut probes = Vec::new();
    for kind in Kind::ALL {
        let pool_is_empty = kind == Kind::Hugetlb && system::hugetlb_free_pages() == 0;
        let empty = pool_is_empty.then(|| "the pool of huge pages is empty".to_owned());
        probes.push(probe(format!("{}: read", kind.name()), empty.clone()));
        let read_only = (!kind.is_writable()).then(|| "it may not be written".to_owned());
        probes.push(probe(format!("{}: write", kind.name()), empty.or(read_only)));
    }
    probes.push(probe(TWICE.to_owned(), None));
    probes.push(probe(OVERLAP.to_owned(), None));
    let allocations = situation.device.limit("memory_allocations");
    let few = (allocations < RANGES as u64 + 16)
        .then(|| format!("the device allows {allocations} allocations"));
    probes.push(probe(MANY.to_owned(), few));
    let available = system::available_bytes();
    let small = (available < LARGE_BYTES + 2 * GIB)
        .then(|| format!("{} MiB of memory are available", available >> 20));
    let large = probe(LARGE.to_owned(), small);
    probes.push(Probe { limit: Duration::from_secs(180), ..large });
    probes
}

/// What probes use, opened for one of them.
struct Bench {
    device: Rc<Device>,
    lane: Lane,
    triple: Kernel<triple::Kernel>,
    stamp: Kernel<stamp::Kernel>,
    /// Bytes of which imported ranges are made.
    granule: u64,
}

pub(super) fn ask(subject: &mut Subject, name: &str) -> Result<Answer, Failure> {
    let mut bench = Bench::open(subject)?;
    let found = match name {
        TWICE => shared(subject, &mut bench, 0),
        OVERLAP => shared(subject, &mut bench, 1),
        MANY => many(subject, &mut bench),
        LARGE => large(subject, &mut bench),
        _ => one(subject, &mut bench, name),
    };
    Ok(Answer::Finding(found?))
}

impl Bench {
    fn open(subject: &mut Subject) -> Result<Self, Failure> {
        subject.at("opening the device");
        let inventory = super::inventory::Inventory::of(subject.device)?;
        let device = Rc::new(Device::open_at(subject.device)?);
        Ok(Self {
            lane: Lane::new(&device)?,
            triple: Kernel::new(&device)?,
            stamp: Kernel::new(&device)?,
            device,
            granule: inventory.import_alignment.unwrap_or(1).max(rustix::param::page_size() as u64),
        })
    }

    /// Imports a range of memory, which outlives the import.
    fn import(
        &self,
        memory: &HostMemory,
        offset: u64,
        len_bytes: u64,
    ) -> Result<Imported, Refused> {
        assert!(offset + len_bytes <= memory.len_bytes(), "a range of the memory");
        let offset = usize::try_from(offset).expect("64 bits");
        let start = memory.start().wrapping_byte_add(offset);
        // SAFETY: callers keep `memory` for longer than the import, and look at it between runs.
        unsafe { Imported::new(&self.device, start, len_bytes) }.map_err(Refused)
    }

    /// Has a kernel read words at these addresses; the words that it made of them, in their order.
    fn read(&mut self, places: &[u64], words: u32) -> Result<Vec<u32>, Failure> {
        let none = vec![0u32; places.len() * words as usize];
        let mut out = HostBuffer::new(&self.device, &none)?;
        let groups = self.device.groups_for(words, self.triple.width);
        let (triple, first) = (&self.triple, out.address());
        self.lane.run(|recorder| {
            for (place, to) in places.iter().zip((first..).step_by(4 * words as usize)) {
                let push = triple::Kernel::push(triple::Args {
                    x: Ptr::from_address(*place),
                    y: PtrMut::from_address(to),
                    n: words,
                    k: K,
                });
                // SAFETY: the places are in imports that live, and `to` in `out`, with room for
                // `words` each.
                unsafe { recorder.launch(triple, &push, groups) };
            }
            recorder.barrier(KERNEL_WRITES, HOST);
        })?;
        // SAFETY: the run has ended.
        Ok(unsafe { out.elements_mut() }.to_vec())
    }

    /// Has a kernel write words at these addresses.
    fn write(&mut self, places: &[u64], words: u32) -> Result<(), Failure> {
        let groups = self.device.groups_for(words, self.stamp.width);
        let stamp = &self.stamp;
        self.lane.run(|recorder| {
            for place in places {
                let y = PtrMut::from_address(*place);
                let push = stamp::Kernel::push(stamp::Args { y, n: words, k: K });
                recorder.barrier(KERNEL_WRITES, KERNEL);
                // SAFETY: the places are in imports that live, with room for `words` each.
                unsafe { recorder.launch(stamp, &push, groups) };
            }
            recorder.barrier(KERNEL_WRITES, HOST);
        })
    }
}

/// The number that kernels mix in.
const K: u32 = 0x1234_5677;

/// The driver's refusal of an import.
struct Refused(Failure);

impl Refused {
    fn finding(&self) -> Finding {
        Finding::refused(failure::chain(&self.0))
    }
}

/// Compares what was found with what was expected, word by word.
fn compare(
    expected: impl IntoIterator<Item = u32>,
    found: impl IntoIterator<Item = u32>,
) -> Finding {
    let pairs: Vec<_> = expected.into_iter().zip(found).collect();
    let mut differing = pairs.iter().enumerate().filter(|(_, (expected, found))| expected != found);
    let first = differing.next();
    let finding = match first {
        None => Finding::right(""),
        Some((at, (expected, found))) => Finding::wrong(format!(
            "{} of {} words differ, the first at word {at}: {found:#x} in place of {expected:#x}",
            differing.count() + 1,
            pairs.len()
        )),
    };
    finding.figure("words", pairs.len())
}

/// A kernel reads, or writes, memory of one kind.
fn one(subject: &mut Subject, bench: &mut Bench, name: &str) -> Result<Finding, Failure> {
    let (kind_name, access) = name.rsplit_once(": ").unwrap_or((name, ""));
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == kind_name) else {
        return Err(Failure::NoSuchProbe { name: name.to_owned() });
    };
    let len_bytes = match kind {
        Kind::Huge | Kind::Hugetlb => HUGE_BYTES,
        _ => (64 << 10).max(bench.granule),
    };
    subject.at("mapping memory");
    let memory = HostMemory::map(kind, len_bytes)?;
    subject.at("importing");
    let imported = match bench.import(&memory, 0, len_bytes) {
        Ok(imported) => imported,
        Err(refused) => return Ok(refused.finding()),
    };
    let words = u32::try_from(len_bytes / 4).expect("few words");
    subject.at("running a kernel on it");
    let finding = if access == "read" {
        let found = bench.read(&[imported.address()], words)?;
        compare((0..words as usize).map(|word| tripled(memory.initial(word), K)), found)
    } else {
        bench.write(&[imported.address()], words)?;
        subject.at("reading what the kernel wrote");
        let found = (0..words as usize).map(|word| memory.word(word));
        compare((0..words).map(|word| stamped(word, K)), found)
    };
    Ok(finding.figure("bytes", len_bytes))
}

/// Two imports of two granules each, the second `shift` granules behind the first: a kernel writes
/// through the first and reads through the second.
fn shared(subject: &mut Subject, bench: &mut Bench, shift: u64) -> Result<Finding, Failure> {
    let granule = bench.granule;
    let memory = HostMemory::map(Kind::Anonymous, 4 * granule)?;
    subject.at("importing");
    let first = match bench.import(&memory, 0, 2 * granule) {
        Ok(first) => first,
        Err(refused) => return Ok(refused.finding()),
    };
    subject.at("importing what is imported already");
    let second = match bench.import(&memory, shift * granule, 2 * granule) {
        Ok(second) => second,
        Err(refused) => return Ok(refused.finding()),
    };
    subject.at("running kernels on both");
    let words = u32::try_from(granule / 4).expect("few words");
    bench.write(&[first.address() + shift * granule], words)?;
    let found = bench.read(&[second.address()], words)?;
    let through_second = compare((0..words).map(|word| tripled(stamped(word, K), K)), found);
    if !through_second.outcome.is_good() {
        return Ok(through_second);
    }
    let skipped = usize::try_from(shift * granule / 4).expect("64 bits");
    let found = (0..words as usize).map(|word| memory.word(skipped + word));
    Ok(compare((0..words).map(|word| stamped(word, K)), found))
}

/// Many imports of a granule each.
fn many(subject: &mut Subject, bench: &mut Bench) -> Result<Finding, Failure> {
    let granule = bench.granule;
    // Two granules each, so that no driver can take neighbours for one range.
    let memory = HostMemory::map(Kind::Anonymous, 2 * granule * RANGES as u64)?;
    let mut imports = Vec::new();
    for index in 0..RANGES as u64 {
        if index % 500 == 0 {
            subject.at(&format!("importing range {index}"));
        }
        match bench.import(&memory, 2 * granule * index, granule) {
            Ok(imported) => imports.push(imported),
            Err(refused) => {
                let finding = refused.finding();
                let detail = format!("range {index}: {}", finding.detail);
                return Ok(Finding::refused(detail).figure("imported", index));
            }
        }
    }
    subject.at("running a kernel on each");
    let places: Vec<_> = imports.iter().map(Imported::address).collect();
    let words = 16;
    let found = bench.read(&places, words)?;
    let step = usize::try_from(2 * granule / 4).expect("64 bits");
    let place = |range: usize, word: usize| memory.initial(range * step + word);
    let expected = (0..RANGES)
        .flat_map(|range| (0..words as usize).map(move |word| tripled(place(range, word), K)));
    let read = compare(expected, found).figure("imported", RANGES);
    if !read.outcome.is_good() {
        return Ok(read);
    }
    bench.write(&places, words)?;
    let written = (0..RANGES)
        .flat_map(|range| (0..words as usize).map(move |word| (range * step) + word))
        .map(|word| memory.word(word));
    let expected = (0..RANGES).flat_map(|_| (0..words).map(|word| stamped(word, K)));
    Ok(compare(expected, written).figure("imported", RANGES))
}

/// More than 4 GiB, in the largest pieces that the device allows; kernels touch both ends of each.
fn large(subject: &mut Subject, bench: &mut Bench) -> Result<Finding, Failure> {
    let inventory = super::inventory::Inventory::of(subject.device)?;
    let unit = bench.granule.max(HUGE_BYTES);
    // Half of the limit where the whole of it is refused: some drivers add to the size.
    let most = inventory.limit("allocation_bytes").min(LARGE_BYTES + unit) / unit * unit;
    let memory = HostMemory::map(Kind::Untouched, LARGE_BYTES + unit)?;
    let mut pieces = Vec::new();
    let mut offset = 0;
    while offset < memory.len_bytes() {
        subject.at(&format!("importing at {} MiB", offset >> 20));
        let mut size = most.min(memory.len_bytes() - offset);
        let mut imported = bench.import(&memory, offset, size);
        if imported.is_err() && size > unit {
            size = (size / 2).next_multiple_of(unit);
            imported = bench.import(&memory, offset, size);
        }
        match imported {
            Ok(imported) => pieces.push((offset, size, imported)),
            Err(refused) => {
                let detail = format!("at {} MiB: {}", offset >> 20, refused.finding().detail);
                return Ok(Finding::refused(detail).figure("imported_bytes", offset));
            }
        }
        offset += size;
    }
    let edge = u64::from(EDGE_WORDS) * 4;
    let edges: Vec<_> = pieces
        .iter()
        .flat_map(|(offset, size, piece)| {
            [(*offset, piece.address()), (offset + size - edge, piece.address() + size - edge)]
        })
        .collect();
    let places: Vec<_> = edges.iter().map(|&(_, address)| address).collect();
    subject.at("running a kernel on both ends of each piece");
    bench.write(&places, EDGE_WORDS)?;
    let found = edges.iter().flat_map(|&(offset, _)| {
        let first = usize::try_from(offset / 4).expect("64 bits");
        (first..first + EDGE_WORDS as usize).map(|word| memory.word(word))
    });
    let expected = edges.iter().flat_map(|_| (0..EDGE_WORDS).map(|word| stamped(word, K)));
    let finding = compare(expected, found);
    Ok(finding.figure("imported_bytes", offset).figure("pieces", pieces.len()))
}
