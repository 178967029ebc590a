//! Writing modules for random programs: the declarations that all of them have.

use crate::ir::instruction::Id;
use rspirv::dr::{Builder, Operand};
use rspirv::spirv::{
    AddressingModel, BuiltIn, Capability, Decoration, ExecutionMode, ExecutionModel,
    FunctionControl, MemoryModel, StorageClass,
};
use std::collections::HashMap;

/// Where the two pointers and the words behind them are in the push constants.
pub(super) const ROOTS: [u32; 2] = [0, 8];
pub(super) const WORDS: u32 = 6;
pub(super) const LONG: u32 = 40;
pub(super) const PUSH_BYTES: usize = 48;

/// A module under construction.
pub(super) struct Emit {
    pub(super) b: Builder,
    pub(super) void: Id,
    pub(super) bool: Id,
    /// Integers of 8, 16, 32 and 64 bits.
    pub(super) ints: [Id; 4],
    pub(super) word: Id,
    pub(super) local: Id,
    pub(super) glsl: Id,
    pub(super) push: Id,
    push_word: Id,
    push_pair: Id,
    push_long: Id,
    pub(super) pair: Id,
    /// Two words as one result.
    pub(super) both: Id,
    buffers: Id,
    element: Id,
    /// Elements of a structure of 12 bytes, of which the second word is one.
    records: Id,
    inputs: HashMap<BuiltIn, Id>,
    input_word: Id,
    pub(super) own: Id,
    constants: HashMap<u32, Id>,
    main: Id,
}

impl Emit {
    pub(super) fn new() -> Self {
        let mut b = Builder::new();
        b.set_version(1, 5);
        declare_capabilities(&mut b);
        let glsl = b.ext_inst_import("GLSL.std.450");
        b.memory_model(AddressingModel::PhysicalStorageBuffer64, MemoryModel::GLSL450);
        let (void, bool) = (b.type_void(), b.type_bool());
        let ints = [8, 16, 32, 64].map(|bits| b.type_int(bits, 0));
        let word = ints[2];
        let pair = b.type_vector(word, 2);
        let triple = b.type_vector(word, 3);
        let local = b.type_pointer(None, StorageClass::Function, word);
        let both = b.type_struct([word; 2]);
        let members = [vec![pair; 2], vec![word; WORDS as usize], vec![ints[3]]].concat();
        let push_type = b.type_struct(members.clone());
        let offset = |at: usize| match at {
            0 | 1 => ROOTS[at],
            _ => 16 + 4 * (u32::try_from(at).unwrap() - 2),
        };
        for member in 0..members.len() {
            let offset = vec![Operand::LiteralBit32(offset(member))];
            let number = u32::try_from(member).unwrap();
            b.member_decorate(push_type, number, Decoration::Offset, offset);
        }
        b.decorate(push_type, Decoration::Block, []);
        let class = StorageClass::PushConstant;
        let pointer = b.type_pointer(None, class, push_type);
        let push = b.variable(pointer, None, class, None);
        let [push_word, push_pair, push_long] =
            [word, pair, ints[3]].map(|of| b.type_pointer(None, class, of));
        let physical = StorageClass::PhysicalStorageBuffer;
        let buffers = buffer(&mut b, word, 4);
        let record = record(&mut b, word);
        let records = buffer(&mut b, record, 12);
        let element = b.type_pointer(None, physical, word);
        let (inputs, input_word) = inputs(&mut b, word, triple);
        let five = b.constant_bit32(word, 5);
        let array = b.type_array(word, five);
        let own = b.type_pointer(None, StorageClass::Function, array);
        let main = b.id();
        let constants = HashMap::from([(5, five)]);
        Self {
            b,
            void,
            bool,
            ints,
            word,
            local,
            glsl,
            push,
            push_word,
            push_pair,
            push_long,
            pair,
            both,
            buffers,
            element,
            records,
            inputs,
            input_word,
            own,
            constants,
            main,
        }
    }

    /// The words of the module, whose workgroups have this size.
    pub(super) fn finish(mut self, size: [u32; 3]) -> rspirv::dr::Module {
        let mut interface: Vec<Id> = self.inputs.values().copied().collect();
        interface.push(self.push);
        interface.sort_unstable();
        self.b.entry_point(ExecutionModel::GLCompute, self.main, "main", interface);
        self.b.execution_mode(self.main, ExecutionMode::LocalSize, size);
        self.b.module()
    }

    pub(super) fn begin_main(&mut self) {
        let of = self.b.type_function(self.void, []);
        let control = FunctionControl::NONE;
        self.b.begin_function(self.void, Some(self.main), control, of).unwrap();
    }

    pub(super) fn constant(&mut self, value: u32) -> Id {
        if let Some(&id) = self.constants.get(&value) {
            return id;
        }
        let id = self.b.constant_bit32(self.word, value);
        self.constants.insert(value, id);
        id
    }

    pub(super) fn truth(&mut self, value: bool) -> Id {
        if value { self.b.constant_true(self.bool) } else { self.b.constant_false(self.bool) }
    }

    /// A word of the push constants.
    pub(super) fn argument(&mut self, which: u32) -> Id {
        let member = self.constant(2 + which);
        let at = self.b.access_chain(self.push_word, None, self.push, [member]).unwrap();
        self.b.load(self.word, None, at, None, []).unwrap()
    }

    /// The long number of the push constants.
    pub(super) fn long(&mut self) -> Id {
        let member = self.constant(2 + WORDS);
        let at = self.b.access_chain(self.push_long, None, self.push, [member]).unwrap();
        self.b.load(self.ints[3], None, at, None, []).unwrap()
    }

    pub(super) fn input(&mut self, of: BuiltIn, axis: u32) -> Id {
        let variable = self.inputs[&of];
        if of == BuiltIn::LocalInvocationIndex {
            return self.b.load(self.word, None, variable, None, []).unwrap();
        }
        let axis = self.constant(axis);
        let at = self.b.access_chain(self.input_word, None, variable, [axis]).unwrap();
        self.b.load(self.word, None, at, None, []).unwrap()
    }

    /// The address of a pointer argument: two words.
    pub(super) fn root(&mut self, which: usize) -> Id {
        let member = self.constant(u32::try_from(which).unwrap());
        let at = self.b.access_chain(self.push_pair, None, self.push, [member]).unwrap();
        self.b.load(self.pair, None, at, None, []).unwrap()
    }

    /// A pointer to a word behind an address in two words: an element of an array, or a member of
    /// one.
    pub(super) fn element(&mut self, address: Id, index: Id, in_record: bool) -> Id {
        let of = if in_record { self.records } else { self.buffers };
        let buffer = self.b.bitcast(of, None, address).unwrap();
        let zero = self.constant(0);
        let one = self.constant(1);
        let path = if in_record { vec![zero, index, one] } else { vec![zero, index] };
        self.b.access_chain(self.element, None, buffer, path).unwrap()
    }

    /// A pointer to a word, from its address in 64 bits.
    pub(super) fn at_address(&mut self, address: Id) -> Id {
        self.b.convert_u_to_ptr(self.element, None, address).unwrap()
    }
}

fn declare_capabilities(b: &mut Builder) {
    for capability in [
        Capability::Shader,
        Capability::PhysicalStorageBufferAddresses,
        Capability::Int64,
        Capability::Int16,
        Capability::Int8,
    ] {
        b.capability(capability);
    }
}

/// A structure of three words.
fn record(b: &mut Builder, word: Id) -> Id {
    let record = b.type_struct([word; 3]);
    for member in 0..3 {
        let offset = vec![Operand::LiteralBit32(4 * member)];
        b.member_decorate(record, member, Decoration::Offset, offset);
    }
    record
}

/// The built-in variables, and the type of pointers to a word of one.
fn inputs(b: &mut Builder, word: Id, triple: Id) -> (HashMap<BuiltIn, Id>, Id) {
    let input = b.type_pointer(None, StorageClass::Input, triple);
    let input_word = b.type_pointer(None, StorageClass::Input, word);
    let mut inputs = HashMap::new();
    for (of, pointer) in [
        (BuiltIn::GlobalInvocationId, input),
        (BuiltIn::WorkgroupId, input),
        (BuiltIn::LocalInvocationId, input),
        (BuiltIn::NumWorkgroups, input),
        (BuiltIn::LocalInvocationIndex, input_word),
    ] {
        let id = b.variable(pointer, None, StorageClass::Input, None);
        b.decorate(id, Decoration::BuiltIn, [Operand::BuiltIn(of)]);
        inputs.insert(of, id);
    }
    (inputs, input_word)
}

/// The type of pointers to a structure of an open array.
fn buffer(b: &mut Builder, of: Id, stride: u32) -> Id {
    let array = b.type_runtime_array(of);
    b.decorate(array, Decoration::ArrayStride, [Operand::LiteralBit32(stride)]);
    let block = b.type_struct([array]);
    b.decorate(block, Decoration::Block, []);
    b.member_decorate(block, 0, Decoration::Offset, [Operand::LiteralBit32(0)]);
    b.type_pointer(None, StorageClass::PhysicalStorageBuffer, block)
}
