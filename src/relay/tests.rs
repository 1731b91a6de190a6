//! The relay with real sockets on loopback. Nothing sleeps: a phone waits for its next packet, a test for its next event.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use media::{Codec, DigitBy, Direction, Hear, LegFormat, Prompt, Remote, Repeat, Side, SourcePolicy, Then};
use mio::{Poll, Token, Waker};
use prometheus::HistogramOpts;

use super::*;
use crate::recording::Writer;

const PATIENCE: Duration = Duration::from_secs(10);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const FORMAT: LegFormat = LegFormat {
    codec: Codec::Pcma,
    payload_type: 8,
    telephone_event: None,
    telephone_event_offered: None,
    ptime_ms: 20,
};

struct Bench {
    relay: Relay,
    poll: Poll,
    bell: Bell,
    recordings: Recordings,
    writer: Writer,
    folder: tempfile::TempDir,
    ports: Vec<u16>,
}

/// Some range of even ports; which of them are free is for the relay to find out.
fn range(pairs: u16) -> (u16, u16) {
    loop {
        let port = UdpSocket::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port() & !1;
        if let Some(last) = port.checked_add(2 * (pairs - 1)).filter(|last| *last < 65_534) {
            return (port, last);
        }
    }
}

impl Bench {
    fn new(workers: usize, pairs: usize, queues: Queues) -> Bench {
        Bench::on(LOOPBACK, workers, pairs, queues)
    }

    fn on(bind: IpAddr, workers: usize, pairs: usize, queues: Queues) -> Bench {
        let clock = Clock::start();
        let poll = Poll::new().unwrap();
        let bell = Bell::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let config =
            crate::recording::Config { dir: folder.path().to_owned(), min: Duration::ZERO, ..Default::default() };
        let (recordings, writer) = Writer::spawn(config, clock).unwrap();
        let histogram = |name: &str| Histogram::with_opts(HistogramOpts::new(name, name)).unwrap();
        let meters = Meters { forward: histogram("forward"), lateness: histogram("lateness") };
        let session = media::session::Config { dead_after: Duration::from_secs(60), ..Default::default() };
        let config = Config { bind, ports: range(200), workers, session };
        let mut relay = Relay::spawn_with(queues, &config, clock, &recordings, &bell, &meters).unwrap();
        let mut ports = Vec::new();
        relay.bind_ports(pairs, |port| ports.push(port));
        assert_eq!(ports.len(), pairs);
        Bench { relay, poll, bell, recordings, writer, folder, ports }
    }

    fn event(&mut self) -> (SessionId, Event) {
        let mut events = mio::Events::with_capacity(4);
        loop {
            self.bell.answer();
            if let Some(event) = self.relay.poll_event() {
                return event;
            }
            self.relay.flush(Duration::MAX);
            self.poll.poll(&mut events, Some(PATIENCE)).unwrap();
            assert!(!events.is_empty(), "no event within ten seconds");
        }
    }

    /// A call between two phones on the bench's pairs `a` and `b`, joined.
    fn call(&mut self, id: u64, pairs: [usize; 2]) -> (SessionId, [Phone; 2]) {
        let session = SessionId(id);
        let ports = pairs.map(|pair| self.ports[pair]);
        self.relay.open(session, ports, id);
        let phones = ports.map(Phone::new);
        for side in Side::BOTH {
            self.settle(session, side, phones[side.index()].address());
            self.relay.command(session, Command::Hear { side, hear: Hear::Peer });
        }
        self.taken();
        (session, phones)
    }

    /// Waits until every order has been taken: no packet is read before the last of them has been carried out.
    fn taken(&mut self) {
        self.relay.flush(Duration::MAX);
        self.until(|_| self.relay.queued().0 == 0);
    }

    fn settle(&mut self, session: SessionId, side: Side, rtp: SocketAddr) {
        self.settle_as(session, side, remote(rtp));
    }

    fn settle_as(&mut self, session: SessionId, side: Side, remote: Remote) {
        self.relay.command(session, Command::SetRemote { side, remote });
    }

    fn close(&mut self, session: SessionId) -> media::Totals {
        self.relay.command(session, Command::Close);
        loop {
            match self.event() {
                (id, Event::Closed(totals)) if id == session => return *totals,
                (_, Event::Dead) => panic!("dead media"),
                (
                    _,
                    Event::PromptEnded { .. }
                    | Event::Digit { .. }
                    | Event::Pressed { .. }
                    | Event::Released { .. }
                    | Event::Closed(_),
                ) => {}
            }
        }
    }

    fn totals(&self) -> Totals {
        Totals::of(self.relay.lines.iter().map(|line| &*line.counters))
    }

    /// Waits until a count has been reached.
    fn until(&self, what: impl Fn(&Totals) -> bool) {
        let clock = Clock::start();
        while !what(&self.totals()) {
            assert!(clock.now() < PATIENCE, "never reached: {:?}", self.totals());
            std::thread::yield_now();
        }
    }
}

fn remote(rtp: SocketAddr) -> Remote {
    Remote {
        rtp,
        rtcp: SocketAddr::new(LOOPBACK, 9),
        format: FORMAT,
        direction: Direction { send: true, receive: true },
        source: SourcePolicy::Learn,
    }
}

/// A party: sends and receives RTP.
struct Phone {
    socket: UdpSocket,
    to: SocketAddr,
    sequence: u16,
}

impl Phone {
    fn new(port: u16) -> Phone {
        Phone::on(LOOPBACK, port)
    }

    fn on(address: IpAddr, port: u16) -> Phone {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Phone { socket, to: SocketAddr::new(address, port), sequence: 0 }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Says 20 ms of one sample.
    fn say(&mut self, sample: u8) {
        self.send(8, u32::from(self.sequence) * 160, &[sample; 160]);
    }

    fn send(&mut self, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let mut packet = [&[0; 12], payload].concat();
        let ssrc = u32::from(self.address().port());
        packet[0] = 0x80;
        packet[1] = payload_type;
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        self.sequence += 1;
        self.socket.send_to(&packet, self.to).unwrap();
    }

    /// The sample of the next packet.
    fn hear(&self) -> u8 {
        let mut packet = [0; 400];
        let (length, source) = self.socket.recv_from(&mut packet).expect("something is to be heard");
        assert_eq!((length, source, packet[1] & 0x7f), (172, self.to, 8));
        assert!(packet[12..172].iter().all(|sample| *sample == packet[12]));
        packet[12]
    }
}

/// Enough packets, each heard, to lock both latches.
fn talk([a, b]: &mut [Phone; 2]) {
    for _ in 0..5 {
        a.say(1);
        assert_eq!(b.hear(), 1);
        b.say(2);
        assert_eq!(a.hear(), 2);
    }
}

#[test]
fn both_hear_each_other_and_the_totals_say_so() {
    let mut bench = Bench::new(1, 2, QUEUES);
    let (session, mut phones) = bench.call(7, [0, 1]);
    talk(&mut phones);
    let totals = bench.close(session);
    assert_eq!(totals.legs.map(|leg| (leg.received, leg.sent, leg.lost)), [(5, 5, 0), (5, 5, 0)]);
    let counted = bench.totals();
    assert_eq!((counted.received, counted.forwarded, counted.sessions), (10, 10, 0));
}

#[test]
fn what_comes_to_a_port_without_a_call_is_read_and_dropped() {
    let bench = Bench::new(1, 1, QUEUES);
    let mut phone = Phone::new(bench.ports[0]);
    for _ in 0..3 {
        phone.say(9);
    }
    phone.to.set_port(phone.to.port() + 1);
    phone.say(9);
    bench.until(|totals| totals.stray == 4);
}

#[test]
fn a_stranger_is_not_heard_once_the_party_is_known() {
    let mut bench = Bench::new(1, 2, QUEUES);
    let (_session, mut phones) = bench.call(7, [0, 1]);
    talk(&mut phones);
    let mut stranger = Phone::new(bench.ports[0]);
    for _ in 0..10 {
        stranger.say(99);
    }
    talk(&mut phones);
    assert_eq!(bench.totals().received, 20, "the kernel should have refused the stranger's packets");
}

#[test]
fn a_new_address_in_the_sdp_is_heard_and_spoken_to() {
    let mut bench = Bench::new(1, 2, QUEUES);
    let (session, [a, b]) = bench.call(7, [0, 1]);
    let mut phones = [a, b];
    talk(&mut phones);
    let [_old, b] = phones;
    let moved = Phone::new(bench.ports[0]);
    bench.settle(session, Side::A, moved.address());
    bench.taken();
    let mut phones = [moved, b];
    talk(&mut phones);
    bench.close(session);
}

#[test]
fn a_port_serves_the_next_call_with_other_parties() {
    let mut bench = Bench::new(1, 2, QUEUES);
    for id in 1..=3 {
        let (session, mut phones) = bench.call(id, [0, 1]);
        talk(&mut phones);
        assert_eq!(bench.close(session).legs.map(|leg| leg.received), [5, 5]);
    }
}

#[test]
fn a_call_on_the_ports_of_two_workers_is_handled_by_one() {
    let mut bench = Bench::new(2, 4, QUEUES);
    assert_eq!(bench.relay.owners.iter().filter(|owner| **owner == 1).count(), 2);
    for (id, pairs) in [(1, [0, 1]), (2, [3, 2]), (3, [1, 3]), (4, [2, 0])] {
        let (session, mut phones) = bench.call(id, pairs);
        talk(&mut phones);
        bench.close(session);
    }
    assert_eq!(bench.totals().forwarded, 40);
}

#[test]
fn ports_that_others_have_are_left_out_and_the_range_is_never_left() {
    let mut bench = Bench::new(1, 1, QUEUES);
    let (first, last) = (bench.relay.ports.port(0), bench.relay.ports.port(199));
    // Somebody else takes an RTCP port in the middle.
    let taken = (bench.ports[0] + 2..last)
        .step_by(2)
        .find_map(|port| UdpSocket::bind((LOOPBACK, port + 1)).ok().map(|socket| (port, socket)));
    let (taken, socket) = taken.unwrap();
    let mut bound = Vec::new();
    bench.relay.bind_ports(usize::MAX, |port| bound.push(port));
    assert!(!bound.contains(&taken) && !bound.contains(&bench.ports[0]));
    assert!(bound.iter().all(|port| port % 2 == 0 && (first..=last).contains(port)));
    assert_eq!(bench.relay.bound(), bound.len() + 1);
    drop(socket);
    let mut later = Vec::new();
    bench.relay.bind_ports(usize::MAX, |port| later.push(port));
    assert!(later.contains(&taken), "a port that has become free is tried again");
}

#[test]
fn a_prompt_is_heard_to_its_end() {
    let mut bench = Bench::new(1, 2, QUEUES);
    let (session, phones) = bench.call(7, [0, 1]);
    let prompt = Arc::new(Prompt { name: "beep.wav".into(), alaw: vec![0x55; 5 * 160].into() });
    let hear = Hear::Prompt { prompt, repeat: Repeat::Once, then: Then::Nothing };
    bench.relay.command(session, Command::Hear { side: Side::B, hear });
    for _ in 0..5 {
        assert_eq!(phones[1].hear(), 0x55);
    }
    match bench.event() {
        (id, Event::PromptEnded { side, .. }) => assert_eq!((id, side), (session, Side::B)),
        (_, event) => panic!("{event:?}"),
    }
    bench.close(session);
}

#[test]
fn a_recording_is_whole_when_the_relay_ends() {
    let mut bench = Bench::new(1, 2, QUEUES);
    let (session, mut phones) = bench.call(7, [0, 1]);
    bench.relay.command(session, Command::Record { name: "20261123-7.wav".into() });
    talk(&mut phones);
    let Bench { relay, writer, recordings, folder, .. } = bench;
    drop(relay);
    writer.finish();
    let counters = recordings.counters();
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((get(&counters.started), get(&counters.finished)), (1, 1));
    let file = folder.path().join("20261123").join("20261123-7.wav");
    let wav = std::fs::read(file).unwrap();
    assert!(wav.len() > 58 && wav.starts_with(b"RIFF"));
}

#[test]
fn a_session_that_never_was_is_closed_all_the_same() {
    let mut bench = Bench::new(1, 1, QUEUES);
    bench.relay.open(SessionId(1), [bench.ports[0], 1], 0);
    assert_eq!(bench.close(SessionId(1)), media::Totals::default());
    assert_eq!(bench.close(SessionId(2)), media::Totals::default());
}

#[test]
fn no_event_is_lost_when_the_signalling_thread_is_slow() {
    let mut bench = Bench::new(1, 40, Queues { orders: 4, events: 1 });
    for id in 0..20 {
        let pair = id as usize * 2;
        bench.relay.open(SessionId(id), [bench.ports[pair], bench.ports[pair + 1]], id);
    }
    for id in 0..40 {
        bench.relay.command(SessionId(id), Command::Close); // half of them never were
    }
    let mut closed: Vec<_> = (0..40)
        .map(|_| match bench.event() {
            (session, Event::Closed(_)) => session.0,
            (_, event) => panic!("{event:?}"),
        })
        .collect();
    closed.sort_unstable();
    assert_eq!(closed, (0..40).collect::<Vec<_>>());
    assert!(bench.totals().stalled > 0 && bench.totals().sessions == 0);
}

#[test]
fn a_fault_ends_its_own_session_only() {
    let mut bench = Bench::new(1, 4, QUEUES);
    let (sick, _) = bench.call(1, [0, 1]);
    let (well, mut phones) = bench.call(2, [2, 3]);
    bench.relay.lines[0].order(Order::Fault { session: sick }, true);
    assert_eq!(bench.event(), (sick, Event::Dead));
    talk(&mut phones);
    assert_eq!(bench.close(sick), media::Totals::default());
    bench.close(well);
    assert_eq!(bench.totals().faults, 1);
    let (again, mut phones) = bench.call(3, [0, 1]);
    talk(&mut phones);
    bench.close(again);
}

#[test]
fn a_party_whose_port_refuses_harms_nobody() {
    let mut bench = Bench::new(1, 4, QUEUES);
    let (session, mut phones) = bench.call(1, [0, 1]);
    let (other, mut others) = bench.call(2, [2, 3]);
    talk(&mut phones);
    let [a, b] = &mut phones;
    let x = b.to;
    // B's socket keeps its port and takes nothing from X: each packet to it is answered with ICMP "port unreachable".
    b.socket.connect((LOOPBACK, 9)).unwrap();
    for _ in 0..20 {
        a.say(3);
        a.say(4);
        talk(&mut others);
        // What B says is heard, though its socket at X has an error waiting.
        b.say(5);
        assert_eq!(a.hear(), 5);
    }
    b.socket.connect(x).unwrap();
    talk(&mut phones);
    assert_eq!(bench.close(session).legs.map(|leg| leg.received), [50, 30]);
    assert_eq!(bench.close(other).legs.map(|leg| leg.received), [100, 100]);
    assert_eq!(bench.totals().faults, 0);
}

#[test]
fn a_destination_without_a_route_harms_nobody() {
    let mut bench = Bench::new(1, 2, QUEUES);
    let (session, mut phones) = bench.call(7, [0, 1]);
    // The loopback address of the relay's sockets leads nowhere else.
    bench.settle(session, Side::A, "192.0.2.1:4000".parse().unwrap());
    bench.taken();
    for _ in 0..5 {
        phones[1].say(2);
    }
    bench.until(|totals| totals.send_failed == 5);
    // A is learnt from what it sends, and hears again.
    for _ in 0..3 {
        phones[0].say(1);
        assert_eq!(phones[1].hear(), 1);
    }
    talk(&mut phones);
    assert_eq!(bench.close(session).legs.map(|leg| leg.received), [8, 10]);
}

#[test]
fn digits_are_heard_and_sent_on_the_wire() {
    let mut bench = Bench::new(1, 2, QUEUES);
    let (session, mut phones) = bench.call(7, [0, 1]);
    let format = LegFormat { telephone_event: Some(101), ..FORMAT };
    bench.settle_as(session, Side::A, Remote { format, ..remote(phones[0].address()) });
    bench.taken();
    phones[0].send(101, 8000, &[7, 0x0a, 0, 160]);
    for _ in 0..3 {
        phones[0].send(101, 8000, &[7, 0x8a, 1, 64]);
    }
    // The three ends are three packets, and one digit.
    let digit = media::Digit::from_char('7').unwrap();
    assert_eq!(bench.event(), (session, Event::Digit { side: Side::A, digit, ms: 40 }));
    bench.relay.command(session, Command::Digit { side: Side::A, digit, ms: 40 });
    bench.relay.flush(Duration::MAX);
    for (end, duration) in [(0, 160_u16), (0x80, 320), (0x80, 320), (0x80, 320)] {
        let mut packet = [0; 400];
        let (length, _) = phones[0].socket.recv_from(&mut packet).expect("an event");
        let [high, low] = duration.to_be_bytes();
        assert_eq!((packet[1] & 0x7f, &packet[12..length]), (101, &[7, 0x0a | end, high, low][..]));
    }
    talk(&mut phones);
    let [a, _] = bench.close(session).legs;
    assert_eq!((a.digits_sent, a.digits_refused), (1, 0));
}

#[test]
fn digits_are_collected_from_the_first_packet_of_the_prompt_on() {
    let mut bench = Bench::new(1, 2, QUEUES);
    let session = SessionId(7);
    let ports = [bench.ports[0], bench.ports[1]];
    bench.relay.open(session, ports, 7);
    let mut phone = Phone::new(ports[0]);
    let format = LegFormat { telephone_event: Some(101), ..FORMAT };
    let prompt = Arc::new(Prompt { name: Arc::from("enter_extension.wav"), alaw: vec![0x2a; 800].into() });
    let hear = Hear::Prompt { prompt, repeat: Repeat::Loop, then: Then::Nothing };
    // One batch, as the call orders it when X answers.
    bench.settle_as(session, Side::A, Remote { format, ..remote(phone.address()) });
    bench.relay.command(session, Command::Collect { side: Side::A, on: true });
    bench.relay.command(session, Command::Hear { side: Side::A, hear });
    bench.relay.flush(Duration::ZERO);
    assert_eq!(phone.hear(), 0x2a);
    let digit = media::Digit::from_char('7').unwrap();
    let pressed = |by| (session, Event::Pressed { side: Side::A, digit, by });
    let released = |by| (session, Event::Released { side: Side::A, by });
    phone.send(101, 8000, &[7, 0x0a, 0, 160]);
    assert_eq!(bench.event(), pressed(DigitBy::Event));
    phone.send(101, 8000, &[7, 0x8a, 1, 64]);
    assert_eq!(bench.event(), released(DigitBy::Event));
    // 60 ms of 852 and 1209 Hz, then silence.
    let sample = |number: u32| {
        let turns = |frequency: f64| (f64::from(number) * frequency / 8000.0 * std::f64::consts::TAU).sin();
        media::g711::linear_to_alaw(((turns(852.0) + turns(1209.0)) * 8000.0) as i16)
    };
    for packet in 0..3 {
        let audio: Vec<u8> = (packet * 160..(packet + 1) * 160).map(sample).collect();
        phone.send(8, 9000 + packet * 160, &audio);
    }
    assert_eq!(bench.event(), pressed(DigitBy::Tone));
    for packet in 3..6 {
        phone.send(8, 9000 + packet * 160, &[media::g711::SILENCE_ALAW; 160]);
    }
    assert_eq!(bench.event(), released(DigitBy::Tone));
    let [a, _] = bench.close(session).legs;
    assert_eq!((a.received, a.digits_refused), (8, 0));
}

#[test]
fn ipv6_is_relayed_on_both_legs_with_rtcp() {
    const LOOPBACK: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let control = || {
        let socket = UdpSocket::bind((LOOPBACK, 0)).expect("this machine has no ::1; switch IPv6 on, at least for lo");
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let controls = [control(), control()];
    let mut bench = Bench::on(LOOPBACK, 2, 2, QUEUES);
    let session = SessionId(6);
    let ports = [bench.ports[0], bench.ports[1]];
    bench.relay.open(session, ports, 6);
    let mut phones = ports.map(|port| Phone::on(LOOPBACK, port));
    for (side, source) in [(Side::A, SourcePolicy::Signalled), (Side::B, SourcePolicy::Learn)] {
        let rtcp = controls[side.index()].local_addr().unwrap();
        let rtp = phones[side.index()].address();
        bench.settle_as(session, side, Remote { rtcp, source, ..remote(rtp) });
        bench.relay.command(session, Command::Hear { side, hear: Hear::Peer });
    }
    bench.taken();
    talk(&mut phones);
    // An empty receiver report each way; X's own come within four seconds, from the port above that of RTP.
    for (control, port) in controls.iter().zip(ports) {
        control.send_to(&[0x80, 201, 0, 1, 0, 0, 0, 1], (LOOPBACK, port + 1)).unwrap();
    }
    bench.until(|totals| totals.control == 2);
    for (control, port) in controls.iter().zip(ports) {
        let mut report = [0; 200];
        let (length, source) = control.recv_from(&mut report).expect("a report");
        assert_eq!((source, report[1]), (SocketAddr::new(LOOPBACK, port + 1), 200), "a sender report");
        assert!(media::rtcp::parse(&report[..length], 0).is_ok());
    }
    talk(&mut phones);
    let totals = bench.close(session);
    assert_eq!(totals.legs.map(|leg| (leg.received, leg.sent, leg.refused)), [(10, 10, 0), (10, 10, 0)]);
}
