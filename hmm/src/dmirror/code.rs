//! The bytes of a snapshot.

#![forbid(unsafe_code)]

use crate::mirror::table::BLOCK;
use crate::walk::pfn::Pfn;

/// The bytes of a snapshot, to be combined.
#[derive(Clone, Copy, Debug)]
pub struct Code;

impl Code {
    /// The page cannot be accessed.
    pub const ERROR: u8 = 0xff;
    /// Nothing is there.
    pub const NONE: u8 = 0x00;
    /// The device may read the page.
    pub const READ: u8 = 0x01;
    /// The device may read and write the page.
    pub const WRITE: u8 = 0x02;
    /// The page is mapped by a huge page of the second level.
    pub const PMD: u8 = 0x04;
    /// The page is mapped by a huge page of the third level.
    pub const PUD: u8 = 0x08;
    /// The page is the page of zeroes.
    pub const ZERO: u8 = 0x10;
    /// The page is in the device's own memory, where the CPU does not reach it.
    pub const LOCAL: u8 = 0x20;
    /// The page is in the device's own memory, where the CPU reaches it.
    pub const LOCAL_COHERENT: u8 = 0x40;
    /// The page is in another device's memory, which the CPU and all devices can access.
    pub const REMOTE_COHERENT: u8 = 0x50;
}

/// The kind of a page that the CPU can access.
pub(super) enum Kind {
    System,
    Zero,
    LocalCoherent,
    RemoteCoherent,
}

/// The byte for an answer.
pub(super) fn code(pfn: Pfn, kind: impl FnOnce() -> Kind) -> u8 {
    if pfn.is_error() {
        return Code::ERROR;
    }
    if !pfn.is_valid() {
        return Code::NONE;
    }
    let access = if pfn.is_writable() { Code::WRITE } else { Code::READ };
    let level = usize::try_from(pfn.order()).map_or(0, |order| match 1usize << order {
        1 => 0,
        pages if pages <= BLOCK => Code::PMD,
        _ => Code::PUD,
    });
    if pfn.is_device() {
        return access | level | Code::LOCAL;
    }
    let kind = match kind() {
        Kind::System => 0,
        Kind::Zero => Code::ZERO,
        Kind::LocalCoherent => Code::LOCAL_COHERENT,
        Kind::RemoteCoherent => Code::REMOTE_COHERENT,
    };
    access | level | kind
}
