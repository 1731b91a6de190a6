//! What customers' systems are told, kept until they have it (product rule N).
//!
//! ```text
//!   signalling ── post_event, post_sms ──▶ spool of calls ──┐  memory that survives us
//!   CDR writer ── post_fee ──────────────▶ spool of others ─┤
//!   registry ──── post_numbers ──────────▶       ″          │
//!                                                           ▼
//!                          bounded queue ─▶ thread "outbox" ─▶ outbox.db          then the spool's place is free again
//!                                              ▲       │          │
//!                     settle, replay ──────────┘       └ arrived  └─▶ Queue: due, log, counts ─▶ deliverer, admin API
//! ```
//!
//! A notice is in the spool when `post_…` returns, and in the database with the next commit; the table is the queue, and nothing
//! but what is in flight is held in memory. Its id says what it tells, so that one that is posted twice is kept once.
//!
//! Whoever posts never waits: not for the disk, and in the signalling loop not for another thread that posts either, since that
//! loop has a spool to itself.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use b2bua::event::CallEvent;
use crossbeam_channel::{Sender, bounded};
use numbering::{Number, NumberState};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use crate::apps::{Account, Accounts};
use crate::clock::{Clock, millis};
use crate::spool::{self, Spool};
use crate::store::{StoreError, sqlite};

pub mod client;
pub mod deliver;
pub mod guard;
mod log;
pub mod message;
mod queue;
mod rows;
pub mod sign;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

pub use log::{Cursor, Delivery, FailedBy, LogQuery, PAGE, State};
pub use message::{Fee, Sms, SmsMode};
pub use queue::{Outcome, Pending, Queue};
pub use rows::RETRIES;

/// Notices that may wait for the thread.
const QUEUE: usize = 32_768;

/// A segment holds some five thousand notices, which are two seconds and more of what one machine can carry.
const SPOOLS: [spool::Kind; 2] = [
    spool::Kind { file: "calls.spool", magic: *b"axtell-1", segment: 4 << 20 },
    spool::Kind { file: "notices.spool", magic: *b"axtell-1", segment: 4 << 20 },
];

/// What kind of thing is told. Each has a URL of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// What happens to calls: `status_url`.
    Status,
    /// Records of calls: `fee_url`.
    Fee,
    /// Text messages: `sms_url`.
    Sms,
    /// States of X: `number_url`.
    Number,
}

impl Channel {
    /// Every one.
    pub const ALL: [Channel; 4] = [Channel::Status, Channel::Fee, Channel::Sms, Channel::Number];

    /// `status`, `fee`, `sms`, `number`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Channel::Status => "status",
            Channel::Fee => "fee",
            Channel::Sms => "sms",
            Channel::Number => "number",
        }
    }

    /// Where an app wants to be told of it.
    #[must_use]
    pub fn url(self, account: &Account) -> Option<&Arc<str>> {
        let urls = &account.notify;
        match self {
            Channel::Status => urls.status_url.as_ref(),
            Channel::Fee => urls.fee_url.as_ref(),
            Channel::Sms => urls.sms_url.as_ref(),
            Channel::Number => urls.number_url.as_ref(),
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// Something to be told.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// Says what it tells: the same notice has the same id after a crash, and no other has it.
    pub id: String,
    /// Whom: the app's name.
    pub app: Arc<str>,
    /// By which URL.
    pub channel: Channel,
    /// What it belongs to, a call, a message or an X: the notices of one and the same are delivered in their order.
    pub session: String,
    /// When it happened, in milliseconds of UNIX time.
    pub created: u64,
    /// The JSON of it: a whole message, or one of those that a message of this channel can carry.
    pub body: String,
}

/// Its body holds numbers.
impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Notice { app, channel, created, .. } = self;
        write!(f, "Notice({app}, {channel:?}, {created})")
    }
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Notices of one app that may wait to be delivered; what is beyond is given up at once.
    pub pending: u64,
    /// How long a notice whose turn has come may wait for an endpoint that is left alone; then it is given up.
    pub patience: Duration,
    /// How long a notice stays in the log, counted from what it tells.
    pub keep: Duration,
    /// Notices in the log, those that wait among them; the oldest go.
    pub rows: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            pending: 200_000,
            patience: Duration::from_secs(3 * 86_400),
            keep: Duration::from_secs(7 * 86_400),
            rows: 2_000_000,
        }
    }
}

/// What has become of notices, by channel.
#[derive(Debug, Default)]
pub struct Counters {
    /// Put into the database, each once.
    pub posted: [AtomicU64; 4],
    /// Delivered.
    pub delivered: [AtomicU64; 4],
    /// Attempts that failed.
    pub failed: [AtomicU64; 4],
    /// Given up: after the last attempt, for want of patience, or because too many of one app waited.
    pub given_up: [AtomicU64; 4],
    /// Made to wait once more, since somebody wanted it.
    pub replayed: [AtomicU64; 4],
    /// Lost: the queue was full, since the disk does not take anything.
    pub lost: [AtomicU64; 4],
    /// Wait to be delivered.
    pub pending: [AtomicU64; 4],
    /// Not spooled, because the spool was full: a crash would have lost them.
    pub unspooled: AtomicU64,
    /// Found in the spools at the start.
    pub restored: AtomicU64,
    /// Rows of the log.
    pub rows: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Commits that the disk did not take.
    pub refused: AtomicU64,
}

/// Whose spool.
#[derive(Clone, Copy, Debug)]
enum Lane {
    /// The signalling loop's.
    Calls,
    /// Everybody else's.
    Others,
}

enum Order {
    Post(Box<Notice>, Lane, Option<u64>),
    /// Make one wait once more.
    Replay(u64, u64, oneshot::Sender<bool>),
    /// The same of all that an app was told since then.
    ReplaySince {
        now: u64,
        app: Arc<str>,
        channel: Channel,
        since: u64,
        answer: oneshot::Sender<u64>,
    },
    /// Something else is to be done.
    Wake,
}

/// Takes what is to be told; cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    orders: Sender<Order>,
    spools: [Arc<Mutex<Spool>>; 2],
    accounts: Arc<ArcSwap<Accounts>>,
    clock: Clock,
    counters: Arc<Counters>,
    /// Notices of X so far.
    numbered: Arc<AtomicU64>,
    is_losing: Arc<AtomicBool>,
    is_unsafe: Arc<AtomicBool>,
}

impl Outbox {
    /// Opens `outbox.db` and the spools in this folder, brings what a crash has left in the spools, and starts the thread, which
    /// ends when the last clone of both handles is gone.
    ///
    /// # Errors
    /// The folder cannot be used, another process has it, or a newer axbridge has written it.
    pub fn open(
        dir: &Path,
        clock: Clock,
        accounts: Arc<ArcSwap<Accounts>>,
        limits: Limits,
    ) -> Result<(Outbox, Queue, JoinHandle<()>), StoreError> {
        sqlite::make_folder(dir)?;
        let [calls, others] = [Spool::open(dir, &SPOOLS[0])?, Spool::open(dir, &SPOOLS[1])?];
        let counters = Arc::new(Counters::default());
        let rows = rows::Rows::open(dir, limits, Arc::clone(&counters))?;
        let (orders, inbox) = bounded(QUEUE);
        let queue = Queue::open(dir, &rows, orders.clone())?;
        let mut writer = writer::Writer::new(rows, [calls.1, others.1], clock, Arc::clone(&counters));
        writer.restore([calls.2, others.2]);
        let thread = std::thread::Builder::new()
            .name("outbox".into())
            .spawn(move || writer.run(&inbox))
            .map_err(sqlite::at(dir))?;
        let outbox = Outbox {
            orders,
            spools: [calls.0, others.0].map(|spool| Arc::new(Mutex::new(spool))),
            accounts,
            clock,
            counters,
            numbered: Arc::default(),
            is_losing: Arc::default(),
            is_unsafe: Arc::default(),
        };
        Ok((outbox, queue, thread))
    }

    /// Something has happened to a call; of the signalling loop.
    pub fn post_event(&self, event: &CallEvent) {
        self.post_for(&event.app, Channel::Status, Lane::Calls, |_| message::event(event, &self.clock));
    }

    /// A text message was forwarded, or was not; of the signalling loop. Only an app that wants its words is told them.
    pub fn post_sms(&self, sms: &Sms) {
        self.post_for(&sms.app, Channel::Sms, Lane::Calls, |account| message::sms(sms, account.notify.sms_content));
    }

    /// A call has ended, and its record is kept.
    pub fn post_fee(&self, fee: &Fee) {
        self.post_for(&fee.app, Channel::Fee, Lane::Others, |account| message::fee(fee, account.rules.mode));
    }

    /// The states of some X of an app are others now; `None`: X has been taken from it.
    pub fn post_numbers(&self, app: &Arc<str>, at: Duration, numbers: &[(Number, Option<NumberState>)]) {
        if self.wants(app, Channel::Number) {
            self.of_numbers(app, at, numbers).into_iter().for_each(|notice| self.post_noted(notice));
        }
    }

    /// The same to be written down first, and then to be posted.
    #[must_use]
    pub fn of_numbers(&self, app: &Arc<str>, at: Duration, numbers: &[(Number, Option<NumberState>)]) -> Vec<Notice> {
        let at = self.clock.unix_ms(at);
        let place = || self.numbered.fetch_add(1, Relaxed);
        numbers.chunks(message::NUMBERS).map(|numbers| message::numbers(app, numbers, at, place())).collect()
    }

    /// Posts what has been written down, whether its app has a URL for it or not. What was posted before is kept once.
    pub fn post_noted(&self, notice: Notice) {
        self.post(notice, Lane::Others);
    }

    /// Whether an app has a URL for it.
    #[must_use]
    pub fn wants(&self, app: &str, channel: Channel) -> bool {
        self.accounts.load().named(app).is_some_and(|account| channel.url(account).is_some())
    }

    /// What has become of notices.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn post_for(&self, app: &str, channel: Channel, lane: Lane, notice: impl FnOnce(&Account) -> Notice) {
        let accounts = self.accounts.load();
        if let Some(account) = accounts.named(app).filter(|account| channel.url(account).is_some()) {
            self.post(notice(account), lane);
        }
    }

    /// Never blocks. When it returns the notice survives the death of this process.
    fn post(&self, notice: Notice, lane: Lane) {
        let channel = notice.channel.index();
        let mut spool = self.spools[lane as usize].lock().unwrap_or_else(PoisonError::into_inner);
        let number = spool.put_with(|room| writer::frame(&notice, room));
        if number.is_none() {
            self.counters.unspooled.fetch_add(1, Relaxed);
            if !self.is_unsafe.swap(true, Relaxed) {
                tracing::warn!(
                    "a spool of notices is full, since the disk takes none: a crash would lose those that come now"
                );
            }
        } else if self.is_unsafe.load(Relaxed) {
            self.is_unsafe.store(false, Relaxed);
        }
        // Still in their order: the writer marks the last number as done, and means all before it.
        if self.orders.try_send(Order::Post(Box::new(notice), lane, number)).is_err() {
            self.counters.lost[channel].fetch_add(1, Relaxed);
            if !self.is_losing.swap(true, Relaxed) {
                tracing::error!(waiting = QUEUE, "notices lost: the disk takes none, and no more may wait for it");
            }
        } else if self.is_losing.load(Relaxed) {
            self.is_losing.store(false, Relaxed);
        }
    }
}
