//! Which MESSAGEs have been answered, and how: so that none goes on twice, however often and by whatever way it comes.
//!
//! A repeat in the same transaction is the layer's to absorb (RFC 3261 §17.2.2), and it tells of copies by other ways while that
//! transaction lives. One that comes after it (over a stream that is at once) is known by Call-ID, From tag and CSeq (§8.2.2.2), and
//! gets the same answer.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use sip::message::Message;

use super::Outcome;

/// How long one is known: longer than any sender repeats it.
const KEPT: Duration = Duration::from_secs(300);

/// How many are known; beyond it the oldest are forgotten early.
const MOST: usize = 131_072;

/// What a MESSAGE is known by: 128 bits of a hash whose keys nobody outside knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Print(u128);

#[derive(Debug, Default)]
pub(crate) struct Recent {
    keys: [RandomState; 2],
    known: HashMap<Print, Outcome>,
    /// In the order of their coming.
    order: VecDeque<(Duration, Print)>,
}

impl Recent {
    pub(crate) fn print(&self, message: &Message) -> Print {
        let identity = (message.call_id(), message.from_tag(), message.cseq().number);
        let [high, low] = [0, 1].map(|place: usize| self.keys[place].hash_one(identity));
        Print(u128::from(high) << 64 | u128::from(low))
    }

    pub(crate) fn get(&mut self, now: Duration, print: Print) -> Option<Outcome> {
        self.forget(now);
        self.known.get(&print).copied()
    }

    /// One has been answered so.
    pub(crate) fn set(&mut self, now: Duration, print: Print, outcome: Outcome) {
        if self.known.insert(print, outcome).is_none() {
            self.order.push_back((now, print));
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Duration) {
        while let Some((at, print)) = self.order.front().copied() {
            if self.order.len() <= MOST && now.saturating_sub(at) < KEPT {
                return;
            }
            self.order.pop_front();
            self.known.remove(&print);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_known_for_its_time_and_no_more_than_so_many() {
        let mut recent = Recent::default();
        let answered = Outcome::Delivered;
        recent.set(Duration::ZERO, Print(1), answered);
        assert_eq!(recent.get(KEPT - Duration::from_millis(1), Print(1)), Some(answered));
        assert_eq!(recent.get(KEPT, Print(1)), None);
        for print in 0..=MOST as u128 {
            recent.set(KEPT, Print(print), answered);
        }
        assert_eq!(recent.get(KEPT, Print(0)), None);
        assert_eq!(recent.get(KEPT, Print(1)), Some(answered));
        assert_eq!((recent.known.len(), recent.order.len()), (MOST, MOST));
    }
}
