//! Every reason for which a module is refused: the error names the instruction, its position in
//! words, its line and the reason.
//!
//! In each module one instruction is the culprit. An OpLine with a number of its own stands before
//! the culprit, so the test finds the culprit's position without the pass.

use super::forms::variants;
use super::tools::{assemble, compile};
use crate::contract::error::RewriteError;
use crate::program::Program;
use rspirv::spirv::Op;

/// The line that the culprit is on, and its column.
const LINE: (u32, u32) = (4711, 13);
/// Stands before the culprit in the modules below.
const HERE: &str = "OpLine %file 4711 13\n";

/// A module that is refused, in assembly.
struct Case {
    /// The culprit.
    instruction: &'static str,
    /// A part of the reason that no other one has.
    reason: &'static str,
    /// Annotations; then types, constants and variables.
    annotations: &'static str,
    globals: &'static str,
    /// The body of `main`: `@` stands for [`HERE`].
    code: String,
    /// More functions.
    functions: &'static str,
}

impl Case {
    fn new(instruction: &'static str, reason: &'static str, code: impl Into<String>) -> Self {
        let code = code.into();
        Self { instruction, reason, annotations: "", globals: "", code, functions: "" }
    }

    fn globals(self, globals: &'static str) -> Self {
        Self { globals, ..self }
    }

    fn annotations(self, annotations: &'static str) -> Self {
        Self { annotations, ..self }
    }

    fn functions(self, functions: &'static str) -> Self {
        Self { functions, ..self }
    }

    /// The module. `%x` is a pointer to a number, from an argument.
    fn text(&self) -> String {
        let Self { annotations, globals, code, functions, .. } = self;
        let text = format!(
            "OpCapability Shader
            OpCapability PhysicalStorageBufferAddresses
            %glsl = OpExtInstImport \"GLSL.std.450\"
            OpMemoryModel PhysicalStorageBuffer64 GLSL450
            OpEntryPoint GLCompute %main \"main\" %push
            OpExecutionMode %main LocalSize 1 1 1
            %file = OpString \"kernel.hlsl\"
            OpMemberDecorate %Push 0 Offset 0
            OpDecorate %Push Block
            {annotations}
            %void = OpTypeVoid
            %function = OpTypeFunction %void
            %bool = OpTypeBool
            %yes = OpConstantTrue %bool
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
            {globals}
            %main = OpFunction %void None %function
            %label = OpLabel
            %variable = OpVariable %local Function
            OpLine %file 1 1
            %at = OpAccessChain %member %push %zero
            %x = OpLoad %pointer %at
            {code}
            OpReturn
            OpFunctionEnd
            OpLine %file 2 1
            {functions}"
        );
        text.replace('@', HERE)
    }
}

/// Finds the first instruction after the one OpLine of [`LINE`]: its position, and its name.
fn culprit(words: &[u32]) -> (usize, String) {
    let mut word = 5;
    let mut here = false;
    while word < words.len() {
        let (length, op) = ((words[word] >> 16) as usize, words[word] & 0xffff);
        if here {
            let op = Op::from_u32(op).expect("the assembler made it");
            return (word, format!("Op{op:?}"));
        }
        here = op == Op::Line as u32 && (words[word + 2], words[word + 3]) == LINE;
        word += length;
    }
    panic!("no instruction has the line");
}

/// Why a form of a module is refused, or why the module is refused in every form.
fn refusals(words: &[u32]) -> Vec<RewriteError> {
    match Program::parse(words, None) {
        Err(refused) => vec![refused],
        Ok(program) => {
            let refused = |v| program.rewrite(v).expect_err("the module is to be refused");
            variants().iter().map(refused).collect()
        }
    }
}

fn assert_refused(words: &[u32], instruction: &str, reason: &str) {
    let (position, named) = culprit(words);
    assert_eq!(named, instruction, "the test's own module, for {reason}");
    for refused in refusals(words) {
        let message = refused.to_string();
        let RewriteError::Refused { instruction: found, word, line, reason: why } = refused else {
            panic!("{instruction}, {reason}: {message}")
        };
        assert!(why.contains(reason), "{instruction}, {reason}: {why}");
        assert_eq!((&found[..], word), (instruction, position), "{why}");
        let line = line.unwrap_or_else(|| panic!("{why}: no line"));
        assert_eq!((line.line, line.column, &line.file[..]), (LINE.0, LINE.1, "kernel.hlsl"));
        let expected = format!("{instruction} (word {position}, kernel.hlsl:{})", LINE.0);
        assert!(message.starts_with(&expected), "{message}");
    }
}

fn check(cases: &[Case]) {
    for case in cases {
        let Some(words) = assemble(&case.text(), "vulkan1.2") else { return };
        assert_refused(&words, case.instruction, case.reason);
    }
}

#[test]
fn operations_that_are_not_known_to_be_safe() {
    let not_known = "not known to be safe";
    let other_class = "made from a number or pointer of another storage class";
    let unknown_class = "unknown storage class";
    check(&[
        Case::new("OpExtInst", not_known, "@%a = OpExtInst %float %glsl Modf %half %x"),
        Case::new("OpStore", not_known, "@OpStore %x %half MakePointerAvailable %x"),
        Case::new("OpCopyMemorySized", "size of the copy", "@OpCopyMemorySized %variable %x %zero"),
        Case::new("OpBitcast", other_class, "@%a = OpBitcast %local %x"),
        Case::new("OpBitcast", other_class, "@%a = OpBitcast %pointer %variable"),
        Case::new("OpConvertUToPtr", other_class, "@%a = OpConvertUToPtr %local %zero"),
        Case::new("OpGenericCastToPtr", unknown_class, "@%a = OpGenericCastToPtr %local %x"),
        Case::new("OpPtrCastToGeneric", unknown_class, "@%a = OpPtrCastToGeneric %generic %x")
            .globals("%generic = OpTypePointer Generic %float"),
        Case::new(
            "OpGenericCastToPtrExplicit",
            unknown_class,
            "@%a = OpGenericCastToPtrExplicit %local %x Function",
        ),
        Case::new(
            "OpConvertUToAccelerationStructureKHR",
            "an acceleration structure",
            "@%a = OpConvertUToAccelerationStructureKHR %tree %pair",
        )
        .globals(
            "%tree = OpTypeAccelerationStructureKHR
            %uvec2 = OpTypeVector %uint 2
            %pair = OpConstantComposite %uvec2 %zero %zero",
        ),
        Case::new(
            "OpPtrAccessChain",
            "a variable of the kernel's own",
            "@%a = OpPtrAccessChain %local %variable %zero",
        ),
        Case::new(
            "OpInBoundsPtrAccessChain",
            "a variable of the kernel's own",
            "@%a = OpInBoundsPtrAccessChain %local %variable %zero",
        ),
    ]);
}

#[test]
fn accesses_that_cannot_be_measured_or_taken_apart() {
    // Each loads what `%of` is.
    let load = |reason, globals, code| {
        let code = format!("%p = OpBitcast %to %x\n@{code}");
        Case::new("OpLoad", reason, code).globals(globals)
    };
    let aligned = "%a = OpLoad %of %p Aligned 4";
    check(&[
        Case::new("OpStore", "no power of two", "@OpStore %x %half Aligned 12"),
        Case::new("OpStore", "no power of two", "@OpStore %x %half Aligned 8192"),
        Case::new("OpStore", "less than the size of its widest", "@OpStore %x %half Aligned 2"),
        Case::new(
            "OpLoad",
            "has no layout",
            "%p = OpBitcast %to %x
            %part = OpAccessChain %pointer %p %zero
            @%a = OpLoad %float %part Aligned 4",
        )
        .globals(
            "%of = OpTypeStruct %float %uint
            %to = OpTypePointer PhysicalStorageBuffer %of",
        ),
        load(
            "is not fixed",
            "%some = OpSpecConstant %uint 4
            %none = OpConstant %uint 0
            %length = OpSpecConstantOp %uint UDiv %some %none
            %of = OpTypeArray %float %length
            %to = OpTypePointer PhysicalStorageBuffer %of",
            aligned,
        )
        .annotations("OpDecorate %of ArrayStride 4"),
        load(
            "more than 64 KiB",
            "%length = OpConstant %uint 17000
            %of = OpTypeArray %float %length
            %to = OpTypePointer PhysicalStorageBuffer %of",
            aligned,
        )
        .annotations("OpDecorate %of ArrayStride 4"),
        load(
            "too many numbers",
            "%length = OpConstant %uint 4000
            %of = OpTypeArray %float %length
            %to = OpTypePointer PhysicalStorageBuffer %of",
            aligned,
        )
        .annotations("OpDecorate %of ArrayStride 4"),
        load(
            "numbers of 8 or 16 bits",
            "%short = OpTypeInt 16 0
            %of = OpTypeVector %short 2
            %to = OpTypePointer PhysicalStorageBuffer %of",
            "%a = OpLoad %of %p Aligned 2",
        ),
    ]);
}

#[test]
fn pointers_without_a_type() {
    let case = Case::new("OpUndef", "pointers without a type", "@%a = OpUndef %untyped")
        .globals("%untyped = OpTypePipe ReadOnly");
    let Some(mut words) = assemble(&case.text(), "vulkan1.2") else { return };
    // The assembler may be too old to know them.
    let (pipe, untyped) = ((3 << 16) | Op::TypePipe as u32, Op::TypeUntypedPointerKHR as u32);
    let at = words.iter().position(|&word| word == pipe).expect("it was assembled");
    words[at] = (3 << 16) | untyped;
    words[at + 2] = rspirv::spirv::StorageClass::PhysicalStorageBuffer as u32;
    assert_refused(&words, case.instruction, case.reason);
}

#[test]
fn loops_that_cannot_be_bounded() {
    check(&[
        Case::new(
            "OpLoopMerge",
            "not before the branch",
            "OpBranch %h
            %h = OpLabel
            @OpLoopMerge %m %h None
            %n = OpIAdd %uint %zero %zero
            OpBranchConditional %yes %h %m
            %m = OpLabel",
        ),
        Case::new(
            "OpLoopMerge",
            "not before the branch",
            "OpBranch %h
            %h = OpLabel
            @OpLoopMerge %m %h None
            OpSwitch %zero %m 1 %h
            %m = OpLabel",
        ),
        Case::new(
            "OpSwitch",
            "the back edge",
            "OpBranch %h
            %h = OpLabel
            OpLoopMerge %m %c None
            OpBranch %c
            %c = OpLabel
            @OpSwitch %zero %m 1 %h
            %m = OpLabel",
        ),
        Case::new(
            "OpLoopMerge",
            "several back edges",
            "OpBranch %first
            %first = OpLabel
            OpLoopMerge %next %first None
            OpBranchConditional %yes %first %next
            %next = OpLabel
            OpBranch %h
            %h = OpLabel
            @OpLoopMerge %m %c None
            OpBranchConditional %yes %b %c
            %b = OpLabel
            OpBranch %h
            %c = OpLabel
            OpBranchConditional %yes %h %m
            %m = OpLabel",
        ),
        Case::new(
            "OpLoopMerge",
            "runs between the iterations of another",
            "OpBranch %h
            %h = OpLabel
            OpLoopMerge %m %c None
            OpBranchConditional %yes %c %m
            %c = OpLabel
            OpBranch %g
            %g = OpLabel
            @OpLoopMerge %e %d None
            OpBranchConditional %yes %d %e
            %d = OpLabel
            OpBranch %g
            %e = OpLabel
            OpBranch %h
            %m = OpLabel",
        ),
        Case::new("OpLoopMerge", "too long to be searched", long_continue_constructs()),
    ]);
}

/// Loops that share a long continue construct, which is no valid code: searching it for each of
/// them would take long.
fn long_continue_constructs() -> String {
    use std::fmt::Write;
    let mut code = "OpBranch %h0\n".to_owned();
    for index in 0..LOOPS {
        let mark = if index == CULPRIT { "@" } else { "" };
        let next = index + 1;
        let _ = writeln!(
            code,
            "%h{index} = OpLabel\n{mark}OpLoopMerge %h{next} %c0 None\n\
             OpBranchConditional %yes %h{next} %b{index}\n%b{index} = OpLabel\nOpBranch %c0"
        );
    }
    let _ = writeln!(code, "%h{LOOPS} = OpLabel\nOpReturn");
    for index in 0..BLOCKS {
        let _ = writeln!(code, "%c{index} = OpLabel\nOpBranch %c{}", index + 1);
    }
    let _ = writeln!(code, "%c{BLOCKS} = OpLabel");
    code
}

/// Blocks of the shared continue construct, less one.
const BLOCKS: usize = 399;
/// Loops that share it: more than are searched.
const LOOPS: usize = 20;
/// The loop during whose search the limit of 16 visits per block is reached. The function has 442
/// blocks: one before the loops, two per loop, one behind them, and those of the continue
/// construct. So the limit is 7072 visits, and visit number 7072 belongs to the search of the 18th
/// loop.
const CULPRIT: usize = 17;

#[test]
fn functions_that_cannot_be_left_or_entered() {
    check(&[Case::new(
        "OpFunction",
        "returns what has no null value",
        "%r = OpFunctionCall %result %loops",
    )
    .globals(
        "%result = OpTypeStruct %pointer %uint
            %returns = OpTypeFunction %result",
    )
    .functions(
        "@%loops = OpFunction %result None %returns
            %entry = OpLabel
            OpBranch %h
            %h = OpLabel
            OpLoopMerge %m %h None
            OpBranchConditional %yes %h %m
            %m = OpLabel
            %u = OpUndef %result
            OpReturnValue %u
            OpFunctionEnd",
    )]);
    // The entry point with a parameter, after a function that is not called.
    let case = Case::new("OpFunction", "the entry point has parameters", "");
    let text = case.text();
    let main = "%main = OpFunction %void None %function\n";
    let unused = "%unused = OpFunction %void None %function
        %block = OpLabel
        OpReturn
        OpFunctionEnd";
    let entry = format!(
        "%takes = OpTypeFunction %void %uint
        {unused}
        {HERE}%main = OpFunction %void None %takes
        %parameter = OpFunctionParameter %uint\n"
    );
    let Some(words) = assemble(&text.replace(main, &entry), "vulkan1.2") else { return };
    assert_refused(&words, case.instruction, case.reason);
}

#[test]
fn models_of_addresses() {
    for model in ["Physical32", "Physical64"] {
        let text = Case::new("OpMemoryModel", "", "").text();
        // Not even an OpLine may stand before it, in valid code.
        let text = text.replace(
            "OpMemoryModel PhysicalStorageBuffer64",
            &format!("{HERE}OpMemoryModel {model}"),
        );
        let Some(words) = assemble(&text, "vulkan1.2") else { return };
        assert_refused(&words, "OpMemoryModel", "as in OpenCL");
    }
}

#[test]
fn functions_have_the_lines_that_compilers_state() {
    let glsl = "#version 460
        #extension GL_EXT_buffer_reference : require
        #extension GL_EXT_buffer_reference_uvec2 : require
        layout(local_size_x = 8) in;
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node;
        layout(buffer_reference, std430, buffer_reference_align = 8) buffer Node {
            Node next; uint value;
        };
        struct Found { Node node; uint steps; };
        layout(push_constant) uniform Push { Node head; };
        Found find(uint value) {
            Found found = Found(head, 0);
            while (found.node.value != value) {
                found = Found(found.node.next, found.steps + 1);
            }
            return found;
        }
        void main() { head.value = find(head.value).steps; }";
    for options in [&["-g"][..], &["-gV"]] {
        let Some(words) = compile(glsl, "vulkan1.2", options) else { return };
        for stated in [true, false] {
            // DebugFunction has line 0 from glslang.
            let words = if stated { words.clone() } else { without_lines(&words) };
            let program = Program::parse(&words, None).expect("its accesses can be rewritten");
            let refused = program.rewrite(&variants()[0]).expect_err("its loop cannot be left");
            let RewriteError::Refused { instruction, word, line, reason } = refused else {
                panic!("{refused}")
            };
            assert_eq!(instruction, "OpFunction", "{reason}");
            assert_eq!(words[word] & 0xffff, Op::Function as u32);
            let line = line.map(|line| line.line);
            assert_eq!(line, stated.then_some(11), "{options:?}");
        }
    }
}

#[test]
fn debug_functions_have_the_line_of_a_function() {
    let text = Case::new("OpFunction", "", "")
        .globals(
            "%parameters = OpTypeFunction %void %uint
            %row = OpConstant %uint 4711
            %column = OpConstant %uint 13
            %info = OpExtInstImport \"NonSemantic.Shader.DebugInfo.100\"
            %source = OpExtInst %void %info DebugSource %file
            %debug = OpExtInst %void %info DebugFunction %file %zero %source %row %column %zero \
                %file %zero %row",
        )
        .text()
        .replace(
            "%main = OpFunction %void None %function",
            "%main = OpFunction %void None %parameters
            %parameter = OpFunctionParameter %uint",
        )
        .replace(
            "%label = OpLabel",
            "%label = OpLabel
            %tie = OpExtInst %void %info DebugFunctionDefinition %debug %main",
        );
    let Some(words) = assemble(&text, "vulkan1.2") else { return };
    for refused in refusals(&words) {
        let RewriteError::Refused { instruction, word, line, .. } = refused else {
            panic!("{refused}")
        };
        assert_eq!((&instruction[..], words[word] & 0xffff), ("OpFunction", Op::Function as u32));
        let line = line.expect("DebugFunction states it");
        assert_eq!((line.line, line.column, &line.file[..]), (LINE.0, LINE.1, "kernel.hlsl"));
    }
}

/// A module without its OpLine.
fn without_lines(words: &[u32]) -> Vec<u32> {
    let mut kept = words[..5].to_vec();
    let mut rest = &words[5..];
    while let Some(first) = rest.first() {
        let (instruction, others) = rest.split_at((first >> 16) as usize);
        if first & 0xffff != Op::Line as u32 {
            kept.extend(instruction);
        }
        rest = others;
    }
    kept
}
