//! A case: a kernel, the memory it works on, and the effects that the pass may find.

use crate::text::{Level, assembly, glsl};

/// Lists the cases of a file, each a function that gives a [`Case`]: `CASES`,
/// and a macro that hands their names to a macro of its user, who makes a test of each. The first
/// token is `$`, which no macro can write into another by itself.
macro_rules! cases {
    (($d:tt) $names:ident: $($case:ident,)*) => {
        /// Every case of this file, with its name.
        pub(crate) const CASES: &[crate::case::Named] =
            &[$(crate::case::Named { name: stringify!($case), make: $case },)*];

        /// Hands the names of these cases to a macro.
        #[macro_export]
        macro_rules! $names {
            ($d to:ident) => { $d to! { $($case,)* } };
        }
    };
}

/// A case with its name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// The name, which no other case has.
    pub name: &'static str,
    /// Makes the case.
    pub make: fn() -> Case,
}

/// A kernel's code.
#[derive(Clone, Debug)]
pub enum Source {
    /// GLSL, after the prelude of [`text`](crate::text).
    Glsl(&'static str),
    /// SPIR-V's assembly language, for what GLSL cannot say.
    Assembly(&'static str),
    /// The words of a generator.
    Words(Vec<u32>),
}

/// A kernel and the memory it works on.
///
/// Every word of every lend that a kernel reads is written before it, by the host or by the kernel.
/// The kernel keeps to its lends and does not race.
#[derive(Clone, Debug)]
pub struct Case {
    /// The kernel.
    pub source: Source,
    /// The lends.
    pub buffers: Vec<Buffer>,
    /// The push constants.
    pub push: Vec<Arg>,
    /// Workgroups.
    pub groups: [u32; 3],
    /// The kernel, written a second time in Rust.
    pub oracle: Option<fn(&mut Image)>,
    /// For a kernel whose result depends on the order of invocations: makes results equal that
    /// differ in nothing but that order.
    pub normalise: Option<fn(&mut Image)>,
    /// The kernel loads values of pointer type or keeps them in variables, which not every driver
    /// compiles ([`has_pointer_values`](crate::devices::has_pointer_values)).
    pub pointer_values: bool,
}

/// A case's kernel as words.
#[derive(Clone, Debug)]
pub struct Module {
    /// How it was compiled, where there are several ways.
    pub level: Option<Level>,
    /// The words.
    pub words: Vec<u32>,
}

impl Case {
    pub(crate) fn glsl(source: &'static str) -> Self {
        Self::new(Source::Glsl(source))
    }

    pub(crate) fn assembly(source: &'static str) -> Self {
        Self::new(Source::Assembly(source))
    }

    pub(crate) fn words(words: Vec<u32>) -> Self {
        Self::new(Source::Words(words))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            buffers: Vec::new(),
            push: Vec::new(),
            groups: [1, 1, 1],
            oracle: None,
            normalise: None,
            pointer_values: false,
        }
    }

    /// The kernel's words: unoptimised and optimised, where it is written in GLSL.
    #[must_use]
    pub fn modules(&self, name: &str) -> Vec<Module> {
        match &self.source {
            Source::Glsl(source) => {
                let compiled =
                    |level| Module { level: Some(level), words: glsl(name, source, level) };
                vec![compiled(Level::Zero), compiled(Level::Performance)]
            }
            Source::Assembly(source) => {
                vec![Module { level: None, words: assembly(name, source) }]
            }
            Source::Words(words) => vec![Module { level: None, words: words.clone() }],
        }
    }

    /// Adds a lend and passes its address.
    pub(crate) fn lend(mut self, buffer: Buffer) -> Self {
        self.push.push(Arg::At { buffer: self.buffers.len(), offset: 0 });
        self.buffers.push(buffer);
        self
    }

    /// Adds a lend whose address the kernel finds by itself.
    pub(crate) fn lend_silently(mut self, buffer: Buffer) -> Self {
        self.buffers.push(buffer);
        self
    }

    /// Passes an address within a lend.
    pub(crate) fn at(mut self, buffer: usize, offset: usize) -> Self {
        self.push.push(Arg::At { buffer, offset });
        self
    }

    /// Passes a number.
    pub(crate) fn word(mut self, word: u32) -> Self {
        self.push.push(Arg::Word(word));
        self
    }

    pub(crate) fn groups(mut self, groups: u32) -> Self {
        self.groups = [groups, 1, 1];
        self
    }

    /// The same case with another computation in Rust.
    #[must_use]
    pub fn oracle(mut self, oracle: fn(&mut Image)) -> Self {
        self.oracle = Some(oracle);
        self
    }

    pub(crate) fn normalise(mut self, normalise: fn(&mut Image)) -> Self {
        self.normalise = Some(normalise);
        self
    }

    pub(crate) fn pointer_values(mut self) -> Self {
        self.pointer_values = true;
        self
    }
}

/// A push constant.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// The address of a byte of a lend, low word first.
    At {
        /// The lend.
        buffer: usize,
        /// The byte.
        offset: usize,
    },
    /// A number.
    Word(u32),
}

/// A lend: its bytes before the launch.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// The bytes, but for those of addresses.
    pub bytes: Vec<u8>,
    /// Places that hold an address: offset here, the lend it points into, offset there.
    pub links: Vec<(usize, usize, usize)>,
    /// Whether the kernel may write it.
    pub writable: bool,
    /// Bytes from a multiple of 16 to the start.
    pub skew: usize,
}

impl Buffer {
    pub(crate) fn bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, links: Vec::new(), writable: false, skew: 0 }
    }

    pub(crate) fn words(words: &[u32]) -> Self {
        Self::bytes(bytemuck::cast_slice(words).to_vec())
    }

    pub(crate) fn floats(floats: &[f32]) -> Self {
        Self::bytes(bytemuck::cast_slice(floats).to_vec())
    }

    /// Words that look random and are the same each time.
    pub(crate) fn random(seed: u64, words: usize) -> Self {
        Self::words(&random(seed, words))
    }

    pub(crate) fn zeroes(words: usize) -> Self {
        Self::words(&vec![0; words])
    }

    /// Numbers from 0 to 1023, exact in single precision.
    pub(crate) fn ramp(len: usize) -> Self {
        Self::floats(&(0u16..1024).cycle().take(len).map(f32::from).collect::<Vec<_>>())
    }

    pub(crate) fn writable(mut self) -> Self {
        self.writable = true;
        self
    }

    pub(crate) fn skew(mut self, bytes: usize) -> Self {
        self.skew = bytes;
        self
    }

    /// Puts the address of a byte of a lend at an offset of this one.
    pub(crate) fn link(mut self, offset: usize, buffer: usize, target: usize) -> Self {
        self.links.push((offset, buffer, target));
        self
    }
}

/// Numbers that look random (splitmix64's output function over a counter).
pub(crate) fn random(seed: u64, words: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) >> 32).expect("32 bits are left")
    };
    std::iter::repeat_with(word).take(words).collect()
}

/// A permutation of `0..len` that looks random.
pub(crate) fn shuffled(seed: u64, len: usize) -> Vec<usize> {
    let keys = random(seed, len);
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by_key(|&index| (keys[index], index));
    order
}

/// The lends' bytes, apart from the memory that they lie in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The bytes of each lend.
    pub buffers: Vec<Vec<u8>>,
    /// The start of each lend.
    pub starts: Vec<u64>,
}

impl Image {
    /// A lend's bytes as elements, wherever they lie.
    pub(crate) fn elements<T: bytemuck::AnyBitPattern>(&self, buffer: usize) -> Vec<T> {
        let chunks = self.buffers[buffer].chunks_exact(size_of::<T>());
        chunks.map(bytemuck::pod_read_unaligned).collect()
    }

    pub(crate) fn words(&self, buffer: usize) -> Vec<u32> {
        self.elements(buffer)
    }

    pub(crate) fn set_words(&mut self, buffer: usize, words: &[u32]) {
        self.buffers[buffer] = bytemuck::cast_slice(words).to_vec();
    }

    pub(crate) fn floats(&self, buffer: usize) -> Vec<f32> {
        self.elements(buffer)
    }

    pub(crate) fn set_floats(&mut self, buffer: usize, floats: &[f32]) {
        self.buffers[buffer] = bytemuck::cast_slice(floats).to_vec();
    }

    /// The lend and the offset that an address, low word first, points to.
    pub(crate) fn find(&self, low: u32, high: u32) -> Option<(usize, usize)> {
        let address = u64::from(high) << 32 | u64::from(low);
        self.starts.iter().zip(&self.buffers).enumerate().find_map(|(index, (&start, bytes))| {
            let offset = usize::try_from(address.checked_sub(start)?).ok()?;
            (offset < bytes.len()).then_some((index, offset))
        })
    }
}
