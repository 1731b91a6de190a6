//! The four transaction machines against the tables of RFC 3261 §17 and RFC 6026, in simulated time.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sip::limits::Limits;
use sip::message::{HeaderName, Message, Method, write};
use sip::transaction::{ClientId, Event, Flow, Layer, Refusal, ServerId, Timers, Transmit, Transport};

const PEER: &str = "198.51.100.7:5062";

fn flow(transport: Transport) -> Flow {
    let connection = u64::from(transport.is_reliable()) * 9;
    Flow { connection, ..Flow::to(transport, 0, PEER.parse().unwrap()) }
}

fn parse(text: impl AsRef<[u8]>) -> Message {
    let text = text.as_ref();
    Message::parse(Bytes::copy_from_slice(text), &Limits::default())
        .unwrap_or_else(|rejected| panic!("{:?}: {}", rejected.error, text.escape_ascii()))
}

/// Milliseconds.
fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A layer, its clock, and what happened when.
struct World {
    layer: Layer<u32>,
    now: Duration,
    sent: Vec<(u64, Transmit)>,
    happened: Vec<(u64, String)>,
    last_server: Option<ServerId>,
    last_message: Option<Message>,
}

impl World {
    fn new() -> World {
        World::with_limit(1000)
    }

    fn with_limit(limit: usize) -> World {
        let layer = Layer::new(Timers::default(), vec!["203.0.113.9:5060".into(), "203.0.113.9:5070".into()], limit, 7);
        let now = Duration::from_secs(100);
        World { layer, now, sent: Vec::new(), happened: Vec::new(), last_server: None, last_message: None }
    }

    /// Milliseconds since the beginning.
    fn clock(&self) -> u64 {
        (self.now - Duration::from_secs(100)).as_millis() as u64
    }

    fn note(&mut self, event: Event<u32>) {
        let clock = self.clock();
        let text = match event {
            Event::Request { id, message, .. } => {
                self.last_server = Some(id);
                let text = format!("request {}", message.method_bytes().escape_ascii());
                self.last_message = Some(message);
                text
            }
            Event::Cancel { id, invite, message, .. } => {
                self.last_server = Some(id);
                self.last_message = Some(message);
                match invite {
                    Some(invite) => format!("cancel owner {:?} pending {}", invite.owner, invite.is_pending),
                    None => "cancel nothing".into(),
                }
            }
            Event::Ack { message, .. } => format!("ack {}", message.cseq().number),
            Event::Response { owner, message, .. } => {
                let text = format!("response {} to {}", message.status(), owner);
                self.last_message = Some(message);
                text
            }
            Event::Timeout { owner, method, .. } => format!("timeout {} of {owner}", method.as_str()),
            Event::Undelivered { owner, method, .. } => format!("undelivered {} of {owner}", method.as_str()),
            Event::Refused { refusal, .. } => format!("refused {refusal:?}"),
        };
        self.happened.push((clock, text));
    }

    fn collect(&mut self) {
        while let Some(transmit) = self.layer.poll_transmit() {
            self.sent.push((self.clock(), transmit));
        }
    }

    /// Lets time pass to `millis`, stopping at every deadline.
    fn advance(&mut self, millis: u64) {
        let end = Duration::from_secs(100) + ms(millis);
        assert!(end >= self.now);
        while let Some(at) = self.layer.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            while let Some(event) = self.layer.handle_timeout(self.now) {
                self.note(event);
            }
            self.collect();
        }
        self.now = end;
    }

    fn receive_from(&mut self, flow: Flow, text: impl AsRef<[u8]>) {
        if let Some(event) = self.layer.handle_message(self.now, flow, parse(text)) {
            self.note(event);
        }
        self.collect();
    }

    fn receive(&mut self, transport: Transport, text: impl AsRef<[u8]>) {
        self.receive_from(flow(transport), text);
    }

    /// Sends a request of owner 7 with a Route.
    fn request(&mut self, transport: Transport, method: Method) -> ClientId {
        let id = self.layer.send_request(self.now, flow(transport), method, 7, |out, via| {
            write::request(out, method.as_str(), b"sip:b@198.51.100.7");
            write::header(out, "Via", via);
            write::header(out, "Max-Forwards", b"70");
            write::header(out, "Route", b"<sip:p.example.net;lr>");
            write::header(out, "From", b"<sip:x@203.0.113.9>;tag=ours");
            write::header(out, "To", b"<sip:b@198.51.100.7>");
            write::header(out, "Call-ID", b"call");
            write::header(out, "CSeq", format!("5 {}", method.as_str()).as_bytes());
            write::finish(out, None, b"");
            5
        });
        self.collect();
        id
    }

    /// The peer's response to a message that was sent.
    fn respond(&mut self, transport: Transport, status: u16, to: &Message) {
        let text = response(to, status);
        self.receive(transport, text);
    }

    fn answer(&mut self, status: u16) {
        let id = self.last_server.expect("a request came before");
        self.answer_in(id, status);
    }

    fn answer_in(&mut self, id: ServerId, status: u16) {
        self.layer.respond(self.now, id, status, Bytes::from(format!("SIP/2.0 {status} x\r\n\r\n")));
        self.collect();
    }

    /// What has been sent since the last time, as `time first-line-word`.
    fn take_sent(&mut self) -> Vec<(u64, String)> {
        let sent = std::mem::take(&mut self.sent);
        sent.iter().map(|(at, transmit)| (*at, start(&transmit.bytes))).collect()
    }

    fn take_happened(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.happened)
    }

    fn last_sent(&self) -> Message {
        parse(&self.sent.last().expect("something was sent").1.bytes)
    }

    /// Everything is over: nothing is left behind.
    fn assert_gone(&mut self) {
        assert_eq!(self.layer.len(), (0, 0));
        assert!(self.layer.is_empty());
    }
}

/// `INVITE`, or the status of a response.
fn start(bytes: &[u8]) -> String {
    let line = String::from_utf8_lossy(bytes);
    let mut words = line.split(' ');
    match words.next() {
        Some("SIP/2.0") => words.next().unwrap_or_default().to_owned(),
        word => word.unwrap_or_default().to_owned(),
    }
}

fn response(request: &Message, status: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let tag: &[u8] = if status == 100 { b"" } else { b"theirs" };
    write::response_to(&mut out, request, status, write::reason_phrase(status), tag, None);
    write::finish(&mut out, None, b"");
    out
}

fn at(times: &[u64], what: &str) -> Vec<(u64, String)> {
    times.iter().map(|time| (*time, what.to_owned())).collect()
}

fn none() -> Vec<(u64, String)> {
    Vec::new()
}

use Transport::{Tcp, Tls, Udp};

// ---- INVITE client (§17.1.1, RFC 6026 §7.2) -------------------------------------------------------------------------

#[test]
fn timer_a_doubles_and_timer_b_ends_an_unanswered_invite() {
    let mut world = World::new();
    world.request(Udp, Method::Invite);
    world.advance(100_000);
    assert_eq!(world.take_sent(), at(&[0, 500, 1_500, 3_500, 7_500, 15_500, 31_500], "INVITE"));
    assert_eq!(world.take_happened(), at(&[32_000], "timeout INVITE of 7"));
    world.assert_gone();
}

#[test]
fn a_reliable_transport_sends_an_invite_once() {
    let mut world = World::new();
    world.request(Tcp, Method::Invite);
    world.advance(100_000);
    assert_eq!(world.take_sent(), at(&[0], "INVITE"));
    assert_eq!(world.take_happened(), at(&[32_000], "timeout INVITE of 7"));
    world.assert_gone();
}

#[test]
fn a_phone_may_ring_for_longer_than_timer_b() {
    for transport in [Udp, Tcp] {
        let mut world = World::new();
        world.request(transport, Method::Invite);
        let invite = world.last_sent();
        world.advance(200);
        world.respond(transport, 100, &invite);
        world.advance(300);
        world.respond(transport, 180, &invite);
        world.advance(600_000);
        world.respond(transport, 180, &invite);
        assert_eq!(world.take_sent(), at(&[0], "INVITE"), "neither timer A nor B lives in Proceeding");
        let expected = [(200, "response 100 to 7"), (300, "response 180 to 7"), (600_000, "response 180 to 7")];
        assert_eq!(world.take_happened(), expected.map(|(time, text)| (time, text.to_owned())));
        world.respond(transport, 200, &invite);
        assert_eq!(world.layer.len(), (1, 0));
    }
}

#[test]
fn every_2xx_reaches_the_user_until_timer_m() {
    for transport in [Udp, Tcp] {
        let mut world = World::new();
        world.request(transport, Method::Invite);
        let invite = world.last_sent();
        world.take_sent();
        world.advance(400);
        for time in [400, 900, 32_399] {
            world.advance(time);
            world.respond(transport, 200, &invite);
        }
        // RFC 6026 §7.2: nothing else is for the user now.
        world.respond(transport, 486, &invite);
        world.respond(transport, 180, &invite);
        assert_eq!(world.take_happened(), at(&[400, 900, 32_399], "response 200 to 7"));
        assert_eq!(world.layer.len(), (1, 0));
        world.advance(32_400);
        world.assert_gone();
        world.respond(transport, 200, &invite);
        assert_eq!((world.take_happened(), world.take_sent()), (none(), none()), "the ACK to a 2xx is the user's");
    }
}

#[test]
fn a_refusal_is_acknowledged_each_time_it_comes() {
    for provisional_first in [true, false] {
        let mut world = World::new();
        world.request(Udp, Method::Invite);
        let invite = world.last_sent();
        world.take_sent();
        world.advance(100);
        if provisional_first {
            world.respond(Udp, 180, &invite);
            world.take_happened();
        }
        world.respond(Udp, 486, &invite);
        let ack = world.last_sent();
        assert_eq!((ack.method(), ack.request_uri()), (Method::Ack, invite.request_uri()));
        assert_eq!(ack.top_via(), invite.top_via());
        assert_eq!(ack.to_tag(), b"theirs", "the To of the response");
        for name in [HeaderName::From, HeaderName::CallId, HeaderName::Route] {
            assert_eq!(ack.header(name), invite.header(name));
        }
        assert_eq!((ack.cseq().number, ack.cseq().method), (5, Method::Ack));
        world.advance(20_000);
        world.respond(Udp, 486, &invite);
        world.respond(Udp, 180, &invite);
        world.respond(Udp, 200, &invite);
        assert_eq!(world.take_sent(), at(&[100, 20_000], "ACK"));
        assert_eq!(world.take_happened(), at(&[100], "response 486 to 7"));
        world.advance(32_099);
        assert_eq!(world.layer.len(), (1, 0), "timer D");
        world.advance(32_100);
        world.assert_gone();
    }
}

#[test]
fn timer_d_is_zero_on_a_reliable_transport() {
    let mut world = World::new();
    world.request(Tcp, Method::Invite);
    let invite = world.last_sent();
    world.advance(100);
    world.respond(Tcp, 503, &invite);
    assert_eq!(world.take_sent().last(), Some(&(100, "ACK".to_owned())));
    world.advance(100);
    world.assert_gone();
}

#[test]
fn a_cancel_waits_for_the_first_provisional_response() {
    let mut world = World::new();
    let id = world.request(Udp, Method::Invite);
    let invite = world.last_sent();
    world.advance(100);
    world.layer.cancel(world.now, id, b"SIP;cause=200");
    world.layer.cancel(world.now, id, b"SIP;cause=200");
    world.advance(600);
    assert_eq!(world.take_sent(), at(&[0, 500], "INVITE"), "the INVITE goes on being sent");
    world.respond(Udp, 100, &invite);
    let cancel = world.last_sent();
    assert_eq!((cancel.method(), cancel.request_uri()), (Method::Cancel, invite.request_uri()));
    assert_eq!(cancel.top_via(), invite.top_via());
    for name in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::Route] {
        assert_eq!(cancel.header(name), invite.header(name));
    }
    assert_eq!((cancel.cseq().number, cancel.cseq().method), (5, Method::Cancel));
    assert_eq!(cancel.header(HeaderName::Reason), Some(&b"SIP;cause=200"[..]));
    // Timer E for the CANCEL, and 64·T1 until the INVITE is given up.
    world.take_happened();
    world.advance(100_000);
    let sent = [600, 1_100, 2_100, 4_100, 8_100, 12_100, 16_100, 20_100, 24_100, 28_100, 32_100];
    assert_eq!(world.take_sent(), at(&sent, "CANCEL"));
    assert_eq!(world.take_happened(), at(&[32_600], "timeout INVITE of 7"));
    world.assert_gone();
}

#[test]
fn a_cancel_that_is_answered_is_not_sent_again() {
    let mut world = World::new();
    let id = world.request(Udp, Method::Invite);
    let invite = world.last_sent();
    world.respond(Udp, 180, &invite);
    world.advance(1_000);
    world.take_sent();
    world.layer.cancel(world.now, id, b"");
    world.layer.cancel(world.now, id, b"");
    world.collect();
    let cancel = world.last_sent();
    world.advance(1_200);
    world.respond(Udp, 200, &cancel);
    world.advance(10_000);
    assert_eq!(world.take_sent(), at(&[1_000], "CANCEL"));
    world.take_happened();
    world.respond(Udp, 487, &invite);
    assert_eq!(world.take_happened(), at(&[10_000], "response 487 to 7"));
    assert_eq!(world.take_sent(), at(&[10_000], "ACK"));
    world.advance(42_000);
    world.assert_gone();
}

#[test]
fn an_answered_cancel_without_a_487_ends_the_invite_all_the_same() {
    for transport in [Udp, Tcp] {
        let mut world = World::new();
        let id = world.request(transport, Method::Invite);
        let invite = world.last_sent();
        world.respond(transport, 180, &invite);
        world.layer.cancel(world.now, id, b"");
        world.collect();
        let cancel = world.last_sent();
        world.advance(100);
        world.respond(transport, 200, &cancel);
        world.take_happened();
        world.take_sent();
        world.advance(100_000);
        assert_eq!(world.take_sent(), none());
        assert_eq!(world.take_happened(), at(&[32_000], "timeout INVITE of 7"));
        world.assert_gone();
    }
}

#[test]
fn an_invite_with_a_final_response_is_not_cancelled() {
    for status in [200, 486] {
        let mut world = World::new();
        let id = world.request(Udp, Method::Invite);
        let invite = world.last_sent();
        // Asked for before any response: the final one comes first.
        world.layer.cancel(world.now, id, b"");
        world.respond(Udp, status, &invite);
        world.layer.cancel(world.now, id, b"");
        world.advance(100_000);
        assert!(!world.take_sent().iter().any(|(_, start)| start == "CANCEL"));
        world.assert_gone();
    }
}

#[test]
fn the_200_that_crosses_a_cancel_reaches_the_user() {
    let mut world = World::new();
    let id = world.request(Udp, Method::Invite);
    let invite = world.last_sent();
    world.respond(Udp, 180, &invite);
    world.layer.cancel(world.now, id, b"");
    world.collect();
    world.take_happened();
    world.respond(Udp, 200, &invite);
    world.take_sent();
    world.advance(31_000);
    assert_eq!(world.take_happened(), at(&[0], "response 200 to 7"));
    assert_eq!(world.take_sent(), none(), "timer E died with Proceeding");
}

// ---- non-INVITE client (§17.1.2) ------------------------------------------------------------------------------------

#[test]
fn timer_e_doubles_up_to_t2_and_timer_f_ends_the_request() {
    let mut world = World::new();
    world.request(Udp, Method::Bye);
    world.advance(100_000);
    let times = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(world.take_sent(), at(&times, "BYE"));
    assert_eq!(world.take_happened(), at(&[32_000], "timeout BYE of 7"));
    world.assert_gone();
}

#[test]
fn a_provisional_response_slows_timer_e_down_to_t2() {
    let mut world = World::new();
    world.request(Udp, Method::Bye);
    let bye = world.last_sent();
    world.advance(1_000);
    world.respond(Udp, 100, &bye);
    world.advance(100_000);
    assert_eq!(world.take_sent(), at(&[0, 500, 1_500, 5_500, 9_500, 13_500, 17_500, 21_500, 25_500, 29_500], "BYE"));
    let expected = [(1_000, "response 100 to 7".to_owned()), (32_000, "timeout BYE of 7".to_owned())];
    assert_eq!(world.take_happened(), expected);
    world.assert_gone();
}

#[test]
fn timer_k_absorbs_repeated_finals_over_udp_only() {
    let mut world = World::new();
    world.request(Udp, Method::Options);
    let options = world.last_sent();
    world.advance(300);
    world.respond(Udp, 200, &options);
    world.advance(5_299);
    world.respond(Udp, 200, &options);
    world.respond(Udp, 500, &options);
    assert_eq!(world.take_happened(), at(&[300], "response 200 to 7"));
    assert_eq!(world.layer.len(), (1, 0));
    world.advance(5_300);
    assert_eq!(world.take_sent(), at(&[0], "OPTIONS"));
    world.assert_gone();

    let mut world = World::new();
    world.request(Tcp, Method::Options);
    let options = world.last_sent();
    world.respond(Tcp, 404, &options);
    world.advance(0);
    assert_eq!(world.take_happened(), at(&[0], "response 404 to 7"));
    world.assert_gone();

    let mut world = World::new();
    world.request(Tcp, Method::Options);
    world.advance(100_000);
    assert_eq!(world.take_sent(), at(&[0], "OPTIONS"));
    assert_eq!(world.take_happened(), at(&[32_000], "timeout OPTIONS of 7"));
}

// ---- responses that are not for us ----------------------------------------------------------------------------------

#[test]
fn nobody_off_the_path_can_answer_for_a_peer() {
    let mut world = World::new();
    world.request(Udp, Method::Invite);
    let invite = world.last_sent();
    let branch = String::from_utf8(invite.top_via().branch.to_vec()).unwrap();
    assert!(branch.starts_with("z9hG4bK") && branch.len() >= 7 + 16);
    let good = String::from_utf8(response(&invite, 200)).unwrap();
    let last = branch.len() - 1;
    let flipped = |place: usize| {
        let mut bytes = branch.clone().into_bytes();
        bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
        good.replace(&branch, std::str::from_utf8(&bytes).unwrap())
    };
    for place in 7..branch.len() {
        world.receive(Udp, flipped(place));
    }
    world.receive(Udp, good.replace(&branch, &branch[..last]));
    world.receive(Udp, good.replace(&branch, &format!("{branch}0")));
    world.receive(Udp, good.replace(&branch, &branch.to_uppercase()));
    world.receive(Udp, good.replace(&format!(";branch={branch}"), ""));
    // §8.1.3.3: more than one Via; §17.1.3: the CSeq's method.
    world.receive(Udp, good.replace("From:", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKx\r\nFrom:"));
    world.receive(Udp, good.replace("5 INVITE", "5 BYE"));
    assert_eq!(world.take_happened(), none());
    world.receive(Udp, good);
    assert_eq!(world.take_happened(), at(&[0], "response 200 to 7"));
}

#[test]
fn a_late_response_does_not_reach_the_transaction_that_took_the_place() {
    let mut world = World::new();
    world.request(Tcp, Method::Options);
    let first = world.last_sent();
    world.respond(Tcp, 200, &first);
    world.advance(0);
    world.assert_gone();
    world.request(Tcp, Method::Options);
    world.take_happened();
    world.respond(Tcp, 404, &first);
    assert_eq!(world.take_happened(), none());
}

// ---- INVITE server (§17.2.1, RFC 6026 §7.1) -------------------------------------------------------------------------

/// A request of the peer.
fn incoming(method: &str, via: &str) -> String {
    format!(
        "{method} sip:x@203.0.113.9 SIP/2.0\r\nVia: SIP/2.0/{via}\r\nFrom: <sip:a@198.51.100.7>;tag=theirs\r\n\
         To: <sip:x@203.0.113.9>\r\nCall-ID: call\r\nCSeq: 9 {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

const VIA: &str = "UDP 198.51.100.7:5062;branch=z9hG4bKpeer;rport";

#[test]
fn a_repeated_invite_gets_the_last_provisional_response() {
    let mut world = World::new();
    world.receive(Udp, incoming("INVITE", VIA));
    world.receive(Udp, incoming("INVITE", VIA));
    assert_eq!(world.take_happened(), at(&[0], "request INVITE"));
    assert_eq!(world.take_sent(), none());
    for (time, status) in [(10, 100), (20, 180), (30, 183)] {
        world.advance(time);
        world.answer(status);
        world.receive(Udp, incoming("INVITE", VIA));
        assert_eq!(world.take_sent(), at(&[time, time], &status.to_string()));
    }
    world.advance(600_000);
    assert_eq!((world.take_happened(), world.take_sent()), (none(), none()), "Proceeding has no timer");
}

#[test]
fn a_refusal_is_repeated_by_timer_g_until_timer_h() {
    let mut world = World::new();
    world.receive(Udp, incoming("INVITE", VIA));
    world.answer(486);
    world.advance(10_000);
    world.receive(Udp, incoming("INVITE", VIA));
    world.answer(200);
    world.answer(500);
    world.advance(100_000);
    let times = [0, 500, 1_500, 3_500, 7_500, 10_000, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(world.take_sent(), at(&times, "486"), "and no second final response");
    world.assert_gone();
}

#[test]
fn the_ack_to_a_refusal_ends_its_repetition_and_timer_i_the_transaction() {
    for (transport, timer_i) in [(Udp, 5_000), (Tcp, 0)] {
        let via = VIA.replace("UDP", transport.as_str());
        let mut world = World::new();
        world.receive(transport, incoming("INVITE", &via));
        world.answer(603);
        world.advance(400);
        world.receive(transport, incoming("ACK", &via));
        world.receive(transport, incoming("ACK", &via));
        if timer_i > 0 {
            world.advance(400 + timer_i - 1);
            world.receive(transport, incoming("INVITE", &via));
            world.receive(transport, incoming("ACK", &via));
            assert_eq!(world.layer.len(), (0, 1));
        }
        world.advance(400 + timer_i);
        assert_eq!(world.take_sent(), at(&[0], "603"));
        assert_eq!(world.take_happened().len(), 1, "the ACK is the transaction's own");
        world.assert_gone();
    }
}

#[test]
fn timer_g_does_not_run_on_a_reliable_transport() {
    let mut world = World::new();
    world.receive(Tcp, incoming("INVITE", &VIA.replace("UDP", "TCP")));
    world.answer(486);
    world.advance(31_999);
    assert_eq!(world.layer.len(), (0, 1));
    world.advance(32_000);
    assert_eq!(world.take_sent(), at(&[0], "486"));
    world.assert_gone();
}

#[test]
fn an_accepted_invite_is_absorbed_and_its_2xx_is_the_users_to_repeat() {
    let mut world = World::new();
    world.receive(Udp, incoming("INVITE", VIA));
    world.answer(200);
    world.advance(500);
    world.receive(Udp, incoming("INVITE", VIA));
    assert_eq!(world.take_sent(), at(&[0], "200"), "RFC 6026 §7.1: a repeated INVITE is not answered");
    world.answer(200);
    world.answer(486);
    world.answer(180);
    assert_eq!(world.take_sent(), at(&[500], "200"));
    world.take_happened();
    world.receive(Udp, incoming("ACK", &VIA.replace("z9hG4bKpeer", "z9hG4bKack")));
    world.receive(Udp, incoming("ACK", VIA));
    assert_eq!(world.take_happened(), at(&[500, 500], "ack 9"), "with its own branch or, wrongly, the INVITE's");
    world.advance(31_999);
    assert_eq!(world.layer.len(), (0, 1));
    world.advance(32_000);
    world.assert_gone();
    world.receive(Udp, incoming("INVITE", VIA));
    assert_eq!(world.take_happened(), at(&[32_000], "request INVITE"), "what comes after timer L is new");
}

// ---- non-INVITE server (§17.2.2) ------------------------------------------------------------------------------------

#[test]
fn a_repeated_request_gets_its_response_again_until_timer_j() {
    let mut world = World::new();
    world.receive(Udp, incoming("OPTIONS", VIA));
    world.receive(Udp, incoming("OPTIONS", VIA));
    assert_eq!(world.take_sent(), none());
    world.answer(100);
    world.receive(Udp, incoming("OPTIONS", VIA));
    assert_eq!(world.take_sent(), at(&[0, 0], "100"));
    world.advance(50);
    world.answer(200);
    world.answer(404);
    world.advance(32_049);
    world.receive(Udp, incoming("OPTIONS", VIA));
    assert_eq!(world.take_sent(), at(&[50, 32_049], "200"));
    assert_eq!(world.take_happened(), at(&[0], "request OPTIONS"));
    world.advance(32_050);
    world.assert_gone();

    let mut world = World::new();
    world.receive(Tcp, incoming("OPTIONS", &VIA.replace("UDP", "TCP")));
    world.answer(200);
    world.advance(0);
    world.assert_gone();
}

#[test]
fn unknown_methods_are_told_apart() {
    let mut world = World::new();
    world.receive(Udp, incoming("FOO", VIA));
    world.receive(Udp, incoming("BAR", VIA));
    world.receive(Udp, incoming("FOO", VIA));
    assert_eq!(world.take_happened().iter().filter(|(_, text)| text.starts_with("request")).count(), 2);
}

// ---- CANCEL (§9.2) --------------------------------------------------------------------------------------------------

#[test]
fn a_cancel_finds_its_invite() {
    let mut world = World::new();
    world.receive(Udp, incoming("INVITE", VIA));
    let invite = world.last_server.unwrap();
    world.receive(Udp, incoming("CANCEL", VIA));
    assert_eq!(world.take_happened()[1].1, "cancel owner None pending true");
    world.answer(200);
    world.receive(Udp, incoming("CANCEL", VIA));
    assert_eq!(world.take_sent(), at(&[0, 0], "200"), "a repeated CANCEL is the transaction's own");
    assert_eq!(world.take_happened(), none());
    world.answer_in(invite, 487);
    world.receive(Udp, incoming("ACK", VIA));
    assert_eq!(world.take_sent(), at(&[0], "487"));
    world.advance(32_000);
    world.assert_gone();
}

#[test]
fn a_cancel_says_whose_the_invite_is_and_whether_it_still_waits() {
    let mut world = World::new();
    world.receive(Udp, incoming("INVITE", VIA));
    let invite = world.last_server.unwrap();
    world.layer.own(invite, 42);
    world.answer_in(invite, 180);
    world.answer_in(invite, 200);
    world.take_happened();
    world.receive(Udp, incoming("CANCEL", VIA));
    assert_eq!(world.take_happened(), at(&[0], "cancel owner Some(42) pending false"));
}

#[test]
fn a_cancel_of_a_stranger_or_of_nothing_finds_nothing() {
    let mut world = World::new();
    world.receive(Udp, incoming("INVITE", VIA));
    world.take_happened();
    let stranger = Flow { peer: "192.0.2.66:5062".parse().unwrap(), ..flow(Udp) };
    world.receive_from(stranger, incoming("CANCEL", VIA));
    world.receive(Udp, incoming("CANCEL", &VIA.replace("z9hG4bKpeer", "z9hG4bKother")));
    world.receive(Udp, incoming("CANCEL", &VIA.replace("198.51.100.7:5062", "198.51.100.7:5063")));
    let happened = world.take_happened();
    assert_eq!(happened[0].1, "cancel nothing", "{happened:?}");
    assert!(happened[1..].iter().all(|(_, text)| text == "cancel nothing"), "{happened:?}");
}

// ---- matching, merging, limits --------------------------------------------------------------------------------------

#[test]
fn the_same_request_by_another_way_is_refused_as_merged() {
    let mut world = World::new();
    let other = VIA.replace("z9hG4bKpeer", "z9hG4bKfork");
    world.receive(Udp, incoming("INVITE", VIA));
    world.receive(Udp, incoming("INVITE", &other));
    assert_eq!(world.take_happened()[1].1, format!("refused {:?}", Refusal::<u32>::Merged(None)));
    let id = world.last_server.expect("the first has a transaction");
    world.layer.own(id, 42);
    world.receive(Udp, incoming("INVITE", &other));
    assert_eq!(world.take_happened()[0].1, format!("refused {:?}", Refusal::Merged(Some(42))));
    // Another CSeq, another method, or a request inside a dialog is no such thing.
    world.receive(Udp, incoming("INVITE", &other).replace("9 INVITE", "10 INVITE"));
    world.receive(Udp, incoming("OPTIONS", &other));
    let inside = incoming("INVITE", &VIA.replace("peer", "in"))
        .replace("To: <sip:x@203.0.113.9>", "To: <sip:x@203.0.113.9>;tag=1");
    world.receive(Udp, inside);
    let expected = ["request INVITE", "request OPTIONS", "request INVITE"];
    assert_eq!(world.take_happened(), expected.map(|text| (0, text.to_owned())));
}

#[test]
fn a_sent_by_is_part_of_the_key_and_has_no_case() {
    let mut world = World::new();
    world.receive(Udp, incoming("OPTIONS", "UDP Host.example.net;branch=z9hG4bKa"));
    world.receive(Udp, incoming("OPTIONS", "UDP host.EXAMPLE.net:5060;branch=z9hG4bKa"));
    assert_eq!(world.take_happened().len(), 1);
    world.receive(Udp, incoming("OPTIONS", "UDP other.example.net;branch=z9hG4bKa").replace("9 OPT", "8 OPT"));
    assert_eq!(world.take_happened().len(), 1);
}

#[test]
fn rfc_2543_peers_are_matched_by_the_whole_request() {
    let mut world = World::new();
    for via in ["UDP 198.51.100.7", "UDP 198.51.100.7;branch=1"] {
        world.receive(
            Udp,
            incoming("INVITE", via).replace("9 INVITE", if via.contains('=') { "8 INVITE" } else { "9 INVITE" }),
        );
        world.receive(
            Udp,
            incoming("INVITE", via).replace("9 INVITE", if via.contains('=') { "8 INVITE" } else { "9 INVITE" }),
        );
        world.answer(486);
    }
    assert_eq!(world.take_happened(), at(&[0, 0], "request INVITE"));
    world.receive(Udp, incoming("ACK", "UDP 198.51.100.7"));
    world.receive(Udp, incoming("ACK", "UDP 198.51.100.7;branch=1").replace("9 ACK", "8 ACK"));
    world.take_sent();
    world.advance(4_999);
    assert_eq!((world.take_happened(), world.take_sent()), (none(), none()), "the ACKs were the transactions' own");
}

#[test]
fn a_branch_that_is_only_the_cookie_tells_no_requests_apart() {
    // RFC 4475 §3.2.1: every request of such a client has the same branch.
    let mut world = World::new();
    let options = incoming("OPTIONS", "UDP 198.51.100.7;branch=z9hG4bK");
    for text in [&options, &options, &options.replace("9 OPTIONS", "10 OPTIONS")] {
        world.receive(Udp, text);
    }
    assert_eq!(world.take_happened(), at(&[0, 0], "request OPTIONS"), "one was a repetition, one was not");
}

#[test]
fn a_full_layer_takes_no_new_request_but_lets_calls_end() {
    let mut world = World::with_limit(4);
    for number in 0..5 {
        let text = incoming("INVITE", &format!("UDP 198.51.100.7;branch=z9hG4bK{number}"));
        world.receive(Udp, text.replace("Call-ID: call", &format!("Call-ID: call{number}")));
    }
    let happened = world.take_happened();
    assert_eq!(happened[4].1, format!("refused {:?}", Refusal::<u32>::Full));
    assert!(happened[..4].iter().all(|(_, text)| text == "request INVITE"));
    world.receive(Udp, incoming("CANCEL", "UDP 198.51.100.7;branch=z9hG4bK2"));
    assert_eq!(world.take_happened()[0].1, "cancel owner None pending true");
}

// ---- where responses go (§18.2.2, RFC 3581) -------------------------------------------------------------------------

#[test]
fn responses_go_where_the_request_came_from() {
    let peer: SocketAddr = PEER.parse().unwrap();
    let at_port = |port| SocketAddr::new(peer.ip(), port);
    for (via, expected) in [
        ("UDP 10.0.0.1:5088;branch=z9hG4bKa;rport", peer),
        ("UDP 10.0.0.1:5088;branch=z9hG4bKa;rport=1", peer),
        ("UDP 10.0.0.1:5088;branch=z9hG4bKa", at_port(5088)),
        ("UDP 10.0.0.1;branch=z9hG4bKa", at_port(5060)),
        ("UDP host.example.net:5099;branch=z9hG4bKa;received=192.0.2.200", at_port(5099)),
        // A third party cannot be aimed at.
        ("UDP 10.0.0.1:5088;branch=z9hG4bKa;maddr=192.0.2.200", at_port(5088)),
        ("UDP 10.0.0.1:5088;branch=z9hG4bKa;maddr=239.1.1.1", "239.1.1.1:5088".parse().unwrap()),
        ("UDP 10.0.0.1:5088;branch=z9hG4bKa;maddr=nonsense", at_port(5088)),
    ] {
        let mut world = World::new();
        world.receive(Udp, incoming("OPTIONS", via));
        world.answer(200);
        world.receive(Udp, incoming("OPTIONS", via));
        let targets: Vec<_> = world.sent.iter().map(|(_, transmit)| transmit.flow.peer).collect();
        assert_eq!(targets, [expected; 2], "{via}");
        let request = world.last_message.clone().unwrap();
        world.layer.reply(flow(Udp), &request, Bytes::from_static(b"SIP/2.0 503 x\r\n\r\n"));
        assert_eq!(world.layer.poll_transmit().unwrap().flow.peer, expected, "{via}");
    }
}

#[test]
fn a_stream_s_responses_go_back_on_it_and_say_where_a_new_one_leads_when_it_is_gone() {
    let peer: SocketAddr = PEER.parse().unwrap();
    for (transport, via, port) in [
        (Tcp, "TCP 10.0.0.1:5088;branch=z9hG4bKa", 5088),
        (Tcp, "TCP 10.0.0.1;branch=z9hG4bKa;rport", 5060),
        (Tls, "TLS 10.0.0.1;branch=z9hG4bKa", 5061),
        // Never to a third party, and never elsewhere than the Via's port.
        (Tls, "TLS 10.0.0.1:5090;branch=z9hG4bKa;received=192.0.2.200;rport=1;maddr=239.1.1.1", 5090),
    ] {
        let mut world = World::new();
        world.receive(transport, incoming("OPTIONS", via));
        world.answer(200);
        let sent = world.sent[0].1.flow;
        assert_eq!(sent, Flow { reopen: Some(port), ..flow(transport) }, "{via}");
        assert_eq!(sent.opens_to(), Some(SocketAddr::new(peer.ip(), port)), "{via}");
        let request = world.last_message.clone().unwrap();
        world.layer.reply(flow(transport), &request, Bytes::from_static(b"SIP/2.0 503 x\r\n\r\n"));
        assert_eq!(world.layer.poll_transmit().unwrap().flow.opens_to(), None, "not worth a stream: {via}");
    }
}

#[test]
fn a_response_says_where_its_request_came_from() {
    for (via, source, expected) in [
        (
            "UDP 10.0.0.1:5088;branch=z9hG4bKa;rport",
            PEER,
            "SIP/2.0/UDP 10.0.0.1:5088;branch=z9hG4bKa;received=198.51.100.7;rport=5062",
        ),
        (
            "UDP 198.51.100.7;rport;branch=z9hG4bKa",
            PEER,
            "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKa;received=198.51.100.7;rport=5062",
        ),
        ("UDP 198.51.100.7;branch=z9hG4bKa", PEER, "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKa"),
        (
            "UDP host.example.net;branch=z9hG4bKa",
            PEER,
            "SIP/2.0/UDP host.example.net;branch=z9hG4bKa;received=198.51.100.7",
        ),
        (
            "UDP 10.0.0.1;received=192.0.2.66;branch=z9hG4bKa;x=y",
            PEER,
            "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;x=y;received=198.51.100.7",
        ),
        (
            "UDP [2001:DB8::1]:5060;branch=z9hG4bKa",
            "[2001:db8:0::1]:5060",
            "SIP/2.0/UDP [2001:DB8::1]:5060;branch=z9hG4bKa",
        ),
        (
            "UDP [2001:db8::2];branch=z9hG4bKa",
            "[2001:db8::1]:5060",
            "SIP/2.0/UDP [2001:db8::2];branch=z9hG4bKa;received=2001:db8::1",
        ),
        ("UDP 198.51.100.7;branch=z9hG4bKa", "[::ffff:198.51.100.7]:5060", "SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKa"),
    ] {
        let mut out = Vec::new();
        let request = parse(incoming("OPTIONS", &format!("{via}, SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb;rport")));
        write::response_to(&mut out, &request, 200, "OK", b"t", source.parse().ok());
        write::finish(&mut out, None, b"");
        let response = parse(out);
        let vias: Vec<_> =
            response.values(HeaderName::Via).map(|via| String::from_utf8_lossy(via).into_owned()).collect();
        assert_eq!(vias, [expected, "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb;rport"]);
    }
}

// ---- failures of the transport (§17.1.4) ----------------------------------------------------------------------------

#[test]
fn what_could_not_be_delivered_ends_and_what_was_heard_goes_on() {
    let mut world = World::new();
    world.request(Tcp, Method::Invite);
    let ringing = world.last_sent();
    world.respond(Tcp, 180, &ringing);
    world.request(Tcp, Method::Invite);
    world.request(Tcp, Method::Options);
    world.take_happened();
    let elsewhere = Flow { peer: "192.0.2.1:5060".parse().unwrap(), ..flow(Tcp) };
    let mut events = Vec::from_iter(world.layer.handle_transport_failure(elsewhere));
    assert!(events.is_empty());
    events.extend(world.layer.handle_transport_failure(flow(Tcp)));
    for event in events {
        world.note(event);
    }
    let mut happened: Vec<_> = world.take_happened().into_iter().map(|(_, text)| text).collect();
    happened.sort();
    assert_eq!(happened, ["undelivered INVITE of 7", "undelivered OPTIONS of 7"]);
    assert_eq!(world.layer.len(), (1, 0));
}

#[test]
fn what_went_by_a_stream_opened_anew_ends_with_it() {
    let mut world = World::new();
    let bye = Flow { reopen: Some(5088), ..flow(Tls) };
    world.layer.send_request(world.now, bye, Method::Bye, 7, |out, via| {
        write::request(out, "BYE", b"sip:b@198.51.100.7");
        write::header(out, "Via", via);
        write::finish(out, None, b"");
        1
    });
    let anew = |transport, port| {
        let peer = SocketAddr::new(bye.peer.ip(), port);
        Flow { connection: 77, ..Flow::to(transport, 0, peer) }
    };
    // Another port, another transport, another stream to the port that ours came from.
    for flow in [anew(Tls, 5089), anew(Tcp, 5088), Flow { connection: 77, ..bye }] {
        assert!(world.layer.handle_transport_failure(flow).is_empty(), "{flow:?}");
    }
    assert_eq!(world.layer.handle_transport_failure(anew(Tls, 5088)).len(), 1);
    assert_eq!(world.layer.len(), (0, 0));
}

#[test]
fn a_transport_is_named_alike_in_every_writing() {
    for transport in [Udp, Tcp, Tls] {
        let name = transport.as_str();
        for name in [name.to_owned(), name.to_ascii_lowercase(), format!("{}{}", &name[..1], name[1..].to_lowercase())]
        {
            assert_eq!(Transport::of_uri_param(name.as_bytes()), Some(transport), "{name}");
        }
        assert_eq!(transport.is_reliable(), transport != Udp);
        let written = transport.uri_param().strip_prefix(";transport=");
        let read = written.map_or(Some(Udp), |name| Transport::of_uri_param(name.as_bytes()));
        assert_eq!(read, Some(transport), "{written:?}");
    }
    for name in ["", "sctp", "ws", "tls ", "tlsx", "ud"] {
        assert_eq!(Transport::of_uri_param(name.as_bytes()), None, "{name}");
    }
    assert_eq!([Udp, Tcp, Tls].map(Transport::default_port), [5060, 5060, 5061]);
}

#[test]
fn the_same_seed_gives_the_same_messages_and_no_two_branches_are_alike() {
    let branches = || {
        let mut world = World::new();
        (0..50).map(|_| world.request(Udp, Method::Options)).count();
        world.sent.iter().map(|(_, transmit)| parse(&transmit.bytes).top_via().branch.to_vec()).collect::<Vec<_>>()
    };
    let mut first = branches();
    assert_eq!(first, branches());
    first.sort();
    first.dedup();
    assert_eq!(first.len(), 50);
}
