//! The pages that one scope has on the device, for launches in rounds.

use super::{
    PAGE_BYTES,
    areas::Areas,
    bitmap::FaultBitmap,
    first::{self, Overwritten, Stretch},
    lend_pages::pages_of,
    lists::Lists,
    pages::{Dirty, Pages},
    plan::{Ended, Plan, Replay},
    process::{LentProcess, ProcessPages, address_width},
    reach::Reach,
    report::Missing,
    rounds,
    run::{Launch, Prepared, Round, Runner},
    shared::is_shared,
};
use crate::{
    LaunchError, LendError, VulkanError,
    config::Config,
    launch::{
        channel::Channel,
        control_block::{self, Arguments, Head, Record, Root},
        launcher::Launcher,
        pool::Pooled,
        tables::Key,
    },
    lend::{
        homes::Homes,
        lends::{Lends, Segment},
        process::ProcessMemory,
        shown::Shown,
    },
    residency::{
        frames::{Copies, Frames},
        memory::{Memory, Span},
    },
    stats::{Counters, step},
    trace,
    vk::buffer::SharedBuffer,
};
use farptr_hmm::{Maps, VaRange, VirtAddr, Vma};
use farptr_rewrite::{Search, Translation};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The pages of a scope's lends on the device, the tables that lead kernels to them, and the memory
/// of the process, if it is lent too.
pub(crate) struct View {
    launcher: Arc<Launcher>,
    config: Arc<Config>,
    pages: Pages,
    frames: Frames,
    /// By the starts of the segments.
    bitmaps: BTreeMap<VirtAddr, FaultBitmap>,
    log: SharedBuffer,
    channel: Pooled<Channel>,
    process: Option<ProcessPages>,
    lists: Lists,
    /// The areas of the process, if the kernel tells.
    areas: Option<Areas>,
    /// Whether memory is as launches without rounds need it.
    is_settled: bool,
    /// The version of the lends whose areas were all looked up, where lends may be reached without
    /// a table.
    known: u64,
    /// The version of the lends that all had their tables; 0 once one has lost its table.
    all_placed: u64,
    /// Pages that count as there and were not copied, because the next launch overwrites them.
    unfetched: Vec<Missing>,
}

/// A lend that an argument leads to, and how many pages of it the device lacked before a launch.
struct Gather {
    /// The position of the root in the analysis.
    root: usize,
    lend: usize,
    absent: usize,
}

impl Gather {
    /// Whether the launch brought half of the lend's pages.
    fn is_dense(&self, pages: &Pages) -> bool {
        let lend = &pages.lends()[self.lend];
        let brought = self.absent.saturating_sub(lend.absent());
        brought * 2 >= lend.pages()
    }
}

impl View {
    /// The view of a scope, made when a launch first needs it.
    pub(crate) fn of<'v>(
        view: &'v mut Option<Box<Self>>,
        launcher: &Arc<Launcher>,
        config: &Arc<Config>,
    ) -> Result<&'v mut Self, VulkanError> {
        match view {
            Some(view) => Ok(view),
            none => Ok(none.insert(Box::new(Self::new(launcher, config)?))),
        }
    }

    fn new(launcher: &Arc<Launcher>, config: &Arc<Config>) -> Result<Self, VulkanError> {
        let device = launcher.device();
        Ok(Self {
            log: Round::new_log(device)?,
            channel: launcher.take_channel()?,
            pages: Pages::default(),
            frames: Frames::new(device, config.hooks.staged_copies),
            bitmaps: BTreeMap::new(),
            process: None,
            lists: Lists::default(),
            areas: Maps::open().ok().map(Areas::of),
            is_settled: true,
            known: 0,
            all_placed: 0,
            unfetched: Vec::new(),
            launcher: Arc::clone(launcher),
            config: Arc::clone(config),
        })
    }

    /// Opens the memory of the process to kernels, unless it is open.
    ///
    /// # Errors
    ///
    /// Those of [`LentProcess::new`] and of the device's memory.
    pub(crate) fn open_process(
        &mut self,
        open: impl FnOnce() -> Result<ProcessMemory, LendError>,
    ) -> Result<(), LendError> {
        if self.process.is_some() {
            return Ok(());
        }
        let process = LentProcess::new(open)?;
        let frames = &mut self.frames;
        let made = self.pages.table.add_tree(address_width(), |bytes| frames.allocate(bytes));
        made.map_err(|source| LendError::Process { source })?;
        self.process = Some(ProcessPages::new(Box::new(process)));
        Ok(())
    }

    /// Whether pointers into no lend reach the memory of the process.
    pub(crate) fn reaches_process(&self) -> bool {
        self.process.is_some()
    }

    /// Runs a launch in rounds until nothing faults, and returns when it is done. Nothing else is
    /// running.
    pub(crate) fn run_in_rounds(
        &mut self,
        launch: &Launch<'_>,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), LaunchError> {
        let reached = launch.arguments.reach(false);
        let reached = reached.as_deref();
        let placed = self.place(reached, lends, homes);
        // Segments that were placed anew have moved, even if others could not be placed.
        self.note_resident(lends);
        placed?;
        let prepared = self.prepare(launch, lends, reached)?;
        let outcome = self.run(launch, &prepared, lends, reached, homes);
        self.is_settled = false;
        let finished = self.finish(lends, homes);
        outcome.and(finished)
    }

    /// Brings in pages that a launch is known to touch, before it runs. Nothing is running.
    ///
    /// Those that it overwrites are not copied. Then the launch is run, and
    /// [`overwritten`](Self::overwritten) says so; or they are [fetched](Self::fetch) or
    /// [dropped](Self::drop_unfetched).
    ///
    /// # Errors
    ///
    /// Those of the device. What was to come may not be there then, and the device is not taken to
    /// have it.
    pub(crate) fn bring(
        &mut self,
        stretches: &[Stretch],
        overwritten: &Overwritten,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), VulkanError> {
        let lend = |stretch: &Stretch| lends.containing(stretch.range.start()).copied();
        let mut reached: Vec<Segment> = stretches.iter().filter_map(lend).collect();
        reached.sort_unstable_by_key(|segment| segment.range.start());
        reached.dedup();
        let placed = self.place(Some(&reached), lends, homes);
        self.note_resident(lends);
        placed?;
        let missing = first::missing(&self.pages, stretches);
        // Of memory that lies at several addresses the newest bytes may be on the device: rounds
        // write them home first.
        if missing.is_empty() || self.pages.has_aliases() {
            return Ok(());
        }
        let (fetched, unfetched) = first::parted(&self.pages, missing, overwritten);
        let Self { pages, frames, .. } = self;
        let mut allocate = || frames.allocate(PAGE_BYTES);
        let spans = pages.serve(&fetched, &mut allocate).and_then(|spans| {
            pages.serve(&unfetched, &mut allocate)?;
            self.unfetched = unfetched;
            Ok(spans)
        });
        self.copy_in(spans, lends, homes)
    }

    /// Copies spans in, and waits until they are there.
    fn copy_in(
        &mut self,
        spans: Result<Vec<Span>, VulkanError>,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), VulkanError> {
        let Self { frames, launcher, .. } = self;
        let copied = spans.and_then(|spans| {
            let bytes = Span::sum(&spans);
            let _copy = trace::span!("copy", to = "device", bytes = bytes);
            Counters::add(&launcher.device().counters.bytes_in, bytes);
            Copies { frames, homes }.copy_in(&spans)?;
            frames.finish_writes()
        });
        if copied.is_err() {
            self.unfetched.clear();
            self.frames.forget_writes();
            self.pages.doubt();
            self.lists.doubt();
        }
        self.note_resident(lends);
        copied
    }

    /// Copies in what [`bring`](Self::bring) left out, for a launch that may not write all of it.
    /// Nothing is running.
    ///
    /// # Errors
    ///
    /// As [`bring`](Self::bring).
    pub(crate) fn fetch(
        &mut self,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), VulkanError> {
        if self.unfetched.is_empty() {
            return Ok(());
        }
        let spans = self.pages.spans(&std::mem::take(&mut self.unfetched));
        self.copy_in(Ok(spans), lends, homes)
    }

    /// Whether [`bring`](Self::bring) left something out that no launch has overwritten yet.
    pub(crate) fn has_unfetched(&self) -> bool {
        !self.unfetched.is_empty()
    }

    /// The launch runs that overwrites what [`bring`](Self::bring) left out.
    pub(crate) fn overwritten(&mut self) {
        self.unfetched.clear();
    }

    /// Drops what [`bring`](Self::bring) left out, because the launch does not run.
    pub(crate) fn drop_unfetched(&mut self, lends: &mut Lends) {
        if !self.unfetched.is_empty() {
            self.pages.drop_unfetched(&std::mem::take(&mut self.unfetched));
            self.note_resident(lends);
        }
    }

    /// Does what the end of a launch in rounds could not do, since the device failed. Nothing is
    /// running.
    pub(crate) fn settle(
        &mut self,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), LaunchError> {
        if self.is_settled { Ok(()) } else { self.finish(lends, homes) }
    }

    /// The kernel's form for a launch that reaches some segments, or all, and its control block.
    fn prepare(
        &mut self,
        launch: &Launch<'_>,
        lends: &Lends,
        reached: Option<&[Segment]>,
    ) -> Result<Prepared, LaunchError> {
        let &Launch { request, arguments, .. } = launch;
        let translation = Translation::Table { tree: arguments.open };
        let device = self.launcher.device();
        let count = reached.map_or(lends.len(), <[Segment]>::len);
        let (variant, layout) = request.form(device, arguments, translation, lends, count)?;
        let pipeline = request.code.rewritten(request.kernel, &variant)?;
        let analysis = &arguments.facts.analysis;
        let (search, all) = (variant.search, reached.is_none());
        let key = Key { version: lends.version(), code: request.code, search };
        let (segments, inline) = if let Some(address) = self.lists.find(key).filter(|_| all) {
            (address, Vec::new())
        } else {
            let segments = all.then(|| lends.iter()).into_iter().flatten();
            let segments = self.records(segments.chain(reached.unwrap_or_default()));
            let records = control_block::records(&layout, analysis, search, segments);
            match search {
                Search::Unrolled(_) => (0, records),
                Search::Bisected { .. } => {
                    (self.lists.store(&mut self.frames, key, all, &records)?, Vec::new())
                }
            }
        };
        let head = self.head(launch, segments);
        let rows = control_block::rows(&layout, &head, analysis, &arguments.windows, &inline);
        Ok(Prepared { pipeline, rows })
    }

    fn head(&self, Launch { request, stop, .. }: &Launch<'_>, segments: u64) -> Head {
        let (tree, tree_entries) = self.pages.table.root().unwrap_or((0, 0));
        let log = self.log.address();
        let common = request.head(&self.launcher, stop.addresses());
        Head { log, tree, tree_entries, segments, ..common }
    }

    fn plan(&self, Launch { request, arguments, .. }: &Launch<'_>) -> Plan {
        let plan = Plan::of(&arguments.facts.analysis);
        // If one argument reads bytes that another one writes, a second run does not start from the
        // same bytes.
        let replay = match plan.replay {
            Replay::Overwrite if !arguments.are_apart() => Replay::Undo,
            replay => replay,
        };
        let lend = |segment: Segment| Some(self.placed(&segment)?.lend);
        Plan {
            replay,
            transactional: request.options.transactional,
            written: arguments.written().filter_map(lend).collect(),
            writes: self.reach(arguments.reach(true).as_deref()),
            max_rounds: request.options.max_rounds,
            max_faults: request.options.max_faults,
            serve_faults: request.options.serve_faults.or(self.config.hooks.serve_faults),
            ..plan
        }
    }

    /// The lends of segments, or all.
    fn reach(&self, segments: Option<&[Segment]>) -> Reach {
        let Some(segments) = segments else { return Reach::All };
        Reach::these(segments.iter().filter_map(|segment| Some(self.placed(segment)?.lend)))
    }

    /// The bitmap of a segment that has its table. One that starts there may be of a segment that
    /// is part of a larger one now.
    fn placed(&self, segment: &Segment) -> Option<&FaultBitmap> {
        let bitmap = self.bitmaps.get(&segment.range.start())?;
        (bitmap.range == segment.range).then_some(bitmap)
    }

    fn run(
        &mut self,
        launch: &Launch<'_>,
        prepared: &Prepared,
        lends: &Lends,
        reached: Option<&[Segment]>,
        homes: &mut Homes,
    ) -> Result<(), LaunchError> {
        let plan = self.plan(launch);
        let gathers = self.gathers(launch.arguments);
        let Self { launcher, pages, frames, bitmaps, log, channel, process, .. } = self;
        let memory = Copies { frames, homes };
        let round = Round { log, channel, bitmaps, reached };
        let mut runner = Runner::new(launcher.device(), launch, prepared, memory, round);
        let (outcome, costs) = rounds::launch(&mut runner, pages, process.as_mut(), plan);
        let device_failed = matches!(outcome, Err(Ended::Device(_)));
        let outcome = outcome.map_err(|why| runner.error(&why, lends)).inspect_err(trace::failure);
        runner.finish(costs.undone);
        costs.add_to(&self.launcher.device().counters);
        if device_failed {
            self.frames.forget_writes();
            self.pages.doubt();
            self.lists.doubt();
        } else {
            let of = |gather: &&Gather| gather.is_dense(&self.pages);
            let code = launch.request.code;
            gathers.iter().filter(of).for_each(|gather| code.note_dense(gather.root));
        }
        outcome
    }

    /// The lends that arguments lead to, as they are before a launch.
    fn gathers(&self, arguments: &Arguments) -> Vec<Gather> {
        let gather = |(root, found): (usize, &Root)| {
            let lend = self.placed(&found.segment?)?.lend;
            Some(Gather { root, lend, absent: self.pages.lends()[lend].absent() })
        };
        arguments.roots.iter().enumerate().filter_map(gather).collect()
    }

    /// Leaves memory as launches without rounds need it. With imports, the newest bytes are written
    /// home, and the device drops its pages of imported segments. With copies, segments of which
    /// the device has all pages get the distance to their frames.
    fn finish(&mut self, lends: &mut Lends, homes: &mut Homes) -> Result<(), LaunchError> {
        // The last round may have brought pages that no other round has taken along.
        self.frames.finish_writes()?;
        if self.config.imports() {
            self.bring_home(homes)?;
            let mut changed = self.pages.take_changed();
            changed.retain(|&position| {
                let start = self.pages.lends()[position].range().start();
                lends.containing(start).is_some_and(|segment| segment.delta.is_some())
            });
            // Memory that launches reach at home may also have a frame, because it is lent at
            // another address too: those go as well.
            self.pages.forget(changed);
        } else {
            self.note_resident(lends);
        }
        self.is_settled = true;
        Ok(())
    }

    /// The segments among those that a launch reaches, or all, that have no table and bitmap.
    fn unplaced(&self, reached: Option<&[Segment]>, lends: &Lends) -> Vec<Segment> {
        let all = reached.is_none().then(|| lends.since(self.all_placed)).into_iter().flatten();
        let segments = reached.unwrap_or_default().iter().chain(all);
        let looked = segments.inspect(|_| step(1));
        looked.filter(|segment| self.placed(segment).is_none()).copied().collect()
    }

    /// Gives the segments that a launch reaches, or all, their tables and bitmaps.
    ///
    /// Memory at several addresses is found here: by the areas of segments that get their first
    /// table and, where kernels work on imported memory without one, of all that are new.
    fn place(
        &mut self,
        reached: Option<&[Segment]>,
        lends: &Lends,
        homes: &mut Homes,
    ) -> Result<(), VulkanError> {
        let unplaced = self.unplaced(reached, lends);
        let imported = self.config.imports().then(|| lends.since(self.known).copied().collect());
        let unknown: Vec<Segment> = imported.unwrap_or_else(|| unplaced.clone());
        if !(unplaced.is_empty() && unknown.is_empty()) {
            self.refresh_areas();
            if self.pages.has_aliases() {
                self.bring_home(homes)?;
            }
            let mut aliased = BTreeSet::new();
            for segment in &unknown {
                step(1);
                self.retire_within(segment.range)?;
                let areas = self.areas_of(segment.range);
                aliased.extend(self.pages.shared.add(segment.range, segment.writable, &areas));
            }
            let moved = self.retire_aliased(lends, &aliased, homes)?;
            for segment in unplaced.iter().chain(&moved) {
                if self.placed(segment).is_none() {
                    self.add(segment)?;
                }
            }
            // After an error they are looked up again.
            self.known = lends.version();
        }
        if reached.is_none() {
            self.all_placed = lends.version();
        }
        Ok(())
    }

    /// Removes segments that are part of a larger one now.
    fn retire_within(&mut self, range: VaRange) -> Result<(), VulkanError> {
        let within = self.bitmaps.range(range.start()..range.end());
        let swallowed: Vec<VirtAddr> = within.map(|(&start, _)| start).collect();
        for start in swallowed {
            self.retire(start)?;
        }
        self.pages.shared.remove(range);
        Ok(())
    }

    /// Removes segments that must share frames with new ones, and returns those that had tables:
    /// they are to be added again.
    fn retire_aliased(
        &mut self,
        lends: &Lends,
        addresses: &BTreeSet<u64>,
        homes: &mut Homes,
    ) -> Result<Vec<Segment>, VulkanError> {
        if !addresses.is_empty() {
            self.bring_home(homes)?;
        }
        let mut moved = Vec::new();
        for &address in addresses {
            let Some(&segment) = lends.containing(VirtAddr::new(address)) else { continue };
            if self.placed(&segment).is_some() {
                self.retire(segment.range.start())?;
                moved.push(segment);
            }
        }
        Ok(moved)
    }

    fn retire(&mut self, start: VirtAddr) -> Result<(), VulkanError> {
        let Some(bitmap) = self.bitmaps.remove(&start) else { return Ok(()) };
        self.all_placed = 0;
        self.lists.doubt();
        match self.pages.retire(bitmap.lend) {
            Some(frames) => self.frames.release(frames),
            None => Ok(()),
        }
    }

    fn add(&mut self, segment: &Segment) -> Result<(), VulkanError> {
        step(1);
        self.lists.doubt();
        let range = segment.range;
        let areas = if self.pages.has_aliases() { self.areas_of(range) } else { Vec::new() };
        let aliases = self.pages.shared.aliases(range, &areas);
        let pages = pages_of(range) as u64;
        let table = self.frames.allocate(pages * 8)?;
        let bitmap = FaultBitmap::new(self.launcher.device(), range, self.pages.lends().len())?;
        let apart = aliases.is_empty();
        let frames = if apart { self.frames.reserve(pages * PAGE_BYTES) } else { None };
        let lend = self.pages.add(range, segment.writable, frames, table);
        debug_assert_eq!(lend, bitmap.lend, "lends are added behind the others");
        self.pages.set_aliases(lend, aliases);
        self.bitmaps.insert(range.start(), bitmap);
        Ok(())
    }

    fn refresh_areas(&mut self) {
        if let Some(areas) = &mut self.areas {
            areas.refresh();
        }
    }

    /// The areas that a segment is in; none if the kernel does not tell.
    fn areas_of(&mut self, range: VaRange) -> Vec<Vma> {
        let areas = self.areas.as_mut().and_then(|areas| areas.within(range).ok());
        areas.unwrap_or_default()
    }

    /// The records of segments for a kernel that looks up pages.
    fn records<'a>(
        &'a self,
        segments: impl Iterator<Item = &'a Segment> + 'a,
    ) -> impl Iterator<Item = Record> + 'a {
        segments.filter_map(|segment| {
            step(1);
            let bitmap = self.placed(segment)?;
            let lend = &self.pages.lends()[bitmap.lend];
            let table = self.pages.table.address(lend.flat());
            let target = table.wrapping_sub(lend.first_page() * 8);
            Some(Record { segment: *segment, target, bitmap: bitmap.biased_address() })
        })
    }

    /// Notes that a launch without rounds may write to all pages that have write permission, in the
    /// lends that it reaches.
    pub(crate) fn note_written(&mut self, arguments: &Arguments) {
        // Memory at several addresses is never reached without rounds, so no other lend has it.
        let reach = self.reach(arguments.reach(true).as_deref());
        self.pages.commit(&reach);
    }

    /// Writes home all bytes that are newer on the device, once nothing is running.
    pub(crate) fn bring_home(&mut self, homes: &mut Homes) -> Result<(), VulkanError> {
        let dirty = self.pages.dirty(&Reach::All);
        self.write_back(&dirty, homes)
    }

    /// Writes home the pages that a lent range touches, with those that are the same memory at
    /// other addresses, as far as they are newer on the device. Nothing is running. No byte that is
    /// `shown` is written.
    pub(crate) fn bring_home_range(
        &mut self,
        range: VaRange,
        homes: &mut Homes,
        shown: &Shown,
    ) -> Result<(), VulkanError> {
        let dirty = match self.place_of(range) {
            Some((lend, pages)) if self.areas.is_some() => self.pages.dirty_among(lend, pages),
            _ if self.pages.any_dirty() && self.may_be_shared(range) => {
                self.pages.dirty(&Reach::All)
            }
            _ => return Ok(()),
        };
        let unseen = dirty.spans.iter().all(|span| !shown.overlap(span.home, span.bytes));
        assert!(unseen, "bytes that the host has seen are not written before the next launch");
        self.write_back(&dirty, homes)
    }

    fn write_back(&mut self, dirty: &Dirty, homes: &mut Homes) -> Result<(), VulkanError> {
        let mut memory = Copies { frames: &mut self.frames, homes };
        let bytes = rounds::write_back(&mut memory, &mut self.pages, dirty)?;
        Counters::add(&self.launcher.device().counters.bytes_home, bytes);
        Ok(())
    }

    /// Writes home the pages that a lent range touches, as
    /// [`bring_home_range`](Self::bring_home_range) does, and drops them, because the host is about
    /// to change them. If the range is not in the view yet and is shared memory, all pages are
    /// dropped.
    pub(crate) fn take_home(
        &mut self,
        range: VaRange,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), VulkanError> {
        self.bring_home_range(range, homes, &Shown::default())?;
        match self.place_of(range) {
            Some((lend, pages)) => self.pages.forget_pages(lend, pages),
            None if self.may_be_shared(range) => {
                self.pages.forget(self.bitmaps.values().map(|bitmap| bitmap.lend));
            }
            None => {}
        }
        self.note_resident(lends);
        Ok(())
    }

    /// The position of the lend that has a range, and the pages of the lend that the range touches.
    fn place_of(&self, range: VaRange) -> Option<(usize, std::ops::Range<usize>)> {
        let bitmap = self.bitmap_of(range.start())?;
        let first = self.pages.lends()[bitmap.lend].first_page();
        let start = (range.start().get() / PAGE_BYTES - first) as usize;
        Some((bitmap.lend, start..start + pages_of(range)))
    }

    fn bitmap_of(&self, address: VirtAddr) -> Option<&FaultBitmap> {
        let (_, bitmap) = self.bitmaps.range(..=address).next_back()?;
        bitmap.range.contains(address).then_some(bitmap)
    }

    /// Whether a range is in shared memory, or Linux does not tell.
    fn may_be_shared(&mut self, range: VaRange) -> bool {
        self.refresh_areas();
        let areas = self.areas.as_mut().and_then(|areas| areas.within(range).ok());
        areas.is_none_or(|areas| areas.iter().any(is_shared))
    }

    /// Where the device works on copies, notes which segments it has whole, and their distance to
    /// it: of the lends with pages that have come or gone since the last time.
    fn note_resident(&mut self, lends: &mut Lends) {
        if self.config.imports() {
            return;
        }
        for position in self.pages.take_changed() {
            step(1);
            let start = self.pages.lends()[position].range().start();
            if let Some(segment) = lends.containing(start) {
                let (start, delta) = (segment.range.start(), self.delta(segment));
                lends.set_delta(start, delta);
            }
        }
    }

    /// The number that is added to host addresses of a segment, if the device has all of it.
    fn delta(&self, segment: &Segment) -> Option<u64> {
        let bitmap = self.placed(segment)?;
        self.pages.lends()[bitmap.lend].resident_delta()
    }
}
