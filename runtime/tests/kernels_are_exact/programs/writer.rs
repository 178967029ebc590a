//! The state of a program in the making: what is known, and the forms of addresses.

use super::code::{Code, Id};
use super::draw::Draw;
use rspirv::spirv::{BuiltIn, Op};

/// The arguments, in the order of the push constants.
pub(super) const INPUT: usize = 0;
/// See [`INPUT`].
pub(super) const OWN: usize = 1;
/// See [`INPUT`].
pub(super) const SLOTS: usize = 2;
/// See [`INPUT`].
pub(super) const LINKS: usize = 3;
/// See [`INPUT`].
pub(super) const COUNTERS: usize = 4;

/// The features of the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    /// 64-bit integers.
    pub(super) long: bool,
    /// Values of pointer type in phis, variables and parameters.
    pub(super) pointers: bool,
}

/// An address of memory, in one of the forms that a kernel may give it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Address {
    /// A pointer to a word.
    Pointer(Id),
    /// Two words, the low one first.
    Pair(Id),
    /// A 64-bit number.
    Long(Id),
}

/// The variables that may be used at this place of the program.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) words: Vec<Id>,
    /// Addresses of four words of the invocation's own.
    pub(super) own: Vec<Address>,
    /// Addresses of four words of the input.
    pub(super) input: Vec<Address>,
}

/// A loop that statements are written for.
#[derive(Clone, Copy)]
pub(super) struct Loop {
    pub(super) after: Id,
    pub(super) next: Id,
}

/// Writes one program.
pub(super) struct Writer {
    pub(super) code: Code,
    pub(super) draw: Draw,
    pub(super) features: Features,
    pub(super) known: Known,
    /// Functions that are finished.
    pub(super) callable: Vec<Id>,
    /// Statements that may still be written.
    pub(super) budget: u32,
    /// Whether an invocation may end here, because no barrier follows.
    pub(super) may_return: bool,
    /// Whether the function gives a word.
    pub(super) gives_word: bool,
    pub(super) inside: Option<Loop>,
    // Made anew at the start of each function.
    pub(super) roots: [Address; 5],
    root_words: [Id; 5],
    pub(super) lane: Id,
    pub(super) first_own: Id,
    variables: Vec<Id>,
    pub(super) pointer_variable: Option<Id>,
    // Declared once.
    push: Id,
    push_members: [Id; 5],
    invocation: Id,
}

impl Writer {
    pub(super) fn new(seed: u64, features: Features) -> Self {
        let mut draw = Draw::new(seed);
        let mut code = Code::new(features.long);
        let (pair, long) = (code.types.pair, code.types.long);
        let push_members = std::array::from_fn(|_| long.filter(|_| draw.one_in(2)).unwrap_or(pair));
        let push = code.push_block(&push_members);
        let triple = code.types.triple;
        let invocation = code.built_in(BuiltIn::GlobalInvocationId, triple);
        let budget = 1 + draw.below(3);
        Self {
            code,
            draw,
            features,
            known: Known::default(),
            callable: Vec::new(),
            budget,
            may_return: false,
            gives_word: false,
            inside: None,
            roots: [Address::Pair(0); 5],
            root_words: [0; 5],
            lane: 0,
            first_own: 0,
            variables: Vec::new(),
            pointer_variable: None,
            push,
            push_members,
            invocation,
        }
    }

    /// The start of every function: its variables, arguments and the invocation's number.
    pub(super) fn prologue(&mut self, own_words: u32) {
        self.known = Known::default();
        let word = self.code.types.word;
        let to_word = self.code.types.to_word;
        self.variables = (0..3).map(|_| self.code.local(word)).collect();
        self.pointer_variable = self.features.pointers.then(|| {
            let variable = self.code.local(to_word);
            let decoration = rspirv::spirv::Decoration::AliasedPointer;
            self.code.decorate(variable, decoration, None);
            variable
        });
        let triple = self.code.types.triple;
        let all = self.code.load(triple, self.invocation, None);
        self.lane = self.code.extract(word, all, 0);
        let words = self.code.word(own_words);
        self.first_own = self.code.op(Op::IMul, word, &[self.lane, words]);
        for root in 0..self.roots.len() {
            self.load_root(root);
        }
        self.known.words.push(self.lane);
        for variable in self.variables.clone() {
            let value = self.draw.word();
            let value = self.code.word(value);
            self.code.store(variable, value, None);
        }
        if let Some(variable) = self.pointer_variable {
            let address = self.own_address(0);
            let pointer = self.pointer(address, to_word);
            self.code.store(variable, pointer, None);
        }
    }

    fn load_root(&mut self, root: usize) {
        let of = self.push_members[root];
        let class = rspirv::spirv::StorageClass::PushConstant;
        let pointer = self.code.pointer_type(class, of);
        let member = self.code.word(u32::try_from(root).unwrap());
        let chain = self.code.op(Op::AccessChain, pointer, &[self.push, member]);
        let value = self.code.load(of, chain, None);
        let is_long = self.code.types.long == Some(of);
        self.roots[root] = if is_long { Address::Long(value) } else { Address::Pair(value) };
        let to_words = self.code.types.to_words;
        self.root_words[root] = self.pointer(self.roots[root], to_words);
    }

    /// One of the function's variables.
    pub(super) fn variable(&mut self) -> Id {
        let variables = self.variables.clone();
        self.draw.pick(&variables).unwrap()
    }

    /// A pointer to a word of an argument's memory.
    pub(super) fn element(&mut self, root: usize, index: Id) -> Id {
        let (to_word, zero) = (self.code.types.to_word, self.code.word(0));
        let op = if self.draw.one_in(3) { Op::InBoundsAccessChain } else { Op::AccessChain };
        self.code.op(op, to_word, &[self.root_words[root], zero, index])
    }

    /// An address as a pointer.
    pub(super) fn pointer(&mut self, address: Address, of: Id) -> Id {
        match address {
            Address::Pointer(id) if of == self.code.types.to_word => id,
            Address::Pointer(id) | Address::Pair(id) => self.code.op(Op::Bitcast, of, &[id]),
            Address::Long(id) => self.code.op(Op::ConvertUToPtr, of, &[id]),
        }
    }

    /// An address some bytes further on.
    pub(super) fn offset(&mut self, address: Address, bytes: Id) -> Address {
        let (word, pair) = (self.code.types.word, self.code.types.pair);
        match address {
            Address::Pair(id) => {
                let low = self.code.extract(word, id, 0);
                let high = self.code.extract(word, id, 1);
                let carried = self.code.types.carried;
                let sum = self.code.op(Op::IAddCarry, carried, &[low, bytes]);
                let (low, carry) =
                    (self.code.extract(word, sum, 0), self.code.extract(word, sum, 1));
                let high = self.code.op(Op::IAdd, word, &[high, carry]);
                Address::Pair(self.code.op(Op::CompositeConstruct, pair, &[low, high]))
            }
            Address::Long(id) => {
                let long = self.code.types.long.unwrap();
                let wide = self.code.op(Op::UConvert, long, &[bytes]);
                Address::Long(self.code.op(Op::IAdd, long, &[id, wide]))
            }
            Address::Pointer(id) => {
                let (to_word, two) = (self.code.types.to_word, self.code.word(2));
                let words = self.code.op(Op::ShiftRightLogical, word, &[bytes, two]);
                Address::Pointer(self.code.op(Op::PtrAccessChain, to_word, &[id, words]))
            }
        }
    }

    /// The same address, perhaps in another form.
    pub(super) fn another_form(&mut self, address: Address) -> Address {
        match (self.draw.below(5), self.code.types.long) {
            (0, _) if self.features.pointers => {
                let to_word = self.code.types.to_word;
                Address::Pointer(self.pointer(address, to_word))
            }
            (1, Some(long)) => match address {
                Address::Pointer(id) => Address::Long(self.code.op(Op::ConvertPtrToU, long, &[id])),
                Address::Pair(id) => Address::Long(self.code.op(Op::Bitcast, long, &[id])),
                Address::Long(_) => address,
            },
            (2, _) => Address::Pair(self.pair(address)),
            _ => address,
        }
    }

    /// An address as two words.
    pub(super) fn pair(&mut self, address: Address) -> Id {
        let pair = self.code.types.pair;
        match address {
            Address::Pair(id) => id,
            Address::Pointer(id) | Address::Long(id) => self.code.op(Op::Bitcast, pair, &[id]),
        }
    }

    /// One of two addresses.
    pub(super) fn select(&mut self, condition: Id, a: Address, b: Address) -> Address {
        if self.features.pointers && self.draw.one_in(2) {
            let to_word = self.code.types.to_word;
            let (a, b) = (self.pointer(a, to_word), self.pointer(b, to_word));
            return Address::Pointer(self.code.op(Op::Select, to_word, &[condition, a, b]));
        }
        let (a, b) = (self.pair(a), self.pair(b));
        let pair = self.code.types.pair;
        let bools = self.code.types.bools;
        let both = self.code.op(Op::CompositeConstruct, bools, &[condition, condition]);
        Address::Pair(self.code.op(Op::Select, pair, &[both, a, b]))
    }
}
