//! When something must be looked at again.
//!
//! A timer is a field of the state that arms it. This heap only holds *hints* (when, whose): arming a timer pushes one,
//! leaving the state does not search for it, and a hint that comes due for a state that no longer wants it is dropped
//! by its owner. So arming costs O(log n), disarming nothing, and a forgotten hint can never fire a timer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Hints of deadlines, earliest first.
#[derive(Debug)]
pub struct Deadlines<K: Ord> {
    heap: BinaryHeap<Reverse<(Duration, K)>>,
}

impl<K: Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Deadlines { heap: BinaryHeap::new() }
    }
}

impl<K: Ord> Deadlines<K> {
    /// Asks to be reminded of `key` at `at`.
    pub fn push(&mut self, at: Duration, key: K) {
        self.heap.push(Reverse((at, key)));
    }

    /// The next hint's time; its owner may have lost interest since.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one hint that is due at `now`: when, and whose. An owner that remembers the earliest hint it has pushed knows by
    /// the time whether it is that one; any other it may ignore, or hints would breed hints.
    pub fn pop_due(&mut self, now: Duration) -> Option<(Duration, K)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(hint)| hint)
    }

    /// Hints held, stale ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// No hint is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}
