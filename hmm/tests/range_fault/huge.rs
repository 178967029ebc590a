//! Huge pages keep their order, transparent ones and reserved ones.
//!
//! # Safety
//!
//! The kernel chooses where memory is mapped; each mapping has one owner, and no reference to it is
//! made.

use std::ffi::c_void;
use std::fs;
use std::ptr;

use farptr_hmm::{PageSize, Pfn, Pfns, VaRange, VirtAddr};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

use crate::common::{Arena, page_bytes, pages_per_huge, skip, skip_where_needed, smaps_bytes};
use crate::mirror::{Mirror, bytes, numbered};

fn orders(pfns: &Pfns) -> Vec<(u64, u32, bool)> {
    let size = PageSize::host();
    let runs = pfns.runs().iter();
    runs.map(|run| (run.range.page_count(size).get(), run.first.order(), run.first.is_writable()))
        .collect()
}

#[test]
fn anon_write_huge() {
    let arena = Arena::new_huge(pages_per_huge());
    let start = arena.range().start().align_up(PageSize::MIB_2).expect("in user space");
    let huge = VaRange::from_len(start, PageSize::MIB_2.bytes()).expect("in user space");
    let pages = pages_per_huge();
    let mut mirror = Mirror::open();
    mirror.write(huge, &numbered(0..pages)).expect("write");
    assert_eq!((mirror.cpages, mirror.faults), (pages, 1));
    assert_eq!(bytes(huge), numbered(0..pages));

    if smaps_bytes(arena.range().start(), "AnonHugePages") != huge.len_bytes() {
        return skip_where_needed("order of a huge page", "the kernel had none to give");
    }
    assert_eq!(orders(&mirror.snapshot(huge)), [(pages as u64, 9, true)]);
    // The mapping reaches past a part of it, and the number is that of the page itself.
    let part = VaRange::from_len(start.checked_add(0x3000).unwrap(), 0x2000).unwrap();
    let pfns = mirror.snapshot(part);
    assert_eq!(orders(&pfns), [(2, 9, true)]);
    let number = part.start().page_number(PageSize::host());
    assert_eq!(pfns.at(part.start()).and_then(Pfn::number), Some(number));
    // Splitting the area splits the huge page.
    protect(VaRange::from_len(start, page_bytes() as u64).unwrap(), MprotectFlags::READ);
    assert_eq!(orders(&mirror.snapshot(huge)), [(1, 0, false), (pages as u64 - 1, 0, true)]);
    protect(huge, MprotectFlags::READ | MprotectFlags::WRITE);
}

fn protect(range: VaRange, flags: MprotectFlags) {
    let len = usize::try_from(range.len_bytes()).expect("64 bits");
    // SAFETY: The tests pass memory of their own to which no reference exists.
    unsafe { rustix::mm::mprotect(range.start().as_mut_ptr(), len, flags) }.expect("mprotect");
}

/// Huge pages that this test has reserved, given back when dropped.
struct Reserved {
    path: String,
    before: String,
}

impl Reserved {
    /// Reserves one more page of a size, or says why that does not work.
    fn one(size: PageSize) -> Result<Self, String> {
        let kib = size.bytes() / 1024;
        let path = format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages");
        let before = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let count: u64 = before.trim().parse().expect("a number");
        fs::write(&path, (count + 1).to_string()).map_err(|error| error.to_string())?;
        let reserved = Self { path, before };
        let now = fs::read_to_string(&reserved.path).expect("readable before");
        if now.trim() == reserved.before.trim() {
            return Err(format!("no {size} of memory in one piece"));
        }
        Ok(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, &self.before);
    }
}

/// One reserved huge page, mapped privately.
struct HugeMap {
    addr: *mut c_void,
    size: PageSize,
}

impl HugeMap {
    fn new(size: PageSize) -> Self {
        let kind = if size == PageSize::GIB_1 { MapFlags::HUGE_1GB } else { MapFlags::HUGE_2MB };
        let flags = MapFlags::PRIVATE | MapFlags::HUGETLB | kind;
        let len = usize::try_from(size.bytes()).expect("64 bits");
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: With no address given it maps new memory and replaces none.
        let addr = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, prot, flags) };
        Self { addr: addr.expect("a reserved page"), size }
    }

    fn range(&self) -> VaRange {
        VaRange::from_len(VirtAddr::from_ptr(self.addr), self.size.bytes()).expect("mapped")
    }
}

impl Drop for HugeMap {
    fn drop(&mut self) {
        let len = usize::try_from(self.size.bytes()).expect("64 bits");
        // SAFETY: The mapping is this value's own and no reference to it exists.
        unsafe { rustix::mm::munmap(self.addr, len) }.expect("munmap");
    }
}

/// Writes a reserved huge page through the mirror and checks the order of every page, writable and
/// read-only. This is the kernel's `anon_write_hugetlbfs` and `compound`.
fn compound(size: PageSize, order: u32) {
    let reserved = Reserved::one(size);
    if let Err(reason) = reserved {
        return skip(&format!("a reserved page of {size}"), reason);
    }
    let map = HugeMap::new(size);
    let range = map.range();
    let pages = range.page_count(PageSize::host()).get();
    let mut mirror = Mirror::open();
    let pfns = mirror.fault(range, true).expect("write");
    assert_eq!(mirror.faults, 1);
    assert_eq!(orders(&pfns), [(pages, order, true)]);
    assert_eq!(orders(&mirror.snapshot(range)), [(pages, order, true)]);
    let few = VaRange::from_len(range.start(), 64 * page_bytes() as u64).expect("mapped");
    mirror.write(few, &numbered(0..64)).expect("write");
    assert_eq!((mirror.cpages, mirror.faults), (64, 0), "the table has it");
    assert_eq!(bytes(few), numbered(0..64));

    protect(range, MprotectFlags::READ);
    assert_eq!(orders(&mirror.snapshot(range)), [(pages, order, false)]);
    drop(map);
}

#[test]
fn compound_2_mib() {
    compound(PageSize::MIB_2, 9);
}

#[test]
fn compound_1_gib() {
    compound(PageSize::GIB_1, 18);
}
