//! Asking for credentials and judging them, as a UAS (RFC 3261 §22.2, RFC 7616 §3.3, §5).
//!
//! A nonce is its own proof, so that challenges to strangers cost no memory:
//!
//! ```text
//!   0000000000002710 9f3c… (16)  HMAC-SHA-256(key, both · realm), 128 bits of it
//!   └ ms of `now` ─┘ └ random ┘  └ 32 digits ────────────────────────────────┘
//! ```
//!
//! Only nonces that good credentials were once shown for are remembered, with the nonce counts that came, so that no request
//! is taken twice. When there is no room, the oldest nonce is forgotten, and it and all that are older are stale from then
//! on: a full table asks more often, but never lets a replay pass.

use std::collections::BTreeMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::parameters::{self, Parameters, Writer};
use super::{Algorithm, Hash, Inputs, Password, Protection, Qop};
use crate::message::{HeaderName, Message, Scheme, Uri};
use crate::token::{push_hex, read_hex};

/// Digits of a nonce: 64 bits of time, 64 of randomness, 128 of proof.
const NONCE: usize = 64;
/// `Authorization` lines that are looked at.
const MAX_LINES: usize = 16;

/// What a peer must prove to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// What the challenge asks for, in the peer's words.
    pub realm: Box<str>,
    /// Without quotes and colons.
    pub user: Box<str>,
    /// Its password.
    pub password: Password,
    /// What is offered, the preferred one first (RFC 8760 §2.3); nothing else is taken.
    pub hashes: Vec<Hash>,
}

/// What a request's credentials are worth.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// The peer is who it should be.
    Granted,
    /// No credentials for the realm: challenge (401, not stale).
    Missing,
    /// Right, but the nonce is too old, of another key, or forgotten: challenge with `stale`.
    Stale,
    /// Wrong user, password, algorithm or URI: challenge without `stale`, or 403.
    Wrong,
    /// Cannot be read: 400.
    Malformed,
    /// Right, but this nonce count has come before. Some peers never count: challenge with `stale`, which costs them
    /// another round and a thief, who has no password, everything.
    Replayed,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Verdict; 6] =
        [Verdict::Granted, Verdict::Missing, Verdict::Stale, Verdict::Wrong, Verdict::Malformed, Verdict::Replayed];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Verdict::Granted => "granted",
            Verdict::Missing => "missing",
            Verdict::Stale => "stale",
            Verdict::Wrong => "wrong",
            Verdict::Malformed => "malformed",
            Verdict::Replayed => "replayed",
        }
    }
}

/// When a nonce was made, in milliseconds, and its random bits: its name, and in the order of its age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Issue {
    millis: u64,
    random: u64,
}

/// The nonce counts that came with a nonce.
#[derive(Clone, Copy, Debug)]
struct Counts {
    highest: u32,
    /// Bit n: `highest - n` has come. Requests may overtake each other by this much.
    window: u64,
}

impl Counts {
    /// Of a nonce that was used without a count: it is used up.
    const SPENT: Counts = Counts { highest: u32::MAX, window: u64::MAX };

    /// Is this count new? It is not from now on.
    fn admit(&mut self, count: u32) -> bool {
        if count > self.highest {
            self.window = self.window.checked_shl(count - self.highest).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = 1_u64.checked_shl(self.highest - count).unwrap_or(0);
        let is_new = bit != 0 && self.window & bit == 0;
        self.window |= bit;
        is_new
    }
}

/// Challenges peers and judges what they answer. One for all accounts.
pub struct Authenticator {
    mac: Hmac<Sha256>,
    valid: Duration,
    seen: BTreeMap<Issue, Counts>,
    capacity: usize,
    /// The youngest nonce that was forgotten before its time.
    forgotten: Option<Issue>,
    forgettings: u64,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key makes nonces, so it is not printed.
        f.debug_struct("Authenticator")
            .field("valid", &self.valid)
            .field("seen", &self.seen.len())
            .finish_non_exhaustive()
    }
}

impl Authenticator {
    /// How long a nonce is good, unless told otherwise.
    pub const VALID: Duration = Duration::from_secs(300);
    /// Nonces that are remembered, unless told otherwise: about 3 MB, and 200 calls a second for five minutes where each
    /// call asks for its own.
    pub const CAPACITY: usize = 65_536;

    /// `key`: random bytes that nobody can guess, new for each process, since `now` begins anew with it. `valid`: how long
    /// a nonce is good. `capacity`: nonces that are remembered, 1 at least.
    #[must_use]
    pub fn new(key: &[u8; 32], valid: Duration, capacity: usize) -> Authenticator {
        Authenticator {
            mac: Hmac::new_from_slice(key).expect("HMAC takes keys of any length"),
            valid,
            seen: BTreeMap::new(),
            capacity: capacity.max(1),
            forgotten: None,
            forgettings: 0,
        }
    }

    /// Nonces that are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.seen.len()
    }

    /// Nonces that were forgotten before their time because there was no room.
    #[must_use]
    pub const fn forgettings(&self) -> u64 {
        self.forgettings
    }

    /// The values of the `WWW-Authenticate` headers of a 401, in this order.
    ///
    /// `random`: 64 bits that nobody can guess. `stale`: the credentials were right and only their nonce was not
    /// ([`Verdict::Stale`], [`Verdict::Replayed`]), so the peer need not ask its user.
    #[must_use]
    pub fn challenge(&self, now: Duration, account: &Account, random: u64, stale: bool) -> Vec<Vec<u8>> {
        let nonce = self.nonce(Issue { millis: millis(now), random }, account);
        let one = |hash: &Hash| {
            let algorithm = Algorithm { hash: *hash, session: false };
            let out = Writer::new()
                .quoted("realm", account.realm.as_bytes())
                .quoted("nonce", &nonce)
                .token("algorithm", algorithm.as_bytes())
                .quoted("qop", Qop::Auth.as_bytes());
            if stale { out.token("stale", b"true") } else { out }.finish()
        };
        account.hashes.iter().map(one).collect()
    }

    /// Judges the `Authorization` headers of a request. ACK and CANCEL must not be asked for any (RFC 3261 §22.1).
    ///
    /// `uri` must name the same user as the Request-URI, or no user, or be the same bytes: elements on the way may have rewritten host,
    /// port and parameters, which RFC 3261 §22.4 allows, but who is called is what the digest protects. A peer without
    /// `qop` is taken as RFC 2069 has it; since nothing of its counts, each nonce is good for one request.
    pub fn verify(&mut self, now: Duration, account: &Account, request: &Message) -> Verdict {
        let lines = request.headers().filter(|header| header.name == HeaderName::Authorization);
        let about = About { method: request.method_bytes(), uri: request.request_uri(), body: request.body() };
        self.judge(now, account, about, lines.map(|header| header.value))
    }

    pub(super) fn judge<'a>(
        &mut self,
        now: Duration,
        account: &Account,
        about: About<'_>,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Verdict {
        let shown = values.take(MAX_LINES).flat_map(parameters::read).find(|shown| match shown {
            Ok(shown) => shown.get("realm").is_none_or(|realm| realm == account.realm.as_bytes()),
            Err(_) => true,
        });
        let Some(shown) = shown else { return Verdict::Missing };
        let shown = shown.ok();
        let Some(shown) = shown.as_ref().and_then(Shown::of) else { return Verdict::Malformed };
        let known = account.hashes.contains(&shown.inputs.algorithm.hash);
        // Both are always compared: how long it takes tells neither.
        let user = shown.inputs.user.ct_eq(account.user.as_bytes());
        let inputs = Inputs { method: about.method, body: about.body, ..shown.inputs };
        let right = inputs.response(&account.password).ct_eq(shown.response);
        if !bool::from(user & right) || !known || !same_user(shown.inputs.uri, about.uri) {
            return Verdict::Wrong;
        }
        self.count(now, account, &shown)
    }

    /// The credentials are right; is their nonce still good, and the count new?
    fn count(&mut self, now: Duration, account: &Account, shown: &Shown<'_>) -> Verdict {
        let oldest = millis(now.saturating_sub(self.valid));
        while self.seen.first_key_value().is_some_and(|(issue, _)| issue.millis < oldest) {
            self.seen.pop_first();
        }
        let Some(issue) = self.issue_of(shown.inputs.nonce, account) else { return Verdict::Stale };
        let of_now = (oldest..=millis(now)).contains(&issue.millis);
        if !of_now || self.forgotten.is_some_and(|forgotten| issue <= forgotten) {
            return Verdict::Stale;
        }
        match (shown.count, self.seen.get_mut(&issue)) {
            (Some(count), Some(counts)) => {
                return if counts.admit(count) { Verdict::Granted } else { Verdict::Replayed };
            }
            (None, Some(_)) => return Verdict::Stale,
            (Some(count), None) => self.seen.insert(issue, Counts { highest: count, window: 1 }),
            (None, None) => self.seen.insert(issue, Counts::SPENT),
        };
        if self.seen.len() > self.capacity
            && let Some((issue, _)) = self.seen.pop_first()
        {
            self.forgotten = self.forgotten.max(Some(issue));
            self.forgettings += 1;
        }
        Verdict::Granted
    }

    fn nonce(&self, issue: Issue, account: &Account) -> Vec<u8> {
        let mut out = Vec::with_capacity(NONCE);
        push_hex(&mut out, issue.millis, 16);
        push_hex(&mut out, issue.random, 16);
        let mut mac = self.mac.clone();
        mac.update(&out);
        mac.update(account.realm.as_bytes());
        for byte in &mac.finalize().into_bytes()[..16] {
            push_hex(&mut out, u64::from(*byte), 2);
        }
        out
    }

    /// `None` where the nonce is none of ours.
    fn issue_of(&self, nonce: &[u8], account: &Account) -> Option<Issue> {
        if nonce.len() != NONCE {
            return None;
        }
        let issue = Issue { millis: read_hex(&nonce[..16])?, random: read_hex(&nonce[16..32])? };
        bool::from(self.nonce(issue, account).ct_eq(nonce)).then_some(issue)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The request that credentials were shown with.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    pub(super) body: &'a [u8],
}

/// Credentials as they were shown.
struct Shown<'a> {
    /// All but method and body.
    inputs: Inputs<'a>,
    response: &'a [u8],
    count: Option<u32>,
}

impl<'a> Shown<'a> {
    fn of(parameters: &'a Parameters) -> Option<Shown<'a>> {
        let protection = match parameters.get("qop") {
            None => None,
            Some(qop) => {
                let count = parameters.get("nc").filter(|count| count.len() == 8)?;
                Some((Protection { qop: Qop::of(qop)?, count }, parameters.get("cnonce")?))
            }
        };
        let count = match &protection {
            None => None,
            Some((protection, _)) => {
                let count = read_hex(&protection.count.to_ascii_lowercase()).filter(|count| *count > 0)?;
                Some(u32::try_from(count).ok()?)
            }
        };
        let algorithm = Algorithm::of(parameters.get("algorithm"))?;
        // Without qop there is no cnonce, of which -sess is made.
        if algorithm.session && protection.is_none() {
            return None;
        }
        let inputs = Inputs {
            algorithm,
            protection: protection.map(|(protection, _)| protection),
            user: parameters.get("username")?,
            realm: parameters.get("realm")?,
            nonce: parameters.get("nonce")?,
            cnonce: protection.map(|(_, cnonce)| cnonce).unwrap_or_default(),
            method: b"",
            uri: parameters.get("uri")?,
            body: b"",
        };
        Some(Shown { inputs, response: parameters.get("response")?, count })
    }
}

/// Whether the URI that was shown names the user of the Request-URI, whatever host it names it at. One that names no user at
/// all, as SIPp writes it by itself, says nothing against it.
fn same_user(shown: &[u8], requested: &[u8]) -> bool {
    if shown == requested {
        return true;
    }
    let (Ok(shown), Ok(requested)) = (Uri::parse(shown), Uri::parse(requested)) else { return false };
    let is_of_sip = |uri: &Uri<'_>| matches!(uri.scheme, Scheme::Sip | Scheme::Sips | Scheme::Tel);
    let agrees = shown.user.is_empty() || shown.user_unescaped() == requested.user_unescaped();
    is_of_sip(&shown) && is_of_sip(&requested) && agrees
}
