//! Who did what by the admin API: the newest million lines, read over a connection of their own.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Row, Transaction, named_params, params};

use super::{AuditRow, FILE, StoreError, sqlite};

/// Lines that are kept.
const KEEP: i64 = 1_000_000;

/// The oldest are deleted once in so many lines, and so many at a time.
const SWEEP: i64 = 1024;

/// The most lines of a page.
pub const PAGE: u32 = 1000;

/// Writes a line down, and now and then deletes those that are too old.
pub(super) fn insert(transaction: &Transaction<'_>, row: &AuditRow) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO audit (at, who, origin, action, status, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![row.at.cast_signed(), row.who, row.from, row.action, row.status, row.detail])?;
    // Ids have no gaps: lines are only ever deleted at the old end.
    let id = transaction.last_insert_rowid();
    if id % SWEEP == 0 && id > KEEP {
        transaction.prepare_cached("DELETE FROM audit WHERE id <= ?1")?.execute([id - KEEP])?;
    }
    Ok(())
}

/// Which lines.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditQuery {
    /// Only older ones than the line of this id: where the page before ended.
    pub before: Option<i64>,
    /// Only those of this token.
    pub who: Option<String>,
    /// Not older than this (milliseconds of UNIX time).
    pub since: Option<u64>,
    /// Older than this.
    pub until: Option<u64>,
    /// How many, at most [`PAGE`].
    pub limit: u32,
}

/// Reads the audit while the store writes; may be shared by threads.
#[derive(Debug)]
pub struct Reader {
    // A connection is for one thread at a time; a page takes some milliseconds at most.
    connection: Mutex<Connection>,
}

impl Reader {
    /// Reads the store in this folder, which must be there already.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn open(dir: &Path) -> Result<Reader, StoreError> {
        Ok(Reader { connection: Mutex::new(sqlite::open_to_read(&dir.join(FILE))?) })
    }

    /// A page of the audit, the newest first, each line with its id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn audit(&self, query: &AuditQuery) -> Result<Vec<(i64, AuditRow)>, StoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached(
            "SELECT id, at, who, origin, action, status, detail FROM audit
             WHERE id < :before AND at >= :since AND at < :until AND (:who IS NULL OR who = :who)
             ORDER BY id DESC LIMIT :limit",
        )?;
        let rows = statement.query_map(
            named_params! {
                ":before": query.before.unwrap_or(i64::MAX),
                ":since": sqlite::clamped(query.since.unwrap_or(0)),
                ":until": sqlite::clamped(query.until.unwrap_or(u64::MAX)),
                ":who": query.who,
                ":limit": i64::from(query.limit.min(PAGE)),
            },
            line,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn line(row: &Row<'_>) -> rusqlite::Result<(i64, AuditRow)> {
    let audit = AuditRow {
        at: row.get::<_, i64>(1)?.cast_unsigned(),
        who: row.get(2)?,
        from: row.get(3)?,
        action: row.get(4)?,
        status: row.get(5)?,
        detail: row.get(6)?,
    };
    Ok((row.get(0)?, audit))
}
