//! The computations that a graph consists of.

/// The position of a node in its graph. Its operands come earlier, except for what
/// comes around a loop to a [`Op::Phi`].
pub(super) type NodeId = u32;

/// A computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    /// A number.
    Const(u64),
    /// A number of the push constants, of the node's width, at a byte.
    Push(u32),
    /// Eight bytes of the push constants: the address of an argument, or a number.
    Root(u32),
    /// The number of workgroups along an axis.
    Groups(u8),
    /// The place of the workgroup along an axis.
    Group(u8),
    /// The place of the invocation in its workgroup along an axis.
    Local(u8),
    /// A value of which nothing is known, with a number of its own. It counts as computed from its
    /// operands.
    Unknown(u32),
    /// A value that the module does not define.
    Undefined,
    /// The value that came with the way to a block, with its number.
    Phi(u32),
    Add,
    Sub,
    Mul,
    /// The upper half of a product without a sign.
    MulHigh,
    UDiv,
    SDiv,
    URem,
    SRem,
    And,
    Or,
    Xor,
    Not,
    Shl,
    Shr,
    Sar,
    ZeroExtend,
    SignExtend,
    Truncate,
    UMin,
    UMax,
    SMin,
    SMax,
    SAbs,
    Equal,
    ULess,
    SLess,
    /// 1 if the sum of two numbers is too large for their width.
    Carry,
    /// The second operand if the first holds, else the third.
    Select,
    /// An index of an access chain in 64 bits.
    Index,
    /// The first operand less the second, which is the quotient by the third times the third.
    Rest,
    /// Two halves of a number, put together again.
    Whole,
}

/// A node of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) op: Op,
    /// The bits of the value: 1 for a truth value.
    pub(super) width: u8,
    /// Whether the value is not defined where a number with or without a sign would wrap.
    pub(super) flags: u8,
    pub(super) count: u8,
    pub(super) args: [NodeId; 3],
}

/// The value is not defined if it would wrap with a sign.
pub(super) const NO_SIGNED_WRAP: u8 = 1;
/// The value is not defined if it would wrap without a sign.
pub(super) const NO_UNSIGNED_WRAP: u8 = 2;
/// It is a distance of elements. Access chains do not say that one wraps, so it is any number then.
pub(super) const IS_DISTANCE: u8 = 4;

impl Node {
    pub(super) fn new(op: Op, width: u8, args: &[NodeId]) -> Self {
        let mut node = Self { op, width, flags: 0, count: 0, args: [0; 3] };
        for (to, from) in node.args.iter_mut().zip(args) {
            *to = *from;
            node.count += 1;
        }
        node
    }

    /// The same, with what may not happen.
    pub(super) fn flagged(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    /// Its operands.
    pub(super) fn args(&self) -> &[NodeId] {
        &self.args[..usize::from(self.count)]
    }

    /// The operand at a place: the first for a place that there is not.
    pub(super) fn arg(&self, at: usize) -> NodeId {
        self.args.get(at).copied().unwrap_or(self.args[0])
    }
}

/// Whether operands may change places.
pub(super) fn is_symmetric(op: Op) -> bool {
    matches!(
        op,
        Op::Add
            | Op::Mul
            | Op::MulHigh
            | Op::And
            | Op::Or
            | Op::Xor
            | Op::UMin
            | Op::UMax
            | Op::SMin
            | Op::SMax
            | Op::Equal
            | Op::Carry
    )
}
