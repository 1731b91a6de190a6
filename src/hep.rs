//! HEP v3: a copy of every SIP message for a collector such as Homer (sipcapture.org, "HEP/EEP" revision 3), off by default.
//!
//! ```text
//!   "HEP3" length │ chunk: vendor 0, type, length, value │ chunk …
//!
//!    1 family   2 protocol   3-6 addresses   7 8 ports   9 10 time   11 kind: SIP   12 agent   14 password   15 the message   17 correlation
//! ```
//!
//! Both legs of a call carry the caller's Call-ID as their correlation, so that the collector shows them as one. It sees real
//! numbers: it is the operator's, and so should be the way there. A copy that the kernel does not take at once is lost, and
//! counted; nothing waits for it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use sip::transaction::{Flow, Transport};

/// Second legs that are remembered: more than there are calls.
const MAX_LEGS: usize = 200_000;

/// The longest message: with its chunks it fits a datagram.
const MAX_MESSAGE: usize = 65_000;

/// What the operator says of the collector.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where it takes HEP over UDP.
    pub collector: SocketAddr,
    /// Who we are to it.
    pub agent: u32,
    /// What it asks of us; empty: nothing.
    pub password: Box<[u8]>,
}

/// What has become of the copies.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sent.
    pub sent: AtomicU64,
    /// Not taken by the kernel, or too long.
    pub lost: AtomicU64,
}

/// A message on its way.
#[derive(Clone, Copy, Debug)]
struct Seen<'a> {
    at: Duration,
    transport: Transport,
    from: SocketAddr,
    to: SocketAddr,
    bytes: &'a Bytes,
}

/// Sends copies.
#[derive(Debug)]
pub struct Exporter {
    socket: UdpSocket,
    agent: u32,
    password: Box<[u8]>,
    /// Ours, by listener.
    addresses: Vec<SocketAddr>,
    legs: Legs,
    packet: Vec<u8>,
    counters: Arc<Counters>,
}

/// The caller's Call-ID of each second leg, by the second leg's.
#[derive(Debug, Default)]
struct Legs {
    callers: HashMap<Box<[u8]>, Box<[u8]>>,
    /// The oldest first: it goes when there are too many.
    order: VecDeque<Box<[u8]>>,
}

impl Exporter {
    /// A socket for the collector. `addresses` are ours, as peers know them, by listener.
    ///
    /// # Errors
    /// The system has none.
    pub fn open(config: &Config, addresses: Vec<SocketAddr>) -> io::Result<Exporter> {
        let any: SocketAddr =
            if config.collector.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(config.collector)?;
        Ok(Exporter {
            socket,
            agent: config.agent,
            password: config.password.clone(),
            addresses,
            legs: Legs::default(),
            packet: Vec::new(),
            counters: Arc::default(),
        })
    }

    /// What has become of the copies.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The second leg of a call begins.
    pub fn correlate(&mut self, call_id: Box<[u8]>, caller: Box<[u8]>) {
        self.legs.note(call_id, caller);
    }

    /// Sends a copy of a message that has come, at this UNIX time.
    pub fn received(&mut self, at: Duration, flow: &Flow, bytes: &Bytes) {
        let Some(ours) = self.addresses.get(usize::from(flow.listener)).copied() else { return };
        self.export(&Seen { at, transport: flow.transport, from: flow.peer, to: ours, bytes });
    }

    /// Sends a copy of a message that goes out.
    pub fn sent(&mut self, at: Duration, flow: &Flow, bytes: &Bytes) {
        let Some(ours) = self.addresses.get(usize::from(flow.listener)).copied() else { return };
        self.export(&Seen { at, transport: flow.transport, from: ours, to: flow.peer, bytes });
    }

    fn export(&mut self, seen: &Seen<'_>) {
        let sent = seen.bytes.len() <= MAX_MESSAGE && {
            let correlation = self.legs.caller_of(call_id_of(seen.bytes));
            write(&mut self.packet, seen, self.agent, &self.password, correlation);
            self.socket.send(&self.packet).is_ok()
        };
        let counter = if sent { &self.counters.sent } else { &self.counters.lost };
        counter.fetch_add(1, Relaxed);
    }
}

impl Legs {
    fn note(&mut self, call_id: Box<[u8]>, caller: Box<[u8]>) {
        if self.order.len() >= MAX_LEGS
            && let Some(oldest) = self.order.pop_front()
        {
            self.callers.remove(&oldest);
        }
        if self.callers.insert(call_id.clone(), caller).is_none() {
            self.order.push_back(call_id);
        }
    }

    /// The caller's Call-ID of the call that this one belongs to: of a first leg its own.
    fn caller_of<'a>(&'a self, call_id: &'a [u8]) -> &'a [u8] {
        self.callers.get(call_id).map_or(call_id, |caller| caller)
    }
}

/// The Call-ID of a message, which is read in full elsewhere; empty where none is found.
fn call_id_of(message: &[u8]) -> &[u8] {
    let mut lines = message.split(|byte| *byte == b'\n').skip(1).take_while(|line| !line.trim_ascii().is_empty());
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b':')?);
        let name = name.trim_ascii_end();
        (name.eq_ignore_ascii_case(b"Call-ID") || name.eq_ignore_ascii_case(b"i")).then(|| value[1..].trim_ascii())
    });
    value.unwrap_or_default()
}

fn write(packet: &mut Vec<u8>, seen: &Seen<'_>, agent: u32, password: &[u8], correlation: &[u8]) {
    packet.clear();
    packet.extend(b"HEP3\0\0");
    let (from, to) = (seen.from.ip().to_canonical(), seen.to.ip().to_canonical());
    let is_ipv4 = from.is_ipv4() && to.is_ipv4();
    chunk(packet, 1, &[if is_ipv4 { 2 } else { 10 }]);
    chunk(packet, 2, &[if seen.transport == Transport::Udp { 17 } else { 6 }]);
    for (kind, address) in [(3, from), (4, to)] {
        match address {
            IpAddr::V4(address) if is_ipv4 => chunk(packet, kind, &address.octets()),
            IpAddr::V4(address) => chunk(packet, kind + 2, &address.to_ipv6_mapped().octets()),
            IpAddr::V6(address) => chunk(packet, kind + 2, &address.octets()),
        }
    }
    chunk(packet, 7, &seen.from.port().to_be_bytes());
    chunk(packet, 8, &seen.to.port().to_be_bytes());
    chunk(packet, 9, &u32::try_from(seen.at.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
    chunk(packet, 10, &seen.at.subsec_micros().to_be_bytes());
    chunk(packet, 11, &[1]);
    chunk(packet, 12, &agent.to_be_bytes());
    if !password.is_empty() {
        chunk(packet, 14, password);
    }
    if !correlation.is_empty() {
        chunk(packet, 17, correlation);
    }
    chunk(packet, 15, seen.bytes);
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    packet[4..6].copy_from_slice(&length.to_be_bytes());
}

/// A chunk of the standard's own vendor; its length counts its head.
fn chunk(packet: &mut Vec<u8>, kind: u16, value: &[u8]) {
    packet.extend(0_u16.to_be_bytes());
    packet.extend(kind.to_be_bytes());
    packet.extend(u16::try_from(value.len() + 6).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
                           To: <sip:c@d>\r\ni: ours@x\r\nCSeq: 2 OPTIONS\r\nMax-Forwards: 70\r\n\r\n";

    /// The chunks of a packet, by an independent reading of the format.
    fn chunks(packet: &[u8]) -> Vec<(u16, Vec<u8>)> {
        assert_eq!(&packet[..4], b"HEP3");
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
        let (mut rest, mut found) = (&packet[6..], Vec::new());
        while !rest.is_empty() {
            let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
            assert_eq!(&rest[..2], &[0, 0]);
            found.push((u16::from_be_bytes([rest[2], rest[3]]), rest[6..length].to_vec()));
            rest = &rest[length..];
        }
        found
    }

    fn exported(from: &str, to: &str, transport: Transport) -> Vec<(u16, Vec<u8>)> {
        let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
        let config =
            Config { collector: collector.local_addr().unwrap(), agent: 2_001, password: b"secret".as_slice().into() };
        let mut exporter = Exporter::open(&config, vec![to.parse().unwrap()]).unwrap();
        exporter.correlate(b"ours@x".as_slice().into(), b"the caller's".as_slice().into());
        let bytes = Bytes::from_static(MESSAGE.as_bytes());
        let at = Duration::new(1_700_000_000, 123_456_000);
        exporter.received(at, &Flow::to(transport, 0, from.parse().unwrap()), &bytes);
        assert_eq!(exporter.counters().sent.load(Relaxed), 1);
        let mut packet = [0; 2_048];
        let length = collector.recv(&mut packet).unwrap();
        chunks(&packet[..length])
    }

    #[test]
    fn a_copy_says_where_from_where_to_when_and_of_which_call() {
        let found = exported("192.0.2.1:5060", "198.51.100.7:5070", Transport::Udp);
        let expected: [(u16, &[u8]); 13] = [
            (1, &[2]),
            (2, &[17]),
            (3, &[192, 0, 2, 1]),
            (4, &[198, 51, 100, 7]),
            (7, &5_060_u16.to_be_bytes()),
            (8, &5_070_u16.to_be_bytes()),
            (9, &1_700_000_000_u32.to_be_bytes()),
            (10, &123_456_u32.to_be_bytes()),
            (11, &[1]),
            (12, &2_001_u32.to_be_bytes()),
            (14, b"secret"),
            (17, b"the caller's"),
            (15, MESSAGE.as_bytes()),
        ];
        for ((kind, value), (wanted, content)) in found.iter().zip(&expected) {
            assert_eq!((kind, &value[..]), (wanted, *content));
        }
        assert_eq!(found.len(), 13);
    }

    #[test]
    fn the_call_id_is_the_one_that_is_read_elsewhere() {
        let request = |fields: &str| {
            format!(
                "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP i:5060;branch=z9hG4bK1\r\nSubject: Call-ID: not this\r\n\
                 From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n{fields}CSeq: 2 OPTIONS\r\nMax-Forwards: 70\r\n\r\ni: body\r\n"
            )
        };
        for fields in ["Call-ID: a@b\r\n", "i:a@b\r\n", "CALL-id \t:  a@b \r\n", "I : a:b\r\n", "call-id:x\r\n"] {
            let text = Bytes::from(request(fields));
            let message = sip::message::Message::parse(text.clone(), &sip::limits::Limits::default()).unwrap();
            assert_eq!(call_id_of(&text), message.call_id(), "{fields}");
        }
        for without in ["", "i: a", "\n", "x\r\n\r\ni: body", &request("")] {
            assert_eq!(call_id_of(without.as_bytes()), b"", "{without}");
        }
    }

    #[test]
    fn version_6_and_streams_have_their_own_codes() {
        let found = exported("[2001:db8::1]:5061", "[2001:db8::2]:5061", Transport::Tls);
        let get = |kind| found.iter().find(|(found, _)| *found == kind).map(|(_, value)| value.clone());
        assert_eq!((get(1), get(2)), (Some(vec![10]), Some(vec![6])));
        assert_eq!((get(3), get(5).map(|value| value.len())), (None, Some(16)));
    }

    #[test]
    fn what_cannot_be_sent_is_counted_and_what_is_remembered_has_a_limit() {
        let config = Config { collector: "127.0.0.1:9".parse().unwrap(), agent: 1, password: Box::default() };
        let address: SocketAddr = "127.0.0.1:5060".parse().unwrap();
        let mut exporter = Exporter::open(&config, vec![address]).unwrap();
        let bytes = Bytes::from(vec![b'x'; MAX_MESSAGE + 1]);
        exporter.sent(Duration::ZERO, &Flow::to(Transport::Udp, 0, address), &bytes);
        assert_eq!(exporter.counters().lost.load(Relaxed), 1);
        let mut legs = Legs::default();
        for leg in 0..MAX_LEGS as u32 + 10 {
            legs.note(leg.to_be_bytes().into(), b"caller".as_slice().into());
        }
        assert_eq!((legs.callers.len(), legs.order.len()), (MAX_LEGS, MAX_LEGS));
        assert_eq!(legs.caller_of(&0_u32.to_be_bytes()), 0_u32.to_be_bytes());
    }
}
