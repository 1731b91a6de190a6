//! Serves a [`Router`] on TCP, plain and under TLS, whatever the other end does.
//!
//! ```text
//!   accept ─▶ room? ─▶ TLS, if so ─▶ head ─▶ Router ─▶ answer ─┐
//!               │         10 s       10 s     30 s, or as long │
//!               └ 503                ▲        as bytes move    │
//!                                    └──── idle, 60 s ◀────────┘
//! ```
//!
//! A connection is one task, and one deadline is enough for it: what it waits for decides which. A request that carries a file
//! has no length of its own, so that a slow line can be served and one that stands still cannot hold on: a route says so by
//! [`by_progress`]. Handlers find the peer as `ConnectInfo<SocketAddr>`, and a [`Scheme`], among the extensions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{header, request};
use axum::middleware::Next;
use axum::response::Response;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

mod connection;
pub mod identity;
mod pace;
mod room;

pub(crate) use connection::too_large;
pub use pace::Pace;
use room::Room;
pub(crate) use room::source;

/// What the body of a request may have, where its route does not say more.
pub const BODY: usize = 64 * 1024;
/// What the body of a request may have that carries a file or a long list: 2 MB of audio and its header.
pub const LARGE_BODY: usize = 2_100_000;
/// What a server that ends gives to the requests that it has begun.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long nothing is accepted after the system had no room for another socket.
const BREATH: Duration = Duration::from_millis(100);

/// Bounds of a server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address (IPv6: from one /64).
    pub per_source: usize,
    /// A TLS handshake.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between two requests. The first has to begin in the time of a head.
    pub idle: Duration,
    /// From the head of a request to the last byte of the answer.
    pub request: Duration,
    /// A request that carries a file: while 16 KB move in so long it goes on.
    pub progress: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 4096,
            per_source: 1024,
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            request: Duration::from_secs(30),
            progress: Duration::from_secs(20),
        }
    }
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections turned away: there are too many.
    pub refused: AtomicU64,
    /// Requests that did not come, or were not answered, in time.
    pub timed_out: AtomicU64,
    /// TLS handshakes that came to nothing.
    pub tls_failed: AtomicU64,
    /// Connections open now.
    pub open: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// By what a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Under TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// What has brought a request here, for links that shall do the same: `https://api.example.com:8443`.
#[must_use]
pub fn base_url(parts: &request::Parts) -> String {
    let scheme = parts.extensions.get::<Scheme>().copied().unwrap_or(Scheme::Http);
    let is_plain = |host: &&str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(is_plain);
    // HTTP/1.1 has a Host always; who leaves it away knows where he has been.
    format!("{}://{}", scheme.as_str(), host.unwrap_or("localhost"))
}

/// Where connections come in.
pub struct Door {
    /// Bound.
    pub listener: TcpListener,
    /// What we are under TLS, to be replaced at a reload; `None`: HTTP in clear.
    pub tls: Option<Arc<ArcSwap<ServerConfig>>>,
}

/// What every connection needs.
struct Shared {
    router: Router,
    limits: Limits,
    counters: Arc<Counters>,
    room: Arc<Room>,
}

/// A server that runs. Dropped, it stops accepting, as by [`Serving::stop`].
pub struct Serving {
    stop: watch::Sender<bool>,
    alive: mpsc::Receiver<()>,
    counters: Arc<Counters>,
}

/// Serves from now on. Must be called within a runtime.
#[must_use]
pub fn serve(doors: Vec<Door>, router: Router, limits: Limits) -> Serving {
    let (stop, stopped) = watch::channel(false);
    let (life, alive) = mpsc::channel(1);
    let counters = Arc::new(Counters::default());
    let room = Room::new(limits.connections, limits.per_source);
    let router = router.layer(DefaultBodyLimit::max(BODY));
    let shared = Arc::new(Shared { router, limits, counters: Arc::clone(&counters), room });
    for door in doors {
        tokio::spawn(accept(door, Arc::clone(&shared), stopped.clone(), life.clone()));
    }
    Serving { stop, alive, counters }
}

impl Serving {
    /// What has happened.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Accepts nothing more, gives the requests that have begun a second, and returns when all connections are closed.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // Each task holds a sender: there are none left when there are no tasks. A task ends itself; the bound is for a
        // handler that never yields.
        let all = async { while self.alive.recv().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS * 2, all).await;
    }
}

async fn accept(door: Door, shared: Arc<Shared>, mut stop: watch::Receiver<bool>, life: mpsc::Sender<()>) {
    loop {
        let accepted = tokio::select! {
            // An error is a dropped `Serving`.
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = door.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let tls = door.tls.as_ref().map(|tls| tls.load_full());
                admit(stream, peer, tls, &shared, &stop, &life);
            }
            Err(error) if is_of_one(&error) => {}
            // No descriptors, no memory: others will give some back.
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
}

/// What went wrong concerns the connection that would have been accepted, not the listener.
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    shared: &Arc<Shared>,
    stop: &watch::Receiver<bool>,
    life: &mpsc::Sender<()>,
) {
    let Some(place) = room::enter(&shared.room, peer.ip()) else {
        count(&shared.counters.refused);
        if tls.is_none() {
            // Whatever fits into the empty buffer of a new socket; nobody waits for it.
            let _ = stream.try_write(connection::full().as_bytes());
        }
        return;
    };
    count(&shared.counters.connections);
    count(&shared.counters.open);
    let (shared, stop, life) = (Arc::clone(shared), stop.clone(), life.clone());
    // Dropped with the task, also where a handler panics.
    let open = Open(Arc::clone(&shared.counters));
    tokio::spawn(async move {
        connection::run(stream, peer, tls, &shared, stop).await;
        drop((open, place, life));
    });
}

/// A connection that is counted as open.
struct Open(Arc<Counters>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A layer for routes whose requests or answers carry a file: they may take as long as bytes move.
pub async fn by_progress(request: Request, next: Next) -> Response {
    if let Some(pace) = request.extensions().get::<Pace>() {
        pace.by_progress();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests;
