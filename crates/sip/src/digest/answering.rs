//! Answering challenges as a UAC (RFC 3261 §22.2, §22.3).
//!
//! ```text
//!                challenge               authorizations (nc + 1)             on_accepted
//!    unasked ───────────────▶ untried ──────────────────────────▶ sent ─────────────────────▶ proven
//!                                ▲                                 │                            │
//!                                ├───── challenge, stale ──────────┤     challenge, any, a few  │
//!                                └─────────────────────────────────┼──────── in a row ──────────┘
//!                                                                  └─ challenge, not stale: Rejected
//! ```

use std::sync::Arc;

use super::parameters::{self, Parameters, Writer};
use super::{Algorithm, Challenger, Hash, Inputs, Password, Protection, Qop};
use crate::message::Message;
use crate::token::push_hex;

/// Challenges that are looked at in one response; the strongest of them is answered.
const MAX_CHALLENGES: usize = 16;
/// Challenges in a row that are answered before one must be accepted: a peer that calls every nonce stale would
/// otherwise keep us busy for ever.
const MAX_UNACCEPTED: u8 = 3;

/// Who we are to a peer that challenges us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// Without quotes and colons.
    pub user: Box<str>,
    /// Its password.
    pub password: Password,
    /// The only realm that is answered. `None` answers any: whoever sits in the peer's place then gets a digest to guess
    /// passwords against.
    pub realm: Option<Box<str>>,
}

/// Why a challenge is not answered. A later one has come further than an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unanswerable {
    /// Not a 401 or 407, or one without a challenge.
    NoChallenge,
    /// `Basic` or another scheme, but no `Digest`.
    NoDigest,
    /// A challenge that cannot be read, or that lacks its realm or nonce.
    Malformed,
    /// An algorithm or a quality of protection that we do not know.
    Unsupported,
    /// Another realm than that of the credentials: a digest for it would tell a stranger something of the password.
    OtherRealm,
    /// Asked again without `stale`, and no answer was ever accepted: the credentials are wrong.
    Rejected,
    /// Stale, but with the very nonce that we answered with, and no answer was ever accepted.
    SameNonce,
    /// Stale again and again: three answers in a row, and none was accepted.
    TooOften,
}

impl Unanswerable {
    /// Every accusation.
    pub const ALL: [Unanswerable; 8] = [
        Unanswerable::NoChallenge,
        Unanswerable::NoDigest,
        Unanswerable::Malformed,
        Unanswerable::Unsupported,
        Unanswerable::OtherRealm,
        Unanswerable::Rejected,
        Unanswerable::SameNonce,
        Unanswerable::TooOften,
    ];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Unanswerable::NoChallenge => "no_challenge",
            Unanswerable::NoDigest => "no_digest",
            Unanswerable::Malformed => "malformed",
            Unanswerable::Unsupported => "unsupported",
            Unanswerable::OtherRealm => "other_realm",
            Unanswerable::Rejected => "rejected",
            Unanswerable::SameNonce => "same_nonce",
            Unanswerable::TooOften => "too_often",
        }
    }
}

impl std::fmt::Display for Unanswerable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

impl std::error::Error for Unanswerable {}

/// A challenge that we can answer.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Challenge {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    opaque: Option<Vec<u8>>,
    algorithm: Algorithm,
    /// Not every peer that leaves the algorithm away knows the word.
    names_algorithm: bool,
    qop: Option<Qop>,
    stale: bool,
}

impl Challenge {
    /// The strongest of a response's challenges that we can answer, the first of equal ones.
    ///
    /// RFC 8760 §2.4 takes the topmost unless local policy says otherwise; ours is that a peer cannot talk us down to MD5
    /// by its order.
    fn choose<'a>(values: impl Iterator<Item = &'a [u8]>, realm: Option<&str>) -> Result<Challenge, Unanswerable> {
        let mut best: Result<Challenge, Unanswerable> = Err(Unanswerable::NoChallenge);
        let mut seen = 0;
        for value in values.take(MAX_CHALLENGES) {
            let challenges = parameters::read(value);
            if challenges.is_empty() {
                best = best.map_err(|reason| reason.max(Unanswerable::NoDigest));
            }
            for challenge in challenges {
                seen += 1;
                if seen > MAX_CHALLENGES {
                    return best;
                }
                let challenge = challenge.map_err(|_| Unanswerable::Malformed);
                let challenge = challenge.and_then(|parameters| Challenge::of(&parameters, realm));
                best = match (best, challenge) {
                    (Ok(best), Ok(challenge)) if challenge.strength() > best.strength() => Ok(challenge),
                    (Ok(best), Ok(_) | Err(_)) => Ok(best),
                    (Err(_), Ok(challenge)) => Ok(challenge),
                    (Err(one), Err(other)) => Err(one.max(other)),
                };
            }
        }
        best
    }

    fn of(parameters: &Parameters, realm: Option<&str>) -> Result<Challenge, Unanswerable> {
        let (Some(own), Some(nonce)) = (parameters.get("realm"), parameters.get("nonce")) else {
            return Err(Unanswerable::Malformed);
        };
        let algorithm = Algorithm::of(parameters.get("algorithm")).ok_or(Unanswerable::Unsupported)?;
        let qop = match parameters.get("qop") {
            None => None,
            Some(offered) => {
                let offers =
                    |qop: Qop| offered.split(|byte| *byte == b',').any(|word| Qop::of(word.trim_ascii()) == Some(qop));
                let qop = [Qop::Auth, Qop::AuthInt].into_iter().find(|qop| offers(*qop));
                Some(qop.ok_or(Unanswerable::Unsupported)?)
            }
        };
        // Without qop there is no cnonce, of which -sess is made.
        if algorithm.session && qop.is_none() {
            return Err(Unanswerable::Unsupported);
        }
        if realm.is_some_and(|realm| realm.as_bytes() != own) {
            return Err(Unanswerable::OtherRealm);
        }
        Ok(Challenge {
            realm: own.to_vec(),
            nonce: nonce.to_vec(),
            opaque: parameters.get("opaque").map(<[u8]>::to_vec),
            algorithm,
            names_algorithm: parameters.get("algorithm").is_some(),
            qop,
            stale: parameters.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case(b"true")),
        })
    }

    fn strength(&self) -> (Hash, bool) {
        (self.algorithm.hash, self.qop.is_some())
    }
}

/// A challenge and what we have made of it so far.
#[derive(Clone, Debug)]
struct Answer {
    challenge: Challenge,
    /// 16 digits, the same as long as the nonce is: `-sess` wants the first one (RFC 7616 §3.4.2).
    cnonce: Vec<u8>,
    /// Requests that this nonce was sent with.
    count: u32,
    /// Challenges since an answer was last accepted, this one included; 0 once it has been.
    unaccepted: u8,
    /// The peer has taken our credentials for this realm before.
    proven: bool,
}

impl Answer {
    fn new(challenge: Challenge, random: u64) -> Answer {
        let mut cnonce = Vec::with_capacity(16);
        push_hex(&mut cnonce, random, 16);
        Answer { challenge, cnonce, count: 0, unaccepted: 1, proven: false }
    }

    /// The answer to the next challenge of the same peer.
    fn follow(&self, next: Challenge, random: u64) -> Result<Answer, Unanswerable> {
        let same_realm = next.realm == self.challenge.realm;
        let same_nonce = same_realm && next.nonce == self.challenge.nonce;
        // Good credentials do not become wrong: many a peer forgets to say that the nonce is stale, and two requests in
        // flight are both asked when it is. Nor has a realm refused what it was not shown.
        if self.count > 0 && same_realm && !self.proven {
            match (next.stale, same_nonce) {
                (false, true | false) => return Err(Unanswerable::Rejected),
                (true, true) => return Err(Unanswerable::SameNonce),
                (true, false) => {}
            }
        }
        // Nothing was sent with this nonce yet: the challenge is not about it.
        let unaccepted = if self.count == 0 { self.unaccepted } else { self.unaccepted + 1 };
        if unaccepted > MAX_UNACCEPTED {
            return Err(Unanswerable::TooOften);
        }
        let answer = Answer { unaccepted, proven: same_realm && self.proven, ..Answer::new(next, random) };
        // A nonce that stays goes on counting: a count that came before would be a replay.
        Ok(if same_nonce { Answer { cnonce: self.cnonce.clone(), count: self.count, ..answer } } else { answer })
    }

    fn authorization(&mut self, credentials: &Credentials, method: &str, uri: &[u8], body: &[u8]) -> Vec<u8> {
        // 2^32 requests with one nonce: the peer refuses the last one's count, and asks anew.
        self.count = self.count.saturating_add(1);
        let mut count = Vec::with_capacity(8);
        push_hex(&mut count, u64::from(self.count), 8);
        let challenge = &self.challenge;
        let inputs = Inputs {
            algorithm: challenge.algorithm,
            protection: challenge.qop.map(|qop| Protection { qop, count: &count }),
            user: credentials.user.as_bytes(),
            realm: &challenge.realm,
            nonce: &challenge.nonce,
            cnonce: &self.cnonce,
            method: method.as_bytes(),
            uri,
            body,
        };
        let mut out = Writer::new()
            .quoted("username", inputs.user)
            .quoted("realm", inputs.realm)
            .quoted("nonce", inputs.nonce)
            .quoted("uri", uri)
            .quoted("response", &inputs.response(&credentials.password));
        if challenge.names_algorithm {
            out = out.token("algorithm", challenge.algorithm.as_bytes());
        }
        if let Some(qop) = challenge.qop {
            out = out.quoted("cnonce", &self.cnonce).token("qop", qop.as_bytes()).token("nc", &count);
        }
        if let Some(opaque) = &challenge.opaque {
            out = out.quoted("opaque", opaque);
        }
        out.finish()
    }
}

/// Our side of the authentication with one peer, for the life of a dialog.
///
/// A server and a proxy before it may both ask (401 and 407); each is answered for itself.
#[derive(Clone, Debug)]
pub struct Answering {
    credentials: Arc<Credentials>,
    answers: [Option<Answer>; 2],
}

impl Answering {
    /// Nothing has been asked yet.
    #[must_use]
    pub const fn new(credentials: Arc<Credentials>) -> Answering {
        Answering { credentials, answers: [None, None] }
    }

    /// Takes the challenges of a 401 or 407. The request is then to be sent again, as a new one (RFC 3261 §22.2: same
    /// Call-ID, From and To, CSeq + 1), with the headers that [`Answering::authorizations`] gives.
    ///
    /// `random`: 64 bits that nobody can guess; the cnonce is made of them.
    ///
    /// # Errors
    /// The request has failed for good, with the response as it came.
    pub fn on_challenge(&mut self, response: &Message, random: u64) -> Result<(), Unanswerable> {
        let challenger = Challenger::of_status(response.status()).ok_or(Unanswerable::NoChallenge)?;
        let name = challenger.challenge_header();
        let values = response.headers().filter(|header| header.name == name).map(|header| header.value);
        self.take(challenger, values, random)
    }

    pub(super) fn take<'a>(
        &mut self,
        challenger: Challenger,
        values: impl Iterator<Item = &'a [u8]>,
        random: u64,
    ) -> Result<(), Unanswerable> {
        let challenge = Challenge::choose(values, self.credentials.realm.as_deref())?;
        let answer = &mut self.answers[challenger as usize];
        *answer = Some(match answer {
            None => Answer::new(challenge, random),
            Some(answer) => answer.follow(challenge, random)?,
        });
        Ok(())
    }

    /// A request with our credentials got a response other than 401 and 407: they are good. To be told of every such
    /// response; a nonce that ends later is then replaced, and a peer that ends every one is found out.
    pub fn on_accepted(&mut self) {
        for answer in self.answers.iter_mut().flatten().filter(|answer| answer.count > 0) {
            answer.unaccepted = 0;
            answer.proven = true;
        }
    }

    /// The headers for the next request, name and value; none before the first challenge.
    ///
    /// Each call counts the nonce count up: one call for each new request, none for its retransmissions. An ACK for a 2xx
    /// gets the headers of its INVITE once more, and so may a CANCEL: neither can be challenged (RFC 3261 §22.1).
    ///
    /// `uri` is the Request-URI as it stands in the request line; `body` is hashed where the peer wants `auth-int`.
    pub fn authorizations(&mut self, method: &str, uri: &[u8], body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut out = Vec::new();
        for challenger in Challenger::ALL {
            if let Some(answer) = &mut self.answers[challenger as usize] {
                let value = answer.authorization(&self.credentials, method, uri, body);
                out.push((challenger.credentials_header(), value));
            }
        }
        out
    }
}
