//! Random programs: launches on parts of a few arrays, and what they leave, one after the other.

use std::{fmt, ops::Range};

/// The lengths of the arrays, some of which share a page. The first is lent for reading. The last
/// one is in a file, which is mapped twice.
pub(crate) const ARRAYS: [usize; 6] = [1500, 700, 2600, 1100, 96, 1500];
/// Where the two lends of array 2 meet.
pub(crate) const SPLIT: usize = 1100;
/// The elements of the first array that are lent a second time.
pub(crate) const AGAIN: Range<usize> = 300..1100;
/// From which element on the file is lent at its second address.
pub(crate) const SECOND: usize = 200;
/// Lends for reading come first.
pub(crate) const READ_ONLY: usize = 2;
/// The array and the elements of each lend.
const LENDS: [(usize, Range<usize>); 9] = [
    (0, 0..ARRAYS[0]),
    (0, AGAIN),
    (1, 0..ARRAYS[1]),
    (2, 0..SPLIT),
    (2, SPLIT..ARRAYS[2]),
    (3, 0..ARRAYS[3]),
    (4, 0..ARRAYS[4]),
    (5, 0..ARRAYS[5]),
    (5, SECOND..ARRAYS[5]),
];
/// Lends of a program that leaves out the file: memory at one address alone.
const OF_ONE_ADDRESS: usize = 7;
/// Invocations of a workgroup of each kernel.
pub(crate) const WORKGROUP: usize = 64;
/// No element exceeds this: sums and products of a launch are exact, whether they are fused or not.
const MOST: f32 = (1 << 20) as f32;
/// The length of the parts that a lend is cut into. Neither workgroups nor pages end there.
const BLOCK: usize = 96;

pub(crate) type Arrays = [Vec<f32>; ARRAYS.len()];

/// Elements of a lend, from one on; those of a launch have as many as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) lend: usize,
    pub(crate) first: usize,
}

/// How many workgroups run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// For so many elements.
    Cover(usize),
    Groups(u32),
}

/// How a launch is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Safely: without checks if it is proved to need none.
    Plain,
    /// With checks in any case.
    Checked,
    /// Without checks in any case, where the device has direct access.
    Unchecked,
}

/// The work of a launch, with small whole numbers as factors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// `y = a * y + c`
    Affine { y: At, a: f32, c: f32 },
    /// `y = a * x + b * y`
    Axpby { x: At, y: At, a: f32, b: f32 },
    /// `z = x * y`
    Hadamard { x: At, y: At, z: At },
    /// `z = x[index]`, for the [`index`] that all programs have.
    Gather { x: At, z: At },
}

/// Positions in a block, which is what a gather chooses from.
pub(crate) fn index() -> Vec<u32> {
    let block = u32::try_from(BLOCK).expect("a block is short");
    (0..).map(|i| i * 37 % block).take(ARRAYS[0]).collect()
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    pub(crate) what: What,
    /// The number of elements that the kernel is told.
    pub(crate) n: usize,
    pub(crate) extent: Extent,
    pub(crate) how: How,
    /// Whether what was launched so far is submitted first.
    pub(crate) submit: bool,
}

impl What {
    fn written(&self) -> At {
        match *self {
            Self::Affine { y, .. } | Self::Axpby { y, .. } => y,
            Self::Hadamard { z, .. } | Self::Gather { z, .. } => z,
        }
    }

    /// From where an invocation reads the element of its own number.
    fn read(&self) -> Vec<At> {
        match *self {
            Self::Affine { y, .. } => vec![y],
            Self::Axpby { x, y, .. } | Self::Hadamard { x, y, .. } => vec![x, y],
            Self::Gather { .. } => Vec::new(),
        }
    }
}

/// The place of elements in their array.
fn place(At { lend, first }: At, n: usize) -> (usize, Range<usize>) {
    let (array, of_lend) = LENDS[lend].clone();
    (array, of_lend.start + first..of_lend.start + first + n)
}

impl Launch {
    /// The elements that are written.
    fn written(&self) -> (usize, Range<usize>) {
        place(self.what.written(), self.done())
    }

    /// How many elements have an invocation.
    fn done(&self) -> usize {
        let invocations = match self.extent {
            Extent::Cover(elements) => elements.next_multiple_of(WORKGROUP),
            Extent::Groups(groups) => groups as usize * WORKGROUP,
        };
        self.n.min(invocations)
    }

    /// Whether each invocation has its elements to itself: what one reads, no other writes.
    fn is_free_of_races(&self) -> bool {
        let (array, written) = place(self.what.written(), self.n);
        let is_apart = |(from, read): (usize, Range<usize>)| {
            from != array || read.end <= written.start || written.end <= read.start
        };
        if let What::Gather { x, .. } = self.what {
            return is_apart(place(x, BLOCK));
        }
        let places = self.what.read().into_iter().map(|at| place(at, self.n));
        places.into_iter().all(|read| read == (array, written.clone()) || is_apart(read))
    }

    /// The arrays that it writes.
    fn results(&self, arrays: &Arrays) -> Vec<f32> {
        let some = |at, n| {
            let (array, range) = place(at, n);
            arrays[array][range].iter().copied()
        };
        let of = |at| some(at, self.done());
        match self.what {
            What::Affine { y, a, c } => of(y).map(|y| a.mul_add(y, c)).collect(),
            What::Axpby { x, y, a, b } => {
                of(x).zip(of(y)).map(|(x, y)| a.mul_add(x, b * y)).collect()
            }
            What::Hadamard { x, y, .. } => of(x).zip(of(y)).map(|(x, y)| x * y).collect(),
            What::Gather { x, .. } => {
                let block: Vec<f32> = some(x, BLOCK).collect();
                index().iter().take(self.done()).map(|&at| block[at as usize]).collect()
            }
        }
    }
}

/// Launches, what they begin with, and what they leave.
pub(crate) struct Program {
    seed: u64,
    /// Whether it lends the file.
    pub(crate) has_file: bool,
    pub(crate) launches: Vec<Launch>,
    pub(crate) before: Arrays,
    after: Arrays,
}

impl Program {
    pub(crate) fn new(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let before = ARRAYS.map(|len| (0..len).map(|_| draw.small(100)).collect());
        let mut after: Arrays = before.clone();
        let mut launches: Vec<Launch> = Vec::new();
        let has_file = draw.below(3) == 0;
        draw.lends = if has_file { LENDS.len() } else { OF_ONE_ADDRESS };
        draw.all_plain = draw.below(2) == 0;
        for _ in 0..20 + draw.below(41) {
            let launch = draw.launch(&launches, &after);
            let (array, range) = launch.written();
            let results = launch.results(&after);
            after[array][range].copy_from_slice(&results);
            launches.push(launch);
        }
        Self { seed, has_file, launches, before, after }
    }

    /// Fails, with what repeats it, unless the launches left what they should.
    pub(crate) fn check(&self, left: &Arrays) {
        for (array, (left, right)) in left.iter().zip(&self.after).enumerate() {
            let differ = |(left, right): (&f32, &f32)| left.to_bits() != right.to_bits();
            let Some(at) = left.iter().zip(right).position(differ) else { continue };
            let writes = |launch: &&Launch| {
                let (written, range) = launch.written();
                written == array && range.contains(&at)
            };
            panic!(
                "FARPTR_PROGRAMS_SEED={} FARPTR_PROGRAMS_COUNT=1: element {at} of array {array} is \
                 {} and not {}; of {} launches these write it: {:#?}",
                self.seed,
                left[at],
                right[at],
                self.launches.len(),
                self.launches.iter().filter(writes).collect::<Vec<_>>(),
            );
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({}, {} launches)", self.seed, self.launches.len())
    }
}

/// A stream of choices (splitmix64).
struct Draw {
    state: u64,
    /// What launches may work on: the first so many lends.
    lends: usize,
    /// Whether all launches are [`How::Plain`].
    all_plain: bool,
}

impl Draw {
    fn new(seed: u64) -> Self {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { state, lends: LENDS.len(), all_plain: false }
    }

    /// A number less than `end`.
    fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).expect("it is less than a usize")
    }

    /// A whole number less than `end`.
    fn small(&mut self, end: u16) -> f32 {
        f32::from(u16::try_from(self.below(end.into())).expect("it is less than a u16"))
    }

    /// Elements of one of these lends, and how many: a block, all, a few, or some.
    fn part(&mut self, lends: Range<usize>) -> (At, usize) {
        // Those of the file are rare among all lends, and shall not be among launches.
        let of_file = OF_ONE_ADDRESS..lends.end;
        let lends = if of_file.is_empty() || self.below(2) == 0 { lends } else { of_file };
        let lend = lends.start + self.below(lends.len());
        let len = LENDS[lend].1.len();
        let (first, n) = match self.below(6) {
            0..=2 => (self.below(len.div_ceil(BLOCK)) * BLOCK, BLOCK),
            3 => (0, len),
            4 => (self.below(len), 1 + self.below(40)),
            _ => (self.below(len), 1 + self.below(len)),
        };
        (At { lend, first }, n.min(len - first))
    }

    /// Elements to work on: often what an earlier launch has written, or a part of it.
    fn operand(&mut self, earlier: &[Launch], lends: Range<usize>) -> (At, usize) {
        if earlier.is_empty() || self.below(2) == 0 {
            return self.part(lends);
        }
        // Mostly one of the last few.
        let most = if self.below(4) == 0 { earlier.len() } else { earlier.len().min(4) };
        let back = 1 + self.below(most);
        let launch = &earlier[earlier.len() - back];
        let (At { lend, first }, n) = (launch.what.written(), launch.done());
        let skipped = if self.below(2) == 0 { 0 } else { self.below(n) };
        (At { lend, first: first + skipped }, n - skipped)
    }

    /// A launch whose results are small, on what earlier ones have left.
    fn launch(&mut self, earlier: &[Launch], arrays: &Arrays) -> Launch {
        loop {
            let launch = self.any_launch(earlier);
            let is_small = |&result: &f32| result <= MOST;
            if (!self.all_plain || launch.how == How::Plain)
                && launch.is_free_of_races()
                && launch.results(arrays).iter().all(is_small)
            {
                return launch;
            }
        }
    }

    fn any_launch(&mut self, earlier: &[Launch]) -> Launch {
        let (all, written) = (0..self.lends, READ_ONLY..self.lends);
        let (to, mut n) = self.operand(earlier, written);
        let mut from = |draw: &mut Self| {
            let (at, len) = draw.operand(earlier, all.clone());
            n = n.min(len);
            at
        };
        let what = match self.below(6) {
            0 | 1 => What::Affine { y: to, a: self.small(4), c: self.small(10) },
            2 | 3 => What::Axpby { x: from(self), y: to, a: 1.0 + self.small(3), b: self.small(3) },
            4 => What::Hadamard { x: from(self), y: from(self), z: to },
            _ => {
                n = n.min(ARRAYS[0]);
                let (At { lend, first }, _) = self.operand(earlier, all);
                let last = LENDS[lend].1.len() - BLOCK;
                What::Gather { x: At { lend, first: first.min(last) }, z: to }
            }
        };
        let extent = match self.below(8) {
            0 => Extent::Cover(n + self.below(3 * WORKGROUP)),
            1 => Extent::Groups(1 + u32::try_from(self.below(4)).expect("it is less than 4")),
            _ => Extent::Cover(n),
        };
        let how = match self.below(10) {
            0 => How::Checked,
            1 | 2 => How::Unchecked,
            _ => How::Plain,
        };
        Launch { what, n, extent, how, submit: self.below(50) == 0 }
    }
}
