//! What was told, and what became of it: the rows of `outbox.db` as they are looked at.

use std::fmt;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Channel;
use crate::store::filter::Filter;
use crate::store::{StoreError, sqlite};

/// The most rows of a page of the log.
pub const PAGE: u32 = 1000;

/// What has become of a notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
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
    /// Too many of its app waited when it came.
    TooMany,
    /// Its endpoint was left alone for too long.
    LeftAlone,
}

impl FailedBy {
    /// Every one.
    pub const ALL: [FailedBy; 20] = [
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
            FailedBy::TooMany => "too_many",
            FailedBy::LeftAlone => "left_alone",
        }
    }

    fn from_str(word: &str) -> Option<FailedBy> {
        FailedBy::ALL.into_iter().find(|by| by.as_str() == word)
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
    /// With what was told, in clear.
    pub has_bodies: bool,
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
    /// JSON, with numbers in clear, where it was asked for.
    pub body: Option<String>,
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

/// The newest first.
pub(super) fn page(connection: &Connection, query: &LogQuery) -> Result<Vec<Delivery>, StoreError> {
    let (sql, values) = question(query);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), Delivery::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Each walks along one index, most of them in the order of the page: what it passes over it passes over within the index.
pub(super) fn question(query: &LogQuery) -> (String, Vec<Value>) {
    let integer = |value: u64| Value::Integer(sqlite::clamped(value));
    let text = |value: &str| Value::Text(value.to_owned());
    let place = |channel: Channel| Value::Integer(channel.index() as i64);
    let mut filter = Filter::default();
    if let Some(id) = &query.notice_id {
        filter.pick("notice_id = ?", [text(id)]);
    }
    if let Some(session) = &query.session {
        // An id begins with the session, and is indexed: `-` is followed by `.`.
        let [from, to] = ['-', '.'].map(|end| Value::Text(format!("{session}{end}")));
        filter.pick("notice_id > ?", [from]);
        filter.and("notice_id < ?", [to]);
    }
    // A session has few notices: its page is sorted, and not looked for among all.
    let created = if filter.is_picked() { "+created" } else { "created" };
    // The literals are what the partial indexes go by.
    match query.state {
        Some(State::Pending) => filter.pick("state = 0", []),
        Some(State::GivenUp) => filter.pick("state = 2", []),
        Some(State::Delivered) => filter.and("+state = 1", []),
        None => {}
    }
    match (&query.app, query.channel) {
        // Of an app's channel there may be next to nothing: it has an index of its own, which knows no states.
        (Some(app), Some(channel)) if query.state.is_none() && !filter.is_picked() => {
            filter.and("app = ? AND channel = ?", [text(app), place(channel)]);
        }
        (app, channel) => {
            if let Some(app) = app {
                filter.pick("app = ?", [text(app)]);
            }
            if let Some(channel) = channel {
                filter.pick("channel = ?", [place(channel)]);
            }
        }
    }
    if let Some(from) = query.from {
        filter.and(&format!("{created} >= ?"), [integer(from)]);
    }
    if let Some(to) = query.to {
        filter.and(&format!("{created} < ?"), [integer(to)]);
    }
    if let Some(Cursor { created: before, id }) = query.after {
        filter.and(&format!("({created}, id) < (?, ?)"), [integer(before), integer(id)]);
    }
    let sql = format!(
        "SELECT id, notice_id, app, channel, session, created, state, due, attempts, last_status, last_error, settled, {}
         FROM notices {} ORDER BY {created} DESC, id DESC LIMIT {}",
        if query.has_bodies { "body" } else { "NULL" },
        filter.clause,
        query.limit.clamp(1, PAGE)
    );
    (sql, filter.values)
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

pub(super) fn channel_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Channel> {
    let place: i64 = row.get(column)?;
    let channel = usize::try_from(place).ok().and_then(|place| Channel::ALL.get(place).copied());
    channel.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, place))
}

fn state_of(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    let place: i64 = row.get(column)?;
    let state = usize::try_from(place).ok().and_then(|place| State::ALL.get(place).copied());
    state.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, place))
}
