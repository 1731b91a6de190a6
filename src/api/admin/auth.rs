//! Who asks: tokens, what they may do, and who has tried too many wrong ones.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Admin;
use crate::api::refusal::Refusal;
use crate::api::server;

/// Wrong tokens that an address may send …
const TRIES: u32 = 10;
/// … in this time …
const WITHIN: Duration = Duration::from_secs(5 * 60);
/// … before it has to wait so long.
const WAITS: Duration = Duration::from_secs(30 * 60);
/// Addresses that are remembered.
const REMEMBERED: usize = 4096;

/// What a token may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// GET.
    Read,
    /// Everything.
    Full,
}

/// A token, as the operator writes it down.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Token {
    /// Whose it is: what the audit log says.
    pub name: String,
    /// The secret.
    pub token: String,
    /// What it may do.
    pub scope: Scope,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// Every token. Only their hashes are kept.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Known>);

#[derive(Clone)]
struct Known {
    name: Arc<str>,
    hash: [u8; 32],
    scope: Scope,
}

impl Tokens {
    /// These.
    #[must_use]
    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Tokens {
        let known = |token: Token| Known { name: token.name.into(), hash: hash(&token.token), scope: token.scope };
        // An empty one would let in whoever sends none.
        Tokens(tokens.into_iter().filter(|token| !token.token.is_empty()).map(known).collect())
    }

    /// Looks at all of them, whichever it is.
    fn find(&self, token: &str) -> Option<&Known> {
        let hash = hash(token);
        self.0.iter().fold(None, |found, known| if bool::from(known.hash.ct_eq(&hash)) { Some(known) } else { found })
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Who sent wrong tokens.
#[derive(Default)]
pub(super) struct Wrong(Mutex<HashMap<IpAddr, Tried>>);

#[derive(Clone, Copy)]
struct Tried {
    since: Duration,
    count: u32,
}

impl Tried {
    /// When it is forgotten.
    fn until(self) -> Duration {
        self.since + if self.count >= TRIES { WAITS } else { WITHIN }
    }
}

impl Wrong {
    /// How long an address has to wait.
    fn waits(&self, from: IpAddr, now: Duration) -> Option<Duration> {
        let tried = self.tried().get(&server::source(from)).copied()?;
        (tried.count >= TRIES).then(|| tried.until().saturating_sub(now)).filter(|rest| !rest.is_zero())
    }

    fn add(&self, from: IpAddr, now: Duration) {
        let from = server::source(from);
        let mut tried = self.tried();
        if tried.len() >= REMEMBERED && !tried.contains_key(&from) {
            tried.retain(|_, tried| tried.until() > now);
            // Whoever has many addresses makes us forget those that have tried least.
            if tried.len() >= REMEMBERED {
                let least = tried.iter().min_by_key(|(_, tried)| (tried.count, tried.since)).map(|(from, _)| *from);
                least.map(|least| tried.remove(&least));
            }
        }
        let entry = tried.entry(from).or_insert(Tried { since: now, count: 0 });
        if entry.until() <= now {
            *entry = Tried { since: now, count: 0 };
        }
        entry.count += 1;
        if entry.count == TRIES {
            entry.since = now;
        }
    }

    fn tried(&self) -> MutexGuard<'_, HashMap<IpAddr, Tried>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks, and for what: what the audit log says.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    /// The name of the token.
    pub(super) who: Arc<str>,
    /// From where.
    pub(super) from: IpAddr,
    /// What they may do.
    pub(super) scope: Scope,
    /// Method and path, as it is declared: without numbers.
    pub(super) action: String,
    /// What is answered if all goes well.
    pub(super) success: StatusCode,
}

impl Actor {
    /// All goes well with a 201.
    pub(super) fn creates(self) -> Actor {
        Actor { success: StatusCode::CREATED, ..self }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Actor, Refusal> {
        let mut actor = parts.extensions.get::<Actor>().cloned().ok_or_else(unknown)?;
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        actor.success = if parts.method == Method::DELETE { StatusCode::NO_CONTENT } else { StatusCode::OK };
        actor.action = format!("{} {path}", parts.method);
        Ok(actor)
    }
}

fn unknown() -> Refusal {
    let message = "send Authorization: Bearer and a token of [api] in the configuration";
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
}

/// Lets through who has a token that may do this.
pub(super) async fn guard(State(admin): State<Admin>, mut request: Request, next: Next) -> Response {
    let now = admin.0.clock.now();
    match let_in(&admin, &request, now) {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(refusal) => {
            let is_unknown = refusal.status == StatusCode::UNAUTHORIZED;
            let mut response = refusal.into_response();
            if is_unknown {
                let scheme = header::HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

fn let_in(admin: &Admin, request: &Request, now: Duration) -> Result<Actor, Refusal> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let from = peer.ok_or_else(unknown)?.0.ip().to_canonical();
    if let Some(rest) = admin.0.wrong.waits(from, now) {
        let message = "too many wrong tokens came from your address: wait for half an hour, and mend your token";
        let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tries", message);
        return Err(refusal.retry_after(rest.as_secs().max(1)));
    }
    let credentials = request.headers().get(header::AUTHORIZATION).ok_or_else(unknown)?;
    let token = credentials.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let tokens = admin.0.tokens.load();
    let Some(known) = token.and_then(|token| tokens.find(token)) else {
        admin.0.wrong.add(from, now);
        return Err(unknown());
    };
    if known.scope == Scope::Read && request.method() != Method::GET && request.method() != Method::HEAD {
        let message = "this token may only read: use one whose scope is full";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "read_only", message));
    }
    Ok(Actor { who: Arc::clone(&known.name), from, scope: known.scope, action: String::new(), success: StatusCode::OK })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from(0x0a00_0000 + last))
    }

    #[test]
    fn ten_wrong_tokens_within_five_minutes_bar_for_thirty() {
        let wrong = Wrong::default();
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        for _ in 0..9 {
            wrong.add(address(1), minutes(1));
        }
        // Five minutes later they are forgotten.
        wrong.add(address(1), minutes(6));
        assert_eq!(wrong.waits(address(1), minutes(6)), None);
        for _ in 0..9 {
            assert_eq!(wrong.waits(address(1), minutes(10)), None);
            wrong.add(address(1), minutes(10));
        }
        assert_eq!(wrong.waits(address(1), minutes(10)), Some(minutes(30)));
        assert_eq!(wrong.waits(address(1), minutes(39)), Some(minutes(1)));
        assert_eq!(wrong.waits(address(2), minutes(10)), None);
        assert_eq!(wrong.waits(address(1), minutes(40)), None);
        wrong.add(address(1), minutes(40));
        assert_eq!(wrong.waits(address(1), minutes(40)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_those_barred_stay_so() {
        let wrong = Wrong::default();
        let now = Duration::from_secs(1);
        for _ in 0..TRIES {
            wrong.add(address(0), now);
        }
        for last in 1..10_000 {
            wrong.add(address(last), now);
        }
        assert_eq!(wrong.tried().len(), REMEMBERED);
        assert!(wrong.waits(address(0), now).is_some());
    }

    #[test]
    fn tokens_are_found_and_never_printed() {
        let token = |name: &str, token: &str| Token { name: name.into(), token: token.into(), scope: Scope::Full };
        let tokens = Tokens::new([token("one", "first"), token("two", "second")]);
        assert_eq!(tokens.find("second").map(|known| &*known.name), Some("two"));
        assert!(Tokens::new([token("none", "")]).find("").is_none());
        assert!(tokens.find("").is_none() && tokens.find("firs").is_none());
        assert!(!format!("{:?}", token("one", "first")).contains("first"));
    }
}
