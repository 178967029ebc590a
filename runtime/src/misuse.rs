//! Misuses that the borrow checker stops, one at a time.
//!
//! Each misuse below does not compile, and stands beside the nearest form that does, which shows
//! that the misuse fails and not a mistake in the example. The failing examples name the compiler's
//! error code, which a stage of `./farptr test` compares. The list follows the ways in which
//! scoped, borrowed device access was found unsound elsewhere.
//!
//! # Looking at memory while a kernel may write it
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let lent = s.lend_mut(&mut y)?;
//!     println!("{}", s.wait()?.read(&lent)?[0]); // the device is idle: fine
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0502
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let lent = s.lend_mut(&mut y)?;
//!     println!("{}", y[0]); // `y` is borrowed until the scope has ended
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Lending the same memory for reading and for writing
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! let (left, right) = y.split_at_mut(4);
//! runtime.scope(|s| {
//!     s.lend(left)?;
//!     s.lend_mut(right)?; // two halves do not overlap: fine
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0502
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     s.lend(&y[..5])?;
//!     s.lend_mut(&mut y[4..])?; // element 4 is in both
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Lending the same memory for writing twice
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let first = s.lend_mut(&mut y)?;
//!     let second = first; // a copy of the token: fine
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0499
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let first = s.lend_mut(&mut y)?;
//!     let second = s.lend_mut(&mut y)?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Freeing memory that is lent
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let x = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     s.lend(&x)?;
//!     Ok(())
//! })?;
//! drop(x); // the scope has waited: fine
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0505
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let x = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     s.lend(&x)?;
//!     drop(x); // a kernel may still read it
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Lending memory that does not outlive the scope
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let x = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     s.lend(&x)?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0597
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! runtime.scope(|s| {
//!     let x = vec![0.0f32; 8]; // freed before the scope waits
//!     s.lend(&x)?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Taking a pointer out of its scope
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let x = vec![0.0f32; 8];
//! let mut kept = None;
//! runtime.scope(|s| {
//!     kept = Some(s.lend(&x)?.ptr().address()); // a number: fine
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0521
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let x = vec![0.0f32; 8];
//! let mut kept = None;
//! runtime.scope(|s| {
//!     kept = Some(s.lend(&x)?.ptr());
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Using one scope's pointer in another
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|outer| {
//!     let y = outer.lend_mut(&mut y)?;
//!     let args = affine::Args { y: y.ptr(), n: 8, a: 1.0, c: 1.0 };
//!     // SAFETY: 8 elements, one per invocation.
//!     unsafe { outer.launch_unchecked(kernel, Grid::cover(8), args) }?;
//!     runtime.scope(|inner| Ok(()))
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0521
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|outer| {
//!     let y = outer.lend_mut(&mut y)?;
//!     let args = affine::Args { y: y.ptr(), n: 8, a: 1.0, c: 1.0 };
//!     runtime.scope(|inner| {
//!         // SAFETY: 8 elements, one per invocation.
//!         unsafe { inner.launch_unchecked(kernel, Grid::cover(8), args) }?; // not lent here
//!         Ok(())
//!     })
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Reading one scope's memory when another is idle
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|outer| {
//!     let y = outer.lend_mut(&mut y)?;
//!     runtime.scope(|inner| Ok(()))?;
//!     outer.wait()?.read(&y)?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0521
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|outer| {
//!     let y = outer.lend_mut(&mut y)?;
//!     runtime.scope(|inner| {
//!         inner.wait()?.read(&y)?; // `outer` may have launches under way
//!         Ok(())
//!     })
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Launching while the host looks
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let y = s.lend_mut(&mut y)?;
//!     let first = s.wait()?.read(&y)?[0];
//!     let args = affine::Args { y: y.ptr(), n: 8, a: first, c: 1.0 };
//!     // SAFETY: 8 elements, one per invocation.
//!     unsafe { s.launch_unchecked(kernel, Grid::cover(8), args) }?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0499
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let y = s.lend_mut(&mut y)?;
//!     let idle = s.wait()?;
//!     let args = affine::Args { y: y.ptr(), n: 8, a: idle.read(&y)?[0], c: 1.0 };
//!     // SAFETY: 8 elements, one per invocation.
//!     unsafe { s.launch_unchecked(kernel, Grid::cover(8), args) }?;
//!     idle.read(&y)?; // would race with the launch
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Two views of lent memory, one of them for writing
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let y = s.lend_mut(&mut y)?;
//!     let mut idle = s.wait()?;
//!     idle.write(&y)?[0] = 1.0;
//!     let view = idle.read(&y)?;
//!     assert_eq!(view[0], 1.0);
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0502
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let y = s.lend_mut(&mut y)?;
//!     let mut idle = s.wait()?;
//!     let view = idle.read(&y)?;
//!     idle.write(&y)?[0] = 1.0;
//!     assert_eq!(view[0], 1.0);
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Forgetting the scope, to skip its wait
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! runtime.scope(|s| {
//!     std::mem::forget(&s); // the reference only: the library owns the scope itself
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0507
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! runtime.scope(|s| {
//!     std::mem::forget(*s);
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Memory whose bits a kernel must not choose
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut numbers = vec![0u8; 8];
//! runtime.scope(|s| {
//!     s.lend_mut(&mut numbers)?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0277
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut flags = vec![false; 8]; // a kernel could write a 2
//! runtime.scope(|s| {
//!     s.lend_mut(&mut flags)?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # A structure that holds references, for writing
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! #[derive(farptr::Lendable, farptr::LendableMut)]
//! #[repr(C)]
//! struct Node {
//!     next: *const Node, // a kernel may leave any number: following it takes `unsafe`
//! }
//! let mut nodes = [Node { next: std::ptr::null() }];
//! runtime.scope(|s| {
//!     s.lend_mut(&mut nodes)?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0277
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! #[derive(farptr::Lendable, farptr::LendableMut)]
//! #[repr(C)]
//! struct Node<'a> {
//!     next: Option<&'a Node<'a>>,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Changing nodes while they are lent
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! #[derive(farptr::Lendable)]
//! #[repr(C)]
//! struct Node {
//!     next: *const Node,
//! }
//! let mut nodes = vec![Node { next: std::ptr::null() }];
//! runtime.scope(|s| {
//!     s.lend(&nodes)?;
//!     Ok(())
//! })?;
//! nodes[0].next = &nodes[0]; // the scope has waited: fine
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0502
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! #[derive(farptr::Lendable)]
//! #[repr(C)]
//! struct Node {
//!     next: *const Node,
//! }
//! let mut nodes = vec![Node { next: std::ptr::null() }];
//! runtime.scope(|s| {
//!     s.lend(&nodes)?;
//!     nodes.push(Node { next: std::ptr::null() }); // a kernel may be reading them
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Changing atomics while the device has them
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! use std::sync::atomic::{AtomicU32, Ordering};
//! let mut counters = [AtomicU32::new(0)];
//! runtime.scope(|s| {
//!     let counters = s.lend_mut(&mut counters)?;
//!     s.wait()?.write(&counters)?[0].store(1, Ordering::Relaxed); // the device is idle: fine
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0277
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! use std::sync::atomic::{AtomicU32, Ordering};
//! let mut counters = [AtomicU32::new(0)];
//! runtime.scope(|s| {
//!     let counters = s.lend_mut(&mut counters)?;
//!     s.wait()?.read(&counters)?[0].store(1, Ordering::Relaxed); // the device would not know
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Two parts of a lend, both for writing
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let (left, right) = s.lend_mut(&mut y)?.split_at(5)?;
//!     let mut idle = s.wait()?;
//!     idle.write(&left)?[0] = 1.0;
//!     idle.write(&right)?[0] = 1.0;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0499
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let y = s.lend_mut(&mut y)?;
//!     let mut idle = s.wait()?;
//!     let some = idle.write(&y.slice(..5)?)?;
//!     let others = idle.write(&y.slice(4..)?)?; // element 4 is in both
//!     some[4] = others[0];
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Memory that changes behind a shared borrow
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let counters = vec![0u32; 8];
//! runtime.scope(|s| {
//!     s.lend(&counters)?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0277
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let counters = vec![std::cell::Cell::new(0u32); 8]; // the host could write meanwhile
//! runtime.scope(|s| {
//!     s.lend(&counters)?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Launching without saying why it is sound
//!
//! ```
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let y = s.lend_mut(&mut y)?;
//!     let args = affine::Args { y: y.ptr(), n: 8, a: 1.0, c: 1.0 };
//!     // SAFETY: 8 elements, one per invocation.
//!     unsafe { s.launch_unchecked(kernel, Grid::cover(8), args) }?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! and not
//!
//! ```compile_fail,E0133
//! # use farptr::{Error, Grid, Idle, Kernel, Lent, LentMut, Runtime, Scope, shaders::affine};
//! # fn example(runtime: &Runtime, kernel: &Kernel<affine::Kernel>) -> Result<(), Error> {
//! let mut y = vec![0.0f32; 8];
//! runtime.scope(|s| {
//!     let y = s.lend_mut(&mut y)?;
//!     let args = affine::Args { y: y.ptr(), n: 9, a: 1.0, c: 1.0 }; // one too many
//!     s.launch_unchecked(kernel, Grid::cover(9), args)?;
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
