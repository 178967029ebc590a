//! Which kinds of memory a device can be given to import. Pure.

use crate::vk::info::DeviceKind;
use farptr_hmm::{VaRange, Vma};

/// Whether a driver imports every kind of memory that the process can use. One that runs on the CPU
/// does: to it an import is a pointer. One with hardware pins or watches pages through the kernel,
/// which has rules of its own.
pub(crate) fn imports_all(kind: DeviceKind) -> bool {
    kind == DeviceKind::Cpu
}

/// Why memory with these areas is not imported by a driver with hardware, if it is not. It takes
/// memory of which all such drivers are known to import: writable, private, without a file.
pub(crate) fn obstacle(range: VaRange, areas: &[Vma]) -> Option<&'static str> {
    let mut next = range.start();
    for area in areas {
        if next >= range.end() || !area.range.contains(next) {
            break;
        }
        next = area.range.end();
        let why = if area.is_file_backed() {
            "it is memory of a file, or shared"
        } else if !area.flags.write {
            "it is mapped without permission to write"
        } else if !area.is_private_anonymous() {
            "it is not private memory of the process"
        } else {
            continue;
        };
        return Some(why);
    }
    (next < range.end()).then_some("the kernel does not tell what it is")
}

#[cfg(test)]
mod tests {
    use super::*;
    use farptr_hmm::{VirtAddr, VmaFlags};

    fn area(page: u64, flags: &str, inode: u64, name: &str) -> Vma {
        let has = |flag| flags.contains(flag);
        Vma {
            range: VaRange::from_len(VirtAddr::new(page * 4096), 4096).unwrap(),
            flags: VmaFlags {
                read: has('r'),
                write: has('w'),
                shared: has('s'),
                ..VmaFlags::default()
            },
            offset_bytes: 0,
            device: farptr_hmm::Device::default(),
            inode,
            name: (!name.is_empty()).then(|| name.into()),
        }
    }

    #[test]
    fn private_writable_memory_without_a_file_is_imported() {
        let range = VaRange::new(VirtAddr::new(4096 + 16), VirtAddr::new(3 * 4096)).unwrap();
        let told = |areas: &[Vma]| obstacle(range, areas);
        let (heap, plain) = (area(1, "rw", 0, "[heap]"), area(2, "rw", 0, ""));
        assert_eq!(told(&[heap.clone(), plain.clone()]), None);
        assert_eq!(told(&[heap.clone(), plain.clone(), area(3, "r", 0, "")]), None, "beyond it");
        let no = |second: Vma, word: &str| {
            let why = told(&[heap.clone(), second]).unwrap();
            assert!(why.contains(word), "{why}");
        };
        no(area(2, "rw", 7, "/data"), "file");
        no(area(2, "rws", 7, "/dev/zero (deleted)"), "shared");
        no(area(2, "r", 0, ""), "write");
        no(area(3, "rw", 0, ""), "tell");
        assert!(told(std::slice::from_ref(&heap)).is_some(), "the second page is not mapped");
        assert!(told(&[]).is_some());
    }
}
