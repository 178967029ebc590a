//! What farptr did in a probe, as figures.

use crate::doctor::finding::Finding;
use farptr::Runtime;

/// Adds what farptr did.
pub(super) fn counted(finding: Finding, runtime: &Runtime) -> Finding {
    let stats = runtime.stats();
    finding
        .figure("launches", stats.launches)
        .figure("rounds", stats.rounds)
        .figure("faults", stats.faults)
        .figure("pages_imported", stats.pages_imported)
        .figure("bytes_in", stats.bytes_in)
        .figure("bytes_home", stats.bytes_home)
}
