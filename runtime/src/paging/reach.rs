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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lend_is_reached_once() {
        assert_eq!(Reach::these([2, 0, 2]), Reach::These(vec![0, 2]));
        assert_eq!(Reach::these([]), Reach::These(Vec::new()));
    }
}
