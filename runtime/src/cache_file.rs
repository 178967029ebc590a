//! The pipeline cache on disk.
//!
//! One file per device and driver build. A driver may trust the bytes that it is given, so the file
//! carries a checksum and the key of the device; a file that does not fit is treated as absent and
//! replaced by the next one. Writing goes to a temporary file that is renamed, so that a reader
//! never sees a half-written one. The cache only saves time: nothing fails without it.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"farptr1\n";
const HEADER_BYTES: usize = MAGIC.len() + 8;

/// A pipeline cache file, which need not exist.
#[derive(Debug)]
pub(crate) struct CacheFile {
    path: PathBuf,
    key: String,
}

impl CacheFile {
    /// The file for a device in a folder.
    pub(crate) fn new(folder: &Path, key: &str) -> Self {
        Self { path: folder.join(format!("{key}.pipelines")), key: key.to_owned() }
    }

    /// The default folder: `$XDG_CACHE_HOME/farptr` or `$HOME/.cache/farptr` (XDG Base Directory
    /// Specification 0.8).
    pub(crate) fn default_folder() -> Option<PathBuf> {
        let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
        Some(caches.join("farptr"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The stored data, or nothing when there is none that can be trusted.
    pub(crate) fn load(&self) -> Vec<u8> {
        let Ok(bytes) = fs::read(&self.path) else {
            return Vec::new();
        };
        self.unwrap_data(&bytes).unwrap_or_default().to_vec()
    }

    /// Replaces the stored data.
    pub(crate) fn store(&self, data: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = self.path.with_extension(format!("{}.new", std::process::id()));
        let written = fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(&self.checksum(data).to_le_bytes())?;
            file.write_all(data)?;
            fs::rename(&temporary, &self.path)
        });
        if written.is_err() {
            // What is left of a failed write is of no use; that it cannot be removed changes
            // nothing about the error that is reported.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn unwrap_data<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (header, data) = bytes.split_at_checked(HEADER_BYTES)?;
        let checksum = header.strip_prefix(MAGIC)?;
        (checksum == self.checksum(data).to_le_bytes()).then_some(data)
    }

    /// Mixes in the key, so that a renamed file is not taken for another device's. The hash may
    /// change with the compiler's release; then the file counts as absent once.
    fn checksum(&self, data: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        data.hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = CacheFile::new(&folder.path().join("new"), "key");
        assert!(file.load().is_empty());
        file.store(b"first").unwrap();
        file.store(b"second").unwrap();
        assert_eq!(file.load(), b"second");
        let left = fs::read_dir(folder.path().join("new")).unwrap().count();
        assert_eq!(left, 1, "temporary files are gone");
    }

    #[test]
    fn damaged_files_count_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let file = CacheFile::new(folder.path(), "key");
        file.store(b"pipelines").unwrap();
        let good = fs::read(file.path()).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(file.path(), &bad).unwrap();
            assert!(file.load().is_empty(), "a flipped bit at byte {at} is noticed");
            fs::write(file.path(), &good[..at]).unwrap();
            assert!(file.load().is_empty(), "a cut at byte {at} is noticed");
        }
    }

    #[test]
    fn another_devices_file_counts_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let file = CacheFile::new(folder.path(), "one");
        file.store(b"pipelines").unwrap();
        let other = CacheFile::new(folder.path(), "two");
        fs::rename(file.path(), other.path()).unwrap();
        assert!(other.load().is_empty());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let blocker = folder.path().join("file");
        fs::write(&blocker, b"").unwrap();
        assert!(CacheFile::new(&blocker, "key").store(b"x").is_err());
    }
}
