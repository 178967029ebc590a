//! The pages of a bare range that stay at home. If they were in transit, a thread that has to bring
//! them home could need them, and would wait for itself. `DESIGN.md` says which other memory only
//! the caller can know.

use super::area::{Area, Route};
use super::error::MigrateError;
use super::outcome::Skip;
use crate::addr::{VaRange, VirtAddr};
use crate::host::HostMm;
use crate::host::vma::Vma;

/// The memory that a mirror, its devices and the migrating thread need.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    /// Values in memory that an allocator gave out. A thread that needs such a value needs the
    /// memory beside it too: the allocator's own records, and other parts of the value. So the
    /// whole area stays.
    pub(crate) values: Vec<VirtAddr>,
    /// Pages that are needed by themselves.
    pub(crate) pages: Vec<VaRange>,
}

impl Needed {
    /// Splits the areas of `range` into parts that must stay and parts that may leave.
    pub(crate) fn keep_home(
        &self,
        host: &impl HostMm,
        range: VaRange,
        areas: &[Area],
    ) -> Result<Vec<Area>, MigrateError> {
        let fail = |source| MigrateError::Host { range, source };
        let vmas = host.vmas(range).map_err(fail)?;
        let mut kept = Vec::new();
        for area in areas {
            let vma = vmas.iter().find(|vma| vma.range.contains(area.range.start()));
            match vma {
                _ if !area.can_leave() => kept.push(*area),
                Some(vma) if !self.has_values(vma) => self.cut(*area, &mut kept),
                _ => kept.push(Area { route: Route::Stays(Skip::Needed), ..*area }),
            }
        }
        Ok(kept)
    }

    /// Tells whether an area is an allocator's or the first thread's stack.
    fn has_values(&self, vma: &Vma) -> bool {
        let named = ["[heap]", "[stack]"];
        let is_named = vma.name.as_ref().is_some_and(|name| named.iter().any(|n| *name == **n));
        is_named || self.values.iter().any(|&at| vma.range.contains(at))
    }

    /// Cuts an area where pages of it are needed.
    fn cut(&self, area: Area, cut: &mut Vec<Area>) {
        let needed = self.pages.iter().filter_map(|pages| pages.intersection(&area.range));
        let mut needed: Vec<_> = needed.filter(|pages| !pages.is_empty()).collect();
        needed.sort_by_key(VaRange::start);
        let mut cursor = area.range.start();
        for pages in needed {
            if let Some(between) = VaRange::new(cursor, pages.start()) {
                push(cut, Area { range: between, ..area });
            }
            if let Some(rest) = VaRange::new(cursor.max(pages.start()), pages.end()) {
                push(cut, Area { range: rest, route: Route::Stays(Skip::Needed) });
                cursor = rest.end();
            }
        }
        if let Some(rest) = VaRange::new(cursor, area.range.end()) {
            push(cut, Area { range: rest, ..area });
        }
    }
}

fn push(areas: &mut Vec<Area>, area: Area) {
    if !area.range.is_empty() {
        areas.push(area);
    }
}

#[cfg(test)]
mod tests {
    use super::super::area::Leave;
    use super::*;

    fn range(start: u64, end: u64) -> VaRange {
        VaRange::new(VirtAddr::new(start << 12), VirtAddr::new(end << 12)).expect("a range")
    }

    #[test]
    fn an_area_is_cut_where_its_pages_are_needed() {
        let pages = vec![range(14, 16), range(8, 11), range(15, 18), range(30, 40), range(19, 25)];
        let needed = Needed { values: vec![], pages };
        let mut cut = Vec::new();
        needed.cut(Area { range: range(10, 20), route: Route::Leaves(Leave::ByMove) }, &mut cut);
        let stays = Route::Stays(Skip::Needed);
        let cut: Vec<_> = cut.iter().map(|area| (area.range, area.route)).collect();
        let expected = [
            (range(10, 11), stays),
            (range(11, 14), Route::Leaves(Leave::ByMove)),
            (range(14, 16), stays),
            (range(16, 18), stays),
            (range(18, 19), Route::Leaves(Leave::ByMove)),
            (range(19, 20), stays),
        ];
        assert_eq!(cut, expected);
    }
}
