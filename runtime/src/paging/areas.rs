//! The memory areas of the process, looked up one by one.

use super::report::Denial;
use farptr_hmm::{Maps, MapsError, MapsSource, VaRange, VirtAddr, Vma};
use std::{collections::BTreeMap, ffi::OsStr, ops::Bound::Excluded, os::unix::ffi::OsStrExt};

/// The areas that were looked up since the last [`refresh`](Self::refresh), as they were then.
///
/// If Linux answers queries about single addresses, each area is queried once. If Linux can only
/// list all areas, they are listed once. So the cost grows with the number of areas that are looked
/// up, or with the number of all areas, and never with the number of look-ups.
#[derive(Debug)]
pub(crate) struct Areas {
    maps: Maps,
    /// By start.
    known: BTreeMap<u64, Vma>,
    /// All areas are known.
    listed: bool,
    /// The number of queries so far.
    queries: u64,
}

impl Areas {
    /// Opens the list of areas.
    ///
    /// # Errors
    ///
    /// Those of [`Maps::open`], or of looking an address up.
    pub(crate) fn open() -> Result<Self, MapsError> {
        let mut areas = Self::of(Maps::open()?);
        // A sandbox may let a file be opened and refuse to read it.
        areas.at(VirtAddr::of(&areas.queries).get())?;
        areas.refresh();
        Ok(areas)
    }

    /// Areas from one source.
    pub(crate) fn of(maps: Maps) -> Self {
        Self { maps, known: BTreeMap::new(), listed: false, queries: 0 }
    }

    /// The number of queries so far.
    #[cfg(test)]
    pub(crate) fn queries(&self) -> u64 {
        self.queries
    }

    /// Forgets everything: later look-ups are queries again.
    pub(crate) fn refresh(&mut self) {
        self.known.clear();
        self.listed = false;
    }

    /// The area that has an address, if any has.
    ///
    /// # Errors
    ///
    /// The error of the query.
    pub(crate) fn at(&mut self, address: u64) -> Result<Option<Vma>, MapsError> {
        self.learn(address)?;
        let below = self.known.range(..=address).next_back();
        let area = below.map(|(_, area)| area);
        Ok(area.filter(|area| area.range.contains(VirtAddr::new(address))).cloned())
    }

    /// The areas that have addresses of a range, lowest first.
    ///
    /// # Errors
    ///
    /// The error of the query.
    pub(crate) fn within(&mut self, range: VaRange) -> Result<Vec<Vma>, MapsError> {
        let mut areas = Vec::new();
        let mut address = range.start().get();
        while address < range.end().get() {
            let area = match self.at(address)? {
                Some(area) => area,
                None => {
                    match self.known.range((Excluded(address), Excluded(range.end().get()))).next()
                    {
                        Some((_, area)) => area.clone(),
                        None => break,
                    }
                }
            };
            address = area.range.end().get();
            areas.push(area);
        }
        Ok(areas)
    }

    /// The reason for which system calls fail on memory of an area that may be accessed.
    pub(crate) fn denial(&mut self, address: u64) -> Denial {
        self.refresh();
        match self.at(address) {
            Ok(Some(area)) => denial(&area, flags_of(&area).as_deref().unwrap_or_default()),
            Ok(None) => Denial::Unmapped,
            Err(_) => Denial::NoMaps,
        }
    }

    /// Queries the area at an address, unless it is known.
    fn learn(&mut self, address: u64) -> Result<(), MapsError> {
        let below = self.known.range(..=address).next_back();
        let known = below.is_some_and(|(_, area)| area.range.end().get() > address);
        if known || self.listed {
            return Ok(());
        }
        self.queries += 1;
        match self.maps.source() {
            MapsSource::Query => {
                if let Some(area) = self.maps.find_vma(VirtAddr::new(address))? {
                    self.note(area);
                }
            }
            _ => {
                let all = self.maps.vmas(VaRange::USER)?;
                self.known = all.into_iter().map(|area| (area.range.start().get(), area)).collect();
                self.listed = true;
            }
        }
        Ok(())
    }

    /// Adds an area in place of those that overlap it: they were there a moment ago.
    fn note(&mut self, area: Vma) {
        let (start, end) = (area.range.start().get(), area.range.end().get());
        while let Some((&old, below)) = self.known.range(..end).next_back()
            && below.range.end().get() > start
        {
            self.known.remove(&old);
        }
        self.known.insert(start, area);
    }
}

/// Judges an area by its name and by its flags in smaps.
fn denial(area: &Vma, flags: &str) -> Denial {
    let has = |wanted: &[&str]| flags.split_ascii_whitespace().any(|flag| wanted.contains(&flag));
    let name = area.name.as_deref().map(OsStr::as_bytes).unwrap_or_default();
    if name.starts_with(b"[vvar") {
        Denial::Vvar
    } else if name == b"anon_inode:[perf_event]" {
        Denial::PerfRing
    } else if has(&["um", "uw", "ui"]) {
        Denial::Userfaultfd
    } else if has(&["io", "pf"]) {
        Denial::Special
    } else if area.path().is_some() || (area.is_deleted() && !name.starts_with(b"/secretmem")) {
        // Behind the end of the file.
        Denial::Unmapped
    } else {
        Denial::Unreachable
    }
}

/// The flags of an area, as `/proc/self/smaps` has them; `None` if they cannot be read.
fn flags_of(area: &Vma) -> Option<String> {
    let text = std::fs::read("/proc/self/smaps").ok()?;
    let head = format!("{:08x}-{:08x} ", area.range.start().get(), area.range.end().get());
    let mut lines = text.split(|&byte| byte == b'\n');
    lines.find(|line| line.starts_with(head.as_bytes()))?;
    // The flags are the last line of an area.
    let flags = lines.find_map(|line| line.strip_prefix(b"VmFlags:"))?;
    String::from_utf8(flags.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_area_is_queried_once() {
        let memory = memmap2::MmapMut::map_anon(64 * 4096).unwrap();
        let start = VaRange::of_slice(&memory).start().get();
        for source in [MapsSource::Query, MapsSource::Text] {
            let Ok(maps) = Maps::open_with(source) else { continue };
            let mut areas = Areas::of(maps);
            for page in 0..64 {
                let area = areas.at(start + page * 4096).unwrap().unwrap();
                assert!(area.flags.write && area.range.contains(VirtAddr::new(start)));
            }
            let whole = areas.within(VaRange::of_slice(&memory)).unwrap();
            assert_eq!((whole.len(), areas.queries), (1, 1), "{source:?}");
            assert_eq!(areas.at(4096).unwrap(), None);
            areas.refresh();
            areas.at(start).unwrap();
            assert!(areas.queries <= 3, "{source:?}");
        }
    }

    #[test]
    fn name_and_flags_tell_why_system_calls_fail() {
        let area = |name: &str, inode| Vma {
            range: VaRange::from_len(VirtAddr::new(0x1000), 0x1000).unwrap(),
            flags: farptr_hmm::VmaFlags { read: true, write: true, ..Default::default() },
            offset_bytes: 0,
            device: farptr_hmm::Device::default(),
            inode,
            name: (!name.is_empty()).then(|| name.into()),
        };
        let cases = [
            ("[vvar]", 0, "rd mr pf io de dd sd", Denial::Vvar),
            ("[vvar_vclock]", 0, "rd mr pf io de dd sd", Denial::Vvar),
            ("anon_inode:[perf_event]", 7, "rd wr sh pf de", Denial::PerfRing),
            ("", 0, "rd wr mr mw me ac um ", Denial::Userfaultfd),
            ("[heap]", 0, "rd wr mr mw me ac uw", Denial::Userfaultfd),
            ("/dev/dri/card0", 9, "rd wr sh pf io", Denial::Special),
            ("/tmp/short", 9, "rd wr sh mr mw", Denial::Unmapped),
            ("/tmp/short (deleted)", 9, "rd wr sh mr mw", Denial::Unmapped),
            ("/secretmem (deleted)", 9, "rd wr sh lo dd", Denial::Unreachable),
            ("", 0, "rd wr mr mw me ac", Denial::Unreachable),
        ];
        for (name, inode, flags, expected) in cases {
            assert_eq!(denial(&area(name, inode), flags), expected, "{name} {flags}");
        }
    }

    #[test]
    fn flags_are_those_of_the_area() {
        let memory = memmap2::MmapMut::map_anon(4096).unwrap();
        let mut areas = Areas::open().unwrap();
        let area = areas.at(VaRange::of_slice(&memory).start().get()).unwrap().unwrap();
        let flags = flags_of(&area).unwrap();
        assert!(flags.contains(" rd wr"), "{flags}");
        assert_eq!(flags_of(&Vma { range: VaRange::USER, ..area }), None);
    }
}
