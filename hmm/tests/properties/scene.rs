//! A region whose pages are generated one by one: what is mapped there, and where the page is.

use std::sync::Arc;

use farptr_hmm::{
    DeviceId, FaultError, HmmRange, HostDevice, Invalidate, Invalidation, Mirror, Notifier, Owner,
    PageCount, Pfn, Request, RequestRun, SeqSet, WouldBlock, range_fault,
};
use proptest::prelude::*;

use crate::model::{Access, Area};
use crate::region::Region;
use crate::tables::{Entry, Want};
use crate::world::mirror;

/// The place of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Untouched,
    Zeroes,
    Home,
    Mine,
    MineAlone,
    Others,
}

/// A page: what its area allows, if there is one, and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) access: Option<Access>,
    pub(crate) place: Place,
}

impl Spot {
    pub(crate) fn area(&self) -> Option<Area> {
        self.access.map(|access| Area { access, shared: false })
    }

    pub(crate) fn has_content(&self) -> bool {
        !matches!(self.place, Place::Untouched | Place::Zeroes)
    }

    pub(crate) fn entry(&self) -> Entry {
        match self.place {
            Place::Untouched => Entry::Nothing,
            Place::Zeroes => Entry::Zeroes,
            Place::Home => Entry::Present,
            Place::Mine => Entry::Mine,
            Place::MineAlone | Place::Others => Entry::Away,
        }
    }
}

/// Pages of any kind; `healthy` ones can all be read and written.
pub(crate) fn spots(count: usize, healthy: bool) -> impl Strategy<Value = Vec<Spot>> {
    use Place::{Home, Mine, MineAlone, Others, Untouched, Zeroes};
    let place = prop::sample::select(vec![Untouched, Zeroes, Home, Home, Mine, MineAlone, Others]);
    let write = Some(Access::Write);
    let access = if healthy {
        vec![write]
    } else {
        vec![None, Some(Access::None), Some(Access::Read), Some(Access::Read), write, write, write]
    };
    let spot = (prop::sample::select(access), place);
    prop::collection::vec(spot.prop_map(|(access, place)| Spot { access, place }), count)
}

pub(crate) fn requests(count: usize) -> impl Strategy<Value = Vec<Request>> {
    let all = vec![Request::NONE, Request::NONE, Request::FAULT, Request::WRITE, Request::ALL];
    prop::collection::vec(prop::sample::select(all), count)
}

pub(crate) fn want(request: Request) -> Want {
    match () {
        () if request.is_write_fault() => Want::Write,
        () if request.is_fault() => Want::Read,
        () => Want::Nothing,
    }
}

/// A device that looks only.
struct NoTable;

impl Invalidate for NoTable {
    fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
        Ok(invalidation.set_seq())
    }
}

/// A mirror with two devices, on which scenes are set up. The first device walks.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) notifier: Notifier,
    mine: DeviceId,
    others: DeviceId,
}

/// The answer of a walk: the pages up to where it came, and the page and kind of the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) pfns: Vec<Pfn>,
    pub(crate) error: Option<(usize, Failed)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    Fault,
    Permission,
}

impl Stage {
    pub(crate) fn new() -> Option<Self> {
        let mirror = mirror(1)?;
        let owner = Owner::new();
        let attach = |owner| {
            let device = HostDevice::new(owner, PageCount::new(1 << 10)).expect("a device");
            mirror.attach(Arc::new(device)).expect("room")
        };
        let (mine, others) = (attach(owner), attach(Owner::new()));
        let everything = farptr_hmm::VaRange::USER;
        let notifier = mirror.notifiers().register(everything, Some(owner), Arc::new(NoTable));
        let notifier = notifier.expect("not empty");
        Some(Self { mirror, notifier, mine, others })
    }

    /// Sets a scene up in a region, over whatever is there.
    pub(crate) fn set(&self, region: &Region, spots: &[Spot]) {
        region.map(0..spots.len(), Access::Write, false);
        for (page, spot) in spots.iter().enumerate() {
            let (one, range) = (page..page + 1, region.range(page..page + 1));
            match spot.place {
                Place::Untouched => {}
                Place::Zeroes => assert_eq!(region.load(page), Ok(0)),
                _ => region.store(page, tag(page)),
            }
            let moved = match spot.place {
                Place::Mine => Some(self.mirror.migrate_to_device(range, self.mine)),
                Place::MineAlone => Some(self.mirror.make_exclusive(range, self.mine)),
                Place::Others => Some(self.mirror.migrate_to_device(range, self.others)),
                _ => None,
            };
            if let Some(moved) = moved {
                assert_eq!(moved.expect("private memory").moved(), PageCount::new(1));
            }
            match spot.access {
                None => region.unmap(one),
                Some(access) => region.protect(one, access),
            }
        }
        self.mirror.drain();
    }

    /// Walks pages with a request for each, in one of the ways to say so.
    pub(crate) fn walk(
        &self,
        region: &Region,
        pages: std::ops::Range<usize>,
        requests: &[Request],
        (default, mask): (Request, Request),
    ) -> Walked {
        let mut range = HmmRange::new(region.range(pages.clone()), &self.notifier).expect("pages");
        (range.default_flags, range.pfn_flags_mask) = (default, mask);
        let request = |page: usize| RequestRun {
            range: region.range(page..page + 1),
            request: requests[page],
        };
        range.set_requests(pages.map(request)).expect("ascending");
        let error = loop {
            match range_fault(&*self.mirror, &mut range) {
                Ok(()) => break None,
                Err(FaultError::Busy { .. }) => range.read_begin(),
                Err(FaultError::Fault { addr }) => break Some((region.index(addr), Failed::Fault)),
                Err(FaultError::Permission { addr }) => {
                    break Some((region.index(addr), Failed::Permission));
                }
                Err(error) => panic!("{error}: {error:?}"),
            }
        };
        Walked { pfns: range.pfns().pages().map(|(_, pfn)| pfn).collect(), error }
    }

    /// The answer of a walk without a request about each page.
    pub(crate) fn look(&self, region: &Region) -> Vec<Pfn> {
        let nothing = vec![Request::NONE; region.pages()];
        let walked = self.walk(region, region.all(), &nothing, (Request::NONE, Request::NONE));
        assert_eq!(walked.error, None);
        walked.pfns
    }
}

pub(crate) fn tag(page: usize) -> u32 {
    u32::try_from(page).expect("a short region") + 1
}
