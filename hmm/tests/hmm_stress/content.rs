//! The content of a page: its own number, version and owner, and a checksum over all of it.

/// The words of a page before the body: number, version, owner.
const HEAD: usize = 3;

/// The content that a page is expected to have. Version zero is a page of zeroes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) page: u64,
    pub(crate) version: u64,
    pub(crate) owner: u64,
}

/// A generator whose numbers follow from its seed.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("64 bits")
    }
}

impl Stamp {
    /// The words of such a page.
    pub(crate) fn words(self, count: usize) -> Vec<u64> {
        if self.version == 0 {
            return vec![0; count];
        }
        let head = [self.page, self.version, self.owner];
        let mut body = Random(checksum(&head));
        let mut words: Vec<u64> = head.into_iter().collect();
        words.resize_with(count - 1, || body.next());
        words.push(checksum(&words));
        words
    }

    /// Says what is wrong with a page, if anything.
    pub(crate) fn verify(self, words: &[u64]) -> Result<(), String> {
        let found = |word: usize| words.get(word).copied().unwrap_or_default();
        let stamp = Self { page: found(0), version: found(1), owner: found(2) };
        let (last, rest) = words.split_last().expect("a page has words");
        if self.version == 0 {
            let zero = words.iter().all(|&word| word == 0);
            return if zero { Ok(()) } else { Err(format!("{stamp:?} in place of zeroes")) };
        }
        if words.iter().all(|&word| word == 0) {
            return Err(format!("zeroes in place of {self:?}"));
        }
        if checksum(rest) != *last {
            let torn = first_difference(words, &stamp.words(words.len()));
            return Err(format!("{stamp:?} is torn from word {torn:?} on, wanted {self:?}"));
        }
        if stamp != self {
            return Err(format!("{stamp:?} in place of {self:?}"));
        }
        Ok(())
    }
}

fn first_difference(left: &[u64], right: &[u64]) -> Option<usize> {
    (HEAD..left.len()).find(|&word| left.get(word) != right.get(word))
}

fn checksum(words: &[u64]) -> u64 {
    let step = |sum: u64, &word: &u64| (sum ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    words.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[test]
fn a_page_is_known_by_its_content() {
    let stamp = Stamp { page: 7, version: 3, owner: 1 };
    let words = stamp.words(512);
    assert_eq!(stamp.verify(&words), Ok(()));
    assert!(Stamp { version: 4, ..stamp }.verify(&words).unwrap_err().contains("in place of"));
    assert!(stamp.verify(&[0; 512]).unwrap_err().contains("zeroes in place"));
    assert!(Stamp::default().verify(&words).is_err());
    let mut torn = words;
    torn[300] ^= 1;
    assert!(stamp.verify(&torn).unwrap_err().contains("torn from word Some(300)"));
}
