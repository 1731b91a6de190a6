//! The records in SQLite: what is written into `cdrs.db`, and what goes when its time has come.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::Kept;
use super::record::Record;
use crate::notify::{Channel, Fee, Outbox};
use crate::store::{StoreError, sqlite};

/// The database's file.
pub(super) const FILE: &str = "cdrs.db";

/// Each index costs a page here or there for every call. Those of time, app and cause grow at one end; those of numbers do not,
/// but nobody looks for a call without a number. A recording is found by the call's id, which its name holds.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE cdrs (
        session_id TEXT PRIMARY KEY, app TEXT, subscription_id TEXT, x INTEGER, caller INTEGER, callee INTEGER,
        cause TEXT NOT NULL, state_code INTEGER NOT NULL, call_in INTEGER NOT NULL, ended INTEGER NOT NULL, recording TEXT,
        record TEXT NOT NULL
    ) STRICT;
    CREATE INDEX cdrs_ended ON cdrs (ended);
    CREATE INDEX cdrs_app ON cdrs (app, ended);
    CREATE INDEX cdrs_cause ON cdrs (cause, ended);
    CREATE INDEX cdrs_x ON cdrs (x, ended);
    CREATE INDEX cdrs_caller ON cdrs (caller, ended);
    CREATE INDEX cdrs_callee ON cdrs (callee, ended);
"];

/// How long the disk's reader may be waited for.
const PATIENCE: Duration = Duration::from_millis(100);

/// Old records that go at a time.
pub(super) const SWEEP: usize = 500;

/// A record on its way into the file and the database.
#[derive(Debug)]
pub(super) struct Entry {
    session_id: String,
    app: Option<String>,
    subscription_id: Option<String>,
    x: Option<i64>,
    caller: Option<i64>,
    callee: Option<i64>,
    cause: String,
    state_code: u16,
    call_in: i64,
    ended: i64,
    recording: Option<String>,
    json: String,
    /// What its app is told of it, where that wants to know.
    pub(super) fee: Option<Box<Fee>>,
    /// Its number in the spool, where it has one.
    pub(super) number: Option<u64>,
}

impl Entry {
    /// What is to be written of a record: its recording only where there is one.
    pub(super) fn of(mut record: Record<'_>, number: Option<u64>, recordings: &Kept, outbox: Option<&Outbox>) -> Entry {
        record.settle(recordings);
        let is_told = |outbox: &Outbox| record.app.as_deref().is_some_and(|app| outbox.wants(app, Channel::Fee));
        Entry {
            fee: outbox.filter(|outbox| is_told(outbox)).and_then(|_| record.fee()).map(Box::new),
            json: record.json(),
            app: record.app.as_deref().map(Into::into),
            x: record.x.map(sqlite::clamped),
            caller: record.caller.map(sqlite::clamped),
            callee: record.callee.map(sqlite::clamped),
            state_code: record.state_code,
            call_in: sqlite::clamped(record.call_in),
            ended: sqlite::clamped(record.ended),
            recording: record.recording().map(Into::into),
            session_id: record.session_id.into_owned(),
            cause: record.cause.into_owned(),
            subscription_id: record.subscription_id,
            number,
        }
    }

    pub(super) fn session_id(&self) -> &str {
        &self.session_id
    }

    /// The JSON line, without its end.
    pub(super) fn json(&self) -> &str {
        &self.json
    }
}

/// Writes the database.
#[derive(Debug)]
pub(super) struct Ledger {
    connection: Connection,
}

impl Ledger {
    pub(super) fn open(dir: &Path) -> Result<Ledger, StoreError> {
        let connection = sqlite::open(&dir.join(FILE), &MIGRATIONS)?;
        connection.busy_timeout(PATIENCE)?;
        Ok(Ledger { connection })
    }

    /// Writes records down, all or none; one that is there already stays as it is.
    pub(super) fn insert<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) -> Result<(), StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut statement = transaction.prepare_cached(
                "INSERT OR IGNORE INTO cdrs (session_id, app, subscription_id, x, caller, callee, cause, state_code, call_in,
                 ended, recording, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?;
            for entry in entries {
                statement.execute(params![
                    entry.session_id,
                    entry.app,
                    entry.subscription_id,
                    entry.x,
                    entry.caller,
                    entry.callee,
                    entry.cause,
                    entry.state_code,
                    entry.call_in,
                    entry.ended,
                    entry.recording,
                    entry.json,
                ])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Whether a record is there.
    pub(super) fn has(&self, session_id: &str) -> Result<bool, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT 1 FROM cdrs WHERE session_id = ?1")?;
        Ok(statement.query_row([session_id], |_| Ok(())).optional()?.is_some())
    }

    /// Deletes some records of calls that ended before then (milliseconds of UNIX time); how many.
    pub(super) fn sweep(&mut self, before: u64) -> Result<usize, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "DELETE FROM cdrs WHERE rowid IN (SELECT rowid FROM cdrs WHERE ended < ?1 ORDER BY ended LIMIT ?2)",
        )?;
        Ok(statement.execute(params![sqlite::clamped(before), SWEEP as i64])?)
    }
}
