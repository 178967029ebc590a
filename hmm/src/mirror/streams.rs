//! Threads that go through memory in order: the further they come, the more pages come home with
//! the page that they touch.

#![forbid(unsafe_code)]

use crate::addr::{PageSize, VaRange, VirtAddr};

/// How many threads may go through memory in order at a time. With more, some start anew.
const STREAMS: usize = 8;

/// Accesses that follow each other.
#[derive(Clone, Copy, Debug)]
struct Stream {
    /// The end of the last neighbourhood.
    end: VirtAddr,
    /// The size of the last neighbourhood.
    size: PageSize,
    /// When it last went on.
    at: u64,
}

/// The pages that come with a page that is touched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbourhood {
    pub(crate) range: VaRange,
    size: PageSize,
    /// The place of the stream that leads to it.
    stream: Option<usize>,
}

/// Finds the neighbourhood of a page that is touched. It allocates nothing.
#[derive(Debug)]
pub(crate) struct Streams {
    /// The size of the neighbourhood of a page that no stream leads to.
    least: PageSize,
    /// The size that no neighbourhood exceeds.
    most: PageSize,
    streams: [Option<Stream>; STREAMS],
    /// How many neighbourhoods there were.
    count: u64,
}

impl Streams {
    pub(crate) fn new(least: PageSize, most: PageSize) -> Self {
        Self { least, most: most.max(least), streams: [None; STREAMS], count: 0 }
    }

    /// The neighbourhood of a page, of the least size at least. If the page follows an earlier
    /// neighbourhood, it is twice as large as that one.
    ///
    /// A page follows if it is nearer than the least neighbourhood is long: what lies between
    /// would come with it in any case.
    pub(crate) fn around(&self, page: VaRange) -> Neighbourhood {
        let follows = |stream: &Stream| {
            let behind = page.start().offset_from(stream.end);
            behind.is_some_and(|bytes| bytes < self.least.bytes())
        };
        let streams = self.streams.iter().enumerate();
        let leading = streams.filter_map(|(place, stream)| Some((place, stream.filter(follows)?)));
        let nearest = leading.max_by_key(|(_, stream)| stream.end);
        let size = nearest.map_or(self.least, |(_, stream)| twice(stream.size).min(self.most));
        let stream = nearest.map(|(place, _)| place);
        Neighbourhood { range: page.pages_covering(size), size, stream }
    }

    /// Notes that a neighbourhood came, up to `end`. Its stream goes on there; if it has none, one
    /// begins in the place of the stream that has rested longest.
    pub(crate) fn go_on(&mut self, neighbourhood: Neighbourhood, end: VirtAddr) {
        self.count += 1;
        let new = Stream { end, size: neighbourhood.size, at: self.count };
        let rested = |(_, stream): &(usize, &Option<Stream>)| stream.map_or(0, |stream| stream.at);
        let oldest = || self.streams.iter().enumerate().min_by_key(rested).map(|(place, _)| place);
        let place = neighbourhood.stream.or_else(oldest);
        if let Some(place) = place.and_then(|place| self.streams.get_mut(place)) {
            *place = Some(new);
        }
    }
}

fn twice(size: PageSize) -> PageSize {
    PageSize::new(2 * size.bytes()).unwrap_or(size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::pages::{count_of, page_bytes, pages_from};

    fn page(number: u64) -> VaRange {
        pages_from(VirtAddr::new(number * page_bytes()), 1)
    }

    fn pages(count: u64) -> PageSize {
        PageSize::new(count * page_bytes()).expect("a power of two")
    }

    /// The first page of the neighbourhood of a page, and how many it has, all of which come.
    fn around(streams: &mut Streams, number: u64) -> (u64, usize) {
        let found = streams.around(page(number));
        streams.go_on(found, found.range.end());
        (found.range.start().get() / page_bytes(), count_of(found.range))
    }

    /// The sizes of the neighbourhoods of a thread that touches every page of a range.
    fn walk(streams: &mut Streams, pages: std::ops::Range<u64>) -> Vec<usize> {
        let (mut next, mut sizes) = (pages.start, Vec::new());
        while next < pages.end {
            let (first, count) = around(streams, next);
            sizes.push(count);
            next = first + count as u64;
        }
        sizes
    }

    #[test]
    fn a_thread_that_goes_on_gets_twice_as_much_each_time() {
        let mut streams = Streams::new(pages(16), pages(512));
        let sizes = walk(&mut streams, 0..4 * 512);
        assert_eq!(sizes, [16, 32, 64, 128, 256, 512, 512, 512, 512]);
        // It may begin anywhere.
        let sizes = walk(&mut Streams::new(pages(16), pages(512)), 1000..1600);
        assert_eq!(sizes, [16, 32, 64, 128, 256, 512, 512]);
    }

    #[test]
    fn who_jumps_gets_the_least() {
        let mut streams = Streams::new(pages(16), pages(512));
        let backwards: Vec<_> = (0..8).rev().map(|step| around(&mut streams, step * 16)).collect();
        assert!(backwards.iter().all(|&(_, count)| count == 16), "{backwards:?}");
        for step in 1..40 {
            // Each jump is as long as the least neighbourhood, or longer.
            assert_eq!(around(&mut streams, 10_000 + step * 32).1, 16, "jump {step}");
        }
    }

    #[test]
    fn who_leaves_less_out_than_would_come_home_goes_on() {
        let mut streams = Streams::new(pages(16), pages(512));
        assert_eq!(around(&mut streams, 3), (0, 16));
        assert_eq!(around(&mut streams, 31), (0, 32));
        assert_eq!(around(&mut streams, 47), (0, 64));
        assert_eq!(around(&mut streams, 80), (80, 16), "16 pages were left out");
    }

    #[test]
    fn threads_take_turns_and_each_goes_on() {
        let mut streams = Streams::new(pages(1), pages(64));
        let starts = (0..STREAMS as u64).map(|thread| thread * 10_000);
        let mut next: Vec<_> = starts.collect();
        for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
            for at in &mut next {
                let (first, count) = around(&mut streams, *at);
                assert_eq!(count, expected, "at {at}");
                *at = first + count as u64;
            }
        }
        // One more thread, and the one that has rested longest has to begin anew.
        assert_eq!(around(&mut streams, 1_000_000).1, 1);
        assert_eq!(around(&mut streams, next[1]).1, 64);
        assert_eq!(around(&mut streams, next[0]).1, 1);
    }

    /// A thread that goes on is not forgotten for others that jump.
    #[test]
    fn who_jumps_displaces_nobody_who_goes_on() {
        let mut streams = Streams::new(pages(16), pages(512));
        let mut next = 0;
        for expected in [16, 32, 64, 128, 256, 512, 512] {
            let (first, count) = around(&mut streams, next);
            assert_eq!(count, expected);
            next = first + count as u64;
            (0..STREAMS as u64 - 1).for_each(|n| {
                around(&mut streams, 100_000 + (next + n) * 100);
            });
        }
    }

    #[test]
    fn a_neighbourhood_that_ends_early_is_gone_on_with_from_its_end() {
        let mut streams = Streams::new(pages(16), pages(512));
        let first = streams.around(page(0));
        streams.go_on(first, page(5).start());
        assert_eq!(around(&mut streams, 5), (0, 32));
        assert_eq!(around(&mut streams, 32), (0, 64));
        // One that did not come leads nowhere.
        let _ = streams.around(page(1000));
        assert_eq!(around(&mut streams, 1008), (1008, 16));
    }

    #[test]
    fn the_most_is_no_less_than_the_least() {
        let mut streams = Streams::new(pages(8), pages(2));
        assert_eq!(walk(&mut streams, 0..32), [8, 8, 8, 8]);
    }
}
