//! Loads a module through a filter: it removes or sets aside what rspirv's loader refuses, and
//! records the position and the line of each instruction.

use crate::contract::analysis::Line;
use crate::contract::error::RewriteError;
use crate::ir::instruction::{Id, id_operand};
use crate::load::freeze::freeze;
use crate::load::opaque::Opaque;
use crate::reflect::constants::Constants;
use rspirv::binary::{Consumer, ParseAction, ParseState as State, Parser};
use rspirv::dr::{Instruction, Loader, Module, ModuleHeader, Operand};
use rspirv::grammar::reflect::is_block_terminator;
use rspirv::spirv::{MAGIC_NUMBER, Op};
use std::collections::{HashMap, HashSet};

/// The words before the first instruction (SPIR-V specification, section 2.3).
const HEADER_WORDS: usize = 5;
/// The most ids of a module (SPIR-V specification, section 2.17, "Universal Limits").
const MAX_BOUND: u32 = 0x3f_ffff;
/// Instructions of `NonSemantic.Shader.DebugInfo.100`: `DebugFunction` and what ties it to an
/// OpFunction, `DebugSource`, `DebugLine` and `DebugNoLine`.
const DEBUG_FUNCTION: u32 = 20;
const DEBUG_FUNCTION_DEFINITION: u32 = 101;
const DEBUG_SOURCE: u32 = 35;
const DEBUG_LINE: u32 = 103;
const DEBUG_NO_LINE: u32 = 104;

/// A module as it was read, without its debug information.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) module: Module,
    /// The origin of each instruction of the functions, in their order.
    origins: Vec<Origin>,
    /// The origin of the memory model's instruction.
    model: Option<Origin>,
    files: HashMap<Id, String>,
}

/// The origin of an instruction.
#[derive(Clone, Copy, Debug)]
struct Origin {
    op: Op,
    word: usize,
    line: Option<Mark>,
}

/// A line as debug information states it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    file: Id,
    line: u32,
    column: u32,
}

impl Source {
    /// Reads a module.
    pub(crate) fn read(words: &[u32]) -> Result<Self, RewriteError> {
        check_words(words)?;
        let opaque = Opaque::of(words);
        let mut sieve = Sieve::new(words, opaque.instructions);
        let bytes: Vec<u8> = opaque.words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let parsed = Parser::new(&bytes, &mut sieve).parse();
        parsed.map_err(|state| sieve.unread(&state))?;
        let Sieve { loader, modes, origins, model, strings, sources, .. } = sieve;
        let mut module = loader.module();
        module.execution_modes.extend(modes);
        let values = Constants::read(words);
        freeze(&mut module, &values.map_err(|why| RewriteError::damaged(&why.to_string()))?);
        if let Some(header) = &mut module.header {
            header.generator = words[2];
        }
        let kept = module.functions.iter().flat_map(|f| f.all_inst_iter());
        if !kept.map(|i| i.class.opcode).eq(origins.iter().map(|origin| origin.op)) {
            return Err(RewriteError::damaged("its sections are out of order"));
        }
        let named = sources.iter().filter_map(|(&id, file)| Some((id, strings.get(file)?.clone())));
        let mut files: HashMap<Id, String> = named.collect();
        files.extend(strings);
        Ok(Self { module, origins, model, files })
    }

    /// The position, in words, of an instruction of the functions.
    pub(crate) fn word(&self, instruction: usize) -> usize {
        self.origins.get(instruction).map_or(0, |origin| origin.word)
    }

    /// The line of an instruction of the functions.
    pub(crate) fn line(&self, instruction: usize) -> Option<Line> {
        self.line_of(self.origins.get(instruction)?)
    }

    fn line_of(&self, origin: &Origin) -> Option<Line> {
        let Mark { file, line, column } = origin.line?;
        Some(Line { file: self.files.get(&file)?.clone(), line, column })
    }

    /// The refusal of an instruction of the functions.
    pub(crate) fn refuse(&self, instruction: usize, op: Op, reason: &str) -> RewriteError {
        RewriteError::refused(op, self.word(instruction), self.line(instruction), reason)
    }

    /// The refusal of the memory model.
    pub(crate) fn refuse_model(&self, reason: &str) -> RewriteError {
        let word = self.model.map_or(0, |model| model.word);
        let line = self.model.and_then(|model| self.line_of(&model));
        RewriteError::refused(Op::MemoryModel, word, line, reason)
    }
}

/// Checks what rspirv's parser takes on trust.
fn check_words(words: &[u32]) -> Result<(), RewriteError> {
    if words.first() != Some(&MAGIC_NUMBER) {
        return Err(RewriteError::damaged("the magic number is missing"));
    }
    let bound = *words.get(3).ok_or_else(|| RewriteError::damaged("the header is cut short"))?;
    if !(1..=MAX_BOUND).contains(&bound) {
        return Err(RewriteError::damaged("its bound of ids is 0 or beyond the limit of SPIR-V"));
    }
    let mut word = HEADER_WORDS;
    while let Some(&first) = words.get(word) {
        let length = (first >> 16) as usize;
        if length == 0 || words.len() - word < length {
            return Err(RewriteError::damaged("an instruction is cut short"));
        }
        if first & 0xffff == Op::SpecConstantOp as u32 {
            let operation = words.get(word + 3).filter(|_| length >= 4);
            check_operation(
                *operation.ok_or_else(|| RewriteError::damaged("an operation is missing"))?,
                word,
            )?;
        }
        word += length;
    }
    Ok(())
}

/// Refuses operations of specialisation constants other than those of shaders.
fn check_operation(number: u32, word: usize) -> Result<(), RewriteError> {
    let name = match Op::from_u32(number) {
        Some(op) if is_constant_operation(op) => return Ok(()),
        Some(op) => format!("Op{op:?}"),
        None => format!("instruction {number}"),
    };
    let reason = format!(
        "its operation, {name}, is not one of those of specialisation constants \
                          of shaders; compute it in the kernel"
    );
    Err(RewriteError::refused(Op::SpecConstantOp, word, None, &reason))
}

/// Whether an operation may make a specialisation constant (SPIR-V specification,
/// `OpSpecConstantOp`, what needs the capability `Kernel` left out).
fn is_constant_operation(op: Op) -> bool {
    use Op::{
        AccessChain, BitwiseAnd, BitwiseOr, BitwiseXor, CompositeExtract, CompositeInsert,
        FConvert, IAdd, IEqual, IMul, INotEqual, ISub, InBoundsAccessChain, LogicalAnd,
        LogicalEqual, LogicalNot, LogicalNotEqual, LogicalOr, Not, QuantizeToF16, SConvert, SDiv,
        SGreaterThan, SGreaterThanEqual, SLessThan, SLessThanEqual, SMod, SNegate, SRem, Select,
        ShiftLeftLogical, ShiftRightArithmetic, ShiftRightLogical, UConvert, UDiv, UGreaterThan,
        UGreaterThanEqual, ULessThan, ULessThanEqual, UMod, VectorShuffle,
    };
    matches!(
        op,
        SConvert
            | FConvert
            | UConvert
            | SNegate
            | Not
            | IAdd
            | ISub
            | IMul
            | UDiv
            | SDiv
            | UMod
            | SRem
            | SMod
            | ShiftRightLogical
            | ShiftRightArithmetic
            | ShiftLeftLogical
            | BitwiseOr
            | BitwiseXor
            | BitwiseAnd
            | VectorShuffle
            | CompositeExtract
            | CompositeInsert
            | LogicalOr
            | LogicalAnd
            | LogicalNot
            | LogicalEqual
            | LogicalNotEqual
            | Select
            | IEqual
            | INotEqual
            | ULessThan
            | SLessThan
            | UGreaterThan
            | SGreaterThan
            | ULessThanEqual
            | SLessThanEqual
            | UGreaterThanEqual
            | SGreaterThanEqual
            | QuantizeToF16
            | AccessChain
            | InBoundsAccessChain
    )
}

/// A consumer of the parser that passes on to rspirv's loader the instructions that the loader
/// accepts.
struct Sieve<'w> {
    words: &'w [u32],
    word: usize,
    /// The instructions that the parser takes for null constants.
    opaque: HashMap<Id, Instruction>,
    bound: u32,
    loader: Loader,
    in_function: bool,
    line: Option<Mark>,
    /// Execution modes whose operands are ids.
    modes: Vec<Instruction>,
    /// Imported sets of instructions that mean nothing to a device.
    inert_sets: HashSet<Id>,
    strings: HashMap<Id, String>,
    /// The file of each `DebugSource`.
    sources: HashMap<Id, Id>,
    /// The line of each `DebugFunction`.
    functions: HashMap<Id, Mark>,
    constants: HashMap<Id, u32>,
    origins: Vec<Origin>,
    model: Option<Origin>,
}

impl<'w> Sieve<'w> {
    fn new(words: &'w [u32], opaque: HashMap<Id, Instruction>) -> Self {
        Self {
            words,
            word: HEADER_WORDS,
            opaque,
            bound: words.get(3).copied().unwrap_or_default(),
            loader: Loader::new(),
            in_function: false,
            line: None,
            modes: Vec::new(),
            inert_sets: HashSet::new(),
            strings: HashMap::new(),
            sources: HashMap::new(),
            functions: HashMap::new(),
            constants: HashMap::new(),
            origins: Vec::new(),
            model: None,
        }
    }

    /// The error for an instruction that cannot be read, the next one: it is damaged, or newer than
    /// the parser.
    fn unread(&self, state: &State) -> RewriteError {
        use rspirv::binary::DecodeError as D;
        let reason = match state {
            State::OpcodeUnknown(..) => "the instruction is not known; it may be newer than farptr",
            State::TypeUnsupported(..) => "numbers of its type are not known",
            State::OperandError(
                D::StreamExpected(_) | D::LimitReached(_) | D::DecodeStringFailed(..),
            ) => return RewriteError::damaged(&state.to_string()),
            State::OperandError(_) => {
                "one of its operands is not known; it may be newer than farptr"
            }
            State::ConsumerError(error) => match error.downcast_ref::<RewriteError>() {
                Some(error) => return error.clone(),
                None => return RewriteError::damaged(&state.to_string()),
            },
            _ => return RewriteError::damaged(&state.to_string()),
        };
        let number = self.words.get(self.word).map_or(0, |first| first & 0xffff);
        let instruction = match Op::from_u32(number) {
            Some(op) => format!("Op{op:?}"),
            None => format!("instruction {number}"),
        };
        let reason = format!("{reason} ({state})");
        RewriteError::Refused { instruction, word: self.word, line: None, reason }
    }

    /// Notes an instruction that is not passed on. Returns whether it was one.
    fn takes(&mut self, instruction: &Instruction) -> bool {
        match (instruction.class.opcode, &instruction.operands[..]) {
            (Op::String, [Operand::LiteralString(text)]) => {
                self.strings.extend(instruction.result_id.map(|id| (id, text.clone())));
            }
            (
                Op::Line,
                [Operand::IdRef(file), Operand::LiteralBit32(line), Operand::LiteralBit32(column)],
            ) => self.line = Some(Mark { file: *file, line: *line, column: *column }),
            (Op::NoLine, _) => self.line = None,
            (Op::ExecutionModeId, _) => self.modes.push(instruction.clone()),
            (Op::ExtInstImport, [Operand::LiteralString(name)]) if is_inert(name) => {
                self.inert_sets.extend(instruction.result_id);
            }
            // The instructions that need the extension are removed, and not every device allows it.
            (Op::Extension, [Operand::LiteralString(name)])
                if name == "SPV_KHR_non_semantic_info" => {}
            (Op::ExtInst | Op::ExtInstWithForwardRefsKHR, operands) => {
                let set = id_operand(instruction, 0);
                let inert = set.is_some_and(|set| self.inert_sets.contains(&set));
                if inert {
                    self.note_debug(instruction.result_id, operands);
                }
                return inert;
            }
            (
                Op::Name
                | Op::MemberName
                | Op::Source
                | Op::SourceContinued
                | Op::SourceExtension
                | Op::ModuleProcessed,
                _,
            ) => {}
            _ => return false,
        }
        true
    }

    /// Notes a line that is stated by an extended instruction.
    fn note_debug(&mut self, result: Option<Id>, operands: &[Operand]) {
        let Some(Operand::LiteralExtInstInteger(number)) = operands.get(1) else { return };
        let id = |index: usize| match operands.get(index) {
            Some(Operand::IdRef(id)) => Some(*id),
            _ => None,
        };
        let constant = |index: usize| self.constants.get(&id(index)?).copied();
        let mark = |file: usize, line: usize, column: usize| {
            let column = constant(column).unwrap_or_default();
            id(file).zip(constant(line)).map(|(file, line)| Mark { file, line, column })
        };
        match *number {
            // glslang states line 0, which is none.
            DEBUG_FUNCTION => {
                let stated = mark(4, 5, 6).filter(|mark| mark.line > 0);
                self.functions.extend(result.zip(stated));
            }
            DEBUG_FUNCTION_DEFINITION => {
                let stated = id(2).and_then(|function| self.functions.get(&function)).copied();
                let function = self.origins.iter_mut().rev().find(|o| o.op == Op::Function);
                if let Some(function) = function.filter(|function| function.line.is_none()) {
                    function.line = stated;
                }
            }
            DEBUG_SOURCE => self.sources.extend(result.zip(id(2))),
            DEBUG_LINE => self.line = mark(2, 3, 5),
            DEBUG_NO_LINE => self.line = None,
            _ => {}
        }
    }
}

/// Whether a set of extended instructions is debug information or otherwise without a meaning.
fn is_inert(name: &str) -> bool {
    ["NonSemantic.", "OpenCL.DebugInfo.", "DebugInfo"].iter().any(|set| name.starts_with(set))
}

impl Consumer for Sieve<'_> {
    fn initialize(&mut self) -> ParseAction {
        ParseAction::Continue
    }

    fn finalize(&mut self) -> ParseAction {
        self.loader.finalize()
    }

    fn consume_header(&mut self, header: ModuleHeader) -> ParseAction {
        self.loader.consume_header(header)
    }

    fn consume_instruction(&mut self, instruction: Instruction) -> ParseAction {
        let null = instruction.result_id.filter(|_| instruction.class.opcode == Op::ConstantNull);
        let instruction = null.and_then(|id| self.opaque.remove(&id)).unwrap_or(instruction);
        let word = self.word;
        self.word += self.words.get(word).map_or(1, |first| (first >> 16) as usize);
        if instruction.result_id.is_some_and(|id| id == 0 || id >= self.bound) {
            return ParseAction::Error(Box::new(RewriteError::damaged(
                "an id is beyond the bound",
            )));
        }
        if self.takes(&instruction) {
            return ParseAction::Continue;
        }
        let op = instruction.class.opcode;
        if let (Op::Constant, Some(id), [Operand::LiteralBit32(value)]) =
            (op, instruction.result_id, &instruction.operands[..])
        {
            self.constants.insert(id, *value);
        }
        self.in_function |= op == Op::Function;
        let origin = Origin { op, word, line: self.line };
        if self.in_function {
            self.origins.push(origin);
        } else if op == Op::MemoryModel {
            self.model = Some(origin);
        }
        if is_block_terminator(op) {
            self.line = None;
        }
        self.loader.consume_instruction(instruction)
    }
}
