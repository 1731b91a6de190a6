//! SIP over TCP (RFC 3261 §18): listeners, connections, and the way to them from the signalling thread.
//!
//! The streams live on the async runtime, one task each (`stream`); whole messages cross to the signalling thread
//! through one bounded channel and a [`Bell`], what is to be sent crosses back through one bounded queue a stream.
//!
//! ```text
//!   send(Transmit) ─▶ its stream alive? ──yes──▶ queue
//!                          │ no
//!                     another one to that peer? ──yes──▶ queue
//!                          │ no
//!                     open one (5 s), queueing meanwhile ──fails──▶ Inbound::Failure
//! ```

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sip::transaction::{Flow, Transmit, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::watch;

use super::connections::{Connections, Full, Origin};
use super::stream::{self, Ended};
use super::{Bell, Inbound};
use crate::clock::Clock;

/// How much there may be, and how long it may take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Streams that peers opened.
    pub accepted: usize,
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
            accepted_per_address: 64,
            opened: 256,
            queue: 256,
            arrivals: 4096,
            message: sip::limits::Limits::default(),
            connect: Duration::from_secs(5),
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
    /// The flow names no TCP listener.
    NoListener,
    /// The transport is closed.
    Closed,
}

/// A reason that something was turned away or a stream closed; the metric's label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A stream was accepted.
    Accepted,
    /// A stream was opened.
    Opened,
    /// A connection could not be opened.
    ConnectFailed,
    /// A stream was refused: too many.
    RefusedTotal,
    /// A stream was refused: too many from its address.
    RefusedAddress,
    /// A stream was closed: what came was no SIP.
    ClosedFraming,
    /// A stream was closed: nothing passed for long.
    ClosedIdle,
    /// A stream was closed: a message took too long to arrive.
    ClosedSlow,
    /// A stream was closed: the peer took nothing for long.
    ClosedStalled,
    /// A stream broke.
    ClosedBroken,
    /// The peer closed a stream.
    ClosedPeer,
    /// We closed a stream, shutting down.
    ClosedOurs,
    /// A message was refused because the stream's queue was full.
    QueueFull,
    /// A keep-alive was answered (RFC 5626 §3.5.1).
    Ping,
}

impl Event {
    /// Every one, in the order of [`Tcp::counters`].
    pub const ALL: [Event; 14] = [
        Event::Accepted,
        Event::Opened,
        Event::ConnectFailed,
        Event::RefusedTotal,
        Event::RefusedAddress,
        Event::ClosedFraming,
        Event::ClosedIdle,
        Event::ClosedSlow,
        Event::ClosedStalled,
        Event::ClosedBroken,
        Event::ClosedPeer,
        Event::ClosedOurs,
        Event::QueueFull,
        Event::Ping,
    ];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Event::Accepted => "accepted",
            Event::Opened => "opened",
            Event::ConnectFailed => "connect_failed",
            Event::RefusedTotal => "refused_total",
            Event::RefusedAddress => "refused_address",
            Event::ClosedFraming => "closed_framing",
            Event::ClosedIdle => "closed_idle",
            Event::ClosedSlow => "closed_slow",
            Event::ClosedStalled => "closed_stalled",
            Event::ClosedBroken => "closed_broken",
            Event::ClosedPeer => "closed_peer",
            Event::ClosedOurs => "closed_ours",
            Event::QueueFull => "queue_full",
            Event::Ping => "ping",
        }
    }
}

/// What the streams have in common.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) arrivals: mpsc::Sender<Inbound>,
    pub(super) bell: Bell,
    connections: Mutex<Connections>,
    counters: [AtomicU64; Event::ALL.len()],
}

impl Shared {
    pub(super) fn connections(&self) -> MutexGuard<'_, Connections> {
        // The table is never left half-changed: a panic elsewhere does not make it wrong.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, event: Event) {
        self.counters[event as usize].fetch_add(1, Ordering::Relaxed);
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

/// All TCP listeners and streams, as the signalling thread sees them.
pub struct Tcp {
    runtime: Handle,
    shared: Arc<Shared>,
    arrivals: mpsc::Receiver<Inbound>,
    stage: watch::Sender<Stage>,
    listeners: HashMap<u16, IpAddr>,
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
            connections: Mutex::new(Connections::new(limits.clone())),
            counters: std::array::from_fn(|_| AtomicU64::new(0)),
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

    /// Binds `address` and accepts streams on it; they carry `listener` in their flows. Port 0 takes any port; the address
    /// bound is returned.
    ///
    /// # Errors
    /// What the system says, for instance that the address is taken or is none of this machine's.
    pub fn listen(&mut self, listener: u16, address: SocketAddr) -> io::Result<SocketAddr> {
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
        self.listeners.insert(listener, local.ip());
        let (shared, stage, alive) = (Arc::clone(&self.shared), self.stage.subscribe(), self.alive.clone());
        self.runtime.spawn(accept(alive, acceptor, listener, shared, stage));
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
        let mut connections = self.shared.connections();
        let bytes = match connections.find(&flow).map(|queue| queue.try_send(bytes.clone())) {
            Some(Ok(())) => return Ok(()),
            Some(Err(TrySendError::Full(_))) => {
                self.shared.count(Event::QueueFull);
                return Err(Refused::QueueFull);
            }
            // Its task is just ending.
            Some(Err(TrySendError::Closed(bytes))) => bytes,
            None => bytes,
        };
        let Some(local) = self.listeners.get(&flow.listener) else {
            return Err(Refused::NoListener);
        };
        let Ok((id, queue)) = connections.enter(flow.listener, flow.peer, Origin::Opened) else {
            self.shared.count(Event::RefusedTotal);
            return Err(Refused::ConnectionsFull);
        };
        let flow = Flow { transport: Transport::Tcp, connection: id, ..flow };
        // A queue just made has room.
        let queued = connections.find(&flow).map(|sender| sender.try_send(bytes));
        debug_assert!(matches!(queued, Some(Ok(()))), "a new queue takes a message");
        drop(connections);
        let (shared, stage, alive) = (Arc::clone(&self.shared), self.stage.subscribe(), self.alive.clone());
        self.runtime.spawn(open(alive, flow, *local, queue, shared, stage));
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
    listener: u16,
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
        let entered = shared.connections().enter(listener, peer, Origin::Accepted);
        match entered {
            Ok((id, queue)) => {
                shared.count(Event::Accepted);
                let flow = Flow { transport: Transport::Tcp, listener, peer, connection: id };
                tokio::spawn(attend(alive.clone(), socket, flow, queue, Arc::clone(&shared), stage.clone()));
            }
            Err(Full::Total) => shared.count(Event::RefusedTotal),
            Err(Full::Address) => shared.count(Event::RefusedAddress),
        }
    }
}

async fn open(
    alive: mpsc::Sender<()>,
    flow: Flow,
    local: IpAddr,
    queue: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
    stage: watch::Receiver<Stage>,
) {
    match tokio::time::timeout(shared.limits.connect, connect(local, flow.peer)).await {
        Ok(Ok(socket)) => {
            shared.count(Event::Opened);
            attend(alive, socket, flow, queue, shared, stage).await;
        }
        Ok(Err(_)) | Err(_) => {
            shared.count(Event::ConnectFailed);
            shared.connections().leave(flow.connection);
            shared.tell(Inbound::Failure { flow }).await;
        }
    }
}

/// Connects from the listener's own address: carriers know us by it.
async fn connect(local: IpAddr, peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if !local.is_unspecified() {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(peer).await
}

/// Sees one stream through from its opening to its end.
async fn attend(
    _alive: mpsc::Sender<()>,
    mut socket: TcpStream,
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
    };
    shared.count(event);
    drop(socket);
    if broken || unsent {
        shared.tell(Inbound::Failure { flow }).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream as Peer};

    use mio::{Events, Poll, Token, Waker};

    use super::*;

    const OPTIONS: &[u8] = b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nContent-Length: 4\r\n\r\nbody";
    const PATIENCE: Duration = Duration::from_secs(10);

    /// The signalling thread's end of the transport, and the thread that drives the runtime.
    struct Bench {
        tcp: Option<Tcp>,
        address: SocketAddr,
        poll: Poll,
        bell: Bell,
        runtime: Handle,
        stop: Option<tokio::sync::oneshot::Sender<()>>,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Bench {
        fn new(limits: Limits) -> Bench {
            let poll = Poll::new().unwrap();
            let bell = Bell::new(Waker::new(poll.registry(), Token(0)).unwrap());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let handle = runtime.handle().clone();
            let (stop, stopped) = tokio::sync::oneshot::channel();
            let thread = std::thread::spawn(move || {
                let _ = runtime.block_on(stopped);
            });
            let mut tcp = Tcp::new(handle.clone(), Clock::start(), limits, bell.clone());
            let address = tcp.listen(3, "127.0.0.1:0".parse().unwrap()).unwrap();
            Bench { tcp: Some(tcp), address, poll, bell, runtime: handle, stop: Some(stop), thread: Some(thread) }
        }

        fn tcp(&mut self) -> &mut Tcp {
            self.tcp.as_mut().unwrap()
        }

        fn connect(&self) -> Peer {
            let peer = Peer::connect(self.address).unwrap();
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer
        }

        fn next(&mut self) -> Inbound {
            let mut events = Events::with_capacity(4);
            loop {
                self.bell.answer();
                if let Some(inbound) = self.tcp().poll() {
                    return inbound;
                }
                self.poll.poll(&mut events, Some(PATIENCE)).unwrap();
                assert!(!events.is_empty(), "nothing was told within ten seconds");
            }
        }

        fn next_message(&mut self) -> (Flow, Bytes) {
            match self.next() {
                Inbound::Message { flow, bytes } => (flow, bytes),
                Inbound::Failure { flow } => panic!("{flow:?} failed"),
            }
        }

        fn count(&self, event: Event) -> u64 {
            self.tcp.as_ref().unwrap().counters()[event as usize]
        }

        fn to(&self, peer: SocketAddr) -> Flow {
            Flow { transport: Transport::Tcp, listener: 3, peer, connection: 0 }
        }
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            self.tcp = None;
            let _ = self.stop.take().unwrap().send(());
            self.thread.take().unwrap().join().unwrap();
        }
    }

    fn transmit(flow: Flow, bytes: &'static [u8]) -> Transmit {
        Transmit { flow, bytes: Bytes::from_static(bytes) }
    }

    fn read(peer: &mut Peer, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        peer.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Waits for the end of the stream, whether by FIN or by RST.
    fn read_end(peer: &mut Peer) -> Vec<u8> {
        let mut bytes = Vec::new();
        match peer.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "the stream was not closed"),
        }
        bytes
    }

    #[test]
    fn a_message_in_pieces_and_two_in_one_arrive_whole_and_are_answered_on_their_stream() {
        let mut bench = Bench::new(Limits::default());
        let mut peer = bench.connect();
        peer.set_nodelay(true).unwrap();
        for piece in OPTIONS.chunks(7) {
            peer.write_all(piece).unwrap();
        }
        let (flow, bytes) = bench.next_message();
        assert_eq!(bytes, OPTIONS);
        assert_eq!((flow.transport, flow.listener, flow.peer), (Transport::Tcp, 3, peer.local_addr().unwrap()));
        assert_ne!(flow.connection, 0);
        peer.write_all(&[OPTIONS, OPTIONS].concat()).unwrap();
        for _ in 0..2 {
            assert_eq!(bench.next_message(), (flow, Bytes::from_static(OPTIONS)));
        }
        bench.tcp().send(transmit(flow, b"SIP/2.0 200 OK\r\n")).unwrap();
        bench.tcp().send(transmit(flow, b"\r\n")).unwrap();
        assert_eq!(read(&mut peer, 18), b"SIP/2.0 200 OK\r\n\r\n");
        assert_eq!(bench.tcp().connections(), 1);
    }

    #[test]
    fn a_keep_alive_is_answered() {
        let bench = Bench::new(Limits::default());
        let mut peer = bench.connect();
        peer.write_all(b"\r\n\r\n").unwrap();
        assert_eq!(read(&mut peer, 2), b"\r\n");
        assert_eq!(bench.count(Event::Ping), 1);
    }

    #[test]
    fn a_framing_error_closes_the_stream_and_is_counted() {
        let mut bench = Bench::new(Limits::default());
        let mut peer = bench.connect();
        peer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        read_end(&mut peer);
        assert!(matches!(bench.next(), Inbound::Failure { .. }));
        assert_eq!(bench.count(Event::ClosedFraming), 1);
        assert_eq!(bench.tcp().connections(), 0);
    }

    #[test]
    fn a_silent_stream_is_closed() {
        let bench = Bench::new(Limits { idle: Duration::from_millis(30), ..Limits::default() });
        read_end(&mut bench.connect());
        assert_eq!(bench.count(Event::ClosedIdle), 1);
    }

    #[test]
    fn a_message_that_dribbles_in_is_not_waited_for() {
        let limits = Limits { message_time: Duration::from_millis(60), ..Limits::default() };
        let mut bench = Bench::new(limits);
        let mut peer = bench.connect();
        peer.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        // Each byte comes soon after the one before, but the message never ends.
        let mut closed = false;
        for byte in OPTIONS.iter().cycle().take(1000).map(|_| b'A') {
            closed = peer.write_all(&[byte]).is_err() || matches!(peer.read(&mut [0; 8]), Ok(0));
            if closed {
                break;
            }
        }
        assert!(closed, "the stream was never closed");
        assert!(matches!(bench.next(), Inbound::Failure { .. }));
        assert_eq!(bench.count(Event::ClosedSlow), 1);
    }

    #[test]
    fn a_peer_that_takes_nothing_fills_its_queue_and_is_then_cut_off() {
        let limits = Limits { write: Duration::from_millis(200), queue: 4, ..Limits::default() };
        let mut bench = Bench::new(limits);
        let mut peer = bench.connect();
        peer.write_all(OPTIONS).unwrap();
        let (flow, _) = bench.next_message();
        let large = Bytes::from(vec![b'x'; 4 << 20]);
        let mut refused = None;
        for _ in 0..1_000_000 {
            match bench.tcp().send(Transmit { flow, bytes: large.clone() }) {
                Ok(()) => std::thread::yield_now(),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        assert_eq!(refused, Some(Refused::QueueFull));
        assert_eq!(bench.next(), Inbound::Failure { flow });
        assert_eq!(bench.count(Event::ClosedStalled), 1);
    }

    #[test]
    fn a_new_stream_is_opened_to_a_peer_and_used_again() {
        let mut bench = Bench::new(Limits::default());
        let far = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let flow = bench.to(far.local_addr().unwrap());
        bench.tcp().send(transmit(flow, b"one ")).unwrap();
        bench.tcp().send(transmit(flow, b"two ")).unwrap(); // queued while the first is still connecting
        let (mut peer, from) = far.accept().unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(from.ip(), bench.address.ip());
        assert_eq!(read(&mut peer, 8), b"one two ");
        bench.tcp().send(transmit(Flow { connection: 77, ..flow }, b"three")).unwrap();
        assert_eq!(read(&mut peer, 5), b"three");
        peer.write_all(OPTIONS).unwrap();
        let (back, _) = bench.next_message();
        assert_eq!((back.peer, back.listener), (flow.peer, 3));
        assert_eq!(bench.count(Event::Opened), 1);
    }

    #[test]
    fn a_peer_that_refuses_the_connection_is_a_failure_of_the_flow() {
        let mut bench = Bench::new(Limits::default());
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let flow = bench.to(closed);
        bench.tcp().send(transmit(flow, b"lost")).unwrap();
        match bench.next() {
            Inbound::Failure { flow: failed } => assert_eq!((failed.peer, failed.transport), (closed, Transport::Tcp)),
            Inbound::Message { .. } => panic!("a message from nobody"),
        }
        assert_eq!(bench.tcp().connections(), 0);
        assert_eq!(bench.count(Event::ConnectFailed), 1);
    }

    #[test]
    fn a_broken_stream_is_a_failure_and_the_peer_s_clean_end_is_none() {
        let mut bench = Bench::new(Limits::default());
        let mut first = bench.connect();
        first.write_all(OPTIONS).unwrap();
        let (flow, _) = bench.next_message();
        // Closing with unread bytes makes the kernel send RST instead of FIN.
        bench.tcp().send(transmit(flow, b"unread")).unwrap();
        first.peek(&mut [0; 1]).unwrap();
        drop(first);
        assert_eq!(bench.next(), Inbound::Failure { flow });
        assert_eq!(bench.count(Event::ClosedBroken), 1);

        let mut second = bench.connect();
        second.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_end(&mut second), b"");
        assert_eq!(bench.count(Event::ClosedPeer), 1);
        assert!(bench.tcp().poll().is_none());
    }

    #[test]
    fn too_many_streams_of_one_address_are_closed_at_once() {
        let bench = Bench::new(Limits { accepted_per_address: 1, ..Limits::default() });
        let mut first = bench.connect();
        first.write_all(b"\r\n\r\n").unwrap();
        read(&mut first, 2);
        read_end(&mut bench.connect());
        assert_eq!(bench.count(Event::RefusedAddress), 1);
        first.write_all(b"\r\n\r\n").unwrap();
        read(&mut first, 2);
    }

    #[test]
    fn as_many_messages_wait_as_allowed_and_the_rest_in_the_peer_s_own_buffer() {
        let mut bench = Bench::new(Limits { arrivals: 2, ..Limits::default() });
        let mut peer = bench.connect();
        let writer = std::thread::spawn(move || {
            for _ in 0..1000 {
                peer.write_all(OPTIONS).unwrap();
            }
            peer
        });
        for _ in 0..1000 {
            assert_eq!(bench.next_message().1, OPTIONS);
        }
        drop(writer.join().unwrap());
    }

    #[test]
    fn closing_writes_what_is_queued_and_then_ends_every_stream() {
        let mut bench = Bench::new(Limits::default());
        let mut peer = bench.connect();
        peer.write_all(OPTIONS).unwrap();
        let (flow, _) = bench.next_message();
        for _ in 0..100 {
            bench.tcp().send(transmit(flow, b"BYE")).unwrap();
        }
        let tcp = bench.tcp.take().unwrap();
        tcp.drain();
        bench.runtime.block_on(tcp.close(PATIENCE));
        assert_eq!(read_end(&mut peer), b"BYE".repeat(100));
        assert!(Peer::connect(bench.address).is_err(), "the listener still accepts");
    }

    #[test]
    fn what_names_no_listener_of_ours_is_refused() {
        let mut bench = Bench::new(Limits::default());
        let flow = Flow { listener: 9, ..bench.to("127.0.0.1:9".parse().unwrap()) };
        assert_eq!(bench.tcp().send(transmit(flow, b"x")), Err(Refused::NoListener));
    }
}
