//! Launches that are submitted together: recorded as a [`Batch`], in flight as [`InFlight`].

use super::{
    allowance::{Allowance, Overdue, Polled},
    channel::{Channel, LaunchPlace},
    control_block::Row,
    launcher::Launcher,
    options::LaunchOptions,
    order::{Order, Touch},
    pending::Pending,
    pool::Pooled,
    stop::StopWord,
    wait::{grace, poll, wait_or_stop, wait_stopped},
};
use crate::{
    LaunchError, VulkanError,
    lend::lends::Lends,
    stats::Counters,
    times::LaunchTicks,
    vk::{
        Device, Pipeline,
        command::{Recording, Submitted, WordCopy},
        control::BlockAt,
        info::DeviceKind,
    },
};
use farptr_rewrite::{Variant, control};
use smallvec::SmallVec;
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// Launches per submission: enough to make the cost of a submission small beside that of the
/// launches, few enough that the device does not wait long for its first one. Those with control
/// blocks are as many as a channel takes.
const LAUNCHES: u32 = 128;
const _: () = assert!(LAUNCHES >= Channel::LAUNCHES, "it holds for both kinds");
const _: () = assert!(LAUNCHES <= Submitted::TIMED_LAUNCHES, "all launches can be timed");

/// The expected time of a batch from which on it takes no more launches, on a device that may have
/// a watchdog; and that of a launch of which nothing is known.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The launches of one submission while they are recorded: all with checks, or all without.
pub(crate) struct Batch {
    recording: Recording,
    launches: Launches,
    /// The bytes that the launches touch.
    order: Order,
    /// The time that the launches are likely to take; absent where nothing limits it.
    expected: Option<Duration>,
}

/// The launches of one submission that the device has. Dropping them waits.
pub(crate) struct InFlight {
    // The first field, so that the rest is given back after the wait.
    submitted: Submitted,
    launches: Launches,
    /// The time that the launches may take together, and what they have used of it; without a limit
    /// if one is neither checked nor proved.
    allowance: Option<Allowance>,
    /// The time for the error, once the launches were told to end because it was over. What is
    /// allowed then is the grace.
    overdue: Option<Overdue>,
    /// When the device got them, where their time says how many the next batch may have.
    since: Option<Instant>,
    /// When they were first polled.
    polled: Option<Instant>,
}

/// The objects that launches need until they have completed.
#[derive(Default)]
struct Launches {
    count: u32,
    /// How many of them wait for those before them.
    barriers: u32,
    /// Their kernels, if they are timed.
    kernels: Vec<&'static str>,
    /// Their pipelines, each with the workgroups of all its launches.
    pipelines: SmallVec<[(Arc<Pipeline>, u64); 2]>,
    checked: Option<Checked>,
    /// Launches of which no access is checked, since it is proved.
    without_checks: u32,
    /// The time of the longest that looks at no stop word, or not in its loops.
    unwatched: Duration,
    /// The launches without checks that are proved to end.
    proved: Option<Ending>,
    /// Control blocks of folded launches without checks.
    grids: Option<Pooled<Channel>>,
}

/// Launches without checks that are proved to end.
struct Ending {
    /// The last one's kernel, for the error if they are not in time.
    last: &'static str,
    /// How long they may take together.
    time: Duration,
    /// How long their submission may take, if the device limits that.
    limit: Option<Duration>,
    /// The most that they take together.
    most: Duration,
}

/// The channel of checked launches, and the launches whose logs are to be read.
struct Checked {
    channel: Pooled<Channel>,
    pending: Vec<(LaunchPlace, Pending)>,
}

impl Batch {
    /// A batch for launches without checks.
    pub(crate) fn begin(launcher: &Launcher) -> Result<Self, VulkanError> {
        let recording = Recording::begin(launcher.device())?;
        let is_watched = launcher.device().info.kind.has_watchdog();
        let expected = is_watched.then_some(Duration::ZERO);
        let (launches, order) = (Launches::default(), Order::default());
        Ok(Self { recording, launches, order, expected })
    }

    /// A batch for checked launches.
    pub(crate) fn begin_checked(launcher: &Launcher) -> Result<Self, VulkanError> {
        let mut batch = Self::begin(launcher)?;
        let channel = launcher.take_channel()?;
        batch.launches.checked = Some(Checked { channel, pending: Vec::new() });
        Ok(batch)
    }

    /// The channel, if this is a batch of checked launches with room for so many control rows.
    pub(crate) fn channel(&mut self, rows: usize) -> Option<&mut Channel> {
        let checked = self.launches.checked.as_mut()?;
        checked.channel.has_room(rows).then_some(&mut *checked.channel)
    }

    /// Writes the control block of a folded launch without checks.
    pub(crate) fn grid_block(
        &mut self,
        launcher: &Launcher,
        rows: &[Row],
    ) -> Result<BlockAt, VulkanError> {
        if self.launches.grids.is_none() {
            self.launches.grids = Some(launcher.take_channel()?);
        }
        // A batch whose channel has no room for another one is full.
        let channel = self.launches.grids.as_mut().expect("made just now if it was not there");
        Ok(channel.write(rows))
    }

    /// Whether a launch that touches these bytes needs no barrier before it, though another launch
    /// is recorded that it would wait for otherwise.
    pub(crate) fn may_overlap(&self, touched: &[Touch]) -> bool {
        self.order.may_overlap(touched)
    }

    /// Whether a barrier has to stand before the launch that is added next, of which it may not be
    /// known what it touches.
    pub(crate) fn waits(&mut self, touched: Option<&[Touch]>) -> bool {
        // The times of launches that overlap could not be told apart.
        let waits = self.order.add(touched) || self.recording.times_kernels();
        let waits = waits && self.launches.count > 0;
        self.launches.barriers += u32::from(waits);
        waits
    }

    /// The commands, to which the caller adds one launch of a pipeline that the batch keeps.
    pub(crate) fn add(
        &mut self,
        kernel: &'static str,
        pipeline: &Arc<Pipeline>,
        groups: [u32; 3],
    ) -> &mut Recording {
        self.launches.count += 1;
        if self.recording.times_kernels() {
            self.launches.kernels.push(kernel);
        }
        let groups = groups.into_iter().map(u64::from).fold(1, u64::saturating_mul);
        if let Some(expected) = &mut self.expected {
            *expected = expected.saturating_add(pipeline.pace.expect(groups).unwrap_or(AT_ONCE));
        }
        let pipelines = &mut self.launches.pipelines;
        match pipelines.iter_mut().find(|(known, _)| Arc::ptr_eq(known, pipeline)) {
            Some((_, all)) => *all = all.saturating_add(groups),
            None => pipelines.push((Arc::clone(pipeline), groups)),
        }
        &mut self.recording
    }

    /// Keeps the facts about a checked launch that are needed when its log is read.
    pub(crate) fn expect(&mut self, place: LaunchPlace, pending: Pending, form: &Variant) {
        if form.proved.loops {
            self.launches.unwatched = self.launches.unwatched.max(pending.options.time());
        }
        let checks_nothing = form.checks_nothing(&pending.facts.analysis);
        self.launches.without_checks += u32::from(checks_nothing);
        if let Some(checked) = &mut self.launches.checked {
            checked.pending.push((place, pending));
        }
    }

    /// Whether its launches are proved to end; `None` while it has none.
    pub(crate) fn is_proved(&self) -> Option<bool> {
        (self.launches.count > 0).then_some(self.launches.proved.is_some())
    }

    /// Whether a submission has time for one launch more that is proved to end in so long, if the
    /// device limits that: each may take all of it.
    pub(crate) fn has_time(&self, most: Duration) -> bool {
        let proved = self.launches.proved.as_ref();
        let limit = proved.and_then(|proved| Some((proved, proved.limit?)));
        limit.is_none_or(|(proved, limit)| proved.most.saturating_add(most) <= limit)
    }

    /// Counts the launch that was added last as one that is proved to end, in the time that its
    /// options allow, and in so long at most.
    pub(crate) fn expect_end(
        &mut self,
        kernel: &'static str,
        options: &LaunchOptions,
        most: Duration,
    ) {
        let kind = self.recording.device().info.kind;
        let proved = self.launches.proved.get_or_insert(Ending {
            last: kernel,
            time: Duration::ZERO,
            limit: options.submission_limit(kind),
            most: Duration::ZERO,
        });
        proved.most = proved.most.saturating_add(most);
        self.launches.without_checks += 1;
        self.launches.unwatched = self.launches.unwatched.max(options.time());
        proved.last = kernel;
        proved.time = proved.time.saturating_add(options.time());
    }

    pub(crate) fn is_full(&self) -> bool {
        let takes_long = self.expected.is_some_and(|expected| expected >= AT_ONCE);
        let launches = &self.launches;
        let most = if launches.checked.is_some() { Channel::LAUNCHES } else { LAUNCHES };
        let has_room = |grids: &Pooled<Channel>| grids.has_room(control::GRID_ROWS as usize);
        takes_long
            || launches.count >= most
            || launches.grids.as_ref().is_some_and(|of| !has_room(of))
    }

    /// Hands the launches to the device. On an error none of them runs.
    ///
    /// On a driver that cuts loops a report may be lost. There the batch ends with a copy of the
    /// stop word.
    pub(crate) fn submit(
        self,
        device: &Device,
        stop: Option<&StopWord>,
    ) -> Result<InFlight, VulkanError> {
        let Self { recording, launches, expected, .. } = self;
        if stop.is_some_and(StopWord::is_raised) {
            // An earlier launch was ended and has counted no failure.
            launches.end();
        }
        let allowance = launches.time(device.info.kind).map(Allowance::new);
        let stop = stop.filter(|_| device.traits().cuts_loops);
        let copy = stop
            .zip(launches.checked.as_ref())
            .map(|(stop, checked)| WordCopy { from: stop.word_at(), to: checked.channel.after() });
        let submitted = recording.submit(copy)?;
        Counters::add(&device.counters.submissions, 1);
        Counters::add(&device.counters.launches, launches.count.into());
        Counters::add(&device.counters.barriers, launches.barriers.into());
        Counters::add(&device.counters.proved_launches, launches.without_checks.into());
        Counters::add(&device.counters.rounds, launches.count.into());
        let since = expected.map(|_| Instant::now());
        Ok(InFlight { submitted, launches, allowance, overdue: None, since, polled: None })
    }
}

impl Launches {
    /// Tells workgroups that have not begun to do nothing.
    fn end(&self) {
        if let Some(checked) = &self.checked {
            checked.channel.stop();
        }
    }

    /// How long the launches may take together; without a limit if one of them is unchecked.
    fn time(&self, kind: DeviceKind) -> Option<Duration> {
        if let Some(proved) = &self.proved {
            let Ending { time, limit, .. } = *proved;
            return Some(limit.map_or(time, |limit| limit.min(time)));
        }
        let options = self.checked.as_ref()?.pending.iter().map(|(_, pending)| &pending.options);
        let limit = options.clone().find_map(|options| options.submission_limit(kind));
        let sum = options.map(LaunchOptions::time).fold(Duration::ZERO, Duration::saturating_add);
        Some(limit.map_or(sum, |limit| limit.min(sum)))
    }

    /// Notes how long the launches took, at most.
    fn note_pace(&self, took: Duration) {
        self.pipelines.iter().for_each(|(pipeline, groups)| pipeline.pace.note(*groups, took));
    }
}

impl InFlight {
    /// Waits for the launches, all earlier ones being complete, and reads their logs. Launches that
    /// are not in time are ended, with the `later` ones. An error means that the device is lost.
    pub(crate) fn finish(
        &mut self,
        device: &Device,
        lends: &Lends,
        stop: Option<&StopWord>,
        later: &VecDeque<Box<Self>>,
    ) -> Result<Option<LaunchError>, VulkanError> {
        let Self { submitted, launches, allowance, overdue, .. } = self;
        let end = || {
            stop.inspect(|stop| stop.raise());
            launches.end();
            later.iter().for_each(|later| later.end());
        };
        if let &mut Some(overdue) = overdue {
            wait_stopped(submitted, overdue, launches.unwatched, end)?;
        } else {
            *overdue = wait_or_stop(submitted, allowance.as_mut(), launches.unwatched, end)?;
        }
        self.note_times(device);
        let failure = self.failure(device, lends);
        // Launches behind one that failed do nothing, and neither do those that were told to end.
        let ran = |stop: &StopWord| stop.failures() == 0 && !stop.is_raised();
        if let Some(since) = self.since.filter(|_| failure.is_none() && stop.is_none_or(ran)) {
            self.launches.note_pace(since.elapsed());
        }
        Ok(failure)
    }

    /// Adds the times of the launches, which are complete, if they were taken.
    fn note_times(&self, device: &Device) {
        let Some(times) = device.times() else { return };
        let totals = self.submitted.ticks().into_iter();
        let ticks = totals.map(|total| LaunchTicks { total, undone: 0 });
        times.add(self.launches.kernels.iter().copied().zip(ticks));
    }

    /// Looks whether the launches have completed, all earlier ones being complete, and does not
    /// wait. If their time is over, the stop word is raised. The polls from then on count as the
    /// grace of the launches, so that a program that polls alone does not do so for ever.
    pub(crate) fn poll(&mut self, stop: Option<&StopWord>) -> Result<bool, VulkanError> {
        let Self { submitted, launches, allowance, overdue, polled, .. } = self;
        let Some(allowance) = allowance else {
            return submitted.wait_at_most(Duration::ZERO);
        };
        let now = polled.get_or_insert_with(Instant::now).elapsed();
        let polled = poll(submitted, allowance, now)?;
        if polled == Polled::Overdue && overdue.is_some() {
            submitted.give_up()?;
            return Ok(true);
        }
        if polled == Polled::Overdue {
            let over = overdue.insert(allowance.overdue());
            *allowance =
                Allowance::new(grace(submitted.device(), over.allowed, launches.unwatched));
        }
        if overdue.is_some() {
            stop.inspect(|stop| stop.raise());
        }
        Ok(polled == Polled::Ended)
    }

    /// Tells workgroups that have not begun to do nothing.
    pub(crate) fn end(&self) {
        self.launches.end();
    }

    /// The failure of the first launch that failed, the batch being complete.
    ///
    /// Launches of one scope run one after the other, and those after a failed one do nothing, so
    /// that the logs after the first that is not clean are empty. A launch that was stopped before
    /// its first workgroup has an empty log too: if the time was over, something did not run.
    fn failure(&self, device: &Device, lends: &Lends) -> Option<LaunchError> {
        let overdue = self.overdue;
        if let Some((Ending { last: kernel, .. }, over)) =
            self.launches.proved.as_ref().zip(overdue)
        {
            // It has ended, and its results are there: but not in the time that was asked for.
            let Overdue { allowed: deadline, queued } = over;
            return Some(LaunchError::Deadline { kernel, deadline, queued });
        }
        let checked = self.launches.checked.as_ref()?;
        for (at, &(place, ref pending)) in checked.pending.iter().enumerate() {
            let mut log = checked.channel.log(place);
            if overdue.is_none() && device.traits().cuts_loops {
                let next = checked.pending.get(at + 1).map(|&(next, _)| next);
                log.count_failures(checked.channel.failures(place, next));
            }
            Counters::add(&device.counters.faults, u64::from(log.faults));
            if !log.is_clean() {
                return Some(pending.failure(&log, lends, overdue, device.cut_after()));
            }
        }
        let (_, last) = checked.pending.last()?;
        overdue.map(|overdue| last.deadline(overdue))
    }
}
