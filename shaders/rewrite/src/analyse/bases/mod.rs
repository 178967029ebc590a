//! Whether a root serves as nothing but the base of accesses.
//!
//! Each number of a kernel is followed from the push constants through instructions, variables and
//! calls ([`Origin`](origin::Origin)). What is not listed here as keeping an address an address
//! counts as another use. `DESIGN.md`, "Bases", says why the result may replace a translation.

mod composites;
mod follow;
mod origin;
mod shape;
mod state;
mod variables;

use crate::analyse::bases::state::Follower;
use crate::analyse::pointers::Definitions;
use crate::contract::bases::OtherUses;

/// The most passes over the instructions. If more were needed, nothing is known.
const MOST_ROUNDS: usize = 64;

/// Finds the bytes of the push constants that are used as anything but the base of accesses.
pub(crate) fn other_uses(kernel: &Definitions<'_>) -> OtherUses {
    let Some(mut follower) = Follower::of(kernel) else { return OtherUses::default() };
    if !follower.settle(MOST_ROUNDS) {
        return OtherUses::default();
    }
    // What was never seen is not defined, and counts as a number like any other.
    follower.fill();
    if !follower.settle(MOST_ROUNDS) {
        return OtherUses::default();
    }
    OtherUses { ranges: follower.finish() }
}
