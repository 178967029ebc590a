//! Groups a file of sales by shop, and leaves the totals in another file. A kernel reads and writes
//! the files where they are mapped.
//!
//! `cargo run --release --example group_by -p farptr -- [FILE]`
//!
//! A record has two numbers of 32 bits: a shop, and a price in cents. Shops without a number below
//! 999 share the last group.
//!
//! # Safety
//!
//! A file may be mapped (`Mmap::map`, `MmapMut::map_mut`) if nobody truncates it meanwhile, or
//! changes it in another way. The files that this program makes have no name, so nobody finds them.
//! Whoever gives a file promises it.
#![allow(unsafe_code, reason = "mapping a file is a promise about other programs")]

use bytemuck::{Pod, Zeroable};
use farptr::{Grid, Runtime};
use memmap2::{Mmap, MmapMut};
use std::{error::Error, fs::File, io::Write};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Sale {
    shop: u32,
    cents: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Total {
    sales: u32,
    highest: u32,
    cents: u64,
}

farptr::kernel! {
    /// One sale per invocation.
    mod group_by,
    source: r#"
        #version 460
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 64) in;
        struct Sale { uint shop; uint cents; };
        struct Total { uint sales; uint highest; uvec2 cents; };
        layout(buffer_reference, buffer_reference_align = 4) buffer Sales { Sale at[]; };
        layout(buffer_reference, buffer_reference_align = 8) buffer Totals { Total at[]; };
        layout(push_constant) uniform Push { uvec2 sales; uvec2 totals; uint count; uint groups; };
        void main() {
            uint i = gl_GlobalInvocationID.x;
            if (i >= count) return;
            uint cents = Sales(sales).at[i].cents;
            uint group = min(Sales(sales).at[i].shop, groups - 1);
            atomicAdd(Totals(totals).at[group].sales, 1);
            atomicMax(Totals(totals).at[group].highest, cents);
            // A sum of 64 bits, on devices without them, too: the low word overflows into the high.
            uint low = atomicAdd(Totals(totals).at[group].cents.x, cents);
            if (low + cents < low) atomicAdd(Totals(totals).at[group].cents.y, 1);
        }
    "#,
}

const GROUPS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let file = match std::env::args_os().nth(1) {
        Some(path) => File::open(path)?,
        None => sales(1 << 21)?,
    };
    run(&Runtime::builder().build()?, &file)
}

fn run(runtime: &Runtime, file: &File) -> Result<(), Box<dyn Error>> {
    let kernel = runtime.kernel::<group_by::Kernel>()?;
    // SAFETY: nobody changes the file (see the top).
    let mapped = unsafe { Mmap::map(file) }?;
    let sales: &[Sale] = bytemuck::cast_slice(&mapped[..mapped.len() / 8 * 8]);
    let result = tempfile::tempfile()?;
    result.set_len((GROUPS * size_of::<Total>()) as u64)?;
    // SAFETY: as above.
    let mut mapped = unsafe { MmapMut::map_mut(&result) }?;
    let totals: &mut [Total] = bytemuck::cast_slice_mut(&mut mapped);
    let (count, groups) = (u32::try_from(sales.len())?, u32::try_from(totals.len())?);
    runtime.scope(|s| {
        let (sales, totals) = (s.lend(sales)?.ptr(), s.lend_mut(totals)?.ptr());
        let args = group_by::Args { sales, totals, count, groups };
        Ok(s.launch(&kernel, Grid::cover(count as usize), args)?)
    })?;
    println!("grouped {count} sales on {}", runtime.device_name());
    check(sales, totals)
}

/// A file without a name, with sales at random: many in shop 0, fewer in shops of higher numbers.
fn sales(count: u32) -> Result<File, Box<dyn Error>> {
    let mut file = tempfile::tempfile()?;
    let sales = (1..=count).map(|i| {
        let random = i.wrapping_mul(2_654_435_761);
        Sale { shop: random >> (22 + i % 10), cents: random }
    });
    file.write_all(bytemuck::cast_slice(&sales.collect::<Vec<Sale>>()))?;
    Ok(file)
}

/// Compares the totals with those that the host calculates, which are exact.
fn check(sales: &[Sale], totals: &[Total]) -> Result<(), Box<dyn Error>> {
    let mut expected = vec![Total::default(); GROUPS];
    for sale in sales {
        let total = &mut expected[GROUPS.min(1 + sale.shop as usize) - 1];
        total.sales += 1;
        total.highest = total.highest.max(sale.cents);
        total.cents += u64::from(sale.cents);
    }
    let differing = totals.iter().zip(&expected).filter(|(found, expected)| found != expected);
    let wrong = differing.count();
    println!("{wrong} of {GROUPS} totals are wrong; that of shop 0 is {:?}", totals[0]);
    if wrong == 0 { Ok(()) } else { Err("the totals are wrong".into()) }
}

#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
#[path = "../tests/common/ways.rs"]
mod ways;

#[test]
fn results_are_right_however_the_device_reaches_memory() -> Result<(), Box<dyn Error>> {
    ways::in_each(|runtime| run(runtime, &sales(20_000)?))
}
