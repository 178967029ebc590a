//! Faults that tests put into the analysis, to see that they are found. Outside of tests there are
//! none.

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutant {
    /// `i < n` is taken for `i < n - 1`.
    GuardTooNarrow,
    /// Facts of one way to a block are taken to hold on all of them: an early return, or the
    /// other arm of a branch, is forgotten.
    ForgottenWay,
    /// A product that is too large is cut instead of wrapped.
    WrappedProduct,
    /// A sum that is too large is cut instead of wrapped.
    WrappedSum,
    /// A difference below 0 is cut instead of wrapped.
    WrappedDifference,
    /// A loop runs once less than its limit is.
    LoopTooShort,
    /// A loop's counter has the values of its first run alone.
    FirstRunOnly,
    /// Loops inside each other are counted as if they were beside each other.
    NestForgotten,
    /// A comparison of numbers with a sign says the same of numbers without one.
    SignMixed,
    /// A number is shifted by what is left of an amount that is too large.
    WideShift,
    /// A truth value is said to have come by the other ways.
    OtherEdges,
    /// A division by 0 is one by 1.
    ZeroDivisor,
    /// Memory is the same at every use.
    MemoryIsFixed,
    /// Undefined values are 0.
    UndefinedIsZero,
    /// Indices have no sign.
    IndexWithoutSign,
    /// A default branch of a switch is for numbers below all labels.
    NarrowDefault,
    /// An access is one byte long.
    FirstByteOnly,
    /// Stores of a called function through a parameter are forgotten.
    LostStore,
    /// Numbers on both sides of 0 are taken for any number.
    AnySign,
    /// A number is not the same as the distance of an address: it is excluded.
    PlaceIsNumber,
    /// The distance of an address is divided instead of the address.
    PlaceIsDivided,
    /// A value is as well known as those of each way to it, whatever chooses the way.
    WaysAreFixed,
    /// A distance of elements may wrap as a whole.
    DistanceTurns,
    /// Accesses may be at odd addresses.
    OddAddresses,
    /// Pointers to own variables may be chosen, and are lost.
    LostPointer,
    /// A kernel's promises do not count.
    PromisesIgnored,
    /// Values that a kernel stores and reads again are always defined.
    StoredIsDefined,
    /// Values of other invocations are always defined.
    OtherInvocations,
    /// One more invocation is said to store than comes to the store, and is not looked at.
    OneMoreWrites,
    /// Bytes between stores are taken to be stored.
    GapsAreWritten,
    /// Invocations that end without a store are taken to store.
    SkippedStore,
    /// Bytes that are read first are said to be overwritten.
    ReadIsForgotten,
    /// In the words of all launches, `i < n` is taken for `i < n - 1`.
    WordsTooNarrow,
}

#[cfg(test)]
impl Mutant {
    /// Those that random programs find; `tests/faults.rs` has a kernel for each of the others.
    pub(super) const ALL: [Self; 18] = [
        Self::GuardTooNarrow,
        Self::ForgottenWay,
        Self::WrappedProduct,
        Self::WrappedSum,
        Self::WrappedDifference,
        Self::LoopTooShort,
        Self::FirstRunOnly,
        Self::NestForgotten,
        Self::SignMixed,
        Self::WideShift,
        Self::OtherEdges,
        Self::ZeroDivisor,
        Self::MemoryIsFixed,
        Self::UndefinedIsZero,
        Self::IndexWithoutSign,
        Self::NarrowDefault,
        Self::FirstByteOnly,
        Self::LostStore,
    ];

    /// Those of the bytes that are overwritten.
    pub(super) const OVERWRITTEN: [Self; 4] =
        [Self::OneMoreWrites, Self::GapsAreWritten, Self::SkippedStore, Self::ReadIsForgotten];
}

#[cfg(test)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Puts a fault into the analyses and evaluations of this thread, or none.
#[cfg(test)]
pub(super) fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Whether the fault is there.
#[cfg(test)]
pub(super) fn has(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Whether the fault is there: it never is.
#[cfg(not(test))]
pub(super) const fn has(_: Mutant) -> bool {
    false
}
