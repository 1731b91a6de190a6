//! Shards: a table in sixteen parts, each behind a lock of its own, so that requests seldom wait for each other.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

/// How many parts.
pub(crate) const PARTS: usize = 16;

/// Sixteen of a thing.
pub(crate) struct Shards<T> {
    parts: [Mutex<T>; PARTS],
    hasher: RandomState,
}

impl<T: Default> Default for Shards<T> {
    fn default() -> Shards<T> {
        Shards { parts: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl<T> Shards<T> {
    /// Does something with the part that a key belongs to, alone.
    pub(crate) fn with<R>(&self, key: impl Hash, work: impl FnOnce(&mut T) -> R) -> R {
        let place = usize::try_from(self.hasher.hash_one(key) % PARTS as u64).unwrap_or_default();
        // Nothing is left half-done in a part by a panic: each change is one insertion or one store.
        work(&mut self.parts[place].lock().unwrap_or_else(PoisonError::into_inner))
    }
}
