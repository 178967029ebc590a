//! Advice for a child made by `fork`.

/// The message for a child made by `fork`, with two ways out.
pub(super) const FORKED: &str = "the runtime belongs to the parent process, and its driver works \
    in no child; let the child start a program that builds its own (std::process::Command), or \
    fork before the first runtime is built";
