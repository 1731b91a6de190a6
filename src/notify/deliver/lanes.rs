//! Which message is sent next: windows, order, merging and rests of every endpoint, without a clock and without a socket.
//!
//! ```text
//!              on_news, a time that has come
//!                          │
//!   Queue ◀── Fetch ── Lane (app, channel) ── Send ─▶ Client
//!     │                 ▲  stock: fetched   │            │
//!     └── on_fetched ───┘  held: with us    └── on_sent ◀┘
//! ```
//!
//! The queue gives the first notice of each session only, so what is in a lane's stock may be sent in any order and at once.
//! Nothing is kept of a lane that has nothing to do.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Breaker, Permit};
use crate::notify::Channel;

/// Bytes of the ids of a message: servers take 8 KB of header fields.
const IDS: usize = 4_000;
/// Bytes of a merged message.
const BODY: usize = 256 * 1024;
/// Notices of a lane that are fetched and not sent, of a channel that merges and of one that does not.
const STOCK: (usize, usize) = (200, 64);
/// How long a lane waits when our own system has refused.
const BREATH: Duration = Duration::from_secs(1);

/// What is sent to one URL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct LaneId {
    /// The app's name.
    pub(super) app: Arc<str>,
    /// Which of its URLs.
    pub(super) channel: Channel,
}

/// A notice that waits to be sent, or some of one session that the queue has put together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Item {
    /// Their rows in the queue, each with how often it was tried.
    pub(super) rows: Vec<(u64, u32)>,
    /// By what a receiver knows them.
    pub(super) id: Box<str>,
    /// JSON.
    pub(super) body: Box<str>,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// Read so many due notices of a lane beside those that it holds.
    Fetch { lane: LaneId, most: usize },
    /// Send these, in one message.
    Send { lane: LaneId, items: Vec<Item> },
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It was taken.
    Delivered,
    /// It was not, and that is the receiver's doing.
    Failed,
    /// It was not, and that is ours.
    Ours,
}

/// What it means for its endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// Nothing new.
    None,
    /// It rests from now on, for so long.
    Rests(Duration),
    /// It is spoken to again.
    Returns,
}

/// Bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// Messages of a lane in flight.
    pub(super) window: usize,
    /// Messages of all lanes in flight.
    pub(super) total: usize,
}

#[derive(Default)]
struct Lane {
    stock: VecDeque<Item>,
    /// In stock or in flight.
    held: HashSet<u64>,
    in_flight: usize,
    breaker: Breaker,
    /// Nothing is done before this.
    pause: Duration,
    /// When it is looked at in any case.
    timer: Option<Duration>,
    /// The queue may have something for it that is not held.
    is_hungry: bool,
    is_fetching: bool,
    is_queued: bool,
}

/// Every lane that has something to do.
pub(super) struct Lanes {
    limits: Limits,
    lanes: HashMap<LaneId, Lane>,
    /// Those to look at, each at most once: they take turns.
    queue: VecDeque<LaneId>,
    /// One of each lane at most.
    timers: BTreeSet<(Duration, LaneId)>,
    in_flight: usize,
}

impl Lanes {
    pub(super) fn new(limits: Limits) -> Lanes {
        Lanes { limits, lanes: HashMap::new(), queue: VecDeque::new(), timers: BTreeSet::new(), in_flight: 0 }
    }

    pub(super) fn set_window(&mut self, window: usize) {
        self.limits.window = window;
        let all: Vec<LaneId> = self.lanes.keys().cloned().collect();
        all.into_iter().for_each(|lane| self.look_at(lane));
    }

    /// Messages in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The queue has something for a lane.
    pub(super) fn on_news(&mut self, id: &LaneId) {
        self.lanes.entry(id.clone()).or_default().is_hungry = true;
        self.look_at(id.clone());
    }

    /// The queue has said what it has, and when the next of what is not due yet will be.
    pub(super) fn on_fetched(&mut self, id: &LaneId, asked: usize, items: Vec<Item>, next: Option<Duration>) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        lane.is_fetching = false;
        lane.is_hungry = items.len() >= asked;
        for item in items {
            lane.held.extend(item.rows.iter().map(|(row, _)| *row));
            lane.stock.push_back(item);
        }
        if let Some(next) = next {
            self.wake(id, next);
        }
        self.look_at(id.clone());
    }

    /// The queue cannot be read.
    pub(super) fn on_fetch_failed(&mut self, now: Duration, id: &LaneId) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        lane.is_fetching = false;
        lane.pause = now.saturating_add(BREATH);
        self.look_at(id.clone());
    }

    /// A message has ended, and the queue knows what became of its notices; unless it is our own doing: then nothing has.
    /// `retry`: when the first of those that failed is due again.
    pub(super) fn on_sent(
        &mut self,
        now: Duration,
        id: &LaneId,
        rows: &[u64],
        verdict: Verdict,
        retry: Option<Duration>,
    ) -> Change {
        let Some(lane) = self.lanes.get_mut(id) else { return Change::None };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        rows.iter().for_each(|row| {
            lane.held.remove(row);
        });
        self.in_flight = self.in_flight.saturating_sub(1);
        let change = match verdict {
            Verdict::Delivered => {
                if lane.breaker.on_success() {
                    lane.is_hungry = true;
                    Change::Returns
                } else {
                    Change::None
                }
            }
            Verdict::Failed => match lane.breaker.on_failure(now) {
                Some(length) => {
                    // It is fetched again when it can be sent: other notices may have gone before it by then.
                    lane.give_back();
                    Change::Rests(length)
                }
                None => Change::None,
            },
            Verdict::Ours => {
                lane.breaker.on_nothing(now);
                lane.give_back();
                lane.pause = now.saturating_add(BREATH);
                Change::None
            }
        };
        if let Some(retry) = retry {
            self.wake(id, retry);
        }
        self.look_at(id.clone());
        change
    }

    /// What a lane has fetched, and is not to be given again.
    pub(super) fn held(&self, id: &LaneId) -> Option<&HashSet<u64>> {
        self.lanes.get(id).map(|lane| &lane.held)
    }

    /// The endpoint of a lane is another one now, or we come to it in another way: it is tried at once.
    pub(super) fn on_moved(&mut self, now: Duration, id: &LaneId) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if let Breaker::Resting { until, .. } = &mut lane.breaker {
            *until = now;
        }
        lane.is_hungry = true;
        self.look_at(id.clone());
    }

    /// When [`Lanes::poll`] may have something to do that it has not now.
    pub(super) fn due(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next thing to do. Lanes take turns. Without `has_room` nothing is sent: what became of what was is not on the disk.
    pub(super) fn poll(&mut self, now: Duration, has_room: bool) -> Option<Order> {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, id)) = self.timers.pop_first() else { break };
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.timer = None;
                self.on_news(&id);
            }
        }
        // Each lane is looked at once; one that waits for room of all stays where it is.
        for _ in 0..self.queue.len() {
            let id = self.queue.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.is_queued = false;
            let has_room = has_room && self.in_flight < self.limits.total;
            match lane.next(now, &id, self.limits.window, has_room) {
                Next::Order(order) => {
                    self.in_flight += usize::from(matches!(order, Order::Send { .. }));
                    self.look_at(id);
                    return Some(order);
                }
                Next::NoRoom => self.look_at(id),
                Next::After(at) => self.wake(&id, at),
                Next::Nothing if lane.is_idle() => {
                    self.lanes.remove(&id);
                }
                Next::Nothing => {}
            }
        }
        None
    }

    /// Has a lane looked at then, or before.
    fn wake(&mut self, id: &LaneId, at: Duration) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        if lane.timer.is_none_or(|timer| at < timer) {
            if let Some(later) = lane.timer.replace(at) {
                self.timers.remove(&(later, id.clone()));
            }
            self.timers.insert((at, id.clone()));
        }
    }

    fn look_at(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if !std::mem::replace(&mut lane.is_queued, true) {
            self.queue.push_back(id);
        }
    }
}

enum Next {
    Order(Order),
    /// It would send, but all lanes together send as much as they may.
    NoRoom,
    /// Not before this.
    After(Duration),
    Nothing,
}

impl Lane {
    fn next(&mut self, now: Duration, id: &LaneId, window: usize, has_room: bool) -> Next {
        if now < self.pause {
            return Next::After(self.pause);
        }
        let permit = self.breaker.permit(now);
        let is_open = match permit {
            Permit::Any => self.in_flight < window,
            Permit::Probe => self.in_flight == 0,
            Permit::After(until) => return Next::After(until),
            Permit::AfterProbe => return Next::Nothing,
        };
        if !is_open {
            return Next::Nothing;
        }
        if !has_room {
            return Next::NoRoom;
        }
        // Before it is empty, so that the window stays full.
        if self.stock.len() < window
            && let Some(most) = self.appetite(id.channel)
        {
            self.is_fetching = true;
            return Next::Order(Order::Fetch { lane: id.clone(), most });
        }
        if self.stock.is_empty() {
            return Next::Nothing;
        }
        if permit == Permit::Probe {
            self.breaker.on_probe();
        }
        self.in_flight += 1;
        Next::Order(Order::Send { lane: id.clone(), items: self.merge(id.channel) })
    }

    /// How many to ask the queue for.
    fn appetite(&self, channel: Channel) -> Option<usize> {
        let stock = if most_of(channel) > 1 { STOCK.0 } else { STOCK.1 };
        let room = stock.saturating_sub(self.stock.len());
        (self.is_hungry && !self.is_fetching && room > 0).then_some(room)
    }

    /// Takes as much of the stock as one message may have.
    fn merge(&mut self, channel: Channel) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        let (mut ids, mut body) = (0, 0);
        while let Some(item) = self.stock.front() {
            ids += item.id.len() + 1;
            body += item.body.len() + 1;
            if !items.is_empty() && (items.len() >= most_of(channel) || ids > IDS || body > BODY) {
                break;
            }
            items.extend(self.stock.pop_front());
        }
        items
    }

    /// Forgets what is fetched and not sent.
    fn give_back(&mut self) {
        for (row, _) in self.stock.drain(..).flat_map(|item| item.rows) {
            self.held.remove(&row);
        }
        self.is_hungry = true;
    }

    fn is_idle(&self) -> bool {
        let is_empty = self.stock.is_empty() && self.in_flight == 0 && self.timer.is_none();
        is_empty && !self.is_hungry && !self.is_fetching && self.breaker == Breaker::default()
    }
}

/// The most items that one message may carry. States of X come put together, since they keep their order.
const fn most_of(channel: Channel) -> usize {
    match channel {
        Channel::Status | Channel::Sms | Channel::Number => 1,
        Channel::Fee => 50,
    }
}

#[cfg(test)]
mod tests;
