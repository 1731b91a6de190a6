//! SIP over TCP and TLS (RFC 3261 §18): listeners, connections, and the way to them from the signalling thread.
//!
//! The streams live on the async runtime, one task each (`stream`); whole messages cross to the signalling thread
//! through one bounded channel and a [`Bell`], what is to be sent crosses back through one bounded queue a stream.
//!
//! ```text
//!   send(Transmit) ─▶ its stream alive? ──yes──▶ queue
//!                          │ no
//!                     another one to that peer? ──yes──▶ queue
//!                          │ no
//!                     open one (5 s), shake hands (TLS, 5 s), queueing meanwhile ──fails──▶ Inbound::Failure
//! ```
//!
//! "To that peer" is where [`Flow::opens_to`] leads when the stream of a message is gone. Over TLS only a stream will do
//! that we opened, and that has shown what is demanded of that peer today (`tls`).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use b2bua::settings::Peers;
use bytes::Bytes;
use sip::transaction::{Flow, Transmit, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;

use super::connections::{Connections, Full, Proof};
pub use super::event::Event;
use super::stream::{self, Ended};
use super::tls::{self, Expected, Tls};
use super::{Bell, Inbound};
use crate::clock::Clock;

/// How much there may be, and how long it may take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Streams that peers opened.
    pub accepted: usize,
    /// Those of them that strangers may have: the others are kept for the trunks ([`Tcp::set_peers`]).
    pub strangers: usize,
    /// Streams that one IP address opened.
    pub accepted_per_address: usize,
    /// Streams that we opened.
    pub opened: usize,
    /// Messages that wait to be written to one stream.
    pub queue: usize,
    /// Messages of all streams that wait for the signalling thread.
    pub arrivals: usize,
    /// What a message may be.
    pub message: sip::limits::Limits,
    /// How long a connection may take to open.
    pub connect: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long a message may take from its first byte to its last.
    pub message_time: Duration,
    /// How long the peer may take nothing of what we write.
    pub write: Duration,
    /// How long nothing at all may pass before a stream is closed.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            accepted: 1024,
            strangers: 128,
            accepted_per_address: 64,
            opened: 256,
            queue: 256,
            arrivals: 4096,
            message: sip::limits::Limits::default(),
            connect: Duration::from_secs(5),
            handshake: Duration::from_secs(5),
            message_time: Duration::from_secs(30),
            write: Duration::from_secs(10),
            idle: Duration::from_secs(600),
        }
    }
}

/// Why a message could not be given to a stream. The caller treats it as a failure of the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// As many messages as allowed wait for that peer.
    QueueFull,
    /// We have opened as many connections as we may.
    ConnectionsFull,
    /// The flow names no listener of its transport.
    NoListener,
    /// The stream is gone, and the flow does not say where a new one would lead.
    Gone,
    /// Nothing that the peer's address shows over TLS would do.
    Untrusted,
    /// The transport is closed.
    Closed,
}

/// What the streams have in common.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) arrivals: mpsc::Sender<Inbound>,
    pub(super) bell: Bell,
    pub(super) tls: Tls,
    connections: Mutex<Connections>,
    counters: [AtomicU64; Event::ALL.len()],
    /// When each was last logged: milliseconds of the clock, and 1.
    said: [AtomicU64; Event::ALL.len()],
}

/// How long a stream's clean end may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often a failed handshake is logged, for each reason.
const SAYING: Duration = Duration::from_secs(60);

impl Shared {
    pub(super) fn connections(&self) -> MutexGuard<'_, Connections> {
        // The table is never left half-changed: a panic elsewhere does not make it wrong.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, event: Event) {
        self.counters[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts why TLS did not come about with a peer, and says so in the log once in a while. The reason is a word of ours:
    /// what a stranger's certificate says has no place in a log.
    pub(super) fn count_tls(&self, event: Event, peer: SocketAddr) {
        self.count(event);
        let said = &self.said[event as usize];
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let last = said.load(Ordering::Relaxed);
        let is_due = last == 0 || now - last.min(now) >= SAYING.as_millis() as u64;
        if is_due && said.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(%peer, reason = event.label(), "no TLS with a peer; counted from now on, logged once a minute");
        }
    }

    /// What a stream must have shown that is to lead to an address.
    fn proof(&self, transport: Transport, address: SocketAddr) -> Result<Proof, Event> {
        match transport {
            Transport::Udp | Transport::Tcp => Ok(Proof::Plain),
            Transport::Tls => self.tls.expected(address).map(Proof::Shown),
        }
    }

    /// Tells the signalling thread; waits while it has too much to do, so that the peer's TCP window closes.
    pub(super) async fn tell(&self, inbound: Inbound) {
        // The signalling thread is gone only when the process ends.
        if self.arrivals.send(inbound).await.is_ok() {
            self.bell.ring();
        }
    }
}

/// How far the shutdown is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Serving,
    /// No new streams are accepted.
    Draining,
    /// Streams write what they have and close.
    Closing,
}

/// A listener of ours.
#[derive(Clone, Copy)]
struct Local {
    transport: Transport,
    ip: IpAddr,
}

/// All TCP and TLS listeners and streams, as the signalling thread sees them.
pub struct Tcp {
    runtime: Handle,
    shared: Arc<Shared>,
    arrivals: mpsc::Receiver<Inbound>,
    stage: watch::Sender<Stage>,
    listeners: HashMap<u16, Local>,
    /// Every task holds a clone; when all are gone, `finished` yields `None`.
    alive: mpsc::Sender<()>,
    finished: mpsc::Receiver<()>,
}

impl Tcp {
    /// Nothing listens yet.
    #[must_use]
    pub fn new(runtime: Handle, clock: Clock, limits: Limits, bell: Bell) -> Tcp {
        let (sender, arrivals) = mpsc::channel(limits.arrivals);
        let (alive, finished) = mpsc::channel(1);
        let shared = Shared {
            clock,
            arrivals: sender,
            bell,
            tls: Tls::default(),
            connections: Mutex::new(Connections::new(limits.clone())),
            counters: std::array::from_fn(|_| AtomicU64::new(0)),
            said: std::array::from_fn(|_| AtomicU64::new(0)),
            limits,
        };
        Tcp {
            runtime,
            shared: Arc::new(shared),
            arrivals,
            stage: watch::Sender::new(Stage::Serving),
            listeners: HashMap::new(),
            alive,
            finished,
        }
    }

    /// Where certificates, and what is demanded of the peers, are said. Until then nobody is good enough.
    #[must_use]
    pub fn tls(&self) -> Tls {
        self.shared.tls.clone()
    }

    /// Whose addresses are no strangers', from now on. Until then everybody is one.
    pub fn set_peers(&self, peers: Arc<Peers>) {
        self.shared.connections().set_peers(peers);
    }

    /// Binds `address` and accepts streams on it; they carry `listener` and `transport`, TCP or TLS, in their flows. Port 0
    /// takes any port; the address bound is returned.
    ///
    /// # Errors
    /// What the system says, for instance that the address is taken or is none of this machine's.
    pub fn listen(&mut self, listener: u16, transport: Transport, address: SocketAddr) -> io::Result<SocketAddr> {
        debug_assert!(transport.is_reliable(), "datagrams have no streams");
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Connections of the process before this one may still be in TIME-WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        let bound = std::net::TcpListener::from(socket);
        let local = bound.local_addr()?;
        let _runtime = self.runtime.enter();
        let acceptor = TcpListener::from_std(bound)?;
        self.listeners.insert(listener, Local { transport, ip: local.ip() });
        let (shared, stage, alive) = (Arc::clone(&self.shared), self.stage.subscribe(), self.alive.clone());
        self.runtime.spawn(accept(alive, acceptor, (listener, transport), shared, stage));
        Ok(local)
    }

    /// What the streams have to tell; to be called until `None` after [`Bell::answer`].
    pub fn poll(&mut self) -> Option<Inbound> {
        self.arrivals.try_recv().ok()
    }

    /// [`Tcp::poll`] has something.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// Sends a message over its stream, another one to the same peer, or a new one.
    ///
    /// # Errors
    /// When it cannot even be queued; a later failure comes as [`Inbound::Failure`].
    pub fn send(&mut self, transmit: Transmit) -> Result<(), Refused> {
        let Transmit { flow, bytes } = transmit;
        if *self.stage.borrow() == Stage::Closing {
            return Err(Refused::Closed);
        }
        let Some(local) = self.listeners.get(&flow.listener).filter(|local| local.transport == flow.transport) else {
            return Err(Refused::NoListener);
        };
        let mut connections = self.shared.connections();
        let found = connections.find(&flow, |address| self.shared.proof(flow.transport, address).ok());
        match found.map(|queue| queue.try_send(bytes.clone())) {
            Some(Ok(())) => return Ok(()),
            Some(Err(TrySendError::Full(_))) => {
                self.shared.count(Event::QueueFull);
                return Err(Refused::QueueFull);
            }
            // Its task is just ending.
            Some(Err(TrySendError::Closed(_))) | None => {}
        }
        let to = flow.opens_to().ok_or(Refused::Gone)?;
        let proof = self.shared.proof(flow.transport, to).map_err(|event| {
            self.shared.count_tls(event, to);
            Refused::Untrusted
        })?;
        let Ok((id, queue)) = connections.open(flow.listener, to, proof.clone()) else {
            self.shared.count(Event::RefusedTotal);
            return Err(Refused::ConnectionsFull);
        };
        let flow = Flow { connection: id, ..Flow::to(flow.transport, flow.listener, to) };
        // A queue just made has room.
        let queued = connections.own(&flow).map(|sender| sender.try_send(bytes));
        debug_assert!(matches!(queued, Some(Ok(()))), "a new queue takes a message");
        drop(connections);
        let (shared, stage, alive) = (Arc::clone(&self.shared), self.stage.subscribe(), self.alive.clone());
        self.runtime.spawn(open(alive, flow, (local.ip, proof), queue, shared, stage));
        Ok(())
    }

    /// Streams that are open or being opened.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections().len()
    }

    /// How often each of [`Event::ALL`] has happened.
    #[must_use]
    pub fn counters(&self) -> [u64; Event::ALL.len()] {
        std::array::from_fn(|place| self.shared.counters[place].load(Ordering::Relaxed))
    }

    /// Accepts no more streams; those that are open go on.
    pub fn drain(&self) {
        self.stage.send_replace(Stage::Draining);
    }

    /// Writes what is queued, closes every stream and waits until all are closed, at most `limit`. The runtime must be
    /// running.
    pub async fn close(mut self, limit: Duration) {
        self.stage.send_replace(Stage::Closing);
        drop(self.alive);
        // Nobody reads what still arrives: a task that waits for room must not hold up the closing.
        self.arrivals.close();
        if tokio::time::timeout(limit, self.finished.recv()).await.is_err() {
            tracing::warn!("some SIP connections could not be closed in time");
        }
    }
}

/// `alive` stands first in this and the other tasks' arguments because the first is dropped last: when it is gone, so is the
/// socket.
async fn accept(
    alive: mpsc::Sender<()>,
    acceptor: TcpListener,
    (listener, transport): (u16, Transport),
    shared: Arc<Shared>,
    mut stage: watch::Receiver<Stage>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = acceptor.accept() => accepted,
            // Either draining has begun or the transport is gone.
            _ = stage.changed() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // No file descriptors left, mostly: trying again at once would spin.
                tracing::warn!(%error, "a SIP connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let proof = if transport == Transport::Tls { Proof::Unasked } else { Proof::Plain };
        let entered = shared.connections().accept(listener, peer, proof);
        match entered {
            Ok((id, queue)) => {
                shared.count(Event::Accepted);
                let flow = Flow { connection: id, ..Flow::to(transport, listener, peer) };
                let (alive, shared, stage) = (alive.clone(), Arc::clone(&shared), stage.clone());
                match transport {
                    Transport::Tls => drop(tokio::spawn(admit(alive, socket, flow, queue, shared, stage))),
                    Transport::Udp | Transport::Tcp => {
                        drop(tokio::spawn(attend(alive, at_once(socket), flow, queue, shared, stage)));
                    }
                }
            }
            Err(Full::Total) => shared.count(Event::RefusedTotal),
            Err(Full::Strangers) => shared.count(Event::RefusedStranger),
            Err(Full::Address) => shared.count(Event::RefusedAddress),
        }
    }
}

/// Shakes hands with a peer that connected.
async fn admit(
    alive: mpsc::Sender<()>,
    socket: TcpStream,
    flow: Flow,
    queue: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
    mut stage: watch::Receiver<Stage>,
) {
    let shaken = tokio::select! {
        shaken = shared.tls.accept(at_once(socket), flow.peer.ip(), shared.limits.handshake) => shaken,
        () = stream::closing(&mut stage) => {
            shared.connections().leave(flow.connection);
            return;
        }
    };
    match shaken {
        Ok(socket) => attend(alive, socket, flow, queue, shared, stage).await,
        Err(event) => {
            shared.count_tls(event, flow.peer);
            shared.connections().leave(flow.connection);
        }
    }
}

async fn open(
    alive: mpsc::Sender<()>,
    flow: Flow,
    (local, proof): (IpAddr, Proof),
    queue: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
) {
    let connected = tokio::time::timeout(shared.limits.connect, connect(local, flow.peer)).await;
    let Ok(Ok(socket)) = connected else {
        shared.count(Event::ConnectFailed);
        fail(flow, &shared).await;
        return;
    };
    let expected: Expected = match proof {
        Proof::Shown(expected) => expected,
        Proof::Plain | Proof::Unasked => {
            shared.count(Event::Opened);
            attend(alive, socket, flow, queue, shared, stage).await;
            return;
        }
    };
    match tls::connect(&expected, socket, shared.limits.handshake).await {
        Ok(socket) => {
            shared.count(Event::Opened);
            attend(alive, socket, flow, queue, shared, stage).await;
        }
        Err(event) => {
            shared.count_tls(event, flow.peer);
            fail(flow, &shared).await;
        }
    }
}

/// A stream could not be opened: what was queued for it is lost.
async fn fail(flow: Flow, shared: &Shared) {
    shared.connections().leave(flow.connection);
    shared.tell(Inbound::Failure { flow }).await;
}

/// Connects from the listener's own address: carriers know us by it.
async fn connect(local: IpAddr, peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !local.is_unspecified() {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(peer).await.map(at_once)
}

/// Whole messages are written at once: waiting to fill a segment would only delay them.
fn at_once(socket: TcpStream) -> TcpStream {
    let _ = socket.set_nodelay(true);
    socket
}

/// Sees one stream through from its opening to its end.
async fn attend(
    _alive: mpsc::Sender<()>,
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    flow: Flow,
    mut queue: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
) {
    let ended = stream::converse(&mut socket, flow, &mut queue, &shared, stage).await;
    // First out of the table, then the failure: what was queued before is covered by it, what comes later opens a new one.
    shared.connections().leave(flow.connection);
    queue.close();
    let unsent = queue.try_recv().is_ok();
    let (event, broken) = match ended {
        Ended::Peer { unsent } => (Event::ClosedPeer, unsent),
        Ended::Ours => (Event::ClosedOurs, false),
        Ended::Idle => (Event::ClosedIdle, false),
        Ended::Slow => (Event::ClosedSlow, true),
        Ended::Stalled => (Event::ClosedStalled, true),
        Ended::Framing => (Event::ClosedFraming, true),
        Ended::Broken => (Event::ClosedBroken, true),
        Ended::Tls(event) => (event, true),
    };
    match ended {
        Ended::Tls(event) => shared.count_tls(event, flow.peer),
        Ended::Idle => {
            shared.count(event);
            // A clean end, so that the peer knows that nothing was cut off. It need not wait for long: nothing is queued.
            let _ = tokio::time::timeout(FAREWELL, socket.shutdown()).await;
        }
        Ended::Peer { .. } | Ended::Ours | Ended::Slow | Ended::Stalled | Ended::Framing | Ended::Broken => {
            shared.count(event);
        }
    }
    drop(socket);
    if broken || unsent {
        shared.tell(Inbound::Failure { flow }).await;
    }
}
