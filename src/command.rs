//! The daily questions from a shell, asked of a running daemon by its admin API: `bind`, `unbind`, `show`, `calls`, `why`,
//! `deliveries`, `replay`.
//!
//! ```text
//!   axbridge why +8675512340001 +8613800000001 --config etc/axbridge.toml
//!     └─ where, and with which token: --server and --token, or the configuration's [api] and [[admin]]
//! ```

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::clock;
use crate::config::{self, Scope};
use crate::transport::credentials;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Which daemon is asked, and by whom.
#[derive(clap::Args, Clone, Debug)]
pub struct Server {
    /// The daemon's configuration: its first address and its first token that does.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The daemon's store, where it was started with one: its own certificate lies there.
    #[arg(long, value_name = "DIR", requires = "config")]
    pub data: Option<PathBuf>,
    /// The daemon's address, http://… or https://…
    #[arg(long, value_name = "URL", env = "AXBRIDGE_SERVER")]
    pub server: Option<String>,
    /// A token of the configuration's admins.
    #[arg(long, value_name = "TOKEN", env = "AXBRIDGE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Answer in JSON, for programs.
    #[arg(long)]
    pub json: bool,
}

const CHANNELS: [&str; 4] = ["status", "fee", "sms", "number"];
const STATES: [&str; 3] = ["pending", "delivered", "given_up"];

/// A time in RFC 3339, in milliseconds of UNIX time.
fn time(text: &str) -> Result<u64, String> {
    let parsed = text.parse::<jiff::Timestamp>().ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    parsed.ok_or_else(|| "write date, time and zone, e.g. 2026-11-23T20:36:05Z".to_owned())
}

/// What is asked.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Question {
    /// Bind A and B to an X of an app; without B where the app's bindings have none.
    Bind {
        /// The app.
        app: String,
        /// A, in global form: +8613800000001
        a: String,
        /// B.
        b: Option<String>,
        /// This X; else one is chosen.
        #[arg(long)]
        x: Option<String>,
        /// An X of this area: 0755
        #[arg(long)]
        area: Option<String>,
        /// This extension; else one is chosen.
        #[arg(long)]
        extension: Option<String>,
        /// End it after so many seconds.
        #[arg(long, default_value_t = 0)]
        duration: u32,
        /// Record its calls.
        #[arg(long)]
        record: bool,
        /// Whom to ask.
        #[command(flatten)]
        server: Server,
    },
    /// End a binding.
    Unbind {
        /// Its subscription id.
        id: String,
        /// Whom to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Show a binding, an X, or what a number is bound to.
    Show {
        /// A subscription id, an X, or a party's number.
        what: String,
        /// Whom to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Show the calls in progress.
    Calls {
        /// Of this app.
        #[arg(long)]
        app: Option<String>,
        /// Whom to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Show what customers' systems were told and are to be told, the latest first.
    Deliveries {
        /// To this app.
        #[arg(long)]
        app: Option<String>,
        /// Of this kind.
        #[arg(long, value_parser = CHANNELS)]
        channel: Option<String>,
        /// Of which this has become.
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
        /// Of this call or text message.
        #[arg(long, value_name = "SESSION_ID")]
        session: Option<String>,
        /// Happened then or later: 2026-11-23T20:36:05Z
        #[arg(long, value_name = "TIME", value_parser = time)]
        since: Option<u64>,
        /// Happened before then.
        #[arg(long, value_name = "TIME", value_parser = time)]
        until: Option<u64>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Whom to ask.
        #[command(flatten)]
        server: Server,
    },
    /// Tell a customer's system something once more: one notice, or all since a time.
    Replay {
        /// Its id, as `deliveries` shows it.
        #[arg(required_unless_present = "app", conflicts_with_all = ["app", "channel", "since"])]
        id: Option<u64>,
        /// The app.
        #[arg(long, requires = "channel", requires = "since")]
        app: Option<String>,
        /// What kind.
        #[arg(long, requires = "app", value_parser = CHANNELS)]
        channel: Option<String>,
        /// What happened then or later: 2026-11-23T20:36:05Z
        #[arg(long, value_name = "TIME", requires = "app", value_parser = time)]
        since: Option<u64>,
        /// Whom to ask.
        #[command(flatten)]
        server: Server,
    },
    /// What would become of a call, and because of which rule.
    Why {
        /// The number that is called.
        x: String,
        /// Who calls.
        caller: String,
        /// Whom to ask.
        #[command(flatten)]
        server: Server,
    },
}

impl Question {
    fn server(&self) -> &Server {
        match self {
            Question::Bind { server, .. }
            | Question::Unbind { server, .. }
            | Question::Show { server, .. }
            | Question::Calls { server, .. }
            | Question::Deliveries { server, .. }
            | Question::Replay { server, .. }
            | Question::Why { server, .. } => server,
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Trouble {
    /// What is missing on the command line or in the configuration, and the mend.
    Unclear(String),
    /// The daemon is not reached.
    Unreached(String, String),
    /// It refuses: the status, the word, the message.
    Refused(StatusCode, String, String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Unclear(what) => f.write_str(what),
            Trouble::Unreached(server, why) => {
                write!(f, "{server} does not answer: {why} — is the daemon running, with [api] at this address?")
            }
            Trouble::Refused(status, word, message) => write!(f, "{word} ({}): {message}", status.as_u16()),
        }
    }
}

/// Asks and prints. Exit code 0: answered; 1: refused, or nobody answered; 2: the question is not clear.
#[must_use]
pub fn run(question: &Question) -> ExitCode {
    let server = question.server();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("axbridge: the system refuses: {error}");
            return ExitCode::FAILURE;
        }
    };
    let told = Daemon::of(server).and_then(|daemon| runtime.block_on(answer(&daemon, question)));
    match told {
        Ok(answer) => {
            let text = if server.json { format!("{answer:#}\n") } else { told_to_people(question, &answer) };
            // Whoever reads may have seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(trouble) => {
            eprintln!("axbridge: {trouble}");
            ExitCode::from(if matches!(trouble, Trouble::Unclear(_)) { 2 } else { 1 })
        }
    }
}

async fn answer(daemon: &Daemon, question: &Question) -> Result<Value, Trouble> {
    match question {
        Question::Bind { app, a, b, x, area, extension, duration, record, server: _ } => {
            let mut body = Map::from_iter([
                ("app".to_owned(), json!(app)),
                ("a".to_owned(), json!(a)),
                ("duration".to_owned(), json!(duration)),
                ("record".to_owned(), json!(record)),
            ]);
            for (name, value) in [("b", b), ("x", x), ("area", area), ("extension", extension)] {
                if let Some(value) = value {
                    body.insert(name.to_owned(), json!(value));
                }
            }
            daemon.ask(Method::POST, "/bindings", Some(Value::Object(body))).await
        }
        Question::Unbind { id, .. } => daemon.ask(Method::DELETE, &format!("/bindings/{}", escaped(id)), None).await,
        Question::Show { what, .. } => show(daemon, what).await,
        Question::Calls { app, .. } => {
            let filter = app.as_ref().map_or_else(String::new, |app| format!("?app={}", escaped(app)));
            daemon.ask(Method::GET, &format!("/calls{filter}"), None).await
        }
        Question::Deliveries { app, channel, state, session, since, until, limit, server: _ } => {
            let mut filter = String::new();
            let times = [("from", since), ("to", until)].map(|(name, time)| (name, time.map(|time| time.to_string())));
            let words = [("app", app), ("channel", channel), ("state", state), ("session", session)];
            for (name, value) in words.map(|(name, word)| (name, word.clone())).into_iter().chain(times) {
                if let Some(value) = value {
                    filter.push_str(&format!("&{name}={}", escaped(&value)));
                }
            }
            let items = daemon.list("/deliveries", &filter, *limit).await?;
            Ok(json!({"items": items}))
        }
        Question::Replay { id: Some(id), .. } => {
            daemon.ask(Method::POST, &format!("/deliveries/{id}/replay"), None).await
        }
        Question::Replay { app, channel, since, .. } => {
            let body = json!({"app": app, "channel": channel, "since": since});
            daemon.ask(Method::POST, "/deliveries/replay", Some(body)).await
        }
        Question::Why { x, caller, .. } => {
            daemon.ask(Method::GET, &format!("/why?x={}&caller={}", escaped(x), escaped(caller)), None).await
        }
    }
}

/// A binding by its id; else an X with what it carries; else the bindings of a party.
async fn show(daemon: &Daemon, what: &str) -> Result<Value, Trouble> {
    if !what.starts_with('+') {
        let binding = daemon.ask(Method::GET, &format!("/bindings/{}", escaped(what)), None).await?;
        return Ok(json!({"bindings": [binding]}));
    }
    let number = match daemon.ask(Method::GET, &format!("/numbers/{}", escaped(what)), None).await {
        Ok(number) => Some(number),
        Err(Trouble::Refused(StatusCode::NOT_FOUND, ..)) => None,
        Err(trouble) => return Err(trouble),
    };
    let by = if number.is_some() { "x" } else { "number" };
    let bindings = daemon.list("/bindings", &format!("&{by}={}", escaped(what)), usize::MAX).await?;
    let mut told = Map::new();
    if let Some(number) = number {
        told.insert("number".to_owned(), number);
    }
    told.insert("bindings".to_owned(), Value::Array(bindings));
    Ok(Value::Object(told))
}

// ---- what people read -----------------------------------------------------------------------------------------

fn told_to_people(question: &Question, answer: &Value) -> String {
    match question {
        Question::Bind { .. } => table(BINDING, std::slice::from_ref(answer)),
        Question::Unbind { id, .. } => format!("{id} has ended\n"),
        Question::Show { .. } => {
            let number = answer.get("number").map(|number| table(NUMBER, std::slice::from_ref(number)));
            let bindings = match answer["bindings"].as_array() {
                Some(bindings) if !bindings.is_empty() => table(BINDING, bindings),
                Some(_) | None => "no bindings\n".to_owned(),
            };
            number.map_or_else(|| bindings.clone(), |number| format!("{number}\n{bindings}"))
        }
        Question::Calls { .. } => match answer["items"].as_array() {
            Some(calls) if !calls.is_empty() => table(CALL, calls),
            Some(_) | None => "no calls\n".to_owned(),
        },
        Question::Deliveries { .. } => match answer["items"].as_array() {
            Some(items) if !items.is_empty() => {
                let rows: Vec<Value> = items.iter().cloned().map(delivery).collect();
                table(DELIVERY, &rows)
            }
            Some(_) | None => "no deliveries\n".to_owned(),
        },
        Question::Replay { .. } => {
            let count = answer["count"].as_u64().unwrap_or_default();
            format!("{count} to be delivered again\n")
        }
        Question::Why { .. } => why(answer),
    }
}

/// Its times as people read them, and what is told by its name.
fn delivery(mut row: Value) -> Value {
    let at = |time: &Value| time.as_u64().map(|time| clock::rfc3339(Duration::from_millis(time)));
    row["at"] = json!(at(&row["created"]));
    row["next"] = json!(at(&row["due"]));
    row["tells"] = row["body"]["eventType"].take();
    row
}

const BINDING: &[&str] = &["subscription_id", "app", "mode", "x", "extension", "a", "b", "record", "ends"];
const NUMBER: &[&str] = &["x", "app", "state", "area", "bindings", "uses", "rests_until"];
const CALL: &[&str] = &["session_id", "app", "state", "caller", "x", "callee", "trunk_in", "trunk_out", "recording"];

const DELIVERY: &[&str] =
    &["id", "at", "app", "channel", "tells", "session", "state", "attempts", "status", "error", "next"];

/// Columns as wide as what stands in them; those in which nothing stands are left away.
fn table(columns: &[&str], rows: &[Value]) -> String {
    let cell = |row: &Value, column: &str| match &row[column] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let columns: Vec<&&str> = columns.iter().filter(|column| rows.iter().any(|row| !row[**column].is_null())).collect();
    let widths: Vec<usize> = columns
        .iter()
        .map(|column| rows.iter().map(|row| cell(row, column).chars().count()).fold(column.len(), usize::max))
        .collect();
    let mut text = String::new();
    let mut line = |cells: Vec<String>| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    };
    line(columns.iter().map(|column| (**column).to_owned()).collect());
    for row in rows {
        line(columns.iter().map(|column| cell(row, column)).collect());
    }
    text
}

fn why(answer: &Value) -> String {
    let mut text = String::new();
    for step in answer["steps"].as_array().into_iter().flatten() {
        text.push_str(&format!("  · {}\n", step.as_str().unwrap_or_default()));
    }
    let mark = if answer["connects"].as_bool() == Some(true) { '✓' } else { '✗' };
    let say = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
    text.push_str(&format!("{mark} {}: {}\n", say("reason"), say("message")));
    text
}

// ---- the daemon -----------------------------------------------------------------------------------------------

/// Where it is, and what opens it.
struct Daemon {
    /// `http://127.0.0.1:8080`.
    server: String,
    token: String,
    roots: RootCertStore,
}

impl Daemon {
    fn of(server: &Server) -> Result<Daemon, Trouble> {
        let told = match &server.config {
            Some(file) => Some(of_configuration(file, server.data.as_deref())?),
            None => None,
        };
        let (address, token, roots) = match told {
            Some((address, token, roots)) => (Some(address), token, roots),
            None => (None, None, of_system()),
        };
        let unclear = |what: &str| Trouble::Unclear(what.to_owned());
        let address = server.server.clone().or(address);
        let address = address.ok_or_else(|| unclear("which daemon? give --config FILE, or --server URL"))?;
        let token = server.token.clone().or(token);
        let token =
            token.ok_or_else(|| unclear("there is no token: give --token, or add [[admin]] to the configuration"))?;
        Ok(Daemon { server: address.trim_end_matches('/').to_owned(), token, roots })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Trouble> {
        let asked = tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await;
        let asked = asked.unwrap_or_else(|_| Err(format!("nothing came within {} s", PATIENCE.as_secs())));
        let (status, bytes) = asked.map_err(|why| Trouble::Unreached(self.server.clone(), why))?;
        let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() {
            return Ok(value);
        }
        let say = |field: &str| value[field].as_str().unwrap_or("?").to_owned();
        Err(Trouble::Refused(status, say("error"), say("message")))
    }

    /// At most so many items of a list, part by part; `filter` begins with `&`.
    async fn list(&self, path: &str, filter: &str, most: usize) -> Result<Vec<Value>, Trouble> {
        let mut all = Vec::new();
        let mut more = String::new();
        while all.len() < most {
            let limit = (most - all.len()).min(1_000);
            let mut part = self.ask(Method::GET, &format!("{path}?limit={limit}{filter}{more}"), None).await?;
            if let Value::Array(items) = part["items"].take() {
                all.extend(items);
            }
            match part["next_cursor"].as_str() {
                Some(next) => more = format!("&cursor={}", escaped(next)),
                None => break,
            }
        }
        Ok(all)
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<Value>) -> Result<(StatusCode, Bytes), String> {
        let uri: Uri = format!("{}/admin/v1{path}", self.server).parse().map_err(text)?;
        let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().ok_or("the address names no host")?);
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.map_or_else(Bytes::new, |body| body.to_string().into())))
            .map_err(text)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await.map_err(text)?;
        match scheme {
            "http" => send(stream, request).await,
            "https" => {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let config = rustls::ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(text)?
                    .with_root_certificates(self.roots.clone())
                    .with_no_client_auth();
                let name = ServerName::try_from(bare.to_owned()).map_err(text)?;
                let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(text)?;
                send(stream, request).await
            }
            _ => Err("the address begins with neither http:// nor https://".to_owned()),
        }
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(text)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| error.to_string())?;
    connection.abort();
    Ok((status, body.to_bytes()))
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

/// The address, the token and whom to believe, as a configuration says.
fn of_configuration(file: &Path, data: Option<&Path>) -> Result<(String, Option<String>, RootCertStore), Trouble> {
    let config = config::load(file).map_err(|complaints| {
        let all: Vec<String> = complaints.iter().map(ToString::to_string).collect();
        Trouble::Unclear(all.join("\n"))
    })?;
    let missing = || Trouble::Unclear(format!("{}: there is no [api]: add it, or give --server", file.display()));
    let api = config.api.ok_or_else(missing)?;
    let reachable = |address: SocketAddr| match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => SocketAddr::from(([127, 0, 0, 1], address.port())),
        IpAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port())),
    };
    let address = match (api.http, api.https) {
        (Some(http), _) => format!("http://{}", reachable(http)),
        (None, Some(https)) => format!("https://{}", reachable(https)),
        (None, None) => return Err(missing()),
    };
    let full = api.tokens.iter().find(|token| token.scope == Scope::Full).or(api.tokens.first());
    let token = full.map(|token| String::from_utf8_lossy(token.secret.bytes()).into_owned());
    // Its own certificate is vouched for by nobody else.
    let mut roots = RootCertStore::empty();
    let store = data.map_or(config.store, Path::to_owned);
    let own = api.certificate.map_or_else(|| store.join("https.pem"), |(chain, _)| chain);
    roots.add_parsable_certificates(credentials::read_certificates(&own).unwrap_or_default());
    roots.roots.extend(of_system().roots);
    Ok((address, token, roots))
}

/// Whom this system believes.
fn of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// What stands in a path or a query, escaped.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_what_stands_in_it() {
        let rows = [
            json!({"x": "+8675512340001", "app": "shop", "ends": null}),
            json!({"x": "+86", "app": "a", "ends": null}),
        ];
        assert_eq!(
            table(&["x", "ends", "app"], &rows),
            "x               app\n+8675512340001  shop\n+86             a\n"
        );
    }

    #[test]
    fn what_is_no_plain_letter_is_escaped() {
        assert_eq!(escaped("+86 a/b?ü"), "%2B86%20a%2Fb%3F%C3%BC");
    }

    #[test]
    fn a_time_has_a_zone_and_is_no_earlier_than_1970() {
        assert_eq!(time("1970-01-01T08:00:01.5+08:00"), Ok(1_500));
        for wrong in ["2026-11-23", "2026-11-23T20:36:05", "1969-12-31T23:59:59Z", "now", "5"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_delivery_is_told_by_its_event_and_without_its_numbers() {
        let body = json!({"eventType": "callin", "statusInfo": {"caller": "+8613800000001"}});
        let row = delivery(json!({"id": 7, "created": 1_500, "due": null, "channel": "status", "body": body}));
        assert_eq!(
            table(DELIVERY, &[row]),
            "id  at                        channel  tells\n7   1970-01-01T00:00:01.500Z  status   callin\n"
        );
        // A token that only looks gets no message.
        assert_eq!(delivery(json!({"id": 7}))["tells"], Value::Null);
    }

    #[test]
    fn why_shows_what_was_looked_at_and_then_the_end_of_it() {
        let answer = json!({"connects": false, "reason": "not_bound", "message": "No.", "steps": ["one", "two"]});
        assert_eq!(why(&answer), "  · one\n  · two\n✗ not_bound: No.\n");
    }

    #[test]
    fn without_a_server_or_a_token_it_is_said_what_is_missing() {
        let server = Server { config: None, data: None, server: None, token: None, json: false };
        assert!(matches!(Daemon::of(&server), Err(Trouble::Unclear(what)) if what.contains("--server")));
        let server = Server { server: Some("http://127.0.0.1:1".into()), ..server };
        assert!(matches!(Daemon::of(&server), Err(Trouble::Unclear(what)) if what.contains("--token")));
    }
}
