//! The lends that a launch may touch. Pure.

/// Lends, by their positions among the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All of them: the kernel follows pointers.
    All,
    /// Those of the arguments that the kernel indexes, in order, each once.
    These(Vec<usize>),
}

impl Reach {
    /// These lends.
    pub(crate) fn these(lends: impl IntoIterator<Item = usize>) -> Self {
        let mut lends: Vec<usize> = lends.into_iter().collect();
        lends.sort_unstable();
        lends.dedup();
        Self::These(lends)
    }

    /// The positions, where there are so many lends.
    pub(crate) fn among(&self, count: usize) -> impl Iterator<Item = usize> + Clone {
        let (all, these) = match self {
            Self::All => (0..count, &[][..]),
            Self::These(lends) => (0..0, &lends[..]),
        };
        all.chain(these.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lend_is_reached_once() {
        let listed = |reach: Reach| reach.among(3).collect::<Vec<_>>();
        assert_eq!(listed(Reach::All), [0, 1, 2]);
        assert_eq!(listed(Reach::these([2, 0, 2])), [0, 2]);
        assert_eq!(listed(Reach::these([])), []);
    }
}
