//! The real thing: a region, a mirror and two devices, to which the steps are done.
//!
//! # Safety
//!
//! Leases are made for the region of the test, which touches it through raw pointers only and does
//! one step after the other.

use std::ops::Range;
use std::sync::Arc;

use farptr_hmm::{
    Dmirror, DmirrorError, Lease, Maps, Mirror, MirrorBuilder, MirrorTier, PageCount, PageSize,
    Reply, VirtAddr,
};

use crate::effect::{Answer, Failure, Seen};
use crate::hmm_rig::{fork, is_root, page, skip};
use crate::model::{Model, Page};
use crate::region::{Region, bytes_of, tag_of};
use crate::step::{DEVICES, Step};

/// The value that a child writes.
const CHILD: u32 = 0xc41d_c41d;

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) devices: [Dmirror; DEVICES],
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) region: Region,
    maps: Maps,
}

/// A mirror that can move pages, with a neighbourhood of so many pages. Prints so and returns
/// `None` if moving needs a privilege that the process lacks.
pub(crate) fn mirror(around: usize) -> Option<Arc<Mirror>> {
    let size = PageSize::new((around * page()) as u64).expect("a power of two");
    let builder = MirrorBuilder::new().fault_around(size).fault_around_limit(size);
    let mirror = builder.build().expect("a mirror");
    if mirror.tier() == MirrorTier::KernelFaults {
        return Some(Arc::new(mirror));
    }
    skip("this tier moves no pages: system calls on them would fail; run as root", !is_root());
    None
}

impl World {
    pub(crate) fn new(pages: usize, around: usize) -> Option<Self> {
        let mirror = mirror(around)?;
        let open = || Dmirror::open(Arc::clone(&mirror), PageCount::new(1 << 12)).expect("device");
        let devices = [open(), open()];
        let maps = Maps::open().expect("maps");
        Some(Self { devices, mirror, region: Region::new(pages), maps })
    }

    /// Takes a step. The model, which has not taken it yet, says what may be touched.
    pub(crate) fn apply(&self, step: &Step, model: &Model) -> Answer {
        let region = &self.region;
        match step.clone() {
            Step::Store { pages, tag, syscall } => {
                Answer::Cpu(pages.map(|page| self.store(page, tag, syscall, model)).collect())
            }
            Step::Load { pages, syscall } => {
                Answer::Cpu(pages.map(|page| self.load(page, syscall, model)).collect())
            }
            Step::Populate { pages, write } => Answer::Worked(region.populate(pages, write)),
            Step::Announce { pages } => done(|| self.mirror.invalidate(region.range(pages))),
            Step::Protect { pages, access } => {
                let mapped = runs(pages, |page| model.pages[page].area.is_some());
                done(|| mapped.for_each(|run| region.protect(run, access)))
            }
            Step::Unmap { pages } => done(|| region.unmap(pages)),
            Step::Map { pages, access, shared } => done(|| region.map(pages, access, shared)),
            Step::Remap { from, to, keep } => done(|| self.remap(from, to, keep, model)),
            Step::Drop { pages } => done(|| region.drop_pages(pages)),
            Step::ToHome { pages } => {
                let reply = self.devices[0].migrate_to_sys(region.range(pages));
                Answer::Count(reply.expect("whole pages").cpages)
            }
            Step::Evict { device } => {
                Answer::Count(self.devices[device].release().expect("not inherited").cpages)
            }
            Step::Fork => done(|| self.fork(model)),
            step => self.command(&step),
        }
    }

    /// Commands of a device that can fail.
    fn command(&self, step: &Step) -> Answer {
        let range = |pages: &Range<usize>| self.region.range(pages.clone());
        let result = match step {
            Step::ToDevice { device, pages, leased } => {
                let lease = leased.then(|| self.lease(pages));
                self.devices[*device].migrate_to_dev(range(pages), lease.as_ref())
            }
            Step::Exclusive { device, pages } => self.devices[*device].exclusive(range(pages)),
            Step::CheckExclusive { device, pages } => {
                let checked = self.devices[*device].check_exclusive(range(pages));
                checked.map(|()| (Vec::new(), Reply::default()))
            }
            Step::Read { device, pages } => self.devices[*device].read(range(pages)),
            Step::Write { device, pages, tag } => {
                let bytes = bytes_of(*tag).repeat(pages.len());
                let reply = self.devices[*device].write(&self.lease(pages), &bytes);
                reply.map(|reply| (bytes, reply))
            }
            step => panic!("{step:?} is no command"),
        };
        Answer::Device(result.map(seen).map_err(|error| self.failure(error)))
    }

    fn lease(&self, pages: &Range<usize>) -> Lease {
        // SAFETY: 1. The region is the test's, which touches it through raw pointers only. 2. One
        // step is done after the other.
        unsafe { self.region.lease(pages.clone()) }
    }

    fn failure(&self, error: DmirrorError) -> Failure {
        let index = |addr: VirtAddr| self.region.index(addr);
        match error {
            DmirrorError::Fault { addr } => Failure::Fault(index(addr)),
            DmirrorError::Permission { addr } => Failure::Permission(index(addr)),
            DmirrorError::Invalid { addr } => Failure::Invalid(index(addr)),
            DmirrorError::NotFound { addr } => Failure::NotFound(index(addr)),
            error => panic!("{error}: {error:?}"),
        }
    }

    fn store(&self, page: usize, tag: u32, syscall: bool, model: &Model) -> Option<u32> {
        if syscall || !model.pages[page].can_write() {
            return self.region.put(page, tag).then_some(tag);
        }
        self.region.store(page, tag);
        Some(tag)
    }

    fn load(&self, page: usize, syscall: bool, model: &Model) -> Option<u32> {
        if syscall || !model.pages[page].can_read() {
            return self.region.fetch(page).map(|bytes| tag_of(&bytes).expect("not torn"));
        }
        Some(self.region.load(page).expect("not torn"))
    }

    /// At once if the pages are one area, and page by page otherwise.
    fn remap(&self, from: Range<usize>, to: usize, keep: bool, model: &Model) {
        let shared = |page: usize| model.pages[page].is_shared();
        let start = self.region.range(from.clone()).start();
        let area = self.maps.find_vma(start).expect("maps");
        let one =
            area.is_some_and(|area| area.range.contains_range(&self.region.range(from.clone())));
        if one {
            return self.region.remap(from.clone(), to, keep && !shared(from.start));
        }
        for (from, to) in from.zip(to..) {
            if model.pages[from].area.is_some() {
                self.region.remap(from..from + 1, to, keep && !shared(from));
            }
        }
    }

    /// The child must see what the parent sees, and what it writes must stay its own.
    fn fork(&self, model: &Model) {
        let child = fork(|| {
            let all = || model.pages.iter().enumerate();
            for (index, page) in all().filter(|(_, page)| page.can_read()) {
                assert_eq!(self.region.load(index), Ok(page.tag()), "page {index} in the child");
            }
            let own = |page: &Page| page.can_write() && !page.is_shared();
            for (index, _) in all().filter(|(_, page)| own(page)) {
                self.region.store(index, CHILD);
                assert_eq!(self.region.load(index), Ok(CHILD), "page {index} of the child");
            }
        });
        child.expect_success();
    }

    pub(crate) fn snapshots(&self) -> [Vec<u8>; DEVICES] {
        let all = self.region.range(self.region.all());
        self.devices.each_ref().map(|device| device.snapshot(all).expect("a snapshot"))
    }
}

fn done(act: impl FnOnce()) -> Answer {
    act();
    Answer::Done
}

fn seen((bytes, reply): (Vec<u8>, Reply)) -> Seen {
    let tag = |page: &[u8]| tag_of(page).expect("not torn");
    let tags = bytes.chunks(page()).map(tag).collect();
    Seen { tags, cpages: reply.cpages, faults: reply.faults }
}

/// The runs of pages of which something is true.
pub(crate) fn runs(
    pages: Range<usize>,
    is_in: impl Fn(usize) -> bool,
) -> impl Iterator<Item = Range<usize>> {
    let mut next = pages.start;
    std::iter::from_fn(move || {
        let start = (next..pages.end).find(|&page| is_in(page))?;
        next = (start..pages.end).find(|&page| !is_in(page)).unwrap_or(pages.end);
        Some(start..next)
    })
}
