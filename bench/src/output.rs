//! Records as JSON, and output that does not fail when its reader has gone.

use crate::failure::Failure;
use serde::Serialize;
use std::{fs::File, io::Write, path::Path};

/// Where tables go: to stdout, unless that gets the JSON.
pub(crate) fn tables(json: Option<&Path>) -> Box<dyn Write> {
    match json {
        Some(path) if is_stdout(path) => Box::new(UntilClosed(std::io::stderr())),
        _ => Box::new(UntilClosed(std::io::stdout())),
    }
}

/// Writes a record to a file, or to stdout for `-`.
pub(crate) fn write_json(record: &impl Serialize, path: &Path) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(record)?;
    text.push(b'\n');
    let written = if is_stdout(path) {
        UntilClosed(std::io::stdout()).write_all(&text)
    } else {
        File::create(path).and_then(|mut file| file.write_all(&text))
    };
    written.map_err(|source| Failure::Write { path: path.to_owned(), source })
}

/// Whether a path means stdout.
fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Output for a reader that may go before the end, as `head` does: what is written then is dropped.
pub(crate) struct UntilClosed<W>(pub(crate) W);

impl<W: Write> Write for UntilClosed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            other => other,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_one_object_and_a_bad_place_a_clear_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        write_json(&[("ratio_to", "raw-address")], &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value[0][1], "raw-address");
        let error = write_json(&0, folder.path()).unwrap_err();
        assert!(error.to_string().starts_with("cannot write /"), "{error}");
    }
}
