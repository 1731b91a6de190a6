//! Whole sessions in simulated time: packets in, packets out.

use super::*;
use crate::g711::{SILENCE_ALAW, convert};
use crate::rtp::{self, HEADER_LEN, Header};
use crate::telephone_event::TelephoneEvent;
use crate::{Codec, Direction, Hear, LegFormat, Prompt, Repeat, SourcePolicy, Then};
use Side::{A, B};

mod collect;
mod events;
mod hostile;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn party(side: Side) -> SocketAddr {
    match side {
        A => address("192.0.2.1:4000"),
        B => address("198.51.100.2:5000"),
    }
}

fn party_rtcp(side: Side) -> SocketAddr {
    SocketAddr::new(party(side).ip(), party(side).port() + 1)
}

const PCMA: LegFormat = LegFormat {
    codec: Codec::Pcma,
    payload_type: 8,
    telephone_event: Some(101),
    telephone_event_offered: None,
    ptime_ms: 20,
};
const PCMU: LegFormat = LegFormat { codec: Codec::Pcmu, payload_type: 0, telephone_event: Some(96), ..PCMA };
const BOTH_WAYS: Direction = Direction { send: true, receive: true };

fn remote(side: Side) -> Remote {
    Remote {
        rtp: party(side),
        rtcp: party_rtcp(side),
        format: PCMA,
        direction: BOTH_WAYS,
        source: SourcePolicy::Signalled,
    }
}

fn prompt(alaw: impl Into<Arc<[u8]>>) -> Arc<Prompt> {
    Arc::new(Prompt { name: Arc::from("prompt.wav"), alaw: alaw.into() })
}

fn once(prompt: &Arc<Prompt>, then: Then) -> Hear {
    Hear::Prompt { prompt: Arc::clone(prompt), repeat: Repeat::Once, then }
}

fn looped(prompt: &Arc<Prompt>) -> Hear {
    Hear::Prompt { prompt: Arc::clone(prompt), repeat: Repeat::Loop, then: Then::Nothing }
}

/// A packet that the session sent.
#[derive(Clone, PartialEq, Debug)]
struct Out {
    at: Duration,
    side: Side,
    kind: Kind,
    destination: SocketAddr,
    bytes: Vec<u8>,
}

impl Out {
    fn header(&self) -> Header {
        rtp::parse(&self.bytes).unwrap().0
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[HEADER_LEN..]
    }
}

/// A session and the clock.
struct Call {
    session: Session,
    now: Duration,
    out: Vec<Out>,
    events: Vec<(Duration, Event)>,
    alaw: Vec<u8>,
    recording: Vec<RecordingOutput>,
}

impl Call {
    fn new(config: Config) -> Call {
        Call {
            session: Session::new(config, 11, Duration::ZERO),
            now: Duration::ZERO,
            out: Vec::new(),
            events: Vec::new(),
            alaw: Vec::new(),
            recording: Vec::new(),
        }
    }

    /// Both parties known, both hear each other.
    fn joined(a: Remote, b: Remote) -> Call {
        let mut call = Call::new(Config { dead_after: ms(30_000), unix_at_epoch: Duration::from_secs(1_700_000_000) });
        for (side, remote) in [(A, a), (B, b)] {
            call.command(Command::SetRemote { side, remote });
            call.hear(side, Hear::Peer);
        }
        call
    }

    fn command(&mut self, command: Command) {
        self.session.handle_command(self.now, command);
        self.wake();
    }

    fn set_remote(&mut self, side: Side, remote: Remote) {
        self.command(Command::SetRemote { side, remote });
    }

    fn hear(&mut self, side: Side, hear: Hear) {
        self.command(Command::Hear { side, hear });
    }

    fn wake(&mut self) {
        let (at, out) = (self.now, &mut self.out);
        self.session.handle_timeout(at, &mut |side, kind, destination, bytes| {
            out.push(Out { at, side, kind, destination, bytes: bytes.to_vec() });
        });
        while let Some(event) = self.session.poll_event() {
            self.events.push((at, event));
        }
        while let Some(output) = self.session.poll_recording(&mut self.alaw) {
            self.recording.push(output);
        }
    }

    /// Lets the time pass, waking the session exactly at its deadlines.
    fn run_until(&mut self, end: Duration) {
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.wake();
        }
        self.now = end;
    }

    fn rtp(&mut self, side: Side, packet: &[u8]) -> Option<Out> {
        self.rtp_from(side, party(side), packet)
    }

    fn rtp_from(&mut self, side: Side, source: SocketAddr, packet: &[u8]) -> Option<Out> {
        let mut packet = packet.to_vec();
        let forward = self.session.handle_rtp(self.now, side, source, &mut packet)?;
        let out = Out {
            at: self.now,
            side: forward.side,
            kind: Kind::Rtp,
            destination: forward.destination,
            bytes: packet[forward.range].to_vec(),
        };
        self.out.push(out.clone());
        Some(out)
    }

    /// 20 ms of audio, numbered `number` of the stream `ssrc`.
    fn audio(&mut self, side: Side, ssrc: u32, number: u16) -> Option<Out> {
        self.rtp(side, &packet(8, ssrc, number, &[0x2a; 160]))
    }

    fn sent(&self, side: Side, kind: Kind) -> Vec<&Out> {
        self.out.iter().filter(|out| out.side == side && out.kind == kind).collect()
    }

    fn refused(&self, side: Side) -> u64 {
        self.session.totals().legs[side.index()].refused
    }

    fn prompt_ends(&self) -> Vec<(u64, Side)> {
        let end = |(at, event): &(Duration, Event)| match event {
            Event::PromptEnded { side, .. } => Some((at.as_millis() as u64, *side)),
            Event::Digit { .. } | Event::Pressed { .. } | Event::Released { .. } | Event::Dead | Event::Closed(_) => {
                None
            }
        };
        self.events.iter().filter_map(end).collect()
    }

    fn dead_at(&self) -> Vec<u64> {
        self.events.iter().filter(|(_, event)| *event == Event::Dead).map(|(at, _)| at.as_millis() as u64).collect()
    }
}

fn packet(payload_type: u8, ssrc: u32, number: u16, payload: &[u8]) -> Vec<u8> {
    let timestamp = ssrc.wrapping_mul(77).wrapping_add(u32::from(number) * 160);
    let header = Header { payload_type, marker: false, sequence_number: number, timestamp, ssrc };
    [&header.to_bytes()[..], payload].concat()
}

#[test]
fn a_packet_is_passed_on_with_a_header_of_our_own() {
    let mut call = Call::joined(remote(A), remote(B));
    let audio: Vec<u8> = (0..160).collect();
    let out = call.rtp(A, &packet(8, 0xaaaa_aaaa, 7, &audio)).unwrap();
    assert_eq!((out.side, out.destination), (B, party(B)));
    assert_eq!(out.payload(), audio);
    let header = out.header();
    assert_eq!((header.payload_type, header.marker), (8, true));
    assert_ne!(header.ssrc, 0xaaaa_aaaa);
    let back = call.rtp(B, &packet(8, 0xbbbb_bbbb, 9, &audio)).unwrap();
    assert_eq!((back.side, back.destination), (A, party(A)));
    assert_ne!(back.header().ssrc, header.ssrc);
    let [a, b] = call.session.totals().legs;
    assert_eq!((a.received, a.sent, b.received, b.sent), (1, 1, 1, 1));
}

#[test]
fn nothing_but_the_payload_crosses() {
    let mut call = Call::joined(remote(A), remote(B));
    let mut bytes = packet(8, 0xdede_dede, 0xdede, &[]);
    bytes[0] |= 0x20 | 0x10 | 3;
    bytes.extend([0xde; 12]);
    bytes.extend([0xbe, 0xde, 0, 2, 0xde, 0xde, 0xde, 0xde, 0xde, 0xde, 0xde, 0xde]);
    bytes.extend([0x2a; 160]);
    bytes.extend([0xde, 0xde, 0xde, 4]);
    let out = call.rtp(A, &bytes).unwrap();
    assert_eq!(out.bytes.len(), 172);
    assert_eq!(out.bytes[0], 0x80);
    assert_eq!(out.payload(), [0x2a; 160]);
}

#[test]
fn laws_are_converted_where_the_legs_differ_and_a_party_may_switch_law() {
    let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
    let every: Vec<u8> = (0..=255).collect();
    let converted = |from, to| {
        let mut samples = every.clone();
        convert(from, to, &mut samples);
        samples
    };
    let out = call.rtp(A, &packet(8, 1, 0, &every)).unwrap();
    assert_eq!((out.header().payload_type, out.payload()), (0, &converted(Codec::Pcma, Codec::Pcmu)[..]));
    let out = call.rtp(B, &packet(0, 2, 0, &every)).unwrap();
    assert_eq!((out.header().payload_type, out.payload()), (8, &converted(Codec::Pcmu, Codec::Pcma)[..]));
    let switched = call.rtp(A, &packet(0, 1, 1, &every)).unwrap();
    assert_eq!((switched.header().payload_type, switched.payload()), (0, &every[..]), "no conversion needed any more");
    let switched = call.rtp(B, &packet(8, 2, 1, &every)).unwrap();
    assert_eq!((switched.header().payload_type, switched.payload()), (8, &every[..]));
}

#[test]
fn a_dynamic_payload_type_is_what_the_leg_has_settled_on() {
    let format = LegFormat { payload_type: 97, ..PCMU };
    let mut call = Call::joined(remote(A), Remote { format, ..remote(B) });
    assert_eq!(call.audio(A, 1, 0).unwrap().header().payload_type, 97);
    let out = call.rtp(B, &packet(97, 2, 0, &[0xff; 160])).unwrap();
    assert_eq!((out.header().payload_type, out.payload()), (8, &[0xd5; 160][..]));
}

#[test]
fn what_is_turned_away_is_counted() {
    let mut call = Call::joined(remote(A), remote(B));
    let mut refused = 0;
    let mut refuse = |call: &mut Call, source: &str, bytes: &[u8]| {
        refused += 1;
        assert_eq!(call.rtp_from(A, address(source), bytes), None);
        assert_eq!(call.refused(A), refused, "{source} {:02x?}", &bytes[..bytes.len().min(16)]);
    };
    let good = packet(8, 1, 0, &[0x2a; 160]);
    refuse(&mut call, "192.0.2.1:4000", &[]);
    refuse(&mut call, "192.0.2.1:4000", b"OPTIONS sip:x SIP/2.0");
    refuse(&mut call, "192.0.2.1:4000", &packet(8, 1, 0, &[0; 1489]));
    refuse(&mut call, "192.0.2.1:4000", &packet(18, 1, 0, &[0; 20]));
    refuse(&mut call, "192.0.2.1:4000", &packet(96, 1, 0, &[0; 4]));
    refuse(&mut call, "192.0.2.1:4000", &packet(101, 1, 0, &[1, 0, 0]));
    refuse(&mut call, "192.0.2.1:4002", &good);
    refuse(&mut call, "192.0.2.9:4000", &good);
    refuse(&mut call, "198.51.100.2:5000", &good);
    assert!(call.rtp(A, &good).is_some());
    let [a, b] = call.session.totals().legs;
    assert_eq!((a.received, a.refused, b.received, b.refused, b.sent), (1, 9, 0, 0, 1));
}

#[test]
fn before_its_answer_a_party_is_refused_and_after_it_learnt() {
    let mut call = Call::new(Config::default());
    assert_eq!(call.audio(A, 1, 0), None);
    assert_eq!(call.refused(A), 1);
    call.set_remote(A, Remote { source: SourcePolicy::Learn, ..remote(A) });
    call.set_remote(B, remote(B));
    call.hear(A, Hear::Peer);
    call.hear(B, Hear::Peer);
    let nat = address("203.0.113.7:61000");
    for number in 0..3 {
        assert_eq!(call.audio(B, 2, number).unwrap().destination, party(A));
        assert!(call.rtp_from(A, nat, &packet(8, 1, number, &[0x2a; 160])).is_some());
    }
    assert_eq!(call.session.locked_source(A), Some(nat));
    assert_eq!(call.audio(B, 2, 3).unwrap().destination, nat);
    assert_eq!(call.audio(A, 1, 3), None, "the SDP address came too late");
    let moved = Remote { rtp: address("192.0.2.1:4100"), source: SourcePolicy::Learn, ..remote(A) };
    call.set_remote(A, moved);
    assert_eq!(call.audio(B, 2, 4).unwrap().destination, moved.rtp);
}

#[test]
fn comfort_noise_and_empty_packets_are_received_but_leave_neither_packet_nor_gap() {
    let mut call = Call::joined(remote(A), remote(B));
    let first = call.audio(A, 1, 0).unwrap().header();
    assert_eq!(call.rtp(A, &packet(13, 1, 1, &[60])), None);
    assert_eq!(call.rtp(A, &packet(8, 1, 2, &[])), None);
    let next = call.audio(A, 1, 3).unwrap().header();
    assert_eq!(next.sequence_number, first.sequence_number.wrapping_add(1));
    assert_eq!(next.timestamp, first.timestamp.wrapping_add(480));
    let [a, _] = call.session.totals().legs;
    assert_eq!((a.received, a.refused, a.lost, call.session.dropped(B)), (4, 0, 0, 2));
}

#[test]
fn a_digit_crosses_with_the_payload_type_of_the_other_leg() {
    let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
    call.audio(A, 1, 0).unwrap();
    let before = call.audio(A, 1, 1).unwrap().header();
    let mut seen = Vec::new();
    for (number, duration, end) in
        [(2_u16, 160, false), (3, 320, false), (4, 480, true), (5, 480, true), (6, 480, true)]
    {
        let event = TelephoneEvent { event: 5, end, volume: 10, duration };
        let header =
            Header { payload_type: 101, marker: number == 2, sequence_number: number, timestamp: 77 + 320, ssrc: 1 };
        let out = call.rtp(A, &[&header.to_bytes()[..], &event.to_bytes()].concat()).unwrap();
        assert_eq!(TelephoneEvent::parse(out.payload()), Some(event));
        let header = out.header();
        assert_eq!(header.timestamp, before.timestamp.wrapping_add(160));
        seen.push((header.payload_type, header.marker, header.sequence_number.wrapping_sub(before.sequence_number)));
    }
    assert_eq!(seen, [(96, true, 1), (96, false, 2), (96, false, 3), (96, false, 4), (96, false, 5)]);
}

#[test]
fn a_digit_is_dropped_where_the_other_leg_has_no_events() {
    let format = LegFormat { telephone_event: None, ..PCMA };
    let mut call = Call::joined(remote(A), Remote { format, ..remote(B) });
    let before = call.audio(A, 1, 0).unwrap().header();
    for number in 1..4 {
        assert_eq!(call.rtp(A, &packet(101, 1, number, &[5, 10, 0, 160])), None);
    }
    assert_eq!((call.session.dropped(B), call.refused(A)), (3, 0));
    assert_eq!(call.audio(A, 1, 4).unwrap().header().sequence_number, before.sequence_number.wrapping_add(1));
}

#[test]
fn a_prompt_goes_out_at_once_and_then_every_packet_time() {
    let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
    call.run_until(ms(1007));
    let alaw: Vec<u8> = (0..500).map(|sample| sample as u8).collect();
    let hint = prompt(alaw.clone());
    call.hear(B, once(&hint, Then::Nothing));
    call.run_until(ms(2000));
    let sent = call.sent(B, Kind::Rtp);
    assert_eq!(sent.iter().map(|out| out.at.as_millis()).collect::<Vec<_>>(), [1007, 1027, 1047, 1067]);
    assert!(sent.iter().all(|out| out.destination == party(B) && out.header().payload_type == 0));
    assert_eq!(sent.iter().map(|out| out.header().marker).collect::<Vec<_>>(), [true, false, false, false]);
    for pair in sent.windows(2) {
        let (one, next) = (pair[0].header(), pair[1].header());
        assert_eq!(next.sequence_number, one.sequence_number.wrapping_add(1));
        assert_eq!(next.timestamp, one.timestamp.wrapping_add(160));
    }
    let mut expected = alaw;
    expected.resize(640, SILENCE_ALAW);
    convert(Codec::Pcma, Codec::Pcmu, &mut expected);
    assert_eq!(sent.iter().flat_map(|out| out.payload().to_vec()).collect::<Vec<_>>(), expected);
    assert_eq!(call.prompt_ends(), [(1087, B)], "when the last packet has been heard");
    match &call.events[0].1 {
        Event::PromptEnded { prompt, .. } => assert!(Arc::ptr_eq(prompt, &hint)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn prompts_keep_the_packet_time_of_the_leg() {
    for (ptime_ms, samples) in [(10, 80), (30, 240), (60, 480), (0, 80), (255, 480)] {
        let format = LegFormat { ptime_ms, ..PCMA };
        let mut call = Call::joined(Remote { format, ..remote(A) }, remote(B));
        call.hear(A, looped(&prompt([1; 100])));
        call.run_until(ms(599));
        let sent = call.sent(A, Kind::Rtp);
        assert_eq!(sent.len(), 600 * 8 / samples);
        assert!(sent.iter().all(|out| out.payload().len() == samples));
    }
}

#[test]
fn who_hears_a_prompt_does_not_hear_the_peer_but_the_peer_hears_on() {
    let mut call = Call::joined(remote(A), remote(B));
    call.hear(A, once(&prompt([1; 1600]), Then::Peer));
    for number in 0..10 {
        call.run_until(ms(u64::from(number) * 20 + 5));
        assert_eq!(call.audio(B, 2, number), None);
        assert!(call.audio(A, 1, number).is_some());
    }
    assert_eq!(call.session.totals().legs[B.index()].received, 10);
    call.run_until(ms(205));
    assert_eq!(call.prompt_ends(), [(200, A)]);
    let out = call.audio(B, 2, 10).unwrap();
    assert!(out.header().marker);
    call.hear(A, Hear::Nothing);
    assert_eq!(call.audio(B, 2, 11), None);
}

#[test]
fn ringback_follows_an_announcement_without_a_gap() {
    let mut call = Call::joined(remote(A), remote(B));
    call.hear(A, once(&prompt([1; 200]), Then::Loop(prompt([2; 70]))));
    call.run_until(ms(199));
    let sent = call.sent(A, Kind::Rtp);
    assert_eq!(sent.len(), 10);
    for (number, out) in sent.iter().enumerate() {
        assert_eq!((out.at, out.header().marker), (ms(number as u64 * 20), number == 0));
    }
    assert_eq!(sent[2].payload(), [2; 160]);
    assert_eq!(call.prompt_ends(), [(40, A)]);
}

#[test]
fn a_new_prompt_replaces_the_old_which_never_ends() {
    let mut call = Call::joined(remote(A), remote(B));
    call.hear(A, once(&prompt([1; 1600]), Then::Nothing));
    call.run_until(ms(53));
    call.hear(A, once(&prompt([2; 160]), Then::Nothing));
    call.run_until(ms(1000));
    assert_eq!(call.prompt_ends(), [(73, A)]);
    let sent = call.sent(A, Kind::Rtp);
    assert_eq!(sent.last().unwrap().at, ms(53), "the first packet of the new one does not wait for the old one's tick");
    assert_eq!(sent.len(), 4);
}

#[test]
fn a_late_wake_makes_up_for_a_few_packets_and_never_sends_a_burst() {
    let mut call = Call::joined(remote(A), remote(B));
    call.hear(A, looped(&prompt([1; 100])));
    call.run_until(ms(100));
    let before = call.sent(A, Kind::Rtp).len();
    call.now = ms(165);
    call.wake();
    assert_eq!(call.sent(A, Kind::Rtp).len() - before, 3, "120, 140, 160");
    assert_eq!(call.session.poll_timeout(), Some(ms(180)), "and the pace is the old one");
    call.now = ms(5000);
    call.wake();
    let sent = call.sent(A, Kind::Rtp);
    assert_eq!(sent.len() - before, 4, "one packet, and the prompt goes on from there");
    let (earlier, later) = (sent[sent.len() - 2].header(), sent[sent.len() - 1].header());
    assert!(later.marker);
    assert_eq!(later.timestamp.wrapping_sub(earlier.timestamp), (5000 - 160) * 8);
    assert_eq!(call.session.poll_timeout(), Some(ms(5020)).min(call.session.legs[1].poll_timeout()));
}

#[test]
fn a_prompt_waits_for_the_party_and_begins_with_its_first_sample() {
    let mut call = Call::new(Config::default());
    call.hear(A, once(&prompt([7; 160]), Then::Nothing));
    assert_eq!(call.session.poll_timeout(), None);
    call.run_until(ms(500));
    call.set_remote(A, remote(A));
    assert_eq!(call.sent(A, Kind::Rtp).len(), 1);
    call.run_until(ms(530));
    assert_eq!(call.prompt_ends(), [(520, A)]);
}

#[test]
fn an_empty_prompt_ends_at_once() {
    let mut call = Call::joined(remote(A), remote(B));
    call.hear(A, once(&prompt([]), Then::Peer));
    assert_eq!(call.prompt_ends(), [(0, A)]);
    assert!(call.audio(B, 2, 0).is_some());
}

#[test]
fn on_hold_nothing_is_sent_and_a_prompt_ends_all_the_same() {
    let hold = Direction { send: false, receive: false };
    let mut call = Call::joined(remote(A), remote(B));
    let before = call.audio(B, 2, 0).unwrap().header();
    call.set_remote(A, Remote { direction: hold, ..remote(A) });
    assert_eq!(call.audio(B, 2, 1), None);
    assert_eq!(call.audio(A, 1, 0), None, "who is not to send is not heard");
    call.hear(A, once(&prompt([1; 1600]), Then::Peer));
    call.run_until(ms(1000));
    assert_eq!(call.prompt_ends(), [(200, A)]);
    assert_eq!(call.sent(A, Kind::Rtp).len(), 1);
    call.set_remote(A, remote(A));
    let after = call.audio(B, 2, 50).unwrap().header();
    assert!(after.marker);
    assert_eq!(after.sequence_number, before.sequence_number.wrapping_add(1), "the hold is not a loss");
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), 8000);
}

#[test]
fn nothing_is_sent_to_an_address_that_is_none() {
    for rtp in ["0.0.0.0:4000", "[::]:4000", "192.0.2.1:0"] {
        let held = Remote { rtp: address(rtp), rtcp: address(rtp), ..remote(A) };
        let mut call = Call::joined(held, remote(B));
        call.hear(A, looped(&prompt([1; 160])));
        call.run_until(ms(10_000));
        assert_eq!((call.sent(A, Kind::Rtp).len(), call.sent(A, Kind::Rtcp).len()), (0, 0), "{rtp}");
    }
}

/// Prompt, peer, prompt, peer, the peer with another SSRC: one stream for the listener.
#[test]
fn the_listener_hears_one_stream_whoever_speaks() {
    let mut call = Call::joined(remote(A), remote(B));
    let tone = prompt([3; 8000]);
    let mut number = 0_u16;
    let mut speak = |call: &mut Call, ssrc: u32, from: u64, to: u64| {
        for at in (from..to).step_by(20) {
            call.run_until(ms(at));
            call.audio(B, ssrc, number);
            number = number.wrapping_add(1);
        }
    };
    call.hear(A, looped(&tone));
    speak(&mut call, 0xb1, 7, 1000);
    call.hear(A, Hear::Peer);
    speak(&mut call, 0xb1, 1009, 2000);
    call.hear(A, once(&tone, Then::Peer));
    speak(&mut call, 0xb1, 2013, 4000);
    speak(&mut call, 0xb2, 4003, 5000);
    speak(&mut call, 0xb2, 7000, 8000);

    let sent = call.sent(A, Kind::Rtp);
    assert!(sent.len() > 290, "{}", sent.len());
    let first = sent[0].header();
    let mut markers = Vec::new();
    for pair in sent.windows(2) {
        let (one, next) = (pair[0].header(), pair[1].header());
        assert_eq!(next.ssrc, first.ssrc);
        assert_eq!(next.sequence_number, one.sequence_number.wrapping_add(1));
        let step = next.timestamp.wrapping_sub(one.timestamp);
        let elapsed = (pair[1].at - pair[0].at).as_millis() as u32 * 8;
        assert!(step >= 160, "two packets overlap at {:?}", pair[1].at);
        if next.marker {
            markers.push(pair[1].at.as_millis());
            assert_eq!(step, elapsed.max(160));
        }
        let drift = i64::from(next.timestamp.wrapping_sub(first.timestamp)) - (pair[1].at.as_millis() as i64) * 8;
        // The pause from 5 s to 7 s is the peer's own: its timestamps stood still, so ours do.
        let pause = if pair[1].at >= ms(7000) { 2000 * 8 } else { 0 };
        assert!((drift + pause).abs() <= 480, "{drift} samples off at {:?}", pair[1].at);
    }
    assert_eq!(markers.len(), 4, "one for each change of who speaks: {markers:?}");
}

#[test]
fn reports_come_about_every_five_seconds_and_say_who_sends() {
    let mut call = Call::joined(remote(A), remote(B));
    for number in 0..3000_u16 {
        call.run_until(ms(u64::from(number) * 20));
        if number % 4 != 1 {
            call.audio(A, 0xaa, number);
        }
    }
    for side in Side::BOTH {
        let reports = call.sent(side, Kind::Rtcp);
        assert!((8..=24).contains(&reports.len()), "{} in a minute", reports.len());
        for pair in reports.windows(2) {
            assert!((2500..=7500).contains(&(pair[1].at - pair[0].at).as_millis()));
        }
        assert!(reports.iter().all(|out| out.destination == party_rtcp(side)));
    }
    let to_b = call.sent(B, Kind::Rtcp).last().unwrap().bytes.clone();
    assert_eq!((to_b[0], to_b[1]), (0x80, 200), "B is sent audio and sends none: SR without a block");
    let rtp_to_b = call.sent(B, Kind::Rtp)[0].header();
    assert_eq!(to_b[4..8], rtp_to_b.ssrc.to_be_bytes());
    let to_a = call.sent(A, Kind::Rtcp).last().unwrap().bytes.clone();
    assert_eq!((to_a[0], to_a[1]), (0x81, 201), "A sends audio and is sent none: RR with a block");
    assert_eq!(to_a[8..12], 0xaa_u32.to_be_bytes());
    assert!((60..=68).contains(&to_a[12]), "a quarter is lost: {} of 256", to_a[12]);
    let [a, _] = call.session.totals().legs;
    assert_eq!((a.received, a.lost), (2250, 750));
}

#[test]
fn a_sender_report_ties_our_timestamp_to_the_clock() {
    let mut call = Call::joined(remote(A), remote(B));
    call.hear(A, looped(&prompt([1; 160])));
    call.run_until(ms(20_000));
    let rtp = call.sent(A, Kind::Rtp);
    let start = rtp[0].header().timestamp;
    for out in call.sent(A, Kind::Rtcp) {
        assert_eq!(out.bytes[1], 200);
        let field = |at: usize| u32::from_be_bytes(out.bytes[at..at + 4].try_into().unwrap());
        assert_eq!(field(8), (2_208_988_800 + 1_700_000_000 + out.at.as_secs()) as u32);
        let elapsed = (out.at.as_micros() / 125) as u32;
        assert_eq!(field(16).wrapping_sub(start), elapsed);
        let packets = rtp.iter().filter(|sent| sent.at <= out.at).count() as u32;
        assert_eq!((field(20), field(24)), (packets, packets * 160));
    }
}

#[test]
fn the_name_in_the_reports_is_random_and_each_legs_own() {
    let mut call = Call::joined(remote(A), remote(B));
    call.run_until(ms(60_000));
    let cnames = |side| {
        let names = call.sent(side, Kind::Rtcp).into_iter().map(|out| out.bytes[out.bytes.len() - 18..].to_vec());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let (a, b) = (cnames(A), cnames(B));
    assert_eq!((a.len(), b.len()), (1, 1));
    assert!(a.is_disjoint(&b));
    assert!(a.iter().chain(&b).all(|name| name[..16].iter().all(u8::is_ascii_hexdigit) && name[16..] == [0, 0]));
}

/// SR of `ssrc` at NTP middle `ntp_middle` with a block about `about` and then a BYE.
fn their_report(ssrc: u32, ntp_middle: u32, about: u32, last_sr: u32, delay: u32) -> Vec<u8> {
    let mut bytes = vec![0x81, 200, 0, 12];
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend((u64::from(ntp_middle) << 16).to_be_bytes());
    bytes.extend([0; 12]);
    bytes.extend(about.to_be_bytes());
    bytes.extend([0; 12]);
    bytes.extend(last_sr.to_be_bytes());
    bytes.extend(delay.to_be_bytes());
    bytes.extend([0x81, 203, 0, 1]);
    bytes.extend(ssrc.to_be_bytes());
    bytes
}

#[test]
fn their_reports_are_read_and_answered_and_a_bye_ends_nothing() {
    let mut call = Call::joined(remote(A), remote(B));
    call.hear(A, looped(&prompt([1; 160])));
    call.audio(A, 0xaa, 0);
    while call.sent(A, Kind::Rtcp).is_empty() {
        call.run_until(call.now + ms(10));
    }
    let ours = call.sent(A, Kind::Rtcp)[0].clone();
    let last_sr = u32::from_be_bytes(ours.bytes[10..14].try_into().unwrap());
    let our_ssrc = u32::from_be_bytes(ours.bytes[4..8].try_into().unwrap());
    call.run_until(ours.at + ms(250));
    let report = their_report(0xaa, 0x0a0b_0c0d, our_ssrc, last_sr, 65_536 / 5);
    call.session.handle_rtcp(call.now, A, party_rtcp(A), &report);
    let answered_at = call.now;
    call.run_until(call.now + ms(8000));
    let next = call.sent(A, Kind::Rtcp)[1].clone();
    assert_eq!(next.bytes[44..48], [0x0a, 0x0b, 0x0c, 0x0d]);
    let delay = u32::from_be_bytes(next.bytes[48..52].try_into().unwrap());
    assert_eq!(u128::from(delay), ((next.at - answered_at).as_micros() << 16) / 1_000_000);
    let totals = call.session.control_totals(A);
    assert_eq!((totals.received, totals.byes, totals.refused), (1, 1, 0));
    assert!((49..=51).contains(&totals.round_trip.unwrap().as_millis()), "{totals:?}");
    assert_eq!(call.events, []);
    assert!(call.audio(A, 0xaa, 1).is_some());
}

#[test]
fn reports_from_elsewhere_and_garbage_are_refused() {
    let mut call = Call::joined(remote(A), remote(B));
    let report = their_report(1, 2, 3, 4, 5);
    for source in ["192.0.2.1:4000", "192.0.2.9:4001", "198.51.100.2:5001"] {
        call.session.handle_rtcp(call.now, A, address(source), &report);
    }
    call.session.handle_rtcp(call.now, A, party_rtcp(A), b"garbage");
    assert_eq!(call.session.control_totals(A), ControlTotals { refused: 4, ..ControlTotals::default() });
}

#[test]
fn reports_follow_a_learnt_source() {
    let mut call = Call::joined(Remote { source: SourcePolicy::Learn, ..remote(A) }, remote(B));
    let nat = address("203.0.113.7:61000");
    for number in 0..3 {
        call.rtp_from(A, nat, &packet(8, 1, number, &[0x2a; 160]));
    }
    call.run_until(ms(10_000));
    assert_eq!(call.sent(A, Kind::Rtcp).last().unwrap().destination, address("203.0.113.7:61001"));
    call.session.handle_rtcp(call.now, A, party_rtcp(A), &their_report(1, 2, 3, 4, 5));
    call.session.handle_rtcp(call.now, A, address("203.0.113.7:40404"), &their_report(1, 2, 3, 4, 5));
    assert_eq!(call.session.control_totals(A).refused, 1);
    call.run_until(ms(20_000));
    assert_eq!(call.sent(A, Kind::Rtcp).last().unwrap().destination, address("203.0.113.7:40404"));
    call.set_remote(A, Remote { rtp: address("192.0.2.1:4100"), source: SourcePolicy::Learn, ..remote(A) });
    call.run_until(ms(30_000));
    assert_eq!(call.sent(A, Kind::Rtcp).last().unwrap().destination, party_rtcp(A), "reopened");
    for number in 10..13 {
        let moved = address("203.0.113.7:62000");
        call.rtp_from(A, moved, &packet(8, 1, number, &[0x2a; 160]));
    }
    call.run_until(ms(40_000));
    assert_eq!(
        call.sent(A, Kind::Rtcp).last().unwrap().destination,
        address("203.0.113.7:62001"),
        "where the old source's reports came from is forgotten"
    );
}

#[test]
fn a_report_of_another_source_is_not_answered_and_who_stops_sending_says_so() {
    let mut call = Call::joined(remote(A), remote(B));
    call.hear(A, once(&prompt([1; 8000]), Then::Nothing));
    call.audio(A, 0xaa, 0);
    let report = their_report(0xab, 0x0a0b_0c0d, 0, 0, 0);
    call.session.handle_rtcp(call.now, A, party_rtcp(A), &report);
    call.run_until(ms(30_000));
    let reports = call.sent(A, Kind::Rtcp);
    let types: Vec<u8> = reports.iter().map(|out| out.bytes[1]).collect();
    assert_eq!(types[0], 200);
    assert!(types.len() > 2 && types[1..].iter().all(|packet_type| *packet_type == 201));
    assert_eq!(reports[1].bytes[24..32], [0; 8], "neither last SR nor delay");
}

#[test]
fn dead_media_is_told_once() {
    let mut call = Call::joined(remote(A), remote(B));
    call.run_until(ms(10_000));
    call.audio(B, 2, 0);
    call.run_until(ms(39_999));
    assert_eq!(call.dead_at(), []);
    call.run_until(ms(200_000));
    assert_eq!(call.dead_at(), [40_000]);
}

#[test]
fn refused_packets_keep_nothing_alive() {
    let mut call = Call::joined(remote(A), remote(B));
    for at in 0..40 {
        call.run_until(ms(at * 1000));
        call.rtp_from(A, address("203.0.113.7:61000"), &packet(8, 1, at as u16, &[0x2a; 160]));
        call.rtp(A, b"garbage");
    }
    assert_eq!(call.dead_at(), [30_000]);
}

#[test]
fn media_is_watched_from_both_answers_on_and_not_when_switched_off() {
    let mut call = Call::new(Config { dead_after: ms(30_000), ..Config::default() });
    call.set_remote(A, remote(A));
    call.run_until(ms(100_000));
    call.set_remote(B, remote(B));
    call.run_until(ms(200_000));
    assert_eq!(call.dead_at(), [130_000]);
    let mut call = Call::new(Config::default());
    call.set_remote(A, remote(A));
    call.set_remote(B, remote(B));
    call.run_until(ms(200_000));
    assert_eq!(call.dead_at(), []);
}

#[test]
fn who_is_on_hold_is_not_missed() {
    let hold = Direction { send: true, receive: false };
    let mut call = Call::joined(Remote { direction: hold, ..remote(A) }, Remote { direction: hold, ..remote(B) });
    call.run_until(ms(100_000));
    assert_eq!(call.dead_at(), [], "both on hold");
    call.set_remote(B, remote(B));
    call.run_until(ms(110_000));
    call.set_remote(B, remote(B));
    call.run_until(ms(200_000));
    assert_eq!(call.dead_at(), [130_000], "from the resumption on, whatever is refreshed meanwhile");
}

#[test]
fn a_recording_is_begun_filled_and_finished() {
    let mut call = Call::joined(remote(A), Remote { format: PCMU, ..remote(B) });
    let tone = prompt([1; 8000]);
    for number in 0..150_u16 {
        call.run_until(ms(u64::from(number) * 20));
        if number == 20 {
            call.hear(A, once(&tone, Then::Peer));
        }
        if number == 50 {
            call.command(Command::Record { name: Arc::from("call.wav") });
            call.command(Command::Record { name: Arc::from("again.wav") });
        }
        call.audio(A, 1, number);
        call.rtp(B, &packet(0, 2, number, &[0xff; 160]));
    }
    call.run_until(ms(3050));
    call.command(Command::Close);
    let (outputs, alaw) = (&call.recording, &call.alaw);
    assert_eq!(outputs.first(), Some(&RecordingOutput::Started { name: Arc::from("call.wav") }));
    assert_eq!(outputs.last(), Some(&RecordingOutput::Finished { ms: 2050 }));
    assert_eq!(outputs.iter().filter(|output| **output != RecordingOutput::Audio).count(), 2);
    assert!(outputs.len() > 4, "it does not come at the end only");
    assert_eq!(alaw.len(), 2050 * 8);
    match call.events.last() {
        Some((_, Event::Closed(totals))) => assert_eq!(totals.recorded_ms, 2050),
        other => panic!("{other:?}"),
    }
    let loud = alaw.iter().filter(|sample| **sample == 0x2a).count();
    assert!(loud >= 95 * 160, "A's audio is in it, mixed with B's silence: {loud}");
}

#[test]
fn a_recording_that_was_never_polled_is_whole_at_the_end() {
    let mut call = Call::joined(remote(A), remote(B));
    call.session.handle_command(ms(0), Command::Record { name: Arc::from("call.wav") });
    call.session.handle_command(ms(100), Command::Close);
    let mut alaw = vec![9];
    assert_eq!(call.session.poll_recording(&mut alaw), Some(RecordingOutput::Started { name: Arc::from("call.wav") }));
    assert_eq!(call.session.poll_recording(&mut alaw), Some(RecordingOutput::Audio));
    assert_eq!((alaw.len(), alaw[0]), (801, 9), "appended");
    assert_eq!(call.session.poll_recording(&mut alaw), Some(RecordingOutput::Finished { ms: 100 }));
    assert_eq!(call.session.poll_recording(&mut alaw), None);
}

#[test]
fn after_the_close_there_is_nothing() {
    let mut call = Call::joined(remote(A), remote(B));
    call.hear(A, looped(&prompt([1; 160])));
    call.audio(A, 1, 0);
    call.command(Command::Close);
    assert!(matches!(&call.events[..], [(_, Event::Closed(totals))] if totals.legs[0].received == 1));
    assert_eq!(call.session.poll_timeout(), None);
    let out = call.out.len();
    assert_eq!(call.audio(A, 1, 1), None);
    call.command(Command::Close);
    call.hear(B, looped(&prompt([1; 160])));
    call.command(Command::Record { name: Arc::from("late.wav") });
    call.session.handle_rtcp(call.now, A, party_rtcp(A), &their_report(1, 2, 3, 4, 5));
    call.now = ms(100_000);
    call.wake();
    assert_eq!((call.out.len(), call.events.len(), call.recording.len()), (out, 1, 0));
}

#[test]
fn jitter_is_in_the_totals() {
    let mut call = Call::joined(remote(A), remote(B));
    for number in 0..400_u16 {
        call.run_until(ms(u64::from(number) * 20 + u64::from(number % 2) * 8));
        call.audio(A, 1, number);
        // An event's timestamp stands still, which is no jitter.
        let event = [&packet(101, 2, 0, &[])[..], &[5, 10, 0, 160]].concat();
        call.rtp(B, &event);
    }
    let [a, b] = call.session.totals().legs;
    assert!((7500..=8500).contains(&a.jitter_us), "{}", a.jitter_us);
    assert_eq!(b.jitter_us, 0);
}

#[test]
fn a_session_is_small() {
    let size = size_of::<Session>();
    assert!(size <= 2048, "{size} bytes");
    assert!(size_of::<Running>() <= 12 * 1024);
}

/// Everything a session can be told, in random order, with damaged packets from random sources.
struct Program {
    random: Random,
    prompts: [Arc<Prompt>; 3],
    numbers: [u16; 2],
}

impl Program {
    fn new(seed: u64) -> Program {
        let prompts = [prompt([]), prompt([5; 77]), prompt([6; 4000])];
        Program { random: Random::new(seed), prompts, numbers: [0; 2] }
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.random.next_u32() % limit
    }

    fn side(&mut self) -> Side {
        if self.below(2) == 0 { A } else { B }
    }

    fn source(&mut self, side: Side) -> SocketAddr {
        match self.below(8) {
            0 => address("203.0.113.7:61000"),
            1 => address("203.0.113.7:65535"),
            2 => party(side.other()),
            3 => address("0.0.0.0:0"),
            _ => party(side),
        }
    }

    fn packet(&mut self, side: Side) -> Vec<u8> {
        let number = &mut self.numbers[side.index()];
        *number = number.wrapping_add(1);
        let number = *number;
        let payload_type = [8, 8, 8, 8, 0, 101, 96, 13, 18, 127][self.below(10) as usize];
        let ssrc = self.below(20) / 19;
        let len = [160, 160, 160, 80, 4, 0, 480, 1488, 1489][self.below(9) as usize];
        let mut bytes = packet(payload_type, ssrc, number, &vec![0x2a; len]);
        for _ in 0..[0, 0, 0, 1, 2, 20][self.below(6) as usize] {
            let at = self.below(bytes.len() as u32) as usize;
            bytes[at] = self.below(256) as u8;
        }
        if self.below(10) == 0 {
            let len = self.below(bytes.len() as u32) as usize;
            bytes.truncate(len);
        }
        bytes
    }

    fn command(&mut self) -> Command {
        let side = self.side();
        let prompt = Arc::clone(&self.prompts[self.below(3) as usize]);
        let then = match self.below(3) {
            0 => Then::Nothing,
            1 => Then::Peer,
            _ => Then::Loop(Arc::clone(&self.prompts[self.below(3) as usize])),
        };
        match self.below(40) {
            0 => Command::Close,
            1..=4 => Command::Record { name: Arc::from("x.wav") },
            5..=14 => Command::Hear { side, hear: Hear::Peer },
            15 => Command::Hear { side, hear: Hear::Nothing },
            23 => Command::Follow { side, then },
            24..=27 => {
                let digit = crate::Digit::from_event(self.below(16) as u8).unwrap();
                Command::Digit { side, digit, ms: self.below(300) as u16 }
            }
            28 | 29 => Command::Collect { side, on: self.below(3) != 0 },
            16..=22 => {
                let repeat = if self.below(2) == 0 { Repeat::Once } else { Repeat::Loop };
                Command::Hear { side, hear: Hear::Prompt { prompt, repeat, then } }
            }
            _ => {
                let mut remote = remote(side);
                remote.rtp = if self.below(4) == 0 { self.source(side) } else { remote.rtp };
                remote.source = if self.below(2) == 0 { SourcePolicy::Learn } else { SourcePolicy::Signalled };
                remote.format = if self.below(2) == 0 { PCMA } else { PCMU };
                if self.below(3) == 0 {
                    remote.format.telephone_event = None;
                }
                remote.format.ptime_ms = self.below(256) as u8;
                remote.direction = Direction { send: self.below(4) != 0, receive: self.below(4) != 0 };
                Command::SetRemote { side, remote }
            }
        }
    }
}

#[test]
fn no_program_of_commands_and_garbage_panics_or_tears_a_stream() {
    for seed in 0..150 {
        let mut program = Program::new(seed);
        let mut call = Call::new(Config { dead_after: ms(5000), unix_at_epoch: Duration::from_secs(1_800_000_000) });
        for step in 0..800 {
            let pause = [0, 1, 5, 20, 20, 20, 300, 9000][program.below(8) as usize];
            if program.below(20) == 0 {
                call.now += ms(pause);
                call.wake();
            } else {
                let end = call.now + ms(pause.min(20));
                call.run_until(end);
            }
            let side = program.side();
            let source = program.source(side);
            let bytes = program.packet(side);
            match program.below(12) {
                0 => {
                    let command = program.command();
                    // Closing early would leave little to test.
                    if command != Command::Close || step > 700 {
                        call.command(command);
                    }
                }
                1 => call.session.handle_rtcp(call.now, side, source, &bytes),
                2 => {
                    let mut report = their_report(program.below(2), 1, 2, 3, 4);
                    let at = program.below(report.len() as u32) as usize;
                    report[at] = program.below(256) as u8;
                    call.session.handle_rtcp(call.now, side, source, &report);
                }
                _ => {
                    call.rtp_from(side, source, &bytes);
                }
            }
        }
        for side in Side::BOTH {
            let sent = call.sent(side, Kind::Rtp);
            let ssrcs: std::collections::BTreeSet<_> = sent.iter().map(|out| out.header().ssrc).collect();
            assert!(ssrcs.len() <= 1, "seed {seed}: one SSRC for ever");
            for pair in sent.windows(2) {
                let ahead = pair[1].header().sequence_number.wrapping_sub(pair[0].header().sequence_number) as i16;
                assert!((-100..=3000).contains(&ahead), "seed {seed}: {ahead}");
            }
            for out in &sent {
                assert!(out.bytes.len() <= 1500 && out.bytes[0] == 0x80 && out.destination.port() != 0);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |seed| {
        let mut call = Call::new(Config::default());
        call.session = Session::new(Config::default(), seed, Duration::ZERO);
        for side in Side::BOTH {
            call.set_remote(side, remote(side));
            call.hear(side, looped(&prompt([1; 160])));
        }
        call.run_until(ms(20_000));
        call.out
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
