//! Which requests have been here before.
//!
//! What is remembered is the digest: it was checked, so nobody without the secret can make one, and it covers Nonce and Created
//! both. It is remembered until its Created would be refused anyway. The number is bounded; beyond it the oldest is forgotten
//! and counted.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::shards::{PARTS, Shards};

/// Remembers digests.
pub(crate) struct Nonces {
    parts: Shards<Part>,
    /// Of one part.
    limit: usize,
    life: Duration,
    forgotten: AtomicU64,
}

#[derive(Default)]
struct Part {
    known: HashSet<u128>,
    /// Until when, the first to go first.
    order: VecDeque<(Duration, u128)>,
}

impl Nonces {
    /// Remembers so many for so long.
    pub(crate) fn new(limit: usize, life: Duration) -> Nonces {
        Nonces { parts: Shards::default(), limit: (limit / PARTS).max(1), life, forgotten: AtomicU64::new(0) }
    }

    /// Whether this digest has been here; it is not remembered by that.
    pub(crate) fn has(&self, digest: u128) -> bool {
        self.parts.with(digest, |part| part.known.contains(&digest))
    }

    /// Whether this digest is here for the first time.
    pub(crate) fn is_new(&self, now: Duration, digest: u128) -> bool {
        self.parts.with(digest, |part| {
            while let Some((_, old)) = part.order.front().copied().filter(|(until, _)| *until <= now) {
                part.known.remove(&old);
                part.order.pop_front();
            }
            if !part.known.insert(digest) {
                return false;
            }
            part.order.push_back((now.saturating_add(self.life), digest));
            if part.order.len() > self.limit
                && let Some((_, old)) = part.order.pop_front()
            {
                part.known.remove(&old);
                self.forgotten.fetch_add(1, Relaxed);
            }
            true
        })
    }

    /// How many have been forgotten too early.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Relaxed)
    }
}
