//! Brings notices to customers' systems: the thread `notify`, with a runtime of its own, so that no flood of them and no receiver
//! holds up SIP or the API.
//!
//! ```text
//!   Queue ── arrived ─▶ ┌─ thread "notify" ───────────────────────────┐
//!     ▲    ◀── due ──── │ Lanes: window, order, merging, rests        │
//!     │                 │   │ Send              ▲ on_sent             │
//!     └──── settle ──── │   └▶ Client::deliver ─┘  at most so many    │ ── POST ─▶ receivers
//!                       └─────────────────────────────────────────────┘
//! ```
//!
//! Where the URL is and who signs is looked up for each message. A notice that is in flight when the process dies, or of
//! which the disk does not know yet that it was taken, is sent again by the next one; nothing else is.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::header::HeaderValue;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};

use super::client::{self, Client, Failure, Line, Message};
use super::guard::UrlError;
use super::sign::Signer;
use super::{Channel, FailedBy, Outcome, Pending, Queue, RETRIES, message, millis};
use crate::apps::{Account, Accounts};
use crate::clock::Clock;

mod ask;
mod breaker;
mod lanes;

pub use ask::{Asker, NoAnswer, QUESTIONS};
use lanes::{Change, Item, LaneId, Lanes, Limits, Order, Verdict};

/// Messages in flight, of everybody.
const TOTAL: usize = 1_024;
/// Notices whose outcome the disk does not know yet. With more than that nothing is sent: they, and what is in flight, are what a
/// crash sends again.
const UNSETTLED: usize = 256;
/// Connections that wait for their next message, of everybody.
const IDLE: usize = 512;
/// How often connections that are too old are closed, and endpoints that rest are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Looking for what is due takes this part of the time at most: one in so many.
const LOOKS: u32 = 5;
/// What is given at the end to messages that are in flight.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// `[notify]`, as far as it is about sending.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How receivers are reached.
    pub client: client::Settings,
    /// Messages of one app and one channel in flight, from 1.
    pub connections_per_app: usize,
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that were not, by why; the places are those of [`FailedBy::ALL`].
    pub failed: [AtomicU64; FailedBy::ALL.len()],
    /// Messages that our own system kept from being sent.
    pub kept: AtomicU64,
    /// Endpoints that began to rest.
    pub rests: AtomicU64,
    /// Questions of what is to become of a text message; the places are those of [`QUESTIONS`].
    pub questions: [AtomicU64; QUESTIONS.len()],
    /// Messages in flight, now.
    pub in_flight: AtomicU64,
    /// Endpoints that rest, now.
    pub resting: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// As the log knows it; `None`: it is our own doing, and is not written there.
fn blamed(failure: Failure) -> Option<FailedBy> {
    Some(match failure {
        Failure::Url(_) => FailedBy::Url,
        Failure::Forbidden(_) => FailedBy::Forbidden,
        Failure::NoAddress => FailedBy::NoAddress,
        Failure::Refused => FailedBy::Refused,
        Failure::Unreachable => FailedBy::Unreachable,
        Failure::ConnectTimeout => FailedBy::ConnectTimeout,
        Failure::Proxy(_) => FailedBy::Proxy,
        Failure::TlsName => FailedBy::TlsName,
        Failure::TlsIssuer => FailedBy::TlsIssuer,
        Failure::TlsExpired => FailedBy::TlsExpired,
        Failure::TlsCertificate => FailedBy::TlsCertificate,
        Failure::TlsProtocol => FailedBy::TlsProtocol,
        Failure::Timeout => FailedBy::Timeout,
        Failure::Closed => FailedBy::Closed,
        // Of a notice no answer is wanted.
        Failure::Garbage | Failure::Answer => FailedBy::Garbage,
        Failure::Redirect(_) => FailedBy::Redirect,
        Failure::Status(_) => FailedBy::Status,
        Failure::System => return None,
    })
}

/// What the thread is told.
#[derive(Clone)]
enum Wish {
    Serve(Arc<Settings>),
    End,
}

/// The running thread. Dropped, it ends as by [`Deliverer::finish`], without being waited for.
pub struct Deliverer {
    wish: watch::Sender<Wish>,
    asker: Asker,
    counters: Arc<Counters>,
    thread: JoinHandle<()>,
}

impl Deliverer {
    /// Starts the thread. URLs and secrets are those of `accounts` at the time of each message.
    ///
    /// # Errors
    /// The system's.
    pub fn start(
        queue: Queue,
        accounts: Arc<ArcSwap<Accounts>>,
        settings: Settings,
        clock: Clock,
    ) -> io::Result<Deliverer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = Client::new(settings.client.clone(), clock)?;
        let counters = Arc::new(Counters::default());
        let asker = Asker::new(runtime.handle().clone(), client.clone(), Arc::clone(&accounts), Arc::clone(&counters));
        let lanes = Lanes::new(Limits { window: settings.connections_per_app.max(1), total: TOTAL });
        let (wish, wishes) = watch::channel(Wish::Serve(Arc::new(settings)));
        let engine = Engine {
            clock,
            queue,
            accounts,
            lanes,
            client,
            asker: asker.clone(),
            lines: HashMap::new(),
            idle: 0,
            sends: JoinSet::new(),
            running: HashMap::new(),
            tried: HashMap::new(),
            outcomes: Vec::new(),
            look_at: Some(Duration::ZERO),
            look_after: Duration::ZERO,
            tick_at: Duration::ZERO,
            is_unreadable: false,
            counters: Arc::clone(&counters),
        };
        let thread =
            std::thread::Builder::new().name("notify".into()).spawn(move || runtime.block_on(engine.run(wishes)))?;
        Ok(Deliverer { wish, asker, counters, thread })
    }

    /// Goes by other settings from the next message on.
    pub fn reload(&self, settings: Settings) {
        self.wish.send_replace(Wish::Serve(Arc::new(settings)));
    }

    /// Asks customers' systems what is to be done.
    #[must_use]
    pub fn asker(&self) -> &Asker {
        &self.asker
    }

    /// What has happened.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Sends nothing more, gives what is in flight three seconds, and returns when what became of it is with the queue. `false`:
    /// it ended in a panic.
    #[must_use]
    pub fn finish(self) -> bool {
        self.wish.send_replace(Wish::End);
        self.thread.join().is_ok()
    }
}

/// A message that is on its way.
struct Running {
    lane: LaneId,
    /// Rows, and how often each was tried.
    notices: Vec<(u64, u32)>,
}

/// One that has ended.
struct Ended {
    result: Result<u16, Failure>,
    line: Option<Line>,
}

/// Where a message goes, and who signs it.
#[derive(Clone, PartialEq, Eq)]
struct Receiver {
    url: Arc<str>,
    signer: Option<Signer>,
}

impl Receiver {
    fn new(account: &Account, url: &Arc<str>) -> Receiver {
        let signer = account.secret.clone().map(|secret| Signer {
            app: Arc::clone(&account.name),
            secret,
            generation: account.notify.signature,
        });
        Receiver { url: Arc::clone(url), signer }
    }

    /// Of a channel, as the accounts are now.
    fn find(accounts: &ArcSwap<Accounts>, app: &str, channel: Channel) -> Option<Receiver> {
        let accounts = accounts.load();
        let account = accounts.named(app)?;
        Some(Receiver::new(account, channel.url(account)?))
    }

    fn message(self, client: &Client, id: Option<HeaderValue>, body: Bytes) -> Result<Message, UrlError> {
        let url = client.settings().guard.check(&self.url)?;
        Ok(Message { url: Arc::new(url), signer: self.signer, id, body })
    }
}

struct Engine {
    clock: Clock,
    queue: Queue,
    accounts: Arc<ArcSwap<Accounts>>,
    lanes: Lanes,
    client: Client,
    asker: Asker,
    /// Open connections of each lane that wait.
    lines: HashMap<LaneId, Vec<Line>>,
    idle: usize,
    sends: JoinSet<Ended>,
    running: HashMap<Id, Running>,
    /// As whom endpoints were tried that rest.
    tried: HashMap<LaneId, Option<Receiver>>,
    outcomes: Vec<Outcome>,
    /// When to look for what is due.
    look_at: Option<Duration>,
    /// Not before this.
    look_after: Duration,
    tick_at: Duration,
    is_unreadable: bool,
    counters: Arc<Counters>,
}

impl Engine {
    async fn run(mut self, mut wishes: watch::Receiver<Wish>) {
        // What is not due yet sets its timers.
        let endpoints = self.queue.depths();
        endpoints.into_iter().for_each(|(app, channel, _)| self.lanes.on_news(&LaneId { app, channel }));
        let queue = self.queue.clone();
        loop {
            self.look();
            self.tick();
            // What is said here is counted as unsettled below.
            self.settle();
            let has_room = self.queue.unsettled() < UNSETTLED;
            while let Some(order) = self.lanes.poll(self.now(), has_room) {
                self.obey(order);
            }
            self.settle();
            self.counters.in_flight.store(self.lanes.in_flight() as u64, Relaxed);
            self.counters.resting.store(self.tried.len() as u64, Relaxed);
            let has_old = !self.lines.is_empty() || !self.tried.is_empty();
            let tick = has_old.then_some(self.tick_at);
            let due = [self.lanes.due(), self.look_at, tick].into_iter().flatten().min();
            let wait = due.map_or(Duration::MAX, |due| due.saturating_sub(self.now()));
            tokio::select! {
                () = queue.arrived().notified() => self.look_at = Some(self.look_after),
                Some(ended) = self.sends.join_next_with_id(), if !self.sends.is_empty() => {
                    self.on_ended(ended);
                    // What became of many is written at once.
                    while let Some(ended) = self.sends.try_join_next_with_id() {
                        self.on_ended(ended);
                    }
                }
                () = sleep(wait) => {}
                changed = wishes.changed() => {
                    let wish = wishes.borrow_and_update().clone();
                    match wish {
                        Wish::Serve(settings) if changed.is_ok() => self.reload(&settings),
                        Wish::Serve(_) | Wish::End => break,
                    }
                }
            }
        }
        self.end().await;
    }

    /// Since 1970, as the queue counts.
    fn now(&self) -> Duration {
        self.clock.unix(self.clock.now())
    }

    /// Looks for endpoints that have something due. With many of them that takes a while, and is done less often.
    fn look(&mut self) {
        let now = self.now();
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.look_at = None;
        match self.queue.channels_due(millis(now)) {
            Ok(endpoints) => {
                endpoints.into_iter().for_each(|(app, channel)| self.lanes.on_news(&LaneId { app, channel }));
                self.is_unreadable = false;
            }
            Err(error) => {
                self.complain(&error);
                self.look_at = Some(now + TICK);
            }
        }
        let end = self.now();
        self.look_after = end + end.saturating_sub(now) * (LOOKS - 1);
    }

    fn complain(&mut self, error: &crate::store::StoreError) {
        if !std::mem::replace(&mut self.is_unreadable, true) {
            tracing::error!(%error, "the queue of notices cannot be read: nothing is told to customers");
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Fetch { lane, most } => self.fetch(&lane, most),
            Order::Send { lane, items } => self.send(lane, items),
        }
    }

    fn fetch(&mut self, lane: &LaneId, most: usize) {
        // What has ended is held no more, and would be given again.
        self.settle();
        let now = self.now();
        let Some(held) = self.lanes.held(lane) else { return };
        let fetched = self.queue.due(millis(now), &lane.app, lane.channel, most, held).and_then(|due| {
            // Where there is more than was asked for, nobody has to know when the rest is due.
            let next =
                if due.len() < most { self.queue.next_due_of(millis(now), &lane.app, lane.channel)? } else { None };
            Ok((due, next))
        });
        match fetched {
            Ok((due, next)) => {
                let items = due.into_iter().map(Item::from).collect();
                self.lanes.on_fetched(lane, most, items, next.map(Duration::from_millis));
                self.is_unreadable = false;
            }
            Err(error) => {
                self.complain(&error);
                self.lanes.on_fetch_failed(now, lane);
            }
        }
    }

    fn send(&mut self, lane: LaneId, items: Vec<Item>) {
        let notices = items.iter().flat_map(|item| item.rows.iter().copied()).collect();
        let running = Running { lane, notices };
        let Some(receiver) = Receiver::find(&self.accounts, &running.lane.app, running.lane.channel) else {
            return self.on_sent(running, Err((FailedBy::NoUrl, None)));
        };
        let ids: Vec<&str> = items.iter().map(|item| &*item.id).collect();
        // What our own ids are made of may stand in a header.
        let id = HeaderValue::from_str(&ids.join(",")).ok();
        let bodies: Vec<&str> = items.iter().map(|item| &*item.body).collect();
        let body = Bytes::from(message::whole(running.lane.channel, &bodies));
        match receiver.message(&self.client, id, body) {
            Err(_) => self.on_sent(running, Err((FailedBy::Url, None))),
            Ok(message) => {
                let line = self.lines.get_mut(&running.lane).and_then(Vec::pop);
                self.idle -= usize::from(line.is_some());
                let client = self.client.clone();
                let task = self.sends.spawn(async move {
                    let (result, line) = client.deliver(&message, line).await;
                    Ended { result, line }
                });
                self.running.insert(task.id(), running);
            }
        }
    }

    fn on_ended(&mut self, ended: Result<(Id, Ended), tokio::task::JoinError>) {
        match ended {
            Ok((id, Ended { result, line })) => {
                let Some(running) = self.running.remove(&id) else { return };
                if let Some(line) = line.filter(|_| self.idle < IDLE) {
                    self.idle += 1;
                    self.lines.entry(running.lane.clone()).or_default().push(line);
                }
                match result {
                    Ok(status) => self.on_sent(running, Ok(status)),
                    Err(failure) => match blamed(failure) {
                        Some(error) => self.on_sent(running, Err((error, failure.status()))),
                        None => self.on_kept(&running),
                    },
                }
            }
            Err(error) => {
                tracing::error!(%error, "a delivery has ended in a panic");
                if let Some(running) = self.running.remove(&error.id()) {
                    self.on_sent(running, Err((FailedBy::Garbage, None)));
                }
            }
        }
    }

    /// Nothing was sent, and nothing is known of the receiver.
    fn on_kept(&mut self, running: &Running) {
        count(&self.counters.kept);
        let rows: Vec<u64> = running.notices.iter().map(|(row, _)| *row).collect();
        self.lanes.on_sent(self.now(), &running.lane, &rows, Verdict::Ours, None);
    }

    fn on_sent(&mut self, running: Running, result: Result<u16, (FailedBy, Option<u16>)>) {
        let Running { lane, notices } = running;
        let now = self.now();
        let rows: Vec<u64> = notices.iter().map(|(row, _)| *row).collect();
        let outcome = |id| match result {
            Ok(status) => Outcome::Delivered { id, status },
            Err((error, status)) => Outcome::Failed { id, status, error },
        };
        self.outcomes.extend(rows.iter().copied().map(outcome));
        let (verdict, retry) = match result {
            Ok(_) => (Verdict::Delivered, None),
            Err((error, _)) => {
                if let Some(place) = FailedBy::ALL.iter().position(|known| *known == error) {
                    count(&self.counters.failed[place]);
                }
                let delays = notices.iter().filter_map(|(_, attempts)| RETRIES.get(usize::try_from(*attempts).ok()?));
                (Verdict::Failed, delays.min().map(|delay| now + *delay))
            }
        };
        match self.lanes.on_sent(now, &lane, &rows, verdict, retry) {
            Change::None => {}
            Change::Rests(rest) => {
                count(&self.counters.rests);
                let error = result.err().map_or("", |(error, _)| error.as_str());
                let (app, channel) = (&lane.app, lane.channel.as_str());
                tracing::warn!(%app, channel, error, ?rest, "a customer's system takes nothing: it is left alone for a while");
                self.lines.remove(&lane).into_iter().for_each(|lines| self.idle -= lines.len());
                let receiver = Receiver::find(&self.accounts, &lane.app, lane.channel);
                self.tried.insert(lane, receiver);
            }
            Change::Returns => {
                self.tried.remove(&lane);
                tracing::info!(app = %lane.app, channel = lane.channel.as_str(), "a customer's system takes what it is told again");
            }
        }
    }

    fn settle(&mut self) {
        let now = self.now();
        self.queue.settle(millis(now), std::mem::take(&mut self.outcomes));
    }

    fn tick(&mut self) {
        let now = self.now();
        if now < self.tick_at {
            return;
        }
        self.tick_at = now + TICK;
        self.lines.retain(|_, lines| {
            lines.retain(Line::is_fresh);
            !lines.is_empty()
        });
        self.idle = self.lines.values().map(Vec::len).sum();
        // An endpoint that is another one by now has not failed yet.
        let moved = self
            .tried
            .iter()
            .filter(|(lane, tried)| **tried != Receiver::find(&self.accounts, &lane.app, lane.channel));
        let moved: Vec<LaneId> = moved.map(|(lane, _)| lane.clone()).collect();
        for lane in moved {
            self.tried.insert(lane.clone(), Receiver::find(&self.accounts, &lane.app, lane.channel));
            self.lanes.on_moved(now, &lane);
        }
    }

    fn reload(&mut self, settings: &Settings) {
        self.lanes.set_window(settings.connections_per_app.max(1));
        if settings.client == *self.client.settings() {
            return;
        }
        match Client::new(settings.client.clone(), self.clock) {
            Ok(client) => {
                self.asker.set_client(client.clone());
                self.client = client;
                // They were opened by what was allowed then.
                self.lines.clear();
                self.idle = 0;
                let now = self.now();
                let resting: Vec<LaneId> = self.tried.keys().cloned().collect();
                resting.iter().for_each(|lane| self.lanes.on_moved(now, lane));
            }
            Err(error) => tracing::error!(%error, "[notify] is not taken: the system refuses"),
        }
    }

    async fn end(mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        while let Ok(Some(ended)) = timeout_at(deadline, self.sends.join_next_with_id()).await {
            self.on_ended(ended);
        }
        self.settle();
    }
}

impl From<Pending> for Item {
    fn from(pending: Pending) -> Item {
        let Pending { id, notice_id, body, attempts, behind, .. } = pending;
        let rows = std::iter::once((id, attempts)).chain(behind).collect();
        Item { rows, id: notice_id.into(), body: body.into() }
    }
}
