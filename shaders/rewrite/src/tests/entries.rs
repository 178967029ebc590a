//! Modules with several entry points: what is declared for each, and each rewritten by itself.

use super::forms::variants;
use super::tools::{assemble, validate};
use crate::contract::error::RewriteError;
use crate::program::Program;
use crate::{ReflectError, Reflection};
use rspirv::dr::{Module, Operand, load_words};
use rspirv::spirv::{BuiltIn, Op, StorageClass};
use std::collections::HashSet;

const FUNCTIONS: &str = include_str!("entries.spvasm");

/// The entry points: the name, the function, its input, and what else it uses.
///
/// As the assembler numbers results in their order, the push constants of `sum` have number 4, and
/// `Aligned 4` in `fill` must not be taken for them.
const ENTRIES: [(&str, &str, &str); 6] = [
    ("GLCompute %sum \"sum\"", "%sum_id", "%memory %sum_push"),
    ("GLCompute %fill \"fill\"", "%fill_id", "%fill_push"),
    ("GLCompute %fill \"again\"", "%fill_id", "%fill_push"),
    ("GLCompute %bound \"bound\"", "", "%buffer"),
    ("GLCompute %idle \"idle\"", "", ""),
    ("Fragment %other \"fill\"", "", ""),
];

const FOUND: &str = "`sum`, `fill`, `again`, `bound`, `idle`";

/// The facts about each entry point: workgroup size, bytes of push constants, descriptors.
const EXPECTED: [(&str, [u32; 3], u32, u32); 5] = [
    ("sum", [16, 2, 1], 24, 0),
    ("fill", [64, 1, 1], 12, 0),
    ("again", [64, 1, 1], 12, 0),
    ("bound", [8, 1, 1], 0, 1),
    ("idle", [1, 2, 3], 0, 0),
];

/// The module up to the execution modes, with some of the entry points.
fn head(target: &str, entries: &[(&str, &str, &str)]) -> String {
    let mut head = "OpCapability Shader
        OpCapability PhysicalStorageBufferAddresses
        OpExtension \"SPV_KHR_physical_storage_buffer\"
        OpMemoryModel PhysicalStorageBuffer64 GLSL450\n"
        .to_owned();
    for (entry, input, others) in entries {
        // SPIR-V 1.3 lists input and output alone, later versions all that is used.
        let others = if target == "vulkan1.1" { "" } else { others };
        head.push_str(&format!("OpEntryPoint {entry} {input} {others}\n"));
    }
    head
}

/// The module for each version of SPIR-V that lists variables in its own way.
fn modules() -> Vec<(&'static str, Vec<u32>)> {
    let targets = ["vulkan1.1", "vulkan1.2", "vulkan1.3"];
    let module = |target| {
        let words = assemble(&format!("{}{FUNCTIONS}", head(target, &ENTRIES)), target)?;
        validate(&words, target);
        Some((target, words))
    };
    targets.into_iter().filter_map(module).collect()
}

#[test]
fn declarations_belong_to_the_entry_point() {
    for (target, words) in modules() {
        for (entry, local_size, push_bytes, descriptors) in EXPECTED {
            let reflection = Reflection::of_entry(&words, Some(entry)).expect(entry);
            assert_eq!(reflection.entry, entry);
            assert_eq!(reflection.local_size, local_size, "{target} {entry}");
            assert_eq!(reflection.push_bytes, push_bytes, "{target} {entry}");
            assert_eq!(reflection.descriptors, descriptors, "{target} {entry}");
        }
    }
}

#[test]
fn an_entry_point_has_to_be_named_and_there() {
    for (_, words) in modules() {
        let several = Reflection::of(&words).expect_err("there are five");
        assert_eq!(several, ReflectError::SeveralEntries { found: FOUND.to_owned() });
        let missing = Reflection::of_entry(&words, Some("main")).expect_err("it is not there");
        let (wanted, found) = ("main".to_owned(), FOUND.to_owned());
        assert_eq!(missing, ReflectError::NoSuchEntry { wanted, found });
        assert!(missing.to_string().contains("`main`; it has `sum`"), "{missing}");
        let missing = Program::parse(&words, Some("main")).map(|_| ()).expect_err("as above");
        let (wanted, found) = ("`main`".to_owned(), FOUND.to_owned());
        assert_eq!(missing, RewriteError::Entry { wanted, found });
    }
}

#[test]
fn the_rewritten_module_has_one_entry_point() {
    for (target, words) in modules() {
        for (entry, local_size, push_bytes, descriptors) in EXPECTED {
            let program = Program::parse(&words, Some(entry)).expect(entry);
            assert_eq!(program.analysis().control_set, descriptors, "the bound set is its own");
            for variant in variants() {
                let words = program.rewrite(&variant).expect("it is small");
                validate(&words, &format!("{target} {entry} {variant:?}"));
                let reflection = Reflection::of(&words).expect("it has one");
                assert_eq!(reflection.entry, entry);
                assert_eq!(reflection.local_size, local_size);
                assert_eq!(reflection.push_bytes, push_bytes);
                assert_eq!(reflection.descriptors, descriptors + 1, "and the control block");
                let module = load_words(&words).expect("it was validated");
                assert_eq!(module.entry_points.len(), 1);
                assert_eq!(module.execution_modes.len(), 1);
                let of_builtins = builtins(&module);
                let distinct: HashSet<_> = of_builtins.iter().collect();
                assert_eq!(distinct.len(), of_builtins.len(), "{entry}: {of_builtins:?}");
                assert_eq!(
                    variables(&module, StorageClass::Workgroup),
                    usize::from(entry == "sum")
                );
            }
        }
    }
}

/// The built-in values for which there are variables; each once, or two may be in one interface.
fn builtins(module: &Module) -> Vec<BuiltIn> {
    let operands = module.annotations.iter().flat_map(|annotation| &annotation.operands);
    let builtin = |operand: &Operand| match operand {
        Operand::BuiltIn(builtin) => Some(*builtin),
        _ => None,
    };
    operands.filter_map(builtin).collect()
}

fn variables(module: &Module, class: StorageClass) -> usize {
    let declared = module.types_global_values.iter();
    let wanted = Some(&Operand::StorageClass(class));
    declared.filter(|i| i.class.opcode == Op::Variable && i.operands.first() == wanted).count()
}

/// The whole module with lines behind its decorations and behind its constants.
fn extended(decorations: &str, constants: &str) -> Option<Vec<u32>> {
    let (types, many) = ("       %void = OpTypeVoid", "      %count = OpTypeFunction");
    let text = FUNCTIONS.replacen(types, &format!("{decorations}\n{types}"), 1);
    let text = text.replacen(many, &format!("{constants}\n{many}"), 1);
    assert_eq!(text.len(), FUNCTIONS.len() + decorations.len() + constants.len() + 2);
    assemble(&format!("{}{text}", head("vulkan1.2", &ENTRIES)), "vulkan1.2")
}

#[test]
fn a_constant_workgroup_size_counts_for_every_entry_point() {
    let decorations = "OpDecorate %size BuiltIn WorkgroupSize";
    let constants = "%size = OpConstantComposite %triple %of2 %of1 %of1";
    let Some(words) = extended(decorations, constants) else { return };
    for (entry, ..) in EXPECTED {
        let reflection = Reflection::of_entry(&words, Some(entry)).expect(entry);
        assert_eq!(reflection.local_size, [2, 1, 1], "{entry}");
    }
    let decorations = format!("{decorations}\nOpDecorate %more BuiltIn WorkgroupSize");
    for (x, expected) in [("%of2", Ok([2, 1, 1])), ("%of1", Err(ReflectError::SeveralLocalSizes))] {
        let more = format!("{constants}\n%more = OpSpecConstantComposite %triple {x} %of1 %of1");
        let Some(words) = extended(&decorations, &more) else { return };
        let size = Reflection::of_entry(&words, Some("sum")).map(|known| known.local_size);
        assert_eq!(size, expected, "{x}");
    }
}

#[test]
fn push_constants_of_one_entry_point_are_one_block() {
    // One entry point beside two blocks: the one that it uses counts.
    for (entry, used) in [(ENTRIES[0], 24), (ENTRIES[1], 12)] {
        let modes = |line: &&str| {
            let function = entry.0.split(' ').nth(1).expect("the function comes second");
            !line.contains("OpExecutionMode") || line.contains(&format!("{function} "))
        };
        let text: Vec<&str> = FUNCTIONS.lines().filter(modes).collect();
        let text = format!("{}{}", head("vulkan1.2", &[entry]), text.join("\n"));
        let Some(words) = assemble(&text, "vulkan1.2") else { return };
        validate(&words, entry.0);
        assert_eq!(Reflection::of(&words).map(|known| known.push_bytes), Ok(used));
        // The name changes nothing where it is the only one.
        let name = entry.0.split('"').nth(1);
        assert_eq!(Reflection::of_entry(&words, name), Reflection::of(&words));
    }
    let both = FUNCTIONS.replace("OpStore %own_at %sum_i", "%called = OpFunctionCall %uint %get");
    let text = format!("{}{both}", head("vulkan1.1", &ENTRIES));
    let Some(words) = assemble(&text, "vulkan1.1") else { return };
    let entry = "sum".to_owned();
    let several = Reflection::of_entry(&words, Some("sum"));
    assert_eq!(several, Err(ReflectError::SeveralPushBlocks { entry }));
}
