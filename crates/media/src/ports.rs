//! The pool of RTP ports that the daemon has bound (RTP even, RTCP the next odd one; RFC 3550 §11).
//!
//! ```text
//!             add          take             release           the quarantine is over
//!   Unbound ─────▶ Fresh ────────▶ Taken ───────────▶ Resting ──────────┐
//!                                    ▲                                  │ take
//!                                    └──────────────────────────────────┘
//! ```
//!
//! A port that a call has given back rests for a while, because the last packets of the old call may still arrive and would
//! be heard in the next one. Ports come back into use in the order in which they were released, so each rests the longest.

use std::collections::VecDeque;
use std::time::Duration;

/// How many ports should stand ready to be taken: a burst of calls is not to wait for sockets.
pub const RESERVE: usize = 256;

/// The pool.
#[derive(Debug)]
pub struct Ports {
    limit: usize,
    quarantine: Duration,
    /// Of every even port number, at half of it.
    places: Box<[Place]>,
    /// Never taken so far.
    fresh: VecDeque<u16>,
    /// Released, in the order of their release, with the end of their quarantine.
    resting: VecDeque<(Duration, u16)>,
    in_use: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Unbound,
    Fresh,
    Taken,
    Resting,
}

impl Ports {
    /// An empty pool that will hold at most `limit` RTP ports, each resting for `quarantine` after use.
    #[must_use]
    pub fn new(limit: usize, quarantine: Duration) -> Ports {
        Ports {
            limit,
            quarantine,
            places: vec![Place::Unbound; 1 << 15].into_boxed_slice(),
            fresh: VecDeque::new(),
            resting: VecDeque::new(),
            in_use: 0,
        }
    }

    /// Takes a bound RTP port (and the RTCP port above it) into the pool. False, and the daemon may close it again, when it
    /// is odd or zero, in the pool already, or when the pool is full.
    pub fn add(&mut self, port: u16) -> bool {
        let full = self.bound() >= self.limit;
        match self.place(port) {
            Some(place) if *place == Place::Unbound && !full => *place = Place::Fresh,
            Some(_) | None => return false,
        }
        self.fresh.push_back(port);
        true
    }

    /// How many more the daemon should bind now, so that [`RESERVE`] stand ready: never more than the limit allows.
    #[must_use]
    pub fn wanted(&self, now: Duration) -> usize {
        RESERVE.saturating_sub(self.ready(now)).min(self.limit.saturating_sub(self.bound()))
    }

    /// Hands out an RTP port; `None` when all are in use or rest.
    pub fn take(&mut self, now: Duration) -> Option<u16> {
        let port = match self.fresh.pop_front() {
            Some(port) => port,
            None => {
                self.resting.front().filter(|(until, _)| *until <= now)?;
                self.resting.pop_front()?.1
            }
        };
        *self.place(port)? = Place::Taken;
        self.in_use += 1;
        Some(port)
    }

    /// Takes a port back; it rests for the quarantine. False, and nothing happens, when it had not been handed out.
    pub fn release(&mut self, now: Duration, port: u16) -> bool {
        match self.place(port) {
            Some(place) if *place == Place::Taken => *place = Place::Resting,
            Some(_) | None => return false,
        }
        self.in_use -= 1;
        self.resting.push_back((now.saturating_add(self.quarantine), port));
        true
    }

    /// How many are handed out.
    #[must_use]
    pub const fn in_use(&self) -> usize {
        self.in_use
    }

    /// How many are in the pool: handed out, ready or resting.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.in_use + self.fresh.len() + self.resting.len()
    }

    /// How many can be taken now.
    #[must_use]
    pub fn ready(&self, now: Duration) -> usize {
        self.fresh.len() + self.resting.partition_point(|(until, _)| *until <= now)
    }

    fn place(&mut self, port: u16) -> Option<&mut Place> {
        if port == 0 || !port.is_multiple_of(2) {
            return None;
        }
        self.places.get_mut(usize::from(port / 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::{BTreeMap, BTreeSet};

    const QUARANTINE: Duration = Duration::from_secs(10);

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pool(ports: impl IntoIterator<Item = u16>) -> Ports {
        let mut pool = Ports::new(1000, QUARANTINE);
        for port in ports {
            assert!(pool.add(port));
        }
        pool
    }

    #[test]
    fn an_odd_port_zero_or_the_same_twice_is_not_added() {
        let mut pool = pool([10_000, 65_534]);
        for port in [0, 1, 10_001, 65_535, 10_000, 65_534] {
            assert!(!pool.add(port), "{port}");
        }
        assert_eq!(pool.take(s(0)), Some(10_000));
        assert!(!pool.add(10_000), "it is bound still");
        pool.release(s(0), 10_000);
        assert!(!pool.add(10_000), "and while it rests");
    }

    #[test]
    fn a_released_port_rests_and_the_one_that_rested_longest_comes_first() {
        let mut pool = pool([10_000, 10_002]);
        assert_eq!((pool.take(s(0)), pool.take(s(0)), pool.take(s(0))), (Some(10_000), Some(10_002), None));
        assert!(pool.release(s(1), 10_002));
        assert!(pool.release(s(2), 10_000));
        assert_eq!(pool.take(Duration::from_millis(10_999)), None);
        assert_eq!((pool.take(s(11)), pool.take(s(11))), (Some(10_002), None));
        assert_eq!(pool.take(s(12)), Some(10_000));
    }

    #[test]
    fn fresh_ports_go_before_rested_ones() {
        let mut pool = pool([10_000]);
        pool.take(s(0));
        pool.release(s(0), 10_000);
        assert!(pool.add(10_002));
        assert_eq!((pool.take(s(60)), pool.take(s(60))), (Some(10_002), Some(10_000)));
    }

    #[test]
    fn only_what_was_handed_out_can_be_released() {
        let mut pool = pool([10_000]);
        assert!(!pool.release(s(0), 10_000));
        assert!(!pool.release(s(0), 10_001));
        assert!(!pool.release(s(0), 20_000));
        pool.take(s(0));
        assert!(pool.release(s(0), 10_000));
        assert!(!pool.release(s(0), 10_000));
        assert_eq!((pool.in_use(), pool.bound()), (0, 1));
    }

    #[test]
    fn the_reserve_is_wanted_up_to_the_limit() {
        let mut pool = Ports::new(RESERVE + 8, QUARANTINE);
        assert_eq!(pool.wanted(s(0)), RESERVE);
        for port in (10_000..).step_by(2).take(RESERVE) {
            pool.add(port);
        }
        assert_eq!(pool.wanted(s(0)), 0);
        for _ in 0..20 {
            pool.take(s(0));
        }
        assert_eq!(pool.wanted(s(0)), 8, "20 are missing but only 8 are left under the limit");
        for port in (20_000..).step_by(2).take(8) {
            assert!(pool.add(port));
        }
        assert!(!pool.add(30_000), "full");
        assert_eq!(pool.wanted(s(0)), 0);
        assert_eq!(Ports::new(0, QUARANTINE).wanted(s(0)), 0);
    }

    #[test]
    fn resting_ports_do_not_count_as_ready() {
        let mut pool = pool((10_000..).step_by(2).take(RESERVE));
        let port = pool.take(s(0)).unwrap();
        pool.release(s(0), port);
        assert_eq!((pool.ready(s(9)), pool.wanted(s(9))), (RESERVE - 1, 1));
        assert_eq!((pool.ready(s(10)), pool.wanted(s(10))), (RESERVE, 0));
    }

    /// A pool and a naive model of it run the same random program.
    #[test]
    fn no_port_is_ever_handed_out_twice() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let limit = 40;
            let mut pool = Ports::new(limit, QUARANTINE);
            let mut bound = BTreeSet::new();
            let mut taken = BTreeSet::new();
            let mut rests_until = BTreeMap::new();
            let mut now = Duration::ZERO;
            for _ in 0..2000 {
                now += Duration::from_millis(u64::from(random.next_u32() % 1000));
                let port = 10_000 + (random.next_u32() % 100) as u16;
                match random.next_u32() % 4 {
                    0 => {
                        let allowed = port.is_multiple_of(2) && bound.len() < limit && !bound.contains(&port);
                        assert_eq!(pool.add(port), allowed);
                        if allowed {
                            bound.insert(port);
                        }
                    }
                    1 | 2 => {
                        let resting = |port| rests_until.get(port).is_some_and(|until| *until > now);
                        let possible = bound.iter().any(|port| !taken.contains(port) && !resting(port));
                        let port = pool.take(now);
                        assert_eq!(port.is_some(), possible);
                        if let Some(port) = port {
                            assert!(bound.contains(&port) && !resting(&port));
                            assert!(taken.insert(port), "{port} was handed out twice");
                        }
                    }
                    _ => {
                        let was_taken = taken.remove(&port);
                        assert_eq!(pool.release(now, port), was_taken);
                        if was_taken {
                            rests_until.insert(port, now + QUARANTINE);
                        }
                    }
                }
                assert_eq!((pool.in_use(), pool.bound()), (taken.len(), bound.len()));
            }
        }
    }
}
