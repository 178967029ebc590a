//! From a module to the list of its accesses, and how each is checked.

use crate::analyse::access::{Access, JointMember, PointerCheck};
use crate::analyse::bases::other_uses;
use crate::analyse::effects::effects;
use crate::analyse::pointers::{Definitions, Trace};
use crate::analyse::sites::Dereference;
use crate::analyse::{joint, own_arrays, sites, split};
use crate::contract::analysis::{
    AccessKind, AddressCheck, Analysis, Check, IndexCheck, Joint, PointerUse, Root, Site,
};
use crate::contract::control;
use crate::contract::error::RewriteError;
use crate::ir::edit::Edit;
use crate::ir::instruction::Id;
use crate::ir::layouts::{Layouts, scalar_bytes, vector_parts};
use crate::load::sieve::Source;
use rspirv::dr::Instruction;
use rspirv::spirv::{Capability, Op};
use std::collections::HashMap;
use std::hash::Hash;

/// The accesses of a module and what is known of them, while they are being collected.
struct Collector<'p> {
    kernel: Definitions<'p>,
    source: &'p Source,
    analysis: Analysis,
    accesses: Vec<Access>,
    uses: HashMap<PointerUse, usize>,
    roots: HashMap<Root, usize>,
    index_checks: HashMap<IndexCheck, usize>,
    address_checks: HashMap<AddressCheck, usize>,
}

/// Finds the accesses of a module. `origins` gives, per function, the position of its first
/// instruction among those of the source.
pub(crate) fn collect(
    edit: &Edit,
    layouts: &Layouts,
    source: &Source,
    origins: &[usize],
) -> Result<(Analysis, Vec<Access>), RewriteError> {
    let mut collector = Collector {
        kernel: Definitions::new(edit, layouts),
        source,
        analysis: Analysis::default(),
        accesses: Vec::new(),
        uses: HashMap::new(),
        roots: HashMap::new(),
        index_checks: HashMap::new(),
        address_checks: HashMap::new(),
    };
    let mut own = Vec::new();
    for (f, (function, &origin)) in edit.module.functions.iter().zip(origins).enumerate() {
        // OpFunction and the parameters come before the first label.
        let mut position = origin + 1 + function.parameters.len();
        for (b, block) in function.blocks.iter().enumerate() {
            position += 1;
            for (i, instruction) in block.instructions.iter().enumerate() {
                collector.visit((f, b, i), position, instruction)?;
                own.extend(own_sites(edit, source, position, instruction)?);
                position += 1;
            }
        }
    }
    collector.analysis.sites.extend(own);
    collector.join(edit);
    let Collector { mut analysis, accesses, kernel, .. } = collector;
    analysis.effects = effects(&kernel, &accesses, &analysis.index_checks);
    analysis.other_uses = other_uses(&kernel);
    Ok((analysis, accesses))
}

/// The sites of an instruction that indexes the kernel's own variables.
fn own_sites(
    edit: &Edit,
    source: &Source,
    position: usize,
    instruction: &Instruction,
) -> Result<impl Iterator<Item = Site>, RewriteError> {
    let op = instruction.class.opcode;
    let count =
        own_arrays::count(edit, instruction).map_err(|why| source.refuse(position, op, why))?;
    let site = Site {
        instruction: sites::name(op),
        access: AccessKind::Read,
        check: Check::Own,
        line: source.line(position),
    };
    Ok(std::iter::repeat_n(site, count))
}

impl Collector<'_> {
    fn visit(
        &mut self,
        at: (usize, usize, usize),
        position: usize,
        instruction: &Instruction,
    ) -> Result<(), RewriteError> {
        let op = instruction.class.opcode;
        let refuse = |reason: &str| self.source.refuse(position, op, reason);
        if let Some(reason) = sites::refusal(&self.kernel, instruction) {
            return Err(refuse(reason));
        }
        if op == Op::LoopMerge {
            self.analysis.loops += 1;
            self.analysis.loop_lines.push(self.source.line(position));
        }
        for dereference in sites::dereferences(&self.kernel, instruction) {
            let trace = self.kernel.trace(dereference.pointer);
            let trace =
                trace.ok_or_else(|| refuse("the type of what it accesses has no layout"))?;
            let (size, align) = self.measure(&dereference, &trace).map_err(refuse)?;
            let check = self.check(&dereference, &trace, size, align);
            self.note_use(&dereference, &trace, check);
            self.analysis.sites.push(Site {
                instruction: sites::name(op),
                access: dereference.kind,
                check: check.into(),
                line: self.source.line(position),
            });
            self.accesses.push(Access { at, dereference, check, trace, align, joint: None });
        }
        Ok(())
    }

    /// Joins the accesses that can be checked together. There are as many sites as plans by now.
    fn join(&mut self, edit: &Edit) {
        let mut rest = 0;
        while let Some(&Access { at: (f, b, _), .. }) = self.accesses.get(rest) {
            let all = self.accesses.iter().enumerate().skip(rest);
            let of_block = all.take_while(|(_, access)| (access.at.0, access.at.1) == (f, b));
            let of_block: Vec<(usize, &Access)> = of_block.collect();
            rest += of_block.len();
            let block = &edit.module.functions[f].blocks[b];
            for group in
                joint::groups(&self.kernel, block, &of_block, &self.analysis.address_checks)
            {
                let check = position(
                    &mut self.address_checks,
                    &mut self.analysis.address_checks,
                    group.check,
                );
                let joint = self.analysis.joints.len();
                for &(access, bytes) in &group.members {
                    self.accesses[access].joint = Some(JointMember { joint, bytes });
                }
                self.analysis.joints.push(Joint { check, members: group.members });
            }
        }
    }

    /// Size and alignment of an access, or why it cannot be rewritten.
    fn measure(
        &self,
        dereference: &Dereference,
        trace: &Trace,
    ) -> Result<(u32, u32), &'static str> {
        let Definitions { edit, layouts, .. } = &self.kernel;
        let extent = layouts.extent(edit, trace.place);
        let (size, widest) =
            extent.ok_or("the size of what it accesses is not fixed; access its parts")?;
        if size == 0 || size > control::SPARE_BYTES {
            return Err("it accesses nothing, or more than 64 KiB at once; access parts");
        }
        // Atomic operations are done on whole, aligned values, vectors included.
        let align = match dereference.kind {
            AccessKind::Atomic => u32::try_from(size).unwrap_or_default(),
            // glslang promises the alignment that a column has where it is stored by columns.
            _ if Layouts::has_gaps(edit, trace.place) => widest,
            _ => dereference.aligned.unwrap_or(widest),
        };
        if !align.is_power_of_two() || align > 4096 {
            return Err("its alignment is no power of two up to 4096");
        }
        // Numbers of 64 bits may be accessed in two words.
        if align < widest.min(4) {
            return Err(
                "its alignment is less than the size of its widest number, or than a word; \
                        raise buffer_reference_align",
            );
        }
        let pieces = split::pieces(edit, layouts, trace.place, align);
        let pieces = pieces.ok_or("it accesses too many numbers at once; copy them in a loop")?;
        if pieces.len() > 1 && !pieces.iter().all(|piece| is_extractable(edit, piece.of)) {
            return Err(
                "its numbers of 8 or 16 bits may be on two pages; raise the alignment, or \
                        compute with such numbers, so that they can be taken apart",
            );
        }
        let size = u32::try_from(size).map_err(|_| "it accesses too much at once")?;
        Ok((size, align))
    }

    /// Notes how the pointer that an access starts from is used.
    fn note_use(&mut self, dereference: &Dereference, trace: &Trace, check: PointerCheck) {
        let align_bytes = match check {
            PointerCheck::Index(check) => self.analysis.index_checks[check].align_bytes,
            PointerCheck::Address(_) => 1,
        };
        let used = PointerUse {
            push_offset_bytes: self.kernel.push_offset(trace.start),
            pointer_type: trace.start_type,
            align_bytes,
            access: dereference.kind,
        };
        position(&mut self.uses, &mut self.analysis.uses, used);
    }

    /// How an access is checked: by its index where that suffices.
    fn check(
        &mut self,
        dereference: &Dereference,
        trace: &Trace,
        size: u32,
        align: u32,
    ) -> PointerCheck {
        if let Some(check) = self.index_check(dereference, trace, size, align) {
            return PointerCheck::Index(position(
                &mut self.index_checks,
                &mut self.analysis.index_checks,
                check,
            ));
        }
        let check = AddressCheck { size_bytes: size, align_bytes: align, access: dereference.kind };
        PointerCheck::Address(position(
            &mut self.address_checks,
            &mut self.analysis.address_checks,
            check,
        ))
    }

    fn index_check(
        &mut self,
        dereference: &Dereference,
        trace: &Trace,
        size: u32,
        align: u32,
    ) -> Option<IndexCheck> {
        let offset_bytes = self.kernel.push_offset(trace.start)?;
        let distance = trace.distance?;
        let (index, stride) = distance.index.unzip();
        if index.is_some_and(|index| !self.kernel.is_word(index)) {
            return None;
        }
        let offset = u32::try_from(distance.bytes).ok()?;
        let stride = stride.unwrap_or_default();
        // The same limits hold for the host's signed computation with indices.
        if offset % align != 0 || stride % align != 0 || (index.is_some() && stride == 0) {
            return None;
        }
        let root = Root::Push { offset_bytes };
        let root = position(&mut self.roots, &mut self.analysis.roots, root);
        Some(IndexCheck {
            root,
            stride_bytes: stride,
            offset_bytes: offset,
            size_bytes: size,
            align_bytes: align,
            access: dereference.kind,
        })
    }
}

/// Whether numbers of a type may be taken out of composites and put together again.
///
/// Without a capability, numbers of 8 and 16 bits can only be loaded, stored and converted.
fn is_extractable(edit: &Edit, of: Id) -> bool {
    let of = vector_parts(edit, of).map_or(of, |(part, _)| part);
    let needed = match (edit.global(of).map(|of| of.class.opcode), scalar_bytes(edit, of)) {
        (Some(Op::TypeInt), Some(1)) => Capability::Int8,
        (Some(Op::TypeInt), Some(2)) => Capability::Int16,
        (Some(Op::TypeFloat), Some(2)) => Capability::Float16,
        _ => return true,
    };
    edit.declares(needed)
}

/// The position of an element in a list, to which it is added if it is new.
fn position<T: Copy + Eq + Hash>(known: &mut HashMap<T, usize>, list: &mut Vec<T>, of: T) -> usize {
    *known.entry(of).or_insert_with(|| {
        list.push(of);
        list.len() - 1
    })
}
