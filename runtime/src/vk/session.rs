//! The core of a scope: memory is lent for a frame, and the frame waits before it ends.
//!
//! The public operations are in `crate::scope`; here is what their soundness rests on.
//!
//! 1. A [`Scope`] exists only inside [`with_scope`], which hands out a `&mut` to it. Safe code can
//!    neither make one, nor move it out, nor forget it: it lives in the library's frame.
//! 2. Memory is lent for `'env`, a lifetime parameter of [`with_scope`], so it stays borrowed until
//!    that function has returned or unwound.
//! 3. `Drop` waits for everything submitted and only then ends the imports. If completion cannot be
//!    proved it aborts the process, because returning would give memory back that a kernel may
//!    still write.
//!
//! In a child made by `fork` nothing is pending: the device works on the parent's memory, of which
//! the child has a copy. There every operation is refused and `Drop` leaves all to the parent.

use super::{Device, Pipeline, command::Slot, import::HostImport};
use crate::{Error, LaunchError, LendError, LentMut, VulkanError, stats::Counters};
use bytemuck::Pod;
use farptr_hmm::{PageSize, VaRange, VirtAddr};
use std::{collections::BTreeMap, fmt, io::Write, marker::PhantomData, sync::Arc};

/// Launches per submission: enough to make the cost of a submission small beside that of the
/// launches, few enough that the device does not wait long for its first one.
const BATCH: u32 = 64;

/// A stretch of the program during which the device may use borrowed memory.
///
/// [`Runtime::scope`](crate::Runtime::scope) makes one. `'env` is how long lent memory is borrowed;
/// `'scope` is a brand that ties lent memory and pointers to this scope and no other.
pub struct Scope<'scope, 'env: 'scope> {
    device: Arc<Device>,
    recording: Option<Batch>,
    /// Submitted and perhaps not completed, oldest first.
    in_flight: Vec<(u64, Batch)>,
    imports: Vec<HostImport>,
    /// The page ranges of `imports`, start to end.
    imported: BTreeMap<VirtAddr, VirtAddr>,
    // Both lifetimes are invariant, as those of `std::thread::Scope`.
    scope: PhantomData<fn(&'scope ()) -> &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// The launches of one submission.
struct Batch {
    slot: Slot,
    launches: u32,
    /// Keeps the pipelines alive until the launches have completed.
    pipelines: Vec<Arc<Pipeline>>,
}

/// Runs `body` with a new scope and waits for everything that it launched, also when it panics.
///
/// When `body` returns an error, launches that were not yet handed to the device are not run.
pub(crate) fn with_scope<'env, R>(
    device: &Arc<Device>,
    body: impl for<'scope> FnOnce(&mut Scope<'scope, 'env>) -> Result<R, Error>,
) -> Result<R, Error> {
    if device.is_inherited() {
        return Err(LaunchError::Forked.into());
    }
    let mut scope = Scope {
        device: Arc::clone(device),
        recording: None,
        in_flight: Vec::new(),
        imports: Vec::new(),
        imported: BTreeMap::new(),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = body(&mut scope)?;
    scope.submit()?;
    Ok(result)
}

impl<'scope, 'env> Scope<'scope, 'env> {
    pub(crate) fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Imports the pages under a slice that stays borrowed for `'env`.
    pub(crate) fn import<T>(&mut self, memory: &'env [T]) -> Result<(), LendError> {
        // SAFETY: the slice is borrowed for 'env, which outlives this scope (module, 2).
        unsafe { self.import_range(VaRange::of_slice(memory)) }
    }

    /// As [`import`](Self::import), for writing.
    pub(crate) fn import_mut<T>(
        &mut self,
        memory: &'env mut [T],
    ) -> Result<LentMut<'scope, T>, LendError> {
        let range = VaRange::of_slice(memory);
        // SAFETY: as in `import`.
        unsafe { self.import_range(range) }?;
        Ok(LentMut::new(memory))
    }

    /// Imports the pages that cover a range, unless an earlier import of this scope covers them.
    ///
    /// # Safety
    ///
    /// The range stays mapped until this scope is dropped.
    unsafe fn import_range(&mut self, range: VaRange) -> Result<(), LendError> {
        if self.device.is_inherited() {
            return Err(LendError::Forked);
        }
        Counters::add(&self.device.counters.lends, 1);
        if range.is_empty() {
            return Ok(());
        }
        let no_type = LendError::NoMemoryType { range };
        let granule = self.device.info.import_alignment.and_then(PageSize::new).ok_or(no_type)?;
        let pages = range.pages_covering(granule);
        let covered = self.imported.range(..=pages.start()).next_back();
        if covered.is_some_and(|(_, &end)| end >= pages.end()) {
            return Ok(());
        }
        for piece in pieces(pages, self.device.info.limits.allocation_bytes, granule) {
            // SAFETY: 1. the caller's promise: a page with a mapped byte is mapped whole; 2. pieces
            // are whole granules within the allocation limit.
            let import = unsafe { HostImport::new(&self.device, piece) }?;
            self.imported.insert(import.range().start(), import.range().end());
            self.imports.push(import);
        }
        let count = pages.page_count(PageSize::host()).get();
        Counters::add(&self.device.counters.pages_imported, count);
        Ok(())
    }

    /// Records a launch, and submits when enough launches are recorded.
    ///
    /// # Safety
    ///
    /// 1. The pipeline belongs to this scope's device; `push` and `groups` keep its limits.
    /// 2. With these push constants, the kernel touches only memory that stays valid until this
    ///    scope ends and that no other code uses in a conflicting way meanwhile.
    pub(crate) unsafe fn record(
        &mut self,
        pipeline: &Arc<Pipeline>,
        push: &[u8],
        groups: [u32; 3],
    ) -> Result<(), LaunchError> {
        if self.device.is_inherited() {
            return Err(LaunchError::Forked);
        }
        let mut batch = match self.recording.take() {
            Some(batch) => batch,
            None => self.begin()?,
        };
        let raw = self.device.raw();
        // SAFETY: 1. `begin` made the slot from this device and began it; 2. the caller's promise.
        unsafe {
            batch.slot.launch(raw, batch.launches > 0, pipeline, push, groups);
        };
        batch.launches += 1;
        if batch.pipelines.last().is_none_or(|last| !Arc::ptr_eq(last, pipeline)) {
            batch.pipelines.push(Arc::clone(pipeline));
        }
        let full = batch.launches == BATCH;
        self.recording = Some(batch);
        if full {
            self.submit()?;
        }
        Ok(())
    }

    fn begin(&self) -> Result<Batch, VulkanError> {
        let mut slot = self.device.take_slot()?;
        // SAFETY: the slot comes from this device and is not in use.
        match unsafe { slot.begin(self.device.raw()) } {
            Ok(()) => Ok(Batch { slot, launches: 0, pipelines: Vec::new() }),
            Err(error) => {
                self.device.return_slot(slot);
                Err(error)
            }
        }
    }

    /// Hands recorded launches to the device.
    pub(crate) fn submit(&mut self) -> Result<(), LaunchError> {
        if self.device.is_inherited() {
            return Err(LaunchError::Forked);
        }
        let Some(mut batch) = self.recording.take() else {
            return Ok(());
        };
        // SAFETY: the slot belongs to this device and is recording.
        let ended = unsafe { batch.slot.end(self.device.raw()) };
        if let Err(error) = ended {
            self.device.return_slot(batch.slot);
            return Err(error.into());
        }
        // SAFETY: 1. ended just now; 2. pipelines are kept in the batch, lent memory by Drop's
        // wait, and other memory by the promise to `record`.
        match unsafe { self.device.submit(&batch.slot) } {
            Ok(value) => {
                let counters = &self.device.counters;
                Counters::add(&counters.submissions, 1);
                Counters::add(&counters.launches, u64::from(batch.launches));
                self.in_flight.push((value, batch));
                Ok(())
            }
            // A lost device may have begun; every other failure submitted nothing (Vulkan
            // specification, vkQueueSubmit).
            Err(error) if error.result == ash::vk::Result::ERROR_DEVICE_LOST => {
                abort_unproved(error)
            }
            Err(error) => {
                self.device.return_slot(batch.slot);
                Err(error.into())
            }
        }
    }

    /// Waits until the device has completed everything that was submitted.
    fn drain(&mut self) {
        let Some(&(newest, _)) = self.in_flight.last() else {
            return;
        };
        if let Err(error) = self.device.wait(newest) {
            abort_unproved(error);
        }
        for (_, batch) in self.in_flight.drain(..) {
            self.device.return_slot(batch.slot);
        }
    }

    /// Submits what is recorded, waits, and gives the host a look at lent memory.
    pub(crate) fn idle(&mut self) -> Result<Idle<'_, 'scope, 'env>, LaunchError> {
        self.submit()?;
        self.drain();
        Ok(Idle { scope: self })
    }
}

impl Drop for Scope<'_, '_> {
    fn drop(&mut self) {
        if self.device.is_inherited() {
            return;
        }
        self.drain();
        if let Some(batch) = self.recording.take() {
            self.device.return_slot(batch.slot);
        }
        for import in self.imports.drain(..) {
            // SAFETY: the import belongs to this device; `drain` waited for all commands that this
            // scope submitted, and no other scope has its buffer.
            unsafe { import.destroy(&self.device) };
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("device", &self.device)
            .field("in_flight", &self.in_flight.len())
            .field("imports", &self.imports.len())
            .finish_non_exhaustive()
    }
}

/// The host's look at lent memory between launches: while it lives, nothing can be launched.
///
/// [`Scope::wait`] makes one. Forgetting it is harmless: it holds nothing but the borrow.
pub struct Idle<'a, 'scope, 'env> {
    // Invariant: nothing that this scope submitted is pending; the `&mut` keeps it so.
    scope: &'a mut Scope<'scope, 'env>,
}

impl<'scope> Idle<'_, 'scope, '_> {
    /// The elements of a slice that was lent for writing, as the launches so far left them.
    #[must_use]
    pub fn read<T: Pod>(&self, lent: &LentMut<'scope, T>) -> &[T] {
        // SAFETY: 1. pointer and length come from a `&'env mut [T]` that this very scope lent, by
        // the brand 'scope, and 'env outlives `self`; 2. every bit pattern is a T (Pod); 3. no
        // kernel of this scope is pending (invariant), and the memory is borrowed mutably by the
        // scope, so nobody else writes it; 4. `write` needs `&mut self`, so no `&mut` is alive.
        unsafe { std::slice::from_raw_parts(lent.raw(), lent.len()) }
    }

    /// As [`read`](Self::read), for changing the elements before the next launch.
    #[must_use]
    pub fn write<T: Pod>(&mut self, lent: &LentMut<'scope, T>) -> &mut [T] {
        // SAFETY: 1. to 3. as in `read`; 4. `&mut self` shows that no other slice is alive.
        unsafe { std::slice::from_raw_parts_mut(lent.raw(), lent.len()) }
    }
}

impl fmt::Debug for Idle<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Idle").field(&self.scope).finish()
    }
}

/// Splits pages into pieces of whole granules that one allocation can hold.
fn pieces(pages: VaRange, limit_bytes: u64, granule: PageSize) -> impl Iterator<Item = VaRange> {
    let step = (limit_bytes / granule.bytes()).max(1) * granule.bytes();
    let mut rest = Some(pages);
    std::iter::from_fn(move || {
        let pages = rest.take()?;
        let Some(middle) = pages.start().checked_add(step).filter(|&end| end < pages.end()) else {
            return Some(pages);
        };
        rest = VaRange::new(middle, pages.end());
        VaRange::new(pages.start(), middle)
    })
}

/// Ends the process because the device may still be using lent memory.
fn abort_unproved(error: VulkanError) -> ! {
    let _ = writeln!(
        std::io::stderr(),
        "farptr: cannot prove that the device has stopped ({error}: {}); aborting, because a \
         kernel may still write to memory that would be given back",
        error.result
    );
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_tile_the_pages_within_the_limit() {
        let granule = PageSize::new(4096).unwrap();
        let pages = VaRange::from_len(VirtAddr::new(0x10_0000), 10 * 4096).unwrap();
        let lengths = |limit| -> Vec<u64> {
            let mut next = pages.start();
            let lengths = pieces(pages, limit, granule)
                .map(|piece| {
                    assert_eq!(piece.start(), next);
                    next = piece.end();
                    piece.len_bytes() / 4096
                })
                .collect();
            assert_eq!(next, pages.end());
            lengths
        };
        assert_eq!(lengths(1 << 30), [10]);
        assert_eq!(lengths(10 * 4096), [10]);
        assert_eq!(lengths(4 * 4096 + 100), [4, 4, 2]);
        assert_eq!(lengths(5 * 4096), [5, 5]);
        assert_eq!(lengths(0), [1; 10]);
    }
}
