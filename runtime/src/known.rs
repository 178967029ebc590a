//! Kernels by their words, as long as somebody has them. Pure.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

/// How long a kernel's compiled forms are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// As long as the runtime. For kernels of the program's text, of which there are only so many
    /// and which are often named anew for each use.
    Always,
    /// While somebody has the kernel. Nothing limits how many a program makes while it runs.
    WhileUsed,
}

/// What was made of words.
pub(crate) struct Known<T> {
    entries: HashMap<Arc<[u32]>, Entry<T>>,
}

struct Entry<T> {
    used: Weak<T>,
    kept: Option<Arc<T>>,
}

impl<T> Known<T> {
    pub(crate) fn new() -> Self {
        Self { entries: HashMap::new() }
    }

    /// What was made of these words and is still there, or what is made of them now.
    pub(crate) fn get<E>(
        &mut self,
        words: &[u32],
        keep: Keep,
        make: impl FnOnce(Arc<[u32]>) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        if let Some(entry) = self.entries.get_mut(words)
            && let Some(value) = entry.used.upgrade()
        {
            if keep == Keep::Always {
                entry.kept = Some(Arc::clone(&value));
            }
            return Ok(value);
        }
        // Making a kernel takes longer than a look at all that there are.
        self.entries.retain(|_, entry| entry.used.strong_count() > 0);
        let words: Arc<[u32]> = words.into();
        let value = Arc::new(make(Arc::clone(&words))?);
        let kept = (keep == Keep::Always).then(|| Arc::clone(&value));
        self.entries.insert(words, Entry { used: Arc::downgrade(&value), kept });
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn get(known: &mut Known<u32>, words: &[u32], keep: Keep, value: u32) -> Arc<u32> {
        known.get::<Infallible>(words, keep, |_| Ok(value)).unwrap()
    }

    #[test]
    fn equal_words_share_what_is_in_use() {
        let mut known = Known::new();
        let first = get(&mut known, &[1, 2], Keep::WhileUsed, 1);
        assert!(Arc::ptr_eq(&first, &get(&mut known, &[1, 2], Keep::WhileUsed, 2)));
        assert_eq!(*get(&mut known, &[1, 3], Keep::WhileUsed, 3), 3);
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
        assert_eq!(known.get(&[1], Keep::Always, |_| Err("no")), Err("no"));
        assert_eq!(*get(&mut known, &[1], Keep::Always, 5), 5);
    }
}
