//! The kernel's HMM tests about files and special mappings, under their names.

#![cfg(feature = "dmirror")]

mod hmm_rig;

use std::fs::File;
use std::os::unix::fs::FileExt;

use farptr_hmm::{Code, Maps, PageSize, VaRange};
use hmm_rig::{Buffer, PAGES, bytes, check_read, each_variant, number, page};
use rustix::mm::{MapFlags, ProtFlags};

fn file() -> File {
    let file = tempfile::tempfile().expect("a file");
    file.set_len((PAGES * page()) as u64).expect("length");
    file
}

#[test]
fn file_read() {
    each_variant(1, |rig| {
        let file = file();
        let words = 0..PAGES * page() / 4;
        file.write_all_at(&bytes(words.clone(), number), 0).expect("write");
        let buffer = Buffer::file(&file, PAGES, ProtFlags::READ, MapFlags::SHARED);
        let (read, reply) = rig.dev().read(buffer.range()).expect("read");
        assert_eq!((reply.cpages, reply.faults), (PAGES as u64, 1));
        check_read(&read, words);
    });
}

#[test]
fn file_write() {
    each_variant(1, |rig| {
        let file = file();
        let buffer =
            Buffer::file(&file, PAGES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        let data = bytes(buffer.words_of(0..PAGES), number);
        let reply = rig.dev().write(&buffer.lease(), &data).expect("write");
        assert_eq!((reply.cpages, reply.faults), (PAGES as u64, 1));
        buffer.check(0..PAGES);
        let mut read = vec![0; data.len()];
        file.read_exact_at(&mut read, 0).expect("read");
        assert_eq!(read, data, "the file has it");
    });
}

/// The first page of an area that the kernel provides.
fn area_named(name: &str) -> Option<VaRange> {
    let vmas = Maps::open().expect("maps").vmas(VaRange::USER).expect("areas");
    let vma = vmas.iter().find(|vma| vma.name.as_deref().is_some_and(|found| found == name))?;
    vma.range.pages(PageSize::host()).next()
}

#[test]
fn mixedmap() {
    // NEAR: no driver maps a mix of memory and devices here. The kernel's own code page is a
    // special mapping with memory behind it, and its data page one without.
    each_variant(1, |rig| {
        let Some(vdso) = area_named("[vdso]") else {
            return hmm_rig::skip("this kernel provides no code page", false);
        };
        rig.dev().read(vdso).expect("readable");
        assert_eq!(rig.dev().snapshot(vdso).expect("snapshot"), [Code::READ]);
        if let Some(vvar) = area_named("[vvar]") {
            assert_eq!(rig.dev().snapshot(vvar).expect("snapshot"), [Code::ERROR]);
        }
    });
}
