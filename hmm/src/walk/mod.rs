//! The walk: what a device may do with each page of a range, after faulting in what it wants.
//!
//! One pass over the range answers for the pages up to the first that has to be made available,
//! and plans for the rest: which runs of pages are needed, or that some page can never be had.
//! Then the planned runs are faulted in, exactly those, and another pass begins where the answers
//! end. `DESIGN.md` has the decision table and says where the walk differs from the kernel's.

#![forbid(unsafe_code)]

mod judge;
mod pass;
pub(crate) mod pfn;
pub(crate) mod process;
pub(crate) mod range;
#[cfg(test)]
mod tests;

use crate::addr::VirtAddr;
use crate::error::FaultError;
use crate::host::{Detail, FaultInError, HostMm};
use crate::walk::pfn::Pfns;
use crate::walk::range::HmmRange;

use pass::{Need, Pass, Walk};

/// How many passes in a row may leave the walk where it was. The host then takes pages away as
/// fast as they are faulted in, and the caller decides whether to go on.
const STUCK: u32 = 64;

/// How often a failure that the areas do not explain is tried again.
const DOUBTS: u32 = 2;

/// Answers for every page of `range` what the device may do with it, and faults in first what the
/// range wants and what is not there.
///
/// Pages for which nothing is wanted are reported as they are and left as they are. A page that
/// another owner's device holds, or any device exclusively, is brought home if it is wanted. A page
/// that `range.owner` holds is reported in its frame.
///
/// Success says what was true at some moment of the walk. It may be relied on only under the
/// device's lock, after [`HmmRange::read_retry`] has said `false`.
///
/// The answers, also those before an error, are in [`HmmRange::pfns`].
///
/// # Errors
///
/// - [`FaultError::Busy`] if the sequence number of the range is stale. Nothing else is wrong:
///   begin another attempt.
/// - [`FaultError::Fault`] if a requested page cannot be made available.
/// - [`FaultError::Permission`] if a page is wanted for writing and must not be written.
/// - [`FaultError::NoMemory`] if there is no memory to fault a page in.
/// - [`FaultError::Host`] if the host address space cannot be examined.
///
/// An error that the first pass finds out is returned before any page is faulted in.
///
/// # Examples
///
/// ```
/// use farptr_hmm::{
///     HmmRange, Invalidate, Invalidation, Notifiers, ProcessMm, Request, SeqSet, VaRange,
///     WouldBlock, range_fault, snapshot,
/// };
///
/// struct NoDevice;
/// impl Invalidate for NoDevice {
///     fn invalidate(&self, invalidation: &Invalidation<'_>) -> Result<SeqSet, WouldBlock> {
///         Ok(invalidation.set_seq())
///     }
/// }
///
/// let buffer = memmap2::MmapMut::map_anon(1 << 20)?;
/// let (host, notifiers) = (ProcessMm::open()?, Notifiers::new());
/// let notifier = notifiers.register(VaRange::USER, None, std::sync::Arc::new(NoDevice))?;
/// let mut range = HmmRange::new(VaRange::of_slice(&buffer), &notifier)?;
///
/// snapshot(&host, &mut range)?;
/// assert_eq!(range.pfns().count(|pfn| pfn.is_valid()).get(), 0, "untouched");
///
/// range.default_flags = Request::FAULT | Request::WRITE;
/// range_fault(&host, &mut range)?;
/// assert!(range.pfns().runs().iter().all(|run| run.first.is_writable()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn range_fault<H: HostMm + ?Sized>(
    host: &H,
    range: &mut HmmRange<'_>,
) -> Result<(), FaultError> {
    let mut pfns = Pfns::new(range.range().start());
    let result = run(&Walk { host, range, has_requests: true }, &mut pfns);
    range.set_pfns(pfns);
    result
}

/// Answers for every page of `range` what the device may do with it as it is.
///
/// It is the walk of [`range_fault`] with nothing wanted, whatever the range wants, and has no side
/// effect: no page is faulted in, brought home or marked.
///
/// # Errors
///
/// - [`FaultError::Busy`] if the sequence number of the range is stale.
/// - [`FaultError::Host`] if the host address space cannot be examined.
pub fn snapshot<H: HostMm + ?Sized>(host: &H, range: &mut HmmRange<'_>) -> Result<(), FaultError> {
    let mut pfns = Pfns::new(range.range().start());
    let result = run(&Walk { host, range, has_requests: false }, &mut pfns);
    range.set_pfns(pfns);
    result
}

/// Passes over what is left, serving needs in between, until every page has an answer.
fn run<H: HostMm + ?Sized>(walk: &Walk<'_, H>, pfns: &mut Pfns) -> Result<(), FaultError> {
    let mut detail = Detail::Writability;
    let mut stuck = 0;
    while pfns.end() < walk.range.range().end() {
        let from = pfns.end();
        check_stale(walk, from)?;
        let mut pass = Pass::new(pfns);
        walk.pass(walk.rest(from), detail, &mut pass)?;
        let needs = pass.into_needs();
        stuck = if pfns.end() == from { stuck + 1 } else { 0 };
        if stuck > STUCK {
            return Err(FaultError::Busy { addr: from });
        }
        // Pages that were found not to be writable have now been faulted in for writing. There is
        // no need to look as closely again, and the host may not be able to tell.
        let served = serve_all(walk, &needs, stuck)?;
        detail = if served { Detail::Presence } else { Detail::Writability };
    }
    Ok(())
}

fn check_stale<H: ?Sized>(walk: &Walk<'_, H>, addr: VirtAddr) -> Result<(), FaultError> {
    if walk.range.check_retry() { Err(FaultError::Busy { addr }) } else { Ok(()) }
}

/// Makes pages available and tells whether all of them were, unless the attempt has failed already.
fn serve_all<H: HostMm + ?Sized>(
    walk: &Walk<'_, H>,
    needs: &[Need],
    stuck: u32,
) -> Result<bool, FaultError> {
    let mut all = true;
    for need in needs {
        check_stale(walk, need.range.start())?;
        all &= serve(walk, need, stuck)?;
    }
    Ok(all)
}

fn serve<H: HostMm + ?Sized>(
    walk: &Walk<'_, H>,
    need: &Need,
    stuck: u32,
) -> Result<bool, FaultError> {
    match need.apply(walk.host) {
        Ok(()) => Ok(true),
        Err(FaultInError::Again) => Ok(false),
        Err(FaultInError::Host { source }) => Err(source.into()),
        Err(error) => diagnose(walk, need, &error, stuck).map(|()| false),
    }
}

/// Finds out which page could not be faulted in, and why.
///
/// The host's answer alone does not tell a page without memory from an area that has gone in the
/// meantime, and names no page. Looking again does: if the area has changed, that is the error; if
/// not, the first page that is still needed is the one. If none is, another thread faulted it in.
/// An area may have gone and come back as it was, so the failure has to show repeatedly.
fn diagnose<H: HostMm + ?Sized>(
    walk: &Walk<'_, H>,
    need: &Need,
    error: &FaultInError,
    stuck: u32,
) -> Result<(), FaultError> {
    let mut scratch = Pfns::new(need.range.start());
    let mut pass = Pass::new(&mut scratch);
    walk.pass(need.range, Detail::Writability, &mut pass)?;
    let Some(addr) = pass.into_needs().first().map(|need| need.range.start()) else {
        return Ok(());
    };
    match error {
        _ if stuck < DOUBTS => Ok(()),
        FaultInError::NoMemory => Err(FaultError::NoMemory { addr }),
        _ => Err(FaultError::Fault { addr }),
    }
}
