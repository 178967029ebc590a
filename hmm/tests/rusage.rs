//! Fault counters of a process that does nothing else: `/proc/self/stat` as the witness.

mod common;

use common::Arena;
use farptr_hmm::{FaultCounts, fault_counts};

/// Reads the same counters from fields 10 and 12 of `/proc/self/stat`.
fn counts_in_stat() -> FaultCounts {
    let text = std::fs::read_to_string("/proc/self/stat").expect("stat");
    // The second field is the program's name in parentheses and may contain anything.
    let after_name = &text[text.rfind(')').expect("a name") + 2..];
    let mut fields = after_name.split(' ').skip(7);
    let mut next = || fields.next().expect("a field").parse().expect("a number");
    let minor = next();
    next();
    FaultCounts { minor, major: next() }
}

fn in_order(readings: &[FaultCounts]) -> bool {
    readings.is_sorted_by_key(|counts| counts.minor) && readings.is_sorted_by_key(|c| c.major)
}

#[test]
fn counts_lie_between_two_readings_of_stat() {
    let readings = [counts_in_stat(), fault_counts().expect("getrusage"), counts_in_stat()];
    assert!(in_order(&readings), "{readings:?}");
}

#[test]
fn each_first_touch_is_a_minor_fault() {
    let arena = Arena::new(200);
    let before = fault_counts().expect("getrusage");
    arena.write(0..200);
    let touched = fault_counts().expect("getrusage").since(before);
    assert!(touched.minor >= 200, "{touched:?}");
    assert!(touched.total() >= touched.minor);
}
