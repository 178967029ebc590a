//! The start of a function of a random program.

use super::writer::{Address, Known, Writer};
use rspirv::spirv::{Decoration, Op, StorageClass};

impl Writer {
    /// The start of every function: its variables, arguments and the invocation's number.
    pub(super) fn prologue(&mut self, own_words: u32) {
        self.known = Known::default();
        let word = self.code.types.word;
        let to_word = self.code.types.to_word;
        self.variables = (0..3).map(|_| self.code.local(word)).collect();
        self.pointer_variable = self.features.pointers.then(|| {
            let variable = self.code.local(to_word);
            let decoration = Decoration::AliasedPointer;
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
        let class = StorageClass::PushConstant;
        let pointer = self.code.pointer_type(class, of);
        let member = self.code.word(u32::try_from(root).unwrap());
        let chain = self.code.op(Op::AccessChain, pointer, &[self.push, member]);
        let value = self.code.load(of, chain, None);
        let is_long = self.code.types.long == Some(of);
        self.roots[root] = if is_long { Address::Long(value) } else { Address::Pair(value) };
        let to_words = self.code.types.to_words;
        self.root_words[root] = self.pointer(self.roots[root], to_words);
    }
}
