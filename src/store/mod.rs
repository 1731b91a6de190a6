//! Durable state: what has been acknowledged is here, whatever happens to the process or the machine.
//!
//! ```text
//!   registry ─ commit([Change, …]) ─▶ Store ─ one transaction ─▶ log (WAL) ─ fsync ─▶ acknowledged
//!   start    ◀─ apps, numbers, rests, prompts, each binding ─┤     └ now and then ─▶ axbridge.db
//!   admin    ◀─ a page of the audit ── Reader ───────────────┘
//! ```

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use numbering::{Binding, Number, SubscriptionId, VirtualNumber};

use crate::notify::Notice;

mod audit;
mod database;
pub(crate) mod filter;
mod rows;
pub(crate) mod sqlite;
#[cfg(test)]
mod tests;

pub use audit::{AuditQuery, PAGE, Reader};
use database::FILE;
pub use database::{Loaded, Store};

/// One thing to be written down. An application is named by its name, since its place is another one after each start.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A binding is made, or is changed.
    PutBinding {
        /// Whose.
        app: Arc<str>,
        /// As it is now.
        binding: Arc<Binding>,
    },
    /// A binding has ended.
    EndBinding(SubscriptionId),
    /// An X is added, or is changed.
    PutNumber {
        /// Whose.
        app: Arc<str>,
        /// As it is now.
        number: Arc<VirtualNumber>,
    },
    /// An X has been released.
    EndNumber(Number),
    /// An X without bindings rests until then (milliseconds of UNIX time); one that is past is forgotten.
    Rest {
        /// Which.
        x: Number,
        /// Until when.
        until: u64,
    },
    /// An application is added, or is changed.
    PutApp(AppRow),
    /// An application has been removed, with its prompts.
    EndApp(Arc<str>),
    /// A prompt is uploaded, or its state changes.
    PutPrompt(PromptRow),
    /// A prompt has been removed.
    EndPrompt {
        /// Whose.
        app: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
    /// Somebody did something.
    Audit(AuditRow),
    /// A customer is to be told of what is written down with this.
    Tell(Notice),
    /// The outbox has the notice of this id: it sees to the rest.
    Told(String),
}

/// An application of the admin API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppRow {
    /// Its name, its `app_key`.
    pub name: Arc<str>,
    /// What else is known of it: a JSON object.
    pub settings: String,
}

/// An uploaded prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PromptRow {
    /// Whose.
    pub app: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// `draft`, `submitted`, `approved` or `rejected`.
    pub state: PromptState,
    /// What the reviewer said.
    pub remark: String,
    /// A-law samples, 8,000 a second.
    pub alaw: Arc<[u8]>,
    /// When it was last changed, in milliseconds of UNIX time.
    pub changed: u64,
}

/// How far a prompt has come (product rule R).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PromptState {
    /// Uploaded.
    Draft,
    /// Waits for the reviewer.
    Submitted,
    /// Plays.
    Approved,
    /// Does not.
    Rejected,
}

impl PromptState {
    /// Every one.
    pub const ALL: [PromptState; 4] =
        [PromptState::Draft, PromptState::Submitted, PromptState::Approved, PromptState::Rejected];

    /// `draft`, `submitted`, `approved`, `rejected`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            PromptState::Draft => "draft",
            PromptState::Submitted => "submitted",
            PromptState::Approved => "approved",
            PromptState::Rejected => "rejected",
        }
    }
}

/// Something that somebody did by the admin API.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditRow {
    /// When, in milliseconds of UNIX time.
    pub at: u64,
    /// The name of the token.
    pub who: String,
    /// From where.
    pub from: String,
    /// What: method and path.
    pub action: String,
    /// What came of it: the HTTP status.
    pub status: u16,
    /// Anything more, numbers masked.
    pub detail: String,
}

/// Why the store does not do what it should.
#[derive(Debug)]
pub enum StoreError {
    /// Another process has it.
    InUse(PathBuf),
    /// It is of a newer axbridge.
    TooNew(i64),
    /// The folder or a file of it.
    Io(PathBuf, std::io::Error),
    /// The database.
    Database(rusqlite::Error),
    /// A row that cannot be read, and where it stands.
    Row(&'static str, String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::InUse(path) => {
                write!(f, "{}: another axbridge uses it — end that one, or choose another folder", path.display())
            }
            StoreError::TooNew(version) => {
                write!(f, "the store is of a newer axbridge (version {version}) — use that one, or another folder")
            }
            StoreError::Io(path, error) => {
                write!(f, "{}: {error} — make the folder writable for this user, or choose another", path.display())
            }
            StoreError::Database(error) => write!(f, "the store: {error}"),
            StoreError::Row(table, row) => write!(f, "the store's table {table} has a row that cannot be read: {row}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        StoreError::Database(error)
    }
}
