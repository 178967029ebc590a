//! A device: what is behind it, what lives on it, and whether it is lost.
//!
//! # Safety
//!
//! As in the crate's documentation.

use crate::{
    counters::{Count, Counters},
    faults::Call,
    heaps::Heaps,
    held::Recordings,
    loader::Owners,
    options::Options,
    shadow::{Shadow, words_of},
    transfer::{Late, TransferQueue},
    watchdog::Watchdog,
};
use ash::vk::{self, Handle};
use farptr_hmm::VaRange;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How long a lost device's driver may go on before it is left as it is.
const GRACE: Duration = Duration::from_secs(10);

static DEVICES: Owners<Device> = Owners::new();

/// A device.
pub(crate) struct Device {
    pub(crate) physical: vk::PhysicalDevice,
    /// The functions of the next layer.
    pub(crate) next: ash::Device,
    /// Absent where the driver has no such extension.
    pub(crate) host_pointer_properties: Option<vk::PFN_vkGetMemoryHostPointerPropertiesEXT>,
    pub(crate) get_device_proc_addr: vk::PFN_vkGetDeviceProcAddr,
    pub(crate) options: Arc<Options>,
    pub(crate) heaps: Heaps,
    pub(crate) counters: Counters,
    pub(crate) recordings: Recordings,
    /// The queue that copies alone, if the options ask for one.
    pub(crate) transfer: Option<TransferQueue>,
    lost: AtomicBool,
    state: Mutex<State>,
}

/// What changes while a device lives.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) memory: BTreeMap<vk::DeviceMemory, Memory>,
    /// Buffers that are bound to memory with a second copy, or will be.
    pub(crate) buffers: BTreeMap<vk::Buffer, Place>,
    /// The value that each timeline was last seen to have.
    pub(crate) seen: BTreeMap<vk::Semaphore, u64>,
    pub(crate) queues: BTreeSet<vk::Queue>,
    pub(crate) watchdog: Watchdog,
    /// What the queue that copies alone has not handed over.
    pub(crate) late: Late,
    /// What was destroyed when the device was lost already, and the driver may still be using.
    kept: Vec<End>,
}

type End = Box<dyn FnOnce(&ash::Device) + Send>;

/// An allocation.
pub(crate) struct Memory {
    pub(crate) said_type: u32,
    pub(crate) bytes: u64,
    /// There once it is mapped, or imported, if the options ask for second copies.
    pub(crate) shadow: Option<Shadow>,
    pub(crate) import: Option<Import>,
}

/// Memory of the host that a device imported.
#[derive(Clone, Copy)]
pub(crate) struct Import {
    pub(crate) range: VaRange,
    pub(crate) writable: bool,
}

/// Where a buffer lies, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) memory: vk::DeviceMemory,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl Device {
    pub(crate) fn new(
        physical: vk::PhysicalDevice,
        next: ash::Device,
        get_device_proc_addr: vk::PFN_vkGetDeviceProcAddr,
        options: &Arc<Options>,
        heaps: Heaps,
        transfer: Option<TransferQueue>,
    ) -> Self {
        let name = c"vkGetMemoryHostPointerPropertiesEXT";
        // SAFETY: 2. the function is the next layer's, for a device that it made.
        let found = unsafe { get_device_proc_addr(next.handle(), name.as_ptr()) };
        // SAFETY: the function of this name has this type (Vulkan specification).
        let host_pointer_properties = unsafe {
            std::mem::transmute::<
                vk::PFN_vkVoidFunction,
                Option<vk::PFN_vkGetMemoryHostPointerPropertiesEXT>,
            >(found)
        };
        Self {
            physical,
            next,
            host_pointer_properties,
            get_device_proc_addr,
            options: Arc::clone(options),
            heaps,
            counters: Counters::new(),
            recordings: Recordings::default(),
            transfer,
            lost: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    /// The device of a handle, of its own, of a queue, or of a command buffer.
    ///
    /// # Safety
    ///
    /// The handle is live.
    pub(crate) unsafe fn of(handle: impl Handle) -> Arc<Self> {
        // SAFETY: the caller's promise.
        let found = unsafe { DEVICES.get(handle) };
        found.expect("the loader calls this layer for devices that it made")
    }

    /// # Safety
    ///
    /// The device was just made.
    pub(crate) unsafe fn enter(self) {
        // SAFETY: the caller's promise.
        unsafe { DEVICES.insert(self.next.handle(), Arc::new(self)) };
    }

    /// # Safety
    ///
    /// The handle is live.
    pub(crate) unsafe fn leave(handle: vk::Device) -> Option<Arc<Self>> {
        // SAFETY: the caller's promise.
        unsafe { DEVICES.remove(handle) }
    }

    pub(crate) fn all() -> Vec<Arc<Self>> {
        DEVICES.all()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and gives its result if it is to fail.
    pub(crate) fn failure(&self, call: Call) -> Option<vk::Result> {
        let (count, needs_device) = match call {
            Call::Allocation => (Count::Allocations, false),
            Call::Import => (Count::Imports, false),
            Call::Submit => (Count::Submissions, true),
            Call::Wait => (Count::Waits, true),
            Call::Query => (Count::Queries, true),
        };
        let nth = self.counters.one_more(count);
        if needs_device && self.is_lost() {
            return Some(vk::Result::ERROR_DEVICE_LOST);
        }
        let result = self.options.faults.iter().find_map(|fault| fault.strikes(call, nth))?;
        self.counters.one_more(Count::Failures);
        self.say(&format!("{call:?} {nth} fails with {result}, as was asked for"));
        if result == vk::Result::ERROR_DEVICE_LOST {
            self.lose();
        }
        Some(result)
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Relaxed)
    }

    /// From here on the device is lost, whatever the driver is doing.
    pub(crate) fn lose(&self) {
        self.lost.store(true, Relaxed);
        self.counters.raise_to(Count::Lost, 1);
        settle_at_exit();
    }

    /// Waits until the driver has nothing left to do on a lost device. Whether it has not.
    pub(crate) fn settle(&self) -> bool {
        let queues: Vec<_> = self.state().queues.iter().copied().collect();
        self.idle(&queues, GRACE) == vk::Result::SUCCESS
    }

    /// The driver's queue behind a queue of the program.
    pub(crate) fn behind(&self, queue: vk::Queue) -> Option<vk::Queue> {
        if self.is_transfer(queue) { self.state().late.behind } else { Some(queue) }
    }

    /// Whether a queue is the one that copies alone.
    pub(crate) fn is_transfer(&self, queue: vk::Queue) -> bool {
        self.transfer.as_ref().is_some_and(|transfer| transfer.queue() == queue)
    }

    /// Hands over all that is held of the queue that copies alone.
    pub(crate) fn release_all(&self) -> vk::Result {
        if self.transfer.is_none() || self.is_lost() {
            return vk::Result::SUCCESS;
        }
        // SAFETY: 2. the device is live; whoever submits has the lock.
        unsafe { self.state().late.release_all(&self.next) }
    }

    /// Hands over what is held and leads to values of semaphores.
    pub(crate) fn release(&self, wanted: &[(vk::Semaphore, u64)]) -> vk::Result {
        if self.transfer.is_none() || self.is_lost() {
            return vk::Result::SUCCESS;
        }
        // SAFETY: 2. the device is live; whoever submits has the lock.
        unsafe { self.state().late.release(&self.next, wanted) }
    }

    /// Waits for queues of the driver, so long at most.
    pub(crate) fn idle(&self, queues: &[vk::Queue], at_most: Duration) -> vk::Result {
        let next = &self.next;
        let begun = Instant::now();
        for &queue in queues {
            // SAFETY: 2. the device is live.
            let fence = match unsafe { next.create_fence(&vk::FenceCreateInfo::default(), None) } {
                Ok(fence) => fence,
                Err(error) => return error,
            };
            let left = nanoseconds(at_most.saturating_sub(begun.elapsed()));
            let submitted = {
                let _alone = self.state();
                // SAFETY: 2. both are live; whoever submits has the lock.
                unsafe { next.queue_submit(queue, &[], fence) }
            };
            // SAFETY: 2. both are live.
            let wait = |()| unsafe { next.wait_for_fences(&[fence], true, left) };
            let waited = submitted.and_then(wait);
            if waited == Err(vk::Result::TIMEOUT) {
                // The queue will signal the fence, so it stays; this is rare.
                return vk::Result::TIMEOUT;
            }
            // SAFETY: 2. both are live, and the queue has done with the fence.
            unsafe { next.destroy_fence(fence, None) };
            if let Err(error) = waited {
                return error;
            }
        }
        vk::Result::SUCCESS
    }

    /// Says something on standard error.
    pub(crate) fn say(&self, what: &str) {
        let _ = writeln!(std::io::stderr(), "farptr-mask: {what}");
    }

    /// Destroys something now; or when the device is destroyed, if the device was lost, because the
    /// driver may be using it.
    pub(crate) fn end(&self, end: impl FnOnce(&ash::Device) + Send + 'static) {
        if self.is_lost() {
            self.state().kept.push(Box::new(end));
        } else {
            end(&self.next);
        }
    }

    /// Destroys what was kept.
    pub(crate) fn end_kept(&self) {
        let kept = std::mem::take(&mut self.state().kept);
        kept.into_iter().for_each(|end| end(&self.next));
    }

    /// Appends the counters to the file that the options name.
    pub(crate) fn report(&self) {
        let Some(path) = &self.options.report else { return };
        if let Err(error) = self.counters.report(path) {
            self.say(&format!("cannot write to {}: {error}", path.display()));
        }
    }
}

/// A time as Vulkan counts it.
pub(crate) fn nanoseconds(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

/// Waits, when the process ends by `exit`, for what the driver goes on with on lost devices that
/// nobody destroyed: it works with statics that end then.
///
/// Handlers run from the last to the first, so this one is added when a device is lost: most of the
/// driver's statics were made before.
fn settle_at_exit() {
    extern "C" fn settle() {
        let lost = Device::all().into_iter().filter(|device| device.is_lost());
        lost.for_each(|device| _ = device.settle());
    }
    static ONCE: Once = Once::new();
    // SAFETY: the function takes nothing, and the library stays: the loader unloads no layer while
    // a device lives.
    ONCE.call_once(|| _ = unsafe { libc::atexit(settle) });
}

impl State {
    /// Bytes that are allocated in a heap.
    pub(crate) fn used_of(&self, heaps: &Heaps, heap: usize) -> u64 {
        let of_heap = self.memory.values().filter(|memory| heaps.heap_of(memory.said_type) == heap);
        of_heap.map(|memory| memory.bytes).sum()
    }

    /// Carries what the host wrote to the device.
    pub(crate) fn up(&mut self) {
        self.each_bound(|shadow, range| shadow.up(range));
    }

    /// Carries what the device wrote to the host.
    pub(crate) fn down(&mut self) {
        self.each_bound(|shadow, range| shadow.down(range));
    }

    /// Only what buffers are bound to is reached by a device.
    fn each_bound(&mut self, carry: impl Fn(&mut Shadow, std::ops::Range<usize>)) {
        for place in self.buffers.values() {
            let memory = self.memory.get_mut(&place.memory);
            let Some(shadow) = memory.and_then(|memory| memory.shadow.as_mut()) else { continue };
            let first = usize::try_from(place.offset / 4).expect("a place in mapped memory");
            carry(shadow, first..words_of(place.offset + place.bytes).min(shadow.words()));
        }
    }
}
