//! Notice of loops that the driver cut short.
//!
//! llvmpipe ends the loops of an invocation after 65,535 iterations, by leaving the loop between
//! two iterations. So a guarded loop has two counters: one counts the times that its header ran,
//! the other counts the iterations that ended. If the kernel leaves a loop, the header has run once
//! more than iterations have ended; if the driver leaves it, the counts are equal. The header's
//! counter grows by a 1 that no compiler knows to be 1. An iteration counts as ended when it
//! branches to the continue target, because Mesa may run the continue construct at the start of the
//! next iteration.
//!
//! Compilers assume that a loop is left only at its exits, and may copy the counts into their
//! variables there. A cut loop passes no exit, so its counts are those of the last time that the
//! loop ended, or zero. Therefore the counts start from a *base* that differs from one time to the
//! next. One case is not noticed: the driver cuts a loop in a function that had returned out of
//! that same loop before, and no loop around it has another iteration.

use crate::emit::shared::Shared;
use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::instruction::Id;
use rspirv::spirv::Op;

/// The upper bit of a word, which tells one base from the next. The rest counts.
pub(crate) const BASE: u32 = 1 << 31;

/// The counters of a guarded loop.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) headers: Id,
    /// Iterations that ended.
    pub(crate) ends: Id,
    /// The base of both counters with its upper bit inverted. It is zero at first, so a register
    /// that was never written holds no valid base.
    phase: Id,
}

impl Counters {
    pub(crate) fn declare(edit: &mut Edit) -> Self {
        let word = edit.uint(32);
        let [headers, ends, phase] = [(); 3].map(|()| edit.private(word));
        Self { headers, ends, phase }
    }

    /// Sets both counters to a base. If the loop ran since the last time, it is another base than
    /// then.
    pub(crate) fn start(self, code: &mut Code<'_>, upper: Id) {
        let (word, zero) = (code.edit.uint(32), code.edit.word(0));
        let ran = self.ran(code);
        let change = code.select(word, ran, upper, zero);
        let phase = code.load(word, self.phase);
        let phase = code.ids(Op::BitwiseXor, word, &[phase, change]);
        let base = code.ids(Op::BitwiseXor, word, &[phase, upper]);
        code.store(self.phase, phase);
        code.store(self.headers, base);
        code.store(self.ends, base);
    }

    /// Whether the loop ran since it was started anew.
    fn ran(self, code: &mut Code<'_>) -> Id {
        let (word, boolean) = (code.edit.uint(32), code.edit.bool());
        let [zero, rest] = [0, BASE - 1].map(|value| code.edit.word(value));
        let headers = code.load(word, self.headers);
        let count = code.ids(Op::BitwiseAnd, word, &[headers, rest]);
        code.ids(Op::INotEqual, boolean, &[count, zero])
    }

    /// Notes a cut, and starts anew. If the loop ends in the header of another loop, the counters
    /// of that loop tell whether the block runs for the first time.
    pub(crate) fn test(self, code: &mut Code<'_>, shared: &Shared, upper: Id, next: Option<Self>) {
        let (word, boolean) = (code.edit.uint(32), code.edit.bool());
        let one = code.edit.word(1);
        let headers = code.load(word, self.headers);
        let ends = code.load(word, self.ends);
        let phase = code.load(word, self.phase);
        let more = code.ids(Op::ISub, word, &[headers, ends]);
        let odd = code.ids(Op::INotEqual, boolean, &[more, one]);
        // The phase is the base inverted, so that the upper bits differ.
        let bases = code.ids(Op::BitwiseXor, word, &[headers, phase]);
        let stale = code.ids(Op::ULessThan, boolean, &[bases, upper]);
        let mut is_cut = code.ids(Op::LogicalOr, boolean, &[odd, stale]);
        if let Some(next) = next {
            let again = next.ran(code);
            let first = code.ids(Op::LogicalNot, boolean, &[again]);
            is_cut = code.ids(Op::LogicalAnd, boolean, &[is_cut, first]);
        }
        let before = code.load(word, shared.cut);
        let now = code.select(word, is_cut, one, before);
        code.store(shared.cut, now);
        let phase = code.ids(Op::BitwiseXor, word, &[phase, upper]);
        let base = code.ids(Op::BitwiseXor, word, &[phase, upper]);
        code.store(self.phase, phase);
        code.store(self.headers, base);
        code.store(self.ends, base);
    }
}
