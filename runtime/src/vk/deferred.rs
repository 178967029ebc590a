//! Objects that the program may drop while the device is still using them.
//!
//! Commands that use an object were submitted before it was dropped: until then the owner of the
//! commands keeps it ([`Recording::launch`](super::command::Recording::launch)). So the newest
//! value of the timeline at the time of the drop is reached after all of them. If it is reached
//! already the object is destroyed at once, else when a later submission or drop finds that it was.

use super::queues::Queues;
use std::{
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// An object that is destroyed when the device has done with it, some time after it was dropped.
pub(crate) struct Deferred<T: Send + 'static> {
    // Invariant: taken by Drop only.
    object: ManuallyDrop<T>,
    queues: Arc<Queues>,
}

impl<T: Send + 'static> Deferred<T> {
    pub(crate) fn new(object: T, queues: &Arc<Queues>) -> Self {
        Self { object: ManuallyDrop::new(object), queues: Arc::clone(queues) }
    }
}

impl<T: Send + 'static> DerefMut for Deferred<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.object
    }
}

impl<T: Send + 'static> Deref for Deferred<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T: Send + 'static> Drop for Deferred<T> {
    fn drop(&mut self) {
        // SAFETY: nothing uses the field after Drop.
        let object = unsafe { ManuallyDrop::take(&mut self.object) };
        self.queues.retire(object);
    }
}
