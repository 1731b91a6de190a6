//! `outbox.db`: the table that is the queue, and the log of what was told. It has no clock: `now` is a parameter everywhere, in
//! milliseconds of UNIX time.
//!
//! ```text
//!   insert ─▶ pending ── attempt ──▶ delivered ──┐
//!               │  ▲        │ failed             ├─ replay ─▶ pending
//!               │  └─ 1, 4, 9, 106, 203, 300 min ┤
//!               └─ too many, no patience ─▶ given up
//! ```
//!
//! Of a session only the first notice that is pending is due at any time; those behind it have no time of their own until it is
//! delivered or given up. So what is due can be sent in any order, and is found by one walk along an index.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use rusqlite::params_from_iter;
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use tokio::sync::{Notify, oneshot};

use super::{Channel, Counters, Limits, Notice, Order, millis};
use crate::registry::Unavailable;
use crate::store::{StoreError, sqlite};

/// The database's file.
pub(super) const FILE: &str = "outbox.db";

/// How long after a failed attempt the next one is due; after the last a notice is given up.
pub const RETRIES: [Duration; 6] = [
    Duration::from_secs(60),
    Duration::from_secs(4 * 60),
    Duration::from_secs(9 * 60),
    Duration::from_secs(106 * 60),
    Duration::from_secs(203 * 60),
    Duration::from_secs(300 * 60),
];

/// The most rows of a page of the log.
pub const PAGE: u32 = 1000;

/// Outcomes that may wait for the disk. With more than that nothing is due: what would become of it could not be kept.
const SETTLING: usize = 16_384;

/// Rows that are swept or replayed at a time.
pub(super) const STEP: usize = 500;

/// How long the disk's reader may be waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whoever waits for a turn is in `notices_session`; who has it is in `notices_due` as well. `AUTOINCREMENT`: an id is never
/// used again, or what is in flight could be taken for another.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE notices (
        id INTEGER PRIMARY KEY AUTOINCREMENT, notice_id TEXT NOT NULL UNIQUE, app TEXT NOT NULL, channel INTEGER NOT NULL,
        session TEXT NOT NULL, created INTEGER NOT NULL, state INTEGER NOT NULL, due INTEGER, attempts INTEGER NOT NULL,
        last_status INTEGER, last_error TEXT, settled INTEGER, body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX notices_due ON notices (app, channel, due) WHERE due IS NOT NULL;
    CREATE INDEX notices_session ON notices (session, channel, app) WHERE state = 0;
    CREATE INDEX notices_app ON notices (app, channel, created);
    CREATE INDEX notices_created ON notices (created);
    CREATE INDEX notices_given_up ON notices (created) WHERE state = 2;
"];

/// What has become of a notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It is to be delivered.
    Pending,
    /// The customer has it.
    Delivered,
    /// Nobody tries any more.
    GivenUp,
}

impl State {
    /// Every one.
    pub const ALL: [State; 3] = [State::Pending, State::Delivered, State::GivenUp];

    /// `pending`, `delivered`, `given_up`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Delivered => "delivered",
            State::GivenUp => "given_up",
        }
    }
}

/// Why an attempt failed, or a notice was given up without one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailedBy {
    /// The URL cannot be used.
    Url,
    /// The app has no URL any more.
    NoUrl,
    /// The name leads to an address that may not be connected to.
    Forbidden,
    /// The name leads nowhere.
    NoAddress,
    /// Nobody listens.
    Refused,
    /// No way there.
    Unreachable,
    /// Nobody has answered in time.
    ConnectTimeout,
    /// The proxy.
    Proxy,
    /// The certificate is another's.
    TlsName,
    /// Nobody whom we trust vouches for the certificate.
    TlsIssuer,
    /// The certificate was valid once, or will be.
    TlsExpired,
    /// Anything else about the certificate.
    TlsCertificate,
    /// The other end does not speak our TLS.
    TlsProtocol,
    /// There was no answer in time.
    Timeout,
    /// The line ended before an answer.
    Closed,
    /// The answer is no HTTP.
    Garbage,
    /// The answer leads elsewhere.
    Redirect,
    /// The answer is not 2xx.
    Status,
    /// The answer was wanted, and is too large or broke off.
    Answer,
    /// Too many of its app waited when it came.
    TooMany,
    /// Its endpoint was left alone for too long.
    LeftAlone,
}

impl FailedBy {
    /// Every one.
    pub const ALL: [FailedBy; 21] = [
        FailedBy::Url,
        FailedBy::NoUrl,
        FailedBy::Forbidden,
        FailedBy::NoAddress,
        FailedBy::Refused,
        FailedBy::Unreachable,
        FailedBy::ConnectTimeout,
        FailedBy::Proxy,
        FailedBy::TlsName,
        FailedBy::TlsIssuer,
        FailedBy::TlsExpired,
        FailedBy::TlsCertificate,
        FailedBy::TlsProtocol,
        FailedBy::Timeout,
        FailedBy::Closed,
        FailedBy::Garbage,
        FailedBy::Redirect,
        FailedBy::Status,
        FailedBy::Answer,
        FailedBy::TooMany,
        FailedBy::LeftAlone,
    ];

    /// As a word, for the log and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FailedBy::Url => "url",
            FailedBy::NoUrl => "no_url",
            FailedBy::Forbidden => "forbidden_address",
            FailedBy::NoAddress => "no_address",
            FailedBy::Refused => "refused",
            FailedBy::Unreachable => "unreachable",
            FailedBy::ConnectTimeout => "connect_timeout",
            FailedBy::Proxy => "proxy",
            FailedBy::TlsName => "tls_name",
            FailedBy::TlsIssuer => "tls_issuer",
            FailedBy::TlsExpired => "tls_expired",
            FailedBy::TlsCertificate => "tls_certificate",
            FailedBy::TlsProtocol => "tls_protocol",
            FailedBy::Timeout => "timeout",
            FailedBy::Closed => "closed",
            FailedBy::Garbage => "garbage",
            FailedBy::Redirect => "redirect",
            FailedBy::Status => "status",
            FailedBy::Answer => "answer",
            FailedBy::TooMany => "too_many",
            FailedBy::LeftAlone => "left_alone",
        }
    }

    fn from_str(word: &str) -> Option<FailedBy> {
        FailedBy::ALL.into_iter().find(|by| by.as_str() == word)
    }
}

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

/// A notice that is due.
#[derive(Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its row.
    pub id: u64,
    /// By what the receiver knows it.
    pub notice_id: String,
    /// Whose.
    pub app: Arc<str>,
    /// By which URL.
    pub channel: Channel,
    /// What it belongs to.
    pub session: String,
    /// JSON: see [`super::message::whole`].
    pub body: String,
    /// Milliseconds of UNIX time.
    pub created: u64,
    /// Attempts that there have been.
    pub attempts: u32,
}

/// Its body holds numbers.
impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pending { id, app, channel, attempts, .. } = self;
        write!(f, "Pending({id}, {app}, {channel:?}, {attempts})")
    }
}

/// Which notices of the log: those that fit everything that is given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogQuery {
    /// Whose.
    pub app: Option<String>,
    /// By which URL.
    pub channel: Option<Channel>,
    /// What has become of it.
    pub state: Option<State>,
    /// The call, the message or the X that it belongs to.
    pub session: Option<String>,
    /// The notice itself, by what the receiver knows it.
    pub notice_id: Option<String>,
    /// It happened then or later (milliseconds of UNIX time).
    pub from: Option<u64>,
    /// It happened before then.
    pub to: Option<u64>,
    /// Only what stands behind this: the last of the page before.
    pub after: Option<Cursor>,
    /// How many: 1 to [`PAGE`].
    pub limit: u32,
}

/// The place of a notice in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor {
    /// When it happened, in milliseconds of UNIX time.
    pub created: u64,
    /// Its row.
    pub id: u64,
}

/// A notice of the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its row.
    pub id: u64,
    /// By what the receiver knows it.
    pub notice_id: String,
    /// Whose.
    pub app: String,
    /// By which URL.
    pub channel: Channel,
    /// What it belongs to.
    pub session: String,
    /// Milliseconds of UNIX time.
    pub created: u64,
    /// What has become of it.
    pub state: State,
    /// When it is tried next; `None` while it waits for one before it, and when nobody tries any more.
    pub due: Option<u64>,
    /// Attempts that there have been.
    pub attempts: u32,
    /// Of the last attempt.
    pub last_status: Option<u16>,
    /// Of the last attempt.
    pub last_error: Option<FailedBy>,
    /// When it was delivered or given up.
    pub settled: Option<u64>,
    /// JSON, with numbers in clear.
    pub body: String,
}

/// Its body holds numbers.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Delivery { id, app, channel, state, attempts, .. } = self;
        write!(f, "Delivery({id}, {app}, {channel:?}, {state:?}, {attempts})")
    }
}

impl Delivery {
    /// Its place.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        Cursor { created: self.created, id: self.id }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Delivery> {
        Ok(Delivery {
            id: unsigned(row, 0)?,
            notice_id: row.get(1)?,
            app: row.get(2)?,
            channel: channel_of(row, 3)?,
            session: row.get(4)?,
            created: unsigned(row, 5)?,
            state: state_of(row, 6)?,
            due: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
            attempts: row.get(8)?,
            last_status: row.get(9)?,
            last_error: row.get::<_, Option<String>>(10)?.and_then(|word| FailedBy::from_str(&word)),
            settled: row.get::<_, Option<i64>>(11)?.map(i64::cast_unsigned),
            body: row.get(12)?,
        })
    }
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn channel_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Channel> {
    let place: i64 = row.get(column)?;
    let channel = usize::try_from(place).ok().and_then(|place| Channel::ALL.get(place).copied());
    channel.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, place))
}

fn state_of(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    let place: i64 = row.get(column)?;
    let state = usize::try_from(place).ok().and_then(|place| State::ALL.get(place).copied());
    state.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, place))
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

    /// Something has been committed.
    pub(super) fn ring(&self) {
        self.arrived.notify_one();
    }
}

// ---- the writer's side ----------------------------------------------------------------------------------------------

/// What one transaction has done; counted when the disk has it.
#[derive(Default)]
struct Tally {
    rows: i64,
    pending: HashMap<Endpoint, i64>,
    /// Of each app; what the limit goes by.
    of_app: HashMap<Arc<str>, i64>,
    posted: [u64; 4],
    delivered: [u64; 4],
    failed: [u64; 4],
    given_up: [u64; 4],
    replayed: [u64; 4],
}

impl Tally {
    fn wait(&mut self, app: &Arc<str>, channel: Channel, by: i64) {
        *self.pending.entry((Arc::clone(app), channel)).or_default() += by;
        *self.of_app.entry(Arc::clone(app)).or_default() += by;
    }

    /// How many of an app wait, those before this transaction among them.
    fn waiting(&self, before: &HashMap<Arc<str>, u64>, app: &str) -> u64 {
        let by = self.of_app.get(app).copied().unwrap_or(0);
        before.get(app).copied().unwrap_or(0).saturating_add_signed(by)
    }
}

/// The table, to be written.
#[derive(Debug)]
pub(super) struct Rows {
    connection: Connection,
    limits: Limits,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    of_app: HashMap<Arc<str>, u64>,
    rows: u64,
    /// The first sweep: while this process was not there nobody was left alone.
    swept_since: Option<u64>,
}

impl Rows {
    pub(super) fn open(dir: &Path, limits: Limits, counters: Arc<Counters>) -> Result<Rows, StoreError> {
        let connection = sqlite::open(&dir.join(FILE), &MIGRATIONS)?;
        connection.busy_timeout(PATIENCE)?;
        connection.set_prepared_statement_cache_capacity(64);
        let mut rows = Rows {
            connection,
            limits,
            shared: Arc::default(),
            counters,
            of_app: HashMap::new(),
            rows: 0,
            swept_since: None,
        };
        let count = rows.connection.query_row("SELECT count(*) FROM notices", [], |row| row.get::<_, i64>(0))?;
        let mut tally = Tally { rows: count, ..Tally::default() };
        {
            let sql = "SELECT app, channel, count(*) FROM notices WHERE state = 0 GROUP BY app, channel";
            let mut statement = rows.connection.prepare(sql)?;
            let found = statement
                .query_map([], |row| Ok((row.get::<_, Arc<str>>(0)?, channel_of(row, 1)?, row.get::<_, i64>(2)?)))?;
            for depth in found {
                let (app, channel, count) = depth?;
                tally.wait(&app, channel, count);
            }
        }
        rows.count(tally);
        Ok(rows)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Puts notices in and writes down what became of attempts, all or none. A notice that is there already stays as it is.
    pub(super) fn write<'a>(
        &mut self,
        now: u64,
        notices: impl Iterator<Item = &'a Notice>,
        outcomes: &[(u64, Outcome)],
    ) -> Result<(), StoreError> {
        let mut tally = Tally::default();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // What is settled makes room.
        for (now, outcome) in outcomes {
            settle(&transaction, *now, *outcome, &mut tally)?;
        }
        insert(&transaction, now, notices, self.limits.pending, &self.of_app, &mut tally)?;
        transaction.commit()?;
        self.counters.commits.fetch_add(1, Relaxed);
        self.count(tally);
        Ok(())
    }

    /// Makes a notice that was delivered or given up wait once more; `false`: there is none, or too many of its app wait.
    pub(super) fn replay(&mut self, now: u64, id: u64) -> Result<bool, StoreError> {
        Ok(self.replay_all(now, &[sqlite::clamped(id)])? == 1)
    }

    /// The same of what an app was told from `since` on, a good part of it: those behind `after`. How many there were, and the
    /// last one, where there are more.
    pub(super) fn replay_since(
        &mut self,
        now: u64,
        (app, channel): (&str, Channel),
        since: u64,
        after: Cursor,
    ) -> Result<(u64, Option<Cursor>), StoreError> {
        let found: Vec<Cursor> = {
            let mut statement = self.connection.prepare_cached(
                "SELECT created, id FROM notices WHERE app = ?1 AND channel = ?2 AND created >= ?3
                 AND (created, id) > (?4, ?5) AND +state <> 0 ORDER BY created, id LIMIT ?6",
            )?;
            let [since, created, id] = [since, after.created, after.id].map(sqlite::clamped);
            let rows = statement
                .query_map(params![app, channel.index() as i64, since, created, id, STEP as i64], |row| {
                    Ok(Cursor { created: unsigned(row, 0)?, id: unsigned(row, 1)? })
                })?;
            rows.collect::<Result<_, _>>()?
        };
        let ids: Vec<i64> = found.iter().map(|cursor| sqlite::clamped(cursor.id)).collect();
        let count = self.replay_all(now, &ids)?;
        let is_full = count < ids.len() as u64;
        let more = found.last().copied().filter(|_| found.len() == STEP && !is_full);
        Ok((count, more))
    }

    fn replay_all(&mut self, now: u64, ids: &[i64]) -> Result<u64, StoreError> {
        let mut tally = Tally::default();
        let mut count = 0;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for id in ids {
            let Some(place) = Place::settled(&transaction, *id)? else { continue };
            if tally.waiting(&self.of_app, &place.app) >= self.limits.pending {
                break;
            }
            let mut statement = transaction.prepare_cached(
                "UPDATE notices SET state = 0, attempts = 0, due = NULL, settled = NULL WHERE id = ?1",
            )?;
            statement.execute([id])?;
            // It is the first of its session now, or stands somewhere behind the first.
            let first = place.first(&transaction)?;
            let mut others = transaction.prepare_cached(
                "UPDATE notices SET due = NULL
                 WHERE state = 0 AND session = ?2 AND channel = ?3 AND app = ?4 AND id <> ?1 AND due IS NOT NULL",
            )?;
            others.execute(params![first, place.session, place.channel.index() as i64, place.app])?;
            place.promote(&transaction, now)?;
            tally.wait(&place.app, place.channel, 1);
            tally.replayed[place.channel.index()] += 1;
            count += 1;
        }
        transaction.commit()?;
        self.count(tally);
        Ok(count)
    }

    /// Gives up some of those whose turn came long ago, and deletes some of the log whose time has come; whether there may be
    /// more of either.
    pub(super) fn sweep(&mut self, now: u64) -> Result<bool, StoreError> {
        let expired = self.give_up(now)?;
        let before = sqlite::clamped(now.saturating_sub(millis(self.limits.keep)));
        let excess = self.rows.saturating_sub(self.limits.rows).min(STEP as u64);
        let mut deleted = self.delete("created < ?1 AND +state <> 0", before, STEP as i64)?;
        if deleted == 0 && excess > 0 {
            deleted = self.delete("created < ?1 AND +state <> 0", i64::MAX, sqlite::clamped(excess))?;
        }
        Ok(expired >= STEP || deleted >= STEP || (deleted > 0 && self.rows > self.limits.rows))
    }

    fn delete(&mut self, condition: &str, before: i64, most: i64) -> Result<usize, StoreError> {
        let sql = format!(
            "DELETE FROM notices WHERE id IN (SELECT id FROM notices WHERE {condition} ORDER BY created LIMIT ?2)"
        );
        let deleted = self.connection.prepare_cached(&sql)?.execute(params![before, most])?;
        self.count(Tally { rows: -(deleted as i64), ..Tally::default() });
        Ok(deleted)
    }

    fn give_up(&mut self, now: u64) -> Result<usize, StoreError> {
        let before = now.saturating_sub(millis(self.limits.patience));
        if *self.swept_since.get_or_insert(now) > before {
            return Ok(0);
        }
        let before = sqlite::clamped(before);
        let endpoints: Vec<Endpoint> = self.endpoints();
        let mut tally = Tally::default();
        let mut count = 0;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (app, channel) in endpoints {
            let ids: Vec<i64> = {
                let mut statement = transaction.prepare_cached(
                    "SELECT id FROM notices WHERE app = ?1 AND channel = ?2 AND due < ?3 ORDER BY due, id LIMIT ?4",
                )?;
                let most = (STEP - count) as i64;
                let rows = statement.query_map(params![app, channel.index() as i64, before, most], |row| row.get(0))?;
                rows.collect::<Result<_, _>>()?
            };
            count += ids.len();
            for id in ids {
                if let Some(place) = Place::pending(&transaction, id.cast_unsigned())? {
                    place.end(&transaction, now, State::GivenUp, 0, None, Some(FailedBy::LeftAlone), &mut tally)?;
                }
            }
            if count >= STEP {
                break;
            }
        }
        transaction.commit()?;
        self.count(tally);
        Ok(count)
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.shared.depths.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The disk has it.
    fn count(&mut self, tally: Tally) {
        self.rows = self.rows.saturating_add_signed(tally.rows);
        for (app, by) in tally.of_app {
            let waiting = self.of_app.get(&app).copied().unwrap_or(0).saturating_add_signed(by);
            if waiting == 0 {
                self.of_app.remove(&app);
            } else {
                self.of_app.insert(app, waiting);
            }
        }
        let counters = &self.counters;
        let mut depths = self.shared.depths.lock().unwrap_or_else(PoisonError::into_inner);
        for (endpoint, by) in tally.pending {
            let pending = &counters.pending[endpoint.1.index()];
            pending.store(pending.load(Relaxed).saturating_add_signed(by), Relaxed);
            let waiting = depths.get(&endpoint).copied().unwrap_or(0).saturating_add_signed(by);
            if waiting == 0 {
                depths.remove(&endpoint);
            } else {
                depths.insert(endpoint, waiting);
            }
        }
        drop(depths);
        for (counter, count) in [
            (&counters.posted, tally.posted),
            (&counters.delivered, tally.delivered),
            (&counters.failed, tally.failed),
            (&counters.given_up, tally.given_up),
            (&counters.replayed, tally.replayed),
        ] {
            for (counter, count) in counter.iter().zip(count) {
                counter.fetch_add(count, Relaxed);
            }
        }
        counters.rows.store(self.rows, Relaxed);
    }
}

fn insert<'a>(
    transaction: &Transaction<'_>,
    now: u64,
    notices: impl Iterator<Item = &'a Notice>,
    most: u64,
    of_app: &HashMap<Arc<str>, u64>,
    tally: &mut Tally,
) -> rusqlite::Result<()> {
    let mut waits = transaction.prepare_cached(
        "INSERT OR IGNORE INTO notices (notice_id, app, channel, session, created, body, state, attempts, due)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, iif(EXISTS (
             SELECT 1 FROM notices WHERE state = 0 AND session = ?4 AND channel = ?3 AND app = ?2), NULL, ?7))",
    )?;
    let mut is_beyond = transaction.prepare_cached(
        "INSERT OR IGNORE INTO notices (notice_id, app, channel, session, created, body, state, attempts, settled, last_error)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 2, 0, ?7, ?8)",
    )?;
    for Notice { id, app, channel, session, created, body } in notices {
        let is_full = tally.waiting(of_app, app) >= most;
        let (place, created, now) = (channel.index() as i64, sqlite::clamped(*created), sqlite::clamped(now));
        let added = if is_full {
            is_beyond.execute(params![id, app, place, session, created, body, now, FailedBy::TooMany.as_str()])?
        } else {
            waits.execute(params![id, app, place, session, created, body, now])?
        };
        if added == 0 {
            continue;
        }
        tally.rows += 1;
        tally.posted[channel.index()] += 1;
        if is_full {
            tally.given_up[channel.index()] += 1;
        } else {
            tally.wait(app, *channel, 1);
        }
    }
    Ok(())
}

fn settle(transaction: &Transaction<'_>, now: u64, outcome: Outcome, tally: &mut Tally) -> rusqlite::Result<()> {
    let Some(place) = Place::pending(transaction, outcome.id())? else { return Ok(()) };
    match outcome {
        Outcome::Delivered { status, .. } => {
            tally.delivered[place.channel.index()] += 1;
            place.end(transaction, now, State::Delivered, 1, Some(status), None, tally)
        }
        Outcome::Failed { status, error, .. } => {
            tally.failed[place.channel.index()] += 1;
            let Some(wait) = RETRIES.get(place.attempts as usize) else {
                return place.end(transaction, now, State::GivenUp, 1, status, Some(error), tally);
            };
            // Whoever has been put behind another since keeps to that.
            let mut statement = transaction.prepare_cached(
                "UPDATE notices SET attempts = attempts + 1, due = iif(due IS NULL, NULL, ?2), last_status = ?3, last_error = ?4
                 WHERE id = ?1",
            )?;
            let due = sqlite::clamped(now.saturating_add(millis(*wait)));
            statement.execute(params![place.id, due, status, error.as_str()])?;
            Ok(())
        }
    }
}

/// Where a notice stands.
struct Place {
    id: i64,
    app: Arc<str>,
    channel: Channel,
    session: String,
    attempts: u32,
}

impl Place {
    fn pending(transaction: &Transaction<'_>, id: u64) -> rusqlite::Result<Option<Place>> {
        let sql = "SELECT id, app, channel, session, attempts FROM notices WHERE id = ?1 AND state = 0";
        Place::find(transaction.prepare_cached(sql)?, sqlite::clamped(id))
    }

    fn settled(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<Option<Place>> {
        let sql = "SELECT id, app, channel, session, attempts FROM notices WHERE id = ?1 AND state <> 0";
        Place::find(transaction.prepare_cached(sql)?, id)
    }

    fn find(mut statement: CachedStatement<'_>, id: i64) -> rusqlite::Result<Option<Place>> {
        let read = |row: &Row<'_>| {
            Ok(Place {
                id: row.get(0)?,
                app: row.get(1)?,
                channel: channel_of(row, 2)?,
                session: row.get(3)?,
                attempts: row.get(4)?,
            })
        };
        statement.query_row([id], read).optional()
    }

    /// It is delivered or given up, and the one behind it has its turn.
    #[expect(clippy::too_many_arguments, reason = "each is a column")]
    fn end(
        &self,
        transaction: &Transaction<'_>,
        now: u64,
        state: State,
        attempts: u32,
        status: Option<u16>,
        error: Option<FailedBy>,
        tally: &mut Tally,
    ) -> rusqlite::Result<()> {
        let mut statement = transaction.prepare_cached(
            "UPDATE notices SET state = ?2, due = NULL, attempts = attempts + ?3, last_status = ?4, last_error = ?5,
             settled = ?6 WHERE id = ?1",
        )?;
        let error = error.map(FailedBy::as_str);
        statement.execute(params![self.id, state as i64, attempts, status, error, sqlite::clamped(now)])?;
        tally.wait(&self.app, self.channel, -1);
        if state == State::GivenUp {
            tally.given_up[self.channel.index()] += 1;
        }
        self.promote(transaction, now)
    }

    /// The first of its session that is pending has its turn now, if it had none before.
    fn promote(&self, transaction: &Transaction<'_>, now: u64) -> rusqlite::Result<()> {
        let Some(first) = self.first(transaction)? else { return Ok(()) };
        let mut statement = transaction.prepare_cached("UPDATE notices SET due = ?2 WHERE id = ?1 AND due IS NULL")?;
        statement.execute(params![first, sqlite::clamped(now)])?;
        Ok(())
    }

    fn first(&self, transaction: &Transaction<'_>) -> rusqlite::Result<Option<i64>> {
        let mut statement = transaction.prepare_cached(
            "SELECT id FROM notices WHERE state = 0 AND session = ?1 AND channel = ?2 AND app = ?3 ORDER BY id LIMIT 1",
        )?;
        statement.query_row(params![self.session, self.channel.index() as i64, self.app], |row| row.get(0)).optional()
    }
}

// ---- the other side -------------------------------------------------------------------------------------------------

/// What is to be delivered, and what was: for the deliverer and for the admin API; cheap to clone. It blocks for as long as the
/// disk takes to read some pages.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
    orders: Sender<Order>,
    counters: Arc<Counters>,
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
    pub(super) fn open(
        dir: &Path,
        rows: &Rows,
        orders: Sender<Order>,
        counters: Arc<Counters>,
    ) -> Result<Queue, StoreError> {
        let path: PathBuf = dir.join(FILE);
        let connect = || Ok::<_, StoreError>(Arc::new(Mutex::new(sqlite::open_to_read(&path)?)));
        Ok(Queue { shared: rows.shared(), orders, counters, due: connect()?, log: connect()? })
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Up to `most` notices of an endpoint whose turn has come, the first of each session, the longest due first; without those
    /// in `except` and those that are settled and not on the disk yet.
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
            "SELECT id, notice_id, app, channel, session, body, created, attempts FROM notices
             WHERE app = ?1 AND channel = ?2 AND due <= ?3 ORDER BY due, id",
        )?;
        // Asked for before the rows are: afterwards what stands in old rows could have been committed, and forgotten here.
        let settling = self.settling();
        if settling.len() >= SETTLING {
            return Ok(Vec::new());
        }
        let mut rows = statement.query(params![app, channel.index() as i64, sqlite::clamped(now)])?;
        let mut found = Vec::new();
        while found.len() < most
            && let Some(row) = rows.next()?
        {
            let id = unsigned(row, 0)?;
            if except.contains(&id) || settling.contains(&id) {
                continue;
            }
            found.push(Pending {
                id,
                notice_id: row.get(1)?,
                app: row.get(2)?,
                channel: channel_of(row, 3)?,
                session: row.get(4)?,
                body: row.get(5)?,
                created: unsigned(row, 6)?,
                attempts: row.get(7)?,
            });
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
        let mut due = Vec::new();
        self.each_endpoint(
            "SELECT min(due) FROM notices WHERE app = ?1 AND channel = ?2 AND due <= ?3",
            now,
            |endpoint, _| {
                due.push(endpoint);
            },
        )?;
        Ok(due)
    }

    /// The first time after `now` at which the turn of something comes by itself.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn next_due(&self, now: u64) -> Result<Option<u64>, StoreError> {
        let mut next: Option<u64> = None;
        self.each_endpoint(
            "SELECT min(due) FROM notices WHERE app = ?1 AND channel = ?2 AND due > ?3",
            now,
            |_, due| {
                next = Some(next.map_or(due, |next| next.min(due)));
            },
        )?;
        Ok(next)
    }

    /// The same for one endpoint.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn next_due_of(&self, now: u64, app: &str, channel: Channel) -> Result<Option<u64>, StoreError> {
        let connection = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let sql = "SELECT min(due) FROM notices WHERE app = ?1 AND channel = ?2 AND due > ?3";
        Ok(earliest(&mut connection.prepare_cached(sql)?, app, channel, now)?)
    }

    fn each_endpoint(&self, sql: &str, now: u64, mut on: impl FnMut(Endpoint, u64)) -> Result<(), StoreError> {
        let endpoints: Vec<Endpoint> = {
            let depths = self.shared.depths.lock().unwrap_or_else(PoisonError::into_inner);
            depths.keys().cloned().collect()
        };
        let connection = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached(sql)?;
        for (app, channel) in endpoints {
            if let Some(due) = earliest(&mut statement, &app, channel, now)? {
                on((app, channel), due);
            }
        }
        Ok(())
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

    /// What has become of notices.
    #[must_use]
    pub fn counts(&self) -> &Arc<Counters> {
        &self.counters
    }
}

fn earliest(
    statement: &mut CachedStatement<'_>,
    app: &str,
    channel: Channel,
    now: u64,
) -> rusqlite::Result<Option<u64>> {
    let read = |row: &Row<'_>| row.get::<_, Option<i64>>(0);
    let due = statement.query_row(params![app, channel.index() as i64, sqlite::clamped(now)], read)?;
    Ok(due.map(i64::cast_unsigned))
}

fn page(connection: &Connection, query: &LogQuery) -> Result<Vec<Delivery>, StoreError> {
    let integer = |value: u64| Value::Integer(sqlite::clamped(value));
    let mut clause = String::new();
    let mut values = Vec::new();
    let mut and = |condition: &str, some: &[Value]| {
        clause.push_str(if clause.is_empty() { "WHERE " } else { " AND " });
        clause.push_str(condition);
        values.extend_from_slice(some);
    };
    if let Some(id) = &query.notice_id {
        and("notice_id = ?", &[Value::Text(id.clone())]);
    }
    if let Some(session) = &query.session {
        // An id begins with the session, and is indexed: `-` is followed by `.`.
        let [from, to] = ['-', '.'].map(|end| Value::Text(format!("{session}{end}")));
        and("notice_id > ? AND notice_id < ?", &[from, to]);
    }
    if let Some(app) = &query.app {
        and("app = ?", &[Value::Text(app.clone())]);
    }
    if let Some(channel) = query.channel {
        and("channel = ?", &[Value::Integer(channel.index() as i64)]);
    }
    match query.state {
        // The literal is what the partial indexes go by.
        Some(State::Pending) => and("state = 0", &[]),
        Some(State::Delivered) => and("state = 1", &[]),
        Some(State::GivenUp) => and("state = 2", &[]),
        None => {}
    }
    if let Some(from) = query.from {
        and("created >= ?", &[integer(from)]);
    }
    if let Some(to) = query.to {
        and("created < ?", &[integer(to)]);
    }
    if let Some(Cursor { created, id }) = query.after {
        and("(created, id) < (?, ?)", &[integer(created), integer(id)]);
    }
    let sql = format!(
        "SELECT id, notice_id, app, channel, session, created, state, due, attempts, last_status, last_error, settled, body
         FROM notices {clause} ORDER BY created DESC, id DESC LIMIT {}",
        query.limit.clamp(1, PAGE)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), Delivery::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
