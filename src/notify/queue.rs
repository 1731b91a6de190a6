//! What is to be delivered, as whoever delivers it sees it; and the way to the log.
//!
//! ```text
//!   deliverer ── due ──▶ rows whose turn has come, without those that are settled
//!             ── settle ─▶ settled: known here at once, on the disk with the next commit ─▶ thread "outbox"
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Sender;
use rusqlite::{Connection, params};
use tokio::sync::{Notify, oneshot};

use super::log::{Delivery, FailedBy, LogQuery, page, unsigned};
use super::rows::{FILE, Rows};
use super::{Channel, Order, message};
use crate::registry::Unavailable;
use crate::store::{StoreError, sqlite};

/// Outcomes that may wait for the disk. With more than that nothing is due: what would become of it could not be kept.
const SETTLING: usize = 16_384;

/// What became of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The customer has it.
    Delivered {
        /// Which.
        id: u64,
        /// HTTP.
        status: u16,
    },
    /// The customer does not have it.
    Failed {
        /// Which.
        id: u64,
        /// HTTP, where there was an answer.
        status: Option<u16>,
        /// Why.
        error: FailedBy,
    },
}

impl Outcome {
    /// Which notice it is of.
    #[must_use]
    pub const fn id(self) -> u64 {
        match self {
            Outcome::Delivered { id, .. } | Outcome::Failed { id, .. } => id,
        }
    }
}

/// A notice that is due, and those behind it that go in the same message.
#[derive(Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its row.
    pub id: u64,
    /// By what the receiver knows it, and those behind it: joined by commas.
    pub notice_id: String,
    /// JSON, joined by commas: see [`super::message::whole`].
    pub body: String,
    /// Attempts that there have been.
    pub attempts: u32,
    /// Of its session the next, in their order: their rows, and the attempts that there have been.
    pub behind: Vec<(u64, u32)>,
}

/// Its body holds numbers.
impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pending { id, attempts, .. } = self;
        write!(f, "Pending({id}, {attempts})")
    }
}

impl Pending {
    fn take_those_behind(
        &mut self,
        connection: &Connection,
        (app, channel, session): (&str, Channel, &str),
        is_free: impl Fn(u64) -> bool,
    ) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "SELECT id, notice_id, body, attempts FROM notices
             WHERE state = 0 AND session = ?1 AND channel = ?2 AND app = ?3 AND id > ?4 ORDER BY id LIMIT ?5",
        )?;
        let (channel, id) = (channel.index() as i64, sqlite::clamped(self.id));
        let mut rows = statement.query(params![session, channel, app, id, message::NUMBERS as i64])?;
        let mut count = message::count_numbers(&self.body);
        while let Some(row) = rows.next()? {
            let (id, body) = (unsigned(row, 0)?, row.get::<_, String>(2)?);
            count += message::count_numbers(&body);
            // One that is replayed goes before those that are on their way.
            if count > message::NUMBERS || !is_free(id) {
                break;
            }
            self.notice_id.extend([",", &row.get::<_, String>(1)?]);
            self.body.extend([",", &body]);
            self.behind.push((id, row.get(3)?));
        }
        Ok(())
    }
}

/// An endpoint.
pub(super) type Endpoint = (Arc<str>, Channel);

/// What both sides of the table know.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// How many wait, by endpoint.
    depths: Mutex<BTreeMap<Endpoint, u64>>,
    settling: Mutex<Settling>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Settling {
    /// What has been said and is not on the disk yet.
    ids: HashSet<u64>,
    outcomes: Vec<(u64, Outcome)>,
}

impl Shared {
    /// Outcomes to be written, each with when it was known.
    pub(super) fn take_outcomes(&self) -> Vec<(u64, Outcome)> {
        std::mem::take(&mut self.settling.lock().unwrap_or_else(PoisonError::into_inner).outcomes)
    }

    /// These are on the disk.
    pub(super) fn on_settled(&self, outcomes: &[(u64, Outcome)]) {
        let mut settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, outcome) in outcomes {
            settling.ids.remove(&outcome.id());
        }
    }

    /// Those that have something that waits.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.depths.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// How many of an app wait.
    pub(super) fn waiting(&self, app: &Arc<str>) -> u64 {
        let depths = self.depths.lock().unwrap_or_else(PoisonError::into_inner);
        Channel::ALL.iter().filter_map(|channel| depths.get(&(Arc::clone(app), *channel))).sum()
    }

    /// So many more of an endpoint wait, or fewer.
    pub(super) fn wait(&self, endpoint: Endpoint, by: i64) {
        let mut depths = self.depths.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = depths.get(&endpoint).copied().unwrap_or(0).saturating_add_signed(by);
        if waiting == 0 {
            depths.remove(&endpoint);
        } else {
            depths.insert(endpoint, waiting);
        }
    }

    /// Something has been committed.
    pub(super) fn ring(&self) {
        self.arrived.notify_one();
    }
}

/// What is to be delivered, and what was: for the deliverer and for the admin API; cheap to clone. It blocks for as long as the
/// disk takes to read some pages.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
    orders: Sender<Order>,
    // Whoever looks through the log shall not hold up who delivers. A connection is for one thread at a time.
    due: Arc<Mutex<Connection>>,
    log: Arc<Mutex<Connection>>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue(…)")
    }
}

impl Queue {
    pub(super) fn open(dir: &Path, rows: &Rows, orders: Sender<Order>) -> Result<Queue, StoreError> {
        let path = dir.join(FILE);
        let connect = || Ok::<_, StoreError>(Arc::new(Mutex::new(sqlite::open_to_read(&path)?)));
        Ok(Queue { shared: rows.shared(), orders, due: connect()?, log: connect()? })
    }

    /// Up to `most` notices of an endpoint whose turn has come, the first of each session, the longest due first; without those
    /// in `except` and those that are settled and not on the disk yet. States of X, which are all of one session, take with them
    /// what is behind them, as much as one message may carry.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn due(
        &self,
        now: u64,
        app: &str,
        channel: Channel,
        most: usize,
        except: &HashSet<u64>,
    ) -> Result<Vec<Pending>, StoreError> {
        let connection = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached(
            "SELECT id, notice_id, body, attempts, session FROM notices
             WHERE app = ?1 AND channel = ?2 AND due <= ?3 ORDER BY due, id",
        )?;
        // Asked for before the rows are: afterwards what stands in old rows could have been committed, and forgotten here.
        let settling = self.settling();
        if settling.len() >= SETTLING {
            return Ok(Vec::new());
        }
        let mut rows = statement.query(params![app, channel.index() as i64, sqlite::clamped(now)])?;
        let is_free = |id| !except.contains(&id) && !settling.contains(&id);
        let mut found = Vec::new();
        while found.len() < most
            && let Some(row) = rows.next()?
        {
            let id = unsigned(row, 0)?;
            if !is_free(id) {
                continue;
            }
            let mut pending =
                Pending { id, notice_id: row.get(1)?, body: row.get(2)?, attempts: row.get(3)?, behind: Vec::new() };
            if channel == Channel::Number {
                // The walk above is not over: both see the same moment.
                let session: String = row.get(4)?;
                pending.take_those_behind(&connection, (app, channel, &session), is_free)?;
            }
            found.push(pending);
        }
        Ok(found)
    }

    fn settling(&self) -> HashSet<u64> {
        self.shared.settling.lock().unwrap_or_else(PoisonError::into_inner).ids.clone()
    }

    /// The endpoints that have something whose turn has come, settled and not yet on the disk or not.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn channels_due(&self, now: u64) -> Result<Vec<(Arc<str>, Channel)>, StoreError> {
        let connection = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let sql = "SELECT EXISTS (SELECT 1 FROM notices WHERE app = ?1 AND channel = ?2 AND due <= ?3)";
        let mut statement = connection.prepare_cached(sql)?;
        let mut due = Vec::new();
        for (app, channel) in self.shared.endpoints() {
            let values = params![app, channel.index() as i64, sqlite::clamped(now)];
            if statement.query_row(values, |row| row.get(0))? {
                due.push((app, channel));
            }
        }
        Ok(due)
    }

    /// The first time after `now` at which the turn of something of an endpoint comes by itself.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn next_due_of(&self, now: u64, app: &str, channel: Channel) -> Result<Option<u64>, StoreError> {
        let connection = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let sql = "SELECT min(due) FROM notices WHERE app = ?1 AND channel = ?2 AND due > ?3";
        let values = params![app, channel.index() as i64, sqlite::clamped(now)];
        let due: Option<i64> = connection.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
        Ok(due.map(i64::cast_unsigned))
    }

    /// Hands over what became of attempts, as known at `now`; never blocks. They are not due any more from this moment on, and
    /// are written with the next commit. An outcome of a notice that is settled already changes nothing.
    pub fn settle(&self, now: u64, outcomes: Vec<Outcome>) {
        if outcomes.is_empty() {
            return;
        }
        {
            let mut settling = self.shared.settling.lock().unwrap_or_else(PoisonError::into_inner);
            settling.ids.extend(outcomes.iter().map(|outcome| outcome.id()));
            settling.outcomes.extend(outcomes.into_iter().map(|outcome| (now, outcome)));
        }
        // Where there is no room, the thread is awake.
        let _ = self.orders.try_send(Order::Wake);
    }

    /// Outcomes that are not on the disk yet: the notices that a crash would have sent again.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.shared.settling.lock().unwrap_or_else(PoisonError::into_inner).ids.len()
    }

    /// Rung after each commit.
    #[must_use]
    pub fn arrived(&self) -> &Notify {
        &self.shared.arrived
    }

    /// A page of the log, the newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn log(&self, query: &LogQuery) -> Result<Vec<Delivery>, StoreError> {
        let connection = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        page(&connection, query)
    }

    /// Makes a notice that was delivered or given up wait once more, with all its attempts; `false`: there is none, or too many
    /// of its app wait.
    ///
    /// # Errors
    /// The thread cannot take it, or the disk does not.
    pub async fn replay(&self, now: u64, id: u64) -> Result<bool, Unavailable> {
        let (answer, reply) = oneshot::channel();
        self.orders.try_send(Order::Replay(now, id, answer)).map_err(|_| Unavailable)?;
        reply.await.map_err(|_| Unavailable)
    }

    /// The same of everything that an app was told by a channel and that happened from `since` on; how many there were. It ends
    /// where too many of the app wait.
    ///
    /// # Errors
    /// The thread cannot take it, or the disk does not.
    pub async fn replay_since(
        &self,
        now: u64,
        app: Arc<str>,
        channel: Channel,
        since: u64,
    ) -> Result<u64, Unavailable> {
        let (answer, reply) = oneshot::channel();
        let order = Order::ReplaySince { now, app, channel, since, answer };
        self.orders.try_send(order).map_err(|_| Unavailable)?;
        reply.await.map_err(|_| Unavailable)
    }

    /// How many wait to be delivered, by endpoint.
    #[must_use]
    pub fn depths(&self) -> Vec<(Arc<str>, Channel, u64)> {
        let depths = self.shared.depths.lock().unwrap_or_else(PoisonError::into_inner);
        depths.iter().map(|((app, channel), count)| (Arc::clone(app), *channel, *count)).collect()
    }
}
