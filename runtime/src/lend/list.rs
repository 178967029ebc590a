//! Values by addresses in a list, in which look-ups are fastest. Pure.

use farptr_hmm::VirtAddr;

/// Values in the order of the addresses at which they start.
#[derive(Clone, Debug)]
pub(super) struct List<V> {
    /// Of each value: what a search looks at lies close together.
    starts: Vec<VirtAddr>,
    values: Vec<V>,
}

impl<V> List<V> {
    /// A list of values in this order.
    pub(super) fn of(values: impl Iterator<Item = (VirtAddr, V)>) -> Self {
        let (starts, values) = values.unzip();
        Self { starts, values }
    }

    /// The last value that starts at an address or below it.
    pub(super) fn at_or_below(&self, address: VirtAddr) -> Option<&V> {
        let count = self.starts.partition_point(|&start| start <= address);
        self.values.get(count.checked_sub(1)?)
    }

    /// Changes the value that starts at an address, if there is one.
    pub(super) fn set(&mut self, start: VirtAddr, value: V) {
        if let Ok(at) = self.starts.binary_search(&start) {
            self.values[at] = value;
        }
    }
}
