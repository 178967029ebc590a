//! The pages that one scope has on the device, for launches in rounds.

use crate::{
    LendError, VulkanError,
    config::Config,
    launch::{channel::Channel, launcher::Launcher, pool::Pooled},
    lend::{lends::Segment, process::ProcessMemory},
    paging::{
        areas::Areas,
        bitmap::FaultBitmap,
        lists::Lists,
        pages::Pages,
        process::{LentProcess, ProcessPages, address_width},
        reach::Reach,
        report::Missing,
        run::Round,
    },
    residency::{frames::Frames, stores::Tracked},
    vk::buffer::SharedBuffer,
};
use farptr_hmm::{Maps, VaRange, VirtAddr, Vma};
use std::{collections::BTreeMap, sync::Arc};

/// The pages of a scope's lends on the device, the tables that lead kernels to them, and the memory
/// of the process, if it is lent too.
pub(crate) struct View {
    pub(super) launcher: Arc<Launcher>,
    pub(super) config: Arc<Config>,
    pub(super) pages: Pages,
    pub(super) frames: Frames,
    /// By the starts of the segments.
    pub(super) bitmaps: BTreeMap<VirtAddr, FaultBitmap>,
    pub(super) log: SharedBuffer,
    pub(super) channel: Pooled<Channel>,
    pub(super) process: Option<ProcessPages>,
    pub(super) lists: Lists,
    /// The areas of the process, if the kernel tells.
    pub(super) areas: Option<Areas>,
    /// Whether memory is as launches without rounds need it.
    pub(super) is_settled: bool,
    /// The version of the lends whose areas were all looked up, where lends may be reached without
    /// a table.
    pub(super) known: u64,
    /// The version of the lends that all had their tables; 0 once one has lost its table.
    pub(super) all_placed: u64,
    /// Whether a call is changing what the device has: after a panic in it, nobody knows what came
    /// there.
    pub(super) is_changing: bool,
    /// Pages that count as there and were not copied, because the next launch overwrites them.
    pub(super) unfetched: Vec<Missing>,
    /// The lends that an earlier scope had kept, by position: their pages are tracked.
    pub(super) tracked: BTreeMap<usize, Tracked>,
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
            frames: Frames::new(
                device,
                (launcher.frames(), launcher.kept()),
                config.hooks.staged_copies,
            ),
            bitmaps: BTreeMap::new(),
            process: None,
            lists: Lists::default(),
            areas: Maps::open().ok().map(Areas::of),
            is_settled: true,
            known: 0,
            all_placed: 0,
            is_changing: false,
            unfetched: Vec::new(),
            tracked: BTreeMap::new(),
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

    /// Drops what was to be copied, and the pages that may not have got their bytes.
    pub(super) fn doubt(&mut self) {
        self.frames.forget_writes();
        self.pages.doubt();
        self.lists.doubt();
    }

    /// The lends of segments, or all.
    pub(super) fn reach(&self, segments: Option<&[Segment]>) -> Reach {
        let Some(segments) = segments else { return Reach::All };
        Reach::these(segments.iter().filter_map(|segment| Some(self.placed(segment)?.lend)))
    }

    /// The bitmap of a segment that has its table. One that starts there may be of a segment that
    /// is part of a larger one now.
    pub(super) fn placed(&self, segment: &Segment) -> Option<&FaultBitmap> {
        let bitmap = self.bitmaps.get(&segment.range.start())?;
        (bitmap.range == segment.range).then_some(bitmap)
    }

    /// Notes that a launch without rounds may write to all pages that have write permission, in the
    /// lends of some segments, or in all.
    pub(crate) fn note_written(&mut self, segments: Option<&[Segment]>) {
        // Memory at several addresses is never reached without rounds, so no other lend has it.
        let reach = self.reach(segments);
        self.pages.commit(&reach);
    }

    pub(super) fn refresh_areas(&mut self) {
        if let Some(areas) = &mut self.areas {
            areas.refresh();
        }
    }

    /// The areas that a segment is in; none if the kernel does not tell.
    pub(super) fn areas_of(&mut self, range: VaRange) -> Vec<Vma> {
        let areas = self.areas.as_mut().and_then(|areas| areas.within(range).ok());
        areas.unwrap_or_default()
    }
}
