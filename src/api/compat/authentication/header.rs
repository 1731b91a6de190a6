//! What stands in the two headers of a request.
//!
//! ```text
//!   Authorization: WSSE realm="SDP",profile="UsernameToken",type="Appkey"            (or AKSK)
//!   X-WSSE: UsernameToken Username="…", PasswordDigest="…", Nonce="…", Created="…"   (or X-AKSK)
//! ```
//!
//! Clients write commas with and without a blank; one widespread demo says `dsl` for `type`. Names and fixed words are read in
//! either case.

use axum::http::{HeaderMap, HeaderName};

use super::super::result::Code;
use crate::apps::Generation;

/// Attributes of one header that are looked at.
const MAX_ATTRIBUTES: usize = 16;

/// The signature of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'a> {
    /// How it is made.
    pub generation: Generation,
    /// The `app_key`.
    pub username: &'a str,
    /// Base64.
    pub digest: &'a str,
    /// 1-128 letters and digits.
    pub nonce: &'a str,
    /// As it stands there.
    pub created: &'a str,
    /// The same in milliseconds of UNIX time.
    pub created_ms: i64,
}

impl Token<'_> {
    /// Reads both headers.
    ///
    /// # Errors
    /// The first thing that is missing or wrong.
    pub fn read(headers: &HeaderMap) -> Result<Token<'_>, Code> {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let authorization = text(&axum::http::header::AUTHORIZATION).ok_or(Code::NoAuthorization)?;
        let (scheme, rest) = authorization.trim_start().split_once([' ', '\t']).ok_or(Code::NoAuthorization)?;
        let generation = match scheme {
            _ if scheme.eq_ignore_ascii_case("WSSE") => Generation::Wsse,
            _ if scheme.eq_ignore_ascii_case("AKSK") => Generation::Aksk,
            _ => return Err(Code::NoAuthorization),
        };
        let attributes = Attributes::read(rest);
        let realm = attributes.get("realm").ok_or(Code::NoRealm)?;
        let profile = attributes.get("profile").ok_or(Code::NoProfile)?;
        if !realm.eq_ignore_ascii_case("SDP") {
            return Err(Code::WrongRealm);
        }
        if !profile.eq_ignore_ascii_case("UsernameToken") {
            return Err(Code::WrongProfile);
        }
        let kind = attributes.get("type").or(attributes.get("dsl")).ok_or(Code::NoType)?;
        if !kind.eq_ignore_ascii_case("Appkey") && !kind.eq_ignore_ascii_case("app_key") {
            return Err(Code::WrongType);
        }
        let (name, codes) = match generation {
            Generation::Wsse => (HeaderName::from_static("x-wsse"), &WSSE),
            Generation::Aksk => (HeaderName::from_static("x-aksk"), &AKSK),
        };
        Token::read_second(text(&name).ok_or(codes.header)?, generation, codes)
    }

    fn read_second<'a>(text: &'a str, generation: Generation, codes: &Missing) -> Result<Token<'a>, Code> {
        let attributes = Attributes::read(text);
        let get = |name| attributes.get(name).filter(|value| !value.is_empty());
        let username = get("Username").ok_or(codes.username)?;
        let nonce = get("Nonce").filter(|nonce| is_nonce(nonce)).ok_or(codes.nonce)?;
        let created = get("Created").ok_or(codes.created)?;
        let at: jiff::Timestamp = created.parse().map_err(|_| codes.created)?;
        let digest = get("PasswordDigest").ok_or(codes.digest)?;
        Ok(Token { generation, username, digest, nonce, created, created_ms: at.as_millisecond() })
    }
}

/// Letters and digits; the dashes of a UUID do no harm.
fn is_nonce(text: &str) -> bool {
    text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// What is answered where something is missing in the second header.
struct Missing {
    header: Code,
    username: Code,
    nonce: Code,
    created: Code,
    digest: Code,
}

const WSSE: Missing = Missing {
    header: Code::NoWsse,
    username: Code::NoWsseUsername,
    nonce: Code::NoWsseNonce,
    created: Code::NoWsseCreated,
    digest: Code::NoWsseDigest,
};

const AKSK: Missing = Missing {
    header: Code::NoAksk,
    username: Code::NoAkskUsername,
    nonce: Code::NoAkskNonce,
    created: Code::NoAkskCreated,
    digest: Code::NoAkskDigest,
};

/// `name="value"`, with commas or blanks between them; a word without a value is passed over.
struct Attributes<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Attributes<'a> {
    fn read(text: &'a str) -> Attributes<'a> {
        let is_between = |c: char| matches!(c, ' ' | '\t' | ',');
        let mut found = Vec::new();
        let mut rest = text.trim_start_matches(is_between);
        while !rest.is_empty() && found.len() < MAX_ATTRIBUTES {
            let end = rest.find(|c| c == '=' || is_between(c)).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            let Some(value) = behind.trim_start_matches([' ', '\t']).strip_prefix('=') else {
                rest = behind.trim_start_matches(is_between);
                continue;
            };
            let value = value.trim_start_matches([' ', '\t']);
            let (value, behind) = match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => value.split_at(value.find(is_between).unwrap_or(value.len())),
            };
            found.push((name, value));
            rest = behind.trim_start_matches(is_between);
        }
        Attributes(found)
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}
