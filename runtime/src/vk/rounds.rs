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
    command::{Recording, Work},
    paged::{Frames, LOG_CAPACITY, PAGES_PER_WORD, Paged, Placed},
};
use crate::{
    FaultReason, LaunchError, LendError, VulkanError,
    config::Config,
    launch::{
        allowance::{Allowance, Overdue},
        channel::Channel,
        checked::Request,
        control::{self, Head, Root, Row},
        fault::Launched,
        log::{self, FaultRecord, Log},
        stop::StopWord,
        stream::Stream,
        wait::wait_or_stop,
    },
    lend::{lends::Lends, process::ProcessMemory},
    paging::{
        plan::{Costs, Ended, Plan, Replay},
        process::{LentProcess, ProcessPages},
        report::{Missing, Report},
        rounds::{self, Run},
        table::{Frozen, Width},
    },
    residency::memory::Memory,
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
    stop: &'r StopWord,
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
        self.stop.clear();
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
        self.newest.count_failures(self.stop.failures());
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
        let mut recording = Recording::begin(self.device)?;
        // SAFETY: 1. groups and push constants keep the limits (`Request`), and pipeline and control
        // block belong to this device and to each other; 2. both outlive this call, which waits; 3.
        // the module's argument.
        unsafe { recording.launch(&self.work) };
        let submitted = recording.submit(None)?;
        Counters::add(&self.device.counters.submissions, 1);
        Ok(wait_or_stop(&submitted, Some(&mut self.allowance), || {
            self.stop.raise();
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

/// Runs a launch in rounds until nothing faults, and returns when it is done.
///
/// # Safety
///
/// Nothing of the stream is in flight. Each of `lends` is as
/// [`Homes::add`](crate::lend::homes::Homes::add) asks for, for as long as `paged` lives.
pub(crate) unsafe fn launch_in_rounds(
    stream: &mut Stream,
    paged: &mut Paged,
    lends: &mut Lends,
    config: &Config,
    request: &Request<'_>,
) -> Result<(), LaunchError> {
    // SAFETY: the caller's promise.
    let placed = unsafe { paged.place(stream.device(), lends) };
    // Segments that were placed anew are no longer where they were, whatever became of others.
    if !config.imports() {
        paged.note_resident(lends);
    }
    placed?;
    let analysis = &request.code.facts(request.kernel)?.analysis;
    let open = paged.process.is_some();
    let roots = control::roots(analysis, request.push, lends, open);
    let mut windows = control::windows(analysis, &roots);
    if open {
        control::open_windows(&mut windows, analysis, &roots);
    }
    let translation = Translation::Table { tree: open };
    let (form, layout) = request.form(stream.device(), analysis, translation, &windows, lends)?;
    let pipeline = request.code.rewritten(request.kernel, &form)?;
    let (bisected, inline) = records(paged, lends, analysis, &layout, form.search)?;
    let head = round_head(stream, request, paged, bisected)?;
    let rows = control::rows(&layout, &head, analysis, &windows, &inline);
    let apart = control::apart(analysis, &roots, open);
    let written = written_lends(paged, analysis, &roots);
    let plan = Plan { written, ..plan(config, request, analysis, apart) };
    let device = Arc::clone(stream.device());
    let stop = stream.stop_word()?;
    let Paged { pages, memory, placed, log, channel, process, .. } = &mut *paged;
    let mut runner = Runner {
        device: &device,
        memory,
        placed: lends.iter().filter_map(|s| placed.get(&s.range.start())).collect(),
        log,
        channel,
        stop,
        work: Work {
            pipeline: &pipeline,
            control: None,
            push: request.push,
            groups: request.dispatch.groups,
            copy: None,
        },
        rows,
        analysis,
        allowance: Allowance::new(request.options.time()),
        worked: worked(),
        newest: Log::default(),
    };
    let (ended, costs) = rounds::launch(&mut runner, pages, process.as_mut(), plan);
    let (newest, overdue) = (runner.newest, runner.allowance.overdue());
    stop.clear();
    count(&device, &costs);
    let ended = ended.map_err(|why| {
        let (kernel, names) = (request.kernel, &request.code.reflection.push_names[..]);
        let launched = Launched { kernel, analysis, names, roots: &roots, lends };
        failure(&why, request, &launched, &newest, overdue)
    });
    let finished = finish_rounds(&device, paged, lends, config);
    ended.and(finished)
}

fn round_head(
    stream: &mut Stream,
    request: &Request<'_>,
    paged: &Paged,
    segments: u64,
) -> Result<Head, VulkanError> {
    let stop = stream.stop_word()?.address();
    let [zeroes, sink] = stream.launcher().spare();
    let cuts_loops = stream.device().traits().cuts_loops;
    let (tree, tree_entries) = paged.pages.table.root().unwrap_or((0, 0));
    Ok(Head {
        loop_limit: request.options.loop_limit,
        loop_limit_after_fault: request.options.loop_limit_after_fault(cuts_loops),
        zeroes,
        sink,
        log: paged.log.address(),
        stop,
        tree,
        tree_entries,
        segments,
        grid: request.dispatch.rows(),
    })
}

fn plan(config: &Config, request: &Request<'_>, analysis: &Analysis, apart: bool) -> Plan {
    let plan = Plan::of(analysis);
    // What one argument writes, another may read: a second run would not start from the same.
    let replay = match plan.replay {
        Replay::Overwrite if !apart => Replay::Undo,
        replay => replay,
    };
    Plan {
        replay,
        transactional: request.options.transactional,
        max_rounds: request.options.max_rounds,
        max_faults: request.options.max_faults,
        serve_faults: config.hooks.serve_faults,
        ..plan
    }
}

fn count(device: &Device, costs: &Costs) {
    let counters = &device.counters;
    Counters::add(&counters.launches, 1);
    Counters::add(&counters.rounds, costs.rounds);
    Counters::add(&counters.undone_rounds, costs.undone);
    Counters::add(&counters.faults, costs.faults);
    Counters::add(&counters.bytes_in, costs.bytes_in);
    Counters::add(&counters.bytes_home, costs.bytes_home);
}

/// Leaves memory as launches without rounds need it: what they reach at home is written home,
/// what the device has whole is reached there.
fn finish_rounds(
    device: &Device,
    paged: &mut Paged,
    lends: &mut Lends,
    config: &Config,
) -> Result<(), LaunchError> {
    paged.written = true;
    if config.imports() {
        let bytes = paged.write_back()?;
        Counters::add(&device.counters.bytes_home, bytes);
        for segment in lends.iter().filter(|segment| segment.delta.is_some()) {
            paged.forget(segment.range.start());
        }
        // What is reached at home may be reached in frames too, at another address.
        paged.pages.forget_aliases();
        return Ok(());
    }
    paged.note_resident(lends);
    Ok(())
}

/// The lends of arguments that the kernel writes through.
fn written_lends(paged: &Paged, analysis: &Analysis, roots: &[Root]) -> Vec<usize> {
    let writes = analysis.index_checks.iter().filter(|check| check.access.writes());
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
    request: &Request<'_>,
    launched: &Launched<'_>,
    newest: &Log,
    overdue: Overdue,
) -> LaunchError {
    let (kernel, options) = (request.kernel, request.options);
    let Overdue { allowed: deadline, queued } = overdue;
    let deadline = LaunchError::Deadline { kernel, deadline, queued };
    match *why {
        Ended::Fault(ref fault, denial) => {
            LaunchError::Fault(Box::new(launched.fault(fault, denial.map(FaultReason::from))))
        }
        Ended::Cut => LaunchError::LoopCut {
            kernel,
            limit: request.code.device().cut_after(),
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

/// Opens the memory of the process to kernels, if the system lets it be looked at.
///
/// # Safety
///
/// As [`ProcessMemory::open`] asks for, for as long as `paged` lives.
pub(crate) unsafe fn open_process(paged: &mut Paged) -> Result<(), LendError> {
    if paged.process.is_some() {
        return Ok(());
    }
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
