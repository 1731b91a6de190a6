//! The API as customers' and operators' programs speak it: HTTP by hand, over a connection for each request.
//!
//! ```text
//!   App ── Authorization: AKSK │ WSSE, X-AKSK │ X-WSSE ──▶ /rest/…         signed with the app's secret
//!   Admin ── Authorization: Bearer ──▶ /admin/v1/…
//! ```

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axbridge::clock::{Clock, rfc3339};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::PATIENCE;

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A–X–B.
pub(crate) const AXB: &str = "/rest/caas/relationnumber/partners/v1.0";
/// A–X.
pub(crate) const AX: &str = "/rest/provision/caas/privatenumber/v1.0";
/// Whom A reaches next.
pub(crate) const AX_CALLEE: &str = "/rest/caas/privatenumber/calleenumber/v1.0";
/// Where a recording can be fetched.
pub(crate) const RECORD: &str = "/rest/provision/voice/record/v1.0";
/// Ends a call.
pub(crate) const CALL_STOP: &str = "/rest/httpsessions/callStop/v2.0";

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Its body, which is JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// `resultcode`.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        body["resultcode"].as_str().unwrap_or_else(|| panic!("no resultcode: {body}")).to_owned()
    }

    /// Its body; fails where it is a refusal.
    pub(crate) fn success(&self) -> Value {
        let body = if self.body.is_empty() { Value::Null } else { self.json() };
        assert!((200..300).contains(&self.status), "{} {body}", self.status);
        assert!(body.get("resultcode").is_none_or(|code| code == "0"), "{body}");
        body
    }

    fn read(bytes: &[u8]) -> Option<Answer> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let pairs = lines.filter_map(|line| line.split_once(':'));
        let headers: BTreeMap<String, String> =
            pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        assert!(!headers.contains_key("transfer-encoding"), "the client by hand reads no chunks: {head}");
        let body = bytes[end + 4..].to_vec();
        let length = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
        (body.len() == length).then_some(Answer { status, headers, body })
    }
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// The server is not there, or goes before it has answered.
pub(crate) fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, String)],
    body: Option<&Value>,
) -> io::Result<Answer> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Type: application/json;charset=UTF-8\r\nContent-Length: {}\r\n", body.len());
    }
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Answer::read(&answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// How a customer's program signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scheme {
    Aksk,
    Wsse,
}

/// A customer's program.
#[derive(Clone, Debug)]
pub(crate) struct App {
    server: SocketAddr,
    name: String,
    secret: String,
    scheme: Scheme,
}

impl App {
    pub(crate) fn new(server: SocketAddr, name: &str, secret: &str, scheme: Scheme) -> App {
        App { server, name: name.to_owned(), secret: secret.to_owned(), scheme }
    }

    /// Asks; what stands in `query` is not escaped yet.
    ///
    /// # Errors
    /// The server is not there, or goes before it has answered.
    pub(crate) fn try_ask(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> io::Result<Answer> {
        let clock = Clock::start();
        let now = clock.unix(clock.now());
        let created = format!("{}Z", &rfc3339(now)[..19]);
        let nonce = format!("{:x}x{}x{}", now.as_nanos(), std::process::id(), NEXT.fetch_add(1, Relaxed));
        let (scheme, header, digest) = match self.scheme {
            Scheme::Wsse => {
                let hash = Sha256::new().chain_update(&nonce).chain_update(&created).chain_update(&self.secret);
                ("WSSE", "X-WSSE", BASE64_STANDARD.encode(hash.finalize()))
            }
            Scheme::Aksk => {
                let hmac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
                let hmac = hmac.chain_update(&nonce).chain_update(&created);
                ("AKSK", "X-AKSK", BASE64_STANDARD.encode(hmac.finalize().into_bytes()))
            }
        };
        let headers = [
            ("Authorization", format!(r#"{scheme} realm="SDP",profile="UsernameToken",type="Appkey""#)),
            (
                header,
                format!(
                    r#"UsernameToken Username="{}", PasswordDigest="{digest}", Nonce="{nonce}", Created="{created}""#,
                    self.name
                ),
            ),
        ];
        request(self.server, method, &with_query(path, query), &headers, body)
    }

    pub(crate) fn ask(&self, method: &str, path: &str, query: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let answer = self.try_ask(method, path, query, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Makes something.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], Some(body))
    }

    /// Changes something.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, &[], Some(body))
    }

    /// Ends a binding.
    pub(crate) fn unbind(&self, path: &str, id: &str) -> Answer {
        self.ask("DELETE", path, &[("subscriptionId", id)], None)
    }

    /// Binds A–X–B; `more` goes into the request too. The binding's id.
    pub(crate) fn bind(&self, x: &str, a: &str, b: &str, more: &Value) -> String {
        let mut body = json!({"relationNum": x, "callerNum": a, "calleeNum": b});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        id_in(&self.post(AXB, &body).success())
    }

    /// Binds A–X. The binding's id.
    pub(crate) fn bind_ax(&self, x: &str, a: &str) -> String {
        id_in(&self.post(AX, &json!({"privateNum": x, "origNum": a})).success())
    }
}

/// `subscriptionId`.
pub(crate) fn id_in(body: &Value) -> String {
    body["subscriptionId"].as_str().unwrap_or_else(|| panic!("no subscriptionId: {body}")).to_owned()
}

/// An operator's program.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    server: SocketAddr,
    token: String,
}

impl Admin {
    pub(crate) fn new(server: SocketAddr, token: &str) -> Admin {
        Admin { server, token: token.to_owned() }
    }

    /// Asks for what is below `/admin/v1`; what stands in `query` is not escaped yet.
    pub(crate) fn ask(&self, method: &str, path: &str, query: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let headers = [("Authorization", format!("Bearer {}", self.token))];
        let path = format!("/admin/v1{}", with_query(path, query));
        let answer = request(self.server, method, &path, &headers, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Looks, and finds.
    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Value {
        self.ask("GET", path, query, None).success()
    }

    /// The items of a list, all of it on one page.
    pub(crate) fn list(&self, path: &str, query: &[(&str, &str)]) -> Vec<Value> {
        let found = self.get(path, query);
        assert!(found.get("next_cursor").is_none(), "more than a page: {found}");
        found["items"].as_array().unwrap_or_else(|| panic!("no list: {found}")).clone()
    }
}

fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{name}={}", value.replace('+', "%2B"))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}
