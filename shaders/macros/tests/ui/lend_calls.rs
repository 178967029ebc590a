//! Lending what cannot be lent, and reading atomics through a shared slice.

use std::sync::atomic::AtomicU32;

#[repr(C)]
struct Node {
    next: *const Node,
}

fn main() -> Result<(), farptr::Error> {
    let runtime = farptr::Runtime::builder().build()?;
    let (node, counters) = ([Node { next: std::ptr::null() }], [AtomicU32::new(0)]);
    let mut more = [AtomicU32::new(0)];
    let mut flags = [true];
    runtime.scope(|s| {
        s.lend(&node)?;
        s.lend(&counters)?;
        s.lend_mut(&mut flags)?;
        let more = s.lend_mut(&mut more)?;
        s.wait()?.read(&more)?;
        Ok(())
    })
}
