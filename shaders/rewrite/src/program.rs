//! A kernel that was parsed and analysed once, to be rewritten for launches.

use crate::analyse::access::{Access, PointerCheck};
use crate::analyse::collect::collect;
use crate::contract::analysis::Analysis;
use crate::contract::control::Layout;
use crate::contract::error::RewriteError;
use crate::contract::variant::{Fold, Integers, Variant};
use crate::emit::accesses::rewrite_accesses;
use crate::emit::entry::{wrap_entry, wrap_folded};
use crate::emit::grid::Virtual;
use crate::emit::offsets::widen;
use crate::emit::own_arrays::check_indices;
use crate::emit::proofs::Proofs;
use crate::emit::shared::Shared;
use crate::emit::size::Size;
use crate::emit::translate::{Translator, number};
use crate::footprint::Footprints;
use crate::ir::address::Math;
use crate::ir::edit::Edit;
use crate::ir::instruction::{Id, id_operand};
use crate::ir::layouts::Layouts;
use crate::load::keep::{keep_entry, keep_reachable, keep_used};
use crate::load::places::Places;
use crate::load::sieve::Source;
use crate::loops::bound::bound_loops;
use crate::loops::dead::remove_beside_loops;
use crate::reflect::Reflection;
use rspirv::binary::Assemble;
use rspirv::dr::Operand;
use rspirv::spirv::{AddressingModel, BuiltIn, Capability, Decoration, Op};
use std::{collections::HashSet, sync::OnceLock};

/// A kernel that was parsed and analysed: [`Program::rewrite`] makes the form that a launch needs.
#[derive(Clone, Debug)]
pub struct Program {
    edit: Edit,
    layouts: Layouts,
    accesses: Vec<Access>,
    analysis: Analysis,
    /// How many words the kernel has.
    words: usize,
    /// The places of functions, loops and switches in the source.
    places: Places,
    /// The workgroup, if it is known.
    local_size: Option<[u32; 3]>,
    /// Made when somebody asks: rewriting needs none.
    footprints: OnceLock<Footprints>,
}

impl Program {
    /// Parses a module, and finds out how each of its accesses is to be checked.
    ///
    /// The entry point is the one with the given name, or the module's only one for compute.
    /// Others are removed, with their functions and variables. The words may be anything; they need
    /// not be valid SPIR-V.
    ///
    /// # Errors
    ///
    /// * [`RewriteError::Damaged`] when the words are no module.
    /// * [`RewriteError::Entry`] when there is no such entry point, or there are several.
    /// * [`RewriteError::Refused`] when an instruction cannot be rewritten exactly.
    pub fn parse(words: &[u32], entry: Option<&str>) -> Result<Self, RewriteError> {
        let mut source = Source::read(words)?;
        let name = keep_entry(&mut source, entry)?;
        let origins = keep_reachable(&mut source);
        keep_used(&mut source.module);
        check_models(&source)?;
        let places = Places::of(&source, &origins);
        let module = std::mem::take(&mut source.module);
        let edit = Edit::new(module)?;
        check_builtins(&edit)?;
        let layouts = Layouts::new(&edit);
        let (mut analysis, accesses) = collect(&edit, &layouts, &source, &origins)?;
        analysis.entry = name;
        analysis.control_set = free_set(&edit);
        analysis.int64 = edit.declares(Capability::Int64);
        let local_size = Reflection::of_entry(words, Some(&analysis.entry));
        let local_size = local_size.ok().map(|found| found.local_size);
        let (words, footprints) = (words.len(), OnceLock::new());
        Ok(Self { edit, layouts, accesses, analysis, words, places, local_size, footprints })
    }

    /// What launches of the kernel touch. The first call analyses the kernel.
    #[must_use]
    pub fn footprints(&self) -> &Footprints {
        self.footprints.get_or_init(|| {
            let Self { edit, layouts, accesses, analysis, local_size, .. } = self;
            Footprints::new(edit, layouts, accesses, analysis, *local_size)
        })
    }

    /// The facts about the kernel that hold for all variants.
    #[must_use]
    pub fn analysis(&self) -> &Analysis {
        &self.analysis
    }

    /// Makes a variant of the kernel: the words of a module with one entry point of the same name.
    ///
    /// # Errors
    ///
    /// * [`RewriteError::TooManyChecks`] when the control block does not hold what it needs.
    /// * [`RewriteError::TooLarge`] when it would have more than [`most_words`](crate::most_words).
    /// * [`RewriteError::Refused`] when a loop cannot be bounded, the entry point has parameters,
    ///   or the launch is folded and the kernel does more with a built-in value than load it.
    pub fn rewrite(&self, variant: &Variant) -> Result<Vec<u32>, RewriteError> {
        let variant = &variant.normalised(&self.analysis);
        let layout = Layout::new(&self.analysis, variant).ok_or(RewriteError::TooManyChecks)?;
        self.check_addresses(variant)?;
        let mut size = Size::of(self.words);
        let proofs = self.proofs(variant);
        let (mut edit, shared) = self.translated(variant, &proofs, &layout, &mut size)?;
        check_indices(&mut edit, &shared, &proofs, number(self.accesses.len()))?;
        if variant.proved.loops {
            remove_beside_loops(&mut edit);
        } else {
            bound_loops(&mut edit, &shared, variant, &self.analysis.effects, &self.places)?;
        }
        if variant.wide_offsets {
            // The pass has added structures to the kernel's own.
            let layouts = Layouts::new(&edit);
            widen(&mut edit, &layouts, Math { integers: variant.integers })?;
        }
        let grid = match layout.grid_row() {
            Some(row) => Some(Virtual::declare(&mut edit, shared.control, row, variant.fold)?),
            None => None,
        };
        let (analysis, places) = (&self.analysis, &self.places);
        wrap_entry(&mut edit, &shared, variant, analysis, &layout, places, grid.as_ref())?;
        let words = edit.finish().assemble();
        size.set(words.len())?;
        Ok(words)
    }

    /// Where what is known of a launch holds, for a normalised variant.
    pub(crate) fn proofs(&self, variant: &Variant) -> Proofs {
        Proofs::of(&self.edit, variant)
    }

    /// Refuses accesses whose addresses cannot be computed without 64-bit integers.
    fn check_addresses(&self, variant: &Variant) -> Result<(), RewriteError> {
        let all = variant.translation.faults() || variant.wide_offsets;
        let by_address = |access: &&Access| all || matches!(access.check, PointerCheck::Address(_));
        let mut accesses = self.accesses.iter().filter(by_address);
        match accesses.find(|access| !self.edit.gives_address(access.trace.start_type)) {
            Some(access) if variant.integers == Integers::Pairs => {
                let function = self.edit.module.functions[access.at.0].def_id().unwrap_or_default();
                let reason = "it follows pointers to numbers of 8 or 16 bits on a device without \
                              64-bit integers; declare the numbers as part of a structure";
                Err(self.places.refuse(function, Op::Function, reason))
            }
            _ => Ok(()),
        }
    }

    /// The kernel with its accesses rewritten, and the variables that they use.
    ///
    /// # Errors
    ///
    /// The form outgrows its bound.
    pub(crate) fn translated(
        &self,
        variant: &Variant,
        proofs: &Proofs,
        layout: &Layout,
        size: &mut Size,
    ) -> Result<(Edit, Shared), RewriteError> {
        let mut edit = self.edit.clone();
        edit.allow_physical_pointers();
        let shared = Shared::declare(&mut edit, self.analysis.control_set, 0);
        let (analysis, joints) = (&self.analysis, Default::default());
        let translator = Translator { shared: &shared, analysis, layout, variant, proofs, joints };
        rewrite_accesses(&mut edit, &translator, &self.layouts, &self.accesses, size)?;
        Ok((edit, shared))
    }
}

/// Makes a form of a kernel without checks. Its words are the kernel's, except that built-in values
/// are those of the virtual grid, and that the kernel computes the offsets of access chains itself
/// if `offsets` names the integers for that.
///
/// If folded, its control block has the rows of the grid alone, in the first descriptor set that
/// the kernel does not use. The kernel may contain instructions that [`Program::parse`] refuses.
///
/// # Errors
///
/// * [`RewriteError::Damaged`] when the words are no module.
/// * [`RewriteError::Entry`] when there is no such entry point, or there are several.
/// * [`RewriteError::Refused`] when the entry point has parameters, or the kernel does more with a
///   built-in value than load it.
pub fn unchecked(
    words: &[u32],
    entry: Option<&str>,
    fold: Fold,
    offsets: Option<Integers>,
) -> Result<Vec<u32>, RewriteError> {
    let mut source = Source::read(words)?;
    keep_entry(&mut source, entry)?;
    let origins = keep_reachable(&mut source);
    keep_used(&mut source.module);
    let places = Places::of(&source, &origins);
    let mut edit = Edit::new(std::mem::take(&mut source.module))?;
    if let Some(integers) = offsets {
        let layouts = Layouts::new(&edit);
        widen(&mut edit, &layouts, Math { integers })?;
    }
    if fold != Fold::None {
        let set = free_set(&edit);
        let control = edit.control(set, 0);
        let grid = Virtual::declare(&mut edit, control, 0, fold)?;
        wrap_folded(&mut edit, &places, &grid)?;
    }
    Ok(edit.finish().assemble())
}

/// Refuses modules whose pointers are not followed: those of OpenCL.
fn check_models(source: &Source) -> Result<(), RewriteError> {
    let model = source.module.memory_model.as_ref();
    let model = model.ok_or_else(|| RewriteError::damaged("it has no memory model"))?;
    match model.operands.first() {
        Some(Operand::AddressingModel(
            AddressingModel::Logical | AddressingModel::PhysicalStorageBuffer64,
        )) => Ok(()),
        _ => Err(source.refuse_model(
            "all its pointers are addresses, as in OpenCL; compile the kernel for Vulkan",
        )),
    }
}

/// Refuses variables of the kernel that reports read, and whose type is not the built-in value's.
/// Validators overlook some.
fn check_builtins(edit: &Edit) -> Result<(), RewriteError> {
    let is_word = |of: Id| edit.integer_width(of) == Some(32);
    let fits = |builtin, parts: u32| {
        edit.builtin_type(builtin).is_none_or(|of| match (parts, edit.global(of)) {
            (1, _) => is_word(of),
            (_, Some(declared)) => {
                declared.class.opcode == Op::TypeVector
                    && id_operand(declared, 0).is_some_and(is_word)
                    && declared.operands.get(1) == Some(&Operand::LiteralBit32(parts))
            }
            _ => false,
        })
    };
    if fits(BuiltIn::WorkgroupId, 3) && fits(BuiltIn::LocalInvocationIndex, 1) {
        return Ok(());
    }
    Err(RewriteError::damaged("a built-in variable has another type than its value"))
}

/// The first descriptor set that the kernel does not use.
fn free_set(edit: &Edit) -> u32 {
    let used: HashSet<u32> = edit
        .module
        .annotations
        .iter()
        .filter_map(|annotation| match &annotation.operands[..] {
            [_, Operand::Decoration(Decoration::DescriptorSet), Operand::LiteralBit32(set)] => {
                Some(*set)
            }
            _ => None,
        })
        .collect();
    (0..=u32::MAX).find(|set| !used.contains(set)).unwrap_or_default()
}
