//! The signature of what we send, the same that customers' programs put on what they send us.
//!
//! ```text
//!   Authorization: AKSK realm="SDP",profile="UsernameToken",type="Appkey"            (or WSSE)
//!   X-AKSK: UsernameToken Username="…", PasswordDigest="…", Nonce="…", Created="…"   (or X-WSSE)
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::apps::{Generation, Secret, digest};
use crate::clock;

/// Whose signature, and how it is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signer {
    /// The `app_key`.
    pub app: std::sync::Arc<str>,
    /// The `app_secret`.
    pub secret: Secret,
    /// What the app understands.
    pub generation: Generation,
}

/// Where nonces come from: the system's randomness.
#[derive(Debug)]
pub struct Nonces {
    source: File,
}

impl Nonces {
    /// Opens it.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Nonces> {
        Ok(Nonces { source: File::open(Path::new("/dev/urandom"))? })
    }

    /// 128 bits in 32 letters and digits.
    ///
    /// # Errors
    /// The system's: without randomness nothing is signed.
    pub fn draw(&self) -> io::Result<String> {
        let mut bits = [0; 16];
        (&self.source).read_exact(&mut bits)?;
        Ok(format!("{:032X}", u128::from_be_bytes(bits)))
    }
}

impl Signer {
    /// Puts both headers in, for a request that is made so long after 1970. `nonce` is 1-128 letters and digits, and never
    /// used again.
    pub fn sign(&self, headers: &mut HeaderMap, nonce: &str, unix: Duration) {
        let created = clock::created(unix);
        let digest = BASE64_STANDARD.encode(digest(self.generation, &self.secret, nonce, &created));
        let (authorization, name) = match self.generation {
            Generation::Wsse => (r#"WSSE realm="SDP",profile="UsernameToken",type="Appkey""#, "x-wsse"),
            Generation::Aksk => (r#"AKSK realm="SDP",profile="UsernameToken",type="Appkey""#, "x-aksk"),
        };
        let token = format!(
            r#"UsernameToken Username="{}", PasswordDigest="{digest}", Nonce="{nonce}", Created="{created}""#,
            self.app
        );
        // Names of apps are letters, digits, `-`, `_` and `.`: what else came would only fail to be believed.
        if let Ok(token) = HeaderValue::from_str(&token) {
            headers.insert(AUTHORIZATION, HeaderValue::from_static(authorization));
            headers.insert(HeaderName::from_static(name), token);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::api::compat::authentication::Token;

    const NONCE: &str = "66C92B11FF8A425FB8D4CCFE0ED9ED1F";
    /// 2018-02-12T15:30:20Z.
    const UNIX: Duration = Duration::from_secs(1_518_449_420);

    fn signed(generation: Generation) -> HeaderMap {
        let signer = Signer { app: "an-app".into(), secret: Secret::new(b"example-app-secret"), generation };
        let mut headers = HeaderMap::new();
        signer.sign(&mut headers, NONCE, UNIX);
        headers
    }

    #[test]
    fn both_generations_are_signed_as_the_description_of_the_api_computes_it() {
        for (generation, scheme, name, digest) in [
            (Generation::Wsse, "WSSE", "x-wsse", "MOALP58lp7xmv81VDvkC348H1a2ePYMQzvuTR70W+h8="),
            (Generation::Aksk, "AKSK", "x-aksk", "cT2yQosKRfqTn/r/6vaPrhHiH2eGlJKoAacxJiLVwwc="),
        ] {
            let headers = signed(generation);
            let authorization = format!(r#"{scheme} realm="SDP",profile="UsernameToken",type="Appkey""#);
            assert_eq!(headers[AUTHORIZATION], authorization.as_str());
            let token = format!(
                r#"UsernameToken Username="an-app", PasswordDigest="{digest}", Nonce="{NONCE}", Created="2018-02-12T15:30:20Z""#
            );
            assert_eq!(headers[name], token.as_str());
            assert_eq!(headers.len(), 2);
        }
    }

    #[test]
    fn our_own_gate_reads_what_we_sign() {
        for generation in [Generation::Wsse, Generation::Aksk] {
            let headers = signed(generation);
            let token = Token::read(&headers).unwrap();
            assert_eq!((token.generation, token.username, token.nonce), (generation, "an-app", NONCE));
            assert_eq!(token.created_ms, 1_518_449_420_000);
        }
    }

    #[test]
    fn nonces_are_what_the_api_allows_and_never_the_same() {
        let nonces = Nonces::open().unwrap();
        let drawn: HashSet<String> = (0..1_000).map(|_| nonces.draw().unwrap()).collect();
        assert_eq!(drawn.len(), 1_000);
        assert!(drawn.iter().all(|nonce| nonce.len() == 32 && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric())));
    }
}
