//! What both sides of a signed request compute, whichever of them signs.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Secret;

/// How a request is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Generation {
    /// Until about 2024: SHA-256 over Nonce, Created and secret.
    Wsse,
    /// Since then: HMAC-SHA-256 over Nonce and Created.
    #[default]
    Aksk,
}

impl Generation {
    /// Both.
    pub const ALL: [Generation; 2] = [Generation::Wsse, Generation::Aksk];

    /// `wsse`, `aksk`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Generation::Wsse => "wsse",
            Generation::Aksk => "aksk",
        }
    }
}

/// The digest of a request.
#[must_use]
pub fn digest(generation: Generation, secret: &Secret, nonce: &str, created: &str) -> [u8; 32] {
    match generation {
        Generation::Wsse => {
            let hash = Sha256::new().chain_update(nonce).chain_update(created).chain_update(secret.bytes());
            hash.finalize().into()
        }
        Generation::Aksk => {
            let hmac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("a key of HMAC has any length");
            hmac.chain_update(nonce).chain_update(created).finalize().into_bytes().into()
        }
    }
}
