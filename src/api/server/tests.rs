//! The server over real sockets on the loopback.

use std::io::{Read, Write};
use std::net::TcpStream as Client;
use std::sync::mpsc as channel;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Extension};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::routing::{get, post, put};
use tokio::runtime::Runtime;

use super::*;
use crate::api::refusal::Refusal;

/// So long that a test which waits for it has failed.
const LONG: Duration = Duration::from_secs(20);
/// A time that a test wants to see run out.
const SHORT: Duration = Duration::from_millis(60);

struct Served {
    address: SocketAddr,
    serving: Option<Serving>,
    counters: Arc<Counters>,
    runtime: Runtime,
}

async fn length(body: Result<Bytes, axum::extract::rejection::BytesRejection>) -> Result<String, Refusal> {
    match body {
        Ok(body) => Ok(body.len().to_string()),
        Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
        Err(_) => Err(Refusal::new(StatusCode::BAD_REQUEST, "unread", "the body cannot be read")),
    }
}

async fn who(ConnectInfo(peer): ConnectInfo<SocketAddr>, Extension(scheme): Extension<Scheme>) -> String {
    format!("{peer} {}", scheme.as_str())
}

fn router() -> Router {
    Router::new()
        .route("/who", get(who))
        .route("/echo", post(|body: String| async move { body }))
        .route("/length", post(length))
        .route("/never", get(std::future::pending::<()>))
        .route("/fault", get(|| async { panic!("a fault of the test's") as String }))
        .route("/big", get(|| async { vec![7_u8; 40 << 20] }))
        .route("/file", put(length).layer(DefaultBodyLimit::max(LARGE_BODY)).layer(from_fn(by_progress)))
}

fn serve_with(limits: Limits, router: Router, tls: Option<Arc<ServerConfig>>) -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let door = Door { listener, tls: tls.map(|tls| Arc::new(ArcSwap::new(tls))) };
    let serving = {
        let _entered = runtime.enter();
        serve(vec![door], router, limits)
    };
    let counters = Arc::clone(serving.counters());
    Served { address, serving: Some(serving), counters, runtime }
}

fn served(limits: Limits) -> Served {
    serve_with(limits, router(), None)
}

/// Nothing runs out but what a test says.
fn patient() -> Limits {
    Limits { head: LONG, idle: LONG, request: LONG, progress: LONG, handshake: LONG, ..Limits::default() }
}

impl Served {
    fn connect(&self) -> Client {
        let stream = Client::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        stream
    }

    /// Waits until a counter has this value: some are counted when the peer has seen the end already.
    fn until(&self, counter: &AtomicU64, expected: u64) {
        let is_so = async {
            while value(counter) != expected {
                tokio::task::yield_now().await;
            }
        };
        let waited = self.runtime.block_on(async { tokio::time::timeout(LONG, is_so).await });
        assert!(waited.is_ok(), "{} instead of {expected}", value(counter));
    }

    /// Sends bytes and reads until the server closes.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have had enough before all of it is sent.
        let _ = stream.write_all(bytes);
        rest(&mut stream)
    }
}

fn rest(stream: &mut Client) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The next answer with a length, whole.
fn next(stream: &mut Client) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed within a head");
        answer.extend_from_slice(&byte);
    }
    let head = String::from_utf8(answer).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

fn assert_refused(answer: &str, status: u16, error: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    assert!(head.contains("application/json"), "{answer}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"], error, "{answer}");
    assert!(body["message"].as_str().is_some_and(|text| text.len() > 10), "{answer}");
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[test]
fn handlers_know_who_asks_and_by_what() {
    let served = served(patient());
    let mut stream = served.connect();
    stream.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let own = stream.local_addr().unwrap();
    assert!(next(&mut stream).ends_with(&format!("{own} http")));
}

#[test]
fn a_connection_serves_requests_one_after_another_and_all_at_once() {
    let served = served(patient());
    let mut stream = served.connect();
    let echo = |word: &str| format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{word}", word.len());
    for word in ["one", "two"] {
        stream.write_all(echo(word).as_bytes()).unwrap();
        assert!(next(&mut stream).ends_with(word));
    }
    stream.write_all([echo("three"), echo("four"), echo("five")].concat().as_bytes()).unwrap();
    for word in ["three", "four", "five"] {
        assert!(next(&mut stream).ends_with(word));
    }
    assert_eq!(value(&served.counters.connections), 1);
}

#[test]
fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let served = served(Limits { head: SHORT, ..patient() });
    let mut stream = served.connect();
    // Each wait for an answer is the pause before the next byte.
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut answer = Vec::new();
    let is_cut = b"GET /who HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')).take(100_000).any(|byte| {
        let _ = stream.write_all(&[*byte]);
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(0) => true,
            Ok(read) => {
                answer.extend_from_slice(&piece[..read]);
                false
            }
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    });
    assert!(is_cut);
    assert_refused(&String::from_utf8(answer).unwrap(), 408, "timeout");
    assert_eq!(value(&served.counters.timed_out), 1);
}

#[test]
fn who_says_nothing_is_sent_away_before_and_after_a_request() {
    let served = served(Limits { idle: SHORT, ..patient() });
    assert_eq!(served.say(b""), "");
    let mut stream = served.connect();
    stream.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(next(&mut stream).starts_with("http/1.1 200"));
    assert_eq!(rest(&mut stream), "");
    assert_eq!(value(&served.counters.timed_out), 0, "to be idle is no fault");
}

#[test]
fn a_body_that_does_not_come_is_answered_408_and_an_answer_that_does_not_503() {
    let served = served(Limits { request: SHORT, ..patient() });
    let answer = served.say(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    assert_refused(&answer, 408, "timeout");
    assert_refused(&served.say(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n"), 503, "too_slow");
    assert_eq!(value(&served.counters.timed_out), 2);
}

#[test]
fn an_answer_that_nobody_reads_is_given_up() {
    let served = served(Limits { request: SHORT, idle: SHORT, ..patient() });
    let mut stream = served.connect();
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // Forty megabytes do not fit into the sockets.
    served.until(&served.counters.connections, 1);
    served.until(&served.counters.open, 0);
    assert!(rest(&mut stream).len() < 40 << 20);
}

#[test]
fn a_file_may_take_longer_than_a_request_while_it_moves() {
    let served = served(Limits { request: SHORT, progress: Duration::from_secs(2), ..patient() });
    let mut stream = served.connect();
    write!(stream, "PUT /file HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 20 * 32_768).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    for _ in 0..20 {
        stream.write_all(&[0; 32_768]).unwrap();
        // A pause.
        let _ = stream.peek(&mut [0]);
    }
    stream.set_read_timeout(Some(LONG)).unwrap();
    let answer = next(&mut stream);
    assert!(answer.ends_with("655360"), "{answer}");
}

#[test]
fn a_file_that_stands_still_is_cut_off() {
    let served = served(Limits { progress: SHORT, ..patient() });
    let answer = served.say(b"PUT /file HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc");
    assert_refused(&answer, 408, "timeout");
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    let served = served(patient());
    let long = format!("GET /who HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert_refused(&served.say(long.as_bytes()), 431, "head_too_large");
    let lines: String = (0..100).map(|line| format!("X-{line}: x\r\n")).collect();
    let many = format!("GET /who HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    assert_refused(&served.say(many.as_bytes()), 431, "head_too_large");
    let endless = "x".repeat(1 << 20);
    let answer = served.say(endless.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_read_and_while() {
    let served = served(patient());
    let post = |length: usize| format!("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    // Longer than any route takes.
    assert_refused(&served.say(post(1 << 40).as_bytes()), 413, "too_large");
    // Longer than this route takes; all of it is sent, and the answer is read all the same.
    let mut long = post(1 << 20).into_bytes();
    long.resize(long.len() + (1 << 20), b'x');
    assert_refused(&served.say(&long), 413, "too_large");
    // As long as it takes, and a byte more, in chunks.
    for (length, status) in [(BODY, 200), (BODY + 1, 413)] {
        let mut chunked =
            b"POST /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        chunked.extend_from_slice(format!("{length:x}\r\n").as_bytes());
        chunked.resize(chunked.len() + length, b'x');
        chunked.extend_from_slice(b"\r\n0\r\n\r\n");
        assert!(served.say(&chunked).starts_with(&format!("HTTP/1.1 {status}")), "{length}");
    }
}

#[test]
fn garbage_is_answered_in_json() {
    let served = served(patient());
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: \x01\r\n\r\n",
    ] {
        assert_refused(&served.say(garbage), 400, "malformed");
    }
    assert!(served.say(b"GET /who HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 200"), "it still serves");
}

#[test]
fn a_fault_ends_one_request_and_not_its_connection() {
    let served = served(patient());
    let mut stream = served.connect();
    for _ in 0..2 {
        stream.write_all(b"GET /fault HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let answer = next(&mut stream);
        assert!(answer.starts_with("http/1.1 500") && answer.contains("\"error\":\"fault\""), "{answer}");
    }
    drop(stream);
    served.until(&served.counters.open, 0);
}

#[test]
fn connections_are_bounded_by_source_and_come_back() {
    let served = served(Limits { per_source: 3, ..patient() });
    let mut three: Vec<Client> = (0..3).map(|_| served.connect()).collect();
    for stream in &mut three {
        stream.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert!(next(stream).starts_with("http/1.1 200"));
    }
    assert_refused(&served.say(b""), 503, "busy");
    assert_eq!(value(&served.counters.refused), 1);
    three[0].write_all(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    // The server has closed, and its task ends at once; asked until it has.
    rest(&mut three[0]);
    drop(three.remove(0));
    let is_served = (0..100_000)
        .any(|_| served.say(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200"));
    assert!(is_served);
}

#[test]
fn many_connections_are_served_at_once() {
    let served = served(patient());
    let mut all: Vec<Client> = (0..200).map(|_| served.connect()).collect();
    for stream in &mut all {
        stream.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    assert!(all.iter_mut().all(|stream| next(stream).starts_with("http/1.1 200")));
    assert_eq!(value(&served.counters.connections), 200);
    assert_eq!(value(&served.counters.open), 200);
}

#[test]
fn an_end_lets_finish_what_has_begun_and_no_more() {
    let (begun, has_begun) = channel::channel();
    let (go, gone) = tokio::sync::watch::channel(false);
    let slow = move || {
        let (begun, mut gone) = (begun.clone(), gone.clone());
        async move {
            let _ = begun.send(());
            let _ = gone.wait_for(|gone| *gone).await;
            "done"
        }
    };
    let router = router().route("/slow", get(slow));
    let mut served = serve_with(patient(), router, None);
    let mut idle = served.connect();
    idle.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    next(&mut idle);
    let (mut busy, mut stuck) = (served.connect(), served.connect());
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    has_begun.recv_timeout(LONG).unwrap();
    stuck.write_all(b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let serving = served.serving.take().unwrap();
    let stopped = served.runtime.spawn(serving.stop());
    // The idle one is closed because it is idle: the end has begun.
    assert_eq!(rest(&mut idle), "");
    go.send_replace(true);
    let answer = rest(&mut busy);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert_eq!(rest(&mut stuck), "");
    served.runtime.block_on(stopped).unwrap();
    assert_eq!(value(&served.counters.open), 0);
    assert!(Client::connect(served.address).is_err());
}

// ---- TLS ------------------------------------------------------------------------------------------------------

fn own_identity() -> (Arc<ServerConfig>, Vec<rustls::pki_types::CertificateDer<'static>>) {
    let folder = tempfile::tempdir().unwrap();
    let identity = identity::own(folder.path(), &["localhost".to_owned()]).unwrap();
    let chain = crate::transport::credentials::read_certificates(&folder.path().join("https.pem")).unwrap();
    (identity::tls(&identity).unwrap(), chain)
}

#[test]
fn our_own_certificate_serves_who_trusts_it() {
    let (tls, chain) = own_identity();
    let served = serve_with(patient(), router(), Some(tls));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = served.connect();
    let mut secure = rustls::Stream::new(&mut session, &mut stream);
    secure.write_all(b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    secure.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("https"), "{answer}");
}

#[test]
fn half_a_handshake_is_cut_off_and_none_at_all_too() {
    let (tls, _) = own_identity();
    let served = serve_with(Limits { handshake: SHORT, ..patient() }, router(), Some(tls));
    // Nothing; the beginning of a ClientHello that says it is longer.
    for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        assert_eq!(served.say(beginning), "");
    }
    served.until(&served.counters.tls_failed, 2);
    served.until(&served.counters.timed_out, 2);
}

#[test]
fn a_request_in_clear_to_a_door_with_tls_fails_at_once() {
    let (tls, _) = own_identity();
    let served = serve_with(patient(), router(), Some(tls));
    let answer = served.say(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(!answer.contains("200"));
    served.until(&served.counters.tls_failed, 1);
}
