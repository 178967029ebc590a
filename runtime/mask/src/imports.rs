//! Which host memory a device imports.

use crate::options::Options;
use farptr_hmm::{Maps, VaRange, VirtAddr, read_bytes};

/// Why memory is not imported.
pub(crate) type Refusal = String;

/// Whether the host may write all of the memory.
pub(crate) type Writable = bool;

/// Looks at memory that is to be imported.
pub(crate) fn examine(
    options: &Options,
    address: u64,
    bytes: u64,
    live: impl Iterator<Item = VaRange>,
) -> Result<(VaRange, Writable), Refusal> {
    let range = VaRange::from_len(VirtAddr::new(address), bytes);
    let range = range.ok_or_else(|| format!("{bytes} bytes from {address:#x} are no range"))?;
    let refused = |why: &str| Err(format!("import of {range} refused: {why}"));
    if let Some(other) = { live }.find(|other| other.overlaps(&range)) {
        return refused(&format!("it overlaps the live import of {other}"));
    }
    let granule = options.import_alignment.unwrap_or(1);
    if !(address | bytes).is_multiple_of(granule) {
        return refused(&format!("addresses and lengths are multiples of {granule}"));
    }
    let areas = Maps::open().and_then(|maps| maps.vmas(range));
    let areas = areas.map_err(|error| format!("import of {range} refused: {error}"))?;
    let mut cursor = range.start();
    for area in &areas {
        if area.range.start() > cursor {
            break;
        }
        cursor = area.range.end();
        if !area.flags.read {
            return refused(&format!("the host may not read {}", area.range));
        }
        if !options.import_file && (area.is_file_backed() || !area.flags.write) {
            return refused(&format!("{} is a file's, or may not be written", area.range));
        }
    }
    if cursor < range.end() {
        return refused(&format!("nothing is mapped at {cursor}"));
    }
    // Pages beyond the end of a file are mapped and not there; missing ones are brought in.
    let mut page = [0; 4096];
    for at in (address..address + bytes).step_by(page.len()) {
        if let Err(error) = read_bytes(VirtAddr::new(at), &mut page) {
            return refused(&error.to_string());
        }
    }
    Ok((range, areas.iter().all(|area| area.flags.write)))
}
