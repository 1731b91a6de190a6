//! What both sides of a signed request compute, whichever of them signs.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::Secret;

/// How a request is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// Until about 2024: SHA-256 over Nonce, Created and secret.
    Wsse,
    /// Since then: HMAC-SHA-256 over Nonce and Created.
    #[default]
    Aksk,
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
