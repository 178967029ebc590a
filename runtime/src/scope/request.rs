//! From a request to a launch: with checks, without them where it is proved that none would fail,
//! or in rounds.

use super::{Scope, scope::OwnWords};
use crate::{
    Grid, LaunchError, LaunchExplanation, LaunchOptions,
    kernel::code::Code,
    launch::{
        channel::Channel,
        checked::{Checks, Request},
        control_block::Arguments,
        grid::Dispatch,
        proof::{self, Limits, Memory, Proof, Push, Size, Unproved},
    },
    lend::lends::{Lends, Segment},
    paging::first::{self, Overwritten, Stretch},
    trace,
    vk::Pipeline,
};
use farptr_rewrite::{Footprint, Proved};
use std::{sync::Arc, time::Duration};

impl Scope<'_, '_> {
    /// Launches a rewritten kernel, or reports the failure of an earlier launch.
    pub(crate) fn launch_request(&mut self, request: &Request<'_>) -> Result<(), LaunchError> {
        self.stream.check()?;
        let options = &request.options.on(self.device().stopping(), self.device().info.kind);
        let request = &Request { options, ..*request };
        let launch = launch_span(request.kernel, &request.dispatch, true);
        if self.stream.has_failed() {
            self.finish()?;
        }
        if self.view.as_ref().is_some_and(|view| view.is_unsettled()) {
            // Launches without checks may have been recorded since.
            self.finish()?;
        }
        if let Some(view) = &mut self.view {
            view.settle(&mut self.lends, &mut self.homes)?;
        }
        self.lends.note_launch();
        if self.launch_again(request, &launch)? {
            return Ok(());
        }
        let footprint = self.footprint(request)?;
        if let Some(footprint) = footprint.as_deref() {
            self.bring_arguments(request, footprint)?;
        }
        Brought(self).0.launch_brought(request, footprint.as_ref(), &launch)
    }

    /// Launches a kernel whose arguments were brought in as far as they are known.
    fn launch_brought(
        &mut self,
        request: &Request<'_>,
        footprint: Option<&Arc<Footprint>>,
        launch: &trace::Span,
    ) -> Result<(), LaunchError> {
        let facts = request.code.facts(request.kernel)?;
        let arguments = Arguments::new(facts, request.push, &self.lends, self.reaches_process());
        if self.takes_rounds(request, &arguments) {
            match self.fetch() {
                Err(lost) if lost.is_loss() => return Err(lost.into()),
                // What could not be fetched is missing, and rounds may do with less memory.
                _ => return self.launch_in_rounds(request, &arguments),
            }
        }
        let (device, translation) = (self.stream.device(), self.config.translation());
        let written = request.options.transactional.then(|| arguments.reach(true)).flatten();
        let checks = Checks::new(device, request, translation, arguments, &self.lends)?;
        let proof = self.proof(request, &checks, footprint);
        let run = self.unchecked_run(request, footprint, &proof);
        if let (Ok((push, most)), Ok(proof)) = (run, &proof) {
            self.prepare_own_words(request, &checks);
            if let Ok(pipeline) = self.own_words(request, &checks) {
                launch.record("proved", true);
                let own = OwnWords { pipeline: &pipeline, push: &push, most };
                self.note_decided(request, footprint, own, &checks);
                self.note_written(|| checks.arguments().reach(true));
                self.launch_proved(request, own, proof)?;
                return self.note_overwritten();
            }
        }
        self.fetch()?;
        self.note_written(|| checks.arguments().reach(true));
        let proved = self.known(request, &checks, footprint.map(Arc::as_ref));
        let checks = checks.without(self.device(), request, &self.lends, proved);
        if request.options.transactional {
            return self.transact(request, checks, written.as_deref());
        }
        let touched = proof.as_ref().ok().and_then(|proof| self.touched(proof));
        self.launch_with_checks(request, checks, touched)
    }

    /// Notes that a launch without rounds may write to frames, in the lends of some segments, or in
    /// all. With imports it works at home.
    pub(super) fn note_written(&mut self, written: impl FnOnce() -> Option<Vec<Segment>>) {
        if let Some(view) = self.view.as_mut().filter(|_| !self.config.imports()) {
            view.note_written(written().as_deref());
        }
    }

    /// Remembers what was decided of a launch without a look at memory: what a kernel that follows
    /// pointers checks depends on all lends.
    fn note_decided(
        &mut self,
        request: &Request<'_>,
        footprint: Option<&Arc<Footprint>>,
        own: OwnWords<'_>,
        checks: &Checks,
    ) {
        let is_roots_only = checks.arguments().facts.analysis.is_roots_only();
        if let Some(footprint) = footprint.filter(|_| is_roots_only) {
            let offset = checks.variant().offset_roots;
            self.decisions.note(request, footprint, own.most, own.pipeline, offset);
        }
    }

    /// Hands over a launch that ends without a fault, if it overwrites pages that were not copied
    /// in: from then on nothing keeps it from writing them.
    fn note_overwritten(&mut self) -> Result<(), LaunchError> {
        let Some(view) = self.view.as_mut().filter(|view| view.has_unfetched()) else {
            return Ok(());
        };
        self.stream.submit(&self.lends)?;
        view.overwritten();
        Ok(())
    }

    /// Says what is known of a launch, and whether it would run without checks.
    pub(super) fn explained(
        &self,
        kernel: &'static str,
        code: &Arc<Code>,
        grid: Grid,
        push: &[u8],
    ) -> Result<LaunchExplanation, LaunchError> {
        self.stream.check()?;
        let dispatch = self.dispatch(kernel, code, grid)?;
        let push = checked_push(kernel, code, push)?;
        let options = LaunchOptions::new().on(self.device().stopping(), self.device().info.kind);
        let request = Request { kernel, code, dispatch, push, options: &options };
        let facts = code.facts(kernel)?;
        let footprint = code.footprint(kernel, push, dispatch.seen_groups())?;
        let known = footprint.explain(&facts.analysis, &facts.push_names);
        let arguments = Arguments::new(facts, push, &self.lends, self.reaches_process());
        let takes_rounds = self.takes_rounds(&request, &arguments);
        let (device, translation) = (self.device(), self.config.translation());
        let checks = Checks::new(device, &request, translation, arguments, &self.lends);
        let own = self.may_run_own_words(&options).and_then(|()| {
            let checks = checks.map_err(|_| Unproved::Form)?;
            let proof = self.proof(&request, &checks, Some(&footprint));
            self.unchecked_run(&request, Some(&footprint), &proof)?;
            self.own_words(&request, &checks)
        });
        let own = own.map(drop).and(if takes_rounds { Err(Unproved::Rounds) } else { Ok(()) });
        Ok(LaunchExplanation { kernel, known, unproved: own.err() })
    }

    /// Proves that a launch touches lent bytes alone, or says why that is not so.
    fn proof(
        &self,
        request: &Request<'_>,
        checks: &Checks,
        footprint: Option<&Arc<Footprint>>,
    ) -> Result<Proof, Unproved> {
        Proof::new(footprint.ok_or(Unproved::Off)?, self.memory(request, checks))
    }

    /// The memory that the arguments of a launch lead to.
    fn memory<'m>(&'m self, request: &'m Request<'_>, checks: &'m Checks) -> Memory<'m> {
        let Arguments { facts, roots, .. } = checks.arguments();
        Memory { analysis: &facts.analysis, roots, push: request.push, lends: &self.lends }
    }

    /// The bytes that a launch touches, as far as they are known; absent where nobody is to ask.
    fn footprint(&self, request: &Request<'_>) -> Result<Option<Arc<Footprint>>, LaunchError> {
        let Request { kernel, code, push, options, dispatch } = *request;
        let may_prove = self.may_prove(options);
        may_prove.then(|| code.footprint(kernel, push, dispatch.seen_groups())).transpose()
    }

    /// The push constants with which a kernel's own words run for a launch, and the most that it
    /// takes; or why it needs checks.
    fn unchecked_run(
        &self,
        request: &Request<'_>,
        footprint: Option<&Arc<Footprint>>,
        proof: &Result<Proof, Unproved>,
    ) -> Result<(Push, Duration), Unproved> {
        self.may_run_own_words(request.options)?;
        let proof = proof.as_ref().map_err(Clone::clone)?;
        let push = proof.push(request.push)?;
        let footprint = footprint.ok_or(Unproved::Off)?;
        let size = size(request, proof::pages(footprint));
        let most = proof::ends(footprint, &size, &self.limits(request.options, 1))?;
        Ok((push, most))
    }

    /// The kernel's own words for a launch that needs no checks.
    fn own_words(&self, request: &Request<'_>, checks: &Checks) -> Result<Arc<Pipeline>, Unproved> {
        let wide_offsets = self.device().traits().narrow_offsets;
        let pipeline = request.code.proved(request.kernel, checks.variant(), wide_offsets);
        pipeline.ok_or(Unproved::Form)
    }

    /// Waits for earlier launches if [`own_words`](Self::own_words) is to compile a form.
    fn prepare_own_words(&mut self, request: &Request<'_>, checks: &Checks) {
        let wide_offsets = self.device().traits().narrow_offsets;
        if !request.code.has_proved(checks.variant(), wide_offsets) {
            self.stream.prepare_to_compile(&self.lends);
        }
    }

    /// Whether a launch may run without checks at this moment, whatever it touches.
    pub(super) fn may_run_own_words(&self, options: &LaunchOptions) -> Result<(), Unproved> {
        if !self.may_prove(options) || options.withheld.is_some() {
            return Err(Unproved::Off);
        }
        if options.transactional || self.reaches_process() {
            return Err(Unproved::Alone);
        }
        if self.stream.may_fail() {
            return Err(Unproved::Behind);
        }
        Ok(())
    }

    /// What of a launch with checks need not be checked.
    fn known(
        &self,
        request: &Request<'_>,
        checks: &Checks,
        footprint: Option<&Footprint>,
    ) -> Proved {
        let Some(footprint) = footprint else { return Proved::NOTHING };
        let size = size(request, proof::pages(footprint));
        let limits = self.limits(request.options, Channel::LAUNCHES);
        let ends = proof::workgroups_end(footprint, &size, &limits);
        let proved = proof::known(footprint, self.memory(request, checks), ends);
        request.options.withheld.map_or(proved, |withheld| withheld.leaves(proved))
    }

    /// Whether proofs are switched on, for the runtime and for a launch.
    fn may_prove(&self, options: &LaunchOptions) -> bool {
        options.proofs && self.config.proofs
    }

    /// The limits of a launch's invocations, by the device and its options, if so many launches
    /// share the time of a submission.
    fn limits(&self, options: &LaunchOptions, sharing: u32) -> Limits {
        let device = self.device();
        let limit = options.submission_limit(device.info.kind);
        let cuts = device.traits().cuts_loops;
        Limits {
            loop_limit: options.loop_limit,
            cut_after: cuts.then(|| device.cut_after()),
            passes_per_second: device.passes_per_second().unwrap_or(0),
            is_processor: !device.info.kind.has_watchdog(),
            allowed: limit.map_or(options.time(), |limit| limit / sharing),
        }
    }

    /// Brings in the bytes behind arguments that the launch is known to touch, if the device works
    /// on copies and lacks some: a round that misses them would only find that out.
    fn bring_arguments(
        &mut self,
        request: &Request<'_>,
        footprint: &Footprint,
    ) -> Result<(), LaunchError> {
        let order = request.options.serve_faults.or(self.config.hooks.serve_faults);
        let on_demand = order.is_some();
        if self.config.imports() || self.reaches_process() || on_demand {
            return Ok(());
        }
        let &Request { kernel, code, push, dispatch, .. } = request;
        let analysis = &code.facts(kernel)?.analysis;
        let mut stretches = first::stretches(footprint, push, &self.lends);
        let missed = |root| code.gathered(root);
        stretches.extend(first::gathered(footprint, analysis, push, &self.lends, missed));
        let lacks = |stretch: &Stretch| {
            let segment = self.lends.containing(stretch.range.start());
            segment.is_some_and(|segment| segment.delta.is_none())
        };
        if !stretches.iter().any(lacks) {
            return Ok(());
        }
        let ends = self.ends_by_itself(request, footprint);
        let overwritten = |lends: &Lends| {
            let groups = dispatch.seen_groups();
            let found = ends.then(|| code.footprint_with_overwritten(kernel, push, groups).ok());
            let of = |footprint: Footprint| Overwritten::of(&footprint, push, lends);
            found.flatten().map_or_else(Overwritten::default, of)
        };
        self.bring(&stretches, overwritten)
    }

    /// Whether own words run for a launch, if what it touches is there and lent.
    fn ends_by_itself(&self, request: &Request<'_>, footprint: &Footprint) -> bool {
        let size = size(request, proof::pages(footprint));
        let limits = self.limits(request.options, 1);
        footprint.is_bounded()
            && self.may_run_own_words(request.options).is_ok()
            && proof::ends(footprint, &size, &limits).is_ok()
    }

    /// Whether the launch runs in rounds: if a lend that it may reach is not on the device as a
    /// whole; if the memory of the process is lent; or if frames have to be restored when the
    /// launch fails.
    fn takes_rounds(&self, request: &Request<'_>, arguments: &Arguments) -> bool {
        let analysis = &arguments.facts.analysis;
        let argued = analysis.is_roots_only() && arguments.are_reached();
        let copies = !self.config.imports() && request.options.transactional;
        copies || self.reaches_process() || (!argued && !self.lends.is_addressable())
    }

    /// Whether pointers into no lend reach the memory of the process.
    fn reaches_process(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.reaches_process())
    }

    /// Runs a launch alone, and puts lent memory back if it fails: of the segments that it may
    /// write, or of all.
    fn transact(
        &mut self,
        request: &Request<'_>,
        checks: Checks,
        written: Option<&[Segment]>,
    ) -> Result<(), LaunchError> {
        self.finish()?;
        let ranges = written.map(|of| of.iter().map(|segment| segment.range).collect::<Vec<_>>());
        let saved = self.homes.save(ranges.as_deref());
        let done = self.launch_with_checks(request, checks, None).and_then(|()| self.finish());
        // On a lost device the launch may still be running, and the end of the scope deals with it.
        if done.is_err() && self.is_over() {
            self.homes.restore(&saved);
        }
        done
    }

    /// Compares a kernel with this scope, and resolves the grid.
    pub(super) fn dispatch(
        &self,
        kernel: &'static str,
        code: &Arc<Code>,
        grid: Grid,
    ) -> Result<Dispatch, LaunchError> {
        if !Arc::ptr_eq(code.device(), self.device()) {
            return Err(LaunchError::ForeignKernel { kernel });
        }
        grid.resolve(kernel, code.reflection.local_size, &self.device().info.limits)
    }

    /// The form of a kernel for an unchecked launch.
    pub(super) fn unchecked(
        &mut self,
        kernel: &'static str,
        code: &Code,
        dispatch: &Dispatch,
    ) -> Result<Arc<Pipeline>, LaunchError> {
        let wide_offsets = self.device().traits().narrow_offsets && self.lends_much();
        if let Some(pipeline) = code.known_unchecked(dispatch.fold(), wide_offsets) {
            return Ok(pipeline);
        }
        self.stream.prepare_to_compile(&self.lends);
        code.unchecked(kernel, dispatch.fold(), wide_offsets)
    }
}

/// A scope whose device may have pages that were not copied, because the launch overwrites them:
/// they are dropped unless it was handed over, also after a panic.
struct Brought<'b, 'scope, 'env>(&'b mut Scope<'scope, 'env>);

impl Drop for Brought<'_, '_, '_> {
    fn drop(&mut self) {
        if let Some(view) = &mut self.0.view {
            view.drop_unfetched(&mut self.0.lends);
        }
    }
}

/// The size of a launch that touches so many pages.
fn size(request: &Request<'_>, pages: u64) -> Size {
    let code = request.code;
    let (groups, local_size) = (request.dispatch.seen_groups(), code.reflection.local_size);
    Size { groups, local_size, operations: code.operations(), pages }
}

/// The span of a call that launches.
pub(super) fn launch_span(kernel: &'static str, dispatch: &Dispatch, checked: bool) -> trace::Span {
    let groups = dispatch.seen_groups();
    trace::span!(
        "launch",
        kernel = kernel,
        groups = trace::debug(groups),
        checked = checked,
        proved = trace::LATER,
    )
}

/// The push constants that a kernel declares, of those that it was given.
pub(super) fn checked_push<'p>(
    kernel: &'static str,
    code: &Code,
    push: &'p [u8],
) -> Result<&'p [u8], LaunchError> {
    let (declared, given) = (code.reflection.push_word_bytes() as usize, push.len());
    code.push(push).ok_or(LaunchError::PushSize { kernel, declared, given })
}
