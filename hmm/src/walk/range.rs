//! The input and the output of a walk.

#![forbid(unsafe_code)]

use crate::addr::{PageSize, VaRange};
use crate::device::Owner;
use crate::error::FaultError;
use crate::notifier::{Notifier, Seq};
use crate::walk::pfn::{Pfns, Request};

/// A request for neighbouring pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestRun {
    /// The pages.
    pub range: VaRange,
    /// The request for each of them.
    pub request: Request,
}

/// A range of pages that a device wants to know about, what it wants of them, and the answer.
///
/// The request for a page is `(its own request & pfn_flags_mask) | default_flags`. The two usual
/// forms are a default for all pages with the mask [`Request::NONE`], which is the initial mask,
/// and requests page by page with the mask [`Request::ALL`].
///
/// Requests and answers are kept apart, unlike in the kernel, so that a range can be walked again
/// as often as needed: no answer turns into a request.
///
/// # Examples
///
/// The loop that mirrors memory. A caller that must not loop for ever counts the rounds:
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use farptr_hmm::{
///     FaultError, HmmRange, Invalidate, Invalidation, Notifiers, PageSize, Pfns, ProcessMm,
///     Request, SeqSet, VaRange, WouldBlock, range_fault,
/// };
///
/// #[derive(Default)]
/// struct PageTable(Mutex<Option<Pfns>>);
///
/// impl Invalidate for PageTable {
///     fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
///         let mut entries = self.0.lock().unwrap();
///         *entries = None;
///         Ok(invalidation.set_seq())
///     }
/// }
///
/// let buffer = vec![1u8; 1 << 20];
/// let pages = VaRange::of_slice(&buffer).pages_covering(PageSize::host());
/// let (host, notifiers) = (ProcessMm::open()?, Notifiers::new());
/// let table = Arc::new(PageTable::default());
/// let notifier = notifiers.register(pages, None, table.clone())?;
///
/// let mut range = HmmRange::new(pages, &notifier)?;
/// range.default_flags = Request::FAULT;
/// loop {
///     match range_fault(&host, &mut range) {
///         Ok(()) => {}
///         Err(FaultError::Busy { .. }) => {
///             range.read_begin();
///             continue;
///         }
///         Err(error) => return Err(error.into()),
///     }
///     let mut entries = table.0.lock().unwrap();
///     if !range.read_retry() {
///         *entries = Some(range.pfns().clone());
///         break;
///     }
///     drop(entries);
///     range.read_begin();
/// }
/// assert!(range.pfns().runs().iter().all(|run| run.first.is_valid()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HmmRange<'n> {
    /// The request for every page.
    pub default_flags: Request,
    /// The bits of a page's own request that count.
    pub pfn_flags_mask: Request,
    /// The owner whose device pages are reported as they are. Initially the owner of the notifier.
    pub owner: Option<Owner>,
    /// Page aligned, not empty, inside the range of `notifier`.
    range: VaRange,
    notifier: &'n Notifier,
    seq: Seq,
    /// Ascending, page aligned, disjoint, none empty, inside `range`.
    requests: Vec<RequestRun>,
    pfns: Pfns,
}

impl<'n> HmmRange<'n> {
    /// Makes a range for which nothing is requested, and begins an attempt to read it: waits, as
    /// [`Notifier::read_begin`] does.
    ///
    /// # Errors
    ///
    /// - [`FaultError::Invalid`] if the range is empty, not page aligned, or not inside the range
    ///   of the notifier.
    pub fn new(range: VaRange, notifier: &'n Notifier) -> Result<Self, FaultError> {
        let aligned = !range.is_empty() && range.is_aligned(PageSize::host());
        if !aligned || !notifier.range().contains_range(&range) {
            return Err(FaultError::Invalid { range });
        }
        Ok(Self {
            default_flags: Request::NONE,
            pfn_flags_mask: Request::NONE,
            owner: notifier.owner(),
            range,
            notifier,
            seq: notifier.read_begin(),
            requests: Vec::new(),
            pfns: Pfns::new(range.start()),
        })
    }

    /// Replaces the requests of single pages, which count where [`HmmRange::pfn_flags_mask`] lets
    /// them. Pages that are not listed have the request [`Request::NONE`] of their own.
    ///
    /// # Errors
    ///
    /// - [`FaultError::Invalid`] names the first run that is empty, not page aligned, outside the
    ///   range, or not above the run before it. The requests are then as before.
    pub fn set_requests(
        &mut self,
        requests: impl IntoIterator<Item = RequestRun>,
    ) -> Result<(), FaultError> {
        let requests: Vec<RequestRun> = requests.into_iter().collect();
        let mut lowest = self.range.start();
        for RequestRun { range, .. } in &requests {
            let aligned = !range.is_empty() && range.is_aligned(PageSize::host());
            if !aligned || range.start() < lowest || !self.range.contains_range(range) {
                return Err(FaultError::Invalid { range: *range });
            }
            lowest = range.end();
        }
        self.requests = requests;
        Ok(())
    }

    /// Begins another attempt: takes a new sequence number, waiting as [`Notifier::read_begin`]
    /// does. Every round of a loop begins so; an old number would fail for ever.
    pub fn read_begin(&mut self) {
        self.seq = self.notifier.read_begin();
    }

    /// Tells, under the lock of the device, whether the attempt failed; see
    /// [`Notifier::read_retry`].
    #[must_use]
    pub fn read_retry(&self) -> bool {
        self.notifier.read_retry(self.seq)
    }

    /// Tells, without a lock, whether the attempt is already known to have failed.
    #[must_use]
    pub fn check_retry(&self) -> bool {
        self.notifier.check_retry(self.seq)
    }

    /// Returns the pages.
    #[must_use]
    pub fn range(&self) -> VaRange {
        self.range
    }

    /// Returns the answers of the last walk.
    ///
    /// After an error they end where the walk did: what they say is true, and the pages behind
    /// them are not answered.
    #[must_use]
    pub fn pfns(&self) -> &Pfns {
        &self.pfns
    }

    pub(crate) fn set_pfns(&mut self, pfns: Pfns) {
        self.pfns = pfns;
    }

    /// Cuts `part` at the borders of requests and says what is wanted for each piece.
    pub(crate) fn wanted(&self, part: VaRange) -> Vec<RequestRun> {
        let default = self.default_flags;
        let mut pieces = Vec::new();
        let mut cursor = part.start();
        for run in self.requests_in(part) {
            push(&mut pieces, VaRange::new(cursor, run.range.start()), default);
            push(&mut pieces, Some(run.range), run.request & self.pfn_flags_mask | default);
            cursor = run.range.end();
        }
        push(&mut pieces, VaRange::new(cursor, part.end()), default);
        pieces
    }

    /// The requests that matter in `part`, cut to it.
    fn requests_in(&self, part: VaRange) -> impl Iterator<Item = RequestRun> {
        let counts = self.pfn_flags_mask != Request::NONE;
        let requests = if counts { &self.requests[..] } else { &[] };
        let first = requests.partition_point(|run| run.range.end() <= part.start());
        let cut = move |run: &RequestRun| {
            Some(RequestRun { range: run.range.intersection(&part)?, ..*run })
        };
        requests[first..].iter().map_while(cut)
    }
}

fn push(pieces: &mut Vec<RequestRun>, range: Option<VaRange>, request: Request) {
    let range = range.filter(|range| !range.is_empty());
    pieces.extend(range.map(|range| RequestRun { range, request }));
}
