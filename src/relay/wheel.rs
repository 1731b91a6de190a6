//! Deadlines of a worker's sessions: a timing wheel of one-millisecond slots (Varghese and Lauck, 1987).
//!
//! Each session has one deadline, a link in its slot's list: arming, moving and disarming cost a few stores however many
//! there are, and nothing is allocated but when a worker has more sessions than ever before. What falls into one
//! millisecond is handled in one wake-up, at its end: never early, at most a millisecond late.
//!
//! ```text
//!   tick ─▶ │ 0 │ 1 │ 2 │ … │ 4095 │     slot = millisecond mod 4096
//!             │       └─▶ session 9 ⇄ session 4
//!             └─▶ session 2              a deadline beyond the wheel waits in its last slot and is dealt again
//! ```

use std::time::Duration;

const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Node {
    next: u32,
    previous: u32,
    /// [`NONE`] while not armed.
    slot: u32,
    at: Duration,
}

const UNARMED: Node = Node { next: NONE, previous: NONE, slot: NONE, at: Duration::ZERO };

/// One deadline per key; keys are small numbers, places in a slab.
pub(super) struct Wheel {
    heads: Box<[u32; SLOTS]>,
    occupied: [u64; WORDS],
    nodes: Vec<Node>,
    /// The millisecond up to which everything has been handed out; it never goes back.
    tick: u64,
}

impl Wheel {
    pub(super) fn new() -> Wheel {
        Wheel { heads: Box::new([NONE; SLOTS]), occupied: [0; WORDS], nodes: Vec::new(), tick: 0 }
    }

    /// Sets the deadline of `key`, in place of the one before; `None` disarms.
    pub(super) fn set(&mut self, key: usize, at: Option<Duration>) {
        if self.nodes.len() <= key {
            if at.is_none() {
                return;
            }
            self.nodes.resize(key + 1, UNARMED);
        }
        self.unlink(key);
        if let Some(at) = at {
            self.link(key, at);
        }
    }

    /// The deadline of `key`.
    pub(super) fn get(&self, key: usize) -> Option<Duration> {
        self.nodes.get(key).filter(|node| node.slot != NONE).map(|node| node.at)
    }

    /// When [`Wheel::pop_due`] may have something next.
    pub(super) fn next(&self) -> Option<Duration> {
        self.first().map(|(millisecond, _)| Duration::from_millis(millisecond))
    }

    /// Takes one key whose deadline is over at `now`, with the deadline.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<(usize, Duration)> {
        let present = begun(now);
        loop {
            let Some((millisecond, slot)) = self.first().filter(|(millisecond, _)| *millisecond <= present) else {
                self.tick = self.tick.max(present);
                return None;
            };
            let key = self.heads[slot] as usize;
            let at = self.nodes[key].at;
            self.unlink(key);
            if at <= now {
                return Some((key, at));
            }
            // It lay beyond the wheel. No slot before this one holds anything, so the wheel may turn up to here: seen from
            // the old tick it would fall into the same slot again.
            self.tick = millisecond;
            self.link(key, at);
        }
    }

    fn link(&mut self, key: usize, at: Duration) {
        let millisecond = ended(at);
        let last = self.tick.saturating_add(SLOTS as u64 - 1);
        let slot = (millisecond.clamp(self.tick, last) % SLOTS as u64) as usize;
        let head = self.heads[slot];
        self.nodes[key] = Node { next: head, previous: NONE, slot: slot as u32, at };
        if head != NONE {
            self.nodes[head as usize].previous = key as u32;
        }
        self.heads[slot] = key as u32;
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    fn unlink(&mut self, key: usize) {
        let node = self.nodes[key];
        if node.slot == NONE {
            return;
        }
        let slot = node.slot as usize;
        if node.next != NONE {
            self.nodes[node.next as usize].previous = node.previous;
        }
        if node.previous == NONE {
            self.heads[slot] = node.next;
            if node.next == NONE {
                self.occupied[slot / 64] &= !(1 << (slot % 64));
            }
        } else {
            self.nodes[node.previous as usize].next = node.next;
        }
        self.nodes[key] = UNARMED;
    }

    /// The first slot from `tick` on that holds something: its millisecond and its place.
    fn first(&self) -> Option<(u64, usize)> {
        let start = (self.tick % SLOTS as u64) as usize;
        let (word, bit) = (start / 64, start % 64);
        // The word of `tick` is looked at twice: from its bit on, and, after all others, up to it.
        for step in 0..=WORDS {
            let place = (word + step) % WORDS;
            let mut bits = self.occupied[place];
            if step == 0 {
                bits &= u64::MAX << bit;
            } else if step == WORDS {
                bits &= !(u64::MAX << bit);
            }
            if bits != 0 {
                let slot = place * 64 + bits.trailing_zeros() as usize;
                let distance = (slot + SLOTS - start) % SLOTS;
                return Some((self.tick.saturating_add(distance as u64), slot));
            }
        }
        None
    }
}

/// The millisecond that has begun at a time. In `u64`: `Duration::as_millis` divides 128 bits.
fn begun(at: Duration) -> u64 {
    at.as_secs().saturating_mul(1000).saturating_add(u64::from(at.subsec_millis()))
}

/// The first millisecond that begins at or after a time. To the nanosecond: a deadline in a slot that begins before it would
/// be looked at, found early, and dealt into the same slot for ever.
fn ended(at: Duration) -> u64 {
    at.as_secs().saturating_mul(1000).saturating_add(u64::from(at.subsec_nanos().div_ceil(1_000_000)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOBODY: [usize; 0] = [];

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn due(wheel: &mut Wheel, now: Duration) -> Vec<usize> {
        let mut keys: Vec<_> = std::iter::from_fn(|| wheel.pop_due(now)).map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn nothing_is_handed_out_early_and_a_millisecond_is_handed_out_together() {
        let mut wheel = Wheel::new();
        wheel.set(1, Some(Duration::from_micros(20_100)));
        wheel.set(2, Some(Duration::from_micros(20_900)));
        wheel.set(3, Some(Duration::from_micros(21_001)));
        assert_eq!(wheel.next(), Some(ms(21)));
        assert_eq!(due(&mut wheel, Duration::from_micros(20_999)), NOBODY);
        assert_eq!(due(&mut wheel, ms(21)), [1, 2]);
        assert_eq!(wheel.next(), Some(ms(22)));
        assert_eq!(due(&mut wheel, ms(22)), [3]);
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_deadline_is_moved_and_disarmed() {
        let mut wheel = Wheel::new();
        for key in 0..3 {
            wheel.set(key, Some(ms(10)));
        }
        wheel.set(1, None);
        wheel.set(2, Some(ms(30)));
        assert_eq!((wheel.get(0), wheel.get(1), wheel.get(2)), (Some(ms(10)), None, Some(ms(30))));
        assert_eq!(due(&mut wheel, ms(20)), [0]);
        wheel.set(2, Some(ms(25)));
        assert_eq!(due(&mut wheel, ms(25)), [2]);
        wheel.set(77, None); // never known
        assert_eq!(wheel.get(77), None);
    }

    #[test]
    fn a_deadline_of_the_past_is_due_at_once() {
        let mut wheel = Wheel::new();
        assert_eq!(due(&mut wheel, ms(5000)), NOBODY);
        wheel.set(0, Some(ms(3)));
        assert_eq!(wheel.next(), Some(ms(5000)));
        assert_eq!(due(&mut wheel, ms(5000)), [0]);
    }

    #[test]
    fn a_nanosecond_after_the_millisecond_is_in_the_next_slot() {
        let mut wheel = Wheel::new();
        wheel.set(0, Some(ms(20) + Duration::from_nanos(2)));
        assert_eq!(due(&mut wheel, ms(20) + Duration::from_nanos(1)), NOBODY);
        assert_eq!(due(&mut wheel, ms(21)), [0]);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_comes_in_its_time() {
        let mut wheel = Wheel::new();
        wheel.set(0, Some(ms(60_000)));
        wheel.set(1, Some(Duration::MAX));
        let mut now = ms(0);
        let mut woken = 0;
        while let Some(next) = wheel.next().filter(|_| now < ms(60_000)) {
            now = next;
            woken += 1;
            assert_eq!(due(&mut wheel, now), if now >= ms(60_000) { vec![0] } else { vec![] });
        }
        assert_eq!(now, ms(60_000));
        assert!(woken < 20, "woken {woken} times for one deadline a minute away");
    }

    #[test]
    fn it_agrees_with_a_sorted_map_whatever_is_armed() {
        let mut random = 42_u64;
        let mut draw = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let (mut wheel, mut model) = (Wheel::new(), BTreeMap::new());
        let mut now = Duration::ZERO;
        for _ in 0..50_000 {
            let key = draw(200) as usize;
            match draw(8) {
                0 => {
                    wheel.set(key, None);
                    model.remove(&key);
                }
                1..=5 => {
                    let reach = [30_000, 5_000_000, 20_000_000][draw(3) as usize];
                    let at = now + Duration::from_nanos(draw(reach) * 1000 + draw(3));
                    wheel.set(key, Some(at));
                    model.insert(key, at);
                }
                _ => {
                    now += Duration::from_nanos(draw(40_000) * 1000 + draw(3));
                    let end_of_slot = |at: &Duration| ms(at.as_nanos().div_ceil(1_000_000) as u64);
                    let expected: Vec<_> =
                        model.iter().filter(|(_, at)| end_of_slot(at) <= now).map(|(key, _)| *key).collect();
                    for key in &expected {
                        model.remove(key);
                    }
                    assert_eq!(due(&mut wheel, now), expected, "at {now:?}");
                }
            }
            assert_eq!(wheel.get(key), model.get(&key).copied());
        }
    }
}
