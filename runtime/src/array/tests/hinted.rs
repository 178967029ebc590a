//! An iterator that promises what it is told to.

/// Yields `values`, whatever it promises.
pub(super) struct Hinted<I> {
    pub(super) values: I,
    pub(super) least: usize,
    pub(super) most: Option<usize>,
}

impl<I: Iterator> Iterator for Hinted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.values.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.least, self.most)
    }
}
