//! Files, and places in the user's code.

use proc_macro2::Span;
use std::path::{Path, PathBuf};
use std::{env, fs};
use syn::{Error, LitStr, Result};

/// A path as the user wrote it, and where it leads.
pub(crate) fn resolve(path: &LitStr) -> PathBuf {
    let root = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    root.join(path.value())
}

/// The bytes of a file that the user names.
pub(crate) fn read(path: &LitStr) -> Result<Vec<u8>> {
    fs::read(resolve(path)).map_err(|error| {
        let text = format!(
            "`{}` cannot be read: {error}; paths are relative to the folder of Cargo.toml",
            path.value()
        );
        Error::new(path.span(), text)
    })
}

/// The path of a file as code can name it, whatever the folder of the code.
pub(crate) fn name(file: &Path) -> String {
    fs::canonicalize(file).unwrap_or_else(|_| file.to_owned()).display().to_string()
}

/// The file and the line of a place, where the compiler says them.
pub(crate) fn line(span: Span) -> Option<(String, usize)> {
    if !proc_macro::is_available() {
        return None;
    }
    let span = span.unwrap();
    Some((span.file(), span.line()))
}
