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
pub struct Features {
    /// 64-bit integers.
    pub long: bool,
    /// Values of pointer type in phis, variables and parameters.
    pub pointers: bool,
}

impl Features {
    /// Everything that programs use.
    pub const ALL: Self = Self { long: true, pointers: true };
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
    pub(super) root_words: [Id; 5],
    pub(super) lane: Id,
    pub(super) first_own: Id,
    pub(super) variables: Vec<Id>,
    pub(super) pointer_variable: Option<Id>,
    // Declared once.
    pub(super) push: Id,
    pub(super) push_members: [Id; 5],
    pub(super) invocation: Id,
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
