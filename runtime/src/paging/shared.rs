//! Lent bytes of files and of shared memory, and which pages of them lie at several addresses.
//!
//! Two shared mappings of one page are one memory. If one of them is lent for writing, both get one
//! frame: see `DESIGN.md`, "One memory at two addresses".

use super::PAGE_BYTES;
use farptr_hmm::{Device, VaRange, Vma};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

/// A file, by its place among those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(usize);

/// The files behind shared mappings.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// The names of each file, by the numbers that Linux gives it.
    known: HashMap<(Device, u64), Vec<Named>>,
    count: usize,
}

/// A name of a file.
#[derive(Debug)]
struct Named {
    name: Option<OsString>,
    file: FileId,
}

impl Files {
    /// The file behind a shared mapping; `None` for private memory.
    ///
    /// Some file systems give equal numbers to files of different subvolumes. So files with
    /// different names are compared by the files that the names lead to, if these can be found.
    pub(crate) fn of(&mut self, area: &Vma) -> Option<FileId> {
        if !is_shared(area) {
            return None;
        }
        let names = self.known.entry((area.device, area.inode)).or_default();
        if let Some(known) = names.iter().find(|known| known.name == area.name) {
            return Some(known.file);
        }
        let path = area.path().map(PathBuf::from);
        let same = names.iter().find(|known| !differ(known.name.as_ref(), path.as_ref()));
        let file = same.map_or(FileId(self.count), |known| known.file);
        self.count += usize::from(file == FileId(self.count));
        names.push(Named { name: area.name.clone(), file });
        Some(file)
    }
}

/// Whether the memory of an area may lie at other addresses too.
pub(crate) fn is_shared(area: &Vma) -> bool {
    area.flags.shared && area.is_file_backed()
}

/// Whether two names are known to lead to different files.
fn differ(name: Option<&OsString>, path: Option<&PathBuf>) -> bool {
    let identity = |path: PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    let one = name.and_then(|name| identity(PathBuf::from(name)));
    let other = path.and_then(|path| identity(path.clone()));
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// A byte of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileOffset {
    pub(crate) file: FileId,
    /// From the start of the file.
    pub(crate) offset: u64,
}

impl FileOffset {
    /// The first byte of a page, by the page's number; `None` for private memory.
    pub(crate) fn of(area: &Vma, page: u64, files: &mut Files) -> Option<Self> {
        let file = files.of(area)?;
        let ahead = (page * PAGE_BYTES).wrapping_sub(area.range.start().get());
        Some(Self { file, offset: area.offset_bytes.wrapping_add(ahead) })
    }
}

/// Lent bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// The last byte's offset in the file, plus one.
    end: u64,
    writable: bool,
}

/// The lent bytes of all files.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) files: Files,
    /// By the first byte's offset, then by its address.
    stretches: BTreeMap<(FileOffset, u64), Stretch>,
    /// The file's bytes of each stretch, by its address.
    by_address: BTreeMap<u64, FileOffset>,
    /// The length of the longest stretch. A stretch that contains a byte starts at most this far
    /// below it.
    longest: u64,
    /// Pages that lie at several lent addresses, one of them writable: the number of each.
    aliases: BTreeMap<FileOffset, usize>,
}

impl Shared {
    /// Adds a lend, given the areas that it is in. Returns addresses of lent bytes that share their
    /// memory with bytes of this lend, and of those bytes, if either of the two may be written.
    pub(crate) fn add(&mut self, range: VaRange, writable: bool, areas: &[Vma]) -> BTreeSet<u64> {
        let mut addresses = BTreeSet::new();
        for area in areas {
            let (Some(lent), Some(file)) = (area.range.intersection(&range), self.files.of(area))
            else {
                continue;
            };
            let address = lent.start().get();
            let offset = area.offset_bytes + (address - area.range.start().get());
            let end = offset + lent.len_bytes();
            let stretch = Stretch { end, writable };
            self.compare(file, (offset, address), stretch, &mut addresses);
            self.stretches.insert((FileOffset { file, offset }, address), stretch);
            self.by_address.insert(address, FileOffset { file, offset });
            self.longest = self.longest.max(end - offset);
        }
        addresses
    }

    /// Finds the stretches that have bytes in common with a new one, at other addresses.
    fn compare(
        &mut self,
        file: FileId,
        (offset, address): (u64, u64),
        stretch: Stretch,
        addresses: &mut BTreeSet<u64>,
    ) {
        let first = (FileOffset { file, offset: offset.saturating_sub(self.longest) }, 0);
        let last = (FileOffset { file, offset: stretch.end }, 0);
        for (&(place, other), &Stretch { end, writable }) in self.stretches.range(first..last) {
            let elsewhere = other.wrapping_sub(place.offset) != address.wrapping_sub(offset);
            if end <= offset || !elsewhere || !(writable || stretch.writable) {
                continue;
            }
            addresses.extend([other, address]);
            let both = offset.max(place.offset)..end.min(stretch.end);
            let pages = both.start / PAGE_BYTES..both.end.div_ceil(PAGE_BYTES);
            for page in pages {
                let number = self.aliases.len();
                self.aliases
                    .entry(FileOffset { file, offset: page * PAGE_BYTES })
                    .or_insert(number);
            }
        }
    }

    /// Forgets a lend.
    pub(crate) fn remove(&mut self, range: VaRange) {
        let within = range.start().get()..range.end().get();
        let forgotten: Vec<_> =
            self.by_address.range(within).map(|(&at, &place)| (place, at)).collect();
        for (place, address) in forgotten {
            self.by_address.remove(&address);
            self.stretches.remove(&(place, address));
        }
    }

    /// The numbers of the pages of a lend that lie at several addresses, by their place in it.
    pub(crate) fn aliases(&mut self, range: VaRange, areas: &[Vma]) -> BTreeMap<usize, usize> {
        let mut numbers = BTreeMap::new();
        let first = range.start().get() / PAGE_BYTES;
        for area in areas.iter().filter(|_| !self.aliases.is_empty()) {
            let Some(lent) = area.range.intersection(&range) else { continue };
            let page = lent.start().get() / PAGE_BYTES;
            let pages = lent.end().get().div_ceil(PAGE_BYTES) - page;
            let Some(start) = FileOffset::of(area, page, &mut self.files) else { continue };
            let end = FileOffset { offset: start.offset + pages * PAGE_BYTES, ..start };
            for (place, &number) in self.aliases.range(start..end) {
                let place = page - first + (place.offset - start.offset) / PAGE_BYTES;
                numbers.insert(usize::try_from(place).unwrap_or(usize::MAX), number);
            }
        }
        numbers
    }

    /// Whether any page lies at several lent addresses.
    pub(crate) fn has_aliases(&self) -> bool {
        !self.aliases.is_empty()
    }

    /// The address at which bytes of a page of a file are lent, if it lies on another page than
    /// `page`, and whether they are lent for writing.
    pub(crate) fn lent_elsewhere(&self, place: FileOffset, page: u64) -> Option<(u64, bool)> {
        let FileOffset { file, offset } = place;
        let first = (FileOffset { file, offset: offset.saturating_sub(self.longest) }, 0);
        let last = (FileOffset { file, offset: offset + PAGE_BYTES }, 0);
        let on_it = self.stretches.range(first..last).filter(|(_, stretch)| stretch.end > offset);
        let lends = on_it.map(|(&(place, address), stretch)| {
            let byte = address + offset.saturating_sub(place.offset);
            (byte, stretch.writable)
        });
        let elsewhere = lends.filter(|&(byte, _)| byte / PAGE_BYTES != page);
        elsewhere.max_by_key(|&(_, writable)| writable)
    }
}
