//! Digest authentication (RFC 2617, RFC 7616, RFC 8760 in SIP), from both sides: a carrier that wants it, a caller that has it.
//!
//! ```text
//!   called   INVITE ─▶ 401|407 nonce ─▶ INVITE + credentials ─▶ sound: goes on · stale once: another nonce · wrong: 403
//!   calling  401|407 ─▶ the same request, next CSeq, nc=00000001 ─▶ in later requests nc=00000002 …
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::random::Random;
use crate::transaction::Key;
use crate::wire::Received;
use crate::{Phone, Start};

/// Who may call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// Name.
    pub username: String,
    /// Secret.
    pub password: String,
}

/// How a response is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    /// `MD5`, which is meant too where none is named.
    Md5,
    /// `SHA-256`.
    Sha256,
}

impl Algorithm {
    const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    fn hash(self, text: &str) -> String {
        let bytes = match self {
            Algorithm::Md5 => Md5::digest(text).to_vec(),
            Algorithm::Sha256 => Sha256::digest(text).to_vec(),
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a called phone demands of an INVITE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// 401 or 407.
    pub status: u16,
    /// Who it is that asks.
    pub realm: String,
    /// A challenge for each, the dearest first.
    pub algorithms: Vec<Algorithm>,
    /// `qop="auth"`; without, as RFC 2069 had it.
    pub qop: bool,
    /// The first sound answer is met by `stale=true` and another nonce.
    pub stale_once: bool,
    /// Every request but ACK and CANCEL needs credentials, not the INVITE alone.
    pub every_request: bool,
    /// The right answer.
    pub credentials: Credentials,
}

impl Challenge {
    /// MD5 with `qop="auth"`.
    #[must_use]
    pub fn new(status: u16, realm: &str, username: &str, password: &str) -> Challenge {
        Challenge {
            status,
            realm: realm.to_owned(),
            algorithms: vec![Algorithm::Md5],
            qop: true,
            stale_once: false,
            every_request: false,
            credentials: Credentials { username: username.to_owned(), password: password.to_owned() },
        }
    }
}

/// What a challenged side remembers.
#[derive(Clone, Debug)]
pub(crate) struct Answering {
    /// The header that credentials go into.
    header: &'static str,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    named: bool,
    qop: bool,
    nc: u32,
}

/// What a challenging side remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asking {
    nonce: String,
    nc: u32,
    /// A stale nonce was told.
    staled: bool,
    /// Call-ID, From tag and CSeq of the last request that was challenged.
    last: Option<(String, String, u32)>,
}

/// `Digest a="b", c=d` as a map; names in lower case.
fn parameters(value: &str) -> Option<BTreeMap<String, String>> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let mut found = BTreeMap::new();
    let mut rest = rest.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        found.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Some(found)
}

/// The response (RFC 7616 §3.4.1); `qop` holds nc and cnonce.
fn response(
    algorithm: Algorithm,
    who: &Credentials,
    (realm, nonce): (&str, &str),
    (method, uri): (&str, &str),
    qop: Option<(&str, &str)>,
) -> String {
    let ha1 = algorithm.hash(&format!("{}:{realm}:{}", who.username, who.password));
    let ha2 = algorithm.hash(&format!("{method}:{uri}"));
    match qop {
        Some((nc, cnonce)) => algorithm.hash(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}")),
        None => algorithm.hash(&format!("{ha1}:{nonce}:{ha2}")),
    }
}

impl Answering {
    /// Understands a 401 or 407.
    fn of(status: u16, received: &Received) -> Result<(Answering, bool), String> {
        let (challenge, header) = match status {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        // RFC 8760 §2.4: the topmost that we know.
        for value in received.values(challenge) {
            let Some(found) = parameters(value) else { continue };
            let get = |name: &str| found.get(name).cloned();
            let algorithm = match get("algorithm").as_deref() {
                None | Some("MD5") => Algorithm::Md5,
                Some("SHA-256") => Algorithm::Sha256,
                Some(_) => continue,
            };
            let (Some(realm), Some(nonce)) = (get("realm"), get("nonce")) else {
                return Err(format!("{challenge} without realm or nonce"));
            };
            let qop = get("qop").is_some_and(|qop| qop.split(',').any(|one| one.trim() == "auth"));
            let stale = get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true"));
            let named = get("algorithm").is_some();
            let answering = Answering { header, realm, nonce, opaque: get("opaque"), algorithm, named, qop, nc: 0 };
            return Ok((answering, stale));
        }
        Err(format!("{status} without a {challenge} that we know"))
    }

    /// Header and value for the next request.
    fn credentials(&mut self, random: &mut Random, who: &Credentials, method: &str, uri: &str) -> (String, String) {
        self.nc += 1;
        let (nc, cnonce) = (format!("{:08x}", self.nc), random.token());
        let qop = self.qop.then_some((nc.as_str(), cnonce.as_str()));
        let digest = response(self.algorithm, who, (&self.realm, &self.nonce), (method, uri), qop);
        let mut value = format!(
            "Digest username=\"{}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\", response=\"{digest}\"",
            who.username, self.realm, self.nonce
        );
        if self.named {
            value += &format!(", algorithm={}", self.algorithm.as_str());
        }
        if let Some(opaque) = &self.opaque {
            value += &format!(", opaque=\"{opaque}\"");
        }
        if self.qop {
            value += &format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\"");
        }
        (self.header.to_owned(), value)
    }
}

impl Phone {
    /// Credentials for a request, where they were asked for before.
    pub(crate) fn credentials(&mut self, method: &str, uri: &str) -> Option<(String, String)> {
        let who = self.config.credentials.clone()?;
        let answering = self.answering.as_mut()?;
        Some(answering.credentials(&mut self.random, &who, method, uri))
    }

    /// A 401 or 407 came: whether the request is worth another try, with credentials.
    pub(crate) fn on_challenge(&mut self, status: u16, received: &Received) -> bool {
        match Answering::of(status, received) {
            Ok((answering, stale)) => {
                let again = self.answering.as_ref().is_some_and(|before| before.realm == answering.realm);
                let worth = self.config.credentials.is_some() && (stale || !again);
                self.answering = worth.then_some(answering);
                worth
            }
            Err(flaw) => {
                self.breach(flaw);
                false
            }
        }
    }

    /// Lets a request in, or answers it with a challenge or a refusal.
    pub(crate) fn authenticates(&mut self, now: Duration, key: &Key, request: &Received) -> bool {
        let Some(challenge) = self.config.script.challenge.clone() else {
            for header in ["Authorization", "Proxy-Authorization"] {
                if request.value(header).is_some() {
                    self.breach(format!("{}: {header} that nobody asked for", request.method));
                }
            }
            return true;
        };
        let begins =
            matches!(request.method, rsip::Method::Invite | rsip::Method::Message) && request.to_tag.is_empty();
        if !challenge.every_request && !begins {
            return true;
        }
        let header = if challenge.status == 401 { "Authorization" } else { "Proxy-Authorization" };
        let Some(value) = request.value(header).map(str::to_owned) else {
            self.challenge(now, key, request, &challenge, false);
            return false;
        };
        let identity = (request.call_id.clone(), request.from_tag.clone());
        if let Some((call_id, from_tag, cseq)) = &self.asking.last
            && request.to_tag.is_empty()
            && ((call_id, from_tag) != (&identity.0, &identity.1) || request.cseq <= *cseq)
        {
            self.breach(format!("{}: not the challenged request with the next CSeq", request.method));
        }
        match self.judge(request, &challenge, &value) {
            Judgement::Sound if challenge.stale_once && !self.asking.staled => {
                self.asking.staled = true;
                self.challenge(now, key, request, &challenge, true);
                false
            }
            Judgement::Sound => true,
            Judgement::OtherNonce => {
                self.challenge(now, key, request, &challenge, true);
                false
            }
            Judgement::Wrong => {
                self.respond(now, key, request, 403, None);
                false
            }
        }
    }

    fn challenge(&mut self, now: Duration, key: &Key, request: &Received, challenge: &Challenge, stale: bool) {
        self.asking.nonce = self.random.token();
        self.asking.nc = 0;
        self.asking.last = Some((request.call_id.clone(), request.from_tag.clone(), request.cseq));
        let header = if challenge.status == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
        let headers: Vec<(String, String)> = challenge
            .algorithms
            .iter()
            .map(|algorithm| {
                let qop = if challenge.qop { ", qop=\"auth\"" } else { "" };
                let stale = if stale { ", stale=TRUE" } else { "" };
                let value = format!(
                    "Digest realm=\"{}\", nonce=\"{}\", opaque=\"{}\", algorithm={}{qop}{stale}",
                    challenge.realm,
                    self.asking.nonce,
                    OPAQUE,
                    algorithm.as_str()
                );
                (header.to_owned(), value)
            })
            .collect();
        self.respond_with(now, key, request, challenge.status, None, &headers);
    }

    fn judge(&mut self, request: &Received, challenge: &Challenge, value: &str) -> Judgement {
        let mut wrong = Vec::new();
        let Some(found) = parameters(value) else {
            self.breach(format!("credentials that cannot be read: {value}"));
            return Judgement::Wrong;
        };
        let get = |name: &str| found.get(name).map_or("", String::as_str);
        let algorithm = match get("algorithm") {
            "" | "MD5" => Algorithm::Md5,
            "SHA-256" => Algorithm::Sha256,
            other => {
                self.breach(format!("credentials by {other}"));
                return Judgement::Wrong;
            }
        };
        if challenge.algorithms.first() != Some(&algorithm) {
            wrong.push(format!("by {}, which is not the first that was offered", algorithm.as_str()));
        }
        if let Start::Request(uri) = &request.start
            && !get("uri").eq_ignore_ascii_case(&uri.to_string())
        {
            wrong.push(format!("uri {} is not the Request-URI {uri}", get("uri")));
        }
        if get("realm") != challenge.realm || get("opaque") != OPAQUE {
            wrong.push("realm or opaque is not that of the challenge".to_owned());
        }
        if (get("qop") == "auth") != challenge.qop {
            wrong.push(format!("qop {:?}", get("qop")));
        }
        if get("nonce") != self.asking.nonce {
            return Judgement::OtherNonce;
        }
        let (nc, cnonce) = (get("nc"), get("cnonce"));
        if challenge.qop {
            let count = u32::from_str_radix(nc, 16).unwrap_or(0);
            if nc.len() != 8 || count != self.asking.nc + 1 || cnonce.is_empty() {
                wrong.push(format!("nc {nc} after {}, cnonce {cnonce:?}", self.asking.nc));
            }
            self.asking.nc = count;
        }
        let method = request.method.to_string();
        let named = Credentials { username: get("username").to_owned(), ..challenge.credentials.clone() };
        let qop = challenge.qop.then_some((nc, cnonce));
        let expected = response(algorithm, &named, (&challenge.realm, get("nonce")), (&method, get("uri")), qop);
        let sound = get("response") == expected && named == challenge.credentials;
        for flaw in wrong {
            self.breach(format!("{method}: credentials: {flaw}"));
        }
        if sound { Judgement::Sound } else { Judgement::Wrong }
    }
}

const OPAQUE: &str = "5ccc069c403ebaf9f0171e9517f40e41";

enum Judgement {
    Sound,
    OtherNonce,
    Wrong,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7616 §3.9.1, which are for HTTP; the computation is the same.
    #[test]
    fn the_examples_of_the_rfc_come_out() {
        let who = Credentials { username: "Mufasa".to_owned(), password: "Circle of Life".to_owned() };
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let qop = Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"));
        let of = |algorithm| {
            let place = ("http-auth@example.org", nonce);
            response(algorithm, &who, place, ("GET", "/dir/index.html"), qop)
        };
        assert_eq!(of(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(of(Algorithm::Sha256), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    #[test]
    fn parameters_are_read_quoted_or_not() {
        let found = parameters("Digest realm=\"a, b\", qop=\"auth,auth-int\" , stale=TRUE,nonce=\"x\"").unwrap();
        assert_eq!(found["realm"], "a, b");
        assert_eq!(found["qop"], "auth,auth-int");
        assert_eq!((found["stale"].as_str(), found["nonce"].as_str()), ("TRUE", "x"));
        assert_eq!(parameters("Basic abc"), None);
        assert_eq!(parameters("Digest"), None);
        assert_eq!(parameters("Digest a=\"b"), None);
    }
}
