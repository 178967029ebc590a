//! Device memory for the tables of segments that kernels bisect, which must not grow with the
//! number of launches.

use super::{Scope, checked, common};
use crate::test_hooks::TestHooks;
use crate::{
    AccessMode, Backing, Kernel, LaunchOptions, PtrMut, Runtime, RuntimeBuilder, VirtAddr,
    launch::{channel::Channel, stream::IN_FLIGHT, tables::TABLES},
};
use farptr_kernels::{abi::Link, probe};
use farptr_rewrite::Search;

/// Links, each a lend of its own: with the result more lends than the unrolled search takes.
const LINKS: usize = Search::UNROLLED as usize + 4;
/// Launches after which a scope holds as much memory as it ever will, because it has the most
/// batches in flight.
const EARLY: usize = (IN_FLIGHT + 2) * Channel::LAUNCHES as usize;
/// Launches of a scope. If each launch after the early ones took a page, the device memory of the
/// scope would grow by several chunks.
const LAUNCHES: usize = EARLY + 1000;

/// The most that a scope held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    /// Buffers for tables in flight.
    tables: usize,
    /// Bytes of the device's memory, as its allocator counts them.
    bytes: u64,
}

impl Held {
    fn look(&mut self, scope: &Scope<'_, '_>) {
        self.tables = self.tables.max(scope.stream.tables.len());
        self.bytes = self.bytes.max(scope.device().allocated_bytes());
    }
}

/// Links that are not neighbours, as a chain.
fn chain() -> Vec<Link> {
    let mut links = vec![Link { next: 0, payload: 3, unused: 0 }; 2 * LINKS];
    for position in 1..LINKS {
        links[2 * position - 2].next = VirtAddr::of(&links[2 * position]).get();
    }
    links
}

/// The cause for which a scope launches again and again.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    /// A slice is lent that is lent already.
    Again,
    /// A longer slice is lent, so the launch cannot use the table of the launch before.
    Lend,
    /// Every launch is a transaction: on copies, one in rounds.
    Transaction,
}

/// The most that a scope of many launches held after the early ones, and after all.
fn held(runtime: &Runtime, between: Between) -> [Held; 2] {
    let kernel: Kernel<probe::Kernel> = runtime.kernel().unwrap();
    let links = chain();
    let growing = vec![0u8; LAUNCHES];
    let mut result = [0u32; 2];
    let mut held = Held::default();
    let mut early = held;
    let scoped = runtime.scope(|s| {
        for link in links.iter().step_by(2) {
            s.lend(std::slice::from_ref(link))?;
        }
        let head = VirtAddr::of(&links[0]).get();
        let address = s.lend_mut(&mut result)?.ptr().address();
        let transactional = matches!(between, Between::Transaction);
        let options = LaunchOptions::new().transactional(transactional);
        for launch in 0..LAUNCHES {
            match between {
                Between::Again => _ = s.lend(&links[..1])?,
                Between::Lend => _ = s.lend(&growing[..=launch])?,
                Between::Nothing | Between::Transaction => {}
            }
            let result = PtrMut::from_address(address);
            checked::follow(s, &kernel, head, result, (u32::MAX, options))?;
            held.look(s);
            if launch == EARLY {
                early = held;
            }
        }
        Ok(())
    });
    scoped.unwrap();
    assert_eq!(result[0], u32::try_from(LINKS).unwrap(), "the chain was followed");
    [early, held]
}

/// The ways of launching again and again where a lend needs no device memory.
const WAYS: [Between; 4] = [Between::Nothing, Between::Again, Between::Lend, Between::Transaction];

/// Checks ways of launching again and again; returns what was held, or nothing on a SKIP.
fn check(name: &str, ways: &[Between], builder: impl Fn() -> RuntimeBuilder) -> Vec<Held> {
    let checked = ways.iter().map(|&between| {
        let runtime = common::build(builder())?;
        if !common::batches_are_filled(&runtime) {
            common::skip("a card gets as many launches at once as it seems to have time for");
            return None;
        }
        if matches!(between, Between::Lend) && common::memory_is_shadowed() {
            common::skip(
                "a longer slice is copied where its pages are imported at other addresses",
            );
            return None;
        }
        let [early, all] = held(&runtime, between);
        assert_eq!(early, all, "{name}, {between:?}: memory grows with the launches");
        assert!(all.tables <= TABLES, "{name}, {between:?}: {all:?}");
        Some(all)
    });
    checked.flatten().collect()
}

#[test]
fn tables_of_direct_access_are_given_back() {
    let held = check("direct", &WAYS, || Runtime::builder().access(AccessMode::Direct));
    let tables: Vec<usize> = held.iter().map(|held| held.tables).collect();
    assert!(tables.is_empty() || tables == [1, 1, TABLES, 1], "{tables:?}");
}

#[test]
fn tables_on_imported_memory_are_given_back() {
    let mirrored = || Runtime::builder().access(AccessMode::Mirrored);
    check("imported", &WAYS, || mirrored().backing(Backing::Import));
}

#[test]
fn tables_of_rounds_are_used_again() {
    for staged in [false, true] {
        let mirrored = || Runtime::builder().access(AccessMode::Mirrored).backing(Backing::Copy);
        let ways = [Between::Nothing, Between::Again, Between::Transaction];
        check("copied", &ways, || mirrored().staged_copies(staged));
    }
}
