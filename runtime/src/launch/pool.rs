//! Objects that launches use one after the other.

use crate::vk::Device;
use crossbeam::queue::SegQueue;
use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// Objects of a device that are free: a lock-free list, because threads launch side by side.
pub(crate) struct Pool<T> {
    free: SegQueue<T>,
    device: Arc<Device>,
}

impl<T> Pool<T> {
    pub(crate) fn new(device: &Arc<Device>) -> Self {
        Self { free: SegQueue::new(), device: Arc::clone(device) }
    }

    /// An object that was given back, or a new one if there is none.
    pub(crate) fn take<E>(
        self: &Arc<Self>,
        make: impl FnOnce(&Device) -> Result<T, E>,
    ) -> Result<Pooled<T>, E> {
        let object = match self.free.pop() {
            Some(object) => object,
            None => make(&self.device)?,
        };
        Ok(Pooled { object: Some(object), pool: Arc::clone(self) })
    }
}

/// An object that goes back to its pool when it is dropped.
pub(crate) struct Pooled<T> {
    /// There until Drop.
    object: Option<T>,
    pool: Arc<Pool<T>>,
}

impl<T> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.object.as_ref().expect("there until Drop")
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.object.as_mut().expect("there until Drop")
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        // In a child made by `fork` the list may be half changed. On a lost device a kernel may
        // still read the object, so nobody gets it.
        if !self.pool.device.is_inherited() && self.pool.device.check().is_ok() {
            self.object.take().into_iter().for_each(|object| self.pool.free.push(object));
        }
    }
}
