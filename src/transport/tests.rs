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
        Flow { transport: Transport::Tcp, listener: 3, peer, connection: 0, reopen: None }
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
