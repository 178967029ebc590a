//! One thing to try: what is known before it, and what it is given.

use super::{child::Channel, finding::Mode, inventory::Inventory};
use std::time::Duration;

/// The facts that are known before a step.
pub(super) struct Situation<'s> {
    pub(super) device: &'s Inventory,
    pub(super) modes: &'s [Mode],
    /// Whether probes may try to lose the device.
    pub(super) long: bool,
}

impl Situation<'_> {
    /// The modes that were proved.
    pub(super) fn proved(&self) -> impl Iterator<Item = &str> {
        self.modes.iter().filter(|mode| mode.proved).map(|mode| mode.name.as_str())
    }
}

/// One thing to try.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) name: String,
    /// The mode that it is about, if it is about one.
    pub(super) mode: Option<String>,
    /// The time after which its process is killed.
    pub(super) limit: Duration,
    /// Why it is not tried.
    pub(super) skip: Option<String>,
}

impl Probe {
    pub(super) fn new(name: impl Into<String>, limit: Duration) -> Self {
        Self { name: name.into(), mode: None, limit, skip: None }
    }
}

/// The device of a probe, and the way to say how far it is.
pub(super) struct Subject {
    /// The index in Vulkan's list.
    pub(super) device: usize,
    /// The mode that the probe is about, if it is about one.
    pub(super) mode: Option<String>,
    pub(super) channel: Channel,
}

impl Subject {
    /// Says what is about to be done, for the report if the process dies of it.
    pub(super) fn at(&mut self, what: &str) {
        // A parent that has gone reads no report.
        let _ = self.channel.at(what);
    }
}
