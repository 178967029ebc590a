//! One pass over a range: areas, then pages, then what is wanted of each.

use super::judge::{Entry, Remedy, Verdict, judge};
use crate::addr::{PageNumber, PageSize, VaRange, VirtAddr};
use crate::device::DeviceRun;
use crate::error::FaultError;
use crate::host::vma::Vma;
use crate::host::{Detail, FaultInError, HostMm, PageAccess, PageRun};
use crate::walk::pfn::{Pfn, PfnFlags, Pfns, Request};
use crate::walk::range::{HmmRange, RequestRun};

/// A walk of a range.
pub(super) struct Walk<'a, H: ?Sized> {
    pub(super) host: &'a H,
    pub(super) range: &'a HmmRange<'a>,
    /// Whether the range's requests count.
    pub(super) has_requests: bool,
}

/// The result of a pass: answers up to the first page that has to be made available, and from there
/// on only the pages that have to be.
pub(super) struct Pass<'p> {
    pfns: &'p mut Pfns,
    needs: Vec<Need>,
}

/// Neighbouring pages that have to be made available in the same way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) range: VaRange,
    remedy: Remedy,
    access: PageAccess,
}

/// Neighbouring pages of an area that are alike, wherever they are.
struct EntryRun {
    range: VaRange,
    entry: Entry,
    /// The place of the first page.
    number: PageNumber,
    mapping: PageSize,
}

impl<'p> Pass<'p> {
    pub(super) fn new(pfns: &'p mut Pfns) -> Self {
        Self { pfns, needs: Vec::new() }
    }

    pub(super) fn into_needs(self) -> Vec<Need> {
        self.needs
    }

    /// Answers for `range`, unless something before it is still needed.
    fn report(&mut self, range: VaRange, first: Pfn) {
        if self.needs.is_empty() {
            self.pfns.push(range, first);
        }
    }

    fn need(&mut self, range: VaRange, remedy: Remedy, access: PageAccess) {
        let new = Need { range, remedy, access };
        match self.needs.last_mut() {
            Some(last) if last.is_continued_by(&new) => {
                last.range = VaRange::new(last.range.start(), range.end()).unwrap_or(last.range);
            }
            _ => self.needs.push(new),
        }
    }
}

impl Need {
    fn is_continued_by(&self, next: &Self) -> bool {
        let alike = (self.remedy, self.access) == (next.remedy, next.access);
        alike && self.range.end() == next.range.start()
    }

    /// Makes the pages available.
    pub(super) fn apply<H: HostMm + ?Sized>(&self, host: &H) -> Result<(), FaultInError> {
        match self.remedy {
            Remedy::FaultIn => host.fault_in(self.range, self.access),
            Remedy::BringHome => host.bring_home(self.range, self.access),
        }
    }
}

impl<H: HostMm + ?Sized> Walk<'_, H> {
    /// Walks `part`, whose first address is where the answers of `pass` end.
    pub(super) fn pass(
        &self,
        part: VaRange,
        detail: Detail,
        pass: &mut Pass<'_>,
    ) -> Result<(), FaultError> {
        let mut cursor = part.start();
        for vma in self.host.vmas(part)? {
            let Some(mapped) = vma.range.intersection(&between(cursor, part.end())) else {
                continue;
            };
            self.no_access(between(cursor, mapped.start()), pass)?;
            self.area(&vma, mapped, detail, pass)?;
            cursor = mapped.end();
        }
        self.no_access(between(cursor, part.end()), pass)
    }

    /// The pages from `addr` to the end of the range.
    pub(super) fn rest(&self, addr: VirtAddr) -> VaRange {
        between(addr, self.range.range().end())
    }

    /// Judges `part`, which lies in one area: first by the area, then page by page.
    fn area(
        &self,
        vma: &Vma,
        part: VaRange,
        detail: Detail,
        pass: &mut Pass<'_>,
    ) -> Result<(), FaultError> {
        if !vma.flags.read || self.host.is_special(vma)? {
            return self.no_access(part, pass);
        }
        let wanted = self.wanted(part);
        for run in self.entries(vma, part, closeness(detail, &wanted))? {
            self.entry(vma, &run, &wanted, pass)?;
        }
        Ok(())
    }

    /// Judges pages that cannot be accessed: no area, or one that forbids reading.
    fn no_access(&self, part: VaRange, pass: &mut Pass<'_>) -> Result<(), FaultError> {
        if part.is_empty() {
            return Ok(());
        }
        match self.wanted(part).iter().find(|piece| piece.request.is_fault()) {
            Some(piece) => Err(FaultError::Fault { addr: piece.range.start() }),
            None => {
                pass.report(part, Pfn::ERROR);
                Ok(())
            }
        }
    }

    /// Judges the pages of one run, piece by piece of what is wanted.
    fn entry(
        &self,
        vma: &Vma,
        run: &EntryRun,
        wanted: &[RequestRun],
        pass: &mut Pass<'_>,
    ) -> Result<(), FaultError> {
        let first = wanted.partition_point(|piece| piece.range.end() <= run.range.start());
        for piece in &wanted[first..] {
            let Some(range) = piece.range.intersection(&run.range) else {
                break;
            };
            match judge(run.entry, piece.request, vma.flags.write) {
                Verdict::Report(flags) => pass.report(range, run.pfn(range.start(), flags)),
                Verdict::Need(remedy, access) => pass.need(range, remedy, access),
                Verdict::Denied => return Err(FaultError::Permission { addr: range.start() }),
            }
        }
        Ok(())
    }

    fn wanted(&self, part: VaRange) -> Vec<RequestRun> {
        if self.has_requests {
            return self.range.wanted(part);
        }
        vec![RequestRun { range: part, request: Request::NONE }]
    }

    /// Lists the states of the pages of `part`. The mirror's table takes precedence over the host
    /// page table. It is read last, so that a page that moves out in between is seen where it went.
    fn entries(
        &self,
        vma: &Vma,
        part: VaRange,
        detail: Detail,
    ) -> Result<Vec<EntryRun>, FaultError> {
        let pages = self.host.pages(vma, part, detail)?;
        let device = self.host.device_pages(part);
        let mut entries = Vec::with_capacity(pages.len() + 2 * device.len());
        let mut cursor = part.start();
        for held in &device {
            at_home(&pages, between(cursor, held.range.start()), &mut entries);
            entries.push(self.held(held));
            cursor = held.range.end();
        }
        at_home(&pages, between(cursor, part.end()), &mut entries);
        Ok(entries)
    }

    fn held(&self, run: &DeviceRun) -> EntryRun {
        let own = self.range.owner == Some(run.owner);
        let entry = Entry::Device { hold: run.hold, own };
        EntryRun { range: run.range, entry, number: run.frame, mapping: run.mapping }
    }
}

/// The pages from `start` to `end`; none if there are none.
fn between(start: VirtAddr, end: VirtAddr) -> VaRange {
    VaRange::new(start, end).unwrap_or_default()
}

/// How closely to look: whether pages are writable matters only where that is wanted.
fn closeness(detail: Detail, wanted: &[RequestRun]) -> Detail {
    let writes = wanted.iter().any(|piece| piece.request.is_write_fault());
    if writes { detail } else { Detail::Presence }
}

/// Appends the part of `pages` that lies in `window`.
fn at_home(pages: &[PageRun], window: VaRange, entries: &mut Vec<EntryRun>) {
    let first = pages.partition_point(|run| run.range.end() <= window.start());
    let inside = pages[first..].iter().map_while(|run| {
        let range = run.range.intersection(&window)?;
        let number = range.start().page_number(PageSize::host());
        Some(EntryRun { range, entry: Entry::Host(run.entry), number, mapping: run.mapping })
    });
    entries.extend(inside);
}

impl EntryRun {
    /// The answer about the page at `addr`.
    fn pfn(&self, addr: VirtAddr, flags: PfnFlags) -> Pfn {
        if !flags.contains(PfnFlags::VALID) {
            return Pfn::NONE;
        }
        let size = PageSize::host();
        let skipped = addr.page_number(size).offset_from(self.range.start().page_number(size));
        let number = skipped.and_then(|skipped| self.number.checked_add(skipped));
        // A host that numbers its pages past the last number has no page there.
        number.map_or(Pfn::ERROR, |number| Pfn::valid(flags, number, self.mapping))
    }
}
