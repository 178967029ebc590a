//! The core of a scope: memory is lent for the length of a call, and the called function waits
//! before it returns.
//!
//! The public operations are in `scope::launch`; here is what their soundness rests on.
//!
//! # Safety
//!
//! 1. A [`Scope`] exists only inside [`with_scope`], which hands out a `&mut` to it. Safe code can
//!    neither make one, nor move it out, nor forget it: it is a variable of that function.
//! 2. Memory is lent for `'env`, a lifetime parameter of [`with_scope`], so it stays borrowed until
//!    that function has returned or unwound.
//! 3. `Drop` waits for everything submitted, before the imports are dropped. If the device was
//!    lost, and completion cannot be proved in a grace, it aborts the process, because returning
//!    would give memory back that a kernel may still write. There are two exceptions: a device that
//!    works on copies touches no lent memory, and a caller may have promised to leave lent memory
//!    alone then ([`assume_stopped_when_lost`](crate::RuntimeBuilder::assume_stopped_when_lost)).
//!
//! In a child made by `fork` nothing is pending: the device works on the parent's memory, of which
//! the child has a copy. There every operation is refused and `Drop` leaves all to the parent.
#![allow(unsafe_code, reason = "the argument is above")]

use crate::{
    Error, LaunchError, LendError, Lendable, LendableMut, Lent, LentMut, VulkanError,
    config::Config,
    launch::{
        checked::{Checks, Request},
        control_block::Arguments,
        decided::Decisions,
        launcher::Launcher,
        order::Touch,
        proof::Proof,
        stream::{Plain, Stream},
    },
    lend::{
        homes::Homes,
        imports::Imports,
        lends::{Lends, Segment},
        process::ProcessMemory,
    },
    paging::{
        first::{Overwritten, Stretch},
        run::Launch,
        view::View,
    },
    stats::Counters,
    trace,
    vk::{Device, Pipeline, lost::end_process},
};
use farptr_hmm::{VaRange, VirtAddr};
use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

/// A kernel's own words for a launch without checks.
#[derive(Clone, Copy)]
pub(super) struct OwnWords<'o> {
    pub(super) pipeline: &'o Arc<Pipeline>,
    /// The push constants, with the device's addresses.
    pub(super) push: &'o [u8],
    /// The most that the launch takes.
    pub(super) most: Duration,
}

/// A stretch of the program during which the device may use borrowed memory.
///
/// [`Runtime::scope`](crate::Runtime::scope) makes one. `'env` is how long lent memory is borrowed;
/// `'scope` is a brand that ties lent memory and pointers to this scope and no other.
pub struct Scope<'scope, 'env: 'scope> {
    /// The memory that launches may touch.
    pub(super) lends: Lends,
    pub(super) stream: Stream,
    /// What was decided of the last launches that ran without checks.
    pub(super) decisions: Decisions,
    /// The pages that the device has, once a launch needed some.
    pub(super) view: Option<Box<View>>,
    /// The lent memory as bytes.
    pub(super) homes: Homes,
    // Behind everything that launches use, so that these are dropped, and waited for, before it.
    imports: Imports,
    pub(super) config: Arc<Config>,
    // Both lifetimes are invariant, as those of `std::thread::Scope`.
    scope: PhantomData<fn(&'scope ()) -> &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Runs `body` with a new scope and waits for everything that it launched, also when it panics.
///
/// When `body` returns an error, launches that were not yet handed to the device are not run.
pub(crate) fn with_scope<'env, R>(
    launcher: &Arc<Launcher>,
    config: &Arc<Config>,
    body: impl for<'scope> FnOnce(&mut Scope<'scope, 'env>) -> Result<R, Error>,
) -> Result<R, Error> {
    if launcher.device().is_inherited() {
        return Err(LaunchError::Forked.into());
    }
    launcher.device().check().map_err(LaunchError::from)?;
    let mut scope = Scope {
        lends: Lends::default(),
        stream: Stream::new(launcher),
        decisions: Decisions::default(),
        view: None,
        homes: Homes::default(),
        imports: Imports::new(launcher.imports(), launcher.device()),
        config: Arc::clone(config),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = body(&mut scope)?;
    scope.finish()?;
    scope.bring_home().map_err(LaunchError::from)?;
    scope.keep();
    Ok(result)
}

impl<'scope, 'env> Scope<'scope, 'env> {
    pub(crate) fn device(&self) -> &Arc<Device> {
        self.stream.device()
    }

    /// Makes a slice that stays borrowed for `'env` reachable for reading.
    pub(crate) fn import<T: Lendable<Kind>, Kind>(
        &mut self,
        memory: &'env [T],
    ) -> Result<Lent<'scope, T>, LendError> {
        // `homes` go through the address, and so does what follows a pointer that a kernel wrote.
        let lent = Lent::new(memory);
        // SAFETY: 1. the slice is borrowed for 'env, which outlives this scope (module, 2), and
        // its address is exposed; 2. its bytes are initialised and do not change (`Lendable`).
        unsafe { self.import_range(VaRange::of_slice(memory), false) }?;
        Ok(lent)
    }

    /// As [`import`](Self::import), for writing.
    pub(crate) fn import_mut<T: LendableMut<Kind>, Kind>(
        &mut self,
        memory: &'env mut [T],
    ) -> Result<LentMut<'scope, T>, LendError> {
        let range = VaRange::of_slice(memory);
        let lent = LentMut::new(memory);
        // SAFETY: 1. as in `import`, of a mutable borrow; 2. its bytes are initialised, and any
        // bytes are values (`LendableMut`).
        unsafe { self.import_range(range, true) }?;
        Ok(lent)
    }

    /// Whether more bytes are lent than a signed number of 32 bits counts.
    pub(crate) fn lends_much(&self) -> bool {
        self.lends.bytes() > i32::MAX.unsigned_abs().into()
    }

    /// Refuses to lend in a child made by `fork`, and to a lost device.
    fn check_lend(&self) -> Result<(), LendError> {
        if self.device().is_inherited() {
            return Err(LendError::Forked);
        }
        self.device().check().map_err(|source| LendError::DeviceLost { source })
    }

    /// Notes a range as lent and, where the device works on host memory, imports its pages unless
    /// an earlier import of this scope covers them.
    ///
    /// # Safety
    ///
    /// 1. The range is borrowed until this scope is dropped, mutably if `writable`, with an address
    ///    that was exposed from that borrow.
    /// 2. Its bytes are initialised. If they are not `writable`, they do not change meanwhile; if
    ///    they are, any bytes are values of the type that they have.
    unsafe fn import_range(&mut self, range: VaRange, writable: bool) -> Result<(), LendError> {
        self.check_lend()?;
        let bytes = range.len_bytes();
        let lend =
            trace::span!("lend", bytes = bytes, writable = writable, imported = trace::LATER);
        Counters::add(&self.device().counters.lends, 1);
        if range.is_empty() {
            return Ok(());
        }
        let range = self.lends.joined(range);
        // SAFETY: the caller's first promise, for this range and those that were lent before.
        let delta = unsafe { self.reach(range) }?;
        lend.record("imported", delta.is_some());
        // SAFETY: 1. and 2. the caller's promises, for this range and those that it was joined
        // with; 3. an `Idle`, which alone gives access to them, borrows the scope, and writes no
        // byte home of which it has given a slice.
        unsafe { self.homes.add(range, writable) };
        self.lends.insert(Segment { range, writable, delta, private: None });
        Ok(())
    }

    /// Imports a range where the device works on host memory. Gives what is to be added to host
    /// addresses, if the device reaches the whole range in this way.
    ///
    /// # Safety
    ///
    /// The first promise of [`import_range`](Self::import_range).
    unsafe fn reach(&mut self, range: VaRange) -> Result<Option<u64>, LendError> {
        if !self.config.imports() {
            return Ok(None);
        }
        let (identity, bytes) = (self.config.is_direct(), range.len_bytes());
        if self.config.refuses(range) {
            trace::event!(DEBUG, "import refused", bytes = bytes);
            return Ok(None);
        }
        // SAFETY: the caller's promise.
        match unsafe { self.imports.import(range, identity) } {
            Err(error) if !identity => {
                // Memory that cannot be imported is copied.
                let error: &(dyn std::error::Error + 'static) = &error;
                trace::event!(DEBUG, "import refused", bytes = bytes, error = error);
                Ok(None)
            }
            done => done,
        }
    }

    /// Records an unchecked launch.
    ///
    /// # Safety
    ///
    /// 1. The pipeline belongs to this scope's device, and is not a checked one; the push constants
    ///    and the grid keep its limits; the pipeline is the form for its fold.
    /// 2. With these push constants, the kernel touches only memory that stays valid until this
    ///    scope ends and that no other code uses in a conflicting way meanwhile.
    pub(crate) unsafe fn launch_as_is(&mut self, launch: &Plain<'_>) -> Result<(), LaunchError> {
        // SAFETY: the caller's promises; the stream is idle before the scope ends (module, 3).
        unsafe { self.stream.record_unchecked(launch, &self.lends) }
    }

    /// Records a launch with checks that were made from what this scope has lent.
    pub(super) fn launch_with_checks(
        &mut self,
        request: &Request<'_>,
        checks: Checks,
        touched: Option<&[Touch]>,
    ) -> Result<(), LaunchError> {
        // SAFETY: each lend is borrowed for 'env, mutably where it is writable, of a type that may
        // hold any bytes then, and imported where it has a `delta`; the stream is idle before that
        // ends (module, 2 and 3).
        unsafe { self.stream.record_checked(request, checks, touched, &self.lends) }
    }

    /// The bytes that a proved launch touches, as far as they say which launches it waits for: of
    /// memory that is at two addresses they do not.
    pub(super) fn touched<'p>(&mut self, proof: &'p Proof) -> Option<&'p [Touch]> {
        let touched = proof.touched();
        let is_known = proof.is_private()
            || !self.stream.may_overlap(touched)
            || touched.iter().all(|touch| self.is_private(touch.bytes.start));
        is_known.then_some(touched)
    }

    /// Whether it is known that no other address leads to the lend that has a byte.
    fn is_private(&mut self, address: u64) -> bool {
        let Some(&Segment { range, private, .. }) = self.lends.containing(VirtAddr::new(address))
        else {
            return false;
        };
        private.unwrap_or_else(|| {
            let asked = self.stream.launcher().areas().are_private(range);
            self.lends.note_private(range.start(), asked);
            asked
        })
    }

    /// Records a launch without checks that was proved with what this scope has lent, with the
    /// push constants of the proof.
    pub(super) fn launch_proved(
        &mut self,
        request: &Request<'_>,
        OwnWords { pipeline, push, most }: OwnWords<'_>,
        proof: &Proof,
    ) -> Result<(), LaunchError> {
        let Request { kernel, dispatch, options, .. } = *request;
        let touched = self.touched(proof);
        let launch = Plain { kernel, pipeline, push, dispatch, touched };
        // SAFETY: 1. the request kept the limits, and the pipeline is the kernel's own words in the
        // form for its fold; 2. the proof says that with these push constants the kernel touches
        // bytes of lends alone, at the device's addresses of them, and those are borrowed and
        // imported as in `launch_with_checks`; 3. there was no launch that may fail when the
        // proof was made, and none has been recorded since.
        unsafe { self.stream.record_proved(&launch, options, most, &self.lends) }
    }

    /// Runs a launch in rounds until nothing faults, and returns when it is done.
    pub(super) fn launch_in_rounds(
        &mut self,
        request: &Request<'_>,
        arguments: &Arguments,
    ) -> Result<(), LaunchError> {
        self.finish()?;
        let Self { lends, homes, stream, view, config, .. } = self;
        let view = View::of(view, stream.launcher(), config)?;
        let launch = Launch { request, arguments, stop: stream.stop_word()? };
        view.run_in_rounds(&launch, lends, homes)
    }

    /// Brings in what a launch is known to touch, on a device that works on copies, but for what
    /// it overwrites: see [`View::bring`].
    pub(super) fn bring(
        &mut self,
        stretches: &[Stretch],
        overwritten: impl FnOnce(&Lends) -> Overwritten,
    ) -> Result<(), LaunchError> {
        self.finish()?;
        let Self { lends, homes, stream, view, config, .. } = self;
        let view = View::of(view, stream.launcher(), config)?;
        match view.bring(stretches, overwritten, lends, homes) {
            // Pages are missing then, which rounds find out; they may do with less memory.
            Err(error) if !error.is_loss() => Ok(()),
            done => Ok(done?),
        }
    }

    /// Copies in what [`bring`](Self::bring) left out.
    pub(super) fn fetch(&mut self) -> Result<(), VulkanError> {
        let Self { lends, homes, view, .. } = self;
        view.as_mut().map_or(Ok(()), |view| view.fetch(lends, homes))
    }

    /// Opens the memory of the process to the kernels of this scope.
    ///
    /// # Safety
    ///
    /// As [`ProcessMemory::open`] asks for, until this scope ends.
    pub(super) unsafe fn open_process(&mut self) -> Result<(), LendError> {
        self.check_lend()?;
        let view = View::of(&mut self.view, self.stream.launcher(), &self.config);
        let view = view.map_err(|source| LendError::Process { source })?;
        // SAFETY: the caller's promise.
        view.open_process(|| unsafe { ProcessMemory::open() })
    }

    /// Submits what is recorded, waits for everything, and reports the first failure since the last
    /// time. After a failure launches work again.
    pub(super) fn finish(&mut self) -> Result<(), LaunchError> {
        self.stream.finish(&self.lends)
    }

    /// Whether no kernel of this scope touches host memory any more, once it was waited for. On a
    /// lost device that has to be proved.
    pub(super) fn is_over(&self) -> bool {
        let touches = self.stream.is_unproved() && self.config.imports();
        !touches || self.device().has_ended()
    }

    /// Writes home the bytes that are newer on the device, once nothing is running.
    fn bring_home(&mut self) -> Result<(), VulkanError> {
        match &mut self.view {
            Some(view) => view.bring_home(&mut self.homes),
            None => Ok(()),
        }
    }
}

impl Scope<'_, '_> {
    /// Leaves copies on the device for later scopes. The results are home, so that an error is no
    /// failure of this scope: it leaves nothing.
    fn keep(&mut self) {
        if let Some(view) = &mut self.view
            && let Err(error) = view.keep()
        {
            let error: &(dyn std::error::Error + 'static) = &error;
            trace::event!(DEBUG, "no copies are kept", error = error);
        }
    }
}

impl Drop for Scope<'_, '_> {
    fn drop(&mut self) {
        // In a child made by `fork` every field leaves what it has to the parent.
        if self.device().is_inherited() {
            return;
        }
        self.stream.abandon(&self.lends);
        if let Err(lost) = self.device().check()
            && !self.is_over()
            && !self.config.assumes_stopped
        {
            end_process(lost);
        }
        // After an error or a panic too, host memory gets what completed launches wrote. Bytes that
        // the device cannot bring any more are lost with it.
        let _ = self.bring_home();
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("stream", &self.stream).finish_non_exhaustive()
    }
}
