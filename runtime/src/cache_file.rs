//! The pipeline cache on disk.
//!
//! One file per device and driver build. A driver may trust the bytes that it is given, so the file
//! carries a checksum and the key of the device; a file that does not fit is treated as absent and
//! replaced by the next one. Writing goes to a temporary file that is renamed, so that a reader
//! never sees a half-written one. The cache only saves time: nothing fails without it.
//!
//! Beside the driver's data the file lists the kernels that were compiled into it. Whether a driver
//! has learned something new cannot be told from its data: SwiftShader's grows each time that it is
//! loaded and given back. So the file is written when a kernel is compiled that it does not list.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 8] = b"farptr2\n";
const WORD_BYTES: usize = size_of::<u64>();

/// What a pipeline cache file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The kernels that were compiled into the data, as [`kernel_hash`] has them.
    pub(crate) kernels: BTreeSet<u64>,
    /// The driver's data.
    pub(crate) data: Vec<u8>,
}

/// Names a kernel by its words and its entry point. It may change with the compiler's release; then
/// the kernel counts as new once.
pub(crate) fn kernel_hash(words: &[u32], entry: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    entry.hash(&mut hasher);
    hasher.finish()
}

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

    /// The stored contents, or nothing when there is none that can be trusted.
    pub(crate) fn load(&self) -> Contents {
        let Ok(bytes) = fs::read(&self.path) else { return Contents::default() };
        self.parse(&bytes).unwrap_or_default()
    }

    /// Replaces the stored contents.
    pub(crate) fn store(&self, contents: &Contents) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let temporary = self.path.with_extension(format!("{}.new", std::process::id()));
        let payload = contents.payload();
        let written = fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(&self.checksum(&payload).to_le_bytes())?;
            file.write_all(&payload)?;
            fs::rename(&temporary, &self.path)
        });
        if written.is_err() {
            // What is left of a failed write is of no use; that it cannot be removed changes
            // nothing about the error that is reported.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn parse(&self, bytes: &[u8]) -> Option<Contents> {
        let (checksum, payload) = take_word(bytes.strip_prefix(MAGIC)?)?;
        if checksum != self.checksum(payload) {
            return None;
        }
        let (count, mut rest) = take_word(payload)?;
        let mut kernels = BTreeSet::new();
        for _ in 0..count {
            let (kernel, after) = take_word(rest)?;
            kernels.insert(kernel);
            rest = after;
        }
        Some(Contents { kernels, data: rest.to_vec() })
    }

    /// Mixes in the key, so that a renamed file is not taken for another device's. The hash may
    /// change with the compiler's release; then the file counts as absent once.
    fn checksum(&self, payload: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        payload.hash(&mut hasher);
        hasher.finish()
    }
}

impl Contents {
    /// The number of kernels, the kernels, the data.
    fn payload(&self) -> Vec<u8> {
        let count = self.kernels.len() as u64;
        let words = std::iter::once(count).chain(self.kernels.iter().copied());
        let mut payload: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        payload.extend_from_slice(&self.data);
        payload
    }
}

fn take_word(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<WORD_BYTES>()?;
    Some((u64::from_le_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(data: &[u8]) -> Contents {
        Contents { kernels: [7, u64::MAX].into(), data: data.to_vec() }
    }

    #[test]
    fn what_was_stored_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let file = CacheFile::new(&folder.path().join("new"), "key");
        assert_eq!(file.load(), Contents::default());
        file.store(&contents(b"first")).unwrap();
        file.store(&contents(b"second")).unwrap();
        assert_eq!(file.load(), contents(b"second"));
        let left = fs::read_dir(folder.path().join("new")).unwrap().count();
        assert_eq!(left, 1, "temporary files are gone");
    }

    #[test]
    fn kernels_are_named_by_words_and_entry_point() {
        let kernels = [(&[1, 2], "a"), (&[1, 2], "b"), (&[1, 3], "a")];
        let names: BTreeSet<u64> = kernels.map(|(words, entry)| kernel_hash(words, entry)).into();
        assert_eq!(names.len(), kernels.len());
        assert!(names.contains(&kernel_hash(&[1, 2], "a")));
    }

    #[test]
    fn damaged_files_count_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let file = CacheFile::new(folder.path(), "key");
        file.store(&contents(b"pipelines")).unwrap();
        let good = fs::read(file.path()).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(file.path(), &bad).unwrap();
            assert_eq!(file.load(), Contents::default(), "a flipped bit at byte {at} is noticed");
            fs::write(file.path(), &good[..at]).unwrap();
            assert_eq!(file.load(), Contents::default(), "a cut at byte {at} is noticed");
        }
    }

    #[test]
    fn another_devices_file_counts_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let file = CacheFile::new(folder.path(), "one");
        file.store(&contents(b"pipelines")).unwrap();
        let other = CacheFile::new(folder.path(), "two");
        fs::rename(file.path(), other.path()).unwrap();
        assert_eq!(other.load(), Contents::default());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let blocker = folder.path().join("file");
        fs::write(&blocker, b"").unwrap();
        assert!(CacheFile::new(&blocker, "key").store(&contents(b"x")).is_err());
    }
}
