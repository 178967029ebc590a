//! P1 to P8: what a walk of any pages with any requests promises, on real memory of which devices
//! hold a part.

use std::fs::File;
use std::os::unix::fs::FileExt;

use farptr_hmm::{PageSize, Pfn, Request, VaRange};

use crate::cases::check;
use crate::hmm_rig::Watchdog;
use crate::region::Region;
use crate::scene::{Failed, Spot, Stage, Walked, requests, spots, tag, want};
use crate::tables::{Refusal, Told, Want, changes, judge};

const PAGES: usize = 24;
const CASES: u32 = 150;

/// Requests that count page by page, and nothing else.
const EACH: (Request, Request) = (Request::NONE, Request::ALL);

/// The raw entries of the kernel's page map.
fn pagemap(range: VaRange) -> Vec<u8> {
    let size = PageSize::host();
    let count = usize::try_from(range.page_count(size).get()).expect("64 bits");
    let mut entries = vec![0; count * 8];
    let offset = range.start().page_number(size).get() * 8;
    let file = File::open("/proc/self/pagemap").expect("pagemap");
    file.read_exact_at(&mut entries, offset).expect("entries");
    entries
}

/// Runs a property on generated scenes with generated requests.
fn property(healthy: bool, test: impl Fn(&Stage, &Region, &[Spot], &[Request])) {
    let _watchdog = Watchdog::new();
    let Some(stage) = Stage::new() else { return };
    let region = Region::new(PAGES);
    check(CASES, (spots(PAGES, healthy), requests(PAGES)), |(spots, requests)| {
        stage.set(&region, &spots);
        test(&stage, &region, &spots, &requests);
        assert_eq!(stage.mirror.stats().lost, 0);
    });
}

/// Flags without what says where a page is.
fn flags(pfns: &[Pfn]) -> Vec<(bool, bool, bool, bool)> {
    let flags = |pfn: &Pfn| (pfn.is_valid(), pfn.is_writable(), pfn.is_error(), pfn.is_device());
    pfns.iter().map(flags).collect()
}

/// The first page that cannot be made available.
fn expected_error(spots: &[Spot], requests: &[Request]) -> Option<(usize, Failed)> {
    spots.iter().zip(requests).enumerate().find_map(|(page, (spot, &request))| {
        let area = spot.area();
        match judge(area, spot.entry(), want(request)).err()? {
            Refusal::Fault => Some((page, Failed::Fault)),
            Refusal::Permission => Some((page, Failed::Permission)),
        }
    })
}

/// Checks an answer against the tables. A walk that does not ask for writing may leave open whether
/// a page can be written as it is.
fn check_answer(spot: &Spot, request: Request, pfn: Pfn) {
    let want = want(request);
    let told = judge(spot.area(), spot.entry(), want).expect("not refused");
    let context = format!("{spot:?} {request:?} {pfn:?}");
    let (valid, device) = match told {
        Told::Error | Told::Nothing => (false, false),
        Told::Home { .. } => (true, false),
        Told::Mine { .. } => (true, true),
    };
    assert_eq!((pfn.is_valid(), pfn.is_device()), (valid, device), "{context}");
    assert_eq!(pfn.is_error(), told == Told::Error, "{context}");
    if let Told::Home { write } | Told::Mine { write } = told {
        assert!(write || !pfn.is_writable(), "{context}");
        assert!(want != Want::Write || pfn.is_writable(), "{context}");
    }
}

#[test]
fn a_snapshot_changes_nothing() {
    property(false, |stage, region, _, _| {
        let range = region.range(region.all());
        let (before, first) = (pagemap(range), stage.look(region));
        assert_eq!(stage.look(region), first);
        assert_eq!(pagemap(range), before);
    });
}

/// P2, P3, and the tables as a whole.
#[test]
fn answers_are_those_of_the_tables() {
    property(false, |stage, region, spots, requests| {
        let walked = stage.walk(region, region.all(), requests, EACH);
        assert_eq!(walked.error, expected_error(spots, requests));
        assert!(walked.error.is_some() || walked.pfns.len() == PAGES);
        for ((spot, &request), &pfn) in spots.iter().zip(requests).zip(&walked.pfns) {
            assert!(pfn.is_valid() || !pfn.is_writable(), "{pfn:?}");
            assert!(!(pfn.is_valid() && pfn.is_error()), "{pfn:?}");
            check_answer(spot, request, pfn);
        }
    });
}

/// P4.
#[test]
fn a_wish_to_write_alone_is_no_request() {
    property(false, |stage, region, _, _| {
        let range = region.range(region.all());
        let (before, seen) = (pagemap(range), stage.look(region));
        let writes = [Request::WRITE; PAGES];
        let nothing = (Request::NONE, Request::NONE);
        for how in [EACH, (Request::WRITE, Request::NONE), (Request::WRITE, Request::WRITE)] {
            let walked = stage.walk(region, region.all(), &writes, how);
            assert_eq!(walked, stage.walk(region, region.all(), &writes, nothing));
            assert_eq!(walked, Walked { pfns: seen.clone(), error: None });
        }
        assert_eq!(pagemap(range), before);
    });
}

/// P5: the same request is made of a page's own, of the default, or of both.
#[test]
fn only_the_effective_request_matters() {
    property(false, |stage, region, spots, requests| {
        let first = stage.walk(region, region.all(), requests, EACH);
        for default in [Request::FAULT, Request::WRITE] {
            // Bits that the default adds are taken out of the pages' own, and masked too.
            let added: Vec<Request> = requests.iter().map(|&own| own | default).collect();
            stage.set(region, spots);
            let own = stage.walk(region, region.all(), &added, EACH);
            stage.set(region, spots);
            let both = stage.walk(region, region.all(), requests, (default, Request::ALL));
            assert_eq!((flags(&own.pfns), own.error), (flags(&both.pfns), both.error));
        }
        stage.set(region, spots);
        let masked = stage.walk(region, region.all(), requests, EACH);
        assert_eq!((flags(&first.pfns), first.error), (flags(&masked.pfns), masked.error));
    });
}

/// P6: where nothing fails, two walks of two parts say what one walk of the whole says.
#[test]
fn a_range_can_be_split_anywhere() {
    property(true, |stage, region, spots, _| {
        for request in [Request::NONE, Request::FAULT, Request::ALL] {
            let (all, how) = ([request; PAGES], EACH);
            let whole = stage.walk(region, region.all(), &all, how);
            for at in [1, PAGES / 3, PAGES - 1] {
                stage.set(region, spots);
                let mut parts = stage.walk(region, 0..at, &all, how).pfns;
                parts.extend(stage.walk(region, at..PAGES, &all, how).pfns);
                assert_eq!(flags(&parts), flags(&whole.pfns), "{request:?} split at {at}");
            }
            stage.set(region, spots);
        }
    });
}

/// P7: what was answered before an error is true, and nothing behind it is answered.
#[test]
fn answers_before_an_error_are_true() {
    property(false, |stage, region, spots, requests| {
        let walked = stage.walk(region, region.all(), requests, EACH);
        let Some((failed, _)) = walked.error else { return };
        assert!(walked.pfns.len() <= failed, "{walked:?}");
        let now = stage.look(region);
        for (page, &pfn) in walked.pfns.iter().enumerate() {
            check_answer(&spots[page], requests[page], pfn);
            assert_eq!(pfn.number(), now[page].number(), "page {page} is where it was said to be");
        }
    });
}

/// P8: a page that is not wanted, or is there, is left as it is, and no page loses its content.
#[test]
fn what_is_not_wanted_is_left_alone() {
    property(false, |stage, region, spots, requests| {
        let range = region.range(region.all());
        let (before, seen) = (pagemap(range), stage.look(region));
        let walked = stage.walk(region, region.all(), requests, EACH);
        let (after, now) = (pagemap(range), stage.look(region));
        for (page, (spot, &request)) in spots.iter().zip(requests).enumerate() {
            let changed = changes(spot.entry(), want(request));
            if walked.error.is_some() || !changed {
                let entry = page * 8..page * 8 + 8;
                assert_eq!(before[entry.clone()], after[entry], "page {page}, {spot:?}");
                assert_eq!(seen[page], now[page], "page {page}, {spot:?}");
            }
            if spot.area().is_some_and(|area| area.can_read()) {
                let content = if spot.has_content() { tag(page) } else { 0 };
                assert_eq!(region.load(page), Ok(content), "page {page}, {spot:?}");
            }
        }
    });
}
