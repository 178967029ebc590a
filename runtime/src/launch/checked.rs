//! Launches that check themselves: rewritten kernels on what a scope lent.
//!
//! # Safety
//!
//! What a rewritten kernel touches is, beside its control block, log and stop word, what its
//! control rows allow (`farptr_rewrite`): here the bytes that this scope lent, as
//! [`control`](crate::launch::control) computes them, and the zeroes and the memory to write that
//! stand in for what a check refused. So a launch through this module keeps the promises of
//! [`Recording::launch`](crate::vk::command::Recording::launch) whatever the kernel and its arguments are, provided that the kernel's words
//! are valid: the promise of `KernelDesc` and of `raw_kernel`.

#![allow(unsafe_code, reason = "it gives kernels to the device, with the argument above")]

use super::{
    batch::Batch,
    channel::Post,
    control::{self, Head, Record, Root, Row, Window},
    grid::Dispatch,
    options::LaunchOptions,
    pending::Pending,
    variant,
};
use crate::{
    LaunchError, Scope,
    kernel::code::Code,
    lend::lends::Segment,
    vk::{
        buffer::SharedBuffer,
        command::{WordCopy, Work},
    },
};
use farptr_rewrite::{Analysis, Search, Translation, Variant, control::Layout};
use std::sync::{Arc, atomic::Ordering::Relaxed};

/// One checked launch that was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) kernel: &'static str,
    pub(crate) code: &'a Arc<Code>,
    /// Workgroups, within the device's limits.
    pub(crate) dispatch: Dispatch,
    /// Push constants, as many as the kernel declares.
    pub(crate) push: &'a [u8],
    pub(crate) options: &'a LaunchOptions,
}

/// How a launch whose memory the device reaches as it is will run.
struct Plan<'a> {
    analysis: &'a Analysis,
    roots: Vec<Root>,
    windows: Vec<Window>,
    variant: Variant,
    layout: Layout,
}

/// Tables of segments that launches in flight use at most; before one more they are waited for, so
/// that a host that launches without waiting does not collect tables without end.
pub(crate) const TABLES: usize = 64;

/// Segments that a kernel bisects, in memory of their own.
pub(crate) struct Table {
    /// The lends that it was made from.
    version: u64,
    /// The kernel, whose kinds of access the records answer.
    code: Arc<Code>,
    search: Search,
    address: u64,
}

impl Scope<'_, '_> {
    /// Launches a rewritten kernel, or reports what failed before.
    pub(crate) fn launch_checked(&mut self, ask: &Ask<'_>) -> Result<(), LaunchError> {
        if self.device().is_inherited() {
            return Err(LaunchError::Forked);
        }
        if self.has_failed() {
            self.settle()?;
        }
        let analysis = ask.code.program(ask.kernel)?.analysis();
        let roots = control::roots(analysis, ask.push, &self.lends, false);
        let reached = |root: &Root| root.segment.is_none_or(|segment| segment.delta.is_some());
        let argued = analysis.is_roots_only() && roots.iter().all(reached);
        if self.needs_rounds(ask) || (!argued && !self.lends.is_reachable()) {
            return self.launch_in_rounds(ask);
        }
        // With imports, what runs without rounds works at home and never in frames.
        if let Some(paged) = self.paged.as_mut().filter(|_| !self.config.imports()) {
            paged.note_written();
        }
        let windows = control::windows(analysis, &roots);
        let translation = self.config.translation();
        let (variant, layout) = self.form(ask, analysis, translation, &windows)?;
        let plan = Plan { analysis, roots, windows, variant, layout };
        if ask.options.transactional { self.transact(ask, plan) } else { self.enqueue(ask, plan) }
    }

    /// The form of a kernel for a launch on what is lent, and where its control rows are.
    pub(crate) fn form(
        &self,
        ask: &Ask<'_>,
        analysis: &Analysis,
        translation: Translation,
        windows: &[Window],
    ) -> Result<(Variant, Layout), LaunchError> {
        let traits = self.device().traits();
        let fold = ask.dispatch.fold();
        let chosen = variant::choose(analysis, traits, translation, windows, &self.lends, fold);
        let lends = self.lends.len();
        chosen.ok_or(LaunchError::TooManyLends { kernel: ask.kernel, lends })
    }

    /// Whether pages have to be looked at even if all lends are reachable: with the memory of the
    /// process open, and to put copies back if the launch fails.
    fn needs_rounds(&self, ask: &Ask<'_>) -> bool {
        let copies = !self.config.imports() && ask.options.transactional;
        copies || self.paged.as_ref().is_some_and(|paged| paged.process.is_some())
    }

    /// Runs a launch alone, and puts lent memory back if it fails.
    fn transact(&mut self, ask: &Ask<'_>, plan: Plan<'_>) -> Result<(), LaunchError> {
        self.settle()?;
        let before = self.snapshot();
        let done = self.enqueue(ask, plan).and_then(|()| self.settle());
        if done.is_err() {
            self.restore(&before);
        }
        done
    }

    /// Records a launch. One with a deadline of its own is submitted alone and at once, so that the
    /// time of no other one counts.
    fn enqueue(&mut self, ask: &Ask<'_>, plan: Plan<'_>) -> Result<(), LaunchError> {
        let pipeline = ask.code.rewritten(ask.kernel, &plan.variant)?;
        if ask.options.deadline.is_some() {
            self.submit()?;
        }
        let stop = self.stop_address()?;
        let (segments, inline) = self.segments(ask, &plan)?;
        let [zeroes, sink] = self.launcher.spare();
        let cuts_loops = self.device().traits().cuts_loops;
        // The first launch since the stop word was 0 has nobody to ask.
        let stopped = self.stop.as_ref().filter(|_| self.unsettled).map(|stop| stop.word_at(0));
        let rows = plan.layout.rows() as usize;
        let batch = self.batch_with_room(rows)?;
        let channel = batch.channel(rows).expect("the batch was chosen for its room");
        let (post, log) = channel.post();
        let head = Head {
            loop_limit: ask.options.loop_limit,
            loop_limit_after_fault: ask.options.loop_limit_after_fault(cuts_loops),
            zeroes,
            sink,
            log,
            stop,
            segments,
            grid: ask.dispatch.rows(),
            ..Head::default()
        };
        let rows = control::rows(&plan.layout, &head, plan.analysis, &plan.windows, &inline);
        let control = Some(channel.write(&rows));
        let copy = stopped.map(|from| WordCopy { from, to: channel.before(post) });
        let work = Work {
            pipeline: &pipeline,
            control,
            push: ask.push,
            groups: ask.dispatch.groups,
            copy,
        };
        // SAFETY: 1. the pipeline was compiled for this device, with a control block; groups and
        // push constants keep the limits (`Ask`); 2. the batch keeps pipeline and channel, and the
        // scope the stop word; 3. the module's argument.
        unsafe { batch.add(&pipeline).launch(&work) };
        expect(batch, post, ask, plan.roots);
        self.unsettled = true;
        self.submit_if_full()?;
        if ask.options.deadline.is_some() { self.submit() } else { Ok(()) }
    }

    /// The batch that is recording, or a new one if that is of another kind or full.
    fn batch_with_room(&mut self, rows: usize) -> Result<&mut Batch, LaunchError> {
        let fits = self.recording.as_mut().is_some_and(|batch| batch.channel(rows).is_some());
        if !fits {
            self.submit()?;
        }
        match &mut self.recording {
            Some(batch) => Ok(batch),
            none => Ok(none.insert(Batch::begin_checked(&self.launcher)?)),
        }
    }

    pub(crate) fn stop_address(&mut self) -> Result<u64, LaunchError> {
        if let Some(stop) = &self.stop {
            return Ok(stop.address());
        }
        let stop = self.launcher.take_stop()?;
        let address = stop.address();
        self.stop = Some(stop);
        Ok(address)
    }

    /// The records of the segments: in memory of their own, whose address is given, or to go into
    /// the control block.
    fn segments(&mut self, ask: &Ask<'_>, plan: &Plan<'_>) -> Result<(u64, Vec<Row>), LaunchError> {
        let (search, version) = (plan.variant.search, self.lends.version());
        if let Some(table) = &self.table
            && table.version == version
            && table.search == search
            && Arc::ptr_eq(&table.code, ask.code)
        {
            return Ok((table.address, Vec::new()));
        }
        if plan.analysis.is_roots_only() {
            return Ok((0, Vec::new()));
        }
        let record = |segment: &Segment| {
            let target = segment.delta.unwrap_or(0);
            Record { segment: *segment, target, bitmap: 0 }
        };
        let segments = self.lends.iter().map(record);
        let rows = control::records(&plan.layout, plan.analysis, search, segments);
        if let Search::Unrolled(_) = search {
            return Ok((0, rows));
        }
        // Launches of several kernels in turn, or lends between launches, need one each.
        if self.kept.len() >= TABLES {
            self.settle()?;
        }
        let buffer = SharedBuffer::new(self.device(), rows.len() as u64 * 16)?;
        for (word, &value) in buffer.words().iter().zip(rows.as_flattened()) {
            word.store(value, Relaxed);
        }
        let address = buffer.address();
        self.kept.push(buffer);
        self.table = Some(Table { version, code: Arc::clone(ask.code), search, address });
        Ok((address, Vec::new()))
    }
}

fn expect(batch: &mut Batch, post: Post, ask: &Ask<'_>, roots: Vec<Root>) {
    let code = Arc::clone(ask.code);
    batch.expect(post, Pending { kernel: ask.kernel, code, roots, options: *ask.options });
}
