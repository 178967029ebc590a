//! Instructions whose literals have a length or number that depends on something else.

use super::forms::variants;
use super::tools::{assemble, specialise, validate};
use crate::contract::error::RewriteError;
use crate::contract::proved::Proved;
use crate::contract::variant::{Fold, Integers, Search, Translation, Variant};
use crate::program::Program;

const VARIANT: Variant = Variant {
    translation: Translation::Segments,
    search: Search::Unrolled(2),
    offset_roots: false,
    joint: false,
    integers: Integers::Pairs,
    loop_guard: true,
    subgroup_faults: false,
    fold: Fold::None,
    wide_offsets: false,
    proved: Proved::NOTHING,
};

/// Operations of specialisation constants of every shape that shaders have.
const OPERATIONS: &[&str] = &[
    "%uint IAdd %a %b",
    "%uint Select %t %a %b",
    "%uint CompositeExtract %v 2",
    "%uint CompositeExtract %s 1 2",
    "%vec4 CompositeExtract %m 1",
    "%float CompositeExtract %m 1 3",
    "%vec3 CompositeInsert %a %v 0",
    "%S CompositeInsert %b %s 1 2",
    "%vec2 VectorShuffle %v %v 2 0",
    "%vec3 VectorShuffle %v %v 5 4294967295 1",
    "%uint SNegate %a",
    "%uint Not %a",
    "%bool LogicalNot %t",
    "%bool LogicalEqual %t %t",
    "%bool ULessThan %a %b",
    "%uint ShiftLeftLogical %a %b",
    "%uint UMod %a %b",
    "%long UConvert %a",
    "%long SConvert %a",
    "%uint SDiv %minus %b",
    "%uint SRem %minus %b",
    "%uint SMod %minus %b",
    "%uint SMod %b %minus",
    "%uint UDiv %minus %b",
    "%uint ISub %a %b",
    "%uint IMul %minus %b",
    "%uint ShiftRightLogical %minus %a",
    "%uint ShiftRightArithmetic %minus %a",
    "%uint BitwiseOr %minus %b",
    "%uint BitwiseXor %minus %b",
    "%uint BitwiseAnd %minus %b",
    "%bool LogicalOr %t %t",
    "%bool LogicalAnd %t %t",
    "%bool LogicalNotEqual %t %t",
    "%bool IEqual %a %b",
    "%bool INotEqual %a %b",
    "%bool SLessThan %minus %b",
    "%bool UGreaterThan %minus %b",
    "%bool SGreaterThan %minus %b",
    "%bool ULessThanEqual %minus %b",
    "%bool SLessThanEqual %minus %b",
    "%bool UGreaterThanEqual %minus %b",
    "%bool SGreaterThanEqual %minus %b",
    "%short SConvert %minus",
    "%byte UConvert %minus",
    "%vec3 IAdd %v %v",
    "%float QuantizeToF16 %f",
    "%double FConvert %f",
];

fn module(declared: &str, code: &str) -> String {
    format!(
        "OpCapability Shader
        OpCapability PhysicalStorageBufferAddresses
        OpCapability Int64
        OpCapability Int16
        OpCapability Int8
        OpCapability Float64
        OpCapability Float16
        OpMemoryModel PhysicalStorageBuffer64 GLSL450
        OpEntryPoint GLCompute %main \"main\" %push
        OpExecutionMode %main LocalSize 1 1 1
        OpMemberDecorate %Push 0 Offset 0
        OpMemberDecorate %Push 1 Offset 8
        OpDecorate %Push Block
        OpDecorate %a SpecId 3
        %void = OpTypeVoid
        %function = OpTypeFunction %void
        %bool = OpTypeBool
        %uint = OpTypeInt 32 0
        %long = OpTypeInt 64 0
        %slong = OpTypeInt 64 1
        %short = OpTypeInt 16 1
        %byte = OpTypeInt 8 0
        %half = OpTypeFloat 16
        %float = OpTypeFloat 32
        %double = OpTypeFloat 64
        %vec2 = OpTypeVector %uint 2
        %vec3 = OpTypeVector %uint 3
        %vec4 = OpTypeVector %float 4
        %zero = OpConstant %uint 0
        %b = OpConstant %uint 7
        %minus = OpConstant %uint 4294967285
        %a = OpSpecConstant %uint 4
        %f = OpSpecConstant %float 0.5
        %t = OpSpecConstantTrue %bool
        %v = OpSpecConstantComposite %vec3 %a %b %a
        %four = OpSpecConstantComposite %vec4 %f %f %f %f
        %S = OpTypeStruct %uint %vec3
        %s = OpSpecConstantComposite %S %a %v
        %mat = OpTypeMatrix %vec4 2
        %m = OpSpecConstantComposite %mat %four %four
        {declared}
        %pointer = OpTypePointer PhysicalStorageBuffer %uint
        %Push = OpTypeStruct %pointer %long
        %push_ptr = OpTypePointer PushConstant %Push
        %member = OpTypePointer PushConstant %pointer
        %number = OpTypePointer PushConstant %long
        %push = OpVariable %push_ptr PushConstant
        %one = OpConstant %uint 1
        %main = OpFunction %void None %function
        %label = OpLabel
        %at = OpAccessChain %member %push %zero
        %x = OpLoad %pointer %at
        %nat = OpAccessChain %number %push %one
        %n = OpLoad %long %nat
        OpStore %x %b Aligned 4
        {code}
        OpReturn
        OpFunctionEnd"
    )
}

/// The instructions of a module that have one of some opcodes, without what names them.
fn instructions(words: &[u32], ops: &[u32]) -> Vec<Vec<u32>> {
    let mut found = Vec::new();
    let mut rest = &words[5..];
    while let Some(&first) = rest.first() {
        let (instruction, after) = rest.split_at((first >> 16) as usize);
        if ops.contains(&(first & 0xffff)) {
            found.push(instruction.to_vec());
        }
        rest = after;
    }
    found
}

/// Asserts that instructions of these opcodes come through word for word.
fn assert_kept(words: &[u32], ops: &[u32], what: &str) {
    let program = Program::parse(words, None).unwrap_or_else(|error| panic!("{what}: {error}"));
    let rewritten = program.rewrite(&VARIANT).expect(what);
    let (before, after) = (instructions(words, ops), instructions(&rewritten, ops));
    assert!(!before.is_empty(), "{what}");
    assert!(before.iter().all(|one| after.contains(one)), "{what}: {before:?}, {after:?}");
}

/// The declaration of what the only `OpCopyObject` copies: its opcode and its operands.
fn copied(words: &[u32]) -> (u32, Vec<u32>) {
    const COPY_OBJECT: u32 = 83;
    let copy = instructions(words, &[COPY_OBJECT]).remove(0);
    let all = instructions(words, &(41..=52).collect::<Vec<u32>>());
    let declared = all.into_iter().find(|one| one[2] == copy[3]).expect("a constant is copied");
    (declared[0] & 0xffff, declared[3..].to_vec())
}

/// Scalars are computed as SPIRV-Tools compute them, and everything else stays.
#[test]
fn operations_of_specialisation_constants_are_computed_or_kept() {
    const CONSTANTS: [u32; 3] = [41, 42, 43];
    const SPEC_CONSTANT_OP: u32 = 52;
    let mut computed = 0;
    for operation in OPERATIONS {
        let (of, operands) = operation.split_once(' ').expect("a type comes first");
        let declared = format!("%it = OpSpecConstantOp {of} {operands}");
        let text = module(&declared, &format!("%copy = OpCopyObject {of} %it"));
        let Some(words) = assemble(&text, "vulkan1.2") else { return };
        validate(&words, operation);
        let program = Program::parse(&words, None).unwrap_or_else(|why| panic!("{why}"));
        let rewritten = program.rewrite(&VARIANT).expect("it is small");
        validate(&rewritten, operation);
        let (before, after) = (copied(&words), copied(&rewritten));
        if after.0 == SPEC_CONSTANT_OP {
            assert_eq!(before, after, "{operation}");
            continue;
        }
        assert!(CONSTANTS.contains(&after.0), "{operation}: {after:?}");
        let Some(folded) = specialise(&words) else { return };
        let expected = copied(&folded);
        // The tool does not compute every operation.
        if expected.0 != SPEC_CONSTANT_OP {
            assert_eq!(after, expected, "{operation}");
            computed += 1;
        }
    }
    assert!(computed >= 30, "{computed} operations were compared");
}

/// The result of an operation may be a constant that the pass needs too, and declares later.
#[test]
fn constants_that_are_folded_come_first() {
    let declared = "%sx = OpSpecConstantOp %vec2 VectorShuffle %v %v 2 0
        %bb = OpConstantComposite %vec2 %b %b
        %sy = OpSpecConstantOp %vec2 ISub %bb %sx
        %sz = OpSpecConstantOp %uint CompositeExtract %sy 1
        %su = OpSpecConstantOp %uint ISub %a %sz
        %sw = OpSpecConstantOp %vec2 IMul %sx %sx";
    let Some(words) = assemble(&module(declared, ""), "vulkan1.2") else { return };
    let program = Program::parse(&words, None).expect("it can be rewritten");
    for variant in variants() {
        let rewritten = program.rewrite(&variant).expect("it is small");
        validate(&rewritten, "operations");
        let Some(specialised) = specialise(&rewritten) else { return };
        validate(&specialised, "operations, with their defaults");
    }
}

#[test]
fn constants_and_switches_of_every_width_are_kept() {
    let declared = "%c0 = OpConstant %byte 200
        %c1 = OpConstant %short -3
        %c2 = OpConstant %half 0x1.8p+3
        %c3 = OpConstant %long 0x123456789abcdef0
        %c4 = OpConstant %slong -5
        %c5 = OpConstant %double 0.1
        %c6 = OpSpecConstant %short 9
        %c7 = OpSpecConstant %double 2.5";
    let switch = "OpSelectionMerge %after None
        OpSwitch %n %after 0x100000000 %first 5 %second
        %first = OpLabel
        OpBranch %after
        %second = OpLabel
        OpSelectionMerge %done None
        OpSwitch %c1 %done -3 %third
        %third = OpLabel
        OpBranch %done
        %done = OpLabel
        OpBranch %after
        %after = OpLabel";
    let Some(words) = assemble(&module(declared, switch), "vulkan1.2") else { return };
    validate(&words, "constants and switches");
    assert_kept(&words, &[43, 251], "constants and switches");
    let program = Program::parse(&words, None).expect("it was parsed before");
    let rewritten = program.rewrite(&VARIANT).expect("it is small");
    let constants = instructions(&rewritten, &[43]);
    for mut specialised in instructions(&words, &[50]) {
        specialised[0] = specialised[0] & 0xffff_0000 | 43;
        assert!(constants.contains(&specialised), "{specialised:?}");
    }
}

/// SPIR-V that is newer than the assembler, as words: 8-bit floating-point numbers, bfloat16.
#[test]
fn constants_of_new_formats_are_kept() {
    let Some(words) = assemble(&module("", ""), "vulkan1.2") else { return };
    let types = instructions(&words, &[21]);
    let at = words.windows(types[0].len()).position(|w| w == types[0]).expect("it is there");
    for (bits, encoding) in [(8, 4214), (8, 4215), (16, 0)] {
        let mut words = words.clone();
        let (of, id) = (words[3], words[3] + 1);
        words[3] += 2;
        let of_type = [4 << 16 | 22, of, bits, encoding];
        let constant = [4 << 16 | 43, of, id, 0x38];
        words.splice(at..at, [of_type, constant].concat());
        assert_kept(&words, &[22, 43], "a constant of a new format");
    }
}

#[test]
fn what_is_not_known_is_refused_with_its_name() {
    let Some(words) = assemble(&module("", ""), "vulkan1.2") else { return };
    let refusal = |instruction: &[u32], at: usize| {
        let mut words = words.clone();
        words.splice(at..at, instruction.iter().copied());
        match Program::parse(&words, None) {
            Err(RewriteError::Refused { instruction, word, reason, .. }) => {
                assert_eq!(word, at, "{reason}");
                (instruction, reason)
            }
            other => panic!("{:?}", other.map(|program| program.analysis().clone())),
        }
    };
    let store = instructions(&words, &[62]);
    let body = words.windows(store[0].len()).position(|w| w == store[0]).expect("it stores");
    let (instruction, reason) = refusal(&[1 << 16 | 9999], body);
    assert_eq!(instruction, "instruction 9999");
    assert!(reason.contains("not known"), "{reason}");
    // An unknown capability, and an operation that only OpenCL's constants have.
    let (instruction, reason) = refusal(&[2 << 16 | 17, 65_001], 5);
    assert_eq!(instruction, "OpCapability");
    assert!(reason.contains("65001"), "{reason}");
    let int = instructions(&words, &[21]);
    let types = words.windows(int[0].len()).position(|w| w == int[0]).expect("it is there");
    let (instruction, reason) = refusal(&[5 << 16 | 52, 1, 2, 129, 3], types);
    assert_eq!(instruction, "OpSpecConstantOp");
    assert!(reason.contains("OpFAdd"), "{reason}");
}
