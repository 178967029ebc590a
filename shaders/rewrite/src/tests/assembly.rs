//! Modules in assembly: what compilers other than glslang emit, and what has to be refused.

use super::forms::variants;
use super::tools::{assemble, validate};
use crate::contract::analysis::Check;
use crate::contract::error::RewriteError;
use crate::program::Program;

const MANY: &str = include_str!("many.spvasm");

#[test]
fn every_kind_of_pointer_is_followed() {
    for target in ["vulkan1.3"] {
        let Some(words) = assemble(MANY, target) else { return };
        validate(&words, "the module itself");
        let missing = Program::parse(&words, None).map(|_| ()).expect_err("there are two");
        assert!(
            matches!(missing, RewriteError::Entry { ref found, .. } if found.contains("unused"))
        );
        let program = Program::parse(&words, Some("main")).expect("it can be rewritten");
        let analysis = program.analysis();
        let by_index: Vec<_> = analysis
            .sites
            .iter()
            .map(|site| (site.instruction, matches!(site.check, Check::Index(_))))
            .collect();
        let expected = [
            ("OpCopyMemory", true),
            ("OpCopyMemory", true),
            // Its source is said to be aligned to 16 bytes, which steps of 48 bytes keep.
            ("OpCopyMemory", true),
            ("OpCopyMemory", true),
            ("OpLoad", false),
            ("OpStore", true),
            ("OpLoad", false),
            ("OpAtomicIAdd", false),
            ("OpStore", false),
        ];
        assert_eq!(by_index, expected);
        assert!(analysis.int64 && !analysis.effects.overwrites);
        for variant in variants() {
            let words = program.rewrite(&variant).expect("it is small");
            validate(&words, &format!("{target} {variant:?}"));
        }
    }
}

/// A kernel with one pointer and some instructions.
fn kernel(capabilities: &str, model: &str, code: &str) -> String {
    format!(
        "OpCapability Shader
        OpCapability PhysicalStorageBufferAddresses
        {capabilities}
        %glsl = OpExtInstImport \"GLSL.std.450\"
        OpMemoryModel {model} GLSL450
        OpEntryPoint GLCompute %main \"main\" %push
        OpExecutionMode %main LocalSize 1 1 1
        %file = OpString \"kernel.hlsl\"
        OpMemberDecorate %Push 0 Offset 0
        OpDecorate %Push Block
        %void = OpTypeVoid
        %function = OpTypeFunction %void
        %uint = OpTypeInt 32 0
        %float = OpTypeFloat 32
        %zero = OpConstant %uint 0
        %half = OpConstant %float 0.5
        %pointer = OpTypePointer PhysicalStorageBuffer %float
        %local = OpTypePointer Function %float
        %Push = OpTypeStruct %pointer
        %push_ptr = OpTypePointer PushConstant %Push
        %member = OpTypePointer PushConstant %pointer
        %push = OpVariable %push_ptr PushConstant
        %main = OpFunction %void None %function
        %label = OpLabel
        %variable = OpVariable %local Function
        %at = OpAccessChain %member %push %zero
        %x = OpLoad %pointer %at
        OpLine %file 7 3
        {code}
        OpReturn
        OpFunctionEnd"
    )
}

#[test]
fn what_is_not_understood_is_refused() {
    let physical = "PhysicalStorageBuffer64";
    let cases = [
        ("", physical, "%a = OpExtInst %float %glsl Modf %half %x", "OpExtInst"),
        (
            "OpCapability Addresses",
            physical,
            "OpCopyMemorySized %variable %x %zero Aligned 4",
            "OpCopyMemorySized",
        ),
        ("", physical, "%a = OpBitcast %local %x", "OpBitcast"),
        ("", physical, "OpStore %x %half Aligned 2", "OpStore"),
        ("", physical, "OpStore %x %half Aligned 12", "OpStore"),
        ("OpCapability Addresses", "Physical64", "", "OpMemoryModel"),
    ];
    for (capabilities, model, code, expected) in cases {
        let Some(words) = assemble(&kernel(capabilities, model, code), "vulkan1.2") else { return };
        let refused = Program::parse(&words, None).map(|program| program.analysis().clone());
        let Err(RewriteError::Refused { instruction, word, line, reason }) = refused else {
            panic!("{code}: {refused:?}")
        };
        assert_eq!(instruction, expected);
        assert!(!reason.is_empty());
        if !code.is_empty() {
            let line = line.expect("it has debug information");
            assert_eq!((&line.file[..], line.line, line.column), ("kernel.hlsl", 7, 3));
            let op = words[word] & 0xffff;
            let named = rspirv::spirv::Op::from_u32(op).map(|op| format!("Op{op:?}"));
            assert_eq!(named.as_deref(), Some(expected));
        }
    }
}
