//! The first step: who goes, and into which frames.

use super::{Area, Collected, Content, Order, Passenger, Route, Scratch, Voyage, guarded};
use crate::addr::pages::{above, count_of, page_bytes};
use crate::addr::{PageCount, PageNumber, PageSize, VaRange};
use crate::device::DeviceError;
use crate::device::Hold;
use crate::mirror::migrate::Skip;
use crate::mirror::shared::Core;
use crate::mirror::table::{BLOCK, Place};
use crate::notifier::Event;
use crate::sync::backoff::Backoff;
use crate::sys::device::{DeviceMemory, HostDevice, MirrorCall};
use crate::sys::survey::Survey;
use crate::sys::uffd::Modes;

/// A block whose migration has begun: everybody who mirrors it has been told.
pub(crate) struct Setup<'m>(Voyage<'m>);

impl<'m> Setup<'m> {
    /// Begins the migration of a range inside one block.
    pub(crate) fn new(
        core: &'m Core,
        scratch: &'m mut Scratch,
        device: &'m dyn DeviceMemory,
        order: Order<'m>,
        range: VaRange,
        areas: &[Area],
    ) -> Self {
        let by = Some(device.owner());
        let event = match order.hold {
            Hold::Private => Event::Migrate { by },
            Hold::Exclusive => Event::Exclusive { by },
        };
        let guard = core.invalidate(event, range);
        let mut pages = std::mem::take(&mut scratch.list.0);
        pages.clear();
        let all = (0..count_of(range)).map(|index| passenger(above(range.start(), index), areas));
        pages.extend(all);
        let backoff = Backoff::default();
        let (clearings, unlocked) = (0, false);
        Self(Voyage {
            core,
            scratch,
            device,
            order,
            range,
            pages,
            backoff,
            clearings,
            unlocked,
            _guard: guard,
        })
    }

    /// Takes the pages from their places.
    pub(crate) fn collect(mut self, areas: &[Area]) -> Collected<'m> {
        self.leave_out();
        self.0.allocate();
        self.0.claim();
        self.0.watch(areas);
        self.0.take_all();
        Collected(self.0)
    }

    /// Leaves out the pages that devices hold.
    fn leave_out(&mut self) {
        let voyage = &mut self.0;
        let state = voyage.core.lock();
        for (index, page) in voyage.pages.iter_mut().enumerate() {
            match state.table.place(above(voyage.range.start(), index)) {
                Place::Home => {}
                Place::Transit(..) => page.skip = Some(Skip::InTransit),
                Place::Device(held) if held.device == voyage.order.device => page.already = true,
                Place::Device(_) => page.skip = Some(Skip::HeldByOther),
            }
        }
    }
}

fn passenger(at: crate::VirtAddr, areas: &[Area]) -> Passenger {
    let area = areas.iter().find(|area| area.range.contains(at));
    let route = area.map_or(Route::Stay(Skip::Changed), |area| area.route);
    let skip = if let Route::Stay(reason) = route { Some(reason) } else { None };
    let (frame, content) = (None, Content::Home);
    Passenger { route, skip, already: false, frame, huge: false, content, claimed: false }
}

impl Voyage<'_> {
    /// Has the claimed pages watched. Before the claim it would be too early: what is mapped there
    /// could be replaced by what nobody watches, with nobody told, and be taken from there.
    fn watch(&mut self, areas: &[Area]) {
        let modes = Modes::MISSING | Modes::PROTECTED;
        for area in areas.iter().filter(|area| area.can_leave()) {
            let Some(part) = area.range.intersection(&self.range) else {
                continue;
            };
            if self.core.transfer.uffd().register(part, modes).is_err() {
                let index = VaRange::new(self.range.start(), part.start()).map_or(0, count_of);
                for page in self.pages.iter_mut().skip(index).take(count_of(part)) {
                    page.skip = page.skip.or(Some(Skip::Unwatchable));
                }
            }
        }
    }

    /// Finds frames: a huge page where it fits, then runs, then single ones.
    fn allocate(&mut self) {
        if self.wants_huge() && self.allocate_huge() {
            return;
        }
        let mut index = 0;
        while index < self.pages.len() {
            let run = self.run(index, |page, first| page.goes() == first.goes());
            if self.pages.get(index).is_some_and(Passenger::goes) {
                self.allocate_run(index, run);
            }
            index += run.max(1);
        }
    }

    /// A huge page is worth it if the block is one already, or holds nothing yet.
    fn wants_huge(&self) -> bool {
        let whole = self.pages.len() == BLOCK && self.pages.iter().all(Passenger::goes);
        let survey = || self.core.transfer.surveyor.survey(self.range);
        let is_huge = |survey: Survey| {
            let (huge, present) = (survey.huge.len(), survey.present.len());
            huge == BLOCK || present == 0 && survey.swapped.len() == 0
        };
        whole && survey().is_ok_and(is_huge)
    }

    fn allocate_huge(&mut self) -> bool {
        let size = PageSize::new(BLOCK as u64 * page_bytes()).unwrap_or(PageSize::MIB_2);
        let Some(first) = self.frames(BLOCK, size) else {
            return false;
        };
        self.assign(0, BLOCK, first, true);
        true
    }

    fn allocate_run(&mut self, mut index: usize, count: usize) {
        let end = index + count;
        let mut portion = count;
        while index < end {
            portion = portion.min(end - index);
            match self.frames(portion, PageSize::host()) {
                Some(first) => {
                    self.assign(index, portion, first, false);
                    index += portion;
                }
                None if portion == 1 => {
                    self.skip(index, end - index, Skip::NoDeviceMemory);
                    return;
                }
                None => portion = portion.div_ceil(2),
            }
        }
    }

    /// Takes frames, empty ones if pages can be moved there.
    fn frames(&self, count: usize, page_size: PageSize) -> Option<PageNumber> {
        let count = PageCount::new(count as u64);
        let first = guarded(|| self.device.alloc(&MirrorCall::BY_MIRROR, count, page_size))?;
        if let Some(host) = self.device.as_host()
            && self.empty(host, first, count).is_err()
        {
            self.device.free(&MirrorCall::BY_MIRROR, first, count);
            return None;
        }
        Some(first)
    }

    /// Makes frames holes, to which huge pages can be moved whole. Meanwhile they are not watched:
    /// else the kernel would wait until the handler has read about each drop.
    pub(super) fn empty(
        &self,
        host: &HostDevice,
        first: PageNumber,
        count: PageCount,
    ) -> Result<(), DeviceError> {
        if host.frames().is_empty(first, count) {
            return Ok(());
        }
        let (uffd, range) = (self.core.transfer.uffd(), host.frames().range_of(first, count)?);
        // What is still watched is dropped too, only more slowly.
        let _ = uffd.unregister(range);
        let cleared = host.frames().clear(first, count);
        if let Err(error) = uffd.register(range, Modes::PROTECTED) {
            // No place to move to: not empty, so that who wants them next tries again.
            host.frames().note_filled(first, count);
            return Err(DeviceError::Other { source: error.into() });
        }
        cleared
    }

    fn assign(&mut self, index: usize, count: usize, first: PageNumber, huge: bool) {
        for (offset, page) in self.pages.iter_mut().skip(index).take(count).enumerate() {
            page.frame = first.checked_add(PageCount::new(offset as u64));
            page.huge = huge;
        }
    }
}
