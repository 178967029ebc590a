//! The report of an examination: the JSON document is this, field by field.

use super::{
    finding::{Check, Mode},
    inventory::Inventory,
    system::System,
    verdict::Verdict,
};
use serde::Serialize;

/// The form of the document. It changes when a field is renamed or means something else.
pub(super) const FORMAT: u32 = 1;

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) format: u32,
    /// farptr's version.
    pub(super) version: String,
    pub(super) commit: String,
    pub(super) system: System,
    /// Absent if no device could be looked at.
    pub(super) device: Option<Inventory>,
    pub(super) modes: Vec<Mode>,
    pub(super) checks: Vec<Check>,
    pub(super) verdict: Verdict,
}
