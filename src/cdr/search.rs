//! Looks for records while others are written, over a connection of its own.
//!
//! ```text
//!   newest ─── page 1 ───┬─── page 2 ───┬─── …      sorted by (ended, session_id), from the back
//!                        └ cursor: the last of page 1; records that come later do not move it
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use numbering::Number;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::ledger::FILE;
use crate::store::filter::Filter;
use crate::store::{StoreError, sqlite};

/// The most records of a page.
pub const PAGE: u32 = 1000;

/// Which records: those that fit everything that is given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// The call ended then or later (milliseconds of UNIX time).
    pub from: Option<u64>,
    /// The call ended before then.
    pub to: Option<u64>,
    /// Who called or was called.
    pub number: Option<Number>,
    /// The X that was dialled.
    pub x: Option<Number>,
    /// Whose call.
    pub app: Option<String>,
    /// Why it ended, by the word that records have.
    pub cause: Option<String>,
    /// The call itself.
    pub session_id: Option<String>,
    /// The call with this recording.
    pub recording: Option<String>,
    /// Only what stands behind this: the last of the page before.
    pub after: Option<Cursor>,
    /// How many: 1 to [`PAGE`].
    pub limit: u32,
}

/// The place of a record among all.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor {
    /// When the call ended, in milliseconds of UNIX time.
    pub ended: u64,
    /// The call.
    pub session_id: String,
}

/// A record that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The call.
    pub session_id: String,
    /// Whose.
    pub app: Option<String>,
    /// The binding.
    pub subscription_id: Option<String>,
    /// The X that was dialled.
    pub x: Option<Number>,
    /// Who called.
    pub caller: Option<Number>,
    /// Who was called for X.
    pub callee: Option<Number>,
    /// Why it ended.
    pub cause: String,
    /// The same by the customers' API.
    pub state_code: u16,
    /// When it came in, in milliseconds of UNIX time.
    pub call_in: u64,
    /// When it ended.
    pub ended: u64,
    /// Its recording, where one was kept.
    pub recording: Option<String>,
    /// All that is known: a JSON object, with numbers in clear.
    pub record: String,
}

impl Found {
    /// Its place.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { ended: self.ended, session_id: self.session_id.clone() }
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Found> {
        let unsigned = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
        let number = |column| {
            let digits = row.get::<_, Option<i64>>(column);
            digits.map(|digits| digits.and_then(|digits| Number::from_u64(digits.cast_unsigned())))
        };
        Ok(Found {
            session_id: row.get(0)?,
            app: row.get(1)?,
            subscription_id: row.get(2)?,
            x: number(3)?,
            caller: number(4)?,
            callee: number(5)?,
            cause: row.get(6)?,
            state_code: row.get(7)?,
            call_in: unsigned(8)?,
            ended: unsigned(9)?,
            recording: row.get(10)?,
            record: row.get(11)?,
        })
    }
}

/// Looks for records, one thread at a time; cheap to clone.
#[derive(Clone, Debug)]
pub struct Search {
    // A connection is for one thread at a time; a page takes some milliseconds.
    connection: Arc<Mutex<Connection>>,
}

impl Search {
    /// Reads the records in this folder, which [`super::Cdrs::open`] has made.
    ///
    /// # Errors
    /// They are not there, or cannot be read.
    pub fn open(dir: &Path) -> Result<Search, StoreError> {
        let connection = sqlite::open_to_read(&dir.join(FILE))?;
        Ok(Search { connection: Arc::new(Mutex::new(connection)) })
    }

    /// A page of records, the newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn find(&self, query: &Query) -> Result<Vec<Found>, StoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(number) = query.number else { return page(&connection, query, None) };
        // Two walks along an index each give the page at once; an OR would sort all that the number ever did.
        let mut found = page(&connection, query, Some(("caller", number)))?;
        let called = page(&connection, query, Some(("callee", number)))?;
        // Who called himself is in both.
        found.extend(called.into_iter().filter(|found| found.caller != Some(number)));
        found.sort_unstable_by(|a, b| (b.ended, &b.session_id).cmp(&(a.ended, &a.session_id)));
        found.truncate(limit(query) as usize);
        Ok(found)
    }

    /// Whose the call with this recording was; `None` where there is no such recording, or its call was nobody's.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn recording_owner(&self, name: &str) -> Result<Option<String>, StoreError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement =
            connection.prepare_cached("SELECT app FROM cdrs WHERE session_id = ?1 AND recording = ?2")?;
        let owner = statement.query_row([session_of(name), name], |row| row.get::<_, Option<String>>(0)).optional()?;
        Ok(owner.flatten())
    }
}

/// The call whose recording has this name: `20261123-<session>.wav`.
fn session_of(recording: &str) -> &str {
    let stem = recording.strip_suffix(".wav").unwrap_or(recording);
    stem.split_once('-').map_or(stem, |(_, session)| session)
}

fn limit(query: &Query) -> u32 {
    query.limit.clamp(1, PAGE)
}

/// A page of those where `party` is that number, too.
fn page(
    connection: &Connection,
    query: &Query,
    party: Option<(&'static str, Number)>,
) -> Result<Vec<Found>, StoreError> {
    let integer = |value: u64| Value::Integer(sqlite::clamped(value));
    let text = |value: &str| Value::Text(value.to_owned());
    let mut filter = Filter::default();
    // The first that is given picks the index: they stand in the order of how few records they leave.
    if let Some(session_id) = &query.session_id {
        filter.pick("session_id = ?", [text(session_id)]);
    }
    if let Some(recording) = &query.recording {
        filter.pick("session_id = ?", [text(session_of(recording))]);
        filter.pick("recording = ?", [text(recording)]);
    }
    if let Some((column, number)) = party {
        filter.pick(&format!("{column} = ?"), [integer(number.as_u64())]);
    }
    if let Some(x) = query.x {
        filter.pick("x = ?", [integer(x.as_u64())]);
    }
    if let Some(app) = &query.app {
        filter.pick("app = ?", [text(app)]);
    }
    if let Some(cause) = &query.cause {
        filter.pick("cause = ?", [text(cause)]);
    }
    if let Some(from) = query.from {
        filter.and("ended >= ?", [integer(from)]);
    }
    if let Some(to) = query.to {
        filter.and("ended < ?", [integer(to)]);
    }
    if let Some(Cursor { ended, session_id }) = &query.after {
        filter.and("(ended, session_id) < (?, ?)", [integer(*ended), text(session_id)]);
    }
    let sql = format!(
        "SELECT session_id, app, subscription_id, x, caller, callee, cause, state_code, call_in, ended, recording, record
         FROM cdrs {} ORDER BY ended DESC, session_id DESC LIMIT {}",
        filter.clause,
        limit(query)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(filter.values), Found::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
