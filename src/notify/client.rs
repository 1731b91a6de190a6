//! HTTP/1.1 to receivers that nobody vouches for (RFC 9110, RFC 9112).
//!
//! ```text
//!   Message ─▶ Line that is open? ──────────────────────────────────────┐
//!      │                                                                ▼
//!      └─▶ DNS ─▶ Guard: every address ─▶ TCP to one of them ─▶ TLS ─▶ POST ─▶ 2xx │ Failure
//!              └─▶ proxy: CONNECT, or the whole URL ────────────▲       │
//!                                                                       └─▶ the line, if it can be used again
//! ```
//!
//! What is checked is what is connected to: between the guard and the socket nobody is asked for the name again. A redirect is
//! a failure. Whatever a receiver does, it costs one socket, some 100 KB and the time-out.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hickory_resolver::TokioResolver;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{DnsName, ServerName};
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::guard::{Guard, Host, Kind, Url, UrlError};
use super::sign::{Nonces, Signer};
use crate::clock::Clock;
use crate::config::Dns;
use crate::transport::credentials::{Authorities, Client as TlsClient};
use crate::transport::resolve;

/// What is read of the body of an answer.
pub const MAX_ANSWER: usize = 64 * 1024;
/// The largest head of an answer.
const MAX_HEAD: usize = 16 * 1024;
/// Header fields of an answer.
const MAX_FIELDS: usize = 64;
/// What hyper may buffer of a line.
const BUFFER: usize = 32 * 1024;
/// Until one of a receiver's addresses has answered.
const CONNECT: Duration = Duration::from_secs(3);
/// Addresses of a name that are tried.
const ADDRESSES: usize = 4;
/// Addresses of a name that are looked at. A name with more is no receiver's.
const MAX_ADDRESSES: usize = 64;
/// How long the body behind a good head is waited for, so that the line can be used again.
const REST: Duration = Duration::from_secs(1);
/// A line is left after this, so that a name which has moved is followed.
const LIFE: Duration = Duration::from_secs(300);
/// Servers close lines that were idle for a minute, or for five seconds; nothing is gained by a longer wait.
const IDLE: Duration = Duration::from_secs(30);
/// Names that are remembered, as long as DNS says, and no longer than this.
const NAMES: u64 = 1_024;
const NAME_LIFE: Duration = Duration::from_secs(60);

const NOTICE_ID: HeaderName = HeaderName::from_static("x-notice-id");

/// The way out, where there is no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: Url,
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Reads `http://[user:password@]host:port`.
    ///
    /// # Errors
    /// What is wrong with it. Where it stands is the operator's word.
    pub fn parse(text: &str) -> Result<Proxy, UrlError> {
        let (user, rest) = match text.strip_prefix("http://").and_then(|rest| rest.rsplit_once('@')) {
            Some((user, rest)) => (Some(user), format!("http://{rest}")),
            None => (None, text.to_owned()),
        };
        let url = Url::parse(&rest)?;
        if url.is_https {
            return Err(UrlError::Scheme);
        }
        let authorization = user.map(|user| {
            let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(user)))
                .expect("Base64 may stand in a header");
            value.set_sensitive(true);
            value
        });
        Ok(Proxy { url, authorization })
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.url).finish()
    }
}

/// By what a client goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Whom it may connect to.
    pub guard: Guard,
    /// Through whom it does so. Then the proxy asks the DNS, and of names nothing is known here.
    pub proxy: Option<Proxy>,
    /// Who vouches for receivers.
    pub authorities: Authorities,
    /// From the first step to the end of an answer's head; of an answer that is wanted, to its own end.
    pub timeout: Duration,
    /// Who knows names.
    pub dns: Dns,
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where to.
    pub url: Arc<Url>,
    /// Who signs; an app without a secret cannot.
    pub signer: Option<Signer>,
    /// `X-Notice-Id`: by what a receiver knows what it has had already.
    pub id: Option<HeaderValue>,
    /// JSON.
    pub body: Bytes,
}

/// Why a message was not delivered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    /// The URL cannot be used.
    Url(UrlError),
    /// The name leads to an address that may not be connected to.
    Forbidden(Kind),
    /// The name leads nowhere, or nobody says where to.
    NoAddress,
    /// Nobody listens.
    Refused,
    /// No way there.
    Unreachable,
    /// Nobody has answered in time.
    ConnectTimeout,
    /// The proxy cannot be reached, or will not do it; what it said.
    Proxy(Option<u16>),
    /// The certificate is another's.
    TlsName,
    /// Nobody whom we trust vouches for the certificate.
    TlsIssuer,
    /// The certificate was valid once, or will be.
    TlsExpired,
    /// Anything else about the certificate.
    TlsCertificate,
    /// The other end does not speak our TLS, or did not like ours.
    TlsProtocol,
    /// There was no answer in time.
    Timeout,
    /// The line ended before an answer.
    Closed,
    /// The answer is no HTTP, or its head is too large.
    Garbage,
    /// The answer leads elsewhere.
    Redirect(u16),
    /// The answer is not 2xx.
    Status(u16),
    /// The answer was wanted, and is larger than [`MAX_ANSWER`] or broke off.
    Answer,
    /// Our own system refuses: no socket, no randomness. The receiver has no part in it.
    System,
}

impl Failure {
    /// The status that was answered, if one was.
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        match self {
            Failure::Redirect(status) | Failure::Status(status) => Some(status),
            Failure::Url(_)
            | Failure::Forbidden(_)
            | Failure::NoAddress
            | Failure::Refused
            | Failure::Unreachable
            | Failure::ConnectTimeout
            | Failure::Proxy(_)
            | Failure::TlsName
            | Failure::TlsIssuer
            | Failure::TlsExpired
            | Failure::TlsCertificate
            | Failure::TlsProtocol
            | Failure::Timeout
            | Failure::Closed
            | Failure::Garbage
            | Failure::Answer
            | Failure::System => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Url(error) => write!(f, "the URL {error}"),
            Failure::Forbidden(kind) => write!(f, "the name leads to an address that is {}", kind.as_str()),
            Failure::NoAddress => f.write_str("the name leads to no address"),
            Failure::Refused => f.write_str("nobody listens there"),
            Failure::Unreachable => f.write_str("there is no way there"),
            Failure::ConnectTimeout => f.write_str("the connection was not taken in time"),
            Failure::Proxy(None) => f.write_str("the proxy cannot be reached"),
            Failure::Proxy(Some(status)) => write!(f, "the proxy answered {status}"),
            Failure::TlsName => f.write_str("the certificate is for another name"),
            Failure::TlsIssuer => f.write_str("nobody who is trusted vouches for the certificate"),
            Failure::TlsExpired => f.write_str("the certificate is not valid now"),
            Failure::TlsCertificate => f.write_str("the certificate cannot be used"),
            Failure::TlsProtocol => f.write_str("the TLS handshake failed"),
            Failure::Timeout => f.write_str("there was no answer in time"),
            Failure::Closed => f.write_str("the connection ended before an answer"),
            Failure::Garbage => f.write_str("the answer is not HTTP"),
            Failure::Redirect(status) => write!(f, "the answer {status} leads elsewhere"),
            Failure::Status(status) => write!(f, "the answer is {status}"),
            Failure::Answer => f.write_str("the answer is too large, or broke off"),
            Failure::System => f.write_str("the system refuses a connection"),
        }
    }
}

impl std::error::Error for Failure {}

/// Sends messages. Clones are the same.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    tls: Arc<ClientConfig>,
    names: Names,
    nonces: Nonces,
    clock: Clock,
}

/// Who knows names, from the first time on that the system says whom to ask.
#[derive(Default)]
struct Names {
    resolver: OnceLock<TokioResolver>,
    /// Nobody can be asked; that has been said.
    is_missing: AtomicBool,
}

impl Names {
    fn get_or_make<E: fmt::Display>(
        &self,
        make: impl FnOnce() -> Result<TokioResolver, E>,
    ) -> Result<&TokioResolver, Failure> {
        if let Some(resolver) = self.resolver.get() {
            return Ok(resolver);
        }
        match make() {
            Ok(resolver) => Ok(self.resolver.get_or_init(|| resolver)),
            Err(error) => {
                if !self.is_missing.swap(true, Relaxed) {
                    tracing::error!(%error, "the system names no DNS server: customers' systems that have a name are told nothing");
                }
                Err(Failure::System)
            }
        }
    }
}

/// An open connection that waits for its next request. It is closed where it is dropped.
#[derive(Debug)]
pub struct Line {
    sender: SendRequest<Full<Bytes>>,
    to: To,
    since: Instant,
    idle_since: Instant,
    _task: Task,
}

/// Whom a line leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
struct To {
    is_https: bool,
    host: Host,
    port: u16,
}

/// The task that moves a line's bytes: it ends with the line, whatever the other end does.
#[derive(Debug)]
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Line {
    /// It may be used again now.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        !self.sender.is_closed() && self.idle_since.elapsed() < IDLE && self.since.elapsed() < LIFE
    }

    fn leads_to(&self, url: &Url) -> bool {
        self.to.is_https == url.is_https && self.to.host == url.host && self.to.port == url.port
    }
}

/// What a line did not do, and whether it was its age that kept it from doing so.
struct Broken {
    failure: Failure,
    is_stale: bool,
}

impl Client {
    /// One that goes by these settings.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(settings: Settings, clock: Clock) -> io::Result<Client> {
        let tls = TlsClient::new(settings.authorities.clone(), None).config();
        let inner = Inner { settings, tls, names: Names::default(), nonces: Nonces::open()?, clock };
        Ok(Client { inner: Arc::new(inner) })
    }

    /// By what it goes.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Delivers a message, by `line` if that leads there and still stands, and gives back a line for the next one.
    ///
    /// A line that has ended while it was idle is no receiver's fault: the message is then sent by another one, at once.
    pub async fn deliver(&self, message: &Message, line: Option<Line>) -> (Result<u16, Failure>, Option<Line>) {
        let deadline = Instant::now() + self.inner.settings.timeout;
        let (mut line, response) = match self.send(message, line, deadline).await {
            Ok(sent) => sent,
            Err(failure) => return (Err(failure), None),
        };
        let status = response.status();
        let is_whole = timeout(REST, drain(response.into_body())).await.unwrap_or(false);
        line.idle_since = Instant::now();
        (judge(status), is_whole.then_some(line))
    }

    /// Sends a message whose answer is wanted: its status, whatever it is, and its body.
    ///
    /// # Errors
    /// There was no answer, or none of at most [`MAX_ANSWER`] bytes, in time.
    pub async fn ask(&self, message: &Message) -> Result<(u16, Vec<u8>), Failure> {
        let deadline = Instant::now() + self.inner.settings.timeout;
        let (_line, response) = self.send(message, None, deadline).await?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Failure::Redirect(status.as_u16()));
        }
        let body = timeout_at(deadline, collect(response.into_body())).await.map_err(|_| Failure::Timeout)?;
        Ok((status.as_u16(), body.ok_or(Failure::Answer)?))
    }

    async fn send(
        &self,
        message: &Message,
        line: Option<Line>,
        deadline: Instant,
    ) -> Result<(Line, Response<Incoming>), Failure> {
        // A URL may have been read by somebody who did not ask the guard.
        self.inner.settings.guard.admit_host(&message.url.host).map_err(Failure::Url)?;
        if let Some(mut line) = line.filter(|line| line.is_fresh() && line.leads_to(&message.url)) {
            match self.request(&mut line, message, deadline).await {
                Ok(response) => return Ok((line, response)),
                Err(Broken { is_stale: true, .. }) => {}
                Err(Broken { failure, .. }) => return Err(failure),
            }
        }
        let opened = timeout_at(deadline, self.open(&message.url)).await;
        let mut line = opened.unwrap_or(Err(Failure::Timeout))?;
        let response = self.request(&mut line, message, deadline).await.map_err(|broken| broken.failure)?;
        Ok((line, response))
    }

    async fn request(
        &self,
        line: &mut Line,
        message: &Message,
        deadline: Instant,
    ) -> Result<Response<Incoming>, Broken> {
        let system = |_| Broken { failure: Failure::System, is_stale: false };
        let request = self.compose(message).map_err(system)?;
        let answered = async {
            line.sender.ready().await?;
            line.sender.send_request(request).await
        };
        match timeout_at(deadline, answered).await {
            Err(_) => Err(Broken { failure: Failure::Timeout, is_stale: false }),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(broken(&error)),
        }
    }

    /// Each time anew: a nonce is used once.
    fn compose(&self, message: &Message) -> io::Result<Request<Full<Bytes>>> {
        let url = &message.url;
        let is_proxied = self.inner.settings.proxy.is_some() && !url.is_https;
        let mut request = Request::new(Full::new(message.body.clone()));
        *request.method_mut() = Method::POST;
        let target = if is_proxied { url.to_string() } else { url.path.to_string() };
        *request.uri_mut() = target.parse().map_err(io::Error::other)?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_str(&url.authority()).map_err(io::Error::other)?);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("axbridge/", env!("CARGO_PKG_VERSION"))));
        if let Some(id) = &message.id {
            headers.insert(NOTICE_ID, id.clone());
        }
        if is_proxied {
            self.authorize(headers);
        }
        if let Some(signer) = &message.signer {
            let clock = &self.inner.clock;
            signer.sign(headers, &self.inner.nonces.draw()?, clock.unix(clock.now()));
        }
        Ok(request)
    }

    fn authorize(&self, headers: &mut HeaderMap) {
        if let Some(value) = self.inner.settings.proxy.as_ref().and_then(|proxy| proxy.authorization.clone()) {
            headers.insert(header::PROXY_AUTHORIZATION, value);
        }
    }

    async fn open(&self, url: &Url) -> Result<Line, Failure> {
        let Some(proxy) = &self.inner.settings.proxy else {
            let socket = connect(&self.addresses(url, Some(&self.inner.settings.guard)).await?).await?;
            return if url.is_https {
                shake(self.secure(url, socket).await?, url).await
            } else {
                shake(socket, url).await
            };
        };
        let through = async { connect(&self.addresses(&proxy.url, None).await?).await };
        let of_proxy = |failure| if failure == Failure::System { failure } else { Failure::Proxy(None) };
        let socket = through.await.map_err(of_proxy)?;
        if !url.is_https {
            return shake(socket, url).await;
        }
        let tunnel = self.tunnel(url, socket).await?;
        shake(self.secure(url, tunnel).await?, url).await
    }

    /// Where a URL leads, every address of it admitted.
    async fn addresses(&self, url: &Url, guard: Option<&Guard>) -> Result<Vec<SocketAddr>, Failure> {
        let found = match (url.host.literals(), &url.host) {
            ([], Host::Name(name)) => self.look_up(name).await?,
            (literals, _) => literals.to_vec(),
        };
        // One forbidden address condemns the name: which of them is connected to would be the receiver's choice.
        if let Some(guard) = guard {
            found.iter().try_for_each(|ip| guard.admit(*ip)).map_err(Failure::Forbidden)?;
        }
        if found.is_empty() || found.len() > MAX_ADDRESSES {
            return Err(Failure::NoAddress);
        }
        Ok(found.into_iter().take(ADDRESSES).map(|ip| SocketAddr::new(ip, url.port)).collect())
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        let dns = &self.inner.settings.dns;
        let resolver = self.inner.names.get_or_make(|| resolve::of_receivers(dns, NAMES, NAME_LIFE))?;
        // The dot keeps search domains away.
        let looked = timeout(dns.timeout, resolver.lookup_ip(format!("{name}."))).await;
        let found = looked.map_err(|_| Failure::NoAddress)?.map_err(|_| Failure::NoAddress)?;
        Ok(found.iter().take(MAX_ADDRESSES + 1).collect())
    }

    async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        url: &Url,
        stream: S,
    ) -> Result<tokio_rustls::client::TlsStream<S>, Failure> {
        let name = match &url.host {
            Host::Address(ip) => ServerName::IpAddress((*ip).into()),
            Host::Name(name) => ServerName::DnsName(DnsName::try_from(name.to_string()).map_err(|_| Failure::TlsName)?),
        };
        TlsConnector::from(Arc::clone(&self.inner.tls)).connect(name, stream).await.map_err(|error| tls_failure(&error))
    }

    /// A way through the proxy (RFC 9110 §9.3.6).
    async fn tunnel(&self, url: &Url, socket: TcpStream) -> Result<TokioIo<hyper::upgrade::Upgraded>, Failure> {
        let authority = url.authority_with_port();
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = authority.parse().map_err(|_| Failure::Proxy(None))?;
        let host = HeaderValue::from_str(&authority).map_err(|_| Failure::Proxy(None))?;
        request.headers_mut().insert(header::HOST, host);
        self.authorize(request.headers_mut());
        let (mut sender, connection) =
            http().handshake(TokioIo::new(socket)).await.map_err(|_| Failure::Proxy(None))?;
        let _task = Task(tokio::spawn(connection.with_upgrades()).abort_handle());
        let response = sender.send_request(request).await.map_err(|_| Failure::Proxy(None))?;
        let status = response.status();
        if !status.is_success() {
            return Err(Failure::Proxy(Some(status.as_u16())));
        }
        Ok(TokioIo::new(hyper::upgrade::on(response).await.map_err(|_| Failure::Proxy(None))?))
    }
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.max_headers(MAX_FIELDS).max_header_size(MAX_HEAD).max_buf_size(BUFFER);
    http
}

/// Begins HTTP on a stream.
async fn shake<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, url: &Url) -> Result<Line, Failure> {
    let (sender, connection) = http().handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error).failure)?;
    // What goes wrong is told to who waits for an answer.
    let task = Task(tokio::spawn(connection).abort_handle());
    let now = Instant::now();
    let to = To { is_https: url.is_https, host: url.host.clone(), port: url.port };
    Ok(Line { sender, to, since: now, idle_since: now, _task: task })
}

/// Connects to the first address that takes it. Each has its share of the time.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + CONNECT;
    let mut failure = Failure::NoAddress;
    for (place, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - place).unwrap_or(1);
        let share = deadline.saturating_duration_since(Instant::now()) / left;
        failure = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                // A request is written at once: nothing is gained by waiting for more of it.
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Ok(Err(error)) => connect_failure(&error),
            Err(_) => Failure::ConnectTimeout,
        };
    }
    Err(failure)
}

fn connect_failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory => Failure::System,
        _ => match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Failure::System,
            _ => Failure::Unreachable,
        },
    }
}

fn tls_failure(error: &io::Error) -> Failure {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) else {
        return Failure::TlsProtocol;
    };
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Failure::TlsName,
            CertificateError::UnknownIssuer => Failure::TlsIssuer,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Failure::TlsExpired,
            _ => Failure::TlsCertificate,
        },
        _ => Failure::TlsProtocol,
    }
}

/// What became of a request without an answer.
fn broken(error: &hyper::Error) -> Broken {
    if error.is_parse() || error.is_user() {
        return Broken { failure: Failure::Garbage, is_stale: false };
    }
    // Ended, reset, or never taken: a server that closes a line crosses the request that is on its way.
    Broken { failure: Failure::Closed, is_stale: true }
}

fn judge(status: StatusCode) -> Result<u16, Failure> {
    if status.is_success() {
        Ok(status.as_u16())
    } else if status.is_redirection() {
        Err(Failure::Redirect(status.as_u16()))
    } else {
        Err(Failure::Status(status.as_u16()))
    }
}

/// Reads what is left of an answer that nobody wants; `false`: it is too much, or broke off.
async fn drain(body: Incoming) -> bool {
    let mut body = pin!(body);
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MAX_ANSWER {
            return false;
        }
    }
    true
}

async fn collect(body: Incoming) -> Option<Vec<u8>> {
    let mut body = pin!(body);
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.ok()?.data_ref() {
            if read.len() + data.len() > MAX_ANSWER {
                return None;
            }
            read.extend_from_slice(data);
        }
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_names_no_dns_server_is_asked_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        let names = Names::default();
        for _ in 0..2 {
            assert!(matches!(names.get_or_make(|| Err("no /etc/resolv.conf")), Err(Failure::System)));
        }
        let dns = Dns { servers: vec!["127.0.0.1:9".parse().unwrap()], timeout: Duration::from_secs(1) };
        assert!(names.get_or_make(|| resolve::of_receivers(&dns, NAMES, NAME_LIFE)).is_ok());
        assert!(names.get_or_make(|| Err("it is there, and not made again")).is_ok());
    }
}
