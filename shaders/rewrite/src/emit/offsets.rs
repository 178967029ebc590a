//! Offsets of access chains, where the driver computes them in fewer bits than addresses have.
//!
//! The pass adds the bytes of a chain's array indices, computed in 64 bits, to the pointer that the
//! chain starts from, and sets the indices to 0. The chain stays, so members keep their
//! decorations.

use crate::contract::error::RewriteError;
use crate::ir::address::Math;
use crate::ir::code::Code;
use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use crate::ir::layouts::{Layouts, Place};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{Op, StorageClass};

/// The most bytes that are left to the driver: what a signed number of 32 bits holds.
const MAX_OFFSET: i64 = i32::MAX as i64;

/// Computes the offsets of all chains of physical pointers in 64 bits.
pub(crate) fn widen(edit: &mut Edit, layouts: &Layouts, math: Math) -> Result<(), RewriteError> {
    let mut functions = std::mem::take(&mut edit.module.functions);
    let mut result = Ok(());
    for block in functions.iter_mut().flat_map(|function| &mut function.blocks) {
        let mut code = Code::new(edit);
        for instruction in std::mem::take(&mut block.instructions) {
            result = result.and_then(|()| rewrite(&mut code, layouts, math, &instruction));
        }
        block.instructions = code.instructions;
    }
    edit.module.functions = functions;
    result
}

fn rewrite(
    code: &mut Code<'_>,
    layouts: &Layouts,
    math: Math,
    instruction: &Instruction,
) -> Result<(), RewriteError> {
    let chain = Chain::read(code.edit, layouts, instruction)?;
    let Some(Chain { start, start_type, moves }) = chain.filter(|chain| !chain.moves.is_empty())
    else {
        code.instructions.push(instruction.clone());
        return Ok(());
    };
    let mut chain = instruction.clone();
    let mut address = math.address_of_pointer(code, start);
    for Move { operand, index, stride } in moves {
        let bytes = math.product(code, index, stride);
        let bytes =
            bytes.ok_or_else(|| RewriteError::damaged("an index has more bits than the device"))?;
        address = math.add(code, address, bytes);
        chain.operands[operand] = Operand::IdRef(code.edit.word(0));
    }
    chain.operands[0] = Operand::IdRef(math.to_pointer(code, start_type, address));
    code.instructions.push(chain);
    Ok(())
}

/// An access chain of a physical pointer.
struct Chain {
    start: Id,
    start_type: Id,
    moves: Vec<Move>,
}

/// An index that moves the start of a chain.
struct Move {
    operand: usize,
    index: Id,
    stride: u32,
}

impl Chain {
    /// Reads an instruction, if it is such a chain.
    fn read(
        edit: &Edit,
        layouts: &Layouts,
        instruction: &Instruction,
    ) -> Result<Option<Self>, RewriteError> {
        let first = match instruction.class.opcode {
            Op::AccessChain | Op::InBoundsAccessChain => 1,
            Op::PtrAccessChain | Op::InBoundsPtrAccessChain => 2,
            _ => return Ok(None),
        };
        let start = id_operand(instruction, 0);
        let typed = start.and_then(|start| Some((start, edit.type_of(start)?)));
        let parts = typed.and_then(|(start, of)| Some((start, of, edit.pointer_parts(of)?)));
        let Some((start, start_type, (StorageClass::PhysicalStorageBuffer, pointee))) = parts
        else {
            return Ok(None);
        };
        let mut chain = Self { start, start_type, moves: Vec::new() };
        let mut fixed = 0;
        if first == 2 {
            let stride = layouts.pointer_stride(start_type).ok_or_else(no_layout)?;
            fixed = chain.step(edit, instruction, 1, stride, fixed)?;
        }
        let mut place = Place::new(pointee);
        for operand in first..instruction.operands.len() {
            let index = id_operand(instruction, operand).ok_or_else(no_layout)?;
            let part = layouts.step(edit, place, edit.integer(index)).ok_or_else(no_layout)?;
            let declared = edit.global(place.of).map(|of| of.class.opcode);
            match declared {
                Some(Op::TypeStruct) => fixed += i64::from(part.bytes),
                Some(Op::TypeArray | Op::TypeRuntimeArray) => {
                    fixed = chain.step(edit, instruction, operand, part.bytes, fixed)?;
                }
                // Vectors and matrices are small.
                _ => {}
            }
            place = part.place;
        }
        if fixed > MAX_OFFSET {
            return Err(RewriteError::damaged(
                "a member is 2 GiB or more behind the start of its structure",
            ));
        }
        Ok(Some(chain))
    }

    /// Goes one index on; gives the constant bytes so far.
    fn step(
        &mut self,
        edit: &Edit,
        instruction: &Instruction,
        operand: usize,
        stride: u32,
        fixed: i64,
    ) -> Result<i64, RewriteError> {
        let index = id_operand(instruction, operand).ok_or_else(no_layout)?;
        let bytes = edit.constant_index(index).and_then(|i| i.checked_mul(stride.into()));
        match bytes.filter(|&bytes| (0..=MAX_OFFSET - fixed).contains(&bytes)) {
            Some(bytes) => Ok(fixed + bytes),
            None => {
                self.moves.push(Move { operand, index, stride });
                Ok(fixed)
            }
        }
    }
}

fn no_layout() -> RewriteError {
    RewriteError::damaged("the type of what an access chain leads to has no layout")
}
