//! When to lend, when to lend the process, and when to copy.
//!
//! | | lend | lend the process | copy |
//! |---|---|---|---|
//! | a kernel may touch | what was lent | any address | the copy, once it is lent |
//! | a launch waits | for nothing | until it is done | for nothing |
//! | pages move | once, if at all | for each launch | as lent memory |
//! | good for | arrays, files, arenas | a few nodes among many | layouts that are read badly |
//!
//! [`Scope::lend`](crate::Scope::lend) and launches are safe; to open the process
//! ([`lend_process`](crate::Scope::lend_process)) is `unsafe`.
//!
//! # Lend
//!
//! Lend what a kernel works on, as it lies: slices, mapped files, arenas of nodes. Lending copies
//! nothing. On a device that works on host memory ([`Explanation`](crate::Explanation) says so) the
//! first lend of a slice imports its pages. On one that needs copies, pages go there when a kernel
//! first misses them.
//!
//! * Lend few large slices rather than many small ones. A pointer that a kernel loads from memory
//!   is searched for among the lends: one step for each doubling of their number.
//! * Keep a scope open over many launches. Pages stay on the device, and launches are handed over
//!   in batches.
//! * Look at little. [`Idle::read_range`](crate::Idle::read_range) brings home one number of a
//!   residual, and not the vectors that it came from.
//! * Make large arrays that are lent again and again as [`Array`](crate::Array): it has its pages
//!   to itself and large ones get huge pages, so no other memory is imported or copied with it.
//! * Lend files as they are mapped, with memmap2. Pages that no kernel touches are not read from
//!   the disk.
//!
//! ```
//! use farptr::{Grid, Runtime, shaders::saxpy};
//! use std::io::Write;
//!
//! let mut file = tempfile::tempfile()?;
//! for i in 0..1000u16 {
//!     file.write_all(&f32::from(i).to_ne_bytes())?;
//! }
//! # #[allow(unsafe_code)]
//! // SAFETY: nobody else has the file, so nobody cuts or writes it.
//! let map = unsafe { memmap2::Mmap::map(&file)? };
//! let x: &[f32] = bytemuck::cast_slice(&map);
//!
//! let runtime = Runtime::builder().build()?;
//! let kernel = runtime.kernel::<saxpy::Kernel>()?;
//! let mut y = vec![1.0; 1000];
//! runtime.scope(|s| {
//!     let (x, y) = (s.lend(x)?, s.lend_mut(&mut y)?);
//!     let args = saxpy::Args { x: x.ptr(), y: y.ptr(), n: 1000, a: 2.0 };
//!     s.launch(&kernel, Grid::cover(1000), args)?;
//!     Ok(())
//! })?;
//! assert_eq!(y[999], 1999.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Lend the process
//!
//! [`lend_process`](crate::Scope::lend_process) is for structures that nobody can list: a tree in
//! memory of an allocator, a table of another library. The kernel brings the pages that it touches
//! to the device, one round or more for each step that leads to a page it has not seen: a list of a
//! hundred nodes on pages of their own takes some hundred rounds. Before bytes are written home,
//! every page that was read is compared with what it holds now, since other threads may have
//! changed it. If you can lend an arena instead, do.
//!
//! # Copy
//!
//! Kernels are fast when neighbouring invocations touch neighbouring bytes. A structure whose
//! fields a kernel reads one at a time is better as one array for each field, and a list is better
//! as an array, if a kernel walks it often. Copying once into such a layout, and lending the copy,
//! can be worth more than anything that a runtime does. `farptr-bench` has such comparisons, with
//! the losses shown.
