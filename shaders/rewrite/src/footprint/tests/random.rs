//! Numbers that look random and depend on a seed alone (SplitMix64).

pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    pub(super) fn word(&mut self, limit: u32) -> u32 {
        u32::try_from(self.below(limit.into())).expect("it is below a word")
    }

    /// Once in so many times.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).expect("it is an index")]
    }

    /// A number that is hard to compute with.
    pub(super) fn hard(&mut self) -> u32 {
        match self.below(8) {
            0 => self.pick(&[0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff_fffe, 0xffff_fffc]),
            1 => self.pick(&[31, 32, 33, 63, 64, 65, 0x1_0000, 0x4000_0000, 0x3fff_ffff]),
            2 => self.word(u32::MAX),
            _ => self.word(20),
        }
    }
}
