//! One leg of a session: what comes from the party and what goes to it.
//!
//! ```text
//!                 admit                                    forward, on_tick
//!   party ─▶ parse ─ payload type ─ Latch ─ Reception      Hearing ─ Splice ─▶ party
//!   party ─▶ digits::Receiver, Tones                       digits::Sender ───▶ party
//!   party ─▶ on_rtcp                                       on_report ────────▶ party
//! ```

use crate::digits::{self, Note, Telling};
use crate::inband_dtmf::Tones;
use crate::latch::{Latch, same, same_ip};
use crate::prompt::{Hearing, Tick};
use crate::random::Random;
use crate::reception::Reception;
use crate::rtcp::{self, CNAME_LEN, Heard, Report, Sent};
use crate::rtp::{self, HEADER_LEN, Header};
use crate::session::{ControlTotals, Kind};
use crate::splice::{Payload, Splice};
use crate::telephone_event::{self, TelephoneEvent};
use crate::{Codec, Digit, Hear, LegFormat, LegTotals, Prompt, Remote, SourcePolicy, Then, g711};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Longest prompt packet: 60 ms.
const MAX_SAMPLES: usize = 480;

/// After a late wake at most this many packet times are made up for; beyond that the prompt goes on later.
const MAX_CATCH_UP: u32 = 3;

/// How many prompts' ends are kept until they are polled.
const MAX_ENDED: usize = 4;

/// Mean time between reports; each is drawn from 0.5 to 1.5 of it (RFC 3550 §6.2, §6.3.1).
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Where a leg's packets go out: the kind of socket, the destination, the bytes.
pub(crate) type LegSink<'a> = dyn FnMut(Kind, SocketAddr, &[u8]) + 'a;

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    settled: Option<Settled>,
    hearing: Hearing,
    splice: Splice,
    reception: Reception,
    control: Control,
    received: u64,
    sent: u64,
    octets_sent: u32,
    refused: u64,
    dropped: u64,
    last_rtp: Option<Duration>,
    /// Boxed: most legs are never sent a digit.
    digits_out: Option<Box<digits::Sender>>,
    digits_in: digits::Receiver,
    /// While the party is collected from; boxed: most legs never are.
    tones: Option<Box<Tones>>,
    digits_sent: u64,
    digits_refused: u64,
    /// Prompts heard whole that the call has not been told of; at most [`MAX_ENDED`].
    prompts_ended: VecDeque<Arc<Prompt>>,
}

/// What offer and answer have settled.
#[derive(Debug)]
struct Settled {
    remote: Remote,
    latch: Latch,
    /// RTP may be sent: no hold, and an address. Kept here because every packet asks.
    open: bool,
}

/// The RTCP side of a leg.
#[derive(Debug)]
struct Control {
    cname: [u8; CNAME_LEN],
    next_report: Option<Duration>,
    /// RTP packets that had been sent at the last report.
    sent_at_report: u64,
    /// SSRC, middle NTP and arrival of the last sender report.
    last_sr: Option<(u32, u32, Duration)>,
    /// Where reports came from, once the RTP source has been learnt.
    source: Option<SocketAddr>,
    totals: ControlTotals,
}

/// A packet that has been admitted.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) header: Header,
    pub(crate) payload: Range<usize>,
    pub(crate) content: Content,
}

/// What an admitted packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    Audio(Codec),
    Event,
    /// Comfort noise, an empty packet, or anything from a party that should not be sending: not passed on.
    Nothing,
}

impl Leg {
    pub(crate) fn new(random: &mut Random) -> Leg {
        Leg {
            settled: None,
            hearing: Hearing::Nothing,
            splice: Splice::new(random.next_u32(), random.next_u32() as u16, random.next_u32()),
            reception: Reception::default(),
            control: Control {
                cname: cname(random),
                next_report: None,
                sent_at_report: 0,
                last_sr: None,
                source: None,
                totals: ControlTotals::default(),
            },
            received: 0,
            sent: 0,
            octets_sent: 0,
            refused: 0,
            dropped: 0,
            last_rtp: None,
            digits_out: None,
            digits_in: digits::Receiver::new(),
            tones: None,
            digits_sent: 0,
            digits_refused: 0,
            prompts_ended: VecDeque::new(),
        }
    }

    /// Takes what has been settled. True when media may only now be expected from the party: the first time, from another
    /// address, or after a hold.
    pub(crate) fn set_remote(&mut self, now: Duration, remote: Remote, random: &mut Random) -> bool {
        let Some(settled) = &mut self.settled else {
            let latch = Latch::new(remote.rtp, remote.source);
            self.settled = Some(Settled { remote, latch, open: is_open(&remote) });
            self.control.next_report = Some(now.saturating_add(report_interval(random) / 2));
            // A prompt that was asked for before there was anyone to play it to begins now, from its beginning.
            if let Hearing::Playing(player) = &mut self.hearing {
                player.postpone(now);
            }
            return true;
        };
        let moved = !same(settled.remote.rtp, remote.rtp);
        let resumed = remote.direction.receive && !settled.remote.direction.receive;
        settled.latch.resignal(now, remote.rtp, remote.source);
        settled.remote = remote;
        settled.open = is_open(&remote);
        if settled.latch.locked().is_none() {
            self.control.source = None;
        }
        moved || resumed
    }

    pub(crate) fn hear(&mut self, now: Duration, hear: Hear) {
        match (&self.hearing, &hear) {
            // Told what it hears already: the talkspurt goes on.
            (Hearing::Peer, Hear::Peer) | (Hearing::Nothing, Hear::Nothing) => {}
            (
                Hearing::Nothing | Hearing::Peer | Hearing::Playing(_),
                Hear::Nothing | Hear::Peer | Hear::Prompt { .. },
            ) => {
                self.splice.interrupt();
                self.hearing = Hearing::new(now, hear);
                if let (Hearing::Playing(_), Some(digits)) = (&self.hearing, &mut self.digits_out) {
                    // The prompt waits for the ends of a digit alone.
                    digits.release();
                }
            }
        }
    }

    /// Changes what follows the prompt that plays once, if one does.
    pub(crate) fn follow(&mut self, then: Then) {
        match &mut self.hearing {
            Hearing::Playing(player) => player.follow(then),
            Hearing::Nothing | Hearing::Peer => {}
        }
    }

    /// Takes a digit to send to the party.
    pub(crate) fn press(&mut self, digit: Digit, ms: u16) {
        let taken = self.event_outlet().is_some()
            && self.digits_out.get_or_insert_with(|| Box::new(digits::Sender::new())).push(digit, ms);
        self.digits_refused += u64::from(!taken);
    }

    /// Whether telephone-events can be passed on to the party.
    pub(crate) fn takes_events(&self) -> bool {
        self.settled.as_ref().is_some_and(|settled| settled.remote.format.telephone_event.is_some())
    }

    /// Begins or ceases to tell of digits as they are pressed.
    pub(crate) fn collect(&mut self, now: Duration, on: bool) {
        match (&self.tones, on) {
            (None, true) => {
                self.digits_in.hush(now);
                self.tones = Some(Box::new(Tones::new(self.last_rtp.map(|last| now.saturating_sub(last)))));
            }
            (Some(tones), false) => {
                self.digits_refused += tones.refused();
                self.tones = None;
                self.digits_in.forget(now);
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    /// Takes an event of the party's, which can be `passed_on` or not. Rare, and kept out of the way of a packet's.
    #[cold]
    pub(crate) fn on_event(&mut self, now: Duration, admitted: &Admitted, packet: &[u8], passed_on: bool) {
        let telling = match (&self.tones, passed_on) {
            (Some(_), _) => Telling::Presses,
            (None, true) => Telling::Nothing,
            (None, false) => Telling::Whole,
        };
        if let Some(event) = packet.get(admitted.payload.clone()).and_then(TelephoneEvent::parse) {
            self.digits_in.on_event(now, &admitted.header, event, telling);
        }
    }

    /// Listens for tones in the party's audio, where it is collected from.
    #[inline]
    pub(crate) fn on_audio(&mut self, now: Duration, header: &Header, codec: Codec, payload: &[u8]) {
        if let Some(tones) = &mut self.tones {
            tones.on_audio(now, header, codec, payload);
        }
    }

    /// What there is to tell of a digit that came as an event.
    pub(crate) fn take_event(&mut self) -> Option<Note> {
        self.digits_in.poll()
    }

    /// What there is to tell of a digit that came as a tone.
    pub(crate) fn take_tone(&mut self) -> Option<Note> {
        self.tones.as_mut()?.poll()
    }

    pub(crate) const fn is_settled(&self) -> bool {
        self.settled.is_some()
    }

    /// When the last RTP was admitted, where the party is expected to send at all.
    pub(crate) fn expected_since(&self) -> Option<Option<Duration>> {
        self.settled.as_ref().filter(|settled| settled.remote.direction.receive).map(|_| self.last_rtp)
    }

    pub(crate) fn locked_source(&self) -> Option<SocketAddr> {
        self.settled.as_ref()?.latch.locked()
    }

    /// A prompt's end that the call has not been told of.
    pub(crate) fn take_prompt_ended(&mut self) -> Option<Arc<Prompt>> {
        self.prompts_ended.pop_front()
    }

    pub(crate) fn totals(&self) -> LegTotals {
        LegTotals {
            received: self.received,
            sent: self.sent,
            lost: self.reception.lost(),
            refused: self.refused,
            digits_sent: self.digits_sent,
            digits_refused: self.digits_refused
                + self.digits_in.refused()
                + self.tones.as_ref().map_or(0, |tones| tones.refused()),
            jitter_us: self.reception.jitter_us(),
        }
    }

    pub(crate) fn control_totals(&self) -> ControlTotals {
        self.control.totals
    }

    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Checks a packet from the party; `None` when it is turned away, which is counted.
    pub(crate) fn admit(&mut self, now: Duration, source: SocketAddr, packet: &[u8]) -> Option<Admitted> {
        let admitted = self.check(now, source, packet);
        match &admitted {
            Some(packet) => {
                self.received += 1;
                self.last_rtp = Some(now);
                let steady = matches!(packet.content, Content::Audio(_));
                self.reception.on_packet(now, &packet.header, steady);
            }
            None => self.refused += 1,
        }
        admitted
    }

    fn check(&mut self, now: Duration, source: SocketAddr, packet: &[u8]) -> Option<Admitted> {
        let Settled { remote, latch, open: _ } = self.settled.as_mut()?;
        let (header, payload) = rtp::parse(packet).ok()?;
        let content = classify(&remote.format, &header, packet.get(payload.clone())?)?;
        if !latch.admit(now, source, header.ssrc, header.sequence_number) {
            return None;
        }
        let content = if remote.direction.receive { content } else { Content::Nothing };
        Some(Admitted { header, payload, content })
    }

    /// Rewrites a packet of the other party for this one; `None` when this party is not to hear it. Nothing is written outside
    /// the packet, and its payload is converted only when it goes out.
    pub(crate) fn forward(
        &mut self,
        now: Duration,
        admitted: &Admitted,
        packet: &mut [u8],
    ) -> Option<(SocketAddr, Range<usize>)> {
        match self.hearing {
            Hearing::Peer => {}
            Hearing::Nothing | Hearing::Playing(_) => return None,
        }
        let Some((destination, format)) = self.outlet() else {
            self.splice.interrupt();
            return None;
        };
        if self.sends_digit() {
            self.dropped += 1;
            return None;
        }
        let header = &admitted.header;
        let (payload_type, carried) = match admitted.content {
            Content::Audio(_) => {
                let samples = u32::try_from(admitted.payload.len()).unwrap_or(0);
                (Some(format.payload_type), Payload::Audio { samples })
            }
            Content::Event => (format.telephone_event, Payload::Event),
            Content::Nothing => (None, Payload::Event),
        };
        let Some(payload_type) = payload_type else {
            self.splice.omit(header);
            self.dropped += 1;
            return None;
        };
        let Some(place) = self.splice.on_peer(now, header, carried) else {
            self.dropped += 1;
            return None;
        };
        let outgoing = Header {
            payload_type,
            marker: place.marker,
            sequence_number: place.sequence_number,
            timestamp: place.timestamp,
            ssrc: self.splice.ssrc(),
        };
        if let Content::Audio(codec) = admitted.content {
            g711::convert(codec, format.codec, packet.get_mut(admitted.payload.clone())?);
        }
        let range = outgoing.write_before(packet, admitted.payload.clone())?;
        self.count_sent(admitted.payload.len());
        Some((destination, range))
    }

    /// Sends the packets of digits and prompts that are due.
    pub(crate) fn on_tick(&mut self, now: Duration, sink: &mut LegSink<'_>) {
        self.digits_in.on_timeout(now);
        if let Some(tones) = &mut self.tones {
            tones.on_timeout(now);
        }
        let Some(format) = self.settled.as_ref().map(|settled| settled.remote.format) else {
            return;
        };
        let ptime_ms = format.ptime_ms.clamp(10, 60);
        self.send_digits(now, ptime_ms, sink);
        if !self.sends_digit() {
            self.send_prompts(now, ptime_ms, sink);
            // Those that waited for a prompt to end.
            self.send_digits(now, ptime_ms, sink);
        }
    }

    fn send_digits(&mut self, now: Duration, ptime_ms: u8, sink: &mut LegSink<'_>) {
        if let Some(mut digits) = self.digits_out.take() {
            self.send_digits_of(&mut digits, now, ptime_ms, sink);
            self.digits_out = Some(digits);
        }
    }

    /// Sends the packets of digits that are due. The prompt that waits for them goes on one packet time after the last.
    fn send_digits_of(&mut self, digits: &mut digits::Sender, now: Duration, ptime_ms: u8, sink: &mut LegSink<'_>) {
        let ptime = Duration::from_millis(u64::from(ptime_ms));
        while let Some(due) = digits.due(self.is_between_prompts()).filter(|due| *due <= now) {
            let Some((destination, payload_type)) = self.event_outlet() else {
                // On hold, or events are no longer settled: a digit that came minutes late would harm more than none.
                self.digits_refused += digits.abandon();
                self.splice.interrupt();
                return;
            };
            if now.saturating_sub(due) > ptime * MAX_CATCH_UP {
                digits.postpone(now);
            }
            let Some(digits::Packet { at, begins, event }) = digits.tick(now, u16::from(ptime_ms) * 8) else {
                return;
            };
            let place = self.splice.on_digit(at, begins, u32::from(event.duration));
            let header = Header {
                payload_type,
                marker: place.marker,
                sequence_number: place.sequence_number,
                timestamp: place.timestamp,
                ssrc: self.splice.ssrc(),
            };
            let mut packet = [0; HEADER_LEN + telephone_event::LEN];
            packet[..HEADER_LEN].copy_from_slice(&header.to_bytes());
            packet[HEADER_LEN..].copy_from_slice(&event.to_bytes());
            self.count_sent(telephone_event::LEN);
            sink(Kind::Rtp, destination, &packet);
            if digits.is_sending() {
                continue;
            }
            self.digits_sent += 1;
            if let Hearing::Playing(player) = &mut self.hearing {
                player.postpone(at.saturating_add(ptime));
            }
        }
    }

    fn send_prompts(&mut self, now: Duration, ptime_ms: u8, sink: &mut LegSink<'_>) {
        let samples = usize::from(ptime_ms) * 8;
        if let Hearing::Playing(player) = &mut self.hearing
            && now.saturating_sub(player.due()) > Duration::from_millis(u64::from(ptime_ms)) * MAX_CATCH_UP
        {
            player.postpone(now);
            self.splice.interrupt();
        }
        let mut packet = [0_u8; HEADER_LEN + MAX_SAMPLES];
        let packet = &mut packet[..HEADER_LEN + samples];
        while let Hearing::Playing(player) = &mut self.hearing
            && player.due() <= now
        {
            let due = player.due();
            match player.tick(&mut packet[HEADER_LEN..]) {
                Tick::Packet => self.send_prompt(due, packet, sink),
                Tick::Ended(prompt, next) => {
                    self.hearing = next;
                    // Full only when nobody polls; then the oldest end is what matters least.
                    if self.prompts_ended.len() >= MAX_ENDED {
                        self.prompts_ended.pop_front();
                    }
                    self.prompts_ended.push_back(prompt);
                }
            }
        }
    }

    fn send_prompt(&mut self, due: Duration, packet: &mut [u8], sink: &mut LegSink<'_>) {
        let Some((destination, format)) = self.outlet() else {
            // On hold the prompt's time passes all the same, or the call would wait for its end for ever.
            self.splice.interrupt();
            return;
        };
        let samples = packet.len() - HEADER_LEN;
        let place = self.splice.on_prompt(due, u32::try_from(samples).unwrap_or(0));
        let header = Header {
            payload_type: format.payload_type,
            marker: place.marker,
            sequence_number: place.sequence_number,
            timestamp: place.timestamp,
            ssrc: self.splice.ssrc(),
        };
        let (head, payload) = packet.split_at_mut(HEADER_LEN);
        head.copy_from_slice(&header.to_bytes());
        g711::convert(Codec::Pcma, format.codec, payload);
        self.count_sent(samples);
        sink(Kind::Rtp, destination, packet);
    }

    fn count_sent(&mut self, octets: usize) {
        self.sent += 1;
        self.octets_sent = self.octets_sent.wrapping_add(octets as u32);
    }

    /// Whether a digit is being sent: then nothing else is.
    fn sends_digit(&self) -> bool {
        self.digits_out.as_ref().is_some_and(|digits| digits.is_sending())
    }

    /// Whether no prompt plays: then a digit may begin.
    const fn is_between_prompts(&self) -> bool {
        match self.hearing {
            Hearing::Nothing | Hearing::Peer => true,
            Hearing::Playing(_) => false,
        }
    }

    /// Where telephone-events may be sent to, and their payload type.
    fn event_outlet(&self) -> Option<(SocketAddr, u8)> {
        let (destination, format) = self.outlet()?;
        Some((destination, format.telephone_event?))
    }

    /// Where RTP may be sent to, and in which format; `None` before the answer and on hold.
    #[inline(always)] // a call costs a sixth of a packet, since what it returns goes through memory
    fn outlet(&self) -> Option<(SocketAddr, LegFormat)> {
        let Settled { remote, latch, open } = self.settled.as_ref()?;
        open.then(|| (latch.destination(), remote.format))
    }

    /// Reads a compound packet from the party. Nothing of it is passed on.
    pub(crate) fn on_rtcp(&mut self, now: Duration, ntp: u64, source: SocketAddr, bytes: &[u8]) {
        let Some(settled) = &self.settled else { return };
        let received = match rtcp::parse(bytes, self.splice.ssrc()) {
            Ok(received) if settled.admits_rtcp(source) => received,
            Ok(_) | Err(_) => {
                self.control.totals.refused += 1;
                return;
            }
        };
        let control = &mut self.control;
        control.totals.received += 1;
        control.totals.byes += u64::from(received.byes);
        if settled.latch.learnt().is_some() {
            control.source = Some(source);
        }
        if let Some(sender) = received.sender {
            control.last_sr = Some((sender.ssrc, sender.ntp_middle, now));
        }
        if let Some(round_trip) = received.about_us.and_then(|block| block.round_trip(ntp)) {
            control.totals.round_trip = Some(round_trip);
        }
    }

    /// Sends the report when it is due.
    pub(crate) fn on_report(&mut self, now: Duration, ntp: u64, random: &mut Random, sink: &mut LegSink<'_>) {
        if self.control.next_report.is_none_or(|due| due > now) {
            return;
        }
        self.control.next_report = Some(now.saturating_add(report_interval(random)));
        let Some(destination) = self.settled.as_ref().and_then(|settled| settled.rtcp_destination(self.control.source))
        else {
            return;
        };
        let active = self.sent != self.control.sent_at_report;
        self.control.sent_at_report = self.sent;
        let sent = self.splice.timestamp_at(now).filter(|_| active).map(|timestamp| Sent {
            ntp,
            timestamp,
            packets: self.sent as u32,
            octets: self.octets_sent,
        });
        let heard = self.reception.report().map(|figures| Heard {
            figures,
            last_sr: match self.control.last_sr {
                Some((ssrc, middle, at)) if ssrc == figures.ssrc => Some((middle, now.saturating_sub(at))),
                Some(_) | None => None,
            },
        });
        let report = Report::new(self.splice.ssrc(), sent, heard, &self.control.cname);
        sink(Kind::Rtcp, destination, report.as_bytes());
    }

    /// The next packet of a digit or a prompt, the next report, the end of a digit of the party's.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        let tick = match &self.hearing {
            Hearing::Playing(player) if self.is_settled() && !self.sends_digit() => Some(player.due()),
            Hearing::Playing(_) | Hearing::Peer | Hearing::Nothing => None,
        };
        let usual = earliest(tick, self.control.next_report);
        // Every packet asks, and hardly any leg has digits.
        if self.digits_out.is_none() && self.tones.is_none() && self.digits_in.poll_timeout().is_none() {
            return usual;
        }
        let digit = self.digits_out.as_ref().and_then(|digits| digits.due(self.is_between_prompts()));
        let tone = self.tones.as_ref().and_then(|tones| tones.poll_timeout());
        earliest(earliest(usual, digit), earliest(tone, self.digits_in.poll_timeout()))
    }
}

/// The earlier of two times, where there are any.
pub(crate) fn earliest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (Some(_), None) => one,
        (None, _) => other,
    }
}

impl Settled {
    fn admits_rtcp(&self, source: SocketAddr) -> bool {
        match (self.latch.learnt(), self.remote.source) {
            (Some(learnt), _) => same_ip(learnt, source),
            (None, SourcePolicy::Signalled) => same(self.remote.rtcp, source),
            // Behind a translator the RTCP port is not the one in the SDP.
            (None, SourcePolicy::Learn) => same_ip(self.remote.rtcp, source) || same_ip(self.remote.rtp, source),
        }
    }

    /// The SDP's address, until a source has been learnt: then where its reports come from, else the port above.
    fn rtcp_destination(&self, reports_from: Option<SocketAddr>) -> Option<SocketAddr> {
        let destination = match self.latch.learnt() {
            None => self.remote.rtcp,
            Some(learnt) => match reports_from.filter(|source| same_ip(*source, learnt)) {
                Some(source) => source,
                None => SocketAddr::new(learnt.ip(), learnt.port().checked_add(1)?),
            },
        };
        is_sendable(destination).then_some(destination)
    }
}

/// What a packet is by its payload type; `None` when the leg has not settled on it.
fn classify(format: &LegFormat, header: &Header, payload: &[u8]) -> Option<Content> {
    let codec = if header.payload_type == format.payload_type {
        format.codec
    } else if format.takes_event(header.payload_type) {
        return TelephoneEvent::parse(payload).map(|_| Content::Event);
    } else {
        match header.payload_type {
            rtp::PCMA => Codec::Pcma,
            rtp::PCMU => Codec::Pcmu,
            rtp::COMFORT_NOISE => return Some(Content::Nothing),
            _ => return None,
        }
    };
    Some(if payload.is_empty() { Content::Nothing } else { Content::Audio(codec) })
}

/// The unspecified address is how hold was written before directions (RFC 3264 §8.4).
fn is_open(remote: &Remote) -> bool {
    remote.direction.send && is_sendable(remote.rtp)
}

fn is_sendable(address: SocketAddr) -> bool {
    address.port() != 0 && !address.ip().to_canonical().is_unspecified()
}

/// 0.5 to 1.5 times the interval.
fn report_interval(random: &mut Random) -> Duration {
    let half = REPORT_INTERVAL / 2;
    let spread = u64::try_from(REPORT_INTERVAL.as_micros()).unwrap_or(0);
    half + Duration::from_micros((u64::from(random.next_u32()) * spread) >> 32)
}

/// Sixteen hexadecimal digits that tell nothing (RFC 7022 §4.2: short-term, random).
fn cname(random: &mut Random) -> [u8; CNAME_LEN] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let number = random.next_u64();
    std::array::from_fn(|place| DIGITS[(number >> (4 * place)) as usize & 0xf])
}
