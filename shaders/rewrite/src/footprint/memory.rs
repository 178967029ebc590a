//! Loads, stores and access chains.

use crate::footprint::builder::Builder;
use crate::footprint::data::{Datum, Memory, Variable};
use crate::footprint::inputs::push;
use crate::footprint::op::{IS_DISTANCE, Node as Scaled, NodeId, Op as Node};
use crate::ir::instruction::{Id, id_operand};
use crate::ir::layouts::Place;
use rspirv::dr::Instruction;
use rspirv::spirv::Op;
use std::rc::Rc;

/// The most numbers of a variable of which one is read that is not known which.
const MOST_READ: usize = 32;

impl Builder<'_> {
    /// The value of a type at a place.
    pub(super) fn load(&mut self, of: Id, from: Option<&Datum>) -> Datum {
        let Some(widths) = self.shapes.widths(of) else { return Datum::Large };
        match from {
            Some(Datum::Variable(variable)) => {
                let leaves = self.numbers_at(variable, &widths);
                match leaves.filter(|leaves| leaves.len() == widths.len()) {
                    Some(leaves) => Datum::Leaves(leaves),
                    None => self.undefined(&widths),
                }
            }
            Some(Datum::Address(..) | Datum::Leaves(_)) => self.unknown(&widths, &[]),
            Some(Datum::Large) | None => self.undefined(&widths),
        }
    }

    fn numbers_at(&mut self, variable: &Variable, widths: &Rc<[u8]>) -> Option<Rc<[NodeId]>> {
        match &variable.memory {
            Memory::Own { first, leaf: Some(leaf), .. } => {
                let start = first + u32::try_from(*leaf).ok()?;
                let slots = (start..).take(widths.len());
                Some(slots.map(|slot| self.slot(slot)).collect())
            }
            Memory::Own { first, count, leaf: None } if *count <= MOST_READ => {
                let all: Vec<NodeId> =
                    (*first..).take(*count).map(|slot| self.slot(slot)).collect();
                self.unknown(widths, &all).leaves()
            }
            Memory::Push { bytes: Some(bytes), place } => {
                let mut leaves = Vec::new();
                let (graph, shapes) = (&mut self.graph, &mut self.shapes);
                push(graph, shapes, self.layouts, *bytes, *place, &mut leaves)?;
                Some(leaves.into())
            }
            Memory::Input { leaves, leaf: Some(leaf) } => {
                Some(leaves.get(*leaf..leaf.checked_add(widths.len())?)?.into())
            }
            Memory::Push { bytes: None, .. }
            | Memory::Input { leaf: None, .. }
            | Memory::Shared => self.unknown(widths, &[]).leaves(),
            Memory::Own { .. } | Memory::Large => None,
        }
    }

    /// Puts a value at a place.
    pub(super) fn store(&mut self, to: Option<&Datum>, value: &Datum) {
        let Some(Datum::Variable(variable)) = to else { return self.publish(value) };
        let Memory::Own { first, count, leaf } = variable.memory else {
            return self.publish(value);
        };
        let values = value.leaves().filter(|values| {
            let widths = self.shapes.widths(variable.of);
            widths.is_some_and(|widths| widths.len() == values.len())
        });
        let (Some(leaf), Some(values)) = (leaf, values) else {
            return self.forget(variable, value.leaves().as_deref());
        };
        let end = leaf.saturating_add(values.len()).min(count);
        for (at, &value) in (leaf..end).zip(values.iter()) {
            let slot = first + u32::try_from(at).unwrap_or(u32::MAX);
            if self.slots.width(slot) == self.graph.width(value) {
                self.write(slot, value);
            } else {
                let undefined = self.graph.undefined(self.slots.width(slot));
                self.write(slot, undefined);
            }
        }
    }

    /// Notes a value that goes to memory, from where it may be read again.
    pub(super) fn publish(&mut self, value: &Datum) {
        let leaves = value.leaves().unwrap_or_else(|| [self.graph.undefined(32)].into());
        self.acts[self.block].stored.extend_from_slice(&leaves);
    }

    /// Forgets what a variable holds: any of its numbers may have become one of these.
    pub(super) fn forget(&mut self, variable: &Variable, values: Option<&[NodeId]>) {
        let Memory::Own { first, count, .. } = variable.memory else { return };
        for slot in (first..).take(count) {
            let width = self.slots.width(slot);
            let node = match values {
                Some(values) => {
                    let old = self.slot(slot);
                    let from: Vec<NodeId> =
                        std::iter::once(old).chain(values.iter().copied()).collect();
                    self.graph.unknown(width, &from)
                }
                None => self.graph.undefined(width),
            };
            self.write(slot, node);
        }
    }

    /// The pointer that an access chain leads to.
    pub(super) fn chain(&mut self, instruction: &Instruction) -> Option<Datum> {
        let base = self.operand(instruction, 0)?;
        let pointer_type = self.shapes.edit.type_of(id_operand(instruction, 0)?)?;
        let (_, pointee) = self.shapes.edit.pointer_parts(pointer_type)?;
        let (_, result) = self.shapes.edit.pointer_parts(instruction.result_type?)?;
        let steps =
            matches!(instruction.class.opcode, Op::PtrAccessChain | Op::InBoundsPtrAccessChain);
        match base {
            Datum::Variable(variable) if !steps => self.chain_in(variable, instruction, result),
            Datum::Variable(_) | Datum::Large => None,
            Datum::Address(..) | Datum::Leaves(_) => {
                let (mut address, mut place) = self.address(&base, pointee)?;
                let mut operands = 1..instruction.operands.len();
                if steps {
                    let index = id_operand(instruction, operands.next()?)?;
                    let stride = self.layouts.pointer_stride(pointer_type)?;
                    address = self.step(address, index, stride)?;
                }
                for operand in operands {
                    let index = id_operand(instruction, operand)?;
                    (address, place) = self.part(address, place, index)?;
                }
                (place.of == result).then_some(Datum::Address(address, place))
            }
        }
    }

    /// A pointer to memory as its address, and what is there.
    pub(super) fn address(&self, pointer: &Datum, pointee: Id) -> Option<(NodeId, Place)> {
        match pointer {
            Datum::Address(node, place) if place.of == pointee => Some((*node, *place)),
            Datum::Address(node, _) => Some((*node, Place::new(pointee))),
            Datum::Leaves(leaves) => match leaves[..] {
                [node] if self.graph.width(node) == 64 => Some((node, Place::new(pointee))),
                _ => None,
            },
            Datum::Variable(_) | Datum::Large => None,
        }
    }

    /// The address and layout of a part of what is at an address.
    fn part(&mut self, address: NodeId, place: Place, index: Id) -> Option<(NodeId, Place)> {
        let edit = self.shapes.edit;
        let step = self.layouts.step(edit, place, edit.integer(index))?;
        if edit.global(place.of)?.class.opcode == Op::TypeStruct {
            let bytes = self.graph.constant(step.bytes.into(), 64);
            return Some((self.graph.op(Node::Add, 64, &[address, bytes]), step.place));
        }
        Some((self.step(address, index, step.bytes)?, step.place))
    }

    /// The address of an element that so many bytes are apart.
    fn step(&mut self, address: NodeId, index: Id, stride: u32) -> Option<NodeId> {
        let index = self.single(index)?;
        let wide = self.graph.op(Node::Index, 64, &[index]);
        let stride = self.graph.constant(stride.into(), 64);
        let bytes = Scaled::new(Node::Mul, 64, &[wide, stride]).flagged(IS_DISTANCE);
        let bytes = self.graph.node(bytes);
        Some(self.graph.op(Node::Add, 64, &[address, bytes]))
    }

    /// A place within a variable.
    fn chain_in(
        &mut self,
        mut variable: Variable,
        chain: &Instruction,
        result: Id,
    ) -> Option<Datum> {
        let edit = self.shapes.edit;
        for operand in 1..chain.operands.len() {
            let id = id_operand(chain, operand)?;
            let index = edit.integer(id).and_then(|index| u32::try_from(index).ok());
            let part = index.and_then(|index| self.shapes.part(variable.of, index));
            let of = match part {
                Some((of, _)) => of,
                // A structure has a known member, unless the words are damaged.
                None => self.shapes.element(variable.of)?.0,
            };
            let before = part.map(|(_, before)| before);
            let add = |leaf: Option<usize>| leaf?.checked_add(before?);
            variable.memory = match variable.memory {
                Memory::Own { first, count, leaf } => Memory::Own { first, count, leaf: add(leaf) },
                Memory::Input { leaves, leaf } => Memory::Input { leaves, leaf: add(leaf) },
                Memory::Push { bytes, place } => {
                    let step = self.layouts.step(edit, place, index.map(i64::from))?;
                    let is_struct = edit.global(place.of)?.class.opcode == Op::TypeStruct;
                    let times = if is_struct { Some(1) } else { index };
                    let bytes = bytes.zip(times).and_then(|(bytes, times)| {
                        bytes.checked_add(step.bytes.checked_mul(times)?)
                    });
                    Memory::Push { bytes, place: step.place }
                }
                other => other,
            };
            variable.of = of;
        }
        (variable.of == result).then_some(Datum::Variable(variable))
    }
}
