//! The API of customers' programs, compatible with Huawei Cloud's 隐私保护通话: what ran against that runs against this after
//! a change of base address, key and secret.
//!
//! ```text
//!   POST /rest/caas/relationnumber/partners/v1.0
//!     │ ROUTES      404, 405
//!     │ Gate        who is it?             1010003, 10230xx, 1020176, 1010010
//!     │ mode        is it for this app?    1010040
//!     │ Fields      body and query         1010002 names the parameter
//!     ▼
//!   axb::bind(account, fields) ─▶ Work ──transact──▶ (Books) ─▶ Reply │ Refused ─▶ JSON
//! ```
//!
//! An operation is a function that reads its parameters where the request is, and returns the rest of its work, which the
//! registry does alone. So what was checked still holds when it is written, and a refused request has changed nothing.

pub mod authentication;
pub mod ax;
pub mod axb;
pub mod axe;
pub mod call_stop;
pub mod choice;
pub mod fields;
pub mod record;
pub mod result;
pub mod terms;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header, request};
use axum::response::Response;
use axum::routing::any;
use numbering::{AppId, Mode, Voice};
use tracing::debug;

use self::authentication::{Gate, Now};
use self::fields::{Fields, MAX_BODY};
use self::result::{Answer, Code, Refused, Reply, Tally};
use crate::api::server;
use crate::apps::{Account, Accounts};
use crate::clock::Clock;
use crate::registry::{Books, Registry, Unavailable};

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that is waited for.
pub type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What an operation does with the books.
pub type Work = Box<dyn FnOnce(&mut Books) -> Answer + Send>;

/// Of an app, by the name of a recording and by what has brought the request here: `https://api.example.com`.
pub type RecordingLink =
    Box<dyn Fn(Arc<Account>, String, String) -> Waiting<Result<Option<String>, Unavailable>> + Send + Sync>;

/// Of an app, by the id of a session.
pub type StopCall = Box<dyn Fn(AppId, String) -> Waiting<Result<bool, Unavailable>> + Send + Sync>;

/// What other parts of the platform do for this API.
pub struct Hooks {
    /// The address by which a recording of this app can be fetched; `None`
    /// where the app has no recording of this name.
    pub recording_link: RecordingLink,
    /// Ends the call of a session, where it is this app's and still there; whether it was.
    pub stop_call: StopCall,
}

/// Does a piece of work; `true`: it changes nothing.
type Transact = Box<dyn Fn(Work, bool) -> Waiting<Result<Answer, Unavailable>> + Send + Sync>;

/// The API and what it works with.
pub struct Compat {
    accounts: Box<dyn Fn() -> Arc<Accounts> + Send + Sync>,
    transact: Transact,
    gate: Gate,
    hooks: Hooks,
    clock: Clock,
    tally: Tally,
}

impl Compat {
    /// The API over this registry.
    #[must_use]
    pub fn new(registry: Registry, gate: Gate, hooks: Hooks, clock: Clock) -> Compat {
        let books = registry.clone();
        let accounts = Box::new(move || registry.accounts());
        let transact: Transact = Box::new(move |work, is_read| {
            let books = books.clone();
            Box::pin(async move { if is_read { books.read(work).await } else { books.transact(work).await } })
        });
        Compat { accounts, transact, gate, hooks, clock, tally: Tally::default() }
    }

    /// Every result code, and how often it has been answered.
    pub fn answers(&self) -> impl Iterator<Item = (Code, u64)> {
        self.tally.iter()
    }

    /// The gate, for its counters.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    async fn answer(&self, operation: &Operation, parts: &request::Parts, body: Body) -> Result<Done, Refused> {
        let at = self.clock.now();
        let unix_ms = self.clock.unix_ms(at);
        let now = Now { unix_ms, monotonic: at };
        let admitted = self.gate.admit(now, source(parts), &parts.headers, &(self.accounts)());
        let account = admitted.inspect_err(|code| debug!(op = operation.name, code = code.number(), "not let in"))?;
        let allowed = operation.mode.is_none_or(|mode| mode == account.rules.mode);
        let fields = if allowed { read(operation, parts, body).await } else { Err(Code::WrongMode.into()) };
        let outcome = match &fields {
            Ok(fields) => self.run(operation, &account, fields, parts).await,
            Err(refused) => Err(*refused),
        };
        let code = outcome.as_ref().map_or_else(|refused| refused.code, |_| Code::Success);
        match &fields {
            Ok(fields) => debug!(app = %account.name, op = operation.name, code = code.number(), "{}", fields.masked()),
            Err(_) => debug!(app = %account.name, op = operation.name, code = code.number()),
        }
        outcome
    }

    async fn run(
        &self,
        operation: &Operation,
        account: &Arc<Account>,
        fields: &Fields,
        parts: &request::Parts,
    ) -> Result<Done, Refused> {
        let is_read = operation.method == "GET";
        match operation.does {
            Does::Books(operation) => {
                let work = operation(account, fields)?;
                let answer = (self.transact)(work, is_read).await.map_err(|Unavailable| Code::Internal)?;
                answer.map(Done::Reply)
            }
            Does::RecordingLink => {
                let name = record::name(fields)?;
                let link = (self.hooks.recording_link)(Arc::clone(account), name, server::base_url(parts)).await;
                let link = link.map_err(|Unavailable| Code::Internal)?;
                let link = HeaderValue::try_from(link.ok_or(Code::NoRecord)?);
                Ok(Done::Moved(link.map_err(|_| Code::Internal)?))
            }
            Does::StopCall => {
                let session = call_stop::session(fields)?;
                let is_stopped = (self.hooks.stop_call)(account.id, session).await;
                let is_stopped = is_stopped.map_err(|Unavailable| Code::Internal)?;
                if is_stopped { Ok(Done::Reply(Reply::new())) } else { Err(Code::CallGone.into()) }
            }
        }
    }
}

enum Done {
    Reply(Reply),
    /// Elsewhere.
    Moved(HeaderValue),
}

enum Does {
    Books(fn(&Arc<Account>, &Fields) -> Result<Work, Refused>),
    RecordingLink,
    StopCall,
}

/// A row of the table of the API.
struct Operation {
    method: &'static str,
    path: &'static str,
    name: &'static str,
    /// The mode that the app must have.
    mode: Option<Mode>,
    does: Does,
}

const AXB: &str = "/rest/caas/relationnumber/partners/v1.0";
const AX: &str = "/rest/provision/caas/privatenumber/v1.0";
const AX_CALLEE: &str = "/rest/caas/privatenumber/calleenumber/v1.0";
const AXE: &str = "/rest/caas/extendnumber/v1.0";
const RECORD: &str = "/rest/provision/voice/record/v1.0";
const CALL_STOP: &str = "/rest/httpsessions/callStop/v2.0";

/// Every operation.
static OPERATIONS: [Operation; 15] = [
    books("POST", AXB, "axb_bind", Mode::Axb, axb::bind),
    books("DELETE", AXB, "axb_unbind", Mode::Axb, axb::unbind),
    books("PUT", AXB, "axb_modify", Mode::Axb, axb::modify),
    books("GET", AXB, "axb_query", Mode::Axb, axb::query),
    books("POST", AX, "ax_bind", Mode::Ax, ax::bind),
    books("DELETE", AX, "ax_unbind", Mode::Ax, ax::unbind),
    books("PUT", AX, "ax_modify", Mode::Ax, ax::modify),
    books("GET", AX, "ax_query", Mode::Ax, ax::query),
    books("PUT", AX_CALLEE, "ax_set_temporary", Mode::Ax, ax::set_temporary),
    books("POST", AXE, "axe_bind", Mode::Axe, axe::bind),
    books("DELETE", AXE, "axe_unbind", Mode::Axe, axe::unbind),
    books("PUT", AXE, "axe_modify", Mode::Axe, axe::modify),
    books("GET", AXE, "axe_query", Mode::Axe, axe::query),
    Operation { method: "GET", path: RECORD, name: "recording_link", mode: None, does: Does::RecordingLink },
    Operation { method: "POST", path: CALL_STOP, name: "stop_call", mode: None, does: Does::StopCall },
];

const fn books(
    method: &'static str,
    path: &'static str,
    name: &'static str,
    mode: Mode,
    operation: fn(&Arc<Account>, &Fields) -> Result<Work, Refused>,
) -> Operation {
    Operation { method, path, name, mode: Some(mode), does: Does::Books(operation) }
}

/// The API. It answers everything below `/rest/`, and what nobody else answers. Whoever serves it says where a request comes
/// from by a [`ConnectInfo<SocketAddr>`].
pub fn router(state: Arc<Compat>) -> Router {
    Router::new().route("/rest/{*path}", any(serve)).fallback(serve).with_state(state)
}

async fn serve(State(compat): State<Arc<Compat>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let outcome = match find(&parts) {
        Ok(operation) => compat.answer(operation, &parts, body).await,
        Err(code) => {
            // Neither the method nor the path, which a stranger chooses, nor the query, which may hold numbers.
            debug!(code = code.number(), "not there");
            Err(code.into())
        }
    };
    let code = outcome.as_ref().map_or_else(|refused| refused.code, |_| Code::Success);
    compat.tally.count(code);
    match outcome {
        Ok(Done::Reply(reply)) => json(StatusCode::OK, &reply),
        Ok(Done::Moved(location)) => moved(location),
        Err(refused) => {
            let status = StatusCode::from_u16(refused.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = json(status, &Reply::of(refused));
            if refused.code == Code::NoMethod {
                response.headers_mut().extend(methods(&parts).map(|methods| (header::ALLOW, methods)));
            }
            response
        }
    }
}

fn at_path(parts: &request::Parts) -> impl Iterator<Item = &'static Operation> {
    let path = parts.uri.path().trim_end_matches('/');
    OPERATIONS.iter().filter(move |operation| operation.path == path)
}

/// What a 405 has to name (RFC 9110 section 15.5.6).
fn methods(parts: &request::Parts) -> Option<HeaderValue> {
    let methods: Vec<&str> = at_path(parts).map(|operation| operation.method).collect();
    HeaderValue::try_from(methods.join(", ")).ok()
}

fn find(parts: &request::Parts) -> Result<&'static Operation, Code> {
    let mut at_path = at_path(parts).peekable();
    at_path.peek().ok_or(Code::NoPath)?;
    at_path.find(|operation| operation.method == parts.method.as_str()).ok_or(Code::NoMethod)
}

/// The parameters of a request: of GET in the query; of DELETE in both, the query first; else in the body.
async fn read(operation: &Operation, parts: &request::Parts, body: Body) -> Result<Fields, Refused> {
    let query = || Fields::of_query(parts.uri.query().unwrap_or_default());
    if operation.method == "GET" {
        return Ok(query());
    }
    let body = tokio::time::timeout(PATIENCE, to_bytes(body, MAX_BODY)).await;
    let body = body.map_err(|_| Code::Timeout)?;
    let body = Fields::of_json(&body.map_err(|_| Refused::parameter("body", "is longer than 64 KiB, or broken"))?)?;
    Ok(if operation.method == "DELETE" { query().over(body) } else { body })
}

fn source(parts: &request::Parts) -> IpAddr {
    let source = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    source.map_or(Ipv4Addr::UNSPECIFIED.into(), |ConnectInfo(source)| source.ip())
}

fn moved(location: HeaderValue) -> Response {
    let mut response = json(StatusCode::MOVED_PERMANENTLY, &Reply::new());
    response.headers_mut().insert(header::LOCATION, location);
    response
}

fn json(status: StatusCode, reply: &Reply) -> Response {
    let body = serde_json::to_vec(reply).expect("names and JSON values are written without failing");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json;charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// The names of prompts that a binding has, as queries tell them.
fn voice_of(reply: Reply, voice: Option<&Voice>) -> Reply {
    let Some(voice) = voice else { return reply };
    let has_pre_voice = voice.caller_hint_tone.is_some() || voice.callee_hint_tone.is_some();
    let pre_voice = has_pre_voice.then(|| {
        result::item()
            .with_any("callerHintTone", voice.caller_hint_tone.as_deref())
            .with_any("calleeHintTone", voice.callee_hint_tone.as_deref())
    });
    reply
        .with_any("recordHintTone", voice.record_hint_tone.as_deref())
        .with_any("lastMinVoice", voice.last_minute.as_deref())
        .with_any("preVoice", pre_voice)
}

#[cfg(test)]
mod tests;
