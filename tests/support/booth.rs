//! Scripted phones on real sockets of the loopback: the parties and their carriers.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axbridge::clock::Clock;
use axbridge::prompts::{DEFAULTS, Library};
use mio::net::{TcpStream, UdpSocket};
use mio::{Events, Interest, Poll, Token};
use phone::{Config, Known, Phone, PhoneEvent, Script, Transport};

use super::secure::Link;
use super::{PATIENCE, VOICE_OF_A, VOICE_OF_B, sip};

/// The longest wait for a packet: what is waited for beside the sockets is looked at this often.
const LOOK: Duration = Duration::from_millis(10);

/// Sockets of a phone: SIP, RTP, RTCP.
const SOCKETS: usize = 3;

/// A phone of a booth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Who(usize);

/// A datagram that the daemon sent to a phone.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// How a TCP phone writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// A message at once.
    Whole,
    /// A byte at once.
    ByteByByte,
}

/// A carrier with one address for all of its phones: it brings a call to the one whose number is called, and what belongs
/// to a call to the one that has it.
pub(crate) struct Exchange {
    socket: UdpSocket,
    subscribers: RefCell<Subscribers>,
}

#[derive(Default)]
struct Subscribers {
    /// Places of phones by their numbers; of two with one number the first is called.
    numbers: HashMap<String, usize>,
    /// And by the Call-IDs of their calls.
    calls: HashMap<String, usize>,
    waiting: HashMap<usize, VecDeque<(SocketAddr, Vec<u8>)>>,
}

impl Exchange {
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Brings nothing new to the phones that there are: others are to have their numbers.
    pub(crate) fn forget(&self) {
        self.subscribers.borrow_mut().numbers.clear();
    }

    fn send(&self, place: usize, peer: SocketAddr, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let call = sip::header(&text, "Call-ID").expect("a phone's message has a Call-ID");
        self.subscribers.borrow_mut().calls.insert(call.to_owned(), place);
        // What the loopback refuses is sent again by the phone's own timers.
        drop(self.socket.send_to(bytes, peer));
    }

    /// Takes what has come.
    fn pump(&self) {
        let mut buffer = [0_u8; 65_535];
        while let Some((length, source)) = or_empty(self.socket.recv_from(&mut buffer)) {
            let message = buffer[..length].to_vec();
            let text = String::from_utf8_lossy(&message);
            let subscribers = &mut *self.subscribers.borrow_mut();
            let call = sip::header(&text, "Call-ID").unwrap_or_else(|| panic!("no Call-ID: {text}"));
            let place = match subscribers.calls.get(call) {
                Some(place) => *place,
                None => {
                    let called = text.strip_prefix("INVITE sip:").and_then(|rest| rest.split(['@', ';', ' ']).next());
                    let place = called.and_then(|called| subscribers.numbers.get(called)).copied();
                    let place = place.unwrap_or_else(|| panic!("nobody here has this number: {text}"));
                    subscribers.calls.insert(call.to_owned(), place);
                    place
                }
            };
            subscribers.waiting.entry(place).or_default().push_back((source, message));
        }
    }

    fn receive(&self, place: usize) -> Option<(SocketAddr, Vec<u8>)> {
        self.subscribers.borrow_mut().waiting.get_mut(&place)?.pop_front()
    }
}

enum Wire {
    Udp(UdpSocket),
    /// By the carrier's socket; and the phone's own place.
    Exchange(Rc<Exchange>, usize),
    /// To the daemon, or from it once it has called.
    Tls {
        link: Box<Link>,
        server: SocketAddr,
        unread: Vec<u8>,
    },
    Tcp {
        stream: TcpStream,
        server: SocketAddr,
        pace: Pace,
        unread: Vec<u8>,
    },
}

struct Line {
    phone: Phone,
    wire: Wire,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    events: Vec<PhoneEvent>,
    received: Vec<Vec<u8>>,
    datagrams: Vec<Datagram>,
}

/// Phones, and the time that they live in.
pub(crate) struct Booth {
    clock: Clock,
    poll: Poll,
    lines: Vec<Line>,
    exchanges: Vec<Rc<Exchange>>,
    known: Arc<Known>,
}

impl Booth {
    /// Nobody is there yet.
    pub(crate) fn new() -> Booth {
        let mut known = Known::new();
        let mut library = Library::new(None);
        for (name, _) in DEFAULTS {
            known.add_prompt(name, &library.prompt(name).expect("the default set can be read").alaw);
        }
        known.add_tone("A's voice", VOICE_OF_A);
        known.add_tone("B's voice", VOICE_OF_B);
        Booth {
            clock: Clock::start(),
            poll: Poll::new().unwrap(),
            lines: Vec::new(),
            exchanges: Vec::new(),
            known: Arc::new(known),
        }
    }

    /// A phone that speaks UDP from an address. `change` says who it is and what it does.
    pub(crate) fn add(&mut self, number: &str, at: impl Into<IpAddr>, change: impl FnOnce(&mut Config)) -> Who {
        let mut socket = UdpSocket::bind((at.into(), 0).into()).unwrap();
        let token = Token(self.lines.len() * SOCKETS);
        self.poll.registry().register(&mut socket, token, Interest::READABLE).unwrap();
        let contact = socket.local_addr().unwrap();
        self.install(number, contact, Wire::Udp(socket), change)
    }

    /// A carrier with one address.
    pub(crate) fn exchange(&mut self, at: impl Into<IpAddr>) -> Rc<Exchange> {
        let mut socket = UdpSocket::bind((at.into(), 0).into()).unwrap();
        let token = Token(usize::MAX / 2 + self.exchanges.len());
        self.poll.registry().register(&mut socket, token, Interest::READABLE).unwrap();
        let exchange = Rc::new(Exchange { socket, subscribers: RefCell::default() });
        self.exchanges.push(Rc::clone(&exchange));
        exchange
    }

    /// A phone of such a carrier.
    pub(crate) fn add_at(&mut self, exchange: &Rc<Exchange>, number: &str, change: impl FnOnce(&mut Config)) -> Who {
        let place = self.lines.len();
        exchange.subscribers.borrow_mut().numbers.entry(number.to_owned()).or_insert(place);
        self.install(number, exchange.address(), Wire::Exchange(Rc::clone(exchange), place), change)
    }

    /// A phone that speaks TLS: to the daemon, or to whoever calls it where it listens.
    pub(crate) fn add_tls(
        &mut self,
        number: &str,
        server: SocketAddr,
        link: Link,
        change: impl FnOnce(&mut Config),
    ) -> Who {
        let contact = link.local_address();
        self.install(number, contact, Wire::Tls { link: Box::new(link), server, unread: Vec::new() }, |config| {
            config.transport = Transport::Tls;
            change(config);
        })
    }

    /// A phone that speaks TCP to the daemon.
    pub(crate) fn add_tcp(
        &mut self,
        number: &str,
        server: SocketAddr,
        pace: Pace,
        change: impl FnOnce(&mut Config),
    ) -> Who {
        let stream = std::net::TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        let contact = stream.local_addr().unwrap();
        let mut stream = TcpStream::from_std(stream);
        let token = Token(self.lines.len() * SOCKETS);
        self.poll.registry().register(&mut stream, token, Interest::READABLE).unwrap();
        let wire = Wire::Tcp { stream, server, pace, unread: Vec::new() };
        self.install(number, contact, wire, |config| {
            config.transport = Transport::Tcp;
            change(config);
        })
    }

    fn install(&mut self, number: &str, contact: SocketAddr, wire: Wire, change: impl FnOnce(&mut Config)) -> Who {
        let place = self.lines.len();
        let (mut rtp, mut rtcp) = bind_pair(contact.ip());
        for (socket, token) in [(&mut rtp, 1), (&mut rtcp, 2)] {
            self.poll.registry().register(socket, Token(place * SOCKETS + token), Interest::READABLE).unwrap();
        }
        // Identifiers must differ from those of the last run: the daemon may be another one at the same port.
        let seed = self.clock.unix(self.clock.now()).as_nanos() as u64 ^ (place as u64) << 56;
        let mut config = Config::new(&format!("phone-{place}"), number, contact, rtp.local_addr().unwrap(), seed);
        change(&mut config);
        let mut phone = Phone::new(config);
        phone.set_known(Arc::clone(&self.known));
        self.lines.push(Line {
            phone,
            wire,
            rtp,
            rtcp,
            events: Vec::new(),
            received: Vec::new(),
            datagrams: Vec::new(),
        });
        Who(place)
    }

    /// Every phone, in the order in which they came.
    pub(crate) fn everybody(&self) -> Vec<Who> {
        (0..self.lines.len()).map(Who).collect()
    }

    pub(crate) fn address(&self, who: Who) -> SocketAddr {
        self.lines[who.0].phone.config().contact
    }

    pub(crate) fn phone(&self, who: Who) -> &Phone {
        &self.lines[who.0].phone
    }

    /// Everything that happened to a phone.
    pub(crate) fn events(&self, who: Who) -> &[PhoneEvent] {
        &self.lines[who.0].events
    }

    /// Every message, and every RTCP packet, that a phone received: what its party could learn.
    pub(crate) fn received(&self, who: Who) -> &[Vec<u8>] {
        &self.lines[who.0].received
    }

    /// Everything that a phone received, SIP, RTP and RTCP, as it came. Of TCP, each message.
    pub(crate) fn datagrams(&self, who: Who) -> &[Datagram] {
        &self.lines[who.0].datagrams
    }

    /// The first response of this status that a phone received.
    pub(crate) fn response(&self, who: Who, status: u16) -> Option<String> {
        let start = format!("SIP/2.0 {status} ");
        let found = self.received(who).iter().find(|message| message.starts_with(start.as_bytes()))?;
        Some(String::from_utf8_lossy(found).into_owned())
    }

    /// Calls a number at the daemon.
    pub(crate) fn call(&mut self, who: Who, number: &str, server: SocketAddr) {
        let now = self.clock.now();
        assert!(self.lines[who.0].phone.call(now, &format!("sip:{number}@{server}")), "the phone is busy");
        self.send(now);
    }

    /// Changes what a phone does by itself, from its next call on.
    pub(crate) fn set_script(&mut self, who: Who, script: Script) {
        self.lines[who.0].phone.set_script(script);
    }

    pub(crate) fn hang_up(&mut self, who: Who) {
        let now = self.clock.now();
        self.lines[who.0].phone.hang_up(now);
        self.send(now);
    }

    /// For how long a phone has heard something by now.
    pub(crate) fn heard(&self, who: Who, name: &str) -> Duration {
        self.phone(who).ear().heard_for(name)
    }

    /// What a phone has heard, each sound once.
    pub(crate) fn sounds(&self, who: Who) -> Vec<String> {
        self.phone(who).ear().sounds().iter().map(ToString::to_string).collect()
    }

    /// Lets the phones live until something is so.
    pub(crate) fn wait(&mut self, what: &str, mut is_so: impl FnMut(&Booth) -> bool) {
        let begun = self.clock.now();
        while !is_so(self) {
            let waited = self.clock.now().saturating_sub(begun);
            assert!(waited < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", self.story());
            self.turn();
        }
    }

    /// Lets the phones live until a phone has been told something.
    pub(crate) fn wait_for(&mut self, who: Who, what: &str, is_it: impl Fn(&PhoneEvent) -> bool) {
        self.wait(what, |booth| booth.events(who).iter().any(&is_it));
    }

    /// Fails when the daemon broke an RFC, or a stream that a phone heard. Lateness is none of it: machines are slow.
    pub(crate) fn assert_proper(&self) {
        for line in &self.lines {
            let breaches: Vec<&PhoneEvent> =
                line.events.iter().filter(|event| matches!(event, PhoneEvent::Breach(_))).collect();
            assert!(breaches.is_empty(), "{breaches:?}");
            let is_late = |fault: &phone::Fault| matches!(fault, phone::Fault::Overrun | phone::Fault::Timestamp(_));
            let faults: Vec<_> = line.phone.ear().faults().iter().filter(|(_, fault)| !is_late(fault)).collect();
            assert!(faults.is_empty(), "{} hears {faults:?}", line.phone.config().number);
        }
    }

    fn story(&self) -> String {
        let told = |line: &Line| format!("{}: {:?}", line.phone.config().number, line.events);
        self.lines.iter().map(told).collect::<Vec<_>>().join("\n")
    }

    /// Waits for a packet or a deadline, and does what is due.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(32);
        let now = self.clock.now();
        let next = self.lines.iter().filter_map(|line| line.phone.poll_timeout()).min();
        let wait = next.map_or(LOOK, |at| at.saturating_sub(now).min(LOOK));
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("{error}"),
            Ok(()) | Err(_) => {}
        }
        let now = self.clock.now();
        for exchange in &self.exchanges {
            exchange.pump();
        }
        for line in &mut self.lines {
            line.receive(now);
            line.phone.handle_timeout(now);
        }
        self.send(now);
        for line in &mut self.lines {
            line.events.extend(std::iter::from_fn(|| line.phone.poll_event()));
        }
    }

    fn send(&mut self, now: Duration) {
        for line in &mut self.lines {
            while let Some((peer, bytes)) = line.phone.poll_transmit() {
                line.wire.send(peer, &bytes);
            }
            while let Some(packet) = line.phone.poll_rtp(now) {
                let socket = if packet.source == line.phone.config().rtp { &line.rtp } else { &line.rtcp };
                // A datagram that the loopback refuses is one that was lost.
                let _ = socket.send_to(&packet.bytes, packet.destination);
            }
        }
    }
}

impl Line {
    fn receive(&mut self, now: Duration) {
        let mut buffer = [0_u8; 65_535];
        while let Some((source, message)) = self.wire.receive(&mut buffer) {
            self.phone.handle_message(now, source, &message);
            let destination = self.phone.config().contact;
            self.datagrams.push(Datagram { source, destination, bytes: message.clone() });
            self.received.push(message);
        }
        let rtp = self.phone.config().rtp;
        while let Some((length, source)) = or_empty(self.rtp.recv_from(&mut buffer)) {
            self.phone.handle_rtp(now, source, &buffer[..length]);
            self.datagrams.push(Datagram { source, destination: rtp, bytes: buffer[..length].to_vec() });
        }
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        while let Some((length, source)) = or_empty(self.rtcp.recv_from(&mut buffer)) {
            self.received.push(buffer[..length].to_vec());
            self.datagrams.push(Datagram { source, destination: rtcp, bytes: buffer[..length].to_vec() });
        }
    }
}

impl Wire {
    fn send(&mut self, peer: SocketAddr, bytes: &[u8]) {
        match self {
            // What the loopback refuses is sent again by the phone's own timers.
            Wire::Udp(socket) => drop(socket.send_to(bytes, peer)),
            Wire::Exchange(exchange, place) => exchange.send(*place, peer, bytes),
            Wire::Tls { link, .. } => link.send(bytes),
            Wire::Tcp { stream, pace: Pace::Whole, .. } => stream.write_all(bytes).unwrap(),
            Wire::Tcp { stream, pace: Pace::ByteByByte, .. } => {
                for byte in bytes {
                    stream.write_all(&[*byte]).unwrap();
                }
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<(SocketAddr, Vec<u8>)> {
        match self {
            Wire::Udp(socket) => {
                or_empty(socket.recv_from(buffer)).map(|(length, source)| (source, buffer[..length].to_vec()))
            }
            Wire::Exchange(exchange, place) => exchange.receive(*place),
            Wire::Tls { link, server, unread } => {
                link.receive(unread);
                sip::cut(unread).map(|message| (*server, message))
            }
            Wire::Tcp { stream, server, unread, .. } => loop {
                if let Some(message) = sip::cut(unread) {
                    return Some((*server, message));
                }
                match or_empty(stream.read(buffer)) {
                    None | Some(0) => return None,
                    Some(length) => unread.extend(&buffer[..length]),
                }
            },
        }
    }
}

/// An even RTP port and the one above.
fn bind_pair(at: IpAddr) -> (UdpSocket, UdpSocket) {
    for _ in 0..10_000 {
        let rtp = UdpSocket::bind((at, 0).into()).unwrap();
        let port = rtp.local_addr().unwrap().port();
        if port.is_multiple_of(2)
            && let Ok(rtcp) = UdpSocket::bind((at, port + 1).into())
        {
            return (rtp, rtcp);
        }
    }
    panic!("{at} has no two ports side by side");
}

fn or_empty<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        // Nothing there; or a peer that has closed its port said so by ICMP, or closed its stream: it is gone.
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused) => None,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}
