//! Launches in rounds: what they need, and how they leave the view.

use super::view::View;
use crate::{
    LaunchError,
    kernel::code::Code,
    launch::{
        control_block::{self, Arguments, Head, Record, Root},
        tables::Key,
    },
    lend::{
        homes::Homes,
        lends::{Lends, Segment},
    },
    paging::{
        pages::Pages,
        plan::{Ended, Plan, Replay},
        rounds,
        run::{Launch, Prepared, Round, Runner},
        together::Access,
    },
    residency::frames::Copies,
    stats::step,
    trace,
};
use farptr_rewrite::{IndexedAccess, Search, Translation};

/// A lend that an argument leads to, and how many of its pages rounds had missed before a launch.
struct Gather {
    /// The position of the root in the analysis.
    root: usize,
    lend: usize,
    before: usize,
}

impl Gather {
    /// The pages that the launch missed, if they are half of the lend.
    fn missed(&self, pages: &Pages) -> Option<usize> {
        let lend = &pages.lends()[self.lend];
        let missed = lend.missed() - self.before;
        (missed > 0 && missed * 2 >= lend.pages()).then_some(missed)
    }
}

impl View {
    /// Runs a launch in rounds until nothing faults, and returns when it is done. Nothing else is
    /// running.
    pub(crate) fn run_in_rounds(
        &mut self,
        launch: &Launch<'_>,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), LaunchError> {
        self.is_changing = true;
        let outcome = self.run_all(launch, lends, homes);
        self.is_changing = false;
        outcome
    }

    fn run_all(
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

    /// Whether there is something to [settle](Self::settle).
    pub(crate) fn is_unsettled(&self) -> bool {
        self.is_changing || !self.is_settled
    }

    /// Does what the end of a launch in rounds could not do, since the device failed, or there was
    /// a panic. Nothing is running.
    pub(crate) fn settle(
        &mut self,
        lends: &mut Lends,
        homes: &mut Homes,
    ) -> Result<(), LaunchError> {
        if std::mem::take(&mut self.is_changing) {
            self.doubt();
            self.note_resident(lends);
        }
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
            together: self.together(request.code, arguments),
            max_rounds: request.options.max_rounds,
            max_faults: request.options.max_faults,
            serve_faults: request.options.serve_faults.or(self.config.hooks.serve_faults),
            ..plan
        }
    }

    /// The accesses by a common index that lead to lends.
    fn together(&self, code: &Code, arguments: &Arguments) -> Vec<Vec<Access>> {
        let access = |of: &IndexedAccess| {
            let root = arguments.root(of.root)?;
            Some(Access {
                lend: self.placed(&root.segment?)?.lend,
                zero: i128::from(root.address) + i128::from(of.first_bytes),
                stride: of.stride_bytes.into(),
                bytes: of.bytes,
                writes: of.writes,
            })
        };
        let all = code.common_indices().iter();
        all.map(|alike| alike.iter().filter_map(access).collect()).collect()
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
            self.doubt();
        } else {
            for gather in gathers {
                if let Some(pages) = gather.missed(&self.pages) {
                    launch.request.code.note_gathered(gather.root, pages);
                }
            }
        }
        outcome
    }

    /// The lends that arguments lead to, as they are before a launch.
    fn gathers(&self, arguments: &Arguments) -> Vec<Gather> {
        let gather = |(root, found): (usize, &Root)| {
            let lend = self.placed(&found.segment?)?.lend;
            Some(Gather { root, lend, before: self.pages.lends()[lend].missed() })
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
}
