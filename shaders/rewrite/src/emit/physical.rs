//! Words of memory that the pass's own code reaches through addresses in the control block.

use crate::contract::control;
use crate::emit::shared::Shared;
use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::instruction::Id;
use rspirv::dr::Operand;
use rspirv::spirv::{Capability, Decoration, MemoryModel, Op, Scope, StorageClass};

/// The ids of the types, and of the scope and the memory semantics of atomic operations, with which
/// words in physical memory are accessed.
#[derive(Clone, Copy)]
pub(crate) struct Physical {
    word_pointer: Id,
    block_pointer: Id,
    scope: Id,
    relaxed: Id,
}

impl Physical {
    /// Declares them, and physical pointers where the kernel has none of its own.
    pub(crate) fn declare(edit: &mut Edit) -> Self {
        edit.allow_physical_pointers();
        let word = edit.uint(32);
        let words = edit.declare_new(Op::TypeRuntimeArray, None, vec![Operand::IdRef(word)]);
        edit.decorate(words, Decoration::ArrayStride, vec![Operand::LiteralBit32(4)]);
        let block = edit.block(words);
        let scope = edit.word(device_scope(edit) as u32);
        Self {
            word_pointer: edit.pointer(StorageClass::PhysicalStorageBuffer, word),
            block_pointer: edit.pointer(StorageClass::PhysicalStorageBuffer, block),
            scope,
            relaxed: edit.word(0),
        }
    }

    /// The word at an address: a pair of words.
    pub(crate) fn at(self, code: &mut Code<'_>, address: Id) -> Id {
        code.ids(Op::Bitcast, self.word_pointer, &[address])
    }

    /// The word that is `index` words from an address.
    pub(crate) fn at_index(self, code: &mut Code<'_>, address: Id, index: Id) -> Id {
        let block = code.ids(Op::Bitcast, self.block_pointer, &[address]);
        let zero = code.edit.word(0);
        code.ids(Op::AccessChain, self.word_pointer, &[block, zero, index])
    }

    /// An atomic operation on a word, which gives the word before it.
    pub(crate) fn atomic(self, code: &mut Code<'_>, op: Op, pointer: Id, value: Option<Id>) -> Id {
        let of = code.edit.uint(32);
        let mut operands = vec![
            Operand::IdRef(pointer),
            Operand::IdScope(self.scope),
            Operand::IdMemorySemantics(self.relaxed),
        ];
        operands.extend(value.map(Operand::IdRef));
        code.op(op, of, operands)
    }

    /// Not 0 once invocations have failed, or the host has told the launch to end.
    ///
    /// The stop word is read by an atomic OR with 0, because Mesa 25 moves an atomic load out of
    /// the loop, which then never ends. The host's word is read by a volatile load: an atomic
    /// operation would write it, too, and what it writes may replace what the host has written.
    pub(crate) fn stop(self, code: &mut Code<'_>, shared: &Shared) -> Id {
        let (row, half) = control::OVERDUE;
        let [stop, overdue] = [(control::REPORTS, 1), (row, half)].map(|(row, half)| {
            let address = code.control_pair(shared.control, row, half);
            self.at(code, address)
        });
        let zero = code.edit.word(0);
        let failed = self.atomic(code, Op::AtomicOr, stop, Some(zero));
        let overdue = code.load_volatile(overdue);
        let word = code.edit.uint(32);
        code.ids(Op::BitwiseOr, word, &[failed, overdue])
    }
}

/// The scope that contains all invocations that may write the same words: the device. The Vulkan
/// memory model allows that scope only with a capability of its own; the scope of the queue family
/// contains the same invocations.
fn device_scope(edit: &Edit) -> Scope {
    let has = |wanted| {
        let wanted = [Operand::Capability(wanted)];
        edit.module.capabilities.iter().any(|i| i.operands == wanted)
    };
    let vulkan = edit.module.memory_model.as_ref().is_some_and(|model| {
        model.operands.get(1) == Some(&Operand::MemoryModel(MemoryModel::Vulkan))
    });
    if vulkan && !has(Capability::VulkanMemoryModelDeviceScope) {
        Scope::QueueFamily
    } else {
        Scope::Device
    }
}
