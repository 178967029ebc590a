//! Dropped objects that wait for a value of the timeline. Pure.

use std::{any::Any, collections::VecDeque, fmt};

/// Dropped objects, each with the value of the timeline that they wait for.
#[derive(Default)]
pub(crate) struct Retired {
    /// In the order of their values.
    objects: VecDeque<(u64, Box<dyn Any + Send>)>,
}

impl Retired {
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Keeps an object until a value was reached.
    pub(crate) fn push(&mut self, value: u64, object: impl Send + 'static) {
        // Two threads may push in another order than that of their values.
        let value = value.max(self.objects.back().map_or(0, |&(last, _)| last));
        self.objects.push_back((value, Box::new(object)));
    }

    /// The objects whose values were reached.
    pub(crate) fn take_until(&mut self, reached: u64) -> Self {
        let count = self.objects.partition_point(|&(value, _)| value <= reached);
        Self { objects: self.objects.drain(..count).collect() }
    }
}

impl fmt::Debug for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retired").field("objects", &self.objects.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn objects_go_when_their_value_was_reached() {
        let gone = Arc::new(AtomicUsize::new(0));
        let mut retired = Retired::default();
        for value in [3, 5, 4, 9] {
            retired.push(value, Counted(Arc::clone(&gone)));
        }
        for (reached, count) in [(2, 0), (3, 1), (4, 1), (8, 3), (9, 4)] {
            drop(retired.take_until(reached));
            assert_eq!(gone.load(Relaxed), count, "{reached}");
        }
        assert!(retired.is_empty());
    }
}
