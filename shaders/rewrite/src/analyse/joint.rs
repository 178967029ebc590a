//! Joint checks: one check for all accesses of a block at fixed distances from one address.
//!
//! A kernel that follows a pointer often reads several members of one structure. The accesses of a
//! block all run or none does, so one comparison of their whole extent decides about all of them.
//! The comparison is exact while no extent can touch two segments
//! ([`Variant::joint`](crate::Variant::joint)). After a fault the host finds the access that was
//! not allowed.

use crate::analyse::access::{Access, PointerCheck};
use crate::analyse::pointers::Definitions;
use crate::contract::analysis::{AccessKind, AddressCheck};
use crate::ir::instruction::{Id, id_operand};
use rspirv::dr::{Block, Instruction, Operand};
use rspirv::spirv::{MemoryAccess, Op, StorageClass};
use std::collections::HashMap;

/// The longest extent that is checked at once, in bytes: an object of usual size.
pub(crate) const MAX_BYTES: u64 = 256;
/// The most instructions that are followed back from an address to the value that it is computed
/// from.
const MAX_STEPS: usize = 64;

/// Accesses that are checked together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The check of their whole extent.
    pub(crate) check: AddressCheck,
    /// The positions of the accesses in the list of all, in the order of the program, and the
    /// distance of each from the start of the extent, in bytes.
    pub(crate) members: Vec<(usize, u64)>,
}

/// Finds the accesses of a block that can be checked together. `accesses` are the accesses of the
/// block, each with its position in the list of all.
pub(crate) fn groups(
    kernel: &Definitions<'_>,
    block: &Block,
    accesses: &[(usize, &Access)],
    address_checks: &[AddressCheck],
) -> Vec<Group> {
    let mut values = Values { kernel, same: HashMap::new(), held: HashMap::new() };
    let mut extents: Vec<Extent> = Vec::new();
    let mut open: HashMap<(Id, bool), usize> = HashMap::new();
    let mut rest = accesses;
    for (position, instruction) in block.instructions.iter().enumerate() {
        let here = rest.iter().take_while(|(_, access)| access.at.2 == position).count();
        let (accesses, others) = rest.split_at(here);
        rest = others;
        for &(number, access) in accesses {
            let Some(member) = Member::new(number, access, address_checks) else { continue };
            let key = (values.origin(access.trace.start), member.check.access.writes());
            let at = open.get(&key).copied();
            if !at.is_some_and(|at| extents[at].admit(member)) {
                open.insert(key, extents.len());
                extents.push(Extent { members: vec![member] });
            }
        }
        values.step(instruction);
    }
    extents.iter().filter_map(Extent::group).collect()
}

/// An access at a fixed distance from an address.
#[derive(Clone, Copy)]
struct Member {
    access: usize,
    bytes: u64,
    check: AddressCheck,
}

impl Member {
    fn new(number: usize, access: &Access, address_checks: &[AddressCheck]) -> Option<Self> {
        let PointerCheck::Address(check) = access.check else { return None };
        let distance = access.trace.distance.filter(|distance| distance.index.is_none())?;
        Some(Self { access: number, bytes: distance.bytes, check: *address_checks.get(check)? })
    }

    fn end(&self) -> u64 {
        self.bytes.saturating_add(self.check.size_bytes.into())
    }
}

/// Accesses at distances from one address, while they are being collected.
struct Extent {
    members: Vec<Member>,
}

impl Extent {
    fn start(&self) -> u64 {
        self.members.iter().map(|member| member.bytes).min().unwrap_or_default()
    }

    fn len(&self) -> u64 {
        self.members.iter().map(Member::end).max().unwrap_or_default() - self.start()
    }

    /// Adds an access, if one check at the start of the extent still suffices for all.
    fn admit(&mut self, member: Member) -> bool {
        self.members.push(member);
        let start = self.start();
        let aligned = |m: &Member| (m.bytes - start).is_multiple_of(m.check.align_bytes.into());
        let fits = self.len() <= MAX_BYTES && self.members.iter().all(aligned);
        if !fits {
            self.members.pop();
        }
        fits
    }

    fn group(&self) -> Option<Group> {
        if self.members.len() < 2 {
            return None;
        }
        let start = self.start();
        let writes = self.members.iter().any(|member| member.check.access.writes());
        let check = AddressCheck {
            size_bytes: u32::try_from(self.len()).ok()?,
            align_bytes: self.members.iter().map(|member| member.check.align_bytes).max()?,
            access: if writes { AccessKind::Write } else { AccessKind::Read },
        };
        let members = self.members.iter().map(|member| (member.access, member.bytes - start));
        Some(Group { check, members: members.collect() })
    }
}

/// The values of a block that are known to be equal.
struct Values<'v> {
    kernel: &'v Definitions<'v>,
    /// For each loaded value, the value that was stored or loaded there before.
    same: HashMap<Id, Id>,
    /// The values of the invocation's own variables at this point.
    held: HashMap<Id, Id>,
}

impl Values<'_> {
    /// The value whose bits a pointer or an address has.
    fn origin(&self, value: Id) -> Id {
        let mut origin = value;
        for _ in 0..MAX_STEPS {
            let from = self.same.get(&origin).copied().or_else(|| self.kept_bits(origin));
            let Some(from) = from else { break };
            origin = from;
        }
        origin
    }

    /// The value that a conversion gives another type, all its 64 bits kept.
    fn kept_bits(&self, value: Id) -> Option<Id> {
        let definition = self.kernel.definition(value)?;
        if !matches!(
            definition.class.opcode,
            Op::Bitcast | Op::CopyObject | Op::ConvertUToPtr | Op::ConvertPtrToU
        ) {
            return None;
        }
        let from = id_operand(definition, 0)?;
        (self.kernel.is_address(value) && self.kernel.is_address(from)).then_some(from)
    }

    /// Notes what an instruction does to the invocation's variables.
    fn step(&mut self, instruction: &Instruction) {
        let operand = |at| id_operand(instruction, at);
        match instruction.class.opcode {
            Op::Load => {
                let (Some(result), Some(from)) = (instruction.result_id, operand(0)) else {
                    return;
                };
                if self.own_variable(from) != Some(from) || is_volatile(instruction) {
                    return;
                }
                match self.held.get(&from) {
                    Some(&value) => self.same.insert(result, value),
                    None => self.held.insert(from, result),
                };
            }
            Op::Store => {
                let (Some(to), Some(value)) = (operand(0), operand(1)) else { return };
                if self.kernel.is_physical(to) {
                    return;
                }
                match self.own_variable(to) {
                    Some(variable) if variable == to => self.held.insert(to, value),
                    Some(variable) => self.held.remove(&variable),
                    None => {
                        self.held.clear();
                        None
                    }
                };
            }
            // They only make another pointer to it.
            Op::AccessChain | Op::InBoundsAccessChain => {}
            _ => {
                let operands = 0..instruction.operands.len();
                let pointers = operands.filter_map(|at| id_operand(instruction, at));
                let changes = |id: Id| self.own_variable(id).is_some();
                let calls = instruction.class.opcode == Op::FunctionCall;
                if calls || pointers.into_iter().any(changes) {
                    self.held.clear();
                }
            }
        }
    }

    /// The variable of this invocation alone that a pointer is to, or into.
    fn own_variable(&self, pointer: Id) -> Option<Id> {
        let mut at = pointer;
        for _ in 0..MAX_STEPS {
            let definition = self.kernel.definition(at)?;
            match definition.class.opcode {
                Op::AccessChain | Op::InBoundsAccessChain => at = id_operand(definition, 0)?,
                Op::Variable => {
                    let (class, _) = self.kernel.edit.pointer_parts(definition.result_type?)?;
                    let own = matches!(class, StorageClass::Function | StorageClass::Private);
                    return own.then_some(at);
                }
                _ => return None,
            }
        }
        None
    }
}

fn is_volatile(instruction: &Instruction) -> bool {
    instruction.operands.iter().any(|operand| match operand {
        Operand::MemoryAccess(mask) => mask.contains(MemoryAccess::VOLATILE),
        _ => false,
    })
}
