//! Random nests of loops, switches and jumps, which must run through the same blocks in every mode.

use crate::rigs::quick_rigs;
use crate::run::check_case;
use crate::withheld::{Kind, Tally};
use farptr_kernel_cases::nests::{NESTS, case};

#[test]
fn nests_take_the_same_way_however_they_run() {
    let Some(rigs) = quick_rigs() else { return };
    let mut tally = Tally::default();
    for seed in 0..NESTS {
        tally.add(check_case(&format!("nest {seed}"), &case(seed), &rigs));
    }
    tally.assert_withheld("nests", &rigs, &[Kind::Checks]);
}
