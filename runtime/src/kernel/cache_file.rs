//! The pipeline cache on disk.
//!
//! One file per device and driver build. A driver may trust the bytes that it is given, so the file
//! carries a checksum and the key of the device; a file that does not fit is treated as absent and
//! replaced by the next one. Writing goes to a temporary file that is renamed, so that a reader
//! never sees a half-written one. The cache only saves time: if it is missing or damaged, nothing
//! fails, waits or crashes.
//!
//! * Only regular files are read, and none longer than any cache: a pipe would never end.
//! * A limit of the process on the length of files is an error like a full disk, not a signal.
//! * Each temporary file has a name of its own, so writers do not disturb each other; it is removed
//!   where writing failed. One that is left by a process that was ended is removed by the next
//!   writer, an hour later.
//!
//! Beside the driver's data the file lists the kernels that were compiled into it. Whether a driver
//! has learned something new cannot be told from its data: SwiftShader's grows each time that it is
//! loaded and given back. So the file is written when a kernel is compiled that it does not list.

use farptr_hmm::file_limit_as_error;
use rustix::fs::OFlags;
use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

const MAGIC: &[u8; 8] = b"farptr2\n";
const WORD_BYTES: usize = size_of::<u64>();
/// A length above that of any driver's data.
const LONGEST_BYTES: u64 = 1 << 30;
/// The end of the names of temporary files.
const TEMPORARY: &str = ".new";
/// The age from which on a temporary file counts as abandoned.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The contents of a pipeline cache file.
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
        let Ok(bytes) = read_file(&self.path) else { return Contents::default() };
        self.parse(&bytes).unwrap_or_default()
    }

    /// Replaces the stored contents.
    pub(crate) fn store(&self, contents: &Contents) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        self.remove_abandoned(folder);
        let payload = contents.payload();
        file_limit_as_error(|| {
            // Dropped without having been renamed, the file is removed.
            let (prefix, suffix) = (format!("{}.", self.key), TEMPORARY);
            let file = tempfile::Builder::new().prefix(&prefix).suffix(suffix).tempfile_in(folder);
            let mut file = file?;
            file.write_all(MAGIC)?;
            file.write_all(&self.checksum(&payload).to_le_bytes())?;
            file.write_all(&payload)?;
            file.persist(&self.path)?;
            Ok(())
        })
    }

    /// Removes temporary files that ended processes left. A file that cannot be removed is tried
    /// again the next time; a file that is being written for so long would be written again.
    fn remove_abandoned(&self, folder: &Path) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let ours = name
                .to_str()
                .is_some_and(|name| name.starts_with(&self.key) && name.ends_with(TEMPORARY));
            let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
            if ours && age().is_some_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(entry.path());
            }
        }
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

/// Reads a regular file whose length is plausible.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > LONGEST_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // It may grow meanwhile, or shrink, which the checksum finds.
    let mut bytes = Vec::new();
    file.take(LONGEST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn take_word(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<WORD_BYTES>()?;
    Some((u64::from_le_bytes(*word), rest))
}

#[cfg(test)]
#[path = "../../../hmm/tests/processors/mod.rs"]
mod processors;

#[cfg(test)]
mod tests {
    use super::processors::pin;
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
    fn what_is_no_regular_file_counts_as_absent() {
        let folder = tempfile::tempdir().unwrap();
        let file = CacheFile::new(folder.path(), "key");
        let make_pipe = || {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, file.path(), rustix::fs::FileType::Fifo, mode, 0)
                .unwrap();
        };
        make_pipe();
        assert_eq!(file.load(), Contents::default(), "a pipe that nobody writes to");
        file.store(&contents(b"x")).unwrap();
        assert_eq!(file.load(), contents(b"x"), "it was replaced");

        let target = folder.path().join("target");
        fs::rename(file.path(), &target).unwrap();
        std::os::unix::fs::symlink(&target, file.path()).unwrap();
        assert_eq!(file.load(), contents(b"x"), "a link to a file is as good");
        fs::remove_file(file.path()).unwrap();
        std::os::unix::fs::symlink("/dev/zero", file.path()).unwrap();
        assert_eq!(file.load(), Contents::default(), "a device without an end");
        fs::remove_file(file.path()).unwrap();
        let long = fs::File::create(file.path()).unwrap();
        long.set_len(LONGEST_BYTES + 1).unwrap();
        assert_eq!(file.load(), Contents::default(), "a file longer than any cache");

        fs::remove_file(file.path()).unwrap();
        fs::create_dir(file.path()).unwrap();
        assert_eq!(file.load(), Contents::default(), "a folder");
        assert!(file.store(&contents(b"x")).is_err(), "which is not replaced");
        assert_eq!(names(folder.path()), ["key.pipelines", "target"]);
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_an_ended_process_left_is_removed_an_hour_later() {
        let folder = tempfile::tempdir().unwrap();
        let file = CacheFile::new(folder.path(), "key");
        for (name, age) in [("key.1.new", 2), ("key.2.new", 0), ("other.3.new", 2), ("key", 2)] {
            let left = fs::File::create(folder.path().join(name)).unwrap();
            left.set_modified(std::time::SystemTime::now() - ABANDONED * age).unwrap();
        }
        file.store(&contents(b"x")).unwrap();
        let left = names(folder.path());
        assert_eq!(left, ["key", "key.2.new", "key.pipelines", "other.3.new"]);
    }

    #[test]
    fn writers_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let file = CacheFile::new(folder.path(), "key");
        let data = [vec![1; 100_000], vec![2; 200_000]].map(|data| contents(&data));
        let data = &data;
        std::thread::scope(|threads| {
            for (number, own) in data.iter().enumerate() {
                let file = &file;
                threads.spawn(move || {
                    let _pinned = pin(number);
                    for _ in 0..100 {
                        file.store(own).unwrap();
                        assert!(data.contains(&file.load()));
                    }
                });
            }
        });
        assert_eq!(names(folder.path()), ["key.pipelines"]);
    }

    #[test]
    fn a_folder_that_takes_no_files_is_an_error() {
        let file = CacheFile::new(Path::new("/proc/self"), "key");
        assert!(file.store(&contents(b"x")).is_err());
        let file = CacheFile::new(Path::new("/dev/full"), "key");
        assert!(file.store(&contents(b"x")).is_err());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let blocker = folder.path().join("file");
        fs::write(&blocker, b"").unwrap();
        assert!(CacheFile::new(&blocker, "key").store(&contents(b"x")).is_err());
    }
}
