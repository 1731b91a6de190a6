//! Who has guessed too often: so many wrong digests of one app and one source within five minutes lock this pair for half an
//! hour. Others are not touched, so nobody can lock out a customer from elsewhere.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use numbering::AppId;

use super::shards::{PARTS, Shards};

/// Wrong digests that lock.
const FAILURES: usize = 10;
/// Within which time.
const WITHIN: Duration = Duration::from_secs(5 * 60);
/// For how long.
const LOCKED: Duration = Duration::from_secs(30 * 60);

type Pair = (AppId, IpAddr);

/// Counts wrong digests.
pub(crate) struct Lockout {
    parts: Shards<Part>,
    /// Of one part.
    limit: usize,
    locks: AtomicU64,
    forgotten: AtomicU64,
}

#[derive(Default)]
struct Part {
    pairs: HashMap<Pair, Failures>,
    /// In the order in which they came.
    order: VecDeque<Pair>,
}

#[derive(Default)]
struct Failures {
    times: VecDeque<Duration>,
    locked_until: Duration,
}

impl Failures {
    /// Nothing of it counts any more.
    fn is_over(&self, now: Duration) -> bool {
        self.locked_until <= now && self.times.back().is_none_or(|last| now.saturating_sub(*last) > WITHIN)
    }
}

impl Lockout {
    /// Knows so many pairs.
    pub(crate) fn new(limit: usize) -> Lockout {
        Lockout {
            parts: Shards::default(),
            limit: (limit / PARTS).max(1),
            locks: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Whether this pair is locked.
    pub(crate) fn is_locked(&self, now: Duration, app: AppId, source: IpAddr) -> bool {
        let pair = (app, site(source));
        self.parts.with(pair, |part| part.pairs.get(&pair).is_some_and(|failures| failures.locked_until > now))
    }

    /// A wrong digest.
    pub(crate) fn on_failure(&self, now: Duration, app: AppId, source: IpAddr) {
        let pair = (app, site(source));
        self.parts.with(pair, |part| {
            if !part.pairs.contains_key(&pair) {
                self.make_room(part, now);
                part.order.push_back(pair);
            }
            let failures = part.pairs.entry(pair).or_default();
            failures.times.retain(|at| now.saturating_sub(*at) <= WITHIN);
            failures.times.push_back(now);
            if failures.times.len() >= FAILURES {
                failures.times.clear();
                failures.locked_until = now.saturating_add(LOCKED);
                self.locks.fetch_add(1, Relaxed);
            }
        });
    }

    fn make_room(&self, part: &mut Part, now: Duration) {
        while let Some(oldest) = part.order.front() {
            let is_over = part.pairs.get(oldest).is_none_or(|failures| failures.is_over(now));
            if !is_over && part.order.len() < self.limit {
                return;
            }
            part.pairs.remove(oldest);
            part.order.pop_front();
            if !is_over {
                self.forgotten.fetch_add(1, Relaxed);
            }
        }
    }

    /// How often a pair has been locked.
    pub(crate) fn locks(&self) -> u64 {
        self.locks.load(Relaxed)
    }

    /// How many pairs have been forgotten too early.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Relaxed)
    }
}

/// Whose a source is: one host of IPv4, one network of IPv6, whose hosts are for the taking.
fn site(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
