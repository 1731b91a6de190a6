//! Streams, over TCP and over TLS alike: the same tests for both, and those of TLS alone in `tls`.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::{Events, Poll, Token, Waker};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, ServerConnection, StreamOwned};
use sip::transaction::{Flow, Transmit, Transport};
use tokio::runtime::Handle;

use super::credentials::{self, Authorities, Callers, Client, Identity};
use super::event::Event;
use super::tcp::{Limits, Refused, Tcp};
use super::tls::{Peers, Rule};
use super::{Bell, Inbound};
use crate::clock::Clock;
use crate::pki::{Authority, Issued};

mod tls;

const OPTIONS: &[u8] = b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nContent-Length: 4\r\n\r\nbody";
const PATIENCE: Duration = Duration::from_secs(10);
const LISTENER: u16 = 3;

/// What a bench speaks, and where.
#[derive(Clone, Copy)]
struct Wire {
    transport: Transport,
    ip: IpAddr,
}

const TCP: Wire = Wire { transport: Transport::Tcp, ip: IpAddr::V4(Ipv4Addr::LOCALHOST) };
const TLS: Wire = Wire { transport: Transport::Tls, ip: IpAddr::V4(Ipv4Addr::LOCALHOST) };
const TCP_OVER_IPV6: Wire = Wire { transport: Transport::Tcp, ip: IpAddr::V6(Ipv6Addr::LOCALHOST) };
const TLS_OVER_IPV6: Wire = Wire { transport: Transport::Tls, ip: IpAddr::V6(Ipv6Addr::LOCALHOST) };

/// Makes each of these a test over every wire.
macro_rules! over_every_wire {
    ($($test:ident),* $(,)?) => {
        mod over_tcp { $(#[test] fn $test() { super::$test(super::TCP); })* }
        mod over_tls { $(#[test] fn $test() { super::$test(super::TLS); })* }
        // Without ::1 there is nothing to test; test.sh says so then.
        mod over_tcp_and_ipv6 { $(#[test] fn $test() { if super::has_ipv6() { super::$test(super::TCP_OVER_IPV6); } })* }
        mod over_tls_and_ipv6 { $(#[test] fn $test() { if super::has_ipv6() { super::$test(super::TLS_OVER_IPV6); } })* }
    };
}

over_every_wire! {
    a_message_in_pieces_and_two_in_one_arrive_whole_and_are_answered_on_their_stream,
    a_keep_alive_is_answered,
    a_framing_error_closes_the_stream_and_is_counted,
    two_content_lengths_that_differ_close_the_stream,
    a_silent_stream_is_closed,
    a_message_that_dribbles_in_is_not_waited_for,
    a_peer_that_takes_nothing_fills_its_queue_and_is_then_cut_off,
    a_peer_that_takes_its_time_gets_everything,
    a_new_stream_is_opened_to_a_peer_and_used_again,
    a_peer_that_refuses_the_connection_is_a_failure_of_the_flow,
    a_broken_stream_is_a_failure_and_the_peer_s_clean_end_is_none,
    a_response_whose_stream_is_gone_goes_by_a_new_one_to_where_it_leads,
    what_belongs_to_a_stream_that_is_gone_and_leads_nowhere_is_refused,
    too_many_streams_of_one_address_are_closed_at_once,
    as_many_messages_wait_as_allowed_and_the_rest_in_the_peer_s_own_buffer,
    closing_writes_what_is_queued_and_then_ends_every_stream,
    what_names_no_listener_of_ours_is_refused,
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// The other end of a stream.
struct Peer {
    socket: TcpStream,
    stream: Box<dyn Stream>,
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Peer {
    /// After the handshake as a client, where `config` is for one.
    fn client(socket: TcpStream, config: Option<&Arc<ClientConfig>>) -> io::Result<Peer> {
        let mut peer = Peer::plain(socket);
        if let Some(config) = config {
            let name = peer.socket.peer_addr()?.ip().into();
            let mut connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
            shake(|| connection.is_handshaking().then(|| connection.complete_io(&mut peer.socket)))?;
            peer.stream = Box::new(StreamOwned::new(connection, peer.socket.try_clone()?));
        }
        Ok(peer)
    }

    /// After the handshake as a server, where `config` is for one.
    fn server(socket: TcpStream, config: Option<&Arc<rustls::ServerConfig>>) -> io::Result<Peer> {
        let mut peer = Peer::plain(socket);
        if let Some(config) = config {
            let mut connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            shake(|| connection.is_handshaking().then(|| connection.complete_io(&mut peer.socket)))?;
            peer.stream = Box::new(StreamOwned::new(connection, peer.socket.try_clone()?));
        }
        Ok(peer)
    }

    fn plain(socket: TcpStream) -> Peer {
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Peer { stream: Box::new(socket.try_clone().unwrap()), socket }
    }
}

fn shake(mut step: impl FnMut() -> Option<io::Result<(usize, usize)>>) -> io::Result<()> {
    while let Some(done) = step() {
        done?;
    }
    Ok(())
}

/// The signalling thread's end of the transport, and the thread that drives the runtime.
struct Bench {
    tcp: Option<Tcp>,
    wire: Wire,
    address: SocketAddr,
    /// Vouches for everybody here.
    authority: Authority,
    client: Option<Arc<ClientConfig>>,
    server: Option<Arc<rustls::ServerConfig>>,
    poll: Poll,
    bell: Bell,
    runtime: Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bench {
    fn new(wire: Wire, limits: Limits) -> Bench {
        let poll = Poll::new().unwrap();
        let bell = Bell::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        let mut tcp = Tcp::new(handle.clone(), Clock::start(), limits, bell.clone());
        let address = tcp.listen(LISTENER, wire.transport, SocketAddr::new(wire.ip, 0)).unwrap();

        let authority = Authority::new("everybody's");
        let (mut client, mut server) = (None, None);
        if wire.transport == Transport::Tls {
            let ours = identity(&authority.issue(&wire.ip.to_string()));
            let config = credentials::server(&ours, None).unwrap();
            tcp.tls().set_server(Some(Arc::clone(&config)));
            let verifier = client_of(&authority, None);
            let mut peers = Peers::default();
            peers.add_source(wire.ip.into(), &Rule { client: Arc::clone(&verifier), server_name: None });
            tcp.tls().set_peers(peers);
            (client, server) = (Some(verifier.config()), Some(config));
        }
        let (stop, thread) = (Some(stop), Some(thread));
        Bench { tcp: Some(tcp), wire, address, authority, client, server, poll, bell, runtime: handle, stop, thread }
    }

    fn tcp(&mut self) -> &mut Tcp {
        self.tcp.as_mut().unwrap()
    }

    fn connect(&self) -> Peer {
        Peer::client(TcpStream::connect(self.address).unwrap(), self.client.as_ref()).unwrap()
    }

    fn far(&self) -> TcpListener {
        TcpListener::bind((self.wire.ip, 0)).unwrap()
    }

    /// Takes the next stream that we open.
    fn accept(&self, far: &TcpListener) -> (Peer, SocketAddr) {
        let (socket, from) = far.accept().unwrap();
        (Peer::server(socket, self.server.as_ref()).unwrap(), from)
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

    fn next_failure(&mut self) -> Flow {
        match self.next() {
            Inbound::Message { bytes, .. } => panic!("a message: {}", bytes.escape_ascii()),
            Inbound::Failure { flow } => flow,
        }
    }

    fn count(&self, event: Event) -> u64 {
        self.tcp.as_ref().unwrap().counters()[event as usize]
    }

    /// Looks until something has been counted; other tasks count it.
    fn wait_for(&self, event: Event, count: u64) {
        let clock = Clock::start();
        while self.count(event) != count {
            assert!(clock.now() < PATIENCE, "{event:?} is {}, not {count}", self.count(event));
            std::thread::yield_now();
        }
    }

    fn to(&self, peer: SocketAddr) -> Flow {
        Flow::to(self.wire.transport, LISTENER, peer)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.tcp = None;
        let _ = self.stop.take().unwrap().send(());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn identity(issued: &Issued) -> Identity {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    Identity::new(chain, PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap()).unwrap()
}

fn authorities(authority: &Authority) -> Authorities {
    Authorities::new(vec![CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()]).unwrap()
}

/// Trusts one authority.
fn client_of(authority: &Authority, shows: Option<&Issued>) -> Arc<Client> {
    Arc::new(Client::new(authorities(authority), shows.map(identity)))
}

fn transmit(flow: Flow, bytes: &'static [u8]) -> Transmit {
    Transmit { flow, bytes: Bytes::from_static(bytes) }
}

fn read(peer: &mut Peer, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    peer.read_exact(&mut bytes).unwrap();
    bytes
}

/// Waits for the end of the stream, whether by FIN or by RST, with TLS's own word or without.
fn read_end(peer: &mut Peer) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = peer.read_to_end(&mut bytes) {
        assert!(is_end(&error), "the stream was not closed: {error}");
    }
    bytes
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}

fn a_message_in_pieces_and_two_in_one_arrive_whole_and_are_answered_on_their_stream(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let mut peer = bench.connect();
    for piece in OPTIONS.chunks(7) {
        peer.write_all(piece).unwrap();
    }
    let (flow, bytes) = bench.next_message();
    assert_eq!(bytes, OPTIONS);
    assert_eq!(flow, Flow { connection: flow.connection, ..bench.to(peer.socket.local_addr().unwrap()) });
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

fn a_keep_alive_is_answered(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let mut peer = bench.connect();
    peer.write_all(b"\r\n\r\n").unwrap();
    assert_eq!(read(&mut peer, 2), b"\r\n");
    assert_eq!(bench.count(Event::Ping), 1);
    // One that answers ours, and one between messages.
    peer.write_all(&[b"\r\n", OPTIONS, b"\r\n\r\n", OPTIONS].concat()).unwrap();
    for _ in 0..2 {
        assert_eq!(bench.next_message().1, OPTIONS);
    }
    assert_eq!(read(&mut peer, 2), b"\r\n");
}

fn a_framing_error_closes_the_stream_and_is_counted(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let mut peer = bench.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    read_end(&mut peer);
    bench.next_failure();
    assert_eq!(bench.count(Event::ClosedFraming), 1);
    assert_eq!(bench.tcp().connections(), 0);
}

fn two_content_lengths_that_differ_close_the_stream(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let mut peer = bench.connect();
    let two = b"OPTIONS sip:x@y SIP/2.0\r\nContent-Length : 0\r\nl: 60\r\n\r\n";
    peer.write_all(&[two, OPTIONS].concat()).unwrap();
    read_end(&mut peer);
    bench.next_failure();
    assert_eq!(bench.count(Event::ClosedFraming), 1);
    // Blanks before the colon are none: the body is not taken for a message.
    let mut peer = bench.connect();
    let outer = format!("OPTIONS sip:x@y SIP/2.0\r\nContent-Length \t: {}\r\n\r\n", OPTIONS.len());
    let outer = [outer.as_bytes(), OPTIONS].concat();
    peer.write_all(&outer).unwrap();
    peer.write_all(OPTIONS).unwrap();
    assert_eq!(bench.next_message().1, outer);
    assert_eq!(bench.next_message().1, OPTIONS);
}

fn a_silent_stream_is_closed(wire: Wire) {
    let bench = Bench::new(wire, Limits { idle: Duration::from_millis(30), ..Limits::default() });
    let mut peer = bench.connect();
    let mut rest = Vec::new();
    // A clean end: the peer knows that nothing was cut off.
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!((rest.len(), bench.count(Event::ClosedIdle)), (0, 1));
}

fn a_message_that_dribbles_in_is_not_waited_for(wire: Wire) {
    let limits = Limits { message_time: Duration::from_millis(60), ..Limits::default() };
    let mut bench = Bench::new(wire, limits);
    let mut peer = bench.connect();
    peer.socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    // Each byte comes soon after the one before, but the message never ends.
    let closed = (0..1000).any(|_| {
        peer.write_all(b"A").is_err()
            || match peer.read(&mut [0; 8]) {
                Ok(count) => count == 0,
                Err(error) => is_end(&error),
            }
    });
    assert!(closed, "the stream was never closed");
    bench.next_failure();
    assert_eq!(bench.count(Event::ClosedSlow), 1);
}

fn a_peer_that_takes_nothing_fills_its_queue_and_is_then_cut_off(wire: Wire) {
    let limits = Limits { write: Duration::from_millis(200), queue: 4, ..Limits::default() };
    let mut bench = Bench::new(wire, limits);
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

fn a_peer_that_takes_its_time_gets_everything(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let mut peer = bench.connect();
    peer.write_all(OPTIONS).unwrap();
    let (flow, _) = bench.next_message();
    // More than the buffers of both ends and of TLS hold, and a keep-alive that must not fall into the middle.
    let large: Vec<u8> = (0..8_u32 << 20).map(|place| (place % 251) as u8).collect();
    bench.tcp().send(Transmit { flow, bytes: large.clone().into() }).unwrap();
    // The message has begun; a keep-alive that came before it would be answered before it.
    let mut received = read(&mut peer, 1024);
    peer.write_all(b"\r\n\r\n").unwrap();
    bench.wait_for(Event::Ping, 1);
    bench.tcp().send(transmit(flow, b"last")).unwrap();
    received.extend(read(&mut peer, large.len() - received.len()));
    assert!(received == large);
    assert_eq!(read(&mut peer, 6), b"\r\nlast");
}

fn a_new_stream_is_opened_to_a_peer_and_used_again(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let far = bench.far();
    let flow = bench.to(far.local_addr().unwrap());
    bench.tcp().send(transmit(flow, b"one ")).unwrap();
    bench.tcp().send(transmit(flow, b"two ")).unwrap(); // queued while the first is still connecting
    let (mut peer, from) = bench.accept(&far);
    assert_eq!(from.ip(), bench.address.ip());
    assert_eq!(read(&mut peer, 8), b"one two ");
    bench.tcp().send(transmit(Flow { connection: 77, ..flow }, b"three")).unwrap();
    assert_eq!(read(&mut peer, 5), b"three");
    peer.write_all(OPTIONS).unwrap();
    let (back, _) = bench.next_message();
    assert_eq!((back.peer, back.listener), (flow.peer, LISTENER));
    bench.tcp().send(transmit(back, b"four")).unwrap();
    assert_eq!(read(&mut peer, 4), b"four");
    assert_eq!(bench.count(Event::Opened), 1);
}

fn a_peer_that_refuses_the_connection_is_a_failure_of_the_flow(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let closed = bench.far().local_addr().unwrap();
    let flow = bench.to(closed);
    bench.tcp().send(transmit(flow, b"lost")).unwrap();
    let failed = bench.next_failure();
    assert_eq!((failed.peer, failed.transport), (closed, wire.transport));
    assert_eq!(bench.tcp().connections(), 0);
    assert_eq!(bench.count(Event::ConnectFailed), 1);
}

fn a_broken_stream_is_a_failure_and_the_peer_s_clean_end_is_none(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let mut first = bench.connect();
    first.write_all(OPTIONS).unwrap();
    let (flow, _) = bench.next_message();
    // Closing with unread bytes makes the kernel send RST instead of FIN.
    bench.tcp().send(transmit(flow, b"unread")).unwrap();
    first.socket.peek(&mut [0; 1]).unwrap();
    drop(first);
    assert_eq!(bench.next(), Inbound::Failure { flow });
    assert_eq!(bench.count(Event::ClosedBroken), 1);

    let mut second = bench.connect();
    second.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_end(&mut second), b"");
    assert_eq!(bench.count(Event::ClosedPeer), 1);
    assert!(bench.tcp().poll().is_none());
}

/// A request came on a stream that has ended since.
fn orphaned(bench: &mut Bench) -> Flow {
    let mut peer = bench.connect();
    peer.write_all(OPTIONS).unwrap();
    let (flow, _) = bench.next_message();
    peer.socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_end(&mut peer), b"");
    flow
}

fn a_response_whose_stream_is_gone_goes_by_a_new_one_to_where_it_leads(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let far = bench.far();
    let reopen = Some(far.local_addr().unwrap().port());
    let flow = Flow { reopen, ..orphaned(&mut bench) };
    bench.tcp().send(transmit(flow, b"SIP/2.0 180 Ringing\r\n")).unwrap();
    bench.tcp().send(transmit(flow, b"SIP/2.0 200 OK\r\n")).unwrap();
    let (mut peer, _) = bench.accept(&far);
    assert_eq!(read(&mut peer, 37), b"SIP/2.0 180 Ringing\r\nSIP/2.0 200 OK\r\n");
    assert_eq!(bench.count(Event::Opened), 1);
    // Another orphan of the same peer goes the same way.
    let flow = Flow { reopen, ..orphaned(&mut bench) };
    bench.tcp().send(transmit(flow, b"SIP/2.0 486 Busy\r\n")).unwrap();
    assert_eq!(read(&mut peer, 18), b"SIP/2.0 486 Busy\r\n");
    assert_eq!((bench.count(Event::Opened), bench.tcp().connections()), (1, 1));
    // And when nobody takes it there either, it is a failure of where it was to go.
    let closed = bench.far().local_addr().unwrap();
    let flow = Flow { reopen: Some(closed.port()), ..flow };
    bench.tcp().send(transmit(flow, b"lost")).unwrap();
    assert_eq!(bench.next_failure().peer, closed);
}

fn what_belongs_to_a_stream_that_is_gone_and_leads_nowhere_is_refused(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let flow = orphaned(&mut bench);
    assert_eq!(bench.tcp().send(transmit(flow, b"SIP/2.0 503 x\r\n")), Err(Refused::Gone));
    assert_eq!((bench.tcp().connections(), bench.count(Event::ConnectFailed)), (0, 0));
}

fn too_many_streams_of_one_address_are_closed_at_once(wire: Wire) {
    let bench = Bench::new(wire, Limits { accepted_per_address: 1, ..Limits::default() });
    let mut first = bench.connect();
    first.write_all(b"\r\n\r\n").unwrap();
    read(&mut first, 2);
    // Before any handshake.
    read_end(&mut Peer::plain(TcpStream::connect(bench.address).unwrap()));
    assert_eq!(bench.count(Event::RefusedAddress), 1);
    first.write_all(b"\r\n\r\n").unwrap();
    read(&mut first, 2);
}

fn as_many_messages_wait_as_allowed_and_the_rest_in_the_peer_s_own_buffer(wire: Wire) {
    let mut bench = Bench::new(wire, Limits { arrivals: 2, ..Limits::default() });
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

fn closing_writes_what_is_queued_and_then_ends_every_stream(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let mut peer = bench.connect();
    peer.write_all(OPTIONS).unwrap();
    let (flow, _) = bench.next_message();
    for _ in 0..100 {
        bench.tcp().send(transmit(flow, b"BYE")).unwrap();
    }
    // One that says nothing, not even the beginning of a handshake, holds up nobody.
    let _silent = TcpStream::connect(bench.address).unwrap();
    bench.wait_for(Event::Accepted, 2);
    let tcp = bench.tcp.take().unwrap();
    tcp.drain();
    bench.runtime.block_on(tcp.close(PATIENCE));
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"BYE".repeat(100));
    assert!(TcpStream::connect(bench.address).is_err(), "the listener still accepts");
}

fn what_names_no_listener_of_ours_is_refused(wire: Wire) {
    let mut bench = Bench::new(wire, Limits::default());
    let peer = SocketAddr::new(wire.ip, 9);
    let flow = Flow { listener: 9, ..bench.to(peer) };
    assert_eq!(bench.tcp().send(transmit(flow, b"x")), Err(Refused::NoListener));
    // Nor does a listener send by another transport than its own.
    let other = if wire.transport == Transport::Tls { Transport::Tcp } else { Transport::Tls };
    assert_eq!(bench.tcp().send(transmit(Flow::to(other, LISTENER, peer), b"x")), Err(Refused::NoListener));
}
