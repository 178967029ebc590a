//! The host's look at lent memory, between launches.
//!
//! # Safety
//!
//! An [`Idle`] hands out slices of lent memory, several side by side, and writes home what is newer
//! on the device while some of them live. The argument:
//!
//! 1. No kernel of the scope is pending, and none starts: the `Idle` borrows the scope mutably.
//! 2. A slice has elements of a `&'env mut [T]` that this very scope lent (the brand `'scope`), any
//!    bytes are a T (`LentMut`), and `'env` outlives the `Idle`.
//! 3. [`read`](Idle::read) and [`read_range`](Idle::read_range) note the bytes of each slice in
//!    `shown`, and `View::bring_home_range` writes no byte that is noted there. So the bytes under
//!    a slice that lives do not change.
//! 4. [`write`](Idle::write) takes `&mut self` for as long as its slice lives, so no other slice
//!    lives then, and nothing is written home.
#![allow(unsafe_code, reason = "it makes slices of lent memory, with the argument above")]

use super::Scope;
use crate::{
    LaunchError, Lendable, LendableMut, LentMut,
    lend::{shown::Shown, token::within},
};
use farptr_hmm::{VaRange, VirtAddr};
use std::{
    cell::RefCell,
    fmt,
    ops::{Range, RangeBounds},
};

/// The host's look at lent memory between launches: while it lives, nothing can be launched.
///
/// [`Scope::wait`] makes one, and copies nothing. Each function here brings home the pages that it
/// is asked for, if the device works on copies and has newer ones; the end of the scope brings home
/// the rest. Forgetting an `Idle` is harmless.
///
/// # Examples
///
/// ```
/// use farptr::{Grid, Runtime, shaders::affine};
///
/// let runtime = Runtime::builder().build()?;
/// let kernel = runtime.kernel::<affine::Kernel>()?;
/// let mut y = vec![1.0f32; 100_000];
/// runtime.scope(|s| {
///     let y = s.lend_mut(&mut y)?;
///     let args = affine::Args { y: y.ptr(), n: 100_000, a: 2.0, c: 1.0 }; // y = 2 y + 1
///     s.launch(&kernel, Grid::cover(100_000), args)?;
///     let mut idle = s.wait()?;
///     assert_eq!(idle.read_range(&y, 500..502)?, [3.0, 3.0]); // one page comes home
///     idle.write(&y)?[0] = 10.0; // all of `y` comes home
///     s.launch(&kernel, Grid::cover(100_000), args)?;
///     Ok(())
/// })?;
/// assert_eq!(y[..2], [21.0, 7.0]);
/// # Ok::<(), farptr::Error>(())
/// ```
pub struct Idle<'a, 'scope, 'env> {
    inner: RefCell<Inner<'a, 'scope, 'env>>,
}

/// The scope, and what changes behind a shared borrow. No reference into it leaves a function.
struct Inner<'a, 'scope, 'env> {
    // Invariant: nothing that this scope submitted is pending; the `&mut` keeps it so.
    scope: &'a mut Scope<'scope, 'env>,
    /// The bytes under slices that `read` and `read_range` have made.
    shown: Shown,
}

impl<'a, 'scope, 'env> Idle<'a, 'scope, 'env> {
    /// A look at the memory that a scope has lent; nothing that the scope submitted is pending.
    pub(super) fn new(scope: &'a mut Scope<'scope, 'env>) -> Self {
        Self { inner: RefCell::new(Inner { scope, shown: Shown::default() }) }
    }

    /// The elements of a slice that was lent for writing, as the launches so far left them.
    ///
    /// Only the pages of this slice are brought home, each at most once between two launches.
    /// Memory of which the scope lends a part at another address too (two shared mappings of one
    /// file) goes home for all addresses at once.
    ///
    /// Atomics are not [`Lendable`], since they could be written through a shared slice. They are
    /// read through [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// * [`LaunchError::Vulkan`] when pages could not be copied home.
    /// * [`LaunchError::Forked`] in a child of the process that built the runtime.
    pub fn read<T: Lendable<Kind>, Kind>(
        &self,
        lent: &LentMut<'scope, T>,
    ) -> Result<&[T], LaunchError> {
        self.read_range(lent, ..)
    }

    /// As [`read`](Self::read), for some of the elements: only the pages that they touch are
    /// brought home.
    ///
    /// # Errors
    ///
    /// * [`LaunchError::OutOfRange`] when the lend does not have these elements.
    /// * Those of [`read`](Self::read).
    pub fn read_range<T: Lendable<Kind>, Kind>(
        &self,
        lent: &LentMut<'scope, T>,
        range: impl RangeBounds<usize>,
    ) -> Result<&[T], LaunchError> {
        let len = lent.len();
        let outside = |Range { start, end }| LaunchError::OutOfRange { start, end, len };
        let range = within(&range, len).map_err(outside)?;
        let (first, length) = (lent.raw().wrapping_add(range.start), range.len());
        self.inner.borrow_mut().show(bytes_of(first, length))?;
        // SAFETY: 1. pointer and length are of elements of the lent slice (module, 2; `within`);
        // 2. any bytes are a T (module, 2); 3. nothing writes the bytes while the slice lives: no
        // kernel (module, 1), no copy home (module, 3), and no host, since the memory is borrowed
        // mutably by the scope, `write` takes `&mut self`, and nothing can be written through this
        // slice (`Lendable`).
        Ok(unsafe { std::slice::from_raw_parts(first.cast_const(), length) })
    }

    /// As [`read`](Self::read), for changing the elements before the next launch.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
    pub fn write<T: LendableMut<Kind>, Kind>(
        &mut self,
        lent: &LentMut<'scope, T>,
    ) -> Result<&mut [T], LaunchError> {
        self.inner.get_mut().take(bytes_of(lent.raw(), lent.len()))?;
        // SAFETY: 1. and 2. as in `read_range`, for all elements of the token; 3. `&mut self` shows
        // that no other slice lives, of these or of other elements (module, 4).
        Ok(unsafe { std::slice::from_raw_parts_mut(lent.raw(), lent.len()) })
    }
}

impl Inner<'_, '_, '_> {
    /// Brings bytes home and notes that the host has a slice of them.
    fn show(&mut self, range: VaRange) -> Result<(), LaunchError> {
        let Self { scope, shown } = self;
        scope.stream.check()?;
        let Scope { view, homes, .. } = &mut **scope;
        if let Some(view) = view.as_mut().filter(|_| !range.is_empty()) {
            view.bring_home_range(range, homes, shown)?;
        }
        shown.add(range.start().get(), range.len_bytes());
        Ok(())
    }

    /// Brings bytes home, and drops the device's copies of them. The host has no slice.
    fn take(&mut self, range: VaRange) -> Result<(), LaunchError> {
        let Self { scope, shown } = self;
        shown.clear();
        scope.stream.check()?;
        let Scope { view, homes, lends, .. } = &mut **scope;
        match view {
            Some(view) if !range.is_empty() => Ok(view.take_home(range, lends, homes)?),
            _ => Ok(()),
        }
    }
}

/// The addresses of elements.
fn bytes_of<T>(first: *mut T, length: usize) -> VaRange {
    let bytes = (length * size_of::<T>()) as u64;
    VaRange::from_len(VirtAddr::from_ptr(first), bytes).expect("lent bytes are in memory")
}

impl fmt::Debug for Idle<'_, '_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Idle").field(&self.inner.borrow().scope).finish()
    }
}
