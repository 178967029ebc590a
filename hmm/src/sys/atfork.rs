//! Forks: what runs around them, and how a child knows that it is one.
//!
//! Hooks run around `fork` as `pthread_atfork` runs them: *prepare* in the thread that forks,
//! newest hook first, before the child exists; *parent* and *child* afterwards, oldest first. A
//! process made by `clone` or `vfork` runs none. A [`ForkMark`] tells even then: the kernel wipes a
//! page in each process that gets a copy of the memory.
//!
//! # Safety
//!
//! One C function is called, `pthread_atfork`, with three functions that live for ever and let no
//! panic out. The page of a mark is written before other code knows it, and read as the one byte
//! that it is.

use std::cell::{Cell, RefCell};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::mmap::{HugePages, Mapping, MemoryError};
use super::needed::{Listed, list};
use crate::addr::PageSize;

/// Tells whether the process was forked since the mark was made.
///
/// Threads and device state do not come along into a child, so code that relies on either makes a
/// mark and looks at it before use. Asking reads one byte: the kernel wipes the mark's page in
/// every process that gets a copy of the memory, also one made by `clone`.
///
/// # Examples
///
/// ```
/// use farptr_hmm::ForkMark;
///
/// let mark = ForkMark::new()?;
/// assert!(!mark.is_inherited(), "this is the process that made it");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ForkMark {
    /// One page that the kernel wipes in children. Its first byte was set to one.
    page: Mapping,
    /// The thread that moves pages looks at the mark.
    _listed: Listed,
}

impl ForkMark {
    /// Makes a mark of this process.
    ///
    /// # Errors
    ///
    /// - An [`io::Error`] if there is no memory for a page, or if the kernel cannot wipe it in
    ///   children (Linux 4.14 can).
    pub fn new() -> io::Result<Self> {
        let size = PageSize::host();
        let to_io = |error| match error {
            MemoryError::Map { source, .. } | MemoryError::Advise { source, .. } => source,
        };
        let page = Mapping::new(size.bytes(), size, HugePages::Never).map_err(to_io)?;
        page.wipe_on_fork().map_err(to_io)?;
        // SAFETY: The pointer is to the first byte of the mapping, which is writable and which no
        // other code knows yet.
        unsafe { page.as_ptr().write_volatile(1) };
        let _listed = list(page.range());
        Ok(Self { page, _listed })
    }

    /// Tells whether this process got the mark from its parent. Allocates nothing, takes no lock.
    #[must_use]
    pub fn is_inherited(&self) -> bool {
        // SAFETY: The pointer is to the first byte of the mapping, which lives as long as `self`.
        // It is not written after `new`: the kernel wipes the page of another process.
        let byte = unsafe { self.page.as_ptr().read_volatile() };
        byte == 0
    }
}

/// Work to be done around a fork.
pub(crate) trait ForkHook: Send + Sync {
    /// Runs before the fork, in the thread that forks. Other threads run on.
    fn prepare(&self);

    /// Runs after the fork, in the parent.
    fn parent(&self);

    /// Runs after the fork, in the child, which has no other thread. Locks that another thread
    /// held at the time of the fork stay locked for ever, those of the allocator excepted.
    fn child(&self);
}

/// The hooks, oldest first, each with a number that is its own.
#[derive(Default)]
struct Registry {
    hooks: Vec<(u64, Arc<dyn ForkHook>)>,
    next: u64,
}

/// The thread that forks holds the lock from *prepare* on. So the hooks that run afterwards are
/// those that ran before, and in the child the holder of the lock is the one thread that exists
/// there.
static REGISTRY: Mutex<Registry> = Mutex::new(Registry { hooks: Vec::new(), next: 0 });

/// The error of the one attempt to be called around forks, if it failed.
static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();

/// The notes of a thread that forks.
struct Forking {
    /// How many forks are under way: more than one if a hook forks.
    depth: Cell<usize>,
    /// The lock of the registry, while the outermost one is under way.
    registry: RefCell<Option<MutexGuard<'static, Registry>>>,
}

thread_local! {
    static FORKING: Forking =
        const { Forking { depth: Cell::new(0), registry: RefCell::new(None) } };
}

/// Keeps a hook registered. Dropping it ends that, and waits for a fork that is under way; so a
/// hook must not drop its own registration.
#[derive(Debug)]
pub(crate) struct HookRegistration {
    number: u64,
}

/// Has a hook run around every fork from now on.
pub(crate) fn register_hook(hook: Arc<dyn ForkHook>) -> io::Result<HookRegistration> {
    install().map_err(io::Error::from_raw_os_error)?;
    let mut registry = lock();
    let number = registry.next;
    registry.next += 1;
    registry.hooks.push((number, hook));
    Ok(HookRegistration { number })
}

impl Drop for HookRegistration {
    fn drop(&mut self) {
        let mut registry = lock();
        let found = registry.hooks.iter().position(|(number, _)| *number == self.number);
        let removed = found.map(|index| registry.hooks.remove(index));
        // The hook may be dropped here, which may run code that wants the lock.
        drop(registry);
        drop(removed);
    }
}

fn lock() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn install() -> Result<(), i32> {
    *INSTALLED.get_or_init(|| {
        // SAFETY: The functions are called for the rest of the life of the process, and are part
        // of it; they let no panic out, because `run` catches them.
        match unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } {
            0 => Ok(()),
            error => Err(error),
        }
    })
}

extern "C" fn prepare() {
    // A thread that is past the end of its life runs no hooks.
    let _ = FORKING.try_with(|forking| {
        let depth = forking.depth.get();
        forking.depth.set(depth + 1);
        // A hook that forks runs no hooks: this very thread holds the lock.
        if depth == 0 {
            let registry = lock();
            registry.hooks.iter().rev().for_each(|(_, hook)| run(|| hook.prepare()));
            *forking.registry.borrow_mut() = Some(registry);
        }
    });
}

extern "C" fn parent() {
    finish(|hook| hook.parent());
}

extern "C" fn child() {
    finish(|hook| hook.child());
}

fn finish(step: impl Fn(&dyn ForkHook)) {
    let _ = FORKING.try_with(|forking| {
        if forking.depth.get() == 1 {
            let registry = forking.registry.borrow_mut().take();
            let hooks = registry.iter().flat_map(|registry| &registry.hooks);
            hooks.for_each(|(_, hook)| run(|| step(&**hook)));
        }
        forking.depth.set(forking.depth.get().saturating_sub(1));
    });
}

/// Runs a step of a hook. A panic must not unwind into C, and a fork whose hooks ran only in part
/// leaves the mirror in no valid state.
fn run(step: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(step)).is_err() {
        std::process::abort();
    }
}
