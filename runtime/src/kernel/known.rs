//! Kernels by their words and entry point, as long as they are in use. Pure.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

/// How long a kernel's compiled forms are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// As long as the runtime. For kernels that are types of the program: their number is fixed,
    /// and a program may ask for the same one at each use.
    Always,
    /// While the kernel is in use. Nothing limits how many a program makes while it runs.
    WhileUsed,
}

/// The values that were made of words and entry points.
pub(crate) struct Known<T> {
    /// By the words: the value for each entry point that was asked for. A module seldom has more
    /// than a few.
    entries: HashMap<Arc<[u32]>, Vec<Entry<T>>>,
}

struct Entry<T> {
    /// The entry point's name; none if the only one was asked for.
    name: Option<Box<str>>,
    used: Weak<T>,
    kept: Option<Arc<T>>,
}

impl<T> Known<T> {
    pub(crate) fn new() -> Self {
        Self { entries: HashMap::new() }
    }

    /// The value of these words and this entry point: the one that was made before and is still
    /// there, or a new one.
    pub(crate) fn get<E>(
        &mut self,
        words: &[u32],
        name: Option<&str>,
        keep: Keep,
        make: impl FnOnce(Arc<[u32]>) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let named = self.entries.get_mut(words).into_iter().flatten();
        for entry in named.filter(|entry| entry.name.as_deref() == name) {
            if let Some(value) = entry.used.upgrade() {
                if keep == Keep::Always {
                    entry.kept = Some(Arc::clone(&value));
                }
                return Ok(value);
            }
        }
        // Making a kernel takes longer than this search for unused ones.
        self.entries.retain(|_, entries| {
            entries.retain(|entry| entry.used.strong_count() > 0);
            !entries.is_empty()
        });
        // Entry points of one module share its words.
        let words = match self.entries.get_key_value(words) {
            Some((words, _)) => Arc::clone(words),
            None => words.into(),
        };
        let value = Arc::new(make(Arc::clone(&words))?);
        let kept = (keep == Keep::Always).then(|| Arc::clone(&value));
        let entry = Entry { name: name.map(Box::from), used: Arc::downgrade(&value), kept };
        self.entries.entry(words).or_default().push(entry);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn get(known: &mut Known<u32>, words: &[u32], keep: Keep, value: u32) -> Arc<u32> {
        known.get::<Infallible>(words, None, keep, |_| Ok(value)).unwrap()
    }

    #[test]
    fn equal_words_share_what_is_in_use() {
        let mut known = Known::new();
        let first = get(&mut known, &[1, 2], Keep::WhileUsed, 1);
        assert!(Arc::ptr_eq(&first, &get(&mut known, &[1, 2], Keep::WhileUsed, 2)));
        assert_eq!(*get(&mut known, &[1, 3], Keep::WhileUsed, 3), 3);
    }

    #[test]
    fn entry_points_of_equal_words_are_told_apart() {
        let mut known = Known::new();
        let mut named = |name, value| {
            let make = |words| Ok::<(Arc<[u32]>, u32), Infallible>((words, value));
            known.get(&[1, 2], name, Keep::WhileUsed, make).unwrap()
        };
        let (only, a, b) = (named(None, 1), named(Some("a"), 2), named(Some("b"), 3));
        assert_eq!((only.1, a.1, b.1), (1, 2, 3));
        assert!(Arc::ptr_eq(&a.0, &b.0), "the words are there once");
        assert!(Arc::ptr_eq(&a, &named(Some("a"), 4)) && Arc::ptr_eq(&b, &named(Some("b"), 5)));
        drop(a);
        assert_eq!(named(Some("a"), 6).1, 6, "it is made anew");
        assert!(Arc::ptr_eq(&b, &named(Some("b"), 7)), "the other stayed");
    }

    #[test]
    fn what_nobody_has_is_gone_with_its_words() {
        let mut known = Known::new();
        for n in 0..100 {
            let made = get(&mut known, &[n], Keep::WhileUsed, n);
            let gone = Arc::downgrade(&made);
            drop(made);
            assert!(gone.upgrade().is_none(), "{n}");
            assert_eq!(known.entries.len(), 1, "{n}");
        }
        assert_eq!(*get(&mut known, &[99], Keep::WhileUsed, 7), 7, "it is made anew");
    }

    #[test]
    fn kernels_of_the_text_stay_also_if_they_came_at_run_time_first() {
        let mut known = Known::new();
        drop(get(&mut known, &[1], Keep::Always, 1));
        let both = get(&mut known, &[2], Keep::WhileUsed, 2);
        drop((get(&mut known, &[2], Keep::Always, 0), both));
        assert_eq!(*get(&mut known, &[1], Keep::WhileUsed, 0), 1);
        assert_eq!(*get(&mut known, &[2], Keep::WhileUsed, 0), 2);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let mut known = Known::<u32>::new();
        assert_eq!(known.get(&[1], None, Keep::Always, |_| Err("no")), Err("no"));
        assert_eq!(*get(&mut known, &[1], Keep::Always, 5), 5);
    }
}
