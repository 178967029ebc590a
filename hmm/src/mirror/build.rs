//! Building a mirror.

#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;

use thiserror::Error;

use super::Mirror;
use super::fork::Fork;
use super::migrator::Migrator;
use crate::addr::PageSize;
use crate::addr::pages::{bytes_of, page_bytes};
use crate::error::{HostError, debug_in_words};
use crate::mirror::handler;
use crate::mirror::migrate::{PageLists, Scratch};
use crate::mirror::sets::Sets;
use crate::mirror::shared::{Shared, SharedParts};
use crate::mirror::table::{BLOCK, PageTable, block_size};
use crate::sync::Mutex;
use crate::sys::atfork::register_hook;
use crate::sys::mmap::{HugePages, MemoryError};
use crate::sys::owned::Owned;
use crate::sys::survey::Surveyor;
use crate::sys::transfer::{Staging, Transfer};
use crate::sys::uffd::{
    Feature, Features, MarkFinder, MirrorTier, Modes, OpenUffdError, Signal, Uffd,
};
use crate::sys::written::WrittenFinder;
use crate::walk::process::ProcessMm;

/// The features that a mirror cannot do without.
const REQUIRED: [Feature; 5] = [
    Feature::WriteProtect,
    Feature::WpUnpopulated,
    Feature::EventRemap,
    Feature::EventRemove,
    Feature::EventUnmap,
];

/// The features that it uses where the kernel has them.
const OPTIONAL: [Feature; 4] =
    [Feature::Move, Feature::Poison, Feature::WpHugetlbfsShmem, Feature::MissingShmem];

/// Lets stores to protected pages go on, and remembers them.
const TRACKING: Feature = Feature::WpAsync;

/// A mirror that could not be built.
#[derive(Error)]
#[non_exhaustive]
pub enum MirrorBuildError {
    /// There is no userfaultfd with what a mirror needs. Linux 6.4 has it.
    #[error("a mirror needs userfaultfd")]
    Uffd {
        /// The error of the kernel.
        #[from]
        source: OpenUffdError,
    },

    /// The memory of this process cannot be examined.
    #[error("a mirror needs to examine the memory of this process")]
    Host {
        /// The failure.
        #[from]
        source: HostError,
    },

    /// The mirror's own memory, files or thread could not be made.
    #[error("cannot make {what} for a mirror")]
    Setup {
        /// The part that could not be made.
        what: &'static str,
        /// The error of the operating system.
        source: io::Error,
    },
}

debug_in_words!(MirrorBuildError);

impl Mirror {
    /// Builds a mirror with the best tier that works here.
    ///
    /// # Errors
    ///
    /// - As [`MirrorBuilder::build`].
    pub fn build() -> Result<Self, MirrorBuildError> {
        MirrorBuilder::new().build()
    }
}

/// Options of a [`Mirror`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct MirrorBuilder {
    tier: Option<MirrorTier>,
    fault_around: PageSize,
    fault_around_limit: PageSize,
    track_stores: bool,
    blocks: usize,
}

impl Default for MirrorBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl MirrorBuilder {
    /// Begins with the best tier, a fault-around of 16 pages that grows to a block of 512, and room
    /// for 32,768 blocks on devices.
    pub fn new() -> Self {
        let fault_around = PageSize::new(16 * page_bytes()).unwrap_or(PageSize::host());
        Self {
            tier: None,
            fault_around,
            fault_around_limit: block_size(),
            track_stores: true,
            blocks: 1 << 15,
        }
    }

    /// Asks for one tier instead of the best.
    pub fn tier(self, tier: MirrorTier) -> Self {
        Self { tier: Some(tier), ..self }
    }

    /// Sets the size of the neighbourhood that comes home with a page that is touched: at least a
    /// page, at most a block of 512.
    ///
    /// It grows while a thread goes through memory in order, see
    /// [`MirrorBuilder::fault_around_limit`].
    pub fn fault_around(self, size: PageSize) -> Self {
        let most = block_size();
        Self { fault_around: size.clamp(PageSize::host(), most), ..self }
    }

    /// Sets the size that the neighbourhood grows to, doubling with each fault that follows another
    /// at the end of its neighbourhood: at most a block of 512 pages. It does not grow if the limit
    /// is not above [`MirrorBuilder::fault_around`].
    pub fn fault_around_limit(self, size: PageSize) -> Self {
        Self { fault_around_limit: size.min(block_size()), ..self }
    }

    /// Sets whether the mirror can say which pages were written, where the kernel lets it (Linux
    /// 6.7): by default it can.
    ///
    /// A mirror that can makes no thread wait that stores to a page that is protected. So it does
    /// not copy and drop pages of memory that can be written: such pages leave by a move or, where
    /// the kernel moves none (before Linux 6.8, or pages that are locked), not at all. A mirror
    /// that cannot copies them with a [`Lease`](crate::Lease).
    pub fn track_stores(self, tracks: bool) -> Self {
        Self { track_stores: tracks, ..self }
    }

    /// Sets how many blocks of 512 pages may have pages on devices at a time.
    pub fn blocks(self, blocks: usize) -> Self {
        Self { blocks, ..self }
    }

    /// Builds the mirror and starts the thread that serves faults.
    ///
    /// # Errors
    ///
    /// - [`MirrorBuildError`] says what is missing here.
    pub fn build(self) -> Result<Mirror, MirrorBuildError> {
        let surveyor = Surveyor::open().map_err(setup("a survey of pages"))?;
        let transfer = Transfer::new(self.open()?, surveyor);
        let staging = Staging::new(block_bytes()).map_err(memory("staging memory"))?;
        let watched = transfer.uffd().register(staging.range(), Modes::PROTECTED);
        watched.map_err(io::Error::other).map_err(setup("a watch over staging memory"))?;
        let parts = SharedParts {
            transfer,
            table: PageTable::new(self.blocks).map_err(memory("the table"))?,
            sets: Sets::new().map_err(memory("sets of pages"))?,
            marks: MarkFinder::open().map_err(setup("a search for marks"))?,
            written: WrittenFinder::open().map_err(setup("a search for written pages"))?,
            nudge: Signal::new().map_err(setup("a signal"))?,
            stop: Signal::new().map_err(setup("a signal"))?,
            fault_around: self.fault_around,
            fault_around_limit: self.fault_around_limit,
            staging: staging.range(),
        };
        let buffer = Owned::new(block_bytes(), HugePages::Prefer).map_err(memory("a buffer"))?;
        let buffer = buffer.keep_home();
        let scratch = Mutex::new(Scratch { staging, buffer, lists: PageLists::new() });
        let shared = Arc::new(Shared::new(parts));
        let host = ProcessMm::open()?;
        let spawned = handler::spawn(Arc::clone(&shared)).map_err(setup("the fault thread"));
        let (handler, fault_thread) = spawned?;
        let migrator = Arc::new(Migrator { shared, scratch, host, fault_thread });
        let mut mirror =
            Mirror { migrator: Arc::clone(&migrator), handler: Some(handler), hook: None };
        let hook = register_hook(Arc::new(Fork { migrator }));
        mirror.hook = Some(hook.map_err(setup("a hook around forks"))?);
        Ok(mirror)
    }

    fn open(self) -> Result<Uffd, OpenUffdError> {
        let required: Features = REQUIRED.into_iter().collect();
        let optional: Features = OPTIONAL.into_iter().collect();
        let optional = if self.track_stores { optional.with(TRACKING) } else { optional };
        match self.tier {
            Some(tier) => Uffd::open(tier, required, optional),
            None => Uffd::open(MirrorTier::KernelFaults, required, optional)
                .or_else(|_| Uffd::open(MirrorTier::UserFaults, required, optional)),
        }
    }
}

fn block_bytes() -> usize {
    bytes_of(0..BLOCK).len()
}

fn setup(what: &'static str) -> impl Fn(io::Error) -> MirrorBuildError {
    move |source| MirrorBuildError::Setup { what, source }
}

fn memory(what: &'static str) -> impl Fn(MemoryError) -> MirrorBuildError {
    move |error| MirrorBuildError::Setup { what, source: io::Error::other(error) }
}
