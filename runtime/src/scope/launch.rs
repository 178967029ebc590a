//! The operations of a program inside a scope: lend, launch, wait.
//!
//! # Safety
//!
//! The core of a scope is in `scope::scope`, with its proof. The unsafe functions here are the
//! public functions for unchecked launches; they pass their callers' promises on.

use super::{
    Idle, Scope,
    request::{checked_push, launch_span},
};
use crate::{
    Grid, Kernel, LaunchError, LaunchExplanation, LaunchOptions, LendError, Lendable, LendableMut,
    Lent, LentMut, RawKernel,
    kernel::code::Code,
    launch::{checked::Request, stream::Plain},
};
use farptr_rewrite::KernelDesc;
use std::sync::Arc;

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Lends a slice to the device for reading, until the scope ends.
    ///
    /// `T` is [`Lendable`]: plain data, or pointers, references and structures of them.
    ///
    /// The bytes stay where they are; nothing is copied, and pages that are not resident stay so
    /// until a kernel touches them. The pages under the slice are imported, unless a lend that
    /// lasts has imported them, in this scope or another one of the runtime. An empty slice can be
    /// lent.
    ///
    /// In mirrored access, what cannot be imported is copied: pages that several lends share on a
    /// device with other addresses, and on devices with hardware memory of files and memory that
    /// the process may not write.
    ///
    /// Shared mappings of one file, or of one piece of shared memory, at several addresses are
    /// one memory to kernels too: what a kernel writes at one address that this scope has lent, it
    /// reads at the others.
    /// If the device works on copies ([`Backing::Copy`](crate::Backing::Copy), or what cannot
    /// be imported), they are found in `/proc/self/maps`, and without that file they do not see
    /// each other's writes. A private mapping of the file may go on to show what was there before.
    /// The host, too, sees at one address what kernels wrote at another: where the device works on
    /// host memory at any time, and where it works on copies once the bytes were brought home, by
    /// [`Idle::read`] or by the end of the scope.
    ///
    /// # Errors
    ///
    /// In direct access:
    ///
    /// * [`LendError::AddressDiffers`] when the device sees this memory at another address.
    /// * [`LendError::NoMemoryType`], [`LendError::NotImportable`], [`LendError::PartOfGranule`] or
    ///   [`LendError::Vulkan`] when it cannot be imported.
    /// * [`LendError::TooManyImports`] when the device allows no more imports.
    /// * [`LendError::Occupied`] when another scope has lent memory on the same pages, and the
    ///   device was not without launches for a moment in a minute.
    ///
    /// In either access [`LendError::Forked`] in a child of the process that built the runtime, and
    /// [`LendError::DeviceLost`] when the device was lost.
    pub fn lend<T: Lendable<Kind>, Kind>(
        &mut self,
        memory: &'env [T],
    ) -> Result<Lent<'scope, T>, LendError> {
        self.import(memory)
    }

    /// Lends one value for reading, as [`lend`](Self::lend) does with a slice of it.
    ///
    /// # Errors
    ///
    /// As [`lend`](Self::lend).
    pub fn lend_value<T: Lendable<Kind>, Kind>(
        &mut self,
        value: &'env T,
    ) -> Result<Lent<'scope, T>, LendError> {
        self.lend(std::slice::from_ref(value))
    }

    /// Lends a slice to the device for reading and writing, until the scope ends.
    ///
    /// As [`lend`](Self::lend) otherwise. `T` is [`LendableMut`], because a kernel may leave any
    /// bits. The host can look at the elements between launches through [`wait`](Self::wait), and
    /// finds all that kernels wrote in the slice when the scope has ended.
    ///
    /// # Errors
    ///
    /// As [`lend`](Self::lend).
    pub fn lend_mut<T: LendableMut<Kind>, Kind>(
        &mut self,
        memory: &'env mut [T],
    ) -> Result<LentMut<'scope, T>, LendError> {
        self.import_mut(memory)
    }

    /// Lends one value for reading and writing, as [`lend_mut`](Self::lend_mut) does with a slice
    /// of it.
    ///
    /// # Errors
    ///
    /// As [`lend`](Self::lend).
    pub fn lend_value_mut<T: LendableMut<Kind>, Kind>(
        &mut self,
        value: &'env mut T,
    ) -> Result<LentMut<'scope, T>, LendError> {
        self.lend_mut(std::slice::from_mut(value))
    }

    /// Launches a kernel that checks each of its accesses.
    ///
    /// The kernel can touch exactly the bytes that this scope has lent, those that were lent with
    /// [`lend`](Self::lend) for reading only. Anything else ends the launch with an error, after
    /// which the device, this scope and all other memory are as before; the launch may have written
    /// a part of what it was allowed to write.
    ///
    /// An index from a pointer argument has to stay in the lend that the argument points into, even
    /// if another lend follows. Pointers that the kernel loads from memory may lead anywhere into
    /// what was lent.
    ///
    /// Launches of a scope run one after the other: each sees what those before it wrote. The call
    /// returns when the launch is recorded; launches are handed to the device in batches, at the
    /// latest by [`submit`](Self::submit), or when the scope waits or ends. A failure on the device
    /// is reported by the next launch, by [`submit`](Self::submit), by [`wait`](Self::wait) or by
    /// the end of the scope, whichever comes first; launches
    /// that were recorded after the failed one do nothing, and the one that reports it is not
    /// recorded. If the scope's closure returns an error or panics, a launch that was not yet
    /// handed over does not run.
    ///
    /// # Errors
    ///
    /// About this launch, which then does not run:
    ///
    /// * [`LaunchError::EmptyGrid`], [`LaunchError::GridTooLarge`],
    ///   [`LaunchError::TooManyInvocations`], [`LaunchError::TooManyWorkgroups`],
    ///   [`LaunchError::NotOneDimensional`] or [`LaunchError::NotTwoDimensional`] when the grid
    ///   does not fit the kernel and the device.
    /// * [`LaunchError::ForeignKernel`] when the kernel belongs to another runtime.
    /// * [`LaunchError::Rewrite`] when the kernel does something that cannot be checked.
    /// * [`LaunchError::TooManyLends`] when there are more lends than a kernel can tell apart.
    /// * [`LaunchError::Compile`] or [`LaunchError::Vulkan`] when the driver refuses.
    ///
    /// About an earlier launch:
    ///
    /// * [`LaunchError::Fault`] when it touched what was not lent.
    /// * [`LaunchError::LoopLimit`] or [`LaunchError::Deadline`] when it did not end.
    /// * [`LaunchError::LoopCut`] when the driver ended one of its loops before its time.
    pub fn launch<K: KernelDesc>(
        &mut self,
        kernel: &Kernel<K>,
        grid: Grid,
        args: K::Args<'scope>,
    ) -> Result<(), LaunchError> {
        self.launch_with(kernel, grid, args, &LaunchOptions::new())
    }

    /// As [`launch`](Self::launch), with limits and guarantees.
    ///
    /// # Errors
    ///
    /// As [`launch`](Self::launch).
    pub fn launch_with<K: KernelDesc>(
        &mut self,
        kernel: &Kernel<K>,
        grid: Grid,
        args: K::Args<'scope>,
        options: &LaunchOptions,
    ) -> Result<(), LaunchError> {
        let dispatch = self.dispatch(K::NAME, kernel.code(), grid)?;
        let push = K::push(args);
        let push = checked_push(K::NAME, kernel.code(), bytemuck::bytes_of(&push))?;
        self.launch_request(&Request {
            kernel: K::NAME,
            code: kernel.code(),
            dispatch,
            push,
            options,
        })
    }

    /// As [`launch_with`](Self::launch_with), for a kernel whose words came at run time.
    ///
    /// # Errors
    ///
    /// As [`launch`](Self::launch), and [`LaunchError::PushSize`] when `push` is shorter than the
    /// kernel's push constants, or longer than these filled up to their alignment.
    pub fn launch_raw(
        &mut self,
        kernel: &RawKernel,
        grid: Grid,
        push: &[u8],
        options: &LaunchOptions,
    ) -> Result<(), LaunchError> {
        let code = kernel.code();
        let dispatch = self.dispatch(kernel.name(), code, grid)?;
        let push = checked_push(kernel.name(), code, push)?;
        self.launch_request(&Request { kernel: kernel.name(), code, dispatch, push, options })
    }

    /// Says what is known of a launch before it runs, and whether the kernel's own words would run,
    /// without checks, if it came next.
    ///
    /// # Examples
    ///
    /// ```
    /// use farptr::{Grid, Runtime, shaders::affine};
    ///
    /// let runtime = Runtime::builder().build()?;
    /// let kernel = runtime.kernel::<affine::Kernel>()?;
    /// let mut y = vec![1.0f32; 1000];
    /// runtime.scope(|s| {
    ///     let y = s.lend_mut(&mut y)?.ptr();
    ///     let args = affine::Args { y, n: 1000, a: 2.0, c: 1.0 };
    ///     println!("{}", s.explain_launch(&kernel, Grid::cover(1000), args)?);
    ///     Ok(())
    /// })?;
    /// # Ok::<(), farptr::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`launch`](Self::launch) about the grid and the kernel.
    pub fn explain_launch<K: KernelDesc>(
        &self,
        kernel: &Kernel<K>,
        grid: Grid,
        args: K::Args<'scope>,
    ) -> Result<LaunchExplanation, LaunchError> {
        let push = K::push(args);
        self.explained(K::NAME, kernel.code(), grid, bytemuck::bytes_of(&push))
    }

    /// As [`explain_launch`](Self::explain_launch), for a kernel whose words came at run time.
    ///
    /// # Errors
    ///
    /// As [`explain_launch`](Self::explain_launch), and [`LaunchError::PushSize`].
    pub fn explain_launch_raw(
        &self,
        kernel: &RawKernel,
        grid: Grid,
        push: &[u8],
    ) -> Result<LaunchExplanation, LaunchError> {
        self.explained(kernel.name(), kernel.code(), grid, push)
    }

    /// Launches a kernel without checks: the words as they are.
    ///
    /// As [`launch`](Self::launch) otherwise. The call waits for the checked launches of this scope
    /// first and reports their failure, because an unchecked kernel, which does not stop after a
    /// failure, might rely on the bytes that they were to write. In mirrored access such a kernel
    /// takes pointers for device addresses, so it must not follow host pointers.
    ///
    /// # Errors
    ///
    /// As [`launch`](Self::launch).
    ///
    /// # Safety
    ///
    /// A kernel has the reach of any native code of the process. For these arguments and this grid:
    ///
    /// 1. Each address that the kernel reads is in memory that this scope lent, or that otherwise
    ///    stays mapped and initialised until the scope ends.
    /// 2. Each address that it writes is in memory that this scope lent with
    ///    [`lend_mut`](Self::lend_mut), or that no Rust code reads or writes until the scope ends.
    /// 3. The bytes that it leaves in memory that was not lent are valid for the types there.
    /// 4. Invocations do not race with each other, by the rules of the Vulkan memory model, and
    ///    every invocation ends: a scope waits for a kernel that does not end for ever.
    #[allow(unsafe_code, reason = "public; its promises go to `scope::scope`")]
    pub unsafe fn launch_unchecked<K: KernelDesc>(
        &mut self,
        kernel: &Kernel<K>,
        grid: Grid,
        args: K::Args<'scope>,
    ) -> Result<(), LaunchError> {
        let push = K::push(args);
        // SAFETY: the caller's promises.
        unsafe { self.launch_plain(K::NAME, kernel.code(), grid, bytemuck::bytes_of(&push)) }
    }

    /// As [`launch_unchecked`](Self::launch_unchecked), for a kernel whose words came at run time.
    ///
    /// # Errors
    ///
    /// As [`launch_raw`](Self::launch_raw).
    ///
    /// # Safety
    ///
    /// As [`launch_unchecked`](Self::launch_unchecked), for these push constants.
    #[allow(unsafe_code, reason = "public; its promises go to `scope::scope`")]
    pub unsafe fn launch_raw_unchecked(
        &mut self,
        kernel: &RawKernel,
        grid: Grid,
        push: &[u8],
    ) -> Result<(), LaunchError> {
        // SAFETY: the caller's promises.
        unsafe { self.launch_plain(kernel.name(), kernel.code(), grid, push) }
    }

    /// Launches a kernel as it is.
    ///
    /// # Safety
    ///
    /// As [`launch_unchecked`](Self::launch_unchecked), for these push constants.
    #[allow(unsafe_code, reason = "its promises go to `scope::scope`")]
    unsafe fn launch_plain(
        &mut self,
        kernel: &'static str,
        code: &Arc<Code>,
        grid: Grid,
        push: &[u8],
    ) -> Result<(), LaunchError> {
        self.stream.check()?;
        let dispatch = self.dispatch(kernel, code, grid)?;
        let push = checked_push(kernel, code, push)?;
        let _launch = launch_span(kernel, &dispatch, false);
        let pipeline = &self.unchecked(kernel, code, &dispatch)?;
        let launch = Plain { kernel, pipeline, push, dispatch, touched: None };
        // SAFETY: 1. `dispatch` compared the device and keeps its limits, the pipeline is the form
        // for its fold, and `push` is as long as the kernel declares; 2. the caller's promises.
        unsafe { self.launch_as_is(&launch) }
    }

    /// Lends the memory of the whole process: kernels of this scope may use any address.
    ///
    /// Lists, trees and tables that were not lent piece by piece are brought to the device page by
    /// page when a kernel touches them, and what it changed is written back, byte by byte, when its
    /// launch is done; nothing is kept on the device between launches. An access that is not
    /// mapped, or not allowed, is [`LaunchError::Fault`]. Launches then run one by one, and wait.
    ///
    /// Other threads may unmap, move, protect, empty or write such memory while a launch runs.
    /// These promises hold then:
    ///
    /// * The bytes that the launch reads of a page were there at one moment while it ran.
    /// * Before anything is written home, every page that the launch could read is compared with
    ///   what was read: its permissions, its file, all its bytes. If anything differs, the launch
    ///   runs again on the present bytes, or fails with [`LaunchError::Fault`]. So the result is
    ///   that of a launch that ran at the moment of the comparison. A mapping that has replaced
    ///   another one is written only if the two do not differ.
    /// * Memory that is mapped at several addresses is one memory. If it is lent with
    ///   [`lend`](Self::lend) too, and may be written at either address, the launch fails with
    ///   [`FaultReason::Aliased`](crate::FaultReason::Aliased).
    /// * One exception: if bytes of a page have changed twice in a launch, other threads are taken
    ///   to work on the page too. Those bytes, unless the kernel writes them, may change again;
    ///   what the kernel read of them may then be older.
    /// * The bytes are compared once more right before each page is written. Written bytes are
    ///   looked at afterwards, with its permissions and file: a difference then is
    ///   [`LaunchError::Raced`].
    ///
    /// Nothing watches the mappings, with privileges or without.
    ///
    /// # Errors
    ///
    /// * [`LendError::Process`] when the device has no memory for it.
    /// * [`LendError::NoMaps`] when `/proc/self/maps` cannot be read.
    /// * [`LendError::Refused`] when a sandbox refuses the system calls `process_vm_readv` or
    ///   `process_vm_writev`.
    ///
    /// # Safety
    ///
    /// Until the scope ends:
    ///
    /// 1. Kernels read and write only memory that the caller may read and write through a pointer
    ///    at that time, and leave in it what is valid for its types.
    /// 2. While a launch runs, no other thread writes bytes that its kernel writes. Bytes that it
    ///    reads may be written, if every mixture of old and new bytes is valid to the kernel.
    /// 3. No thread unmaps memory that a kernel writes and maps other memory of the same kind in
    ///    its place in the moment between the last look at a page and the write, a few microseconds
    ///    at the end of a launch; nor, at any time of the launch, something that differs only in
    ///    bytes that had changed twice in that launch.
    #[allow(unsafe_code, reason = "public; its promises go to `lend::process`")]
    pub unsafe fn lend_process(&mut self) -> Result<(), LendError> {
        // SAFETY: the caller's promises.
        unsafe { self.open_process() }
    }

    /// Hands the launches so far to the device, which starts them while this thread goes on.
    ///
    /// Launches are handed over in batches, so without this call the device may stand idle while
    /// the host works. A launch in rounds (the device lacks pages) is complete when
    /// [`launch`](Self::launch) returns. The call waits only if the device has 32 submissions of
    /// this scope, for the oldest one.
    ///
    /// # Examples
    ///
    /// The host works on memory of its own while kernels run:
    ///
    /// ```
    /// use farptr::{Grid, Runtime, shaders::affine};
    ///
    /// let runtime = Runtime::builder().build()?;
    /// let kernel = runtime.kernel::<affine::Kernel>()?;
    /// let (mut y, mut own) = (vec![1.0f32; 100_000], 0u64);
    /// runtime.scope(|s| {
    ///     let y = s.lend_mut(&mut y)?.ptr();
    ///     let args = affine::Args { y, n: 100_000, a: 2.0, c: 1.0 };
    ///     s.launch(&kernel, Grid::cover(100_000), args)?;
    ///     s.submit()?;
    ///     while !s.is_done()? {
    ///         own += 1;
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(y[99_999], 3.0);
    /// # Ok::<(), farptr::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LaunchError::Vulkan`] when launches could not be handed to the device, none of which runs
    /// then, and what [`launch`](Self::launch) lists about earlier launches: if one is known to
    /// have failed, the call waits for all, reports it, and the launches after it do nothing.
    pub fn submit(&mut self) -> Result<(), LaunchError> {
        self.stream.check()?;
        if self.stream.has_failed() { self.finish() } else { self.stream.submit(&self.lends) }
    }

    /// Whether every launch so far has completed or failed. Never waits.
    ///
    /// Launches that were not handed over yet are handed over, so a loop around this function ends
    /// without [`submit`](Self::submit). The caller decides what the thread does between two calls:
    /// [`std::thread::yield_now`] if there is nothing else. When the answer is yes,
    /// [`wait`](Self::wait) does not wait any more, and reports the failure if there was one.
    ///
    /// A [`deadline`](LaunchOptions::deadline) holds for a program that only asks, too: the time
    /// between two calls counts for the running launch, 10 ms of it at most. A launch whose time is
    /// over is stopped, and this function then says yes.
    ///
    /// # Errors
    ///
    /// * [`LaunchError::Vulkan`] when launches could not be handed to the device.
    /// * [`LaunchError::Forked`] in a child of the process that built the runtime.
    pub fn is_done(&mut self) -> Result<bool, LaunchError> {
        self.stream.poll(&self.lends)
    }

    /// Waits until every launch so far has completed, and lets the host look at lent memory.
    ///
    /// Nothing is copied: [`Idle::read`] brings home what it is asked for, and the end of the scope
    /// the rest. While the returned [`Idle`] lives, nothing can be launched.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Vulkan`] when launches could not be handed to the device, none of which runs
    /// then, and what [`launch`](Self::launch) lists about earlier launches.
    pub fn wait(&mut self) -> Result<Idle<'_, 'scope, 'env>, LaunchError> {
        self.finish()?;
        Ok(Idle::new(self))
    }
}
