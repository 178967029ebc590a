//! Launches in rounds: what [`crate::paging::rounds`] decides, done on a device.
//!
//! # Safety
//!
//! The argument is that of [`checked`](crate::launch::checked): a rewritten kernel touches what its control
//! rows allow, here frames that the page table names. They belong to the scope's arena, which
//! outlives the launch, since each round is waited for.

use super::{
    Device,
    buffer::SharedBuffer,
    command::Work,
    paged::{Frames, LOG_CAPACITY, PAGES_PER_WORD, Paged, Placed},
};
use crate::{
    FaultReason, LaunchError, LendError, Scope, VulkanError,
    launch::{
        allowance::{Allowance, Overdue},
        channel::Channel,
        checked::Ask,
        control::{self, Head, Root, Row},
        fault::Launched,
        log::{self, FaultRecord, Log},
        wait::wait_or_stop,
    },
    lend::{
        lends::{Lends, Segment},
        process::ProcessMemory,
    },
    paging::{
        plan::{Costs, Ended, Plan, Replay},
        process::{LentProcess, ProcessPages},
        report::{Missing, Report},
        rounds::{self, Run},
        table::{Frozen, Width},
    },
    residency::memory::Memory,
    scope::raise,
    stats::Counters,
};
use farptr_hmm::VirtAddr;
use farptr_rewrite::{Analysis, Search, Translation, control::Layout};
use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

/// A launch on a device that can be run again and again.
struct Runner<'r> {
    device: &'r Arc<Device>,
    memory: &'r mut Frames,
    /// The segments in the order of their records.
    placed: Vec<&'r Placed>,
    log: &'r SharedBuffer,
    channel: &'r mut Channel,
    stop: &'r SharedBuffer,
    work: Work<'r>,
    rows: Vec<Row>,
    analysis: &'r Analysis,
    /// The time of all rounds together.
    allowance: Allowance,
    /// How long this thread had worked when that was last counted.
    worked: Duration,
    /// The log of the newest round.
    newest: Log,
}

impl Run for Runner<'_> {
    type Memory = Frames;

    fn memory(&mut self) -> &mut Frames {
        self.memory
    }

    fn writes(&self, fault: &FaultRecord) -> bool {
        self.analysis.sites.get(fault.site).is_some_and(|site| site.access.writes())
    }

    fn run(&mut self, _table: &Frozen<'_>) -> Result<Report, Ended<VulkanError>> {
        self.memory.arena.settle().map_err(Ended::Device)?;
        log::clear(self.log.words(), LOG_CAPACITY);
        self.stop.words()[0].store(0, Relaxed);
        self.channel.clear();
        self.work.control = Some(self.channel.write(&self.rows));
        self.count_work();
        if self.submit_and_wait().map_err(Ended::Device)?.is_some() {
            return Err(Ended::Deadline);
        }
        // Waiting is counted already.
        self.worked = worked();
        let words: Vec<u32> = self.log.words().iter().map(|word| word.load(Relaxed)).collect();
        self.newest = Log::decode(&words);
        self.newest.count_failures(self.stop.words()[0].load(Relaxed));
        Ok(self.report())
    }

    fn is_overdue(&mut self) -> bool {
        self.count_work();
        self.allowance.is_spent()
    }
}

impl Runner<'_> {
    /// Runs the kernel and says whether it had to be stopped; it has ended in any case.
    fn submit_and_wait(&mut self) -> Result<Option<Overdue>, VulkanError> {
        let mut recording = self.device.begin()?;
        // SAFETY: 1. groups and push constants keep the limits (`Ask`), and pipeline and control
        // block belong to this device and to each other; 2. both outlive this call, which waits; 3.
        // the module's argument.
        unsafe { recording.launch(&self.work) };
        let submitted = recording.submit(None)?;
        Counters::add(&self.device.counters.submissions, 1);
        Ok(wait_or_stop(&submitted, Some(&mut self.allowance), || {
            raise(self.stop);
            self.channel.stop();
        }))
    }

    /// Counts what this thread worked for the launch since the last time.
    fn count_work(&mut self) {
        let now = worked();
        self.allowance.work(now.saturating_sub(self.worked));
        self.worked = now;
    }

    /// What the round left in log and bitmaps; the bitmaps are empty again.
    fn report(&self) -> Report {
        let log = &self.newest;
        let mut report = Report {
            total: log.faults.into(),
            cut: log.cut,
            exhausted: log.exhausted,
            ..Report::default()
        };
        if log.faults == 0 {
            return report;
        }
        for placed in &self.placed {
            missing_in(placed, &mut report.missing);
        }
        report.faults.clone_from(&log.records);
        report.faults.sort_by_key(FaultRecord::order);
        report
    }
}

/// Takes the bits out of a bitmap.
fn missing_in(placed: &Placed, missing: &mut Vec<Missing>) {
    let lend = placed.lend;
    let ahead = placed.first_page() - placed.first_bit();
    for (position, word) in (0u64..).zip(placed.bitmap.words()) {
        let mut bits = word.load(Relaxed);
        if bits == 0 {
            continue;
        }
        word.store(0, Relaxed);
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            let page = position * PAGES_PER_WORD + u64::from(bit / 2);
            if let Some(page) = page.checked_sub(ahead).and_then(|page| usize::try_from(page).ok())
            {
                missing.push(Missing { lend, page, write: bit % 2 == 1 });
            }
        }
    }
}

impl Scope<'_, '_> {
    /// Runs a launch in rounds until nothing faults, and returns when it is done.
    pub(crate) fn launch_in_rounds(&mut self, ask: &Ask<'_>) -> Result<(), LaunchError> {
        self.settle()?;
        let mut paged = self.take_paged()?;
        let result = self.rounds_with(ask, &mut paged);
        self.paged = Some(paged);
        result
    }

    /// Opens the memory of the process to the kernels of this scope.
    ///
    /// # Safety
    ///
    /// As [`ProcessMemory::open`] asks for, until this scope ends.
    pub(crate) unsafe fn open_process(&mut self) -> Result<(), LendError> {
        if self.device().is_inherited() {
            return Err(LendError::Forked);
        }
        let mut paged = self.take_paged().map_err(|source| LendError::Process { source })?;
        let opened = match paged.process {
            Some(_) => Ok(()),
            // SAFETY: the caller's promise.
            None => unsafe { open_process_pages(&mut paged) },
        };
        self.paged = Some(paged);
        opened
    }

    fn take_paged(&mut self) -> Result<Box<Paged>, VulkanError> {
        match self.paged.take() {
            Some(paged) => Ok(paged),
            None => Paged::new(&self.launcher, &self.config).map(Box::new),
        }
    }

    fn rounds_with(&mut self, ask: &Ask<'_>, paged: &mut Paged) -> Result<(), LaunchError> {
        // SAFETY: what `Lends` has was borrowed for 'env when it was lent, mutably where it is
        // writable, as plain data; an `Idle`, which alone gives access to it, borrows the scope.
        let placed = unsafe { paged.place(self.launcher.device(), &self.lends) };
        // Segments that were placed anew are no longer where they were, whatever became of others.
        if !self.config.imports() {
            self.note_resident(paged);
        }
        placed?;
        let analysis = ask.code.program(ask.kernel)?.analysis();
        let open = paged.process.is_some();
        let roots = control::roots(analysis, ask.push, &self.lends, open);
        let mut windows = control::windows(analysis, &roots);
        if open {
            control::open_windows(&mut windows, analysis, &roots);
        }
        let translation = Translation::Table { tree: open };
        let (form, layout) = self.form(ask, analysis, translation, &windows)?;
        let pipeline = ask.code.rewritten(ask.kernel, &form)?;
        self.stop_address()?;
        let stop = self.stop.as_ref().expect("made just now");
        let (bisected, inline) = records(paged, &self.lends, analysis, &layout, form.search)?;
        let head = self.round_head(ask, paged, stop, bisected);
        let rows = control::rows(&layout, &head, analysis, &windows, &inline);
        let apart = control::apart(analysis, &roots, open);
        let written = written_lends(paged, analysis, &roots);
        let plan = Plan { written, ..self.plan(ask, analysis, apart) };
        let Paged { pages, memory, placed, log, channel, process, .. } = paged;
        let mut runner = Runner {
            device: self.launcher.device(),
            memory,
            placed: self.lends.iter().filter_map(|s| placed.get(&s.range.start())).collect(),
            log,
            channel,
            stop,
            work: Work {
                pipeline: &pipeline,
                control: None,
                push: ask.push,
                groups: ask.dispatch.groups,
                copy: None,
            },
            rows,
            analysis,
            allowance: Allowance::new(ask.options.time()),
            worked: worked(),
            newest: Log::default(),
        };
        let (ended, costs) = rounds::launch(&mut runner, pages, process.as_mut(), plan);
        let (newest, overdue) = (runner.newest, runner.allowance.overdue());
        stop.words()[0].store(0, Relaxed);
        self.count(&costs);
        let (kernel, names, lends) = (ask.kernel, &ask.code.reflection.push_names, &self.lends);
        let launched = Launched { kernel, analysis, names, roots: &roots, lends };
        let ended = ended.map_err(|why| failure(&why, ask, &launched, &newest, overdue));
        let finished = self.finish_rounds(paged);
        ended.and(finished)
    }

    fn round_head(&self, ask: &Ask<'_>, paged: &Paged, stop: &SharedBuffer, segments: u64) -> Head {
        let [zeroes, sink] = self.launcher.spare();
        let cuts_loops = self.device().traits().cuts_loops;
        let (tree, tree_entries) = paged.pages.table.root().unwrap_or((0, 0));
        Head {
            loop_limit: ask.options.loop_limit,
            loop_limit_after_fault: ask.options.loop_limit_after_fault(cuts_loops),
            zeroes,
            sink,
            log: paged.log.address(),
            stop: stop.address(),
            tree,
            tree_entries,
            segments,
            grid: ask.dispatch.rows(),
        }
    }

    fn plan(&self, ask: &Ask<'_>, analysis: &Analysis, apart: bool) -> Plan {
        let plan = Plan::of(analysis);
        // What one argument writes, another may read: a second run would not start from the same.
        let replay = match plan.replay {
            Replay::Overwrite if !apart => Replay::Undo,
            replay => replay,
        };
        Plan {
            replay,
            transactional: ask.options.transactional,
            max_rounds: ask.options.max_rounds,
            max_faults: ask.options.max_faults,
            serve_faults: self.config.serve_faults,
            ..plan
        }
    }

    fn count(&self, costs: &Costs) {
        let counters = &self.device().counters;
        Counters::add(&counters.launches, 1);
        Counters::add(&counters.rounds, costs.rounds);
        Counters::add(&counters.undone_rounds, costs.undone);
        Counters::add(&counters.faults, costs.faults);
        Counters::add(&counters.bytes_in, costs.bytes_in);
        Counters::add(&counters.bytes_home, costs.bytes_home);
    }

    /// Leaves memory as launches without rounds need it: what they reach at home is written home,
    /// what the device has whole is reached there.
    fn finish_rounds(&mut self, paged: &mut Paged) -> Result<(), LaunchError> {
        paged.written = true;
        if self.config.imports() {
            let bytes = paged.write_back()?;
            Counters::add(&self.launcher.device().counters.bytes_home, bytes);
            for segment in self.lends.iter().filter(|segment| segment.delta.is_some()) {
                paged.forget(segment.range.start());
            }
            // What is reached at home may be reached in frames too, at another address.
            paged.pages.forget_aliases();
            return Ok(());
        }
        self.note_resident(paged);
        Ok(())
    }

    /// Notes which segments the device has whole.
    fn note_resident(&mut self, paged: &Paged) {
        let changed = |segment: &&Segment| segment.delta != paged.delta(segment.range.start());
        let changed: Vec<Segment> = self.lends.iter().filter(changed).copied().collect();
        for segment in changed {
            let delta = paged.delta(segment.range.start());
            self.lends.insert(Segment { delta, ..segment });
        }
    }

    /// Writes home what the device has newer, once nothing is running.
    pub(crate) fn bring_home(&mut self) -> Result<(), VulkanError> {
        if let Some(paged) = self.paged.as_mut().filter(|paged| paged.written) {
            let bytes = paged.write_back()?;
            Counters::add(&self.launcher.device().counters.bytes_home, bytes);
        }
        Ok(())
    }

    /// Drops what the device has of a segment, which the host is about to change.
    pub(crate) fn forget_copies(&mut self, start: VirtAddr) {
        if let Some(mut paged) = self.paged.take() {
            if let Some(segment) = self.lends.containing(start) {
                paged.forget_home(segment);
            }
            if !self.config.imports() {
                self.note_resident(&paged);
            }
            self.paged = Some(paged);
        }
    }
}

/// The lends of arguments that the kernel writes through.
fn written_lends(paged: &Paged, analysis: &Analysis, roots: &[Root]) -> Vec<usize> {
    let writes = analysis.checks.iter().filter(|check| check.access.writes());
    let segments = writes.filter_map(|check| roots.get(check.root)?.segment);
    let lends = segments.filter_map(|segment| paged.placed.get(&segment.range.start()));
    lends.map(|placed| placed.lend).collect()
}

/// The records of the segments: in memory of their own, whose address is given, or to go into the
/// control block.
fn records(
    paged: &mut Paged,
    lends: &Lends,
    analysis: &Analysis,
    layout: &Layout,
    search: Search,
) -> Result<(u64, Vec<Row>), VulkanError> {
    let rows = control::records(layout, analysis, search, paged.records(lends));
    if matches!(search, Search::Unrolled(_)) {
        return Ok((0, rows));
    }
    Ok((paged.bisected(bytemuck::cast_slice(&rows))?, Vec::new()))
}

/// The error for a launch without result.
fn failure(
    why: &Ended<VulkanError>,
    ask: &Ask<'_>,
    launched: &Launched<'_>,
    newest: &Log,
    overdue: Overdue,
) -> LaunchError {
    let (kernel, options) = (ask.kernel, ask.options);
    let Overdue { allowed: deadline, queued } = overdue;
    let deadline = LaunchError::Deadline { kernel, deadline, queued };
    match *why {
        Ended::Fault(ref fault, denial) => {
            LaunchError::Fault(Box::new(launched.fault(fault, denial.map(FaultReason::from))))
        }
        Ended::Cut => LaunchError::LoopCut {
            kernel,
            limit: ask.code.device().cut_after(),
            invocations: newest.cut,
        },
        Ended::Exhausted => {
            let (limit, invocations) = (options.loop_limit, newest.exhausted);
            LaunchError::LoopLimit { kernel, limit, invocations }
        }
        Ended::TooManyRounds => LaunchError::TooManyRounds { kernel, limit: options.max_rounds },
        Ended::TooManyFaults => LaunchError::TooManyFaults { kernel, limit: options.max_faults },
        Ended::NoProgress => LaunchError::NoProgress { kernel },
        Ended::Raced(address) => LaunchError::Raced { kernel, address },
        Ended::Unwritable(address, why) => {
            LaunchError::Unwritable { kernel, address, reason: why.into() }
        }
        Ended::Deadline => deadline,
        Ended::Device(error) => error.into(),
    }
}

/// How long this thread has worked: what the processor ran, and no time in which it was stopped or
/// waited.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Opens the memory of the process, if the system lets it be looked at.
///
/// # Safety
///
/// As [`ProcessMemory::open`].
unsafe fn open_process_pages(paged: &mut Paged) -> Result<(), LendError> {
    // SAFETY: the caller's promise.
    let process = LentProcess::new(|| unsafe { ProcessMemory::open() })?;
    let memory = &mut paged.memory;
    let made = paged.pages.table.add_tree(width(), |bytes| memory.allocate(bytes));
    made.map_err(|source| LendError::Process { source })?;
    paged.process = Some(ProcessPages::new(Box::new(process)));
    Ok(())
}

/// How many bits the addresses of this process have, by what is mapped.
fn width() -> Width {
    let end = VirtAddr::new(1 << 47);
    let maps = farptr_hmm::Maps::open();
    // The vsyscall page lies in the upper half, beyond both.
    let above = maps.ok().and_then(|maps| maps.find_vma(end).ok()?);
    match above {
        Some(area) if area.range.start().get() < 1 << 56 => Width::Bits57,
        _ => Width::Bits47,
    }
}
