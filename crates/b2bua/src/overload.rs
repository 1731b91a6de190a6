//! New calls wait here for their turn; when too many come, some are refused, soon and cheaply (RFC 3261 §21.5.4; the local
//! control of RFC 6357 §5.1).
//!
//! What belongs to a call is never here: it is handled as it is read. So the time that is left decides how many new calls
//! are taken, and nobody has to guess a rate. A caller who waits too long gets a 503 well before his phone would repeat
//! the INVITE (T1, 500 ms), for repeats are what a server in trouble chokes on.
//!
//! ```text
//!   new INVITE ─▶ lane of its trunk ─▶ the lanes' turn, one call each ─▶ waited within patience: served
//!                      │ full: refused                                  └ longer: refused
//!
//!    ┌──────┐  somebody waited for 200 ms, or found no room   ┌────────────┐
//!    │ Calm │────────────────────────────────────────────────▶│ Overloaded │
//!    │200 ms│◀────────────────────────────────────────────────│   100 ms   │
//!    └──────┘  nobody was refused for 5 s                      └────────────┘
//! ```
//!
//! While the overload lasts, a lane is as long as what was served lately makes it: who would wait in vain is told so on
//! arrival, when his INVITE is at hand and refusing it is cheapest.
//!
//! Patience is longer in calm, so that a burst, or what came while the machine was busy elsewhere, is served whole; and shorter while the overload lasts, when those who are
//! served would otherwise all have waited as long as they may. A trunk that floods us fills its own lane and no other.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::settings::TrunkId;

/// How long a call may wait while there is no overload.
pub(crate) const CALM: Duration = Duration::from_millis(200);
/// How long a call may wait while there is.
pub(crate) const OVERLOADED: Duration = Duration::from_millis(100);
/// How long nobody must have been refused until the overload is over.
pub(crate) const OVER_AFTER: Duration = Duration::from_secs(5);

/// Calls that may wait in the lane of one trunk: as many as can be served within patience at the highest rate measured, and
/// as many again.
pub(crate) const LANE: usize = 2_048;
/// Calls that may wait in all.
pub(crate) const ROOM: usize = 8_192;
/// Bytes of their INVITEs that may.
pub(crate) const BYTES: usize = 16 << 20;

/// How long a refused INVITE is remembered at least: as long as its client may repeat it (64·T1).
pub(crate) const REMEMBERED: Duration = Duration::from_secs(32);
/// Refused INVITEs in one generation of the memory.
pub(crate) const GENERATION: usize = 1 << 18;

/// What becomes of the call whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn<T> {
    /// It is looked at.
    Serve(T),
    /// It has waited too long.
    Refuse(T),
}

/// The overload has begun, or is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Began,
    Ended { lasted: Duration, refused: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Calm,
    Overloaded { since: Duration, last_refusal: Duration, refused: u64 },
}

/// Calls served within [`OVERLOADED`], counted in windows of that length.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    began: Duration,
    counting: usize,
    /// In the last window that is over.
    counted: usize,
}

impl Pace {
    /// However slow we are, so many may wait: a turn of the loop is not to find an empty room.
    const LEAST: usize = 32;

    fn turn(&mut self, now: Duration) {
        let since = now.saturating_sub(self.began);
        if since >= OVERLOADED {
            self.counted = if since < OVERLOADED * 2 { self.counting } else { 0 };
            *self = Pace { began: now, counting: 0, counted: self.counted };
        }
    }

    /// As many as will be served before the last of them has waited too long.
    fn most(&self) -> usize {
        self.counted.max(self.counting).max(Pace::LEAST)
    }
}

#[derive(Debug)]
struct Waiting<T> {
    since: Duration,
    bytes: usize,
    call: T,
}

/// New calls that wait.
#[derive(Debug)]
pub(crate) struct Room<T> {
    /// A lane stays when it is empty: in calm that is after nearly every call.
    lanes: HashMap<TrunkId, VecDeque<Waiting<T>>>,
    /// Trunks whose lanes are not empty, in the order of their turns.
    turns: VecDeque<TrunkId>,
    len: usize,
    bytes: usize,
    pace: Pace,
    state: State,
    change: Option<Change>,
}

impl<T> Default for Room<T> {
    fn default() -> Self {
        Room {
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
            bytes: 0,
            pace: Pace::default(),
            state: State::Calm,
            change: None,
        }
    }
}

impl<T> Room<T> {
    /// Calls that wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Some are refused in these seconds.
    pub(crate) fn is_overloaded(&self) -> bool {
        match self.state {
            State::Calm => false,
            State::Overloaded { .. } => true,
        }
    }

    /// Lets a call wait, whose message has so many bytes and has waited somewhere `since` then.
    ///
    /// # Errors
    /// Too many wait: the call is given back, to be refused.
    pub(crate) fn enter(
        &mut self,
        now: Duration,
        since: Duration,
        trunk: TrunkId,
        bytes: usize,
        call: T,
    ) -> Result<(), T> {
        self.pace.turn(now);
        let turns = self.turns.len().max(1);
        let in_vain = |waiting: usize| match self.state {
            State::Calm => false,
            State::Overloaded { .. } => waiting * turns >= self.pace.most(),
        };
        let lane = self.lanes.entry(trunk).or_default();
        if in_vain(lane.len()) || lane.len() >= LANE || self.len >= ROOM || self.bytes + bytes > BYTES {
            self.on_refusal(now);
            return Err(call);
        }
        if lane.is_empty() {
            self.turns.push_back(trunk);
        }
        lane.push_back(Waiting { since, bytes, call });
        self.len += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// The call whose turn it is.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Turn<T>> {
        let trunk = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&trunk)?;
        let waiting = lane.pop_front()?;
        if lane.is_empty() {
            // What a flood has made of it is given back.
            if lane.capacity() > Pace::LEAST {
                *lane = VecDeque::new();
            }
        } else {
            self.turns.push_back(trunk);
        }
        self.len -= 1;
        self.bytes -= waiting.bytes;
        let patience = if self.is_overloaded() { OVERLOADED } else { CALM };
        self.pace.turn(now);
        if now.saturating_sub(waiting.since) < patience {
            self.pace.counting += 1;
            return Some(Turn::Serve(waiting.call));
        }
        self.on_refusal(now);
        Some(Turn::Refuse(waiting.call))
    }

    /// The call of a trunk that `is_it` means, before its turn.
    pub(crate) fn take(&mut self, trunk: TrunkId, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let lane = self.lanes.get_mut(&trunk)?;
        let place = lane.iter().position(|waiting| is_it(&waiting.call))?;
        let waiting = lane.remove(place)?;
        if lane.is_empty() {
            self.turns.retain(|turn| *turn != trunk);
        }
        self.len -= 1;
        self.bytes -= waiting.bytes;
        Some(waiting.call)
    }

    fn on_refusal(&mut self, now: Duration) {
        match &mut self.state {
            State::Calm => {
                self.state = State::Overloaded { since: now, last_refusal: now, refused: 1 };
                self.change = Some(Change::Began);
            }
            State::Overloaded { last_refusal, refused, .. } => {
                *last_refusal = now;
                *refused += 1;
            }
        }
    }

    /// When [`Room::on_time`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Calm => None,
            State::Overloaded { last_refusal, .. } => Some(last_refusal + OVER_AFTER),
        }
    }

    pub(crate) fn on_time(&mut self, now: Duration) {
        match self.state {
            State::Calm => {}
            State::Overloaded { since, last_refusal, refused } => {
                if now >= last_refusal + OVER_AFTER {
                    self.state = State::Calm;
                    self.change = Some(Change::Ended { lasted: last_refusal.saturating_sub(since), refused });
                }
            }
        }
    }

    /// The overload has begun, or is over, since this was last asked.
    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        self.change.take()
    }
}

/// The INVITEs that were refused without a transaction, by a hash: a repeat must not be taken after its original was refused,
/// or a call would come up that nobody waits for (RFC 3261 §8.2.7).
#[derive(Debug, Default)]
pub(crate) struct Refused {
    young: HashSet<u64>,
    old: HashSet<u64>,
    turned: Duration,
}

impl Refused {
    /// Remembers one for [`REMEMBERED`] at least, unless [`GENERATION`] more come before that.
    pub(crate) fn remember(&mut self, now: Duration, mark: u64) {
        self.turn(now);
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
        self.young.insert(mark);
    }

    /// Whether this one was refused.
    pub(crate) fn knows(&mut self, now: Duration, mark: u64) -> bool {
        self.turn(now);
        self.young.contains(&mark) || self.old.contains(&mark)
    }

    fn turn(&mut self, now: Duration) {
        if now.saturating_sub(self.turned) < REMEMBERED {
            return;
        }
        // Every look turns, so that the young ones came less than one generation's time after the last turn.
        let is_long_ago = now.saturating_sub(self.turned) >= REMEMBERED * 2;
        let young = std::mem::take(&mut self.young);
        self.old = if is_long_ago { HashSet::new() } else { young };
        self.turned = now;
    }
}

#[cfg(test)]
mod tests;
