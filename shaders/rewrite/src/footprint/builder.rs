//! The state of a kernel that is taken apart, and what the ids in it stand for.

use crate::analyse::access::Access;
use crate::analyse::own_arrays;
use crate::contract::analysis::AccessKind;
use crate::footprint::acts::Acts;
use crate::footprint::data::{Datum, Memory, Variable};
use crate::footprint::flow::Flow;
use crate::footprint::graph::Graph;
use crate::footprint::inputs;
use crate::footprint::nest::Nest;
use crate::footprint::op::{NO_SIGNED_WRAP, NO_UNSIGNED_WRAP, NodeId};
use crate::footprint::shapes::Shapes;
use crate::footprint::slots::{Slot, Slots};
use crate::footprint::unknown::Unknown;
use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use crate::ir::layouts::{Layouts, Place, scalar_bytes, vector_parts};
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::{BuiltIn, Decoration, Op, StorageClass};
use std::collections::HashMap;
use std::rc::Rc;

/// A kernel before it is taken apart.
pub(super) struct Kernel<'p> {
    pub(super) edit: &'p Edit,
    pub(super) layouts: &'p Layouts,
    pub(super) accesses: &'p [Access],
    pub(super) local_size: [u32; 3],
}

/// A kernel that is taken apart, block by block.
pub(super) struct Builder<'p> {
    pub(super) graph: Graph,
    pub(super) shapes: Shapes<'p>,
    pub(super) layouts: &'p Layouts,
    pub(super) slots: Slots,
    pub(super) acts: Vec<Acts>,
    pub(super) flow: &'p Flow,
    pub(super) nest: &'p Nest,
    /// The block and the call that are being taken apart.
    pub(super) block: usize,
    pub(super) call: usize,
    pub(super) values: HashMap<(usize, Id), Datum>,
    pub(super) globals: HashMap<Id, Option<Datum>>,
    pub(super) results: HashMap<usize, (Slot, Rc<[u8]>)>,
    /// OpPhi at the starts of loops: the node of each number, and which number of which operand.
    pub(super) open: Vec<OpenPhi>,
    /// The sites of each instruction, by function, block and position.
    pub(super) sites: Sites,
    pub(super) own_sites: HashMap<(usize, usize, usize), usize>,
    pub(super) loop_numbers: HashMap<(usize, usize), usize>,
    pub(super) flags: HashMap<Id, u8>,
    builtins: HashMap<Id, BuiltIn>,
    pub(super) extended: Option<Id>,
    local_size: [u32; 3],
    pub(super) private: Vec<Id>,
}

/// The accesses of an instruction, by function, block and position.
type Sites = HashMap<(usize, usize, usize), Vec<At>>;

/// An access of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) site: usize,
    pub(super) operand: usize,
    pub(super) bytes: u32,
    pub(super) align: u32,
    pub(super) is_whole: bool,
}

/// A number of an OpPhi whose operands are still to come.
pub(super) struct OpenPhi {
    pub(super) call: usize,
    pub(super) block: usize,
    pub(super) leaf: usize,
    pub(super) node: NodeId,
    /// The value for each way.
    pub(super) operands: Vec<Option<Id>>,
}

impl<'p> Builder<'p> {
    pub(super) fn new(kernel: &Kernel<'p>, flow: &'p Flow, nest: &'p Nest) -> Self {
        let edit = kernel.edit;
        let mut builder = Self {
            graph: Graph::default(),
            shapes: Shapes::new(edit),
            layouts: kernel.layouts,
            slots: Slots::default(),
            acts: vec![Acts::default(); nest.parts.len()],
            flow,
            nest,
            block: 0,
            call: 0,
            values: HashMap::new(),
            globals: HashMap::new(),
            results: HashMap::new(),
            open: Vec::new(),
            sites: sites(kernel),
            own_sites: HashMap::new(),
            loop_numbers: HashMap::new(),
            flags: HashMap::new(),
            builtins: HashMap::new(),
            extended: None,
            local_size: kernel.local_size,
            private: Vec::new(),
        };
        builder.note_positions(kernel.accesses.len());
        builder.note_declarations();
        builder
    }

    /// Numbers the indices into own variables and the loops, as the analysis of accesses does.
    fn note_positions(&mut self, mut site: usize) {
        let edit = self.shapes.edit;
        let mut loops = 0;
        for (f, function) in edit.module.functions.iter().enumerate() {
            for (b, block) in function.blocks.iter().enumerate() {
                for (i, instruction) in block.instructions.iter().enumerate() {
                    self.own_sites.insert((f, b, i), site);
                    site += own_arrays::indices(edit, instruction).len();
                    if instruction.class.opcode == Op::LoopMerge {
                        self.loop_numbers.insert((f, b), loops);
                        loops += 1;
                    }
                }
            }
        }
    }

    fn note_declarations(&mut self) {
        let module = &self.shapes.edit.module;
        for annotation in &module.annotations {
            let Some(id) = id_operand(annotation, 0) else { continue };
            match (annotation.class.opcode, annotation.operands.get(1..)) {
                (Op::Decorate, Some([Operand::Decoration(Decoration::NoSignedWrap), ..])) => {
                    *self.flags.entry(id).or_default() |= NO_SIGNED_WRAP;
                }
                (Op::Decorate, Some([Operand::Decoration(Decoration::NoUnsignedWrap), ..])) => {
                    *self.flags.entry(id).or_default() |= NO_UNSIGNED_WRAP;
                }
                (Op::Decorate, Some([_, Operand::BuiltIn(of), ..])) => {
                    self.builtins.insert(id, *of);
                }
                _ => {}
            }
        }
        let imports = module.ext_inst_imports.iter();
        let name = Operand::LiteralString("GLSL.std.450".to_owned());
        let mut found = imports.filter(|import| import.operands.first() == Some(&name));
        self.extended = found.next().and_then(|import| import.result_id);
        let globals = module.types_global_values.iter();
        let private = Operand::StorageClass(StorageClass::Private);
        let of_private = globals.filter(|declared| {
            declared.class.opcode == Op::Variable && declared.operands.first() == Some(&private)
        });
        self.private = of_private.filter_map(|declared| declared.result_id).collect();
    }

    /// The result that an id stands for.
    pub(super) fn datum(&mut self, id: Id) -> Option<Datum> {
        if let Some(datum) = self.values.get(&(self.call, id)) {
            return Some(datum.clone());
        }
        if let Some(known) = self.globals.get(&id) {
            return known.clone();
        }
        let found = self.global(id);
        self.globals.insert(id, found.clone());
        found
    }

    fn global(&mut self, id: Id) -> Option<Datum> {
        let edit = self.shapes.edit;
        let declared = edit.global(id)?;
        if declared.class.opcode != Op::Variable {
            return inputs::constant(&mut self.graph, &mut self.shapes, id);
        }
        let (class, of) = edit.pointer_parts(declared.result_type?)?;
        let memory = match class {
            StorageClass::PushConstant => Memory::Push { bytes: Some(0), place: Place::new(of) },
            StorageClass::Input => {
                let widths = self.shapes.widths(of)?;
                let builtin = self.builtins.get(&id).copied();
                let leaves = inputs::builtin(&mut self.graph, builtin, self.local_size, &widths);
                Memory::Input { leaves, leaf: Some(0) }
            }
            _ => Memory::Shared,
        };
        Some(Datum::Variable(Variable { memory, of }))
    }

    /// A variable of the kernel's own, which starts here.
    pub(super) fn declare(&mut self, id: Id) -> Result<Datum, Unknown> {
        let edit = self.shapes.edit;
        let of = edit.type_of(id).and_then(|of| edit.pointer_parts(of));
        let (_, of) = of.ok_or(Unknown::Damaged)?;
        let Some(widths) = self.shapes.widths(of) else {
            return Ok(Datum::Variable(Variable { memory: Memory::Large, of }));
        };
        let first = self.slots.add(&widths)?;
        let memory = Memory::Own { first, count: widths.len(), leaf: Some(0) };
        for (slot, &width) in (first..).zip(widths.iter()) {
            let undefined = self.graph.undefined(width);
            self.write(slot, undefined);
        }
        Ok(Datum::Variable(Variable { memory, of }))
    }

    pub(super) fn operand(&mut self, instruction: &Instruction, at: usize) -> Option<Datum> {
        self.datum(id_operand(instruction, at)?)
    }

    /// The only number of a value.
    pub(super) fn single(&mut self, id: Id) -> Option<NodeId> {
        match self.datum(id)?.leaves()?[..] {
            [node] => Some(node),
            _ => None,
        }
    }

    pub(super) fn define(&mut self, id: Option<Id>, datum: Option<Datum>) {
        if let (Some(id), Some(datum)) = (id, datum) {
            self.values.insert((self.call, id), datum);
        }
    }

    pub(super) fn slot(&mut self, slot: Slot) -> NodeId {
        self.slots.read(&mut self.graph, self.nest, slot, self.block)
    }

    pub(super) fn write(&mut self, slot: Slot, value: NodeId) {
        self.slots.write(slot, self.block, value);
    }

    /// A value of which nothing is known, computed from others.
    pub(super) fn unknown(&mut self, widths: &[u8], from: &[NodeId]) -> Datum {
        Datum::Leaves(widths.iter().map(|&width| self.graph.unknown(width, from)).collect())
    }

    pub(super) fn undefined(&mut self, widths: &[u8]) -> Datum {
        Datum::Leaves(widths.iter().map(|&width| self.graph.undefined(width)).collect())
    }
}

/// The accesses of each instruction.
fn sites(kernel: &Kernel<'_>) -> Sites {
    let mut sites = Sites::new();
    for (site, access) in kernel.accesses.iter().enumerate() {
        let extent = kernel.layouts.extent(kernel.edit, access.place());
        let (bytes, widest) = extent.unwrap_or((u64::MAX, 1));
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // Checked forms access a number of 64 bits in two words if it is aligned to less, and do
        // not rely on a promise that compilers break. The kernel's own words do both.
        let promised = access.dereference.aligned.unwrap_or(1);
        let align = access.align.max(widest).max(promised);
        let of = access.place().of;
        let (number, count) = vector_parts(kernel.edit, of).unwrap_or((of, 1));
        let numbers = scalar_bytes(kernel.edit, number).map(|number| number.saturating_mul(count));
        let is_whole = numbers == Some(bytes) && access.dereference.kind == AccessKind::Write;
        let at = At { site, operand: access.dereference.operand, bytes, align, is_whole };
        sites.entry(access.at).or_default().push(at);
    }
    sites
}
