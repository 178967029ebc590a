//! Checked launches on memory that the device reaches as it is.
//!
//! # Safety
//!
//! A rewritten kernel touches its control block, its log, the stop word, and the bytes that its
//! control rows allow (`farptr_rewrite`). In this module the control rows allow the lent bytes, as
//! [`control_block`](super::control_block) computes them, and two pieces of memory that refused
//! accesses use instead: zeroes to read, and the sink to write. So a launch through this module
//! keeps the promises of [`Recording::launch`](crate::vk::command::Recording::launch) for every
//! kernel and all arguments, under two conditions: the lent bytes are valid, which the caller
//! promises, and the kernel's words are valid, which `KernelDesc` and `raw_kernel` promise.
#![allow(unsafe_code, reason = "it records kernels, with the argument above")]

use super::{
    control_block::{self, Arguments, Head, Record, Row},
    grid::Dispatch,
    launcher::Launcher,
    options::LaunchOptions,
    order::Touch,
    pending::Pending,
    stream::Stream,
    tables::Key,
    variant::{self, Known},
};
use crate::{
    LaunchError,
    kernel::code::Code,
    lend::lends::{Lends, Segment},
    stats::step,
    vk::{
        Device,
        command::{WordCopy, Work},
    },
};
use farptr_rewrite::{Proved, Search, Translation, Variant, control::Layout};
use std::sync::Arc;

/// A checked launch that was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) kernel: &'static str,
    pub(crate) code: &'a Arc<Code>,
    /// Workgroups, within the device's limits.
    pub(crate) dispatch: Dispatch,
    /// Push constants, as many as the kernel declares.
    pub(crate) push: &'a [u8],
    pub(crate) options: &'a LaunchOptions,
}

impl Request<'_> {
    /// The form of the kernel with all checks for a launch on lent memory, of which it reaches so
    /// many segments, and where its control rows are.
    pub(crate) fn form(
        &self,
        device: &Device,
        arguments: &Arguments,
        translation: Translation,
        lends: &Lends,
        reached: usize,
    ) -> Result<(Variant, Layout), LaunchError> {
        let chosen = self.choose(device, arguments, translation, lends, reached, Proved::NOTHING);
        chosen.ok_or(LaunchError::TooManyLends { kernel: self.kernel, lends: reached })
    }

    fn choose(
        &self,
        device: &Device,
        arguments: &Arguments,
        translation: Translation,
        lends: &Lends,
        reached: usize,
        proved: Proved,
    ) -> Option<(Variant, Layout)> {
        let (analysis, windows) = (&arguments.facts.analysis, &arguments.windows);
        let known = Known { windows, fold: self.dispatch.fold(), proved };
        variant::choose(analysis, device.traits(), translation, lends, reached, known)
    }

    /// The parts of the head of the control block that follow from the launch and the addresses of
    /// its stop words.
    pub(crate) fn head(&self, launcher: &Launcher, [stop, overdue]: [u64; 2]) -> Head {
        let [zeroes, sink] = launcher.spare();
        let cuts_loops = launcher.device().traits().cuts_loops;
        Head {
            loop_limit: self.options.loop_limit,
            loop_limit_after_fault: self.options.loop_limit_after_fault(cuts_loops),
            zeroes,
            sink,
            stop,
            overdue,
            grid: self.dispatch.rows(),
            ..Head::default()
        }
    }
}

/// The checks of a launch.
pub(crate) struct Checks {
    arguments: Arguments,
    variant: Variant,
    layout: Layout,
}

impl Checks {
    /// All checks of a launch whose memory the device reaches as it is.
    pub(crate) fn new(
        device: &Device,
        request: &Request<'_>,
        translation: Translation,
        arguments: Arguments,
        lends: &Lends,
    ) -> Result<Self, LaunchError> {
        let (variant, layout) =
            request.form(device, &arguments, translation, lends, lends.len())?;
        Ok(Self { arguments, variant, layout })
    }

    /// Those that are left where some are proved. What would be refused with all of them is refused
    /// without.
    pub(crate) fn without(
        self,
        device: &Device,
        request: &Request<'_>,
        lends: &Lends,
        proved: Proved,
    ) -> Self {
        if proved == Proved::NOTHING {
            return self;
        }
        let (checked, reached) = (&self.variant, lends.len());
        let choose = |proved| {
            request.choose(device, &self.arguments, checked.translation, lends, reached, proved)
        };
        let mut left = choose(proved);
        // SwiftShader, which has these offsets, reports faults at address 0 of invocations that
        // have left a loop, if others go on, an access in it is checked, and nothing limits it.
        let analysis = &self.arguments.facts.analysis;
        let checks_nothing = |(form, _): &(Variant, Layout)| form.checks_nothing(analysis);
        if device.traits().narrow_offsets && !left.as_ref().is_some_and(checks_nothing) {
            left = choose(Proved { loops: false, ..proved });
        }
        match left.filter(|(variant, _)| request.code.may_leave_out(variant, checked)) {
            Some((variant, layout)) => Self { variant, layout, ..self },
            None => self,
        }
    }

    pub(crate) fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// The form of the kernel that makes them.
    pub(crate) fn variant(&self) -> &Variant {
        &self.variant
    }
}

impl Stream {
    /// Records a checked launch. A launch with a deadline of its own is submitted alone and at
    /// once, so that the time of no other launch counts.
    ///
    /// # Safety
    ///
    /// The checks were made from these lends. Until the stream is idle, the bytes of each lend are
    /// valid for kernels to read and, where they are lent for writing, to write, at the device
    /// addresses that `delta` leads to.
    pub(crate) unsafe fn record_checked(
        &mut self,
        request: &Request<'_>,
        checks: Checks,
        touched: Option<&[Touch]>,
        lends: &Lends,
    ) -> Result<(), LaunchError> {
        let pipeline = match request.code.known_rewritten(&checks.variant) {
            Some(pipeline) => pipeline,
            None => {
                self.prepare_to_compile(lends);
                request.code.rewritten(request.kernel, &checks.variant)?
            }
        };
        let alone = request.options.deadline.is_some();
        if alone {
            self.submit(lends)?;
        }
        let (head, inline) = self.head(request, &checks, lends)?;
        let stop = self.stop_word()?.word_at();
        let rows = checks.layout.rows() as usize;
        let (batch, checked) = self.checked_batch(rows, lends)?;
        let channel = batch.channel(rows).expect("the batch was chosen for its room");
        let (place, log) = channel.add_launch();
        let head = Head { log, ..head };
        let Checks { arguments: Arguments { facts, roots, windows, .. }, layout, variant } = checks;
        let rows = control_block::rows(&layout, &head, &facts.analysis, &windows, &inline);
        let control = Some(channel.write(&rows));
        let may_fail = !variant.checks_nothing(&facts.analysis);
        // If no launch since the stop word was 0 can have failed, the word is not copied.
        let copy =
            checked.add(may_fail).then(|| WordCopy { from: stop, to: channel.before(place) });
        let Request { kernel, push, options: &options, dispatch, .. } = *request;
        // A launch that may fail is one that those behind it wait for: they do nothing then.
        let waits = batch.waits(touched.filter(|_| copy.is_none() && !may_fail));
        let work =
            Work { pipeline: &pipeline, control, push, groups: dispatch.groups, copy, waits };
        // SAFETY: 1. the pipeline was compiled for this device, with a control block; groups and
        // push constants keep the limits (`Request`); 2. the batch keeps pipeline and channel, and
        // the stream the stop word; 3. the module's argument and the caller's promise.
        unsafe { batch.add(kernel, &pipeline, work.groups).launch(&work) };
        batch.expect(place, Pending { kernel, facts, roots, options }, &variant);
        self.submit_if_full(lends)?;
        if alone { self.submit(lends) } else { Ok(()) }
    }

    /// The head of the control block without the address of the log, and the records of the
    /// segments that the block contains.
    fn head(
        &mut self,
        request: &Request<'_>,
        checks: &Checks,
        lends: &Lends,
    ) -> Result<(Head, Vec<Row>), LaunchError> {
        let stop = self.stop_word()?.addresses();
        let (segments, inline) = self.segments(request, checks, lends)?;
        Ok((Head { segments, ..request.head(self.launcher(), stop) }, inline))
    }

    /// The records of the segments. Bisected records are stored in memory of their own, whose
    /// address is returned; other records are returned as rows for the control block.
    fn segments(
        &mut self,
        request: &Request<'_>,
        checks: &Checks,
        lends: &Lends,
    ) -> Result<(u64, Vec<Row>), LaunchError> {
        let (search, analysis) = (checks.variant.search, &checks.arguments.facts.analysis);
        if analysis.is_roots_only() {
            return Ok((0, Vec::new()));
        }
        let key = Key { version: lends.version(), code: request.code, search };
        if let Some(address) = self.tables.find(key) {
            return Ok((address, Vec::new()));
        }
        let record = |segment: &Segment| {
            step(1);
            let target = segment.delta.unwrap_or(0);
            Record { segment: *segment, target, bitmap: 0 }
        };
        let rows =
            control_block::records(&checks.layout, analysis, search, lends.iter().map(record));
        if let Search::Unrolled(_) = search {
            return Ok((0, rows));
        }
        // Each kernel, and each new lend, needs another table.
        if self.tables.is_full() {
            self.finish(lends)?;
            self.tables.clear();
        }
        let device = Arc::clone(self.device());
        Ok((self.tables.add(&device, key, &rows)?, Vec::new()))
    }
}
