//! Reading the text of `/proc/<pid>/smaps`, which tells of an area what `/proc/<pid>/maps` does
//! not.

use crate::addr::{PageSize, VirtAddr};

/// The contents of an entry of smaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Smaps {
    /// The size of the pages that the area is made of, as opposed to those that happen to map it.
    pub(crate) page_size: PageSize,
    /// Whether the area maps no ordinary memory: device registers, or pages that the kernel keeps
    /// no record of.
    pub(crate) special: bool,
}

/// Finds the area that begins at `start`, or returns `None` if there is none or the text is not
/// what Linux writes.
pub(crate) fn find_smaps(text: &[u8], start: VirtAddr) -> Option<Smaps> {
    let mut lines = text.split(|&byte| byte == b'\n');
    lines.find(|line| area_start(line) == Some(start.get()))?;
    let mut page_size = None;
    for line in lines.take_while(|line| area_start(line).is_none()) {
        if let Some(value) = value(line, b"KernelPageSize:") {
            let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
            page_size = PageSize::new(kib.checked_mul(1024)?);
        } else if let Some(flags) = value(line, b"VmFlags:") {
            let special = flags.split_ascii_whitespace().any(|flag| flag == "io" || flag == "pf");
            return Some(Smaps { page_size: page_size?, special });
        }
    }
    None
}

/// The start of the area that a line introduces, if it does.
fn area_start(line: &[u8]) -> Option<u64> {
    let dash = line.iter().position(|&byte| byte == b'-')?;
    u64::from_str_radix(str::from_utf8(&line[..dash]).ok()?, 16).ok()
}

fn value<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a str> {
    str::from_utf8(line.strip_prefix(key)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
7f0000000000-7f0000001000 r--p 00000000 00:00 0                          [vvar]
Size:                  4 kB
KernelPageSize:        4 kB
MMUPageSize:           4 kB
VmFlags: rd mr pf io de dd sd
7f0000200000-7f0000400000 rw-p 00000000 00:10 1234      /anon_hugepage (deleted)
Size:               2048 kB
KernelPageSize:     2048 kB
Private_Hugetlb:    2048 kB
VmFlags: rd wr mr mw me de ht sd
7f0000400000-7f0000500000 rw-p 00000000 00:10 99        /tmp/not \xff text
Size:               1024 kB
";

    fn find(start: u64) -> Option<Smaps> {
        find_smaps(TEXT, VirtAddr::new(start))
    }

    #[test]
    fn an_area_is_found_by_its_start() {
        let vvar = Smaps { page_size: PageSize::KIB_4, special: true };
        assert_eq!(find(0x7f00_0000_0000), Some(vvar));
        let huge = Smaps { page_size: PageSize::MIB_2, special: false };
        assert_eq!(find(0x7f00_0020_0000), Some(huge));
    }

    #[test]
    fn what_is_missing_is_not_made_up() {
        assert_eq!(find(0x7f00_0000_1000), None);
        assert_eq!(find(0x7f00_0040_0000), None, "cut short");
    }
}
