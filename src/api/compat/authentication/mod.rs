//! The gate: who sent a request, and whether it is let in.
//!
//! ```text
//!   headers ─▶ Token ─▶ known app? ─▶ locked? ─▶ digest ─▶ Created ─▶ bucket ─▶ first time? ─▶ Account
//!                       1010003       1020176    1023090   1023092    1010010   1023091
//! ```
//!
//! The digest comes before everything that would tell or cost a stranger's victim something: only who knows the secret learns
//! the width of the window, empties the bucket, fills the memory of nonces. Time is passed in.

mod buckets;
mod header;
mod lockout;
mod nonces;
mod shards;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq;

use self::buckets::Buckets;
pub use self::header::Token;
use self::lockout::Lockout;
use self::nonces::Nonces;
use super::result::Code;
use crate::apps::{Account, Accounts};
pub use crate::apps::{Generation, digest};

/// How far `Created` may be from now where nothing else is set: wide, since the official Java demo labels local time `Z`.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Requests that are remembered.
const MAX_NONCES: usize = 1_000_000;
/// Pairs of app and source of which wrong digests are counted.
const MAX_SOURCES: usize = 65_536;

/// One moment by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Milliseconds of UNIX time, for what stands in requests.
    pub unix_ms: u64,
    /// Since the start of the process, for everything else.
    pub monotonic: Duration,
}

/// Decides who is let in.
pub struct Gate {
    window: Option<Duration>,
    lockout: Lockout,
    buckets: Buckets,
    nonces: Nonces,
}

/// What has happened at the gate beside what the result codes tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GateCounters {
    /// Requests that were forgotten while they could still be repeated.
    pub nonces_forgotten: u64,
    /// Locks of an app and a source.
    pub locks: u64,
    /// Sources that were forgotten while their wrong digests still counted.
    pub sources_forgotten: u64,
}

impl Gate {
    /// Lets in what is `Created` within this window around now; `None`: whenever it says. Then a request is remembered for
    /// two days, and could be repeated after that.
    #[must_use]
    pub fn new(window: Option<Duration>) -> Gate {
        Gate::with_limits(window, MAX_NONCES, MAX_SOURCES)
    }

    pub(crate) fn with_limits(window: Option<Duration>, nonces: usize, sources: usize) -> Gate {
        // Created in the future by one window, it is let in for another one after that.
        let life = window.unwrap_or(DEFAULT_WINDOW).saturating_mul(2);
        Gate { window, lockout: Lockout::new(sources), buckets: Buckets::default(), nonces: Nonces::new(nonces, life) }
    }

    /// Lets a request in, as whose it is.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(
        &self,
        now: Now,
        source: IpAddr,
        headers: &HeaderMap,
        accounts: &Accounts,
    ) -> Result<Arc<Account>, Code> {
        let token = Token::read(headers)?;
        let account = accounts.named(token.username).ok_or(Code::UnknownApp)?;
        let secret = account.secret.as_ref().ok_or(Code::UnknownApp)?;
        if self.lockout.is_locked(now.monotonic, account.id, source) {
            return Err(Code::Locked);
        }
        let digest = digest(token.generation, secret, token.nonce, token.created);
        let expected = BASE64_STANDARD.encode(digest);
        if !bool::from(expected.as_bytes().ct_eq(token.digest.as_bytes())) {
            self.lockout.on_failure(now.monotonic, account.id, source);
            return Err(Code::WrongDigest);
        }
        if !self.is_within(now.unix_ms, token.created_ms) {
            return Err(Code::OutsideWindow);
        }
        // Half of a digest is enough to know it by. Looked up before the bucket: who has overheard a request cannot empty it by that.
        let key = digest.first_chunk().map_or(0, |half| u128::from_be_bytes(*half));
        if self.nonces.has(key) {
            return Err(Code::Replayed);
        }
        if !self.buckets.take(now.monotonic, account.id, account.requests_per_second) {
            return Err(Code::TooManyRequests);
        }
        if !self.nonces.is_new(now.monotonic, key) {
            return Err(Code::Replayed);
        }
        Ok(Arc::clone(account))
    }

    fn is_within(&self, now: u64, created: i64) -> bool {
        let distance = i64::try_from(now).unwrap_or(i64::MAX).abs_diff(created);
        self.window.is_none_or(|window| u128::from(distance) <= window.as_millis())
    }

    /// What has happened at the gate.
    #[must_use]
    pub fn counters(&self) -> GateCounters {
        GateCounters {
            nonces_forgotten: self.nonces.forgotten(),
            locks: self.lockout.locks(),
            sources_forgotten: self.lockout.forgotten(),
        }
    }
}
