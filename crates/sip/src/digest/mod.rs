//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760; RFC 2617 and RFC 2069 peers).
//!
//! ```text
//!   UAC                                              UAS
//!    ├── INVITE ──────────────────────────────────▶ Authenticator::verify     Missing
//!    ◀── 401 WWW-Authenticate (SHA-256, then MD5) ── Authenticator::challenge
//!   Answering::on_challenge
//!   Answering::authorizations
//!    ├── INVITE, Authorization (nc=00000001) ──────▶ Authenticator::verify     Granted
//!   Answering::on_accepted
//! ```
//!
//! The time, the random bits and the key are arguments. No password, and nothing that is as good as one, is ever printed.

use md5::Md5;
use sha2::digest::Digest;
use sha2::{Sha256, digest::Update};

mod answering;
mod authenticator;
mod parameters;

#[cfg(test)]
mod tests;

pub use answering::{Answering, Credentials, Unanswerable};
pub use authenticator::{Account, Authenticator, Verdict};

use crate::message::HeaderName;

/// A secret that prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<[u8]>);

impl Password {
    /// Any bytes; texts are UTF-8 (RFC 7616 §4).
    #[must_use]
    pub fn new(secret: impl Into<Box<[u8]>>) -> Password {
        Password(secret.into())
    }

    pub(crate) fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Who asks for credentials (RFC 3261 §22.2, §22.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Challenger {
    /// 401.
    Server,
    /// 407.
    Proxy,
}

impl Challenger {
    /// Every one, in the order of `as usize`.
    pub const ALL: [Challenger; 2] = [Challenger::Server, Challenger::Proxy];

    /// Who asks by this status; `None` for any but 401 and 407.
    #[must_use]
    pub const fn of_status(status: u16) -> Option<Challenger> {
        match status {
            401 => Some(Challenger::Server),
            407 => Some(Challenger::Proxy),
            _ => None,
        }
    }

    /// The header of the challenge.
    #[must_use]
    pub const fn challenge_header(self) -> HeaderName {
        match self {
            Challenger::Server => HeaderName::WwwAuthenticate,
            Challenger::Proxy => HeaderName::ProxyAuthenticate,
        }
    }

    /// The header of the answer, as written.
    #[must_use]
    pub const fn credentials_header(self) -> &'static str {
        match self {
            Challenger::Server => "Authorization",
            Challenger::Proxy => "Proxy-Authorization",
        }
    }
}

/// A hash function of the registry (RFC 7616 §6.1, RFC 8760 §2.1) that we know. The stronger is the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Hash {
    /// 32 digits. What RFC 3261 alone knows.
    Md5,
    /// 64 digits (RFC 8760).
    Sha256,
}

impl Hash {
    /// The parts with colons between them, hashed, in lower-case digits.
    fn of(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Hash::Md5 => digits::<Md5>(parts),
            Hash::Sha256 => digits::<Sha256>(parts),
        }
    }
}

fn digits<D: Digest + Update>(parts: &[&[u8]]) -> Vec<u8> {
    let mut hasher = D::new();
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            Update::update(&mut hasher, b":");
        }
        Update::update(&mut hasher, part);
    }
    let digest = hasher.finalize();
    let mut out = Vec::with_capacity(2 * digest.len());
    for byte in digest {
        crate::token::push_hex(&mut out, u64::from(byte), 2);
    }
    out
}

/// The `algorithm` of a challenge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Algorithm {
    hash: Hash,
    /// `-sess`: nonce and cnonce go into the hash of the password (RFC 7616 §3.4.2).
    session: bool,
}

impl Algorithm {
    const ALL: [Algorithm; 4] = [
        Algorithm { hash: Hash::Md5, session: false },
        Algorithm { hash: Hash::Md5, session: true },
        Algorithm { hash: Hash::Sha256, session: false },
        Algorithm { hash: Hash::Sha256, session: true },
    ];

    /// In any case, since peers disagree; a challenge without one means MD5.
    fn of(name: Option<&[u8]>) -> Option<Algorithm> {
        let name = name.unwrap_or(b"MD5");
        Algorithm::ALL.into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }

    fn as_bytes(self) -> &'static [u8] {
        match (self.hash, self.session) {
            (Hash::Md5, false) => b"MD5",
            (Hash::Md5, true) => b"MD5-sess",
            (Hash::Sha256, false) => b"SHA-256",
            (Hash::Sha256, true) => b"SHA-256-sess",
        }
    }
}

/// Quality of protection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Qop {
    Auth,
    /// The body is hashed too.
    AuthInt,
}

impl Qop {
    fn of(name: &[u8]) -> Option<Qop> {
        [Qop::Auth, Qop::AuthInt].into_iter().find(|qop| qop.as_bytes().eq_ignore_ascii_case(name))
    }

    const fn as_bytes(self) -> &'static [u8] {
        match self {
            Qop::Auth => b"auth",
            Qop::AuthInt => b"auth-int",
        }
    }
}

/// What a `qop` adds to the hash.
#[derive(Clone, Copy)]
struct Protection<'a> {
    qop: Qop,
    /// Eight digits, as they stand in the header.
    count: &'a [u8],
}

/// Everything that a response is made from (RFC 7616 §3.4.1).
#[derive(Clone, Copy)]
struct Inputs<'a> {
    algorithm: Algorithm,
    /// `None` as RFC 2069 had it.
    protection: Option<Protection<'a>>,
    user: &'a [u8],
    realm: &'a [u8],
    nonce: &'a [u8],
    /// Empty where nothing asks for one.
    cnonce: &'a [u8],
    method: &'a [u8],
    uri: &'a [u8],
    body: &'a [u8],
}

impl Inputs<'_> {
    fn response(&self, password: &Password) -> Vec<u8> {
        let hash = self.algorithm.hash;
        let mut secret = hash.of(&[self.user, self.realm, password.reveal()]);
        if self.algorithm.session {
            secret = hash.of(&[&secret, self.nonce, self.cnonce]);
        }
        let Some(Protection { qop, count }) = self.protection else {
            return hash.of(&[&secret, self.nonce, &hash.of(&[self.method, self.uri])]);
        };
        let request = match qop {
            Qop::Auth => hash.of(&[self.method, self.uri]),
            Qop::AuthInt => hash.of(&[self.method, self.uri, &hash.of(&[self.body])]),
        };
        hash.of(&[&secret, self.nonce, count, self.cnonce, qop.as_bytes(), &request])
    }
}
