//! Options of a runtime that are for tests alone. They make launches slow and change no result.

/// Options for tests.
pub trait TestHooks: Sized {
    /// Copies pages by commands of the device even where the host reaches its memory: for devices
    /// that share their memory with the host.
    #[must_use]
    fn staged_copies(self, on: bool) -> Self;

    /// Serves the faults of a round in a random order, and so many pages after a round at most.
    #[must_use]
    fn serve_faults(self, seed: u64, most_per_round: usize) -> Self;

    /// Refuses to import ranges longer than so many bytes, as if the driver had, in mirrored
    /// access. They are copied: so a scope imports some of its memory and copies the rest.
    #[must_use]
    fn refuse_imports_above(self, bytes: u64) -> Self;
}

/// The options, as they reach a scope.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) staged_copies: bool,
    pub(crate) serve_faults: Option<ServeFaults>,
    /// Bytes above which no range is imported.
    pub(crate) import_limit: Option<u64>,
}

/// Serves the faults of a round in a random order and not all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServeFaults {
    /// Decides on the order.
    pub(crate) seed: u64,
    /// Pages that are served after a round at most.
    pub(crate) most_per_round: usize,
}
