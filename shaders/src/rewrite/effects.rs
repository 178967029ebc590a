//! What a kernel does beside loading and storing.

use super::plan::Plan;
use super::pointers::Kernel;
use super::{Access, Effects};
use rspirv::spirv::Op;

/// Collects the effects of a kernel.
pub(super) fn effects(kernel: &Kernel<'_>, plans: &[Plan]) -> Effects {
    let mut effects = Effects::default();
    for plan in plans {
        effects.writes |= plan.touch.access.writes();
        effects.atomics |= plan.touch.access == Access::Atomic;
    }
    let functions = &kernel.edit.module.functions;
    for instruction in functions.iter().flat_map(|function| function.all_inst_iter()) {
        let op = instruction.class.opcode;
        effects.barriers |= op == Op::ControlBarrier;
        effects.subgroups |= is_subgroup(instruction.class.opname);
    }
    effects
}

/// Whether an instruction with this name works across a subgroup.
fn is_subgroup(name: &str) -> bool {
    name.starts_with("Group") || name.starts_with("Subgroup")
}
