//! From the pointer of an access to the pointer that the device may use.

use crate::analyse::access::{Access, JointMember, PointerCheck};
use crate::contract::analysis::{AccessKind, Analysis, IndexCheck};
use crate::contract::control;
use crate::contract::variant::{Integers, Translation, Variant};
use crate::emit::fault::{FaultValue, note};
use crate::emit::page_table::{PageTable, PagedAccess};
use crate::emit::proofs::Proofs;
use crate::emit::segments::{Compared, Field, Segments};
use crate::emit::shared::Shared;
use crate::ir::address::Math;
use crate::ir::code::Code;
use crate::ir::instruction::Id;
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::Op;
use std::cell::RefCell;
use std::collections::HashMap;

/// Translates pointers, for one variant of a kernel.
pub(crate) struct Translator<'t> {
    pub(crate) shared: &'t Shared,
    pub(crate) analysis: &'t Analysis,
    pub(crate) layout: &'t control::Layout,
    pub(crate) variant: &'t Variant,
    pub(crate) proofs: &'t Proofs,
    /// The device addresses of the joints that were checked.
    pub(crate) joints: RefCell<HashMap<usize, Id>>,
}

/// An index that was compared with a count.
struct Indexed {
    ok: Id,
    /// The index that is not constant, if there is one: as the kernel computes it, or an index in
    /// bounds in its place.
    safe: Option<Id>,
    /// The device address of the root, as a pair of words.
    base: Id,
}

impl Translator<'_> {
    pub(crate) fn math(&self) -> Math {
        Math { integers: self.variant.integers }
    }

    fn segments(&self) -> Segments<'_> {
        Segments::new(self.shared.control, self.layout, self.variant)
    }

    /// The pointer for an access that need not be split. `holds` says whether what is known of the
    /// launch holds here.
    pub(crate) fn pointer(
        &self,
        code: &mut Code<'_>,
        site: u32,
        access: &Access,
        holds: bool,
    ) -> Id {
        let known = holds && self.proofs.cover(access.check);
        match (self.variant.translation, access.check) {
            // The kernel's own pointer, with the kernel's own code.
            (Translation::None, PointerCheck::Index(_)) if known => access.dereference.pointer,
            (Translation::Segments, PointerCheck::Index(check)) if known => {
                let base = self.base(code, check);
                self.behind_root(code, access, base, None)
            }
            (Translation::None | Translation::Segments, PointerCheck::Index(check)) => {
                self.by_index(code, site, access, check)
            }
            (Translation::None | Translation::Segments, PointerCheck::Address(check)) => {
                match access.joint.filter(|_| self.variant.joint) {
                    Some(part) => self.by_joint(code, site, access, part),
                    None => self.by_address(code, site, access, check),
                }
            }
            (Translation::Table { .. }, _) => {
                let paged = self.check_paged(code, site, access);
                let (from, to) = self.page_table().piece(code, &paged, 0);
                self.device_pointer(code, access, from, to)
            }
        }
    }

    pub(crate) fn page_table(&self) -> PageTable<'_> {
        let tree = self.variant.translation == Translation::Table { tree: true };
        PageTable { shared: self.shared, math: self.math(), tree }
    }

    /// Whether pages may be missing.
    pub(crate) fn faults(&self) -> bool {
        self.variant.translation.faults()
    }

    /// Checks an index, and goes on from the device address of the root.
    fn by_index(&self, code: &mut Code<'_>, site: u32, access: &Access, check: usize) -> Id {
        let Indexed { ok, safe, base } = self.index(code, site, access, check);
        let base = if access.dereference.kind == AccessKind::Read {
            // Without a valid index the host gives an address of zeroes.
            base
        } else {
            let sink = self.sink_before(code, &self.analysis.index_checks[check]);
            let pair = code.edit.uvec(2);
            code.select(pair, ok, base, sink)
        };
        self.behind_root(code, access, base, safe)
    }

    /// The device address of a check's root, as a pair of words.
    fn base(&self, code: &mut Code<'_>, check: usize) -> Id {
        let row = self.layout.check_row(number(check));
        code.control_pair(self.shared.control, row, 0)
    }

    /// The pointer that an access has if its root is at `base`, and its index is another one, if
    /// there is one.
    fn behind_root(&self, code: &mut Code<'_>, access: &Access, base: Id, other: Option<Id>) -> Id {
        let start = code.pointer_of_pair(access.trace.start_type, base);
        let index = access.trace.distance.and_then(|distance| distance.index);
        let replaced = index.map(|(index, _)| index).zip(other);
        rebuild(code, &access.trace.steps, start, replaced)
    }

    /// The address from which a check's index 0 leads to the sink, as a pair of words.
    fn sink_before(&self, code: &mut Code<'_>, check: &IndexCheck) -> Id {
        let sink = code.control_pair(self.shared.control, control::SPARE, 1);
        if check.offset_bytes == 0 {
            return sink;
        }
        let math = self.math();
        let sink = math.address_of_pair(code, sink);
        let offset = math.constant(code.edit, u64::from(check.offset_bytes));
        let before = math.sub(code, sink, offset);
        math.to_pair(code, before)
    }

    /// Compares the index of an access with the count of its check.
    fn index(&self, code: &mut Code<'_>, site: u32, access: &Access, check: usize) -> Indexed {
        let (word, truth) = (code.edit.uint(32), code.edit.bool());
        let row = self.layout.check_row(number(check));
        let control = self.shared.control;
        let base = self.base(code, check);
        let count = code.control_word(control, row, 3);
        let none = code.edit.word(0);
        let index = access.trace.distance.and_then(|distance| distance.index);
        let Some((index, _)) = index else {
            // Index 0 is there unless nothing is.
            let ok = code.ids(Op::INotEqual, truth, &[count, none]);
            note(code, self.shared, site, ok, FaultValue::Index(none));
            return Indexed { ok, safe: None, base };
        };
        let of = code.edit.type_of(index).unwrap_or(word);
        let unsigned = if of == word { index } else { code.ids(Op::Bitcast, word, &[index]) };
        let reads = access.dereference.kind == AccessKind::Read;
        let (distance, fallback) = if self.variant.offset_roots {
            let first = code.control_word(control, row, 2);
            let distance = code.ids(Op::ISub, word, &[unsigned, first]);
            // A write to a refused element goes to the sink, at index 0.
            (distance, reads.then_some(first))
        } else {
            (unsigned, None)
        };
        let ok = code.ids(Op::ULessThan, truth, &[distance, count]);
        let fallback = match fallback {
            Some(first) if of != word => code.ids(Op::Bitcast, of, &[first]),
            Some(first) => first,
            None => code.edit.null(of),
        };
        let safe = code.select(of, ok, index, fallback);
        note(code, self.shared, site, ok, FaultValue::Index(unsigned));
        Indexed { ok, safe: Some(safe), base }
    }

    /// The address of an access, as the kernel computes it.
    fn address(&self, code: &mut Code<'_>, access: &Access) -> Id {
        let math = self.math();
        let of = code.edit.type_of(access.dereference.pointer).unwrap_or_default();
        if self.variant.integers == Integers::Native || code.edit.gives_address(of) {
            return math.address_of_pointer(code, access.dereference.pointer);
        }
        let mut address = math.address_of_pointer(code, access.trace.start);
        if access.trace.bytes != 0 {
            let bytes = math.constant(code.edit, access.trace.bytes);
            address = math.add(code, address, bytes);
        }
        for distance in code.distances(&access.trace.indices) {
            address = math.add(code, address, distance);
        }
        address
    }

    /// Checks an address against the segments, and adds the distance of its segment.
    fn by_address(&self, code: &mut Code<'_>, site: u32, access: &Access, check: usize) -> Id {
        let math = self.math();
        let address = self.address(code, access);
        let (ok, target) = self.checked(code, address, check);
        let faulty = math.to_pair(code, address);
        note(code, self.shared, site, ok, FaultValue::Address(faulty));
        self.device_pointer(code, access, address, target)
    }

    /// Checks all accesses of a joint by where it starts, once, and goes on from there.
    fn by_joint(&self, code: &mut Code<'_>, site: u32, access: &Access, part: JointMember) -> Id {
        let math = self.math();
        let address = self.address(code, access);
        let behind = math.constant(code.edit, part.bytes);
        let known = self.joints.borrow().get(&part.joint).copied();
        let start = known.unwrap_or_else(|| {
            let start = math.sub(code, address, behind);
            let check = self.analysis.joints[part.joint].check;
            let (ok, target) = self.checked(code, start, check);
            let faulty = math.to_pair(code, address);
            note(code, self.shared, site, ok, FaultValue::Address(faulty));
            self.joints.borrow_mut().insert(part.joint, target);
            target
        });
        let target = math.add(code, start, behind);
        self.device_pointer(code, access, address, target)
    }

    /// Whether an address passes a check, and the device address to use.
    fn checked(&self, code: &mut Code<'_>, address: Id, check: usize) -> (Id, Id) {
        let math = self.math();
        let moves = self.variant.translation == Translation::Segments;
        let compared = Compared::Span(number(check));
        let found = self.segments().find(code, address, compared, moves.then_some(Field::Target));
        let check = &self.analysis.address_checks[check];
        let ok = self.aligned(code, check.align_bytes, address, found.inside);
        let target = match found.field {
            Some(distance) => math.add(code, address, distance),
            None => address,
        };
        let half = u32::from(check.access.writes());
        let spare = code.control_pair(self.shared.control, control::SPARE, half);
        let spare = math.address_of_pair(code, spare);
        (ok, math.select(code, ok, target, spare))
    }

    /// `inside`, and the address is aligned as the access demands.
    fn aligned(&self, code: &mut Code<'_>, align: u32, address: Id, inside: Id) -> Id {
        if align == 1 {
            return inside;
        }
        let truth = code.edit.bool();
        let odd = self.math().has_bits(code, address, align - 1);
        let aligned = code.ids(Op::LogicalNot, truth, &[odd]);
        code.ids(Op::LogicalAnd, truth, &[inside, aligned])
    }

    /// Checks an access whose pages may be missing; its pieces are looked up from the result.
    pub(crate) fn check_paged(
        &self,
        code: &mut Code<'_>,
        site: u32,
        access: &Access,
    ) -> PagedAccess {
        let (ok, compared) = match access.check {
            PointerCheck::Index(check) => {
                (Some(self.index(code, site, access, check).ok), Compared::Extent)
            }
            PointerCheck::Address(check) => (None, Compared::Span(number(check))),
        };
        let address = self.address(code, access);
        let found = self.segments().find(code, address, compared, Some(Field::Target));
        let truth = code.edit.bool();
        let yes = code.edit.constant_true();
        let allowed = match ok {
            Some(ok) => ok,
            None => self.aligned(code, access.align, address, yes),
        };
        let inside = code.ids(Op::LogicalAnd, truth, &[found.inside, allowed]);
        PagedAccess {
            site,
            access: access.dereference.kind,
            address,
            allowed,
            inside,
            target: found.field.unwrap_or(address),
        }
    }

    /// The pointer to a translated address, over members whose decorations count: how a matrix is
    /// laid out is said by the member that it is, or is in, and by no pointer to it.
    fn device_pointer(&self, code: &mut Code<'_>, access: &Access, from: Id, to: Id) -> Id {
        let math = self.math();
        let trace = &access.trace;
        let decorated = trace.coherent || trace.place.is_laid_out_by_member();
        if !decorated || trace.steps.is_empty() {
            let of = code.edit.type_of(access.dereference.pointer).unwrap_or(trace.start_type);
            return math.to_pointer(code, of, to);
        }
        let start = math.address_of_pointer(code, trace.start);
        let distance = math.sub(code, to, from);
        let start = math.add(code, start, distance);
        let start = math.to_pointer(code, trace.start_type, start);
        rebuild(code, &trace.steps, start, None)
    }
}

/// Repeats access chains from another start, with another index.
fn rebuild(
    code: &mut Code<'_>,
    steps: &[Instruction],
    start: Id,
    replaced: Option<(Id, Id)>,
) -> Id {
    let mut pointer = start;
    for step in steps {
        let operand = |(position, operand): (usize, &Operand)| match (operand, replaced) {
            (_, _) if position == 0 => Operand::IdRef(pointer),
            (Operand::IdRef(id), Some((old, new))) if *id == old => Operand::IdRef(new),
            _ => operand.clone(),
        };
        let operands = step.operands.iter().enumerate().map(operand).collect();
        // Steps are instructions with a result.
        let of = step.result_type.unwrap_or_default();
        pointer = code.op(step.class.opcode, of, operands);
    }
    pointer
}

/// A position as a number in the kernel: there are fewer than words in the module.
pub(crate) fn number(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
