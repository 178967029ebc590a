//! Launches on memory that the device does not reach as it is: pages come and go between rounds.
//!
//! `vk::round` runs one round.

use crate::{
    LaunchError,
    vk::{Ask, Scope},
};

impl Scope<'_, '_> {
    /// Runs a launch in rounds until nothing faults, and returns when it is done.
    pub(crate) fn launch_in_rounds(&mut self, ask: &Ask<'_>) -> Result<(), LaunchError> {
        Err(LaunchError::NotReachable { kernel: ask.kernel })
    }
}
