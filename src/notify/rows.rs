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

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::log::{Cursor, FailedBy, State, channel_of, unsigned};
use super::queue::{Endpoint, Outcome, Shared};
use super::{Channel, Counters, Limits, Notice, millis};
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

/// Rows that are swept or replayed at a time.
pub(super) const STEP: usize = 500;

/// How long the disk's reader may be waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whoever waits for a turn is in `notices_session`; who has it is in `notices_due` as well. `AUTOINCREMENT`: an id is never
/// used again, or what is in flight could be taken for another.
///
/// The columns behind `created` let a page of the log pass over what it does not want without looking at the rows.
const MIGRATIONS: [&str; 2] = [
    "
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
    ",
    "
    DROP INDEX notices_given_up;
    CREATE INDEX notices_given_up ON notices (created, id, app, channel) WHERE state = 2;
    CREATE INDEX notices_pending ON notices (created, id, app, channel) WHERE state = 0;
    CREATE INDEX notices_of_app ON notices (app, created, id, channel, state);
    CREATE INDEX notices_channel ON notices (channel, created);
    ",
];

/// What one transaction has done; counted when the disk has it.
#[derive(Default)]
struct Tally {
    rows: i64,
    pending: HashMap<Endpoint, i64>,
    posted: [u64; 4],
    delivered: [u64; 4],
    failed: [u64; 4],
    given_up: [u64; 4],
    replayed: [u64; 4],
}

impl Tally {
    fn wait(&mut self, app: &Arc<str>, channel: Channel, by: i64) {
        *self.pending.entry((Arc::clone(app), channel)).or_default() += by;
    }

    /// How many of an app wait, those before this transaction among them.
    fn waiting(&self, before: &Shared, app: &Arc<str>) -> u64 {
        let by = Channel::ALL.iter().filter_map(|channel| self.pending.get(&(Arc::clone(app), *channel)));
        before.waiting(app).saturating_add_signed(by.sum())
    }
}

/// The table, to be written.
#[derive(Debug)]
pub(super) struct Rows {
    connection: Connection,
    limits: Limits,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    rows: u64,
    /// The first sweep: while this process was not there nobody was left alone.
    swept_since: Option<u64>,
}

impl Rows {
    pub(super) fn open(dir: &Path, limits: Limits, counters: Arc<Counters>) -> Result<Rows, StoreError> {
        let connection = sqlite::open(&dir.join(FILE), &MIGRATIONS)?;
        connection.busy_timeout(PATIENCE)?;
        connection.set_prepared_statement_cache_capacity(64);
        let mut rows = Rows { connection, limits, shared: Arc::default(), counters, rows: 0, swept_since: None };
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
        insert(&transaction, now, notices, self.limits.pending, &self.shared, &mut tally)?;
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
            if tally.waiting(&self.shared, &place.app) >= self.limits.pending {
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
        let mut deleted = self.delete(before, STEP as i64)?;
        if deleted == 0 && excess > 0 {
            deleted = self.delete(i64::MAX, sqlite::clamped(excess))?;
        }
        Ok(expired >= STEP || deleted >= STEP || (deleted > 0 && self.rows > self.limits.rows))
    }

    /// The oldest go first.
    fn delete(&mut self, before: i64, most: i64) -> Result<usize, StoreError> {
        let sql = "DELETE FROM notices WHERE id IN (
                   SELECT id FROM notices WHERE created < ?1 AND +state <> 0 ORDER BY created LIMIT ?2)";
        let deleted = self.connection.prepare_cached(sql)?.execute(params![before, most])?;
        self.count(Tally { rows: -(deleted as i64), ..Tally::default() });
        Ok(deleted)
    }

    fn give_up(&mut self, now: u64) -> Result<usize, StoreError> {
        let before = now.saturating_sub(millis(self.limits.patience));
        if *self.swept_since.get_or_insert(now) > before {
            return Ok(0);
        }
        let before = sqlite::clamped(before);
        let mut tally = Tally::default();
        let mut count = 0;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (app, channel) in self.shared.endpoints() {
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

    /// The disk has it.
    fn count(&mut self, tally: Tally) {
        self.rows = self.rows.saturating_add_signed(tally.rows);
        let counters = &self.counters;
        for (endpoint, by) in tally.pending {
            let pending = &counters.pending[endpoint.1.index()];
            pending.store(pending.load(Relaxed).saturating_add_signed(by), Relaxed);
            self.shared.wait(endpoint, by);
        }
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
    before: &Shared,
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
        let is_full = tally.waiting(before, app) >= most;
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
